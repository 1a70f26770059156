"""How long is a training step of an LSTM on sequences of words beside PyTorch's?

    python scripts/bench_lstm.py --threads 2 --limit 1.0 --out FILE

A decoder as of captions: vectors of 22 words, an LSTM, scores for each step, softmax with labels
of which those behind a sentence's end are left out, and Adam. Both begin with the same weights and
see the same sentences; PyTorch runs eagerly, and that the first losses agree is checked here. The
LSTM alone, forward and backward, is timed as well. Ten steps of one follow ten of another, and what
counts is the ratio of neighbours; threads of the one before, which wait for work a while without
sleeping, have come to rest after some steps that are not timed. By the wall clock: run it alone.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from xpnet import LSTM, Adam, Embedding, Network, SoftmaxWithLoss, StepsLast, TimeAffine
from xpnet.bench import machine
from xpnet.bench.statistics import ratios, spread
from xpnet.engine.threads import blas_threads
from xpnet.errors import ArgumentError
from xpnet.files.atomic import write_text
from xpnet.report.script import Script

OURS, THEIRS, FUSED = "xpnet", "torch eager", "torch eager, fused Adam"
WORDS = 22
AT_ONCE, BEFORE = 10, 5
"""Steps of one that are timed together, and those before them that are not."""


class TorchDecoder(torch.nn.Module):
    """PyTorch's own layers, with a network's weights."""

    def __init__(self, network: Network, *, fused: bool) -> None:
        super().__init__()
        layers = network.layers
        V, D = layers["words"].params["W"].shape
        H = layers["lstm"].n_hidden
        self.words = torch.nn.Embedding(V, D)
        self.lstm = torch.nn.LSTM(D, H, batch_first=True)
        self.output = torch.nn.Linear(H, V)
        lstm, output = layers["lstm"].params, layers["output"].params
        with torch.no_grad():
            for to, array in (
                (self.words.weight, layers["words"].params["W"]),
                (self.lstm.weight_ih_l0, lstm["Wx"].T),
                (self.lstm.weight_hh_l0, lstm["Wh"].T),
                (self.lstm.bias_ih_l0, lstm["b"]),
                (self.lstm.bias_hh_l0, np.zeros_like(lstm["b"])),
                (self.output.weight, output["W"].T),
                (self.output.bias, output["b"]),
            ):
                to.copy_(torch.from_numpy(np.ascontiguousarray(array)))
        self.adam = torch.optim.Adam(self.parameters(), 0.001, fused=fused)

    def step(self, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """One update; the loss before it."""
        self.adam.zero_grad()
        scores = self.output(self.lstm(self.words(ids))[0])
        loss = torch.nn.functional.cross_entropy(
            scores.flatten(0, 1), labels.flatten(), ignore_index=-1
        )
        loss.backward()
        self.adam.step()
        return loss.detach()


def decoder(sizes: argparse.Namespace) -> Network:
    """The same of xpnet's layers."""
    rng = np.random.default_rng(sizes.seed)
    H = sizes.hidden
    layers = {
        "words": Embedding(WORDS, H, rng=rng),
        "lstm": LSTM(H, H, rng=rng),
        "output": TimeAffine(H, WORDS, std="xavier", rng=rng),
        "scores": StepsLast(),
    }
    return Network(layers, SoftmaxWithLoss(ignore=-1), input_shape=(sizes.steps,))


def timed(steps: dict[str, Callable[[], Any]], warm: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of each, by turns, and their ratios."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(warm + rounds):
        for name, step in steps.items():
            for _ in range(BEFORE):
                step()
            begin = time.perf_counter()
            for _ in range(AT_ONCE):
                step()
            times[name].append(1000 * (time.perf_counter() - begin) / AT_ONCE)
    times = {name: values[warm:] for name, values in times.items()}
    return {
        "milliseconds": {name: spread(values) for name, values in times.items()},
        "ratios": ratios(times),
    }


def measure(options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Time steps; print the table and give the record."""
    torch.set_num_threads(threads)
    network = decoder(options)
    theirs, fused = (TorchDecoder(network, fused=each) for each in (False, True))
    adam = Adam(0.001)
    rng = np.random.default_rng(options.seed)
    ids = rng.integers(0, WORDS, (options.batch, options.steps))
    labels = rng.integers(0, WORDS, ids.shape)
    labels[np.arange(options.steps) >= rng.integers(4, options.steps + 1, (len(ids), 1))] = -1
    given = torch.from_numpy(ids), torch.from_numpy(labels)

    def step() -> Any:
        loss, _, grads = network.loss_and_gradient(ids, labels)
        adam.update(network.params, grads)
        return loss

    first = float(step()), float(theirs.step(*given))
    if abs(first[0] - first[1]) > 1e-5 * first[1]:
        raise ArgumentError(f"the first losses differ, {first[0]} and {first[1]}")
    lstm, H = network.layers["lstm"], options.hidden
    x, dh = (rng.standard_normal((*ids.shape, H)).astype("float32") for _ in range(2))
    x_, dh_ = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dh)
    with blas_threads(threads):
        found = {
            "step": timed(
                {
                    OURS: step,
                    THEIRS: lambda: theirs.step(*given),
                    FUSED: lambda: fused.step(*given),
                },
                options.warm,
                options.rounds,
            ),
            "LSTM alone": timed(
                {
                    OURS: lambda: lstm.forward(x, train=True)[1](dh),
                    THEIRS: lambda: theirs.lstm(x_)[0].backward(dh_),
                },
                options.warm,
                options.rounds,
            ),
        }
    print(f"N {options.batch}, T {options.steps}, H {H}, {threads} threads")
    line = "  {what:12}{name:32} {median:8.2f} {unit:4} (min {min:.2f}, max {max:.2f})"
    for what, parts in found.items():
        for name, row in parts["milliseconds"].items():
            print(line.format(what=what, name=name, unit="ms", **row))
        for name, row in parts["ratios"].items():
            print(line.format(what=what, name=name, unit="", **row))
    sizes = {name: getattr(options, name) for name in ("batch", "steps", "hidden", "rounds")}
    return {"threads": threads, **sizes, **machine.description(), **found}


def answer(options: argparse.Namespace) -> None:
    """Measure, write the records if asked to; exit 1 where a step's ratio is above the limit."""
    records = [measure(options, threads) for threads in options.threads or [2]]
    if options.out:
        write_text(options.out, json.dumps(records, indent=2) + "\n")
    found = [row["step"]["ratios"][f"{OURS} / {THEIRS}"]["median"] for row in records]
    if options.limit is not None and max(found) > options.limit:
        sys.exit(f"slower than {options.limit:g} times PyTorch: {max(found):.2f}")


def main() -> None:
    """Take the flags and answer."""
    script = Script(__doc__, "seed")
    script.add_argument("--threads", type=int, action="append", help="2 if left out")
    for name, usual, what in (
        ("batch", 32, "sentences a step"),
        ("steps", 12, "words of a sentence"),
        ("hidden", 128, "numbers of a word's vector, and of the LSTM"),
        ("rounds", 40, "times that each is timed"),
        ("warm", 2, "such rounds before the clock starts"),
    ):
        script.add_argument(f"--{name}", type=int, default=usual, help=what)
    script.add_argument("--limit", type=float, help="of the median ratio to PyTorch")
    script.run(answer)


if __name__ == "__main__":
    main()
