"""What does xpnet do on this GPU: is it right, how fast is it, and where does its time go?

    python scripts/gpu_report.py --out DIR --minutes 9

Runs the tests that need a GPU, the benchmark beside other libraries, trainings on MNIST to their
accuracies, and times every kernel of the engine by itself, also with tiles of other sizes. Writes
report.json and README.md; what there is no time left for is named there, and so is what failed.
"""

import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from _common import Script
from xpnet import Adam, Trainer, im2col
from xpnet.arrays import Device, get_device, versions
from xpnet.bench import machine, report, run
from xpnet.bench.cases import EPOCH, NAMES, fresh
from xpnet.data import load_dataset, synthetic_digits
from xpnet.engine.cuda import CudaEngine
from xpnet.engine.cuda.driver import Driver
from xpnet.engine.cuda.program import Launch
from xpnet.engine.cuda.stages import Tile
from xpnet.errors import XPNetError
from xpnet.files.atomic import write_text
from xpnet.optim.schedules import Cosine

Record = dict[str, Any]

REPEATS = 50
"""Launches of a kernel that are timed as one; an epoch has more steps than this."""
BATCH_SIZES = (100, 1000)
TILES = (
    Tile(16, 64, 16, 4, 2), Tile(32, 64, 16, 4, 2), Tile(64, 64, 16, 8, 2), Tile(64, 64, 16, 4, 4),
    Tile(16, 128, 16, 8, 4), Tile(32, 128, 16, 8, 4), Tile(64, 128, 16, 8, 4),
    Tile(16, 64, 32, 4, 2), Tile(32, 64, 32, 4, 2), Tile(64, 64, 32, 8, 2),
)  # fmt: skip
"""Tried for every product; all fit the shared memory, and tensor cores."""
IMAGES = (1000, 32, 28, 28)
"""Of the measurement of im2col."""


