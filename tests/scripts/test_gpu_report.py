"""The report on a GPU: its parts, with the kernels on the CPU, and how it goes about them."""

import importlib
import json
import os
import runpy
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock

import cuda_on_cpu
from xpnet.arrays import Device, cuda
from xpnet.engine.cuda.tiles import Tile
from xpnet.errors import ArgumentError, DeviceError, OutputError, XPNetError

SCRIPTS = Path(__file__).parents[2] / "scripts"
SCRIPT = SCRIPTS / "gpu_report.py"
TINY = Tile(16, 32, 16, 4, 1)

needs_compiler = pytest.mark.skipif(
    cuda_on_cpu.missing() is not None, reason=str(cuda_on_cpu.missing())
)


@pytest.fixture
def gpu_report(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("gpu_report")


@pytest.fixture
def parts(gpu_report):
    return importlib.import_module("_gpu_parts")


# What is measured


@pytest.fixture
def job(parts, monkeypatch, stand_in, tmp_path):
    """A part under way on the stand-in; what it keeps is in `kept`."""
    monkeypatch.setattr("xpnet.engine.cuda.compiled.CupyDriver", stand_in.driver)
    monkeypatch.setattr(parts, "available_cores", lambda: 1)
    clock = importlib.import_module("_stand_in").HostClock()
    kept = []
    sizes = parts.Sizes(epoch=40, repeats=2, steps=2, tiles=(TINY,), batches={100: 10})
    end = time.monotonic() + 100

    def keep(result):
        kept.append(json.loads(json.dumps(result)))

    found = parts.Job("a part", stand_in.device, clock, tmp_path, tmp_path, end, keep, sizes)
    found.kept = kept
    return found


@pytest.mark.slow
def test_every_launch_of_a_step_is_timed(parts, job):
    parts.kernels(job, ("two-layer-net",), 100)
    (found,) = job.kept[-1]["steps"]
    assert (found["model"], found["batch_size"]) == ("two-layer-net", 10)
    assert list(found["launches"]) == [
        "gather", "op1_forward", "op2_forward", "loss_of_labels", "op2_gradient",
        "op2_backward", "op1_gradient", "update", "finish_step",
    ]  # fmt: skip
    assert found["step"] > 0
    assert found["sum"] == pytest.approx(sum(found["launches"].values()))
    assert found["layers"] == {"op1": ["Affine1", "Relu1"], "op2": ["Affine2"]}


@pytest.mark.slow
def test_every_product_is_tried_with_every_tile(parts, job):
    parts.tiles(job, "two-layer-net", 100, "float32")
    names = {"op1_forward", "op1_gradient", "op2_forward", "op2_gradient"}
    tried = ["as chosen", "Tile(rows=16, columns=32, depth=16, own_rows=4, own_columns=1)"]
    assert [result["tried"] for result in job.kept] == [1, 2]
    found = job.kept[-1]["launches"]
    assert set(found) == names | {"op2_backward"}
    assert all(list(times) == tried for times in found.values())
    assert job.kept[-1]["layers"]["op2"] == ["Affine2"]


def test_tiles_to_be_tried_fit(parts):
    for tile in parts.TILES:
        assert 4 * tile.depth * (tile.rows + tile.columns + 16) <= 48 * 1024
        assert tile.threads % 32 == 0
        assert tile.columns % (tile.threads // 4) == 0


def test_digits_are_drawn_once(parts, job, monkeypatch):
    images, labels = job.digits()
    assert (images.shape, labels.shape) == ((40, 1, 28, 28), (40,))
    monkeypatch.setattr(parts, "synthetic_digits", None)
    np.testing.assert_array_equal(job.digits()[0], images)


class FakeCupy:
    """Streams and events of a GPU that gets to what is queued after as many cycles as it is told.

    The host takes `host` seconds to queue the work, the GPU 7 ms to do it.
    """

    def __init__(self, host):
        self.said, self.waited, fake = [], [], self

        class Event:
            def __init__(self):
                fake.said.append("event")

            def record(self):
                fake.said.append("mark")

            def synchronize(self):
                fake.said.append("wait for it")

            @property
            def done(self):
                return fake.waited[-1] < host

        self.cuda = SimpleNamespace(Event=Event, get_elapsed_time=lambda first, last: 7.0)

    def RawKernel(self, source, name):
        assert f"void {name}(long long cycles)" in source

        def launch(grid, block, arguments):
            assert (grid, block) == ((1,), (1,))
            assert [argument.dtype for argument in arguments] == [np.int64]
            self.said.append("pass time")
            self.waited.append(arguments[0] / 2e9)

        return launch


@pytest.mark.parametrize(
    ("host", "waited", "late"),
    [
        (0.0, [0.002], 0),
        (0.007, [0.002, 0.004, 0.008], 0),
        (9.0, [0.002 * 2**k for k in range(9)], 1),
    ],
)
def test_the_gpu_never_waits_for_the_host_while_it_is_timed(parts, monkeypatch, host, waited, late):
    """What is queued is begun only when all of it is; the preparation of work is not timed."""
    fake = FakeCupy(host)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    clock = parts.GpuClock()
    seconds = clock(lambda: fake.said.append("work"), lambda: fake.said.append("prepare"))
    assert seconds == 0.007
    np.testing.assert_allclose(fake.waited, waited, rtol=1e-6)
    once = ["prepare", "pass time", "mark", "work", "mark", "wait for it"]
    assert [word for word in fake.said if word != "event"] == once * len(waited)
    assert clock.late == late
    assert bool(parts.late({"late": clock.late})) == bool(late)
    clock(lambda: None)
    assert fake.waited[-1] == pytest.approx(waited[-1]), "a wait that sufficed is used again"


TESTS = """
import time, pytest
def test_good(): pass
def test_bad(): assert 1 + 1 == 3
def test_left_out(): pytest.skip("there is no time")
"""


@pytest.mark.slow
def test_what_tests_say_is_kept(parts, job, tmp_path):
    file = tmp_path / "test_some.py"
    file.write_text(TESTS)
    job.sizes = parts.Sizes(tests=(str(file),))
    with pytest.raises(XPNetError, match="1 tests failed"):
        parts.agreement(job)
    (found,) = job.kept
    assert (found["passed"], found["skipped"]) == (1, {"there is no time": 1})
    (failed,) = found["failed"]
    assert failed["test"].endswith("test_some.py::test_bad")
    assert "assert 1 + 1 == 3" in "\n".join(failed["end"])
    assert parts.agreement_line(found) == "1 passed, 1 failed, 1 skipped"
    text = "\n".join(parts.agreement_page(found, {}))
    assert all(word in text for word in ("test_bad\n", "1 + 1 == 3", "- 1: there is no time"))
    many = found | {"failed": [{"test": f"test {k}", "end": [f"error {k}"]} for k in range(99)]}
    text = "\n".join(parts.agreement_page(many, {}))
    assert all(f"test {k}\n" in text for k in range(99)), "all are named"
    assert "error 9\n" in text
    assert "error 10\n" not in text


@pytest.mark.slow
def test_tests_that_take_too_long_tell_what_they_found(parts, job, tmp_path):
    file = tmp_path / "test_some.py"
    file.write_text(TESTS + "def test_long(): time.sleep(100)\n")
    job.sizes = parts.Sizes(tests=(str(file),))
    job.end = time.monotonic() + parts.TO_END + 20
    with pytest.raises(XPNetError, match="there was no time for all tests"):
        parts.agreement(job)
    assert job.kept[0]["passed"] == 1
    assert [row["test"].rpartition(":")[2] for row in job.kept[0]["failed"]] == ["test_bad"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def helper(): pass", "pytest ended with exit code 5, and 0 tests passed: "),
        ("import not_there", "1 tests failed"),
    ],
)
def test_no_tests_are_no_agreement(parts, job, tmp_path, text, message):
    (tmp_path / "test_some.py").write_text(text)
    job.sizes = parts.Sizes(tests=(str(tmp_path / "test_some.py"),))
    with pytest.raises(XPNetError, match=message):
        parts.agreement(job)


def test_tests_find_the_data_and_the_gpu(parts, tmp_path, monkeypatch):
    monkeypatch.delenv("XPNET_TEST_DATA", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(parts, "find_mnist", lambda download: tmp_path / "mnist")
    first, third = Device("cuda:0", np), Device("cuda:2", np)
    assert parts.tests_environment(first)["XPNET_TEST_DATA"] == str(tmp_path.resolve())
    assert "CUDA_VISIBLE_DEVICES" not in parts.tests_environment(first)
    assert parts.tests_environment(third)["CUDA_VISIBLE_DEVICES"] == "2"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    monkeypatch.setenv("XPNET_TEST_DATA", "elsewhere")
    assert parts.tests_environment(third)["CUDA_VISIBLE_DEVICES"] == "6"
    assert parts.tests_environment(first)["XPNET_TEST_DATA"] == "elsewhere"


def test_a_contestant_may_fail_but_xpnet_may_not(parts, job, monkeypatch):
    def measure(case, *_):
        contestants = {} if own else {"xpnet": {"milliseconds": {"median": 0.25}}}
        left_out = {"xpnet": "it died"} if own else {"jax": "it failed"}
        return {
            "model": case, "contestants": contestants, "ratios": {}, "left_out": left_out,
        }  # fmt: skip

    monkeypatch.setattr(parts, "prepare", lambda directory, model, *_: model)
    monkeypatch.setattr(parts.run, "measure", measure)
    monkeypatch.setattr(parts.report, "text_table", lambda case: case["model"])
    monkeypatch.setattr(parts.machine, "rates", lambda *_: {})
    own = False
    parts.steps(job, ("two-layer-net",), 100, ())
    assert parts.steps_line(job.kept[-1]) == "two-layer-net 250 us, without jax"
    own = True
    with pytest.raises(XPNetError, match="xpnet on two-layer-net: it died"):
        parts.steps(job, ("two-layer-net",), 100, ())
    assert parts.steps_line(job.kept[-1]) == "two-layer-net without xpnet"


def test_layers_are_not_taken_for_kernels(parts, job, monkeypatch):
    def measure(model, *_):
        return {"description": {"engine": "reference", "engine_reason": f"{model} differs"}}

    job.dataset = lambda: None
    monkeypatch.setattr(parts.accuracy, "measure", measure)
    monkeypatch.setattr(parts.report, "text_table", lambda _: "")
    message = "the layers computed, not the kernels: two-layer-net differs"
    with pytest.raises(XPNetError, match=message):
        parts.to_accuracies(job)
    assert len(job.kept[-1]["cases"]) == 3, "the others are trained all the same"


# How it is told


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 us"), (1.234e-9, "0.00123 us"), (9e-6, "9.00 us"), (250e-6, "250 us"),
        (999.6e-6, "1.00 ms"), (0.1116245, "112 ms"), (0.9999, "1.00 s"), (11.96, "12.0 s"),
        (1670, "1,670 s"),
    ],
)  # fmt: skip
def test_times_have_three_digits_and_a_unit_that_suits(parts, seconds, text):
    assert parts.duration(seconds) == text


