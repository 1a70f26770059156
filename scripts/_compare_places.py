"""Places where a checkout keeps what `compare_commits.py` runs: the adapter between versions.

A refactoring that breaks a comparison is made known here and nowhere else. What moves from one
module to another is found without that, as long as one module alone defines it. What gets another
name has it added to PLACES; what is called in another way has the function below PLACES changed
that calls it, so that it can do either.
"""

import importlib
import inspect
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

PLACES: dict[str, tuple[str, ...]] = {
    "CudaEngine": ("xpnet.engine.cuda",),
    "clip_by_norm": ("xpnet.clipping",),
    "clip_by_value": ("xpnet.clipping",),
    "get_engine": ("xpnet.engine",),
    **dict.fromkeys(
        ("Constant", "Cosine", "ExponentialDecay", "OneCycle", "StepDecay", "WarmUp"),
        ("xpnet.schedules",),
    ),
}
"""Modules that hold, or held, what cannot be imported from `xpnet`, to be tried in order.

"module:name" where it is called otherwise there.
"""

STAND_INS = ("tests/cuda_on_cpu.py",)
"""Files that hold, or held, HostDriver, the stand-in for a GPU."""


class NotThereError(Exception):
    """A checkout, or this machine, does not have what a case needs."""


class Names:
    """Everything of the checkout by its name, looked for when it is asked for.

    It is taken from `xpnet`, or from the first of its PLACES that exists, or from the one module
    that defines it.
    """

    def __getattr__(self, name: str) -> Any:
        for place in ("xpnet", *PLACES.get(name, ())):
            module, _, other = place.partition(":")
            if (found := getattr(_module(module), other or name, None)) is not None:
                return found
        parts = _definition(name, "xpnet").with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        return getattr(importlib.import_module(module), name)


its = Names()


def root() -> Path:
    """Find the checkout that is being run."""
    return Path(importlib.import_module("xpnet").__file__ or "").parents[1]


def public_names() -> list[str]:
    """List what `from xpnet import *` imports."""
    return list(importlib.import_module("xpnet").__all__)


def _module(name: str) -> Any:
    """A module, or None if there is none of that name; one that cannot be imported is an error."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise
        return None


def _definition(name: str, directory: str, known: Sequence[str] = ()) -> Path:
    """The file that defines a name: a known one, or the only one in a directory of the checkout."""
    for file in known:
        if (root() / file).is_file():
            return Path(file)
    pattern = re.compile(rf"^(?:class|def) {name}\b|^{name}(?:: .+)? =", re.MULTILINE)
    found = [
        path.relative_to(root())
        for path in sorted((root() / directory).rglob("*.py"))
        if pattern.search(path.read_text(encoding="utf-8"))
    ]
    if not found:
        raise NotThereError(f"{name} is nowhere in {directory}/")
    if len(found) > 1:
        raise LookupError(
            f"{name} is in {' and '.join(map(str, found))}; name the one that is meant in "
            "scripts/_compare_places.py"
        )
    return found[0]


# Layers


def pool(kind: str, window: int, stride: int, **options: Any) -> Any:
    """Make a MaxPool or an AveragePool of a square window."""
    made = getattr(its, kind)
    if "window" in inspect.signature(made).parameters:
        return made(window, stride=stride, **options)
    return made(window, window, stride, **options)


# Training


def trainer(
    network: Any,
    x: np.ndarray,
    t: np.ndarray,
    x_test: np.ndarray,
    t_test: np.ndarray,
    *,
    driver: Any = None,
    graph: bool = True,
    precision: str | None = None,
    **options: Any,
) -> Any:
    """Make a silent Trainer; with a driver, by the GPU's engine with its kernels there."""
    given = options if driver is None else {"engine": "reference"} | options
    made = its.Trainer(network, x, t, x_test, t_test, verbose=False, **given)
    if driver is not None:
        made.engine = its.CudaEngine(network, driver=driver, graph=graph, precision=precision)
    return made


def learned(trainer: Any) -> tuple[list[Any], list[Any]]:
    """List the weights, and all else that training changes, each in the order of its names."""
    network, optimizer = trainer.network, trainer.optimizer
    counts = (np.asarray(optimizer.lr), np.asarray(trainer.steps))
    state = [*network.state.values(), *optimizer.state.values(), *counts]
    return list(network.params.values()), state


def saved(trainer: Any) -> tuple[list[Any], tuple[Any, ...]]:
    """Split a trainer's state into arrays and what `restore` takes, as a checkpoint holds it."""
    arrays, record = trainer.state()
    return list(arrays.values()), (arrays, json.loads(json.dumps(record)))


def restore(trainer: Any, state: tuple[Any, ...]) -> None:
    """Have a fresh trainer go on from what `saved` gave."""
    trainer.restore(*state)


# The GPU's engine


def stand_in(directory: Path, *, backwards: bool = False) -> Any:
    """Find what runs a GPU's kernels on this processor."""
    if shutil.which("g++") is None:
        raise NotThereError("g++ is not installed")
    path = root() / _definition("HostDriver", "tests", STAND_INS)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    return importlib.import_module(path.stem).HostDriver(directory, backwards=backwards)


class Noting:
    """A driver that runs nothing and notes what it is given.

    Attributes
    ----------
    sources : of all programs
    launches : kernel, grid and block of every launch, and what is recorded, replayed or aside
    """

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.launches: list[str] = []

    def compile(self, source: str) -> Callable[[str], Callable[..., None]]:
        """Note a program."""
        self.sources.append(source)

        def find(name: str) -> Callable[..., None]:
            def launch(grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any]) -> None:
                self.launches.append(f"{name} {tuple(grid)} {tuple(block)}")

            return launch

        return find

    def record(self, launches: Callable[[], None]) -> Any:
        """Note what would be recorded."""
        with self._noted("record"):
            launches()
        return _Replayed(self.launches)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Note what may run beside the rest."""
        with self._noted("aside"):
            yield

    def join(self) -> None:
        """Note where the rest is waited for."""
        self.launches.append("join")

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        self.launches.append(f"{what} begins")
        yield
        self.launches.append(f"{what} ends")


class _Replayed:
    """A recording that notes when it is replayed."""

    def __init__(self, launches: list[str]) -> None:
        self.launches = launches

    def launch(self) -> None:
        """Note it."""
        self.launches.append("replay")


# Files


def weights_file(path: Path) -> tuple[list[np.ndarray], list[str]]:
    """List the arrays of a weight file or checkpoint in their order, and its names and texts.

    Read without xpnet: what it reads and writes alike may still be another format.
    """
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        names = list(file.keys())
        arrays = [file.get_tensor(name) for name in names]
        metadata: Mapping[str, str] = file.metadata() or {}
    shapes = [f"{n} {a.dtype} {a.shape}" for n, a in zip(names, arrays, strict=True)]
    return arrays, shapes + [f"{key}: {text}" for key, text in sorted(metadata.items())]