def tests(minutes: float) -> Record:
    """The tests that need a GPU, and the whole suite on it as far as time allows."""
    command = [sys.executable, "-m", "pytest", "--require-cuda", "-q", "-k", "cuda or cupy"]
    root = Path(__file__).parents[1]
    try:
        result = subprocess.run(
            [*command, "tests"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=60 * minutes,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        text = output.decode(errors="replace") if isinstance(output, bytes) else output
        return {
            "passed": False,
            "end": [f"not done in {minutes:.1f} min", *text.splitlines()[-20:]],
        }
    return {"passed": result.returncode == 0, "end": result.stdout.splitlines()[-60:]}


def bench(out: Path, **options: Any) -> Record:
    """`xpnet bench`, whose tables and pictures go into a directory of their own."""
    wanted = run.Options(device="cuda", **options)
    record = run.run(wanted)
    report.write(report.prepare_directory(out), record)
    return {
        "directory": out.name,
        "cases": [
            {name: case[name] for name in ("model", "task", "batch_size", "precision")}
            | {name: case[name] for name in ("ratios", "goals") if name in case}
            for case in record["cases"]
        ],
    }


def deep_training() -> Record:
    """The book's largest training: DeepConvNet, 20 epochs of MNIST."""
    dataset, record = load_dataset("mnist"), []
    for seed in range(3):
        trainer = Trainer(
            fresh("deep-convnet", get_device("cuda"), seed),
            dataset.x_train, dataset.t_train, dataset.x_test, dataset.t_test,
            20, 100, Adam(), verbose=False, seed=seed,
        )  # fmt: skip
        trainer.schedule = Cosine(0.001, steps=20 * len(trainer.train_batches))
        last = trainer.train()[-1]
        record.append({"seconds": last.seconds, "test_accuracy": last.test_accuracy})
    return {"schedule": "cosine", "runs": record}


def microseconds(driver: Driver, launch: Launch, rewind: Callable[[], None]) -> float:
    """Of one launch among many that follow each other without the host's help.

    `rewind` comes before each run of them: a kernel that counts must not count too far.
    """

    def many() -> None:
        for _ in range(REPEATS):
            launch()

    rewind()
    launch()  # which loads the kernel
    recording, seconds = driver.record(many), []
    for _ in range(4):
        rewind()
        seconds.append(gpu_clock(recording.launch))
    return 1e6 * min(seconds[1:]) / REPEATS


def gpu_clock(work: Callable[[], None]) -> float:
    """Seconds of the GPU's own clock."""
    import cupy

    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record()
    work()
    end.record()
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(begin, end)) / 1000


def kernels(model: str, batch_size: int, device: Device) -> Record:
    """Every launch of a step by itself, beside the whole step."""
    engine = CudaEngine(fresh(model, device))
    images, labels = synthetic_digits(EPOCH)
    x = device.asarray(images.reshape(-1, *engine.network.input_shape))
    training = engine.training(x, device.asarray(labels), batch_size, Adam())
    order, rates = np.arange(EPOCH), np.full(training.steps, 1e-3)

    def epoch() -> None:
        training.epoch(order, rates)

    epoch()
    step = min(gpu_clock(epoch) for _ in range(3)) / training.steps
    times = {
        launch.call.kernel: microseconds(engine.driver, launch, training.rewind)
        for launch in training.launches(batch_size)
    }
    return {
        "model": model,
        "batch_size": batch_size,
        "step": 1e6 * step,
        "sum": sum(times.values()),
        "kernels": times,
    }


def tiles(model: str, batch_size: int, precision: str, device: Device) -> Record:
    """Every product with tiles of other sizes: microseconds by kernel and tile."""
    found: dict[str, dict[str, float]] = {}
    for tile in (None, *TILES):
        engine = CudaEngine(fresh(model, device), precision=precision, tile=tile)
        products = {stage.name for stage in engine.stages if hasattr(stage, "tiles")}
        plan = engine.plan(batch_size, train=True)
        for launch in plan.forward(batch_size, train=True) + plan.train(batch_size, "labels"):
            if launch.call.kernel.rpartition("_")[0] in products:
                shown = "as chosen" if tile is None else str(tile)
                times = found.setdefault(launch.call.kernel, {})
                times[shown] = microseconds(engine.driver, launch, lambda: None)
    return {"model": model, "batch_size": batch_size, "precision": precision, "kernels": found}


def im2col_bandwidth(device: Device) -> Record:
    """GB/s of the book's im2col, images read and columns written counted once each."""
    x = device.asarray(np.random.default_rng(0).random(IMAGES, dtype=np.float32))
    columns = im2col(x, 3, 3, 1, 1)

    def work() -> None:
        im2col(x, 3, 3, 1, 1)

    rate = 4 * (x.size + columns.size) / min(gpu_clock(work) for _ in range(5)) / 1e9
    copy = machine.gpu_copy_rate(device)
    return {"gigabytes_a_second": rate, "copy": copy, "share_of_copy": rate / copy}


class Report:
    """What was found so far, written after every section: a machine may be taken away."""

    def __init__(self, out: Path, minutes: float) -> None:
        self.out, self.end = report.prepare_directory(out), time.monotonic() + 60 * minutes
        self.record: Record = {
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "minutes": minutes,
        }

    @property
    def minutes(self) -> float:
        """That are left."""
        return (self.end - time.monotonic()) / 60

    def add(self, name: str, needs: float, section: Callable[[], Any]) -> None:
        """Run a section if there are as many minutes left as it needs; keep what came of it."""
        begin = time.monotonic()
        if self.minutes < needs:
            self.record[name] = {"left_out": f"it needs {needs:g} min, {self.minutes:.1f} are left"}
        else:
            try:
                self.record[name] = section()
            except Exception as error:  # the other sections can still tell something
                lines = traceback.format_exception(error)[-3:]
                self.record[name] = {"failed": "".join(lines).strip().splitlines()}
        print(
            f"{name}: {time.monotonic() - begin:.0f} s; {self.minutes:.1f} min are left", flush=True
        )
        write_text(self.out / "report.json", json.dumps(self.record, indent=2) + "\n")
        write_text(self.out / "README.md", page(self.record))

    @property
    def complete(self) -> bool:
        """Whether every section was run and none failed."""
        sections = [part for part in self.record.values() if isinstance(part, dict)]
        bad = any("failed" in part or "left_out" in part for part in sections)
        return not bad and self.record["tests"]["passed"]


def page(record: Record) -> str:
    """The record for a reader."""
    lines = [
        "# What xpnet does on a GPU",
        "",
        f"`make gpu-report`, started {record['started']}.",
        "",
    ]
    for name, part in record.items():
        if not isinstance(part, dict):
            continue
        lines += [f"## {name}", ""]
        table = part.get("kernels") if name.startswith("kernels") else None
        if isinstance(table, dict):
            lines += [
                f"A step takes {part['step']:.1f} us; its launches one by one {part['sum']:.1f}."
            ]
            lines += ["", "| launch | us |", "|---|---:|"]
            lines += [f"| {kernel} | {time:.2f} |" for kernel, time in table.items()]
        elif name.startswith("tiles") and "kernels" in part:
            for kernel, times in part["kernels"].items():
                best = min(times, key=lambda tile: times[tile])
                lines.append(
                    f"- {kernel}: {times['as chosen']:.2f} us as chosen; "
                    f"at best {times[best]:.2f} with {best}"
                )
        else:
            lines += ["```", *json.dumps(part, indent=2).splitlines(), "```"]
        lines.append("")
    return "\n".join(lines)


def answer(options: Any) -> None:
    """Everything, what is most wanted first."""
    device = get_device("cuda" if options.device == "auto" else options.device)
    found = Report(options.out, options.minutes)
    found.add("machine", 0, lambda: {**device.describe(), **versions()})
    found.add("im2col", 0, lambda: im2col_bandwidth(device))
    for model in NAMES:
        for batch_size in BATCH_SIZES:
            name = f"kernels of {model}, batch {batch_size}"
            found.add(name, 0.5, lambda m=model, b=batch_size: kernels(m, b, device))
    found.add("tests", 1, lambda: tests(min(3, found.minutes - 0.2)))
    for model in NAMES:
        found.add(
            f"steps of {model}",
            1,
            lambda m=model: bench(
                found.out / m, models=(m,), tasks=("train",), batch_sizes=BATCH_SIZES, rounds=5
            ),
        )
    found.add("accuracy", 0.5, lambda: bench(found.out / "accuracy", tasks=("accuracy",)))
    found.add("deep-convnet, 20 epochs", 0.5, deep_training)
    for precision in ("tf32", "bfloat16"):
        models = {"models": NAMES[1:], "contestants": ("torch graph",), "precision": precision}
        name = f"steps in {precision}"
        found.add(
            name,
            1,
            lambda n=name, o=models: bench(
                found.out / n.replace(" ", "-"), tasks=("train",), batch_sizes=(100,), rounds=5, **o
            ),
        )
    for precision in ("float32", "tf32"):
        name = f"tiles of deep-convnet, {precision}"
        found.add(name, 1, lambda p=precision: tiles("deep-convnet", 100, p, device))
    if not found.complete:
        raise XPNetError(f"something failed or was left out: see {found.out}/README.md")
    print(f"everything is in {found.out}")


if __name__ == "__main__":
    script = Script(__doc__, out="scripts/results/gpu", weights=False, data=False)
    script.add_argument("--minutes", type=float, default=9, help="after which nothing is begun")
    script.run(answer)
