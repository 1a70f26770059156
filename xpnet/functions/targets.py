"""The meaning of targets on the host, classes or numbers, asked before training."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import kind_of_numbers
from xpnet.errors import ArgumentError

AS_ROWS = "give them as t[:, None], of shape (N, 1)"
"""What to do with numbers (N,) that one output is to learn."""

TargetKind: TypeAlias = Literal["labels", "one-hot", "binary", "numbers"]
"""Numbers of classes (N,); rows (N, K > 1) of one 1 and otherwise 0; rows of 0 and 1, as many of
each as may be; anything else."""


def by_head(f: Callable[..., Any], t: Any) -> Any:
    """Return f of targets; of each by its name if they are given by the names of heads."""
    return {name: f(each) for name, each in t.items()} if isinstance(t, Mapping) else f(t)


def values_of(t: Any) -> list[Any]:
    """List the targets of all heads, or the only ones."""
    return list(t.values()) if isinstance(t, Mapping) else [t]


def kind_of(t: Array) -> TargetKind:
    """Name the narrowest kind that these targets are of, by themselves."""
    xp = array_namespace(t)
    if t.ndim == 1 and kind_of_numbers(t) != "floats":
        return "labels"
    if t.ndim != 2 or not xp.all((t == 0) | (t == 1)):
        return "numbers"
    ones = xp.sum(xp.astype(t != 0, xp.int64), axis=1)
    return "one-hot" if t.shape[1] > 1 and xp.all(ones == 1) else "binary"


def check_pairs(samples: int, targets: int) -> None:
    """Refuse data without a target for each sample.

    Raises
    ------
    ArgumentError
        There are more of one than of the other.
    """
    if targets != samples:
        raise ArgumentError(f"one target a sample is needed, got {samples} and {targets}")


def as_labels(t: Array, outputs: tuple[int, ...]) -> Array:
    """Labels that stand one a row, integers (N, 1), as (N,); all other targets as they are.

    Parameters
    ----------
    outputs : the shape of what they are for, (N, K): of one output alone, rows of one number stay
    """
    a_row = len(t.shape) == len(outputs) and t.shape[-1:] == (1,) != outputs[-1:]
    return t[..., 0] if a_row and kind_of_numbers(t) != "floats" else t


def check_labels(t: Array) -> int:
    """Refuse labels below 0, which are no class; how many classes labels need, 0 if they are none.

    Raises
    ------
    ArgumentError
        A label is below 0.
    """
    return classes_of(t) if t.ndim == 1 else 0


def classes_of(t: Array) -> int:
    """The classes that labels of any shape need, the highest and 1; 0 for floats.

    Raises
    ------
    ArgumentError
        A label is below 0.
    """
    xp = array_namespace(t)
    if kind_of_numbers(t) == "floats" or 0 in t.shape:
        return 0
    if xp.isdtype(t.dtype, "bool"):
        return int(xp.any(t)) + 1
    if (lowest := int(xp.min(t))) < 0:
        raise ArgumentError(
            f"labels must be 0 or more, got {lowest}; where they are numbers to be learned by one "
            f"output, {AS_ROWS}"
        )
    return int(xp.max(t)) + 1


def check_classes(needed: int, outputs: int) -> None:
    """Refuse labels without an output: on the device they would be no class at all, unnoticed.

    Parameters
    ----------
    needed : as `check_labels` gives it
    outputs : of a network

    Raises
    ------
    ArgumentError
        The labels need more.
    """
    if needed > outputs:
        told = f"labels must be below the network's {outputs} outputs, got {needed - 1}; "
        if outputs == 1:
            told += f"where they are numbers, or 0 and 1, to be learned by one output, {AS_ROWS}; "
        elif needed == outputs + 1:
            told += "they count from 0: if these begin with 1, subtract 1; otherwise "
        told += "give the network one output for each class"
        if outputs > 1:
            told += (
                f", or, where they are numbers to be learned, give floats of shape (N, {outputs})"
            )
        raise ArgumentError(told)