STEP = {
    "model": "two-layer-net", "optimizer": "sgd", "batch_size": 100, "step": 9.0, "sum": 10.0,
    "launches": {"gather": 1.0, "op1_forward": 3.0, "op1_gradient": 6.0},
    "layers": {"op1": ["Affine1", "Relu1"]},
}  # fmt: skip


def test_the_costliest_launch_comes_first_with_its_layers(parts):
    lines = parts.kernels_page({"steps": [STEP]}, {"stand_in": False})
    assert [line for line in lines if line.startswith("| ")] == [
        "| launch | layers | time | of the sum |",
        "| --- | --- | ---: | ---: |",
        "| op1_gradient | Affine1, Relu1 | 6.00 us | 60 % |",
        "| op1_forward | Affine1, Relu1 | 3.00 us | 30 % |",
        "| gather |  | 1.00 us | 10 % |",
    ]
    assert "A step takes 9.00 us, its launches one by one 10.0 us." in lines


def test_what_better_tiles_gain_is_told(parts):
    result = {
        "model": "deep-convnet", "batch_size": 100, "precision": "tf32", "tried": 2,
        "launches": {"op1_forward": {"as chosen": 1.0, "Tile(1)": 2.0},
                     "op2_forward": {"as chosen": 4.0, "Tile(1)": 3.0}},
        "layers": {"op1": ["Conv1"], "op2": ["Conv2"]},
    }  # fmt: skip
    assert [line for line in parts.tiles_page(result, {}) if line.startswith("| ")][2:] == [
        "| op2_forward | Conv2 | 4.00 us | 3.00 us | 25.0 % | (1) |",
        "| op1_forward | Conv1 | 1.00 us | 1.00 us | 0.0 % | as chosen |",
        "| all |  | 5.00 us | 4.00 us | 20.0 % |  |",
    ]
    assert parts.tiles_line(result) == (
        "products 5.00 us as chosen, 4.00 us with the best of 2: 20.0 % less"
    )


