"""A stand-in for a GPU: the report's kernels compiled by g++ and run on the CPU, little of each.

It shows that the report comes to its end and writes its pages. Its times mean nothing.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import xpnet.arrays.cuda
import xpnet.engine.cuda.compiled
from xpnet.arrays import Device, get_device
from xpnet.bench import cases, contestants, machine, own_nets
from xpnet.bench import run as bench_run
from xpnet.bench.cases import Arrays, Case, Ready
from xpnet.bench.contestants import Contestant
from xpnet.data import load_dataset

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # where the kernels' other driver is

from cuda_on_cpu import HostDriver, missing

__all__ = ["build", "install", "missing"]

FREE = 2**33
"""Bytes of its memory that are said to be free."""


class StandIn(Device):
    """The CPU by the name of a GPU."""

    @property
    def is_host(self) -> bool:
        """False, as of the GPU that it stands for."""
        return False

    def free_bytes(self) -> int:
        """Give the same number always."""
        return FREE

    def describe(self) -> dict[str, str]:
        """Say what it is."""
        return super().describe() | {"gpu": "a stand-in, with kernels compiled by g++"}


class HostClock:
    """Seconds of the host's clock: what is queued has been done at once."""

    late = 0

    def __call__(
        self, work: Callable[[], object], before: Callable[[], object] = lambda: None
    ) -> float:
        """Time `work`, in seconds."""
        before()
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin


@dataclass(frozen=True)
class Absent(Contestant):
    """A contestant that has no stand-in."""

    def obstacle(self, precision: str) -> str:
        """Say that it needs a GPU."""
        return "it needs a GPU"


def install(scratch: Path) -> dict[str, Any]:
    """Let this process take the CPU for its GPU; what a `Job` needs besides.

    Parameters
    ----------
    scratch : directory of all parts, for compiled kernels among others
    """
    from _gpu_parts import SMALL, STAND_IN_IMAGES

    kernels = scratch / "kernels"
    kernels.mkdir(exist_ok=True)
    pretend(kernels)
    contestants.ENTRIES = tuple(
        Contestant(
            entry.name, __name__, {**entry.settings, "kernels": str(kernels)}, tasks=entry.tasks,
            devices=entry.devices, precisions=entry.precisions,
        )
        if entry.module == contestants.OWN
        else Absent(entry.name, entry.module, devices=entry.devices)
        for entry in contestants.ENTRIES
    )  # fmt: skip
    cases.EPOCH = bench_run.EPOCH = SMALL.epoch
    machine.GPU_COPY, machine.GPU_SIDE, machine.TRIES, machine.REPEATS = 2**16, 64, 1, 1
    dataset = partial(load_dataset, "synthetic", train_size=STAND_IN_IMAGES, test_size=20)
    return {"clock": HostClock, "sizes": SMALL, "dataset": dataset}


def pretend(kernels: Path) -> None:
    """Have xpnet find a GPU, whose kernels are compiled into this directory."""
    place = get_device("cpu")
    xpnet.arrays.cuda.open_device = lambda _: StandIn("cuda:0", place.xp)
    xpnet.engine.cuda.compiled.CupyDriver = partial(HostDriver, kernels)


def build(case: Case, arrays: Arrays, *, kernels: str, **settings: Any) -> Ready:
    """Build one of xpnet's contestants, in a process of its own."""
    pretend(Path(kernels))
    return own_nets.build(case, arrays, **settings)
