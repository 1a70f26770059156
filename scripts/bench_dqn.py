"""How long is an update of Deep Q-learning on pictures of 10 x 10 beside PyTorch's?

    python scripts/bench_dqn.py --threads 2 --limit 0.6 --out FILE

Both begin with the same weights and are given the same moves, 32 an update, whose stacks of four
pictures are bytes; both make floats of them, compute the target's values, those of the network and
the gradient, and update by Adam. PyTorch runs eagerly, with autograd. That the first losses are the
same is checked here. Updates alternate, and what counts is the ratio of neighbours. By the wall
clock: run it alone.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from xpnet import DQN, Adam, Catch, DeepQ, to_numpy
from xpnet.bench import machine
from xpnet.bench.statistics import ratios, spread
from xpnet.data.replay import Moves
from xpnet.errors import ArgumentError
from xpnet.files.atomic import write_text
from xpnet.report.script import Script

OURS, THEIRS = "xpnet", "torch eager"
SETS = 16
"""Draws of moves that are gone through by turns."""
ALIKE = 5
"""Updates whose losses are compared: later ones differ more and more by what is rounded."""
LR, DISCOUNT = 0.0005, 0.99


def torch_network(network: DQN) -> torch.nn.Sequential:
    """The same layers with the same weights."""
    given = {name: torch.from_numpy(to_numpy(a).copy()) for name, a in network.params.items()}
    conv, first, last = (
        torch.nn.Conv2d(4, 16, 3),
        torch.nn.Linear(1024, 128),
        torch.nn.Linear(128, 3),
    )
    for layer, name in ((conv, "conv1"), (first, "affine"), (last, "values")):
        W = given[f"{name}.W"]
        layer.weight.data = (W if layer is conv else W.T).contiguous()
        layer.bias.data = given[f"{name}.b"]
    relu = torch.nn.ReLU
    return torch.nn.Sequential(conv, relu(), torch.nn.Flatten(), first, relu(), last)


class TorchUpdate:
    """The update in PyTorch."""

    def __init__(self, network: DQN) -> None:
        self.online, self.target = torch_network(network), torch_network(network)
        self.optimizer = torch.optim.Adam(self.online.parameters(), lr=LR)

    def step(self, seen: Any, action: Any, reward: Any, terminal: Any, then: Any) -> float:
        """One update; the loss before it."""
        with torch.no_grad():
            worth = self.target(then[:, :, 0].float() / 255).max(dim=1).values
            y = reward + DISCOUNT * worth * (~terminal)
        values = self.online(seen[:, :, 0].float() / 255)
        taken = values.gather(1, action.long()[:, None])[:, 0]
        loss = torch.nn.functional.smooth_l1_loss(taken, y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def answer(options: argparse.Namespace) -> None:
    """Measure, write the record if asked to; exit 1 where the ratio is above the limit."""
    torch.set_num_threads(options.threads)
    network = DQN(rng=options.seed)
    theirs = TorchUpdate(network)
    learner = DeepQ(
        network,
        Catch(),
        optimizer=Adam(LR, form="paper"),
        target_every=10**9,
        discount=DISCOUNT,
        updates=SETS,
    )
    drawn = [Moves(*map(to_numpy, batch)) for batch in learner.source.epoch(0)]
    given = [[torch.from_numpy(np.ascontiguousarray(part)) for part in moves] for moves in drawn]
    steps: dict[str, Callable[[int], float]] = {
        OURS: lambda k: float(learner.step(drawn[k % SETS])["loss"]),
        THEIRS: lambda k: theirs.step(*given[k % SETS]),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for k in range(options.warm + options.rounds):
        losses = []
        for name, step in steps.items():
            begin = time.perf_counter()
            losses.append(step(k))
            times[name].append(1000 * (time.perf_counter() - begin))
        if k < ALIKE and abs(losses[0] - losses[1]) > 1e-3 * abs(losses[1]) + 1e-6:
            raise ArgumentError(f"the losses of update {k} differ, {losses[0]} and {losses[1]}")
    times = {name: values[options.warm :] for name, values in times.items()}
    record = {
        "model": "dqn",
        "moves": 32,
        "threads": options.threads,
        "rounds": options.rounds,
        **machine.description(),
        "milliseconds": {name: spread(values) for name, values in times.items()},
        "ratios": ratios(times),
    }
    line = "  {name:24} {median:8.3f} {unit:12} (min {min:.3f}, max {max:.3f})"
    for name, row in record["milliseconds"].items():
        print(line.format(name=name, unit="ms an update", **row))
    for name, row in record["ratios"].items():
        print(line.format(name=name, unit="", **row))
    if options.out:
        write_text(options.out, json.dumps(record, indent=2) + "\n")
    found = record["ratios"][f"{OURS} / {THEIRS}"]["median"]
    if options.limit is not None and found > options.limit:
        sys.exit(f"slower than {options.limit:g} times PyTorch: {found:.2f}")


def main() -> None:
    """Take the flags and answer."""
    script = Script(__doc__, "seed")
    script.add_argument("--threads", type=int, default=2, help="of PyTorch; xpnet chooses its own")
    script.add_argument("--rounds", type=int, default=1000)
    script.add_argument("--warm", type=int, default=50, help="updates before the clock starts")
    script.add_argument("--limit", type=float, help="of the median ratio to PyTorch")
    script.run(answer)


if __name__ == "__main__":
    main()
