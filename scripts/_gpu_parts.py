"""The parts of the report on a GPU: what each measures, and how it is told.

Each part runs as a process of its own, started by gpu_report.py. One that hangs can be killed, and
one that breaks what CUDA keeps for its process leaves the others whole.
"""

import argparse
import json
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import _tests_told
from xpnet import Trainer, im2col
from xpnet.arrays import Device, get_device
from xpnet.bench import accuracy, child, drawing, machine, report, run
from xpnet.bench.cases import EPOCH, NAMES, fresh, prepare
from xpnet.bench.machine import MiB, listed_versions
from xpnet.data import Dataset, load_dataset, synthetic_digits
from xpnet.data.mnist import find_mnist
from xpnet.engine.cuda import CudaEngine
from xpnet.engine.cuda.driver import Driver
from xpnet.engine.cuda.module import Launch
from xpnet.engine.cuda.tiles import Tile
from xpnet.engine.threads import available_cores
from xpnet.errors import DataNotFoundError, XPNetError
from xpnet.files.atomic import atomic_write, write_text
from xpnet.models import MODELS
from xpnet.optim import OPTIMIZERS, Adam
from xpnet.optim.schedules import Cosine
from xpnet.report import plots

Record = dict[str, Any]

ROOT = Path(__file__).parents[1]

TILES = (
    Tile(16, 64, 16, 4, 2), Tile(32, 64, 16, 4, 2), Tile(64, 64, 16, 8, 2), Tile(64, 64, 16, 4, 4),
    Tile(16, 128, 16, 8, 4), Tile(32, 128, 16, 8, 4), Tile(64, 128, 16, 8, 4),
    Tile(16, 64, 32, 4, 2), Tile(32, 64, 32, 4, 2), Tile(64, 64, 32, 8, 2),
)  # fmt: skip
"""Tried for every product; all fit the shared memory, and tensor cores."""
AS_CHOSEN = "as chosen"

CLASSIFIER = "googlenet-small"
"""A network of branches, whose launches are timed, too."""
OTHERS = ("torch", "torch reduce-overhead", "torch graph", "jax")
PATIENCE = 80
"""Seconds without an answer until a contestant is left out: less than a part may take."""
TESTERS = 12
"""Processes of tests at most: each of them holds some of the GPU's memory."""
SHOWN = 10
"""Failures at most whose errors are on the page; the record has all."""
TO_END = 5
"""Seconds before a part's limit at which its tests are ended, to tell what they found."""
TRIES = 5
"""Timings of the same work; the shortest counts."""

COLUMNS = "columns.md"
"""The page that explains the tables of steps."""

STAND_IN_IMAGES = 100
"""The images that are trained on with the stand-in."""
STAND_IN = (
    "*Made with the stand-in for a GPU: the kernels ran on the CPU, on little of everything, "
    "smaller batches among others. The times mean nothing.*"
)


@dataclass(frozen=True)
class Sizes:
    """Sizes of what is measured; of everything less with the stand-in.

    Attributes
    ----------
    tests : pytest's arguments
    models : of a part at most
    batches : sizes of batches, by what they stand for
    epoch : images of an epoch
    rounds, seconds : turns of every contestant in the benchmark, and how long they are
    seeds : runs to an accuracy
    deep_seeds, epochs : runs of DeepConvNet, and their length
    steps, repeats : steps, and launches of one kernel, that are timed as one
    images, copied : shape of im2col's images, and bytes of a copy
    calls : of im2col or of the copy that are timed as one
    data : what is trained on, in words
    """

    tests: tuple[str, ...] = ("-m", "gpu", "--require-cuda")
    models: int = len(NAMES) + 1
    batches: Mapping[int, int] = field(default_factory=lambda: {10: 10, 100: 100, 1000: 1000})
    epoch: int = EPOCH
    rounds: int = 5
    seconds: float = 0.3
    seeds: int = 10
    deep_seeds: int = 3
    epochs: int = 20
    steps: int = 100
    repeats: int = 50
    tiles: tuple[Tile, ...] = TILES
    images: tuple[int, ...] = (1000, 32, 28, 28)
    copied: int = 512 * MiB
    calls: int = 5
    data: str = "MNIST"


SMALL = Sizes(
    tests=("tests/engine/test_cuda_engine.py", "-k", "g++ and itself and two-layer"),
    models=1,
    batches={10: 2, 100: 4, 1000: 8},
    epoch=8,
    rounds=2,
    seconds=0.01,
    seeds=2,
    deep_seeds=1,
    epochs=1,
    steps=2,
    repeats=1,
    tiles=TILES[:1],
    images=(4, 3, 8, 8),
    copied=2**16,
    calls=2,
    data="synthetic digits",
)
"""The sizes with the stand-in."""


class Clock(Protocol):
    """Tells the seconds that the device takes for some work."""

    late: int
    """Timings that hold time of the host's as well."""

    def __call__(
        self, work: Callable[[], object], before: Callable[[], object] = lambda: None
    ) -> float:
        """Time what `work` queues, in seconds, perhaps several times, each time after `before`."""


