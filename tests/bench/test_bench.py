"""The benchmark: its arithmetic, its processes, and that all contestants do the same work."""

import json
import multiprocessing
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from xpnet import cli, synthetic_digits, to_numpy
from xpnet.arrays import cuda
from xpnet.bench import book_design, child, contestants, machine, report, run
from xpnet.bench.cases import NAMES, fresh, images_needed, prepare
from xpnet.bench.child import Child, ContestantError, Turn
from xpnet.bench.contestants import Contestant, timed_on
from xpnet.bench.statistics import best_other, ratios, spread
from xpnet.layers import Dropout
from xpnet.report import plots

ROUNDING = 1e-5  # of the largest number; ten times what float32 and float64 were seen apart


@pytest.fixture
def case(tmp_path):
    """Prepares a case with few images."""

    def made(model="two-layer-net", task="train", batch_size=4):
        images, labels = synthetic_digits(images_needed(batch_size))
        return prepare(tmp_path, model, task, batch_size, 1, images, labels)

    return made


@pytest.fixture
def contestants_of(tmp_path, monkeypatch):
    """Enters contestants by name, whose modules have these lines, in place of all others."""

    def entered(modules, **more):
        place = tmp_path / "modules"
        place.mkdir()
        monkeypatch.syspath_prepend(str(place))
        entries = {}
        for number, (name, lines) in enumerate(modules.items()):
            (place / f"newcomer{number}.py").write_text(lines)
            entries[name] = Contestant(name, f"newcomer{number}", **more)
        monkeypatch.setattr(run, "timed_on", lambda _: entries)
        return entries

    return entered


@pytest.fixture
def contestant(contestants_of):
    """Enters a contestant beside a stand-in for xpnet."""

    def entered(lines, **more):
        return contestants_of({"xpnet": STEADY, "newcomer": lines}, **more)["newcomer"]

    return entered


@pytest.fixture
def in_a_hurry(monkeypatch):
    """Has rates measured once and anyhow, and nothing repeated where the machine is busy."""
    monkeypatch.setattr(machine, "TRIES", 1)
    monkeypatch.setattr(machine, "REPEATS", 1)
    monkeypatch.setattr(machine, "SETTLE", 0)