def test_the_first_page_begins_with_the_answers(parts):
    def done(part, result, state="done"):
        return {part: {"part": part, "state": state, "result": result}}

    def times(**milliseconds):
        return {name: {"milliseconds": {"median": time}} for name, time in milliseconds.items()}

    assert parts.answers({}, False) == [
        "Is it right? That is not known: no tests have been run to their end."
    ]
    tests = {"passed": 7, "failed": [], "skipped": {"no time": 2}}
    case = {
        "model": "two-layer-net", "contestants": times(xpnet=0.02, torch=0.05, jax=0.04),
        "ratios": {"xpnet / jax": {"median": 0.5}, "xpnet / torch": {"median": 0.4}},
    }  # fmt: skip
    case["contestants"] |= times(**{"xpnet eager": 0.03})
    goals = {
        "0.97": {"reached": 2, "seconds": [1, 2, None], "median": 1.5},
        "0.99": {"reached": 0, "seconds": [None] * 3},
    }
    trained = {"model": "two-layer-net", "goals": goals, "description": {"engine": "cuda"}}
    records = (
        done("agreement", tests)
        | done("steps-two-layer-net", {"cases": [case]})
        | done("accuracy", {"cases": [trained]})
        | done("kernels", {"steps": [STEP]})
    )
    lines = parts.answers(records, False)
    assert lines[0] == "Is it right? **Yes**; tests: 7 passed, 0 failed, 2 skipped."
    assert any("below 1 xpnet is faster" in line for line in lines)
    assert lines[-2] == (
        "| two-layer-net | 20.0 us | jax | 40.0 us | 0.50 | 1.50 s (2 of 3) | not reached (0 of 3) "
        "| op1_gradient (Affine1, Relu1) 6.00 us, 60 % |"
    )
    trained["description"] = {"engine_reason": "they differ"}
    assert "| 1.50 s (2 of 3) by the layers |" in parts.answers(records, False)[-2]
    slow = done("agreement", tests, "out of time")
    assert parts.answers(slow, False)[0].startswith("Is it right? Not all tests were run; tests: 7")
    assert "**Not come to a good end: agreement.**" in parts.answers(slow, False)[2]
    bad = done("agreement", tests | {"failed": [{}]}, "failed")
    assert parts.answers(bad, False)[0].startswith("Is it right? **No**; tests: 7 passed, 1 failed")


