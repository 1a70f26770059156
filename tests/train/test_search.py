"""The search for hyper-parameters, as a user meets it and as a learner reads it."""

import json
import multiprocessing
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet import Supervised, cli, shuffle_dataset, synthetic_digits
from xpnet.arrays import cuda
from xpnet.data.dataset import Dataset
from xpnet.errors import ArgumentError, OutputError, XPNetError
from xpnet.report import plots

pytest.importorskip("optuna", reason="optuna is not installed")
from optuna.trial import TrialState

from xpnet.train.search import Search, TrialResult, address, best, narrowed, without_password
from xpnet.train.search.storage import again, opened

X, T = synthetic_digits(60, seed=0)
TINY = Search(samples=60, hidden_size_list=(8,), epochs=2, batch_size=16, lr=(1e-3, 1.0))


@pytest.fixture
def go(tmp_path, monkeypatch):
    """Runs a tiny search, by default on one file."""
    monkeypatch.setattr("xpnet.train.search.storage.GRACE", 1)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")

    def run(trials, search=TINY, x=X, **options):
        storage = f"sqlite:///{tmp_path}/study.db"
        options = {"storage": storage, "device": "cpu", "verbose": False} | options
        return search.run(x, T, trials=trials, **options)

    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Eight trials, made in one go."""
    storage = f"sqlite:///{tmp_path_factory.mktemp('whole')}/study.db"
    return TINY.run(X, T, trials=8, storage=storage, device="cpu", verbose=False)


def states(results):
    return [result.state for result in results]


@pytest.mark.parametrize("shape", [(60, 784), (60, 1, 28, 28)])
def test_shuffle_dataset_keeps_samples_and_labels_together(shape):
    x, t = X.reshape(shape), T.copy()
    x_new, t_new = shuffle_dataset(x, t, np.random.default_rng(0))
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_array_equal(x_new, x[order])
    np.testing.assert_array_equal(t_new, t[order])
    np.testing.assert_array_equal(t, T)
    assert (order != np.arange(60)).any()
    with pytest.raises(ArgumentError, match="one target a sample is needed, got 60 and 59"):
        shuffle_dataset(x, t[1:])


def test_the_split_is_the_books():
    """The first samples, shuffled; the first fifth of them validates."""
    x = np.arange(700)[:, np.newaxis]
    x_train, t_train, x_val, t_val = Search(seed=3).split(x, np.arange(700))
    assert (len(x_train), len(x_val)) == (400, 100)
    both = np.concatenate([x_val, x_train])
    np.testing.assert_array_equal(both[:, 0], np.random.default_rng(3).permutation(500))
    np.testing.assert_array_equal(both[:, 0], np.concatenate([t_val, t_train]))


def test_a_search_that_goes_on_equals_an_unbroken_one(go, whole):
    go(2)
    assert go(5) == whole[:5] == go(3)
    assert states(whole) == ["complete"] * 8
    assert len({result.lr for result in whole}) == 8
    assert all(1e-3 <= r.lr <= 1 and 1e-8 <= r.weight_decay <= 1e-4 for r in whole)
    assert all(len(r.validation) == len(r.train) == 2 for r in whole)


def test_a_trial_repeats_from_its_numbers_alone(whole):
    result = whole[1]
    trainer = TINY.trainer(TINY.split(X, T), result.lr, result.weight_decay, "cpu")
    trainer.train()
    assert (trainer.test_acc_list, trainer.train_acc_list) == (result.validation, result.train)


def test_an_interrupted_trial_is_made_again(go, whole, monkeypatch):
    evaluate, calls = Supervised.evaluate, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 6:  # in the second trial
            signal.raise_signal(signal.SIGINT)
        return evaluate(*arguments)

    monkeypatch.setattr(Supervised, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(4)
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    results = go(4)
    assert states(results).count("fail") == 1
    assert [result for result in results if result.state == "complete"] == whole[:4]


@pytest.mark.parametrize("begun", ["before its first sign of life", "half drawn", "alive"])
def test_a_killed_trial_is_made_again(go, whole, tmp_path, begun):
    """What a killed process leaves behind: a running trial that shows no more signs of life."""
    go(2)
    with closing(sqlite3.connect(tmp_path / "study.db")) as file, file:
        file.execute("UPDATE trials SET state = 'RUNNING' WHERE number = 1")
        file.execute("UPDATE trials SET datetime_start = '2020-01-01 00:00:00.0'")
        file.execute("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
        if begun == "half drawn":
            file.execute("DELETE FROM trial_params WHERE trial_id = 2 AND param_name != 'lr'")
        if begun == "before its first sign of life":
            file.execute("DELETE FROM trial_heartbeats")
            file.execute("DELETE FROM trial_user_attributes WHERE trial_id = 2")
            file.execute("DELETE FROM trial_params WHERE trial_id = 2")
    file.close()
    results = go(4)
    assert states(results).count("fail") == 1
    assert [result for result in results if result.state == "complete"] == whole[:4]


def test_kill_and_start_again(go, whole, tmp_path):
    """kill -9, which no process can prepare for."""
    script = """
