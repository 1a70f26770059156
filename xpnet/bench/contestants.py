"""Contestants: the libraries and designs that can be timed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xpnet.bench.cases import NAMES, PRECISIONS, TASKS, Case
from xpnet.bench.statistics import is_own
from xpnet.optional import installed, missing

KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_TOP_PAD_": "200000000",
}
"""Has glibc keep what is freed, at which PyTorch is fastest: left alone, it returns large arrays to
the system, and every step pays for fetching them again. Other C libraries take no notice."""


NOT_AHEAD = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Has JAX take memory of the GPU as it needs it, rather than three quarters of it at once."""
COMPILE = KEEP_MEMORY | {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
"""Has PyTorch compile in the process itself, so that its memory is counted there."""
FREEZE = COMPILE | {"TORCHINDUCTOR_FREEZING": "1"}
"""Has PyTorch compile with the parameters as constants, which folds BatchNorm."""


@dataclass(frozen=True)
class Contestant:
    """A way to take a step.

    A further one is a further line in `ENTRIES` and, if need be, a module.

    Attributes
    ----------
    module : has `build(case, arrays, **settings) -> Ready`; imported in the contestant's process
    environment : variables that its process starts with
    needs : package without which it is left out
    devices : kinds on which it is timed, "cpu" and "cuda"
    precisions : in which it can compute
    images_only : True leaves it out for networks without convolutions
    models : networks with which it is timed; all if empty
    """

    name: str
    module: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: str | None = None
    devices: tuple[str, ...] = ("cpu",)
    tasks: tuple[str, ...] = TASKS
    precisions: tuple[str, ...] = PRECISIONS
    images_only: bool = False
    models: tuple[str, ...] = ()

    def obstacle(self, precision: str) -> str | None:
        """Tell why it is left out, if it is; nothing is imported to find out."""
        if self.needs is not None and not installed(self.needs):
            return missing(self.needs)
        if precision not in self.precisions:
            return f"it computes in {' or '.join(self.precisions)} only"
        return None

    def enters(self, case: Case) -> bool:
        """Tell if it takes part in a case of a device that it is timed on."""
        convolves = ("Convolution", "TransposedConvolution")
        flat = not any(piece.kind in convolves for piece in case.pieces)
        able = self.obstacle(case.precision) is None
        return able and case.task in self.tasks and not (self.images_only and flat)

    def excuse(self, case: Case) -> str | None:
        """Tell why it is left out of a case that it enters, if it is."""
        if self.models and case.model not in self.models:
            return f"it is timed with {', '.join(self.models)} only"
        if case.peculiar and not is_own(self.name):
            return f"only xpnet builds {case.model}: {case.peculiar}"
        return None


OWN, TORCH, JAX = (f"xpnet.bench.{name}_nets" for name in ("own", "torch", "jax"))
BOTH, CUDA = ("cpu", "cuda"), ("cuda",)
TRAIN, PREDICT = ("train",), ("predict",)
STRICT = ("float32",)
ENTRIES = (
    Contestant("xpnet", OWN, {"engine": "auto"}, devices=BOTH),
    Contestant("xpnet without numba", OWN, {"engine": "auto", "numba": False}, needs="numba"),
    Contestant("xpnet eager", OWN, {"engine": "cuda", "graph": False}, devices=CUDA, tasks=TRAIN),
    Contestant(
        "xpnet reference",
        OWN,
        {"engine": "reference"},
        devices=BOTH,
        tasks=TRAIN,
        precisions=STRICT,
        models=NAMES,
    ),
    Contestant(
        "xpnet on the CPU",
        OWN,
        {"engine": "auto", "device": "cpu"},
        devices=CUDA,
        precisions=STRICT,
    ),
    Contestant("book design", "xpnet.bench.book_design", tasks=TRAIN, models=NAMES),
    Contestant("torch", TORCH, needs="torch", devices=BOTH),
    Contestant("torch tuned malloc", TORCH, environment=KEEP_MEMORY, needs="torch"),
    Contestant(
        "torch channels_last",
        TORCH,
        {"channels_last": True},
        KEEP_MEMORY,
        needs="torch",
        images_only=True,
    ),
    Contestant("torch fused", TORCH, {"fused": True}, KEEP_MEMORY, needs="torch", tasks=TRAIN),
    Contestant(
        "torch channels_last fused",
        TORCH,
        {"channels_last": True, "fused": True},
        KEEP_MEMORY,
        needs="torch",
        tasks=TRAIN,
        images_only=True,
    ),
    Contestant("torch compile", TORCH, {"way": "compile"}, COMPILE, needs="torch"),
    Contestant(
        "torch compile channels_last fused",
        TORCH,
        {"way": "compile", "channels_last": True, "fused": True},
        COMPILE,
        needs="torch",
        tasks=TRAIN,
        images_only=True,
    ),
    Contestant(
        "torch compile channels_last",
        TORCH,
        {"way": "compile", "channels_last": True},
        COMPILE,
        needs="torch",
        tasks=PREDICT,
        images_only=True,
    ),
    Contestant(
        "torch compile freezing", TORCH, {"way": "compile"}, FREEZE, needs="torch", tasks=PREDICT
    ),
    Contestant(
        "torch reduce-overhead", TORCH, {"way": "reduce-overhead"}, needs="torch", devices=CUDA
    ),
    Contestant("torch graph", TORCH, {"way": "graph"}, needs="torch", devices=CUDA),
    Contestant("jax", JAX, environment=KEEP_MEMORY | NOT_AHEAD, needs="jax", devices=BOTH),
)


def timed_on(kind: str) -> dict[str, Contestant]:
    """Select those that are timed on a kind of device, by name."""
    return {entry.name: entry for entry in ENTRIES if kind in entry.devices}