def test_titles_tell_what_is_measured(parts):
    for part in parts.PARTS.values():
        assert not set("{}") & set(part.title(True) + part.title(False))
        assert "MNIST" not in part.title(True)
    assert parts.PARTS["kernels"].title(False).endswith(", batch 100?")
    assert parts.PARTS["kernels"].title(True).endswith(", batch 4?")
    assert "on batches of 1,000 take" in parts.PARTS["batches-1000"].title(False)
    assert parts.PARTS["accuracy"].title(False).endswith("reach 97 and 99 % on MNIST?")
    assert "60,000" in parts.columns_page(False)
    assert "60,000" not in parts.columns_page(True)


# How the report goes about it


def test_parts_and_their_order(gpu_report, parts):
    names = list(parts.PARTS)
    assert names == [
        "agreement", "steps-two-layer-net", "steps-simple-convnet", "steps-deep-convnet",
        "accuracy", "kernels", "bandwidth", "batches-10", "batches-1000", "deep",
        "precision-tf32", "precision-bfloat16", "tiles-float32", "tiles-tf32",
    ]  # fmt: skip
    assert all(part.seconds < gpu_report.LIMIT for part in parts.PARTS.values())
    told = [line.split()[:2] for line in gpu_report.__doc__.splitlines() if " s  " in f"{line}  "]
    assert told == [[name, str(part.seconds)] for name, part in parts.PARTS.items()]


