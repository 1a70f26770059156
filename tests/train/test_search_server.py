"""A search whose trials are kept by a PostgreSQL server, which may fall silent."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import postgres

pytest.importorskip("optuna", reason="optuna is not installed")
from test_search import TINY, T, X
from xpnet.errors import OutputError
from xpnet.train.search import patience
from xpnet.train.search.storage import opened

pytestmark = pytest.mark.slow

SEARCH = """
import sys
from test_search import TINY, T, X
from xpnet import XPNetError
from xpnet.train.search import patience, storage
storage.GRACE, patience.PATIENCE = 3, 2  # of the workers, too, which import this
if __name__ == "__main__":
    options = {"storage": sys.argv[1], "study": sys.argv[2], "workers": 2, "device": "cpu"}
    try:
        TINY.run(X, T, trials=int(sys.argv[3]), **options)
    except XPNetError as error:
        sys.exit(f"xpnet: error: {error}")
"""


@pytest.fixture(scope="module")
def server():
    if (reason := postgres.missing()) is not None:
        pytest.skip(reason)
    server = postgres.Server()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Eight trials, kept in a file."""
    storage = f"sqlite:///{tmp_path_factory.mktemp('whole')}/study.db"
    return TINY.run(X, T, trials=8, storage=storage, device="cpu", verbose=False)


@pytest.fixture
def go(server, request):
    """Runs a tiny search on the server, of which each test has one."""

    def run(trials, **options):
        options = {"study": request.node.name, "device": "cpu", "verbose": False} | options
        return TINY.run(X, T, trials=trials, storage=server.url, **options)

    return run


def complete(results):
    return [result for result in results if result.state == "complete"]


def test_the_trials_are_the_same_as_in_a_file(go, whole, capfd):
    assert go(3) == whole[:3]
    assert go(8, workers=2) == whole
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("how", ["stopped", "ended"])
def test_a_server_that_comes_back_is_waited_for(go, server, whole, capfd, how):
    """Stopped, it neither answers nor refuses; ended, it refuses, and has forgotten connections.

    What counts as silence stays as long as it is: on a busy machine a request of a server that is
    there may take a second, of which another line would tell.
    """

    def away():
        (server.stop if how == "stopped" else server.end)()
        time.sleep(patience.SILENCE + 2)
        (server.go_on if how == "stopped" else server.start)()

    outage = threading.Timer(0.5, away)
    outage.start()
    results = go(20)
    outage.join()
    assert complete(results)[:8] == whole
    err = capfd.readouterr().err
    assert err.startswith("xpnet: the storage postgresql+psycopg://me:***@127.0.0.1")
    assert err.endswith("does not answer; waiting for it, 20 seconds at most\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("how", ["stopped", "ended"])
def test_a_server_that_stays_away_ends_the_search_and_nothing_is_lost(
    go, server, whole, monkeypatch, how
):
    monkeypatch.setattr(patience, "PATIENCE", 1)
    monkeypatch.setattr("xpnet.train.search.storage.GRACE", 1)
    go(2)
    threading.Timer(0.3, server.stop if how == "stopped" else server.end).start()
    with pytest.raises(OutputError, match=r"did not answer for 1 seconds .*; what was fin") as told:
        go(1000)
    assert "p@ss" not in str(told.value)
    (server.go_on if how == "stopped" else server.start)()
    assert complete(go(8))[:8] == whole


def test_several_machines_make_the_tables_at_once(server, whole):
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE fresh")
    found = []

    def search():
        with opened(TINY, server.url.replace("/postgres", "/fresh"), "at once") as (study, _):
            found.append(study.study_name)

    machines = [threading.Thread(target=search) for _ in range(4)]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join()
    assert found == ["at once"] * 4


def test_workers(go, server, whole, request, tmp_path):
    """One is killed in a trial; then the server ends for good, which all tell in one line."""
    (tmp_path / "search.py").write_text(SEARCH)
    begin = [sys.executable, tmp_path / "search.py", server.url, request.node.name]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*begin, "20"], **piped) as process:
        process.stdout.readline()
        os.kill(postgres.children(process.pid)[-1], signal.SIGKILL)
        _, err = process.communicate(timeout=120)
    assert err == "xpnet: a worker was ended by SIGKILL; the others went on\n"
    assert process.returncode == 0
    assert complete(go(8))[:8] == whole
    with subprocess.Popen([*begin, "1000"], **piped) as process:
        process.stdout.readline()
        server.end()
        _, err = process.communicate(timeout=120)
    server.start()
    told = [line for line in err.splitlines() if "error" in line]
    assert told == err.splitlines()[-1:], err
    # The second is of a worker that had not begun when the server ended.
    assert any(words in told[0] for words in ("did not answer for 2 seconds", "cannot be used"))
    assert "memory" not in err
    assert process.returncode == 1
