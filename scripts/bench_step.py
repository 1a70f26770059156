"""Is a training step of xpnet slower than PyTorch's, on the same CPU threads?

    python scripts/bench_step.py --batch-size 100 --threads 2 --out bench.json

Both train 784-50-10 with ReLU and SGD in float32 on the same batches, from the same weights. Blocks
of steps alternate, so that a noisy machine slows both; what counts is the ratio of the medians.
Without PyTorch only xpnet is timed.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from xpnet import SGD, TwoLayerNet, synthetic_digits, to_numpy
from xpnet.backend import get_device, versions

LR = 0.1
Batches = list[tuple[np.ndarray, np.ndarray]]
Step = Callable[[int], None]


def xpnet_step(batches: Batches) -> Step:
    """A function that trains a network of xpnet on batch number i."""
    network, optimizer = TwoLayerNet(784, 50, 10, rng=0), SGD(LR)

    def step(i: int) -> None:
        _, _, grads = network.loss_and_gradient(*batches[i % len(batches)])
        optimizer.update(network.params, grads)

    return step


def torch_step(batches: Batches, start: TwoLayerNet, threads: int) -> Step:
    """The same step in PyTorch, eager, as its tutorials write it."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    model = nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
    with torch.no_grad():
        for layer, k in ((model[0], 1), (model[2], 2)):
            layer.weight.copy_(torch.from_numpy(to_numpy(start.params[f"W{k}"]).T.copy()))
            layer.bias.copy_(torch.from_numpy(to_numpy(start.params[f"b{k}"])))
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    tensors = [(torch.from_numpy(x), torch.from_numpy(t.astype(np.int64))) for x, t in batches]

    def step(i: int) -> None:
        x, t = tensors[i % len(tensors)]
        optimizer.zero_grad()
        loss_function(model(x), t).backward()
        optimizer.step()

    return step


def interleaved(steps: dict[str, Step], *, blocks: int, block: int) -> dict[str, list[float]]:
    """Milliseconds a step, one figure a block, the contestants taking turns."""
    for step in steps.values():
        for i in range(block):
            step(i)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(blocks):
        for name, step in steps.items():
            begin = time.perf_counter()
            for i in range(block):
                step(i)
            times[name].append((time.perf_counter() - begin) / block * 1000)
    return times


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main() -> None:
    """Measure, print a table, and write the record if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--block", type=int, default=100, help="steps in a block")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    images, labels = synthetic_digits(20 * options.batch_size, seed=0)
    x = (images.reshape(len(images), -1) / np.float32(255)).astype(np.float32)
    batches = list(zip(np.split(x, 20), np.split(labels, 20), strict=True))

    with threadpool_limits(options.threads):
        steps = {"xpnet": xpnet_step(batches)}
        found = versions()
        if importlib.util.find_spec("torch") is None:
            print("PyTorch is not installed: xpnet is timed alone")
        else:
            import torch

            found["torch"] = torch.__version__
            steps["torch"] = torch_step(batches, TwoLayerNet(784, 50, 10, rng=0), options.threads)
        times = interleaved(steps, blocks=options.blocks, block=options.block)

    record: dict[str, Any] = {
        "network": "784-50-10, ReLU, SGD, float32",
        "batch_size": options.batch_size,
        "threads": options.threads,
        "machine": get_device("cpu").describe()["processor"],
        "system": platform.platform(),
        "versions": found,
        "milliseconds": {name: spread(values) for name, values in times.items()},
    }
    print(f"784-50-10, batch {options.batch_size}, {options.threads} threads, {record['machine']}")
    line = "{name:14} {median:.3f} {unit:9} (min {min:.3f}, max {max:.3f})"
    for name, row in record["milliseconds"].items():
        print(line.format(name=name, unit="ms a step", **row))
    if "torch" in times:
        # Pair by pair: neighbours in time share the machine's mood.
        record["ratio"] = spread([a / b for a, b in zip(*times.values(), strict=True)])
        print(line.format(name="xpnet / torch", unit="", **record["ratio"]))
    if options.out:
        options.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
