"""How long is a training step of Faster R-CNN on digit scenes beside PyTorch's?

    python scripts/bench_scenes.py --data mnist --scenes 1 --threads 1 --limit 1.2 --out FILE

Both begin with the same weights, see the same scenes, and draw the same anchors and boxes to learn
from; both update by Adam. PyTorch runs eagerly, its gradients are autograd's; what it computes is
in `_torch_detector.py`, and that the first step has the same losses is checked here. Steps
alternate, and what counts is the ratio of neighbours. By the wall clock: run it alone.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from _torch_detector import TorchDetector
from xpnet import Adam, FasterRCNN
from xpnet.bench import machine
from xpnet.bench.statistics import ratios, spread
from xpnet.data import Dataset
from xpnet.data.scenes import digit_scenes
from xpnet.errors import ArgumentError
from xpnet.files.atomic import write_text
from xpnet.report.script import Script, open_data
from xpnet.train.detection import Detection
from xpnet.train.joined import draws_of

OURS, THEIRS = "xpnet", "torch eager"
SETS = 8
"""Batches that are gone through by turns."""


def measure(
    options: argparse.Namespace, digits: Dataset, scenes: int, threads: int
) -> dict[str, Any]:
    """Time steps on so many scenes; print the table and give the record."""
    torch.set_num_threads(threads)
    data = digit_scenes(SETS * scenes, 0, digits=digits)
    detector = FasterRCNN(rng=options.seed)
    theirs = TorchDetector(detector)
    learner = Detection(
        detector, data.x_train, data.objects_train, None, None, scenes, Adam(0.002),
        threads=threads,
    )  # fmt: skip
    batches = list(learner.source.epoch(0))
    given = [[torch.from_numpy(np.ascontiguousarray(part)) for part in batch] for batch in batches]
    # What `learner` draws, step by step.
    draws = [
        np.random.default_rng([learner.seed, *divmod(k, len(batches))]).random(
            draws_of(detector, batches[k % SETS][1])
        )
        for k in range(options.warm + options.rounds)
    ]
    steps: dict[str, Callable[[int], Any]] = {
        OURS: lambda k: learner.step(batches[k % SETS]),
        THEIRS: lambda k: theirs.step(*given[k % SETS], torch.from_numpy(draws[k])),
    }
    first = [float(step(0)["loss"].item()) for step in steps.values()]
    if abs(first[0] - first[1]) > 1e-4 * first[1]:
        raise ArgumentError(f"the first losses differ, {first[0]} and {first[1]}")
    times: dict[str, list[float]] = {name: [] for name in steps}
    for k in range(1, options.warm + options.rounds):
        learner.steps_done = k
        for name, step in steps.items():
            begin = time.perf_counter()
            step(k)
            times[name].append(1000 * (time.perf_counter() - begin))
    times = {name: values[options.warm - 1 :] for name, values in times.items()}
    record = {
        "model": "faster-rcnn",
        "scenes": scenes,
        "threads": threads,
        "rounds": options.rounds,
        **machine.description(),
        "milliseconds": {name: spread(values) for name, values in times.items()},
        "ratios": ratios(times),
    }
    print(f"{scenes} scenes a step, {threads} threads")
    line = "  {name:24} {median:8.2f} {unit:10} (min {min:.2f}, max {max:.2f})"
    for name, row in record["milliseconds"].items():
        print(line.format(name=name, unit="ms a step", **row))
    for name, row in record["ratios"].items():
        print(line.format(name=name, unit="", **row))
    return record


def answer(options: argparse.Namespace) -> None:
    """Measure, write the records if asked to; exit 1 where a ratio is above the limit."""
    digits = open_data(options)
    records = [
        measure(options, digits, scenes, threads)
        for scenes in options.scenes or [1]
        for threads in options.threads or [1]
    ]
    if options.out:
        write_text(options.out, json.dumps(records, indent=2) + "\n")
    found = [row["ratios"][f"{OURS} / {THEIRS}"]["median"] for row in records]
    if options.limit is not None and max(found) > options.limit:
        sys.exit(f"slower than {options.limit:g} times PyTorch: {max(found):.2f}")


def main() -> None:
    """Take the flags and answer."""
    script = Script(__doc__, "data", "seed")
    for name, what in (("scenes", "a step, 1 if left out"), ("threads", "1 if left out")):
        script.add_argument(f"--{name}", type=int, action="append", help=what)
    script.add_argument("--rounds", type=int, default=200)
    script.add_argument("--warm", type=int, default=20, help="steps before the clock starts")
    script.add_argument("--limit", type=float, help="of the median ratio to PyTorch")
    script.run(answer)


if __name__ == "__main__":
    main()