def test_parts_are_chosen_by_name(gpu_report, parts):
    assert gpu_report.chosen([]) == list(parts.PARTS)
    assert gpu_report.chosen(["tiles", "batches-10"]) == [
        "batches-10",
        "tiles-float32",
        "tiles-tf32",
    ]
    with pytest.raises(ArgumentError, match="there is no part 'batch'; use agreement, steps-two-"):
        gpu_report.chosen(["batch"])
    beginnings = "or what several of them begin with: steps, batches, precision, tiles$"
    with pytest.raises(ArgumentError, match=beginnings):
        gpu_report.chosen(["step"])


FAKES = """
import dataclasses, os, subprocess, sys, time
import _gpu_parts
from xpnet.errors import XPNetError

RATES = {"images": [1], "copied": 2**20, "copy": 8.0, "im2col": 4.0}

def good(job):
    job.keep(RATES)

def slow(job):
    helper = subprocess.Popen(["sleep", "300"])
    job.keep({"epochs": helper.pid, "data": "mnist", "runs": [
        {"seed": 0, "seconds": 1.0, "test_accuracy": 0.5, "description": {"engine": "cuda"}}]})
    time.sleep(300)

def broken(job):
    job.keep({"steps": [{"model": "two-layer-net", "optimizer": "sgd", "batch_size": 4,
                         "step": 9.0, "sum": 8.0, "launches": {"gather": 8.0}}], "late": 2})
    [][5]

def dead(job):
    os._exit(7)

def refused(job):
    raise XPNetError("this cannot\\nbe")

for name in ("bandwidth", "deep", "kernels", "tiles-float32", "tiles-tf32"):
    measure = {"bandwidth": good, "deep": slow, "kernels": broken, "tiles-float32": dead,
               "tiles-tf32": refused}[name]
    _gpu_parts.PARTS[name] = dataclasses.replace(_gpu_parts.PARTS[name], measure=measure)
"""


@pytest.fixture
def reported(gpu_report, tmp_path, monkeypatch):
    """Runs the report with parts that measure nothing."""
    (tmp_path / "fakes.py").write_text(FAKES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(gpu_report, "PROGRAM", f"import fakes; {gpu_report.PROGRAM}")

    def run(*names, minutes=9, **more):
        options = {"device": "auto", "stand_in": True, "out": tmp_path / "out"} | more
        gpu_report.answer(SimpleNamespace(part=names, minutes=minutes, **options))

    run.out = tmp_path / "out"
    return run


def record(out, name):
    return json.loads((out / f"{name}.json").read_text())


def row(out, name):
    lines = (out / "README.md").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith((f"| {name} ", f"| [{name}]"))]
    return found


