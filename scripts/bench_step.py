"""How long is a training step of xpnet beside PyTorch's and beside the book's design?

    python scripts/bench_step.py --model simple-convnet --batch-size 100 --threads 2 --out FILE

All train the same network from the same weights on the same batches, with the book's optimizer:
xpnet and PyTorch (eager) in float32, the book's design in float64, as it is written. Blocks of
steps alternate, so that a noisy machine slows all of them; what counts is the ratio within a round.
Without PyTorch it is left out, and the output says so.
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

import book_design
from xpnet import Network, synthetic_digits, to_numpy
from xpnet.backend import get_device, versions
from xpnet.data.batches import scaled
from xpnet.models import MODELS, build_network
from xpnet.optim import OPTIMIZERS

CHOICES = ("two-layer-net", "simple-convnet", "deep-convnet")
BATCHES = 10
Batches = list[tuple[np.ndarray, np.ndarray]]
Step = Callable[[int], None]


def fresh(model: str) -> Network:
    """The network that all contestants start from."""
    sizes = {"input_size": 784, "hidden_size": 50, "output_size": 10}
    return build_network(model, sizes if model == "two-layer-net" else {}, rng=0)


def xpnet_step(model: str, batches: Batches) -> Step:
    """A function that trains a network of xpnet on batch number i."""
    network = fresh(model)
    optimizer = OPTIMIZERS[MODELS[model].optimizer](MODELS[model].lr)

    def step(i: int) -> None:
        _, _, grads = network.loss_and_gradient(*batches[i % BATCHES])
        optimizer.update(network.params, grads)

    return step


def book_step(model: str, batches: Batches) -> Step:
    """The same in the book's design."""
    params = {name: to_numpy(array) for name, array in fresh(model).params.items()}
    network = book_design.build(model, params)
    wide = [(x.astype(np.float64), t) for x, t in batches]

    def step(i: int) -> None:
        network.step(*wide[i % BATCHES])

    return step


def torch_step(model: str, batches: Batches, threads: int) -> Step:
    """The same in PyTorch, eager, as its tutorials write it."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    start = fresh(model)
    layers: list[nn.Module] = []
    number = 0
    for row, layer in zip(start.summary(), start.layers.values(), strict=True):
        if layer.params:
            number += 1
            W, b = (torch.tensor(to_numpy(start.params[f"{kind}{number}"])) for kind in "Wb")
            if row.kind == "Convolution":
                layers.append(nn.Conv2d(W.shape[1], W.shape[0], W.shape[2], padding=layer.pad))
            else:
                layers += [nn.Flatten(), nn.Linear(*W.shape)]
                W = W.T
            with torch.no_grad():
                layers[-1].weight.copy_(W)
                layers[-1].bias.copy_(b)
        else:
            kinds = {"ReLU": nn.ReLU, "MaxPool": lambda: nn.MaxPool2d(2), "Dropout": nn.Dropout}
            layers.append(kinds[row.kind]())
    net = nn.Sequential(*layers)
    loss_function = nn.CrossEntropyLoss()
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[MODELS[model].optimizer]
    optimizer = kind(net.parameters(), lr=MODELS[model].lr)
    tensors = [(torch.from_numpy(x), torch.from_numpy(t.astype(np.int64))) for x, t in batches]

    def step(i: int) -> None:
        x, t = tensors[i % BATCHES]
        optimizer.zero_grad()
        loss_function(net(x), t).backward()
        optimizer.step()

    return step


def interleaved(steps: dict[str, Step], *, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Milliseconds a step, one figure a round, the contestants taking turns of `seconds` each."""
    counts = {}
    for name, step in steps.items():
        step(0)
        begin = time.perf_counter()
        step(1)
        counts[name] = max(1, round(seconds / (time.perf_counter() - begin)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            begin = time.perf_counter()
            for i in range(counts[name]):
                step(i)
            times[name].append((time.perf_counter() - begin) / counts[name] * 1000)
    return times


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def measure(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Time one network; print the table and give the record."""
    images, labels = synthetic_digits(BATCHES * options.batch_size, seed=0)
    x = scaled(images, np.float32)
    batches = list(zip(np.split(x, BATCHES), np.split(labels, BATCHES), strict=True))
    found = versions()
    with threadpool_limits(options.threads):
        steps = {"xpnet": xpnet_step(model, batches), "book": book_step(model, batches)}
        if importlib.util.find_spec("torch") is not None:
            import torch

            found["torch"] = torch.__version__
            steps["torch"] = torch_step(model, batches, options.threads)
        times = interleaved(steps, rounds=options.rounds, seconds=options.seconds)
    record = {
        "model": model,
        "optimizer": MODELS[model].optimizer,
        "batch_size": options.batch_size,
        "threads": options.threads,
        "machine": get_device("cpu").describe()["processor"],
        "system": platform.platform(),
        "versions": found,
        "milliseconds": {name: spread(values) for name, values in times.items()},
        # Round by round: neighbours in time share the machine's mood.
        "ratios": {
            f"xpnet / {name}": spread(
                [a / b for a, b in zip(times["xpnet"], times[name], strict=True)]
            )
            for name in times
            if name != "xpnet"
        },
    }
    print(f"{model}, batch {options.batch_size}, {options.threads} threads, {record['machine']}")
    line = "  {name:14} {median:8.3f} {unit:9} (min {min:.3f}, max {max:.3f})"
    for name, row in record["milliseconds"].items():
        print(line.format(name=name, unit="ms a step", **row))
    for name, row in record["ratios"].items():
        print(line.format(name=name, unit="", **row))
    if "torch" not in times:
        print("  PyTorch is not installed: it was left out")
    return record


def main() -> None:
    """Measure, print, and write the records if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=CHOICES, action="append", help="all if left out")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each turn")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    records = [measure(model, options) for model in options.model or CHOICES]
    if options.out:
        options.out.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    main()
