"""The scripts that draw, each run small, on a network that was never trained."""

import importlib
import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet import SimpleConvNet, TwoLayerNet, synthetic_digits, to_numpy
from xpnet.arrays import cuda
from xpnet.data.dataset import Dataset

SCRIPTS = Path(__file__).parents[2] / "scripts"
PARAM = {"filter_num": 4, "filter_size": 5, "pad": 0, "stride": 1}
ARGUMENTS = {"input_dim": [1, 28, 28], "conv_param": PARAM, "hidden_size": 5}


@pytest.fixture
def weights(tmp_path):
    """A run directory's weights, of a network with a vertical and a horizontal edge as filters."""
    network = SimpleConvNet(**ARGUMENTS, rng=1)
    W = to_numpy(network.params["W1"]).copy()
    W[1, 0] = np.sign(np.arange(5) - 2)
    W[3, 0] = np.sign(np.arange(5) - 2)[:, np.newaxis]
    network.params["W1"] = W
    path = tmp_path / "model.safetensors"
    network.save_params(path)
    summary = {"model": "simple-convnet", "arguments": ARGUMENTS, "dtype": "float32", "seed": 1}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    return path


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run a script in this process, in an empty directory, with few digits and no GPU."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    common = importlib.import_module("xpnet.report.script")
    x, t = synthetic_digits(60, seed=0)
    dataset = Dataset("synthetic", "synthetic digits", x, t, x[:40], t[:40])
    monkeypatch.setattr(common, "load_dataset", lambda name, data_dir=None: dataset)
    monkeypatch.setattr(cuda, "diagnose", lambda: cuda.Diagnosis(problem="no GPU"))
    monkeypatch.chdir(tmp_path)

    def script(name, *arguments, weights=True):
        given = ["--weights", "model.safetensors"] if weights else []
        monkeypatch.setattr("sys.argv", [f"{name}.py", *given, *map(str, arguments)])
        module = importlib.import_module(name)
        code = 0
        try:
            module.main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return script


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_visualize_filter(run, weights, tmp_path):
    code, out, err = run("visualize_filter", "--out", "a.png")
    assert code == 0, err
    assert "4 filters of 5 x 5; before training: drawn from seed 1" in out
    assert is_png(tmp_path / "a.png")

    assert "drawn from seed 7" in run("visualize_filter", "--seed", 7)[1]
    assert "--seed must be 0 or more, got -1" in run("visualize_filter", "--seed", -1)[2]
    (tmp_path / "summary.json").unlink()
    code, _, err = run("visualize_filter")
    assert code == 2
    assert (
        "summary.json does not tell how the network began; give the model.safetensors of a run"
        in err
    )


def test_apply_filter(run, weights, tmp_path):
    code, out, err = run("apply_filter", "--out", "a.png", "--image", 3)
    assert code == 0, err
    assert "most for vertical edges: filter 1\n" in out
    assert "most for horizontal edges: filter 3\n" in out
    assert is_png(tmp_path / "a.png")
    code, _, err = run("apply_filter", "--image", 40)
    assert (code, err) == (2, "apply_filter.py: error: --image must be from 0 to 39, got 40\n")


def test_misclassified(run, weights, tmp_path):
    code, out, err = run("misclassified_mnist", "--out", "a.png")
    assert code == 0, err
    assert "of 40 images" in out
    assert "times" in out
    assert is_png(tmp_path / "a.png")
    assert is_png(tmp_path / "a-confusion.png")


def test_augment_samples(run, tmp_path):
    code, out, err = run("augment_samples", "--out", "a.png", "--shift", 30, weights=False)
    assert code == 0, err
    assert "30 down 0.0 % of the ink is left" in " ".join(out.split())
    assert is_png(tmp_path / "a.png")


def test_bench_optimizer(run, tmp_path):
    arguments = ("--optimizer", "sgd", "--rounds", 2, "--updates", 1, "--out", "a.json")
    code, out, err = run("bench_optimizer", "--model", "two-layer-net", *arguments, weights=False)
    assert code == 0, err
    assert "sgd, two-layer-net, 39760 parameters" in out
    (record,) = json.loads((tmp_path / "a.json").read_text())
    times = record["milliseconds"]
    assert {"xpnet", "xpnet, by array"} <= times.keys()
    assert set(record["ratios"]) == {f"xpnet / {name}" for name in times if name != "xpnet"}