@needs_compiler
@pytest.mark.slow
def test_later_runs_add_to_what_is_there(reported, capsys):
    reported("bandwidth")
    assert record(reported.out, "bandwidth")["state"] == "done"
    answer = "copy 8.00 GB/s, im2col 4.00 GB/s: 50.0 % of the copy, the reference"
    assert "| [bandwidth](bandwidth.md) | How fast" in row(reported.out, "bandwidth")
    assert answer in row(reported.out, "bandwidth")
    assert "not asked for" in row(reported.out, "kernels")
    first = (reported.out / "bandwidth.json").read_bytes()

    with pytest.raises(XPNetError, match="not done: kernels; see "):
        reported("kernels")
    assert (reported.out / "bandwidth.json").read_bytes() == first
    assert answer in row(reported.out, "bandwidth")
    assert "**failed**: IndexError: list index out of range; found: two-layer-net 9.00 us" in (
        row(reported.out, "kernels")
    )
    page = (reported.out / "kernels.md").read_text()
    assert "**It failed after " in page
    assert "IndexError: list index out of range\n```\n\nWhat was found:\n" in page
    assert "In 2 timings the host was slower than the GPU" in page
    assert "| gather |  | 8.00 us | 100 % |" in page

    with pytest.raises(XPNetError, match="nothing was measured: every part was left out; see "):
        reported("bandwidth", minutes=0.1)
    assert answer in row(reported.out, "bandwidth"), "what there was no time for stays as it was"
    assert "bandwidth left out: it is expected to take 10 s, and 6 s are left; add it by" in (
        capsys.readouterr().out
    )


@needs_compiler
def test_what_fails_is_told_and_the_rest_goes_on(reported):
    with pytest.raises(XPNetError, match="not done: tiles-float32, tiles-tf32; see "):
        reported("tiles", "bandwidth")
    assert record(reported.out, "bandwidth")["state"] == "done"
    assert "**failed**: its process ended with exit code 7" in row(reported.out, "tiles-float32")
    assert record(reported.out, "tiles-tf32")["problem"] == ["this cannot be"]


def alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@needs_compiler
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_a_part_is_killed_at_its_limit_with_all_its_processes(reported, gpu_report, monkeypatch):
    monkeypatch.setattr(gpu_report, "LIMIT", 20)  # with the imports of a busy machine
    with pytest.raises(XPNetError, match="not done: deep; see "):
        reported("deep", "bandwidth")
    found = record(reported.out, "deep")
    assert found["state"] == "out of time"
    assert not alive(found["result"]["epochs"]), "what the part had started is still there"
    assert "**It was ended at its limit of 20 s.**" in (reported.out / "deep.md").read_text()
    assert "**ended at its limit of 20 s**" in row(reported.out, "deep")
    assert record(reported.out, "bandwidth")["state"] == "done", "it came before"


@needs_compiler
def test_a_gpu_and_its_stand_in_are_kept_apart(reported, gpu_report, monkeypatch):
    reported("bandwidth")
    monkeypatch.setattr(gpu_report, "absences", lambda *_: ([], {}))
    with pytest.raises(ArgumentError, match="holds a report on the stand-in; choose another --out"):
        reported("bandwidth", stand_in=False)
    (reported.out / "deep.json").write_text("{")
    with pytest.raises(XPNetError, match=r"deep\.json is no record of a part"):
        reported("bandwidth")


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


@pytest.mark.parametrize("stand_in", [True, False])
@pytest.mark.parametrize(
    "files",
    [
        {"metrics.csv": "epoch", "summary.json": "{}", ".lock": ""},  # of a training run
        {"README.md": "# xpnet\n\n`python scripts/gpu_report.py` writes this page. Or does it?\n"},
        {"deep.json": "{}"},
    ],
)
def test_a_directory_of_something_else_is_left_alone(gpu_report, tmp_path, files, stand_in):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    before = contents(tmp_path)
    options = SimpleNamespace(part=[], minutes=9, device="auto", stand_in=stand_in, out=tmp_path)
    message = r"is not empty \(\w+\.\w+\) and holds no report on a GPU; choose another --out"
    with pytest.raises(OutputError, match=message):
        gpu_report.answer(options)
    options.out = tmp_path / next(iter(files))
    with pytest.raises(OutputError, match="cannot be written to: Not a directory; choose another"):
        gpu_report.answer(options)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("out", [".", ""])
def test_the_directory_where_one_is_is_no_report(tmp_path, out):
    (tmp_path / "notes.txt").write_text("mine")
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "--stand-in", "--out", out],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "gpu_report.py: error: . is not empty (notes.txt) and holds no report on a GPU; "
        "choose another --out\n"
    )
    assert contents(tmp_path) == {"notes.txt": b"mine"}


