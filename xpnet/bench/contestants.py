"""Who can be timed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from xpnet.bench.cases import TASKS, Case

KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_TOP_PAD_": "200000000",
}
"""Has glibc keep what is freed, at which PyTorch is fastest: left alone, it returns large arrays to
the system, and every step pays for fetching them again. Other C libraries take no notice."""


@dataclass(frozen=True)
class Contestant:
    """One way to take a step.

    A further one is a further line in `CONTESTANTS` and, if need be, a module.

    Attributes
    ----------
    module : has `build(case, arrays, **settings) -> Ready`; imported in the contestant's process
    environment : variables that its process starts with
    needs : package without which it is left out
    images_only : True leaves it out for networks without convolutions
    """

    name: str
    module: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: str | None = None
    tasks: tuple[str, ...] = TASKS
    images_only: bool = False

    @property
    def available(self) -> bool:
        """Whether what it needs is installed; nothing is imported to find out."""
        return self.needs is None or find_spec(self.needs) is not None

    def enters(self, case: Case) -> bool:
        """Whether it takes part in a case."""
        flat = not any(piece.kind == "Convolution" for piece in case.pieces)
        return self.available and case.task in self.tasks and not (self.images_only and flat)


OWN, TORCH = "xpnet.bench.own_nets", "xpnet.bench.torch_nets"
CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant("xpnet", OWN, {"engine": "auto"}),
        Contestant("xpnet reference", OWN, {"engine": "reference"}, tasks=("train",)),
        Contestant("book design", "xpnet.bench.book_design", tasks=("train",)),
        Contestant("torch", TORCH, needs="torch"),
        Contestant("torch tuned malloc", TORCH, environment=KEEP_MEMORY, needs="torch"),
        Contestant(
            "torch channels_last",
            TORCH,
            {"channels_last": True},
            KEEP_MEMORY,
            needs="torch",
            tasks=("train",),
            images_only=True,
        ),
    )
}