class GpuClock:
    """The GPU's own clock, without time of the host's.

    A kernel that only lets time pass comes first. Meanwhile the host queues a mark, the work, and
    another mark, so that the GPU goes from one to the other without waiting for the host. Where it
    has passed the first mark before the host has queued the last, all is done again behind a longer
    wait; `late` counts the timings in which even the longest was too short.
    """

    SHORTEST, LONGEST = 0.002, 0.5
    CYCLES = 2e9
    """The GPU's cycles in a second, about; at a lower clock the wait is longer: no harm."""
    SOURCE = """
    extern "C" __global__ void pass_time(long long cycles) {
        long long begin = clock64();
        while (clock64() - begin < cycles) {}
    }"""

    def __init__(self) -> None:
        import cupy

        self.late = 0
        self._wait = self.SHORTEST
        self._pass_time = cupy.RawKernel(self.SOURCE, "pass_time")

    def __call__(
        self, work: Callable[[], object], before: Callable[[], object] = lambda: None
    ) -> float:
        """Take the seconds between the marks."""
        import cupy

        first, last = cupy.cuda.Event(), cupy.cuda.Event()
        while True:
            before()
            self._pass_time((1,), (1,), (np.int64(self._wait * self.CYCLES),))
            first.record()
            work()
            last.record()
            ahead = not first.done
            last.synchronize()
            if ahead or self._wait >= self.LONGEST:
                break
            self._wait *= 2
        self.late += not ahead
        return float(cupy.cuda.get_elapsed_time(first, last)) / 1000


def mnist() -> Dataset:
    """Find what is there already: a machine with a GPU may have no network."""
    return load_dataset("mnist", download=False)


@dataclass
class Job:
    """A part under way: what it measures on and with, and where its results go.

    Attributes
    ----------
    out : directory of the report
    scratch : directory that all parts share and that does not outlast the report
    end : moment of `time.monotonic` at which it is killed
    keep : writes what was found so far; a part may be killed at any time
    """

    name: str
    device: Device
    clock: Clock
    out: Path
    scratch: Path
    end: float
    keep: Callable[[Record], None]
    sizes: Sizes = field(default_factory=Sizes)
    dataset: Callable[[], Dataset] = mnist

    def digits(self) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels of an epoch, drawn once for all parts: that takes ten seconds."""
        path = self.scratch / "digits.npz"
        if not path.exists():
            images, labels = synthetic_digits(self.sizes.epoch)
            with atomic_write(path) as temporary:
                np.savez(temporary, images=images, labels=labels)
        with np.load(path) as drawn:
            return drawn["images"], drawn["labels"]


# What is measured


def agreement(job: Job) -> None:
    """Run the tests that need a GPU."""
    told, output = job.scratch / "tests.jsonl", job.scratch / "tests.txt"
    told.write_text("", encoding="utf-8")
    processes = min(TESTERS, available_cores()) if find_spec("xdist") else 1
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "_tests_told"),
        "--continue-on-collection-errors",
        *(("-n", str(processes)) if processes > 1 else ()),
        *job.sizes.tests,
    ]
    environment = tests_environment(job.device) | {_tests_told.FILE: str(told)}
    with output.open("w", encoding="utf-8") as text:
        process = subprocess.Popen(command, cwd=ROOT, stdout=text, stderr=text, env=environment)
        try:
            code: int | None = process.wait(max(1, job.end - time.monotonic() - TO_END))
        except subprocess.TimeoutExpired:
            code = None
            process.kill()
            process.wait()
    found = tests_found(told) | {"processes": processes, "arguments": job.sizes.tests}
    job.keep(found)
    if code is None:
        raise XPNetError("there was no time for all tests")
    if found["failed"]:
        raise XPNetError(f"{len(found['failed'])} tests failed")
    if code or not found["passed"]:
        said = output.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(said) if line.strip()), "it said nothing")
        raise XPNetError(
            f"pytest ended with exit code {code}, and {found['passed']} tests passed: {last}"
        )


def tests_environment(device: Device) -> dict[str, str]:
    """Set the tests' variables: they look for MNIST a directory up, and at the first GPU."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    try:
        directory = find_mnist(download=False).resolve()
    except DataNotFoundError:
        pass  # they say so
    else:
        if directory.name == "mnist":
            environment.setdefault("XPNET_TEST_DATA", str(directory.parent))
    number = int(device.name.partition(":")[2] or 0)
    if number:
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number] if visible else str(number)
    return environment


def tests_found(path: Path) -> Record:
    """Read what the plugin `_tests_told` has written; a last line that is cut off is left out."""
    passed, failed, skipped = 0, [], Counter[str]()
    seconds = Counter[str]()
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            continue
        row = json.loads(line)
        seconds[row["test"]] += row["seconds"]
        if row["outcome"] == "failed":
            failed.append({"test": row["test"], "end": row["end"]})
        elif row["outcome"] == "skipped":
            skipped[row["reason"].removeprefix("Skipped: ")] += 1
        else:
            passed += row["when"] == "call"
    return {
        "passed": passed,
        "failed": failed,
        "skipped": dict(skipped.most_common()),
        "slowest": dict(seconds.most_common(10)),
    }