@pytest.fixture
def bench(capsys, monkeypatch, tmp_path, in_a_hurry):
    """The command in this process, with as little work as there can be."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        monkeypatch.setattr("sys.argv", ["xpnet", "bench", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def no_gpu(monkeypatch):
    """A machine without a GPU, even where there is one."""
    found = cuda.Diagnosis(problem="there is no GPU", remedy="buy one")
    monkeypatch.setattr(cuda, "diagnose", lambda: found)


QUICK = ("--model", "two-layer-net", "--batch-size", 4, "--threads", 1, "--rounds", 2)
QUICK += ("--seconds", 0.01)


def test_spread_and_ratios():
    assert spread([3.0, 1.0, 8.0]) == {"median": 3.0, "min": 1.0, "max": 8.0}
    got = ratios({"xpnet": [1.0, 2.0, 3.0], "a": [2.0, 2.0, 12.0], "b": [1.0, 1.0, 1.0]})
    assert got == {
        "xpnet / a": {"median": 0.5, "min": 0.25, "max": 1.0},
        "xpnet / b": {"median": 2.0, "min": 1.0, "max": 3.0},
    }


def test_the_best_is_another_s():
    medians = {"xpnet": 1.0, "xpnet reference": 1.5, "torch": 3.0, "torch fused": 2.0, "jax": 2.5}
    rows = {name: {"milliseconds": {"median": median}} for name, median in medians.items()}
    assert best_other(rows) == "torch fused"
    assert best_other({"xpnet": rows["xpnet"]}) is None


# Multiply-adds of an image, layer by layer.
MLP = [784 * 50, 50 * 10]
SIMPLE = [24 * 24 * 30 * 25, 12 * 12 * 30 * 100, 100 * 10]
DEEP = [28 * 28 * 16 * 9, 28 * 28 * 16 * 16 * 9, 14 * 14 * 32 * 16 * 9, 16 * 16 * 32 * 32 * 9]
DEEP += [8 * 8 * 64 * 32 * 9, 8 * 8 * 64 * 64 * 9, 4 * 4 * 64 * 50, 50 * 10]


@pytest.mark.parametrize(
    ("model", "layers", "gigaflops"),
    [
        ("two-layer-net", MLP, 0.016),
        ("simple-convnet", SIMPLE, 0.433),
        ("deep-convnet", DEEP, 5.24),
    ],
)
def test_operations_of_a_step(case, model, layers, gigaflops):
    train = case(model, batch_size=100)
    assert train.flops == 200 * (3 * sum(layers) - layers[0])
    assert train.flops / 1e9 == pytest.approx(gigaflops, rel=0.01)
    assert replace(train, task="predict").flops == 200 * sum(layers)


def test_bytes_of_a_step(case):
    """784-50-50-10 by hand: outputs four times, weights six times with SGD; Adam has four more."""
    train = case("two-layer-net", batch_size=100)
    outputs, weights = 100 * (50 + 50 + 10), 784 * 50 + 50 * 10
    assert train.moved_bytes == 4 * (4 * outputs + 6 * weights)
    assert replace(train, task="predict").moved_bytes == 4 * (2 * outputs + weights)
    weights = 30 * 25 + 4320 * 100 + 100 * 10
    outputs = 10 * (2 * 30 * 24 * 24 + 30 * 12 * 12 + 2 * 100 + 10)
    assert case("simple-convnet", batch_size=10).moved_bytes == 4 * (4 * outputs + 10 * weights)


def without_dropout(network):
    for node in network.nodes():
        if isinstance(node.layer, Dropout):
            node.layer.dropout_ratio = 0.0
    return network


def assert_same(got, want):
    assert got.shape == want.shape
    assert np.max(np.abs(got - want)) <= ROUNDING * np.max(np.abs(want))


@pytest.mark.parametrize("model", NAMES)
def test_the_book_trains_the_same(case, model):
    arrays = case(model).load()
    network = without_dropout(fresh(model))
    x, t = arrays["x"][:4], arrays["t"][:4]
    loss, _, grads = network.loss_and_gradient(x, t)

    book = book_design.network(model, arrays)
    book.layers = [layer for layer in book.layers if not isinstance(layer, book_design.Dropout)]
    assert float(loss) == pytest.approx(book.step(x.astype(np.float64), t), rel=ROUNDING)
    learning = [layer for layer in book.layers if hasattr(layer, "W")]
    for number, layer in enumerate(learning, start=1):
        assert_same(to_numpy(grads[f"W{number}"]), layer.dW)
        assert_same(to_numpy(grads[f"b{number}"]), layer.db)


def test_the_command_writes_a_record_a_page_and_a_picture(bench, tmp_path):
    code, out, err = bench(*QUICK, "--contestant", "book design", "--out", "kept")
    assert code == 0, err
    assert "two-layer-net, training with sgd, batch 4" in out
    record = json.loads((tmp_path / "kept" / "bench.json").read_text())
    train, latency, throughput = record["cases"]
    assert list(train["contestants"]) == ["xpnet", "book design"]
    assert [case["batch_size"] for case in (latency, throughput)] == [1, 1000]
    assert list(latency["contestants"]) == ["xpnet"]
    own, book = train["contestants"].values()
    for row in (own, book):
        times = row["milliseconds"]
        assert len(times["rounds"]) == 2
        assert 0 < times["min"] <= times["median"] <= times["max"]
        assert row["images_per_second"] == pytest.approx(4000 / times["median"])
        assert row["memory_peak_mib"] is None or row["memory_peak_mib"] > 0
    want = [
        a / b for a, b in zip(*(row["milliseconds"]["rounds"] for row in (own, book)), strict=True)
    ]
    assert train["ratios"] == {"xpnet / book design": spread(want)}
    assert (train["best_other"], latency["best_other"]) == ("book design", None)
    assert out.count("\n  xpnet / best (book design): ") == 1
    assert own["description"]
    page = (tmp_path / "kept" / "README.md").read_text()
    assert "| book design |" in page
    assert (tmp_path / "kept" / "bench.png").exists() == plots.available() == ("bench.png" in page)
    assert not multiprocessing.active_children()


def test_without_a_gpu_or_torch_it_says_so(bench, no_gpu, monkeypatch):
    monkeypatch.setattr(contestants, "installed", lambda name: False)
    code, out, err = bench(*QUICK, "--device", "auto", "--task", "train", "--contestant", "torch")
    assert code == 0, err
    assert out.startswith("device: cpu (there is no GPU)\n")
    assert "left out: torch, PyTorch is not installed: pip install 'xpnet[bench]'" in out
    assert "\n  torch " not in out


def test_there_are_no_more_threads_than_cores(capsys, monkeypatch):
    monkeypatch.setattr("xpnet.engine.threads.available_cores", lambda: 3)
    options = run.Options(threads=4000)
    assert [options.n_threads, options.n_threads] == [3, 3]
    assert capsys.readouterr().err.count("warning: 4000 threads were asked for") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "0"], "the batch size must be 1 or more, got 0"),
        (["--threads", "0"], "the number of threads must be 1 or more, got 0"),
        (["--rounds", "0"], "the number of rounds must be 1 or more, got 0"),
        (["--seconds", "nan"], "a turn must take some seconds, got nan; try 0.3"),
        (
            ["--contestant", "me"],
            "there is no contestant 'me' on cpu; use xpnet, xpnet without ",
        ),
        (
            ["--contestant", "torch graph"],
            "there is no contestant 'torch graph' on cpu; use ",
        ),
        (["--device", "gpu"], "device 'gpu' is unknown; use cpu, cuda, cuda:N or auto"),
        (["--device", "cuda"], "--device cuda cannot be used: there is no GPU; buy one"),
        (["--precision", "tf32"], "the CPU is timed in float32 only, got precision 'tf32'; use "),
        (["--seeds", "0"], "the number of seeds must be 1 or more, got 0"),
        (["--model", "me"], "Invalid value for '--model'"),
        (["--out", "file/in"], "cannot create file/in: Not a directory; choose another --out"),
    ],
)
def test_what_cannot_be_measured(bench, no_gpu, tmp_path, arguments, message):
    (tmp_path / "file").touch()
    code, _, err = bench(*arguments)
    assert code == 2
    assert err.startswith(f"xpnet: error: {message}")
    assert err.count("\n") == 1


STEADY = """\
from xpnet.bench.cases import Ready
def build(case, arrays):
    return Ready(lambda: None, lambda: {"steady": 1})