import sys
from test_search import TINY, T, X
TINY.run(X, T, trials=1000, storage=sys.argv[1], device="cpu")
"""
    command = [sys.executable, "-c", script, f"sqlite:///{tmp_path}/study.db"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        printed = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGKILL)
        printed += process.stdout.readlines()
    lines = [line for line in printed if line.endswith("\n")]
    total = max(8, len(lines) + 2)
    results = [result for result in go(total) if result.state == "complete"]
    assert [result.trial for result in results] == list(range(total))
    for line, result in zip(lines, results, strict=False):
        assert line == f"trial {result.trial + 1} of 1000 {result}\n"
    assert results[:8] == whole


def test_two_workers_share_a_study(go, whole, capfd):
    assert go(8, workers=2, verbose=True) == whole
    out, err = capfd.readouterr()
    assert err == ""
    assert sorted(out.splitlines()) == [f"trial {k + 1} of 8 {r}" for k, r in enumerate(whole)]


@pytest.mark.slow
def test_tpe_repeats(go, tmp_path):
    search = replace(TINY, sampler="tpe")
    whole = go(12, search, storage=f"sqlite:///{tmp_path}/whole.db")  # 10 are drawn at random
    go(11, search)
    assert go(12, search) == whole
    assert len({result.lr for result in whole}) == 12


def test_the_median_pruner_ends_poor_trials(go):
    search = replace(TINY, pruner="median", epochs=6, seed=1)
    results = go(9, search)
    assert set(states(results)) == {"complete", "pruned"}
    for result in results:
        assert (len(result.validation) == 6) == (result.state == "complete")
        assert len(result.validation) >= 2
    assert "pruned" not in states(best(results))


def test_timeout_begins_no_more_trials(go):
    go(1)
    assert set(states(go(100_000, timeout=0.5))) == {"complete"}


def test_a_rate_too_high_ends_its_trial_alone(go):
    (result,) = go(1, replace(TINY, lr=(1e6, 1e7)))
    assert (result.state, len(result.validation) < 2) == ("pruned", True)


def made_up(*rows):
    return [
        TrialResult(k, state, lr, decay, [0.1, accuracy], [0.1, 0.9])
        for k, (accuracy, lr, decay, state) in enumerate(rows)
    ]


BOOK = [
    (0.74, 0.00626, 1.43e-05, "complete"), (0.83, 0.0092, 3.86e-07, "complete"),
    (0.77, 0.00571, 1.27e-06, "complete"), (0.99, 0.1, 1e-1, "pruned"),
    (0.73, 0.0052, 8.97e-06, "complete"), (0.78, 0.00956, 6.04e-07, "complete"),
    (0.10, 1e-6, 1e-8, "complete"), (0.10, 1e-6, 1e-8, "running"),
]  # fmt: skip


def test_the_best_are_printed_as_in_the_book():
    ranking = best(made_up(*BOOK))
    assert [result.trial for result in ranking] == [1, 5, 2, 0, 4, 6]
    assert str(ranking[0]) == "(val acc: 0.83) | lr:0.0092, weight decay:3.86e-07"
    same = best(made_up(*[(0.5, 0.1, 0.1, "complete")] * 3))
    assert [result.trial for result in same] == [0, 1, 2]


def test_the_range_is_narrowed_to_powers_of_ten():
    results = made_up(*BOOK)
    assert narrowed(results, Search()) == {"lr": (1e-3, 1e-2), "weight_decay": (1e-7, 1e-4)}
    inside = Search(lr=(5e-3, 9.7e-3))
    assert narrowed(results, inside)["lr"] == (5e-3, 9.7e-3)
    many = [(0.9 - k / 1000, 10 ** -(2 + k / 100), 1e-6, "complete") for k in range(150)]
    assert narrowed(made_up(*many), Search()) == {"lr": (1e-3, 1e-2), "weight_decay": (1e-6, 1e-6)}
    assert narrowed([], Search()) == {}


def test_trials_no_better_than_chance_tell_no_range():
    """Of 100 images of ten digits, 19 may be guessed."""
    assert Search().chance == pytest.approx(0.19)
    guesses = [(0.19 - k / 100, 1e-3, 1e-6, "complete") for k in range(9)]
    assert narrowed(made_up(*guesses), Search()) == {}
    assert narrowed(made_up((0.2, 1e-3, 1e-6, "complete"), *guesses), Search())


@pytest.mark.parametrize("count", [1, 7, 20])
def test_the_picture(tmp_path, count):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from PIL import Image

    plots.search_curves(tmp_path / "a.png", [([0.1, 0.5], [0.2, 0.9])] * count)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 10
    with pytest.raises(ArgumentError, match="no trial was completed"):
        plots.search_curves(tmp_path / "b.png", [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "grid"}, "sampler 'grid' is unknown; use random, tpe"),
        ({"pruner": "best"}, "pruner 'best' is unknown; use none, median"),
        ({"lr": (1e-2, 1e-6)}, "lr needs a lowest value above 0, then a highest, got 0.01 and"),
        ({"weight_decay": (0, 1e-4)}, "weight_decay needs a lowest value above 0"),
        ({"lr": (1e-2, float("nan"))}, "lr needs a lowest"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_a_search_that_makes_no_sense(options, message):
    with pytest.raises(ArgumentError, match=message):
        Search(**options)


@pytest.mark.parametrize(
    ("free", "limit", "workers", "want"), [(8, 8, 2, 4), (8, 3, 2, 3), (8, 1, 2, 1), (2, 2, 4, 1)]
)
def test_workers_share_the_free_cores(go, monkeypatch, free, limit, workers, want):
    """By what they are told, and not by the environment, which is that of others, too."""
    given = []

    class Process:
        pid, exitcode = None, 0

        def __init__(self, target, args):
            given.append(args[0].threads)

        def start(self):
            pass

        join = start

    context = SimpleNamespace(Process=Process, Pipe=multiprocessing.Pipe)
    monkeypatch.setattr("multiprocessing.get_context", lambda kind: context)
    monkeypatch.setattr("xpnet.train.search.workers.free_cores", lambda: free)
    monkeypatch.setattr(
        "xpnet.train.search.workers.chosen_threads", lambda threads: min(free, limit)
    )
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name)
    before = dict(os.environ)
    go(3, workers=workers)
    assert given == [want] * workers
    assert dict(os.environ) == before


@pytest.mark.parametrize("options", [{"trials": 0}, {"trials": 1, "workers": 0}])
def test_nothing_to_do(go, tmp_path, options):
    with pytest.raises(ArgumentError, match="at least one trial, one worker"):
        go(**options)
    with pytest.raises(ArgumentError, match="use more samples or smaller batches"):
        go(1, replace(TINY, batch_size=49))
    assert not list(tmp_path.iterdir())


def test_another_search_of_the_same_name_is_refused(go):
    go(1)
    with pytest.raises(
        ArgumentError,
        match=r"another search, with epochs 2 there and 3 here; choose another study=NAME",
    ):
        go(1, replace(TINY, epochs=3))
    with pytest.raises(ArgumentError, match=r"lr \[0.001, 1.0\] there and \[0.001, 0.1\] here"):
        go(1, replace(TINY, lr=(1e-3, 0.1)))
    with pytest.raises(ArgumentError, match="checksum of images"):
        go(1, x=255 - X)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("sqlite:////no/such/place/study.db", "unable to open database file"),
        ("study.db", "cannot be used: Could not parse"),
        ("postgresql://me:secret@127.0.0.1:9/a", r"postgresql://me:\*\*\*@127.0.0.1:9/a"),
        ("nonsense://here", "nonsense"),
    ],
)
def test_a_storage_that_cannot_be_used(go, storage, message):
    with pytest.raises(OutputError, match=message) as caught:
        go(1, storage=storage)
    assert "secret" not in str(caught.value)


SECRETS = [
    "postgresql://me:secret@127.0.0.1:9/a",
    "postgresql://me:p@secret@127.0.0.1:9/a",  # an @ that is not written %40
    "postgresql://me:1:secret@127.0.0.1:9/a",
    "postgresql://me:secret@127.0.0.1:port/a",
    "postgresql://127.0.0.1:9/a?password=secret",
    "postgresql+nodriver://me:secret@127.0.0.1:9/a",
    "nonsense://me:secret@127.0.0.1:9/a",
    "secret",
]


@pytest.mark.parametrize("storage", SECRETS)
def test_a_password_is_never_told(go, storage):
    with pytest.raises(OutputError, match="cannot be used") as caught:
        go(1, storage=storage)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("there", "given", "want"),
    [
        ({"psycopg"}, "postgresql://h/a", "postgresql+psycopg://h/a"),
        ({"psycopg", "psycopg2"}, "postgres://me:s%40@h/a", "postgresql+psycopg://me:s%40@h/a"),
        ({"psycopg2"}, "postgresql://h/a", "postgresql+psycopg2://h/a"),
        ({"psycopg"}, "postgresql+psycopg2://h/a", "postgresql+psycopg2://h/a"),
        (set(), "sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_the_driver_of_a_url(monkeypatch, there, given, want):
    monkeypatch.setattr(address, "installed", there.__contains__)
    assert address.connectable(given) == want


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            "postgresql://me:s@h/a",
            r"//me:\*\*\*@h/a cannot be used: psycopg is not installed: ",
        ),
        ("postgresql+psycopg://h/a", r"pip install 'xpnet\[postgresql\]'"),
        ("sqlite://", "sqlite:// cannot be used: it is in memory, and nothing would be kept; name"),
    ],
)
def test_a_url_that_nothing_can_come_of(monkeypatch, given, told):
    monkeypatch.setattr(address, "installed", lambda package: False)
    with pytest.raises(OutputError, match=told):
        address.connectable(given)


def test_a_trial_that_others_took_for_dead_is_left_to_them(go, whole, tmp_path, monkeypatch):
    """A process that was asleep for longer than its signs of life may be away."""
    evaluate, calls = Supervised.evaluate, []

    def asleep(*arguments):
        calls.append(arguments)
        if len(calls) == 6:  # in the second trial
            with opened(TINY, f"sqlite:///{tmp_path}/study.db", "xpnet") as (study, _):
                study.tell(1, state=TrialState.FAIL)
                again(study, study.trials[1])
        return evaluate(*arguments)

    monkeypatch.setattr(Supervised, "evaluate", asleep)
    assert [result for result in go(4) if result.state == "complete"] == whole[:4]


def killed(*_):
    signal.raise_signal(signal.SIGKILL)


@pytest.mark.slow
def test_workers_that_are_killed_are_told_as_what_they_are(go, monkeypatch):
    monkeypatch.setattr("xpnet.train.search.workers._work_apart", killed)
    with pytest.raises(XPNetError, match="a worker was ended by SIGKILL; what was finished is kep"):
        go(2, workers=2)


def test_a_file_that_is_no_database(go, tmp_path):
    (tmp_path / "study.db").write_text("years of work " * 1000)
    with pytest.raises(OutputError, match="file is not a database"):
        go(1)


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """`xpnet tune` on few digits, in an empty directory."""
    dataset = Dataset("synthetic", "synthetic digits", X, T, X, T)
    monkeypatch.setattr("xpnet.cli.options.load_dataset", lambda name, data_dir=None: dataset)
    monkeypatch.setattr(cuda, "diagnose", lambda: cuda.Diagnosis(problem="no GPU"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        short = ["--samples", 60, "--batch-size", 16, "--epochs", 2]
        monkeypatch.setattr("sys.argv", ["xpnet", "tune", *map(str, [*short, *arguments])])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_command(command, tmp_path, monkeypatch):
    monkeypatch.setattr(Search, "chance", 0.0)
    code, out, err = command("--trials", 3, "--out", "run", "--lr", "1e-4", "1e-2")
    assert code == 0, err
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert len(record["trials"]) == 3
    assert record["search"]["lr"] == [1e-4, 1e-2]
    first = TrialResult(**record["trials"][record["best"][0]])
    assert asdict(first) == record["trials"][record["best"][0]]
    assert f"\nBest-1 {first}\n" in out
    assert "(at least 5) lie: --lr 0.001 0.01 --weight-decay 1e-08 1e-05\n" in out
    assert "3 trials are finished; everything is in run" in out
    assert (tmp_path / "run" / "best_trials.png").exists() == plots.available()

    code, out, err = command("--trials", 4, "--out", "run", "--lr", "1e-4", "1e-2")
    assert code == 0, err
    assert "trial 4 of 4" in out
    assert "trial 3 of 4" not in out
    monkeypatch.setattr(Search, "chance", 1.0)
    code, out, err = command("--trials", 4, "--out", "run", "--lr", "1e-4", "1e-2")
    assert "no trial is better than chance (up to 1), and none tells where to search next" in out
    assert "best 5 %" not in out
    code, out, err = command("--trials", 9, "--timeout", "1e-9", "--out", "short")
    assert code == 0, err
    assert "to go on to 9, give the same options and --out short" in out


@pytest.mark.parametrize("out", [("--out", "a search"), ()])
def test_ctrl_c_tells_how_to_go_on(command, monkeypatch, tmp_path, out):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    storage = ("--storage", f"sqlite:///{tmp_path}/a.db")
    with monkeypatch.context() as patch:
        patch.setattr(Search, "run", interrupted)
        code, told, err = command("--trials", 1, *storage, *out)
    directory = re.search("directory: (.*)", told)[1]
    begin = "xpnet: interrupted; go on with: "
    assert (code, err.startswith(begin), err.count("\n")) == (130, True, 1)
    again = shlex.split(err.removeprefix(begin))
    assert again[:2] == ["xpnet", "tune"]
    assert (tmp_path / again[-1]).resolve() == (tmp_path / directory).resolve()
    code, told, err = command(*again[2:])
    assert (code, err) == (0, "")


def test_ctrl_c_while_workers_begin_waits_for_them(go, monkeypatch):
    """What a worker loads takes a second, in which Ctrl-C would make Python's lines of each."""
    blocked = []

    class Process:
        pid = exitcode = None

        def start(self):
            signal.raise_signal(signal.SIGINT)
            blocked.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))

    def context(_):
        return SimpleNamespace(Pipe=multiprocessing.Pipe, Process=lambda **_: Process())

    monkeypatch.setattr(multiprocessing, "get_context", context)
    with pytest.raises(KeyboardInterrupt):
        go(4, workers=2)
    assert blocked == [True, True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_password_is_not_told(monkeypatch):
    url = "postgresql://me:secret@host/db"
    assert without_password(f"--storage {url} --out a", url) == (
        "--storage postgresql://me:***@host/db --out a"
    )
    assert without_password("--out a b", None) == "--out a b"


@pytest.mark.parametrize("name", ["\udcff", "n" * 255])
def test_a_search_in_a_directory_of_any_name(command, name):
    for trials in (1, 2):
        code, out, err = command("--trials", trials, "--out", name)
        assert (code, err, out.count("\ntrial ")) == (0, "", 1)
    assert {path.name for path in Path(name).iterdir()} >= {"study.db", "results.json"}


def test_refusals_are_one_line(command, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("")
    assert command("--trials", 1, "--out", "run")[0] == 0
    for arguments, text in (
        (["--sampler", "grid"], "'grid' is not one of 'random', 'tpe'"),
        (["--lr", "1e-2", "1e-6"], "lr needs a lowest value above 0"),
        (["--trials", "0"], "'--trials': 0 is not in the range x>=1"),
        (["--storage", "sqlite:////no/such/place/study.db"], "unable to open database file"),
        (["--out", "file/run"], "cannot create file/run"),
        (["--out", "full"], "full is not empty (thesis.txt)"),
        (["--out", "run", "--seed", "1"], "seed 0 there and 1 here"),
    ):
        out = [] if "--out" in arguments else ["--out", "new"]
        code, _, err = command(*out, *arguments)
        assert code == 2
        assert err.startswith("xpnet: error: ")
        assert err.count("\n") == 1
        assert text in err


def test_without_optuna_the_error_says_what_to_install(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "xpnet.train.search")
    monkeypatch.delattr("xpnet.train.search")
    code, _, err = command()
    assert code == 2
    assert "needs Optuna, which is not installed: pip install 'xpnet[tune]'" in err
