"""How long is a mini-batch step of Nielsen's network beside his loop over samples?

    python scripts/bench_nielsen_step.py --limit 0.5 --out scripts/results/bench_nielsen_step.json

784-30-10, sigmoids and the quadratic cost, 10 samples a step, all in float64. The loop is that of
the book's first two chapters: backpropagation by BP1 to BP4 for one sample after the other, the
gradients added up, and an update. xpnet takes the whole mini-batch as one matrix: by
`update_mini_batch`, which is given the same list of pairs, and as `SGD` does, from a data set in
one piece, in float32 as well. On one thread, in processor time, by turns; what counts is the ratio
within a round. First the two are held against each other: ten steps, the same weights.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from xpnet.bench import machine
from xpnet.bench.statistics import ratios, spread
from xpnet.books.nielsen import Network, Pairs
from xpnet.files.atomic import write_text
from xpnet.report.script import Script

SIZES, BATCH, ETA = [784, 30, 10], 10, 3.0
LOOP, FACE = "loop over samples", "xpnet"

Step = Callable[[], object]


def sigma(z: np.ndarray) -> np.ndarray:
    """Compute the sigmoid as the book has it, which is cheaper than one that cannot overflow."""
    return 1.0 / (1.0 + np.exp(-z))


def slope(z: np.ndarray) -> np.ndarray:
    """Compute its derivative."""
    return sigma(z) * (1.0 - sigma(z))


class Loop:
    """A network's weights and biases, and the book's step on them."""

    def __init__(self, network: Network) -> None:
        self.weights = [w.copy() for w in network.weights]
        self.biases = [b.copy() for b in network.biases]

    def update_mini_batch(self, mini_batch: Pairs, eta: float) -> None:
        """Update w <- w - eta/m sum dC_x/dw, b <- b - eta/m sum dC_x/db (eqs. 20, 21)."""
        sums_b = [np.zeros_like(b) for b in self.biases]
        sums_w = [np.zeros_like(w) for w in self.weights]
        for x, y in mini_batch:
            for layer, (nabla_b, nabla_w) in enumerate(self.gradients(x, y)):
                sums_b[layer] = sums_b[layer] + nabla_b
                sums_w[layer] = sums_w[layer] + nabla_w
        rate = eta / len(mini_batch)
        self.weights = [w - rate * g for w, g in zip(self.weights, sums_w, strict=True)]
        self.biases = [b - rate * g for b, g in zip(self.biases, sums_b, strict=True)]

    def gradients(self, x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Compute dC_x/db and dC_x/dw of each layer."""
        zs, activations = [], [x]
        for w, b in zip(self.weights, self.biases, strict=True):
            zs.append(w @ activations[-1] + b)
            activations.append(sigma(zs[-1]))
        delta = (activations[-1] - y) * slope(zs[-1])  # BP1
        found = [(delta, delta @ activations[-2].T)]  # BP3, BP4
        for layer in range(len(zs) - 2, -1, -1):
            delta = (self.weights[layer + 1].T @ delta) * slope(zs[layer])  # BP2
            found.insert(0, (delta, delta @ activations[layer].T))
        return found


def samples(number: int) -> Pairs:
    """Draw random columns, as large as digits."""
    rng = np.random.default_rng(0)
    targets = np.eye(SIZES[-1])[:, rng.integers(SIZES[-1], size=number)].T[..., np.newaxis]
    return list(zip(rng.random((number, SIZES[0], 1)), targets, strict=True))


def farthest(network: Network, loop: Loop, data: Pairs) -> float:
    """Find the largest difference of a weight or bias after ten steps of both."""
    for _ in range(10):
        network.update_mini_batch(data[:BATCH], ETA)
        loop.update_mini_batch(data[:BATCH], ETA)
    ours, theirs = (*network.weights, *network.biases), (*loop.weights, *loop.biases)
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


def steps(number: int) -> dict[str, Step]:
    """Make each contestant's turn, which is an epoch of so many steps."""
    data = samples(number * BATCH)
    batches = [data[first : first + BATCH] for first in range(0, len(data), BATCH)]

    def each(network: Network | Loop) -> Step:
        def turn() -> None:
            for mini_batch in batches:
                network.update_mini_batch(mini_batch, ETA)

        return turn

    def epoch(dtype: str) -> Step:
        network = Network(SIZES, rng=0, dtype=dtype)
        return partial(network.SGD, data, 1, BATCH, ETA, verbose=False)

    return {
        FACE: each(Network(SIZES, rng=0)),
        "xpnet, SGD": epoch("float64"),
        "xpnet, SGD, float32": epoch("float32"),
        LOOP: each(Loop(Network(SIZES, rng=0))),
    }


def measure(rounds: int, number: int) -> dict[str, Any]:
    """Measure for the record: milliseconds of a step, and ratios to the loop."""
    network = Network(SIZES, rng=0)
    difference = farthest(network, Loop(network), samples(BATCH))
    with threadpool_limits(1):
        turns = steps(number)
        times: dict[str, list[float]] = {name: [] for name in turns}
        for turn in turns.values():
            turn()
        for _ in range(rounds):
            for name, turn in turns.items():
                begin = time.process_time()
                turn()
                times[name].append((time.process_time() - begin) / number * 1000)
    to_loop = {
        name: ratios({name: times[name], LOOP: times[LOOP]}, name)[f"{name} / {LOOP}"]
        for name in times
        if name != LOOP
    }
    return {
        "sizes": SIZES,
        "batch": BATCH,
        "threads": 1,
        "rounds": rounds,
        "steps_a_turn": number,
        "difference_after_ten_steps": difference,
        **machine.description(),
        "milliseconds": {name: spread(values) for name, values in times.items()},
        "ratios": {f"{name} / {LOOP}": ratio for name, ratio in to_loop.items()},
    }


def answer(options: argparse.Namespace) -> None:
    """Measure, print, write the record if asked to; exit 1 where the ratio is above the limit."""
    record = measure(options.rounds, options.steps)
    print(f"784-30-10, steps of {BATCH} samples, one thread, {record['machine']}")
    line = "  {name:40} {median:7.3f} {unit:9} (min {min:.3f}, max {max:.3f})"
    for name, row in record["milliseconds"].items():
        print(line.format(name=name, unit="ms a step", **row))
    for name, row in record["ratios"].items():
        print(line.format(name=name, unit="", **row))
    if options.out:
        write_text(options.out, json.dumps(record, indent=2) + "\n")
    if options.limit is not None:
        slow = [name for name, row in record["ratios"].items() if row["median"] > options.limit]
        if slow:
            sys.exit(f"slower than {options.limit:g} times the loop: {', '.join(slow)}")


def main() -> None:
    """Take the flags and answer."""
    script = Script(__doc__)
    script.add_argument("--rounds", type=int, default=15)
    script.add_argument("--steps", type=int, default=200, help="of each turn")
    script.add_argument("--limit", type=float, help="of each median ratio to the loop")
    script.run(answer)


if __name__ == "__main__":
    main()
