"""The meaning of targets on the host, classes or numbers, asked before training."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from xpnet.errors import ArgumentError

TargetKind: TypeAlias = Literal["labels", "one-hot", "binary", "numbers"]
"""Numbers of classes (N,); rows (N, K > 1) of one 1 and otherwise 0; rows of 0 and 1, as many of
each as may be; anything else."""


def by_head(f: Callable[..., Any], t: Any) -> Any:
    """Return f of targets; of each by its name if they are given by the names of heads."""
    return {name: f(each) for name, each in t.items()} if isinstance(t, Mapping) else f(t)


def values_of(t: Any) -> list[Any]:
    """List the targets of all heads, or the only ones."""
    return list(t.values()) if isinstance(t, Mapping) else [t]


def kind_of(t: np.ndarray) -> TargetKind:
    """Name the narrowest kind that these targets are of, by themselves."""
    if t.ndim == 1 and t.dtype.kind in "iub":
        return "labels"
    if t.ndim != 2 or not np.all((t == 0) | (t == 1)):
        return "numbers"
    several = t.shape[1] > 1
    return "one-hot" if several and np.all(np.count_nonzero(t, axis=1) == 1) else "binary"


def check_pairs(samples: int, targets: int) -> None:
    """Refuse data without a target for each sample.

    Raises
    ------
    ArgumentError
        There are more of one than of the other.
    """
    if targets != samples:
        raise ArgumentError(f"one target a sample is needed, got {samples} and {targets}")


def check_labels(t: np.ndarray) -> int:
    """Refuse labels below 0, which are no class; how many classes labels need, 0 if they are none.

    Raises
    ------
    ArgumentError
        A label is below 0.
    """
    if kind_of(t) != "labels" or not len(t):
        return 0
    if t.min() < 0:
        raise ArgumentError(f"labels must be 0 or more, got {t.min()}")
    return int(t.max()) + 1


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
        raise ArgumentError(
            f"labels must be below the network's {outputs} outputs, got {needed - 1}; give the "
            "network one output for each class, or, where they are numbers to be learned, give "
            f"floats of shape (N, {outputs})"
        )