"""

IN_A_TURN = """\
import os, time
from itertools import count
from xpnet.bench.cases import Ready
numbers = None
def describe():  # which comes after all warming up
    global numbers
    numbers = count()
    return {}
def finish():  # at most twice a turn
    if numbers and next(numbers) == 2:
        FAIL
def build(case, arrays):
    return Ready(lambda: None, describe, finish)
"""

FAILURES = {
    "raises as it is imported": (
        "import not_there",
        r"it failed: ModuleNotFoundError: No module named 'not_there' \(newcomer\d+.py, line 1\)",
    ),
    "dies as it is imported": ("import os\nos._exit(3)", "its process ended with exit code 3"),
    "raises as it is built": (
        "def build(case, arrays):\n    raise ValueError('no luck')",
        r"it failed: ValueError: no luck \(newcomer\d+.py, line 2\)",
    ),
    "dies as it is built": (
        "import os\ndef build(case, arrays):\n    os._exit(3)",
        "its process ended with exit code 3",
    ),
    "takes all memory": (
        "import os\ndef build(case, arrays):\n    os.kill(os.getpid(), 9)",
        "its process ended with exit code -9; memory may have run out: try a smaller --batch-size",
    ),
    "says too much": (
        "def build(case, arrays):\n    raise ValueError('line after\\nline ' * 1000)",
        r"it failed: ValueError: line after line line .{200,300} \.\.\. \(newcomer\d+.py, line 2\)",
    ),
    "cannot be understood": (
        "from xpnet.bench.cases import Ready\nclass Strange:\n"
        "    def __reduce__(self):\n        return int, ('not a number',)\n"
        "def build(case, arrays):\n    return Ready(lambda: None, lambda: {'it': Strange()})",
        r"its answer cannot be read: ValueError: invalid literal for int\(\) .*",
    ),
    "raises in a turn": (
        IN_A_TURN.replace("FAIL", "1 / 0"),
        r"it failed: ZeroDivisionError: .* \(newcomer\d+.py, line 11\)",
    ),
    "dies in a turn": (
        IN_A_TURN.replace("FAIL", "os._exit(3)"),
        "its process ended with exit code 3",
    ),
}
"""Modules of contestants that fail, and what is said of them."""


@pytest.fixture
def measured(case, in_a_hurry):
    """What comes of a case in short turns."""

    def result():
        rates = {name: {"1": 100.0} for name in run.RATES}
        return run.measure(case(), run.Options(threads=1, rounds=3, seconds=1e-4), rates)

    return result


def test_whoever_fails_is_left_out(contestants_of, measured):
    """The others' times and ratios stay."""
    failing = {name: lines for name, (lines, _) in FAILURES.items()}
    contestants_of({**failing, "xpnet": STEADY, "rival": STEADY})
    result = measured()
    assert result["left_out"].keys() == FAILURES.keys()
    for name, why in result["left_out"].items():
        assert re.fullmatch(FAILURES[name][1], why), why
        assert f"left out: {name}, {why}" in report.text_table(result)
    assert list(result["contestants"]) == ["xpnet", "rival"]
    for row in result["contestants"].values():
        assert len(row["milliseconds"]["rounds"]) == 3
    assert list(result["ratios"]) == ["xpnet / rival"]
    assert not multiprocessing.active_children()