@pytest.mark.slow
def test_bench_scenes(run, tmp_path):
    """The first losses are the same, or it would not end well."""
    pytest.importorskip("torch")
    arguments = ("--rounds", 2, "--warm", 1, "--scenes", 2, "--data", "synthetic")
    code, out, err = run("bench_scenes", *arguments, "--out", "a.json", weights=False)
    assert code == 0, err
    assert "2 scenes a step, 1 threads" in out
    (record,) = json.loads((tmp_path / "a.json").read_text())
    assert list(record["milliseconds"]) == ["xpnet", "torch eager"]
    assert list(record["ratios"]) == ["xpnet / torch eager"]


def test_bench_nielsen_step(run, tmp_path):
    arguments = ("--rounds", 2, "--steps", 2, "--out", "a.json")
    code, out, err = run("bench_nielsen_step", *arguments, weights=False)
    assert code == 0, err
    assert "784-30-10, steps of 10 samples, one thread" in out
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["difference_after_ten_steps"] < 1e-12
    loop = "loop over samples"
    assert set(record["ratios"]) == {f"{k} / {loop}" for k in record["milliseconds"] if k != loop}
    code, _, _ = run("bench_nielsen_step", "--rounds", 1, "--limit", 1e-9, weights=False)
    assert code.startswith("slower than 1e-09 times the loop: xpnet / loop over samples, ")


@pytest.mark.parametrize("name", ["visualize_filter", "apply_filter"])
def test_a_network_without_filters_is_refused(run, tmp_path, name):
    sizes = {"input_size": 784, "hidden_size": 5, "output_size": 10}
    network = TwoLayerNet(**sizes, rng=0)
    network.save_params(tmp_path / "model.safetensors")
    code, _, err = run(name)
    assert code == 2
    assert "give the weights of a convolutional network for grey images" in err


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("misclassified_mnist", ["--weights", "none"], "none does not exist; give a file that"),
        ("misclassified_mnist", [], "the following arguments are required: --weights"),
        ("augment_samples", ["--angle", "x"], "argument --angle: invalid float value: 'x'"),
    ],
)
def test_errors_are_one_line(tmp_path, name, arguments, message):
    """As a user meets it: another process, started from anywhere."""
    path = SCRIPTS / f"{name}.py"
    ran = subprocess.run(
        [sys.executable, path, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"{name}.py: error: {message}")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(("contents", "code"), [("'w'", 0), ("sys.argv[1]", 1)])
def test_killed_runs(run, tmp_path, monkeypatch, contents, code):
    """On a command that takes no training; weights that depend on the directory are a failure."""
    killed_runs = importlib.import_module("killed_runs")
    program = f"""
import sys, time, pathlib
place = pathlib.Path(sys.argv[1])
if not place.exists():
    place.mkdir()
    time.sleep(0.3)
(place / "model.safetensors").write_text({contents})
(place / "metrics.csv").write_text("0.5,0.9," + str(time.time()))
"""
    monkeypatch.setattr(
        killed_runs, "command", lambda directory, _: [sys.executable, "-c", program, str(directory)]
    )
    spread = {"median": 1.0, "min": 1.0, "max": 1.0}
    cost = dict.fromkeys(("epoch_seconds", "checkpoint_seconds", "share"), spread)
    monkeypatch.setattr(killed_runs, "cost", lambda *_: cost | {"checkpoint_bytes": 1})
    ended, out, _ = run("killed_runs", "--runs", 3, "--out", "a", weights=False)
    assert ended == (code and "killed runs and the unbroken one differ")
    record = json.loads((tmp_path / "a" / "killed_runs.json").read_text())["killed_runs"]
    assert [row["same"] for row in record["runs"]] == [code == 0] * 3
    assert all(row["kills"] == len(row["moments"]) > 0 for row in record["runs"])
    assert (tmp_path / "a" / "README.md").read_text() in out
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"README.md", "killed_runs.json"}


