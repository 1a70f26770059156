"""Ctrl-C while the command line is still being loaded."""

import os
import signal
import subprocess
import sys
import time

import pytest

import xpnet

INTERRUPTED = "xpnet: interrupted\n"
SENT = "import os, signal, sys\nos.kill(os.getpid(), signal.SIGINT)\nraise ImportError('too late')"
COMMANDS = {
    "module": ("-m", "xpnet"),
    "script": ("-c", "import sys; from xpnet.cli import main; sys.exit(main())"),
}


def environment(place):
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(place), os.environ["PYTHONPATH"]])}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("module", ["numpy", "click"])
def test_while_a_module_is_imported(tmp_path, name, module):
    """One that sends the signal itself stands in its place."""
    (tmp_path / f"{module}.py").write_text(SENT)
    done = subprocess.run(
        [sys.executable, *COMMANDS[name], "train", "--epochs", "1"],
        env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", INTERRUPTED)


def test_where_it_is_ignored_it_stays_so(tmp_path):
    """As for what runs behind a shell's "&"."""
    (tmp_path / "click.py").write_text(SENT)
    ignore = "import signal, runpy; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    done = subprocess.run(
        [sys.executable, "-c", f"{ignore}runpy.run_module('xpnet', run_name='__main__')", "info"],
        env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr.endswith("ImportError: too late\n")


def test_importing_leaves_signals_alone():
    code = (
        "import signal; before = [signal.getsignal(n) for n in signal.valid_signals()]\n"
        "import xpnet, xpnet.cli; xpnet.Trainer, xpnet.cli.commands\n"
        "assert before == [signal.getsignal(n) for n in signal.valid_signals()]"
    )
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_public_names_are_there_before_and_after_the_first_is_used():
    code = (
        "import xpnet, sys; assert 'numpy' not in sys.modules; names = set(dir(xpnet))\n"
        "assert set(xpnet.__all__) <= names; xpnet.Trainer; assert xpnet.optim.SGD is xpnet.SGD\n"
        "from xpnet import *; assert Trainer is xpnet.Trainer; assert not hasattr(xpnet, 'no')"
    )
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
    with pytest.raises(AttributeError, match=r"^module 'xpnet' has no attribute 'nonsense'$"):
        xpnet.nonsense  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_at_any_time_there_is_one_line_at_most(tmp_path, name):
    """Every 20 ms from when Python is up, which a module of ours that is imported first tells."""
    (tmp_path / "sitecustomize.py").write_text("import os; os.write(1, b'up\\n')")
    command = [
        sys.executable, *COMMANDS[name], "train", "--data", "synthetic", "--model",
        "two-layer-net", "--epochs", "500", "--device", "cpu", "--out",
    ]  # fmt: skip
    codes = []
    for k in range(12):
        with subprocess.Popen(
            [*command, str(tmp_path / f"run-{k}")],
            env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as child:  # fmt: skip
            assert child.stdout.readline() == "up\n"
            time.sleep(0.06 + 0.06 * k)  # the rest of Python's own beginning is its own affair
            child.send_signal(signal.SIGINT)
            _, err = child.communicate(timeout=60)
        codes.append(child.returncode)
        assert err.startswith("xpnet: interrupted")
        assert err.count("\n") == 1
    assert set(codes) == {130}