def steps(
    job: Job,
    models: Sequence[str],
    batch_size: int,
    contestants: Sequence[str],
    precision: str = "float32",
) -> None:
    """Time training steps beside other libraries, as `xpnet bench` does."""
    options = run.Options(
        contestants=tuple(contestants),
        rounds=job.sizes.rounds,
        seconds=job.sizes.seconds,
        device=job.device.name,
        precision=precision,
    )
    result: Record = {
        "device": options.place.name,
        "precision": precision,
        "cores": available_cores(),
        "threads": options.n_threads,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "rates": machine.rates(options.place, options.n_threads),
        "left_out": options.left_out,
        "cases": [],
    }
    job.keep(result)
    images, labels = job.digits()
    for model in models[: job.sizes.models]:
        with tempfile.TemporaryDirectory(dir=job.scratch) as directory:
            case = prepare(
                Path(directory),
                model,
                "train",
                job.sizes.batches[batch_size],
                options.n_threads,
                images,
                labels,
                options.place.name,
                precision,
            )
            result["cases"].append(run.measure(case, options, result["rates"]))
        job.keep(result)
        print(report.text_table(result["cases"][-1]), flush=True)
    compared = [case for case in result["cases"] if case["ratios"]]
    if compared and plots.available():
        result["picture"] = f"{job.name}.png"
        where = f"{job.device.describe()['gpu']}, {precision}"
        drawing.draw_ratios(job.out / result["picture"], compared, where)
        job.keep(result)
    for case in result["cases"]:
        if run.OWN in case["left_out"]:
            raise XPNetError(f"{run.OWN} on {case['model']}: {case['left_out'][run.OWN]}")


def to_accuracies(job: Job) -> None:
    """Train every network until it reads 97 and 99 % of the test images."""
    result: Record = {"cases": []}
    dataset = job.dataset()
    for model in NAMES[: job.sizes.models]:
        case = accuracy.measure(model, dataset, job.sizes.seeds, job.device, available_cores())
        case["data"] = job.sizes.data
        result["cases"].append(case)
        job.keep(result)
        print(report.text_table(case), flush=True)
    demand_kernels(case["description"] for case in result["cases"])


def demand_kernels(descriptions: Iterable[Mapping[str, Any]]) -> None:
    """Fail where, by what engines say of themselves, layers have computed instead of kernels."""
    for about in descriptions:
        if "engine_reason" in about:
            raise XPNetError(f"the layers computed, not the kernels: {about['engine_reason']}")


def kernels(job: Job, models: Sequence[str], batch_size: int) -> None:
    """Time every launch of a step by itself, beside the whole step."""
    result: Record = {"steps": [], "late": 0}
    for model in models[: job.sizes.models]:
        result["steps"].append(launches_of_a_step(job, model, job.sizes.batches[batch_size]))
        result["late"] = job.clock.late
        job.keep(result)
        step = result["steps"][-1]
        took, summed = duration(step["step"] / 1e6), duration(step["sum"] / 1e6)
        print(f"{model}: a step {took}, its launches {summed}", flush=True)