@needs_compiler
@pytest.mark.slow
def test_a_report_is_known_by_its_page_or_by_a_record(reported):
    reported("bandwidth")
    page = reported.out / "README.md"
    page.unlink()
    reported("bandwidth")
    (reported.out / "bandwidth.json").unlink()
    assert page.exists()
    reported("bandwidth")
    assert record(reported.out, "bandwidth")["state"] == "done"


@needs_compiler
@pytest.mark.slow
def test_two_reports_do_not_share_a_directory(reported):
    reported("bandwidth")
    before = contents(reported.out)
    with FileLock(reported.out / ".lock"):
        with pytest.raises(OutputError, match="another report is being written to "):
            reported("bandwidth")
        assert {name: text for name, text in contents(reported.out).items() if name in before} == (
            before
        )
    reported("bandwidth")


DAMAGES = {
    "result": {"copy": "fast"}, "machine": {"gpu": 3}, "state": "well", "started": "today",
    "seconds": float("nan"), "problem": [1], "part": "deep", "stand_in": "no",
}  # fmt: skip


@needs_compiler
def test_what_is_no_record_is_damaged(reported, parts):
    reported("bandwidth")
    path = reported.out / "bandwidth.json"
    whole = record(reported.out, "bandwidth")
    assert parts.load(reported.out, "bandwidth") == whole
    texts = ["", "{", "{}", "[]", "3", "null", '"text"', "\ud800"]
    texts += [json.dumps(whole | {key: value}) for key, value in DAMAGES.items()]
    texts += [json.dumps({k: v for k, v in whole.items() if k != key}) for key in whole]
    for text in texts:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(
            XPNetError, match=r"bandwidth\.json is no record of a part \(.*remove it"
        ):
            reported("bandwidth")
        assert path.read_bytes() == text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_minutes_are_a_number_above_0(gpu_report, tmp_path, minutes):
    out = tmp_path / "out"
    options = SimpleNamespace(part=[], minutes=minutes, device="auto", stand_in=True, out=out)
    with pytest.raises(ArgumentError, match="--minutes must be a number above 0, got"):
        gpu_report.answer(options)
    assert not out.exists()


def test_the_device_is_a_gpu(gpu_report):
    assert gpu_report.device_of("auto", True) == gpu_report.device_of("cuda", True) == "cuda"
    assert gpu_report.device_of("cuda:3", False) == "cuda:3"
    for name in ("cpu", "cudas", "cuda:", "cuda:x", ""):
        for stand_in in (True, False):
            with pytest.raises(ArgumentError, match=f"about a GPU, got --device {name}; use cuda"):
                gpu_report.device_of(name, stand_in)
    with pytest.raises(ArgumentError, match="there is one stand-in, got --device cuda:3; leave"):
        gpu_report.device_of("cuda:3", True)


@needs_compiler
def test_who_ends_the_report_is_told_where_it_is(reported, gpu_report, monkeypatch, capsys):
    for stop in (KeyboardInterrupt(), SystemExit(143)):

        def interrupted(*_, stop=stop):
            raise stop

        monkeypatch.setattr(gpu_report, "perform", interrupted)
        with pytest.raises(type(stop)):
            reported("bandwidth")
        told = f"what was found so far is in {reported.out.resolve()}/README.md\n"
        assert capsys.readouterr().out.endswith(told)
        assert "**has not come to its end**" in row(reported.out, "bandwidth")


# What is missing


@pytest.fixture
def without(gpu_report, monkeypatch):
    """Lets packages be missing, where there is a GPU."""
    monkeypatch.setattr(cuda, "diagnose", lambda: cuda.Diagnosis(devices=("a GPU",)))

    def gone(*names, mnist=None):
        monkeypatch.setattr(
            gpu_report, "find_spec", lambda name: None if name in names else find_spec("json")
        )
        monkeypatch.setattr(gpu_report.plots, "available", lambda: "matplotlib" not in names)
        monkeypatch.setattr(gpu_report, "mnist_problem", lambda: mnist)
        return gpu_report.absences(False)

    return gone


