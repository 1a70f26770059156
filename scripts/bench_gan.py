"""How long is a training step of DCGAN on digits beside PyTorch's?

    python scripts/bench_gan.py --data mnist --threads 2 --limit 0.9 --out FILE

Both begin with the same weights, see the same images and latent vectors, and update both networks
by Adam: the discriminator by real and made images as two batches, the generator by the same made
images through the discriminator as it is then, whose own gradients are not computed there. PyTorch
runs eagerly, its gradients are autograd's; that the first step has the same losses is checked here.
Latent vectors are drawn within the step, by each in its own way. Ten steps of one alternate with
ten of the other, since threads of PyTorch's that wait keep a core busy for a while, and what counts
is the ratio of neighbours. By the wall clock: run it alone.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

from xpnet import DCGAN, Network, to_numpy
from xpnet.bench import machine
from xpnet.bench.statistics import ratios, spread
from xpnet.data import Dataset
from xpnet.errors import ArgumentError
from xpnet.files.atomic import write_text
from xpnet.models.dcgan import TRAINING
from xpnet.report.script import Script, open_data
from xpnet.train.adversarial import Adversarial

OURS, THEIRS = "xpnet", "torch eager"
TOGETHER = 10
"""Steps that are timed together."""
SETS = 8
"""Batches that are gone through by turns."""


def with_weights(layers: list[nn.Module], network: Network) -> nn.Sequential:
    """Layers of PyTorch with a network's weights, which follow in the same order."""
    net = nn.Sequential(*layers)
    for theirs, (name, ours) in zip(net.parameters(), network.params.items(), strict=True):
        kept = torch.from_numpy(to_numpy(ours).copy())
        theirs.data = kept.T.contiguous() if name == "affine.W" else kept
    return net


class TorchGAN:
    """The networks of the digits' DCGAN, and a step."""

    def __init__(self, gan: DCGAN) -> None:
        generator, discriminator = (gan.networks[name] for name in ("generator", "discriminator"))
        up: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1}
        self.latent = gan.latent_size
        self.G = with_weights(
            [
                nn.Linear(64, 3136), nn.Unflatten(1, (64, 7, 7)), nn.BatchNorm2d(64), nn.ReLU(True),
                nn.ConvTranspose2d(64, 32, bias=False, **up), nn.BatchNorm2d(32), nn.ReLU(True),
                nn.ConvTranspose2d(32, 1, **up), nn.Tanh(),
            ],
            generator,
        )  # fmt: skip
        self.D = with_weights(
            [
                nn.Conv2d(1, 32, **up), nn.LeakyReLU(0.2, True),
                nn.Conv2d(32, 64, bias=False, **up), nn.BatchNorm2d(64), nn.LeakyReLU(0.2, True),
                nn.Flatten(), nn.Linear(3136, 1),
            ],
            discriminator,
        )  # fmt: skip
        self.of_G, self.of_D = (
            torch.optim.Adam(net.parameters(), 0.0002, (0.5, 0.999)) for net in (self.G, self.D)
        )

    def step(self, x: torch.Tensor, z: torch.Tensor | None = None) -> float:
        """One update of both; the sum of the losses, which is read as on our side."""
        z = torch.randn(len(x), self.latent) if z is None else z
        made = self.G(z)
        self.of_D.zero_grad(set_to_none=True)
        of_D = softplus(-self.D(x * 2 - 1)).mean() + softplus(self.D(made.detach())).mean()
        of_D.backward()
        self.of_D.step()
        self.D.requires_grad_(False)
        self.of_G.zero_grad(set_to_none=True)
        of_G = softplus(-self.D(made)).mean()
        of_G.backward()
        self.of_G.step()
        self.D.requires_grad_(True)
        return of_D.item() + of_G.item()


def measure(options: argparse.Namespace, digits: Dataset, threads: int) -> dict[str, Any]:
    """Time steps; print the table and give the record."""
    torch.set_num_threads(threads)
    gan = DCGAN(rng=options.seed)
    theirs = TorchGAN(gan)
    images = digits.x_train[: SETS * options.batch_size]
    learner = Adversarial(gan, images, options.batch_size, seed=options.seed, threads=threads)
    batches = list(learner.source.epoch(0))
    given = [torch.from_numpy(np.ascontiguousarray(x)) for x, _ in batches]
    z = gan.drawn(len(given[0]), key=(options.seed, TRAINING), step=0)
    first = theirs.step(given[0], torch.from_numpy(z)), float(learner.step(batches[0])["loss"])
    if abs(first[0] - first[1]) > 1e-4 * abs(first[0]):
        raise ArgumentError(f"the first losses differ, {first[0]} and {first[1]}")
    steps: dict[str, Callable[[int], Any]] = {
        OURS: lambda k: float(learner.step(batches[k % SETS])["loss"]),
        THEIRS: lambda k: theirs.step(given[k % SETS]),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.warm + options.rounds):
        for name, step in steps.items():
            begin = time.perf_counter()
            for k in range(TOGETHER):
                learner.steps_done += name == OURS
                step(k)
            times[name].append(1000 * (time.perf_counter() - begin) / TOGETHER)
    times = {name: values[options.warm :] for name, values in times.items()}
    record = {
        "model": "dcgan",
        "batch_size": options.batch_size,
        "threads": threads,
        "rounds": options.rounds,
        **machine.description(),
        "milliseconds": {name: spread(values) for name, values in times.items()},
        "ratios": ratios(times),
    }
    print(f"{options.batch_size} images a step, {threads} threads")
    line = "  {name:24} {median:8.2f} {unit:10} (min {min:.2f}, max {max:.2f})"
    for name, row in record["milliseconds"].items():
        print(line.format(name=name, unit="ms a step", **row))
    for name, row in record["ratios"].items():
        print(line.format(name=name, unit="", **row))
    return record


def answer(options: argparse.Namespace) -> None:
    """Measure, write the records if asked to; exit 1 where a ratio is above the limit."""
    digits = open_data(options)
    records = [measure(options, digits, threads) for threads in options.threads or [2]]
    if options.out:
        write_text(options.out, json.dumps(records, indent=2) + "\n")
    found = [row["ratios"][f"{OURS} / {THEIRS}"]["median"] for row in records]
    if options.limit is not None and max(found) > options.limit:
        sys.exit(f"slower than {options.limit:g} times PyTorch: {max(found):.2f}")


def main() -> None:
    """Take the flags and answer."""
    script = Script(__doc__, "data", "seed")
    script.add_argument("--threads", type=int, action="append", help="2 if left out")
    script.add_argument("--batch-size", type=int, default=64)
    script.add_argument("--rounds", type=int, default=30)
    script.add_argument("--warm", type=int, default=2, help="rounds before the clock starts")
    script.add_argument("--limit", type=float, help="of the median ratio to PyTorch")
    script.run(answer)


if __name__ == "__main__":
    main()
