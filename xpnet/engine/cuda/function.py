"""Kernels as functions of C++: one list says what each is given, in its source and its launches."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from xpnet.engine.cuda.driver import Argument, Grid

POINTWISE = 256
"""Threads of a block where each writes one number."""

KINDS: dict[str, type[np.generic]] = {
    "int": np.int32,
    "unsigned": np.uint32,
    "unsigned long long": np.uint64,
    "double": np.float64,
}


class Call(NamedTuple):
    """A launch, by names of kernels."""

    kernel: str
    grid: Grid
    block: int
    arguments: tuple[Argument, ...]
    aside: bool = False
    """True if nothing waits for it before the next call that `joins`."""
    joins: bool = False
    """True if it waits for all that runs aside."""


class Place(Protocol):
    """The arrays and sizes of a launch, by the names that parameters ask for."""

    @property
    def real(self) -> type[np.generic]:
        """The type of the network's numbers."""


class Parameter(NamedTuple):
    """One of the values that a function is given with each launch.

    One whose value is a number is a setting. Seeds, rates and strengths are settings, and not
    compiled in: networks that differ in nothing else share their kernels, which take seconds to
    compile and stay in memory.
    """

    kind: str
    """Its type in C++: one of `KINDS`, "real" for that of the network's numbers, or a pointer."""
    name: str
    value: Callable[[Any], Argument | int] | float
    """A number, or what finds an array or a number in the `Place` of a launch."""

    @property
    def is_setting(self) -> bool:
        """True if it is the same number for every launch."""
        return not callable(self.value)

    def argument(self, place: Place) -> Argument:
        """Find the value for a launch."""
        value = self.value(place) if callable(self.value) else self.value
        return KINDS.get(self.kind, place.real)(value) if isinstance(value, int | float) else value


Parameters: TypeAlias = tuple[Parameter, ...]


def reads(*names: str, kind: str = "real") -> Parameters:
    """Arrays that are called so, here and there, and not written."""
    return tuple(Parameter(f"const {kind}*", name, attrgetter(name)) for name in names)


def writes(*names: str, kind: str = "real") -> Parameters:
    """Arrays that are called so, here and there."""
    return tuple(Parameter(f"{kind}*", name, attrgetter(name)) for name in names)


def counts(**values: Callable[[Any], int]) -> Parameters:
    """Sizes, by their names in C++."""
    return tuple(Parameter("int", name, value) for name, value in values.items())


@dataclass(frozen=True)
class Function:
    """A kernel that can be asked for by its name.

    Attributes
    ----------
    threads : of a block
    parameters : in order
    body : what it does, in C++
    residents : blocks that a multiprocessor is to have room for; the compiler decides if 0
    """

    name: str
    threads: int
    parameters: Parameters
    body: str
    residents: int = 0

    @property
    def source(self) -> str:
        """All of it in C++."""
        given = ", ".join(f"{parameter.kind} {parameter.name}" for parameter in self.parameters)
        bounds = f"{self.threads}, {self.residents}" if self.residents else f"{self.threads}"
        head = f'extern "C" __global__ void __launch_bounds__({bounds}) {self.name}({given})'
        return f"{head} {{\n    {self.body}\n}}\n"

    @property
    def settings(self) -> Parameters:
        """The parameters that are given and that the source does not tell."""
        return tuple(parameter for parameter in self.parameters if parameter.is_setting)

    def call(self, place: Place, grid: Grid, *, aside: bool = False, joins: bool = False) -> Call:
        """A launch on the arrays of a place."""
        arguments = tuple(parameter.argument(place) for parameter in self.parameters)
        return Call(self.name, grid, self.threads, arguments, aside, joins)


def blocks(total: int, threads: int = POINTWISE) -> Grid:
    """Enough for one thread for each number."""
    return -(-total // threads), 1, 1


def boolean(value: bool) -> str:
    """Write a truth value in C++."""
    return str(value).lower()