@pytest.mark.parametrize(("contents", "code"), [("'w'", 0), ("sys.argv[1]", 1)])
def test_interrupts(run, tmp_path, monkeypatch, contents, code):
    """A command that takes no training is sent two signals, and a training one at a line."""
    interrupts = importlib.import_module("interrupts")
    monkeypatch.setattr(interrupts, "BEGINNING", 60)  # whenever Python itself may have answered
    program = f"""
import signal, sys, time, pathlib
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
place = pathlib.Path(sys.argv[1])
if not place.exists():
    place.mkdir()
    time.sleep(0.3)
(place / "model.safetensors").write_text({contents})
(place / "metrics.csv").write_text("0.5,0.9," + str(time.time()))
"""
    monkeypatch.setattr(
        interrupts, "command", lambda directory, _: [sys.executable, "-c", program, str(directory)]
    )
    ended, out, _ = run("interrupts", "--program", 2, "--lines", 1, "--out", "a", weights=False)
    assert bool(ended) == bool(code), ended
    record = json.loads((tmp_path / "a" / "interrupts.json").read_text())
    program, python = record["of_the_program"], record["within_python"]
    assert program["signals"] >= 2
    assert (program["different"] > 0) == bool(code)
    assert (python["signals"], python["different"]) == (1, 0)
    assert (tmp_path / "a" / "README.md").read_text() in out


@pytest.mark.parametrize(("chosen", "said"), [(1.0, 0), (2.0, 1)])
def test_bench_threads(run, tmp_path, monkeypatch, chosen, said):
    """On times that are made up: 1 for one thread, 3 for others; that a process is timed, too."""
    bench = importlib.import_module("bench_threads")
    timed = json.loads
    times = {"1": 1.0, bench.CHOSEN: chosen}
    monkeypatch.setattr(bench, "load", lambda processes: nullcontext())

    def ran(command, **_):
        seconds = times.get(command[4], 3.0)
        return SimpleNamespace(stdout=json.dumps({"seconds": seconds, "threads": 1}))

    with monkeypatch.context() as patch:
        patch.setattr(bench.subprocess, "run", ran)
        ended, out, _ = run("bench_threads", "--out", "a", weights=False)
    assert bool(ended) == bool(said)
    found = timed((tmp_path / "a" / "bench_threads.json").read_text())["models"]["two-layer-net"]
    assert (found["idle"]["chosen"], found["busy"]["beside"]) == (chosen, "1")
    assert (tmp_path / "a" / "README.md").read_text() in out
    bench.child("two-layer-net", "1", 0.01)


def test_bench_machines(run, tmp_path):
    """Two machines, of which one has not measured a case, and in one nobody else took part."""

    def case(model, ratio, **others):
        rows = {
            name: {"milliseconds": {"median": k}, "memory_peak_mib": 100 * k}
            for name, k in others.items()
        }
        spread = {"median": ratio, "min": ratio - 0.01, "max": ratio + 0.01}
        ratios = {f"xpnet / {name}": spread for name in others if name != "xpnet"}
        about = {"model": model, "task": "train", "batch_size": 100}
        return about | {"contestants": rows, "ratios": ratios}

    about = {
        "machine": "a processor, 2 cores", "system": "a system", "versions": {"xpnet": "1"},
        "threads": 2, "rounds": 4, "started": "2026-11-30T10:00:00+00:00",
    }  # fmt: skip
    cases = {
        "here": [case("lenet", 0.5, xpnet=1, torch=4, jax=2), case("mine", 1.0, xpnet=1)],
        "there": [case("lenet", 0.7, xpnet=3, torch=4), case("other", 0.9, xpnet=1, jax=2)],
    }
    for name, given in cases.items():
        (tmp_path / name).mkdir()
        record = about | {"cases": [*given, {"task": "layers"}]}
        (tmp_path / name / "bench.json").write_text(json.dumps(record))
    (tmp_path / "pages").mkdir()
    code, out, err = run("bench_machines", "here", "there", "--out", "pages/p.md", weights=False)
    assert code == 0, err
    page = (tmp_path / "pages" / "p.md").read_text()
    assert page == out
    for line in (
        "- [here](../here/README.md): a processor, 2 cores, 2 threads, float32; a system; xpnet 1; "
        "4 rounds, 2026-11-30",
        "| network | task | batch | here | there |",
        "| lenet | train | 100 | 0.50 (0.49 to 0.51) jax | 0.70 (0.69 to 0.71) torch |",
        "| other | train | 100 |  | 0.90 (0.89 to 0.91) jax |",
        "| lenet | train | 100 | 0.50 (100 by 200) | 0.75 (300 by 400) |",
    ):
        assert line in page.splitlines(), line
    assert "mine" not in page
    (tmp_path / "here" / "bench.json").write_text("{}")
    code, _, err = run("bench_machines", "here", weights=False)
    assert code == 2
    assert "here/bench.json is no record of a benchmark ('cases'); name directories that" in err
    assert (
        "names of their own, got there, there"
        in run("bench_machines", "there", "there", weights=False)[2]
    )
