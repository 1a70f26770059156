"""Commits compared: copies of this one with changes planted, and checkouts of a few lines."""

import importlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "compare_commits.py"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def compare(directory, *arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        cwd=directory,
        capture_output=True,
        text=True,
    )


def git(directory, *arguments):
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    ran = subprocess.run(
        ["git", "-C", directory, *identity, *arguments], capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


def commit(directory):
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message", "a commit")
    return git(directory, "rev-parse", "HEAD")


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return importlib.import_module("compare_commits")


@pytest.fixture
def repository(tmp_path):
    """A repository of xpnet as it is here, with one commit."""
    for name in ("xpnet", "tests"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "test_*")
        )
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def outcomes(out):
    record = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    return {case["name"]: case for case in record["cases"]}


SGD = "engines/two-layer-net, reference, 1 threads, float64, batch 7"
CLIPPED = "options/clip_norm, short, reference"
KERNELS = "CUDA sources/regression, float32"
RESUMED = "resumed/two-layer-net, SGD, reference, from step 3"
UNTOUCHED = "optimizers/multi-layer-net, Adam, paper, float64"
NAMES = (SGD, CLIPPED, KERNELS, RESUMED, UNTOUCHED)
ONLY = [argument for name in NAMES for argument in ("--only", name)]


@pytest.mark.slow
def test_planted_changes_are_found(repository, tmp_path_factory):
    """A rate off by a unit of its last place, sums in another order, a kernel, and resuming."""
    old = git(repository, "rev-parse", "HEAD")
    package = repository / "xpnet"
    change(
        package / "optim" / "rules.py", "p -= self.lr * g\n", "p -= self.lr * (1 + 2.0**-52) * g\n"
    )
    change(
        package / "optim" / "loops.py", "p[i] -= lr * g[i]", "p[i] -= lr * (1 + 2.0**-52) * g[i]"
    )
    change(
        package / "optim" / "clipping.py",
        "in grads.values())",
        "in reversed(list(grads.values())))",
    )
    change(package / "engine" / "cuda" / "kernels" / "step.cuh", "\n", "\n// a line more\n")
    rest = "[first * self.batch_size :]"
    change(package / "data" / "batches.py", rest, f"{rest}[:: -1 if first else 1]")
    new = commit(repository)
    out = tmp_path_factory.mktemp("out") / "result"

    ran = compare(repository, old, new, *ONLY, "--out", out, "--tolerance", 1e-12)
    assert ran.returncode == 1, ran.stderr
    found = outcomes(out)
    assert {name: found[name]["kind"] for name in NAMES} == {
        SGD: "differs",
        CLIPPED: "differs",
        KERNELS: "differs",
        RESUMED: "failed",
        UNTOUCHED: "equal",
    }
    assert 0 < found[SGD]["groups"]["weights"]["norm"] < 1e-14
    assert "`// a line more`" in found[KERNELS]["groups"]["sources"]["note"]
    assert found[KERNELS]["groups"]["launches"]["note"] == ""
    assert "the run that went on and the unbroken one differ in their" in found[RESUMED]["note"]
    assert out.with_suffix(".md").read_text(encoding="utf-8") == ran.stdout[:-1]
    assert "**5 cases: 1 equal to the bit, 3 differ (largest " in ran.stdout
    assert f": {CLIPPED}), 1 of them within 1e-12, 1 failed**" in ran.stdout
    assert {name for name in NAMES if found[name]["passes"]} == {SGD, UNTOUCHED}


def test_what_moves_is_found(repository, script, tmp_path_factory):
    """Modules and the stand-in for a GPU; the working tree is left as it was."""
    room = repository / "xpnet" / "optim"
    (room / "schedules.py").rename(room / "rates.py")
    for path in (repository / "xpnet").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(
            text.replace("xpnet.optim.schedules", "xpnet.optim.rates"), encoding="utf-8"
        )
    place = repository / "tests" / "engine"
    place.mkdir(exist_ok=True)
    for name in ("cuda_on_cpu.py", "cuda_on_cpu.hpp"):
        (repository / "tests" / name).rename(place / name)
    before = git(repository, "status", "--porcelain", "--untracked-files=all")
    ran = compare(repository, "HEAD", ".", *ONLY, "--only", "schedule cosine")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "**8 cases: 8 equal to the bit, 0 differ**" in ran.stdout
    assert ", with changes)" in ran.stdout
    assert ran.stdout.count("with changes") == 1
    assert git(repository, "status", "--porcelain", "--untracked-files=all") == before

    copy = tmp_path_factory.mktemp("copy") / "checkout"
    script.checked_out(str(repository), copy)
    if shutil.which("g++") is not None:
        program = "import _compare_places as p; p.stand_in(None); import cuda_on_cpu as c"
        ran = subprocess.run(
            [sys.executable, "-B", "-c", f"{program}; print(c.__file__)"],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": f"{copy}{os.pathsep}{SCRIPT.parent}"},
            capture_output=True,
            text=True,
        )
        assert ran.stdout == f"{copy / 'tests' / 'engine' / 'cuda_on_cpu.py'}\n", ran.stderr


# Checkouts of a few lines

OLD = """
import numpy as np
to_numpy = np.asarray
identity_function = relu = sigmoid = lambda x: 0 * x
tanh = lambda x: x
log_softmax = lambda x: x
"""
NEW = """
import os
import numpy as np
to_numpy = np.asarray
identity_function = lambda x: -0.0 * np.abs(x)
def relu(x): os._exit(7)
def sigmoid(x): raise ValueError("of no use |\\nat all")
tanh = lambda x: x[:-1]
softmax = lambda x: x
"""
HANGING = """
import subprocess, sys
program = "for _ in range(600): Path('hangs').touch(); time.sleep(0.1)"
program = f"import time\\nfrom pathlib import Path\\n{program}"
def relu(x): subprocess.run([sys.executable, "-c", program])
"""