def test_a_failure_is_told_by_the_exit_code(bench, contestants_of):
    contestants_of({"xpnet": STEADY, "rival": FAILURES["raises in a turn"][0]})
    code, out, err = bench(*QUICK, "--task", "train")
    assert code == 1
    assert err == "xpnet: error: rival failed and was left out; all else was measured\n"
    assert "\n  left out: rival, it failed: ZeroDivisionError" in out


def test_without_xpnet_there_are_no_ratios(contestants_of, measured, tmp_path):
    contestants_of({"xpnet": FAILURES["raises in a turn"][0], "rival": STEADY})
    result = measured()
    assert list(result["contestants"]) == ["rival"]
    assert result["ratios"] == {}
    text = report.text_table(result)
    assert "\n  rival " in text
    assert "\n  left out: xpnet, it failed: ZeroDivisionError" in text
    assert "\n  without xpnet there are no ratios" in text


def test_where_everybody_fails_the_case_says_so(contestants_of, measured):
    contestants_of(dict.fromkeys(("xpnet", "rival"), "import not_there"))
    result = measured()
    assert result["contestants"] == result["ratios"] == {}
    assert report.text_table(result).count("No module named 'not_there'") == 2


def test_whose_process_cannot_be_started_is_left_out(contestants_of, measured):
    """What is to be sent to it cannot be."""
    contestants_of({"xpnet": STEADY, "rival": STEADY}, settings={"way": lambda: None})
    left_out = measured()["left_out"]
    assert list(left_out) == ["xpnet", "rival"]
    assert all(why.startswith("its process cannot be started: ") for why in left_out.values())


HANGING = {
    "import": "import time\ntime.sleep(600)",
    "start": "import time\ndef build(case, arrays):\n    time.sleep(600)",
    "turn": IN_A_TURN.replace("== 2", "== 0").replace("FAIL", "time.sleep(600)"),
}


@pytest.mark.parametrize("stage", HANGING)
def test_whoever_hangs_is_ended(contestant, case, monkeypatch, stage):
    hanging = Child(contestant(HANGING[stage]), case(), 1e-4)
    try:
        if stage != "import":
            hanging.wait()
        if stage == "turn":
            hanging.start()
        ask = {"import": hanging.wait, "start": hanging.start, "turn": hanging.turn}[stage]
        monkeypatch.setattr(child, "PATIENCE", 0.3)
        with pytest.raises(ContestantError, match=r"^it has not answered for 0\.3 seconds$"):
            ask()
        assert hanging._process.exitcode == -9  # SIGTERM can be ignored, SIGKILL cannot
    finally:
        hanging.close()