def launches_of_a_step(job: Job, model: str, batch_size: int) -> Record:
    """Measure the microseconds of a step with the book's optimizer, and of each of its launches."""
    engine, kind = CudaEngine(fresh(model, job.device)), MODELS[model]
    images, labels = job.digits()
    x = job.device.asarray(images.reshape(-1, *engine.network.input_shape))
    optimizer = OPTIMIZERS[kind.optimizer](kind.lr)
    training = engine.steps(x, job.device.asarray(labels), batch_size, optimizer)
    order = np.random.default_rng(0).permutation(len(labels))
    rates = np.full(training.steps, kind.lr)
    count = min(job.sizes.steps, len(labels) // batch_size)

    def begin() -> None:
        training.begin(order, rates)

    training.prepare()
    step = min(job.clock(lambda: training.advance(count), begin) for _ in range(TRIES)) / count
    times = {
        launch.call.kernel: microseconds(job, engine.driver, launch, training.rewind)
        for launch in training.launches(batch_size)
    }
    return {
        "model": model,
        "batch_size": batch_size,
        "optimizer": kind.optimizer,
        "step": 1e6 * step,
        "sum": sum(times.values()),
        "launches": times,
        "layers": layers_of(engine),
    }


def layers_of(engine: CudaEngine) -> dict[str, list[str]]:
    """Map the name with which an operation's kernels begin to the layers that it computes."""
    return {kernel.name: [node.name for node in kernel.op.nodes] for kernel in engine.kernels}


def microseconds(job: Job, driver: Driver, launch: Launch, rewind: Callable[[], None]) -> float:
    """Time one launch among many that follow each other, in microseconds.

    `rewind` comes before each run of them: a kernel that counts must not count too far.
    """

    def many() -> None:
        for _ in range(job.sizes.repeats):
            launch()

    rewind()
    launch()  # which loads the kernel
    recording = driver.record(many)
    seconds = [job.clock(recording.launch, rewind) for _ in range(TRIES)]
    return 1e6 * min(seconds) / job.sizes.repeats


def bandwidth(job: Job) -> None:
    """Time the book's im2col beside a copy, by what they read and write."""
    result: Record = {"images": job.sizes.images, "copied": job.sizes.copied}
    a, b = (job.device.zeros(job.sizes.copied, dtype="uint8") for _ in range(2))

    def copy() -> None:
        b[...] = a

    result["copy"] = 2 * job.sizes.copied / seconds_of_a_call(job, copy) / 1e9
    job.keep(result)
    pixels = np.random.default_rng(0).random(job.sizes.images, dtype=np.float32)
    x = job.device.asarray(pixels)

    def columns() -> Any:
        return im2col(x, 3, 3, 1, 1)

    moved = 4 * (x.size + columns().size)
    result["im2col"] = moved / seconds_of_a_call(job, columns) / 1e9
    job.keep(result | {"late": job.clock.late})


def seconds_of_a_call(job: Job, call: Callable[[], object]) -> float:
    """Time several calls that follow each other, in seconds."""

    def calls() -> None:
        for _ in range(job.sizes.calls):
            call()

    calls()  # which loads kernels and fetches memory
    return min(job.clock(calls) for _ in range(TRIES)) / job.sizes.calls


def deep_training(job: Job) -> None:
    """Train the book's largest network for its 20 epochs."""
    dataset = job.dataset()
    result: Record = {"epochs": job.sizes.epochs, "data": job.sizes.data, "runs": []}
    for seed in range(job.sizes.deep_seeds):
        trainer = Trainer(
            fresh("deep-convnet", job.device, seed),
            dataset.x_train, dataset.t_train, dataset.x_test, dataset.t_test,
            job.sizes.epochs, job.sizes.batches[100], Adam(), verbose=False, seed=seed,
        )  # fmt: skip
        steps = job.sizes.epochs * len(trainer.train_batches)
        trainer.schedule = Cosine(0.001, steps=steps)
        last = trainer.train()[-1]
        row = {"seed": seed, "seconds": last.seconds, "test_accuracy": last.test_accuracy}
        result["runs"].append(row | {"description": trainer.describe()})
        job.keep(result)
        print(f"seed {seed}: {last.test_accuracy:.4f} in {last.seconds:.2f} s", flush=True)
    demand_kernels(row["description"] for row in result["runs"])


def tiles(job: Job, model: str, batch_size: int, precision: str) -> None:
    """Time every product with tiles of other sizes."""
    found: dict[str, dict[str, float]] = {}
    n, rng = job.sizes.batches[batch_size], np.random.default_rng(0)
    result: Record = {"model": model, "batch_size": n, "precision": precision, "tried": 0}
    for tile in (None, *job.sizes.tiles):
        engine = CudaEngine(fresh(model, job.device), precision=precision, tile=tile)
        products = {kernel.name for kernel in engine.kernels if hasattr(kernel, "tiles")}
        program = engine.program(n, keeps=True)
        # A GPU multiplies zeros at a higher clock.
        program.x[...] = job.device.asarray(rng.random(program.x.shape, dtype=np.float32))
        for launch in program.forward(n, train=True) + program.train(n, "labels"):
            if launch.call.kernel.rpartition("_")[0] in products:
                times = found.setdefault(launch.call.kernel, {})
                shown = AS_CHOSEN if tile is None else str(tile)
                times[shown] = microseconds(job, engine.driver, launch, lambda: None)
            else:
                launch()
        result |= {"tried": result["tried"] + 1, "launches": found, "late": job.clock.late}
        result["layers"] = layers_of(engine)
        job.keep(result)


# How it is told


def rows(header: Sequence[str], body: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """Make a table; its first columns are of words, the others of numbers."""
    lines = [header, ["---"] * words + ["---:"] * (len(header) - words), *body]
    return ["", *(f"| {' | '.join(line)} |" for line in lines), ""]


def late(result: Record) -> list[str]:
    """Warn where the host could not keep ahead of the GPU."""
    if not result.get("late"):
        return []
    return [
        f"**In {result['late']} timings the host was slower than the GPU: they hold its time too, "
        "and are too long.**"
    ]


def three(number: float) -> str:
    """Show three digits, and all that stand before the point."""
    if number == 0:
        return "0"
    rounded = float(f"{number:.2e}")
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def duration(seconds: float) -> str:
    """Show three digits and the unit that suits them."""
    rounded = float(f"{seconds:.2e}")
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if rounded * scale >= 1:
            return f"{three(rounded * scale)} {unit}"
    return f"{three(rounded * 1e6)} us"


def in_layers(kernel: str, result: Record) -> str:
    """Name the layers that a kernel computes; none where it does other work."""
    return ", ".join(result.get("layers", {}).get(kernel.partition("_")[0], ()))


def agreement_page(result: Record, _: Record) -> list[str]:
    """Tell counts first, then what failed."""
    count = sum(result["skipped"].values())
    lines = [
        f"`pytest {shlex.join(result['arguments'])}`, processes: {result['processes']}; "
        f"{result['passed']} passed, {len(result['failed'])} failed, {count} skipped."
    ]
    for failure in result["failed"][:SHOWN]:
        lines += ["", f"## {failure['test']}", "", "```", *failure["end"], "```"]
    if more := result["failed"][SHOWN:]:
        lines += ["", "Failed as well:", "", *(f"- {failure['test']}" for failure in more)]
    if result["skipped"]:
        lines += ["", "Skipped:", ""]
        lines += [f"- {count}: {reason}" for reason, count in result["skipped"].items()]
    table = [(name, f"{seconds:.1f}") for name, seconds in result["slowest"].items()]
    return lines + rows(("slowest tests", "s"), table)


def agreement_line(result: Record) -> str:
    """Tell how many passed."""
    count = sum(result["skipped"].values())
    return f"{result['passed']} passed, {len(result['failed'])} failed, {count} skipped"


def steps_page(result: Record, about: Record) -> list[str]:
    """Tell the steps as `xpnet bench` tells them."""
    lines = [f"- {line}" for line in report.head(about["machine"] | result)]
    if "picture" in result:
        lines += ["", f"![{drawing.MEANING[drawing.RATIOS]}]({result['picture']})"]
    return [*lines, *cases_page(result), "", f"[What the columns mean]({COLUMNS})."]


def columns_page(stand_in: bool) -> str:
    """Explain the columns of the steps' tables, for all of these pages."""
    if stand_in:
        text = report.STEPS + (
            f"- s an epoch: the time of the steps that {SMALL.epoch} images make.\n"
            "- GPU MiB: 0, since there is none.\n"
        )
    else:
        text = report.legend({"device": "cuda", "cases": [{"task": "train"}]}) + "\n"
    head = f"{STAND_IN}\n\n" if stand_in else ""
    rates = "The rates of this machine, by sgemm and by copying, are at the top of each page."
    return f"{head}# What the columns of the steps' tables mean\n\n{rates}\n\n{text}"


def cases_page(result: Record) -> list[str]:
    """Show the tables of the benchmark's cases."""
    lines: list[str] = []
    for case in result["cases"]:
        header, *body = report.table(case)
        lines += ["", f"## {report.title(case)}", *rows(header, body)]
        if remarks := report.notes(case):
            lines += ["; ".join(remarks) + "."]
    return lines


def steps_line(result: Record) -> str:
    """Tell the step of each network, the ratios to the others, and who could not take part."""
    parts = []
    for case in result["cases"]:
        own, ratios, absent = case["contestants"].get(run.OWN), case["ratios"], case["left_out"]
        words = [duration(own["milliseconds"]["median"] / 1e3)] if own else []
        words += [f"{name} {ratio['median']:.2f}" for name, ratio in ratios.items()]
        words += [f"without {' and '.join(absent)}"] if absent else []
        parts.append(f"{case['model']} {', '.join(words)}")
    return "; ".join(parts)


def accuracy_page(result: Record, about: Record) -> list[str]:
    """Tell the accuracies as `xpnet bench --task accuracy` tells them."""
    return [*too_little(about), *cases_page(result), "", report.ACCURACY.rstrip()]


def too_little(about: Record) -> list[str]:
    """Tell why trainings with the stand-in come to nothing."""
    if not about["stand_in"]:
        return []
    return [
        f"It trains on {STAND_IN_IMAGES} images, too few to learn from: that no accuracy is "
        "reached is by design. What is tried is the way there.",
        "",
    ]


def accuracy_line(result: Record) -> str:
    """Tell the median seconds to each goal."""
    parts = []
    for case in result["cases"]:
        goals = [
            f"{100 * float(goal):g} % in {reached(row)}"
            for goal, row in case["goals"].items()
            if row["reached"]
        ]
        parts.append(f"{case['model']} {', '.join(goals) or 'reached no goal'}")
    return "; ".join(parts)


def reached(row: Record) -> str:
    """Tell the median time to a goal, and how many got there."""
    count = f"{row['reached']} of {len(row['seconds'])}"
    return f"{duration(row['median'])} ({count})" if row["reached"] else f"not reached ({count})"


def kernels_page(result: Record, about: Record) -> list[str]:
    """Show a table for each network, the costliest launch first."""
    lines = late(result)
    for step in result["steps"]:
        whole, summed = duration(step["step"] / 1e6), duration(step["sum"] / 1e6)
        lines += [
            "",
            f"## {step['model']}, {step['optimizer']}, batch {step['batch_size']}",
            "",
            f"A step takes {whole}, its launches one by one {summed}.",
        ]
        table = [
            (kernel, in_layers(kernel, step), duration(time / 1e6), share(time, step))
            for kernel, time in sorted(step["launches"].items(), key=lambda row: -row[1])
        ]
        lines += rows(("launch", "layers", "time", "of the sum"), table, words=2)
    if about["stand_in"]:
        return lines
    return [
        *lines,
        "The step is one of many that follow each other as CUDA graphs. Each launch was repeated, "
        "one run of it right after the other, so that it found in the caches what it had just "
        "read. Where the step is shorter than the sum, launches ran beside others; where it is "
        "longer, the GPU waited between launches, or fetched from its memory what a repeated "
        "launch finds in the caches.",
    ]


def share(time: float, step: Record) -> str:
    """Tell the share of one launch in the sum of all."""
    return f"{100 * time / step['sum']:.0f} %"


def kernels_line(result: Record) -> str:
    """Tell step and sum of each network, and its costliest launch."""
    return "; ".join(
        f"{step['model']} {duration(step['step'] / 1e6)} a step, {duration(step['sum'] / 1e6)} by "
        f"launches, the costliest {costliest(step)}"
        for step in result["steps"]
    )


def costliest(step: Record) -> str:
    """Find the launch that takes longest, with its layers and its share."""
    kernel, time = max(step["launches"].items(), key=lambda row: row[1])
    where = f" ({found})" if (found := in_layers(kernel, step)) else ""
    return f"{kernel}{where} {duration(time / 1e6)}, {share(time, step)}"


def bandwidth_page(result: Record, _: Record) -> list[str]:
    """Show two rates."""
    shape = " x ".join(map(str, result["images"]))
    what = f"copy of {three(result['copied'] / MiB)} MiB, the reference"
    table = [(what, f"{three(result['copy'])} GB/s", "100 %")]
    if "im2col" in result:
        part = f"{three(100 * result['im2col'] / result['copy'])} %"
        what = f"im2col of {shape} float32, window 3 x 3, pad 1"
        table.append((what, f"{three(result['im2col'])} GB/s", part))
    return [
        *late(result),
        *rows(("", "read and written", "of the copy"), table),
        "What is read and what is written are counted once each: of im2col the images and the "
        "columns, though it writes the padded images and its windows in between.",
    ]


def bandwidth_line(result: Record) -> str:
    """Tell both rates."""
    line = f"copy {three(result['copy'])} GB/s"
    if "im2col" not in result:
        return line
    part = f"{three(100 * result['im2col'] / result['copy'])} % of the copy, the reference"
    return f"{line}, im2col {three(result['im2col'])} GB/s: {part}"


def deep_page(result: Record, about: Record) -> list[str]:
    """Show a row for each run."""
    table = [
        (f"seed {row['seed']}", f"{row['test_accuracy']:.4f}", duration(row["seconds"]))
        for row in result["runs"]
    ]
    engine = result["runs"][0]["description"]
    return [
        *too_little(about),
        f"DeepConvNet on {result['data']}, epochs: {result['epochs']}, Adam 0.001 on a cosine "
        "schedule. The time is of training alone.",
        *rows(("", "test accuracy", "time"), table),
        f"{run.OWN}: {', '.join(f'{what} {text}' for what, text in engine.items())}.",
        "",
        "The book's network reads 0.9938 of MNIST's test images.",
    ]


def deep_line(result: Record) -> str:
    """Tell all runs."""
    return ", ".join(
        f"{row['test_accuracy']:.4f} in {duration(row['seconds'])}" for row in result["runs"]
    )


def tiles_page(result: Record, _: Record) -> list[str]:
    """Show the tile that was chosen beside the best, the costliest product first."""
    found = result.get("launches", {})
    table = []
    for kernel, times in sorted(found.items(), key=lambda row: -row[1][AS_CHOSEN]):
        best = min(times, key=lambda tile: times[tile])
        table.append(
            (
                kernel,
                in_layers(kernel, result),
                duration(times[AS_CHOSEN] / 1e6),
                duration(times[best] / 1e6),
                gain(times[AS_CHOSEN], times[best]),
                best.removeprefix("Tile"),
            )
        )
    if found:
        chosen, best = totals(result)
        table.append(
            ("all", "", duration(chosen / 1e6), duration(best / 1e6), gain(chosen, best), "")
        )
    return [
        *late(result),
        f"{result['model']}, batch {result['batch_size']}, products in {result['precision']}, "
        f"{result['tried']} choices of tiles: the one that the engine makes for each product, and "
        "others that all products then have. The JSON file beside this page has all times.",
        *rows(("launch", "layers", "as chosen", "at best", "gain", "with"), table, words=2),
        "A block of threads computes rows x columns of a product and adds up depth terms of each "
        "at a time; each of its threads computes own_rows x own_columns of them.",
    ]


def totals(result: Record) -> tuple[float, float]:
    """Sum the microseconds of all products, with the tiles as chosen and with the best of each."""
    found = result.get("launches", {}).values()
    return sum(t[AS_CHOSEN] for t in found), sum(min(t.values()) for t in found)


def gain(chosen: float, best: float) -> str:
    """Tell by how much the best tiles shorten the time."""
    return f"{100 * (1 - best / chosen):.1f} %" if chosen else ""


def tiles_line(result: Record) -> str:
    """Tell what better tiles would save of all products."""
    chosen, best = totals(result)
    return (
        f"products {duration(chosen / 1e6)} as chosen, {duration(best / 1e6)} with the best of "
        f"{result['tried']}: {gain(chosen, best)} less"
        if chosen
        else ""
    )


@dataclass(frozen=True)
class Part:
    """A question that is answered by itself.

    Attributes
    ----------
    template : the question; `title` fills in sizes of batches and the data set
    seconds : that it is expected to take on an H200
    measure : finds the answer and keeps it, piece by piece
    page, line : the answer in lines, given also the record, and in one line
    mnist, tests : whether it needs MNIST's files, or pytest
    """

    template: str
    seconds: int
    measure: Callable[[Job], None]
    page: Callable[[Record, Record], list[str]]
    line: Callable[[Record], str]
    mnist: bool = False
    tests: bool = False

    def title(self, stand_in: bool) -> str:
        """The question, told of what is measured indeed."""
        sizes = SMALL if stand_in else Sizes()
        return self.template.format(batches=sizes.batches, data=sizes.data)


BATCH = "{batches[100]}"
"""The batch size in the titles of parts."""


def _steps(
    template: str,
    seconds: int,
    models: Sequence[str],
    batch_size: int,
    others: Sequence[str],
    *more: str,
) -> Part:
    def measure(job: Job) -> None:
        steps(job, models, batch_size, others, *more)

    return Part(template, seconds, measure, steps_page, steps_line)


PARTS = {
    "agreement": Part(
        "Do the kernels compute what the layers say?",
        120, agreement, agreement_page, agreement_line, tests=True,
    ),
    **{
        f"steps-{model}": _steps(
            f"How long does a step of {model} take beside PyTorch and JAX, batch {BATCH}?",
            seconds, (model,), 100, ("xpnet eager", *OTHERS),
        )
        for model, seconds in zip(NAMES, (45, 60, 75), strict=True)
    },
    "accuracy": Part(
        "How many seconds of training reach 97 and 99 % on {data}?",
        60, to_accuracies, accuracy_page, accuracy_line, mnist=True,
    ),
    "kernels": Part(
        f"Where does the time of a step go, batch {BATCH}?",
        90, lambda job: kernels(job, (*NAMES, CLASSIFIER), 100), kernels_page, kernels_line,
    ),
    "bandwidth": Part(
        "How fast is im2col beside a copy?", 10, bandwidth, bandwidth_page, bandwidth_line
    ),
    **{
        f"batches-{size}": _steps(
            f"How long do steps on batches of {{batches[{size}]:,}} take beside PyTorch and JAX?",
            90, NAMES, size, ("torch", "torch graph", "jax"),
        )
        for size in (10, 1000)
    },
    "deep": Part(
        "How long does the book's largest training take, and where does it end?",
        30, deep_training, deep_page, deep_line, mnist=True,
    ),
    **{
        f"precision-{precision}": _steps(
            f"How long do steps take with products in {precision}, batch {BATCH}?",
            40, NAMES[1:], 100, ("torch graph",), precision,
        )
        for precision in ("tf32", "bfloat16")
    },
    **{
        f"tiles-{precision}": Part(
            f"Are the tiles of DeepConvNet's products well chosen in {precision}?",
            80, lambda job, p=precision: tiles(job, "deep-convnet", 100, p), tiles_page, tiles_line,
        )
        for precision in ("float32", "tf32")
    },
}  # fmt: skip
"""The parts by name, the most telling first."""


# Records and their pages

DONE, FAILED, OUT_OF_TIME, UNFINISHED = "done", "failed", "out of time", "unfinished"
"""The ways in which a part ended, and that it has not."""
STATES = DONE, FAILED, OUT_OF_TIME, UNFINISHED
KINDS = {
    "part": str, "state": str, "started": str, "seconds": int | float, "problem": list,
    "stand_in": bool, "machine": dict, "result": dict,
}  # fmt: skip
"""The types of what is in every record."""


def load(out: Path, name: str) -> Record | None:
    """Load the record of a part, if there is one.

    Raises
    ------
    XPNetError
        The file is damaged, or something else than the record of this part.
    """
    path = out / f"{name}.json"
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        checked(record, name)
    except Exception as error:  # who knows what the pages stumble over in a foreign file
        reason = f"{type(error).__name__}: {error}"
        raise XPNetError(
            f"{path} is no record of a part ({reason}); remove it, or choose another --out"
        ) from None
    return dict(record)


def checked(record: Any, name: str) -> None:
    """Fail, in whatever way, unless this is the record of a part and all pages can tell it."""
    if not isinstance(record, dict):
        raise ValueError(f"it holds {type(record).__name__}")
    for key, kind in KINDS.items():
        if not isinstance(record[key], kind):
            raise ValueError(f"{key} is {record[key]!r}")
    if record["part"] != name or record["state"] not in STATES:
        raise ValueError(f"it is of {record['part']!r}, {record['state']!r}")
    if not all(isinstance(line, str) for line in record["problem"]):
        raise ValueError(f"problem is {record['problem']!r}")
    if not math.isfinite(record["seconds"]):
        raise ValueError(f"seconds is {record['seconds']}")
    told(record)


def told(record: Record) -> str:
    """Write a part's page; what else is told of it is tried, so that it cannot fail later."""
    answer_of(record)
    answers({record["part"]: record}, record["stand_in"])
    if record["machine"]:
        hardware(record["machine"])
    return page(record)


def save(out: Path, record: Record) -> None:
    """Write a part's record and its page."""
    text = told(record)  # first: a record that cannot be told is not kept
    write_text(
        out / f"{record['part']}.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    )
    write_text(out / f"{record['part']}.md", text)


def page(record: Record) -> str:
    """Show a part to a reader."""
    part, result = PARTS[record["part"]], record["result"]
    lines = [STAND_IN, ""] if record["stand_in"] else []
    begun = f"Part `{record['part']}` of [the report](README.md), begun {when(record)}."
    lines += [f"# {part.title(record['stand_in'])}", "", f"{begun} {outcome(record)}"]
    if record["problem"]:
        lines += ["", "```", *record["problem"], "```"]
    if result:
        if record["state"] != DONE:
            lines += ["", "What was found:"]
        lines += ["", *part.page(result, record)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def answers(records: Mapping[str, Record], stand_in: bool) -> list[str]:
    """Answer what a reader wants to know first: is it right, how fast is it, what costs most.

    Parameters
    ----------
    records : of the parts that there are, by name
    """
    batch = (SMALL if stand_in else Sizes()).batches[100]
    table = [row for model in NAMES if any((row := row_of(model, records))[1:])]
    lines = [f"Is it right? {is_right(records.get('agreement'))}"]
    if bad := [name for name, record in records.items() if record["state"] != DONE]:
        lines += ["", f"**Not come to a good end: {', '.join(bad)}.** The table of parts says why."]
    if not table:
        return lines
    fast = f"xpnet / it is the time of {run.OWN} by that of the other, below 1 {run.OWN} is faster."
    return [
        *lines,
        "",
        f"Steps are of batch {batch}; {fast} The times to 97 and 99 % are of training until "
        "so many of the test images are read right, medians of the runs that got there.",
        *rows(
            ("network", "a step", "fastest other", "its step", "xpnet / it", "to 97 %", "to 99 %",
             "costliest launch of a step"),
            table,
        ),
    ]  # fmt: skip


def is_right(record: Record | None) -> str:
    """Say yes or no, and how many tests say so."""
    if record is None or not record["result"]:
        return "That is not known: no tests have been run to their end."
    said = f"tests: {agreement_line(record['result'])}"
    if record["result"]["failed"]:
        return f"**No**; {said}."
    return f"**Yes**; {said}." if record["state"] == DONE else f"Not all tests were run; {said}."


def row_of(model: str, records: Mapping[str, Record]) -> tuple[str, ...]:
    """Show what was found of a network, in the columns of `answers`; nothing if not asked."""
    cells = dict.fromkeys(("step", "name", "its step", "ratio", "0.97", "0.99", "launch"), "")
    for case in cases_of(records, f"steps-{model}", "cases", model):
        median = {name: row["milliseconds"]["median"] for name, row in case["contestants"].items()}
        others = [name for name in median if not name.startswith(run.OWN)]
        if run.OWN in median:
            cells["step"] = duration(median[run.OWN] / 1e3)
        cells["name"] = "none took part"
        if others:
            cells["name"] = best = min(others, key=lambda name: median[name])
            cells["its step"] = duration(median[best] / 1e3)
            if ratio := case["ratios"].get(f"{run.OWN} / {best}"):
                cells["ratio"] = f"{ratio['median']:.2f}"
    for case in cases_of(records, "accuracy", "cases", model):
        whose = " by the layers" if "engine_reason" in case["description"] else ""
        cells |= {goal: reached(row) + whose for goal, row in case["goals"].items()}
    for step in cases_of(records, "kernels", "steps", model):
        cells["launch"] = costliest(step)
    return model, *cells.values()


def cases_of(records: Mapping[str, Record], part: str, key: str, model: str) -> list[Record]:
    """Find what a part has found of a network."""
    result = records[part]["result"] if part in records else {}
    return [case for case in result.get(key, ()) if case["model"] == model]


def when(record: Record) -> str:
    """Tell the moment at which a part was begun, by the machine's clock."""
    return f"{datetime.fromisoformat(record['started']):%Y-%m-%d %H:%M}"


def outcome(record: Record) -> str:
    """Tell in a sentence how a part ended."""
    if record["state"] == UNFINISHED:
        return "**It has not come to its end.**"
    seconds = f"{record['seconds']:.0f} s"
    return {
        DONE: f"It took {seconds}.",
        FAILED: f"**It failed after {seconds}:**",
        OUT_OF_TIME: f"**It was ended at its limit of {seconds}.**",
    }[record["state"]]


def hardware(machine: Record) -> str:
    """Name the GPU and what computes on it, in a line that is the same from part to part."""
    gpu = machine["gpu"]
    capability = gpu.get("compute_capability")
    parts = [
        gpu["gpu"] + (f", compute capability {capability}" if capability else ""),
        *(f"{what} {gpu[what]}" for what in ("driver", "cupy") if what in gpu),
        listed_versions(machine),
        machine["machine"],
        machine["system"],
    ]
    return "; ".join(parts)


def answer_of(record: Record) -> str:
    """Put what a part found in a cell of a table, after what kept it from finding more."""
    said = PARTS[record["part"]].line(record["result"]) if record["result"] else ""
    if record["state"] != DONE:
        why = {
            FAILED: f"**failed**: {record['problem'][-1] if record['problem'] else ''}",
            OUT_OF_TIME: f"**ended at its limit of {record['seconds']:.0f} s**",
            UNFINISHED: "**has not come to its end**",
        }[record["state"]]
        said = f"{why}; found: {said}" if said else why
    return said.replace("|", "\\|")


def main() -> None:
    """Run one part: the program that gpu_report.py starts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=PARTS)
    for flag in ("--out", "--scratch"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--stand-in", action="store_true")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    child.PATIENCE = PATIENCE
    record = load(options.out, options.name)
    assert record is not None

    def keep(result: Record) -> None:
        record["result"] = result
        save(options.out, record)

    try:
        more: Record = {}
        if options.stand_in:
            import _stand_in

            more = _stand_in.install(options.scratch)
        device = get_device(options.device)
        record["machine"] = machine.description(device)
        keep({})
        clock = more.pop("clock", GpuClock)()
        PARTS[options.name].measure(
            Job(options.name, device, clock, options.out, options.scratch, end, keep, **more)
        )
    except XPNetError as error:
        sys.exit(" ".join(str(error).split()))