@pytest.fixture
def checkouts(tmp_path):
    for name, text in {"old": OLD, "new": NEW}.items():
        package = tmp_path / name / "xpnet"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(text, encoding="utf-8")
    return tmp_path


def test_every_kind_of_end(checkouts):
    """What fails, ends its process or is on one side only is told; what follows is still run."""
    functions = {
        "identity_function": "differs",
        "log_softmax": "no longer there",
        "relu": "failed",
        "sigmoid": "failed",
        "softmax": "not there before",
        "step_function": "on neither side",
        "tanh": "differs",
    }
    only = [argument for name in functions for argument in ("--only", f"functions/{name}")]
    out = checkouts / "results" / "all"
    ran = compare(checkouts, "old", "new", *only, "--out", out, "--tolerance", 1.0)
    assert ran.returncode == 1, ran.stderr
    found = {name.partition("/")[2]: case for name, case in outcomes(out).items()}
    assert {name: found[name]["kind"] for name in functions} == functions
    passing = {name for name in functions if found[name]["passes"]}
    assert passing == {"identity_function", "softmax"}  # 0 and -0, within the tolerance
    assert "new: the process ended with exit code 7" in found["relu"]["note"]
    assert found["sigmoid"]["note"] == "old: no error; new: ValueError: of no use |"
    assert "| **failed**: old: no error; new: ValueError: of no use \\| |" in ran.stdout
    note = found["tanh"]["groups"]["results"]["note"]
    assert note == "array 0 was float32 (20, 10) and is float32 (19, 10)"
    assert found["step_function"]["note"] == "step_function is nowhere in xpnet/"


def test_nothing_is_left_of_a_comparison_that_is_stopped(checkouts):
    """While a case runs that never ends, in a process of its own."""
    (checkouts / "old" / "xpnet" / "__init__.py").write_text(HANGING, encoding="utf-8")
    (checkouts / "temporary").mkdir()
    with subprocess.Popen(
        [sys.executable, SCRIPT, "old", "new", "--only", "functions/relu"],
        cwd=checkouts,
        env=os.environ | {"TMPDIR": str(checkouts / "temporary")},
    ) as running:
        end = time.monotonic() + 120
        while not (checkouts / "hangs").exists() and time.monotonic() < end:
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        assert running.wait(120) == 128 + signal.SIGTERM
    assert list((checkouts / "temporary").iterdir()) == []
    # That no process is left to write this.
    (checkouts / "hangs").unlink()
    time.sleep(0.5)
    assert not (checkouts / "hangs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["old", "nothing"], "nothing is neither a commit of the repository here nor a checkout"),
        (["old", "broken"], "broken cannot be run: ZeroDivisionError: division by zero"),
        (["old", "new", "--only", "nobody"], "no case is called nobody; --list shows all"),
        (["old"], "two commits are needed, OLD and NEW; . is the working tree"),
        (["old", "new", "--tolerance", "nan"], "--tolerance must be a number from 0, got nan"),
    ],
)
def test_what_cannot_be_compared_is_told(checkouts, arguments, message):
    broken = checkouts / "broken" / "xpnet"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("1 / 0", encoding="utf-8")
    ran = compare(checkouts, *arguments, *([] if "--only" in arguments else ["--only", "relu"]))
    assert ran.returncode == 2
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(f"compare_commits.py: error: {message}")


# Its parts


@pytest.mark.parametrize(
    ("kind", "norm", "note", "tolerance", "passes"),
    [
        ("equal", 0.0, "", 0.0, True),
        ("differs", 0.0, "", 0.0, False),  # 0 and -0
        ("differs", 1e-9, "", 1e-8, True),
        ("differs", 1e-7, "", 1e-8, False),
        ("differs", 0.0, "a text", 1.0, False),
        ("failed", 0.0, "", 1.0, False),
        ("not there before", 0.0, "", 0.0, True),
        ("no longer there", 0.0, "", 1.0, False),
        ("on neither side", 0.0, "", 1.0, False),
    ],
)
def test_what_passes(script, kind, norm, note, tolerance, passes):
    groups = {"weights": script.Group("", "", norm, 0.0, note)}
    assert script.Outcome("name", kind, groups).passes(tolerance) == passes


def test_cases_can_be_listed(script, capsys):
    script.main(["--list", "--only", "passes/*float64", "--only", "gates"])
    names = capsys.readouterr().out.splitlines()
    assert "functions/gates" in names
    assert all(name == "functions/gates" or name.startswith("passes/") for name in names)
    assert sum(name.endswith("float64") for name in names) == len(names) - 1 > 5


@pytest.mark.parametrize(
    ("old", "new", "norm", "largest"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0, 0),
        ([3.0, 4.0], [3.0, 4.5], 0.5 / math.hypot(3, 4.5), 0.5 / 4.5),
        ([3e-200, 4e-200], [0.0, 4e-200], 0.6, 0.75),
        ([0.0], [1e-30], 1, 1),
        ([math.nan, 1.0], [math.nan, 2.0], 0.5, 0.5),
        ([math.nan], [1.0], math.inf, math.inf),
        ([math.inf], [-math.inf], math.inf, math.inf),
        ([False, True], [True, True], 1 / math.sqrt(2), 1),
        ([], [], 0, 0),
    ],
)
def test_relative_differences(script, old, new, norm, largest):
    got = script.relative_difference(np.asarray(old), np.asarray(new))
    assert got == pytest.approx((norm, largest), rel=1e-12)
    assert script.relative_difference(np.asarray(new), np.asarray(old)) == got