def test_an_interrupt_leaves_no_process_behind(contestant, monkeypatch, in_a_hurry):
    def interrupted(self):
        raise KeyboardInterrupt

    contestant(
        "from xpnet.bench.cases import Ready\n"
        "def build(case, arrays):\n    return Ready(lambda: None, dict)"
    )
    monkeypatch.setattr(Child, "turn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.run(run.Options(models=("two-layer-net",), threads=1, seconds=1e-5))
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_torch_keeps_its_own_memory(contestant, case):
    """Its process gets the environment, and nothing in it tunes the C library for xpnet."""
    pytest.importorskip("torch", reason="torch is not installed")
    new = contestant(
        "import os\n"
        "from xpnet.arrays.choice import _keep_freed_memory\n"
        "from xpnet.bench import torch_nets\n"
        "def build(case, arrays):\n"
        "    ready = torch_nets.build(case, arrays)\n"
        "    ready.describe = lambda: {\n"
        "        'tuned': _keep_freed_memory.cache_info().currsize,\n"
        "        'threshold': os.environ['MALLOC_MMAP_THRESHOLD_'],\n"
        "    }\n"
        "    return ready\n",
        environment=timed_on("cpu")["torch tuned malloc"].environment,
    )
    child = Child(new, case(), 0.01)
    try:
        child.wait()
        assert child.start().description == {"tuned": 0, "threshold": "1000000000"}
        assert child.turn().milliseconds > 0
    finally:
        child.close()


class Field:
    """Contestants that are disturbed as told, one turn after the other."""

    def __init__(self, disturbed):
        self.disturbed, self.order = iter(disturbed), []

    def child(self, name):
        field = self

        class Fake:
            def turn(self):
                field.order.append(name)
                return Turn(float(len(field.order)), None, next(field.disturbed), None)

        return Fake()


def test_disturbed_turns_are_repeated_as_long_as_that_is_bearable(monkeypatch, in_a_hurry):
    monkeypatch.setattr(run, "PAUSE", 0)
    field = Field([False, True, True, False, None, False])
    turns = run.interleaved({name: field.child(name) for name in "ab"}, 2, {})
    assert field.order == ["a", "b", "b", "b", "b", "a"]
    assert [turn.milliseconds for turn in turns["a"]] == [1, 6]
    assert [turn.milliseconds for turn in turns["b"]] == [4, 5]

    field = Field([True] * 8)
    turns = run.interleaved({name: field.child(name) for name in "ab"}, 2, {})
    assert len(field.order) == 8
    assert all(turn.disturbed for own in turns.values() for turn in own)


def test_a_watch_tells_other_processes_from_this_one(monkeypatch):
    """A second on the clock, in which this process had half a core."""
    now = {"busy": 10.0, "own": 3.0, "clock": 5.0}
    monkeypatch.setattr(machine, "busy_seconds", lambda: now["busy"])
    monkeypatch.setattr(machine.time, "process_time", lambda: now["own"])
    monkeypatch.setattr(machine.time, "perf_counter", lambda: now["clock"])
    watch = machine.Watch()
    now.update(own=3.5, clock=6.0)
    for busy, disturbed in ((10.5, False), (10.61, False), (10.63, True)):
        now["busy"] = busy
        assert watch.disturbed() is disturbed


def test_where_the_system_tells_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "none")
    assert machine.busy_seconds() is None
    assert machine.Watch().disturbed() is None
    assert machine.memory() == {"now": None, "peak": None}
    row = {"disturbed_turns": None, "description": {"workers": 2}}
    case = {"task": "train", "contestants": {"xpnet": row}, "ratios": {}, "left_out": {}}
    assert report.notes(case) == [
        "xpnet: workers 2",
        "whether other processes were busy is unknown: there is no /proc/stat",
    ]
    row |= {"disturbed_turns": 1, "milliseconds": {"rounds": [1.0, 2.0]}}
    assert report.notes(case)[1] == (
        "in 1 of 2 turns, though repeated, other processes used more than a tenth of a core"
    )


def test_the_command_line_imports_nothing_heavy():
    heavy = "{'torch', 'matplotlib', 'threadpoolctl', 'multiprocessing'}"
    code = f"import sys, xpnet, xpnet.cli; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