def test_what_is_missing_is_named_a_line_each(without):
    assert without() == ([], {})
    assert without("torch") == (["torch is not installed: its contestants are left out"], {})
    assert without("jax", "matplotlib") == (
        [
            "jax is not installed: its contestants are left out",
            "matplotlib is not installed: there are no pictures",
        ],
        {},
    )
    assert without("xdist")[0] == ["pytest-xdist is not installed: the tests run in one process"]
    assert without("pytest") == (
        ["pytest is not installed: agreement is left out"],
        {"agreement": "pytest is not installed"},
    )
    assert without(mnist="it is elsewhere") == (
        ["no MNIST (it is elsewhere): accuracy and deep are left out"],
        dict.fromkeys(("accuracy", "deep"), "no MNIST (it is elsewhere)"),
    )


def test_mnist_may_be_missing(gpu_report, monkeypatch, tmp_path):
    monkeypatch.setenv("XPNET_DATA_DIR", str(tmp_path))
    assert "train-images-idx3-ubyte or train-images-idx3-ubyte.gz is missing" in (
        gpu_report.mnist_problem()
    )
    monkeypatch.setattr(gpu_report, "find_mnist", lambda download: tmp_path)
    assert gpu_report.mnist_problem() is None


def test_without_a_gpu_there_is_the_stand_in(gpu_report, monkeypatch):
    nothing = cuda.Diagnosis(problem="CuPy is not installed", remedy="install it")
    monkeypatch.setattr(cuda, "diagnose", lambda: nothing)
    with pytest.raises(DeviceError, match=r"no GPU: CuPy is not installed; .* --stand-in tries"):
        gpu_report.absences(False)
    options = SimpleNamespace(part=[], minutes=9, device="cpu", stand_in=False, out=None)
    with pytest.raises(ArgumentError, match="the report is about a GPU, got --device cpu; use "):
        gpu_report.answer(options)
    monkeypatch.setattr(cuda_on_cpu.shutil, "which", lambda _: None)
    with pytest.raises(DeviceError, match=r"no stand-in for a GPU: g\+\+ is not installed"):
        gpu_report.absences(True)


def test_the_gpu_that_is_meant_is_there(gpu_report, without):
    without()
    gpu_report.absences(False, "cuda:0")
    with pytest.raises(DeviceError, match="there is no cuda:1; the GPUs are cuda:0 to cuda:0"):
        gpu_report.absences(False, "cuda:1")


def test_without_its_packages_it_says_which(monkeypatch, capsys):
    gone = ("numpy", "array_api_compat")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in gone else find_spec(name)
    )
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPT))
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "gpu_report.py: error: not installed: numpy array-api-compat; "
        "pip install numpy array-api-compat\n"
    )


# All of it


@pytest.mark.slow
@needs_compiler
def test_the_stand_in_writes_its_pages(tmp_path):
    """Of parts of every kind; `make gpu-report ARGS=--stand-in` runs all of them."""
    names = ("agreement", "steps-two-layer-net", "accuracy", "kernels", "bandwidth")
    asked = [word for name in names for word in ("--part", name)]
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "--stand-in", "--out", "out", *asked],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    out = tmp_path / "out"
    for name in (*names, "README", "columns"):
        text = (out / f"{name}.md").read_text(encoding="utf-8")
        assert text.startswith("*Made with the stand-in for a GPU: "), name
        assert "The times mean nothing.*\n" in text
        assert "None" not in text
        assert "nan" not in text
    assert all(record(out, name)["state"] == "done" for name in names)
    assert record(out, "agreement")["result"]["passed"] > 0
    steps = record(out, "steps-two-layer-net")["result"]
    assert list(steps["cases"][0]["contestants"]) == ["xpnet", "xpnet eager"]
    assert steps["left_out"]["torch graph"] == "it needs a GPU"
    assert row(out, "accuracy").count("two-layer-net") == 1
    assert "not asked for" in row(out, "tiles-tf32")
