"""The meaning of targets on the host, classes or numbers, asked before training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from xpnet.arrays import Array, array_namespace, to_numpy
from xpnet.arrays.values import kind_of_numbers
from xpnet.errors import ArgumentError

AS_ROWS = "give them as t[:, None], of shape (N, 1)"
"""What to do with numbers (N,) that one output is to learn."""

TargetKind: TypeAlias = Literal["labels", "label maps", "one-hot", "binary", "numbers"]
"""Numbers of classes (N,); such for every place of outputs (N, K, ...), as (N, ...); rows
(N, K > 1) of one 1 and otherwise 0; rows of 0 and 1, as many of each as may be; anything else. Rows
may also be those of all places, in the shape of the outputs."""


def by_head(f: Callable[..., Any], t: Any) -> Any:
    """Return f of targets; of each by its name if they are given by the names of heads."""
    return {name: f(each) for name, each in t.items()} if isinstance(t, Mapping) else f(t)


def values_of(t: Any) -> list[Any]:
    """List the targets of all heads, or the only ones."""
    return list(t.values()) if isinstance(t, Mapping) else [t]


def class_axis(outputs: Sequence[int]) -> int:
    """The axis of the classes in outputs (N, K, ...), or (K,) of one sample."""
    return min(1, len(outputs) - 1)


def label_shape(outputs: Sequence[int]) -> tuple[int, ...]:
    """The shape of labels for outputs of a shape: without the axis of the classes."""
    axis = class_axis(outputs)
    return (*outputs[:axis], *outputs[axis + 1 :])


def fits_as_labels(t: Array, outputs: Sequence[int]) -> bool:
    """Tell whether targets are numbers of classes, one for every place of outputs (N, K, ...)."""
    return tuple(t.shape) == label_shape(outputs) and kind_of_numbers(t) != "floats"


def are_labels(t: Array, outputs: Sequence[int] = ()) -> bool:
    """Tell whether targets of samples are numbers of classes: (N,), or maps of them, (N, ...).

    Parameters
    ----------
    outputs : the shape of what they are for, (N, K, ...), which maps need
    """
    if len(outputs) > 2 and fits_as_labels(t, outputs):
        return True
    return t.ndim == 1 and kind_of_numbers(t) != "floats"


def kind_of(t: Array, outputs: Sequence[int] = ()) -> TargetKind:
    """Name the narrowest kind that these targets are of, by themselves.

    Parameters
    ----------
    outputs : the shape of what they are for, (N, K, ...), by which whole numbers are label maps,
        and 0 and 1 at every place are rows
    """
    xp = array_namespace(t)
    if are_labels(t, outputs):
        return "labels" if t.ndim == 1 else "label maps"
    rows = t.ndim == 2 or (t.ndim > 2 and tuple(t.shape) == tuple(outputs))
    if not rows or not all(xp.all((x == 0) | (x == 1)) for x in (t[:1, ...], t)):
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


def as_labels(t: Array, outputs: Sequence[int]) -> Array:
    """Labels that stand one a row, integers (N, 1, ...), as (N, ...); other targets as they are.

    Parameters
    ----------
    outputs : the shape of what they are for, (N, K, ...): of one output alone, rows of one number
        stay
    """
    axis = class_axis(outputs)
    a_row = len(t.shape) == len(outputs) and t.shape[axis] == 1 != outputs[axis]
    if not a_row or kind_of_numbers(t) == "floats":
        return t
    return t[:, 0, ...] if axis else t[0, ...]


def is_ignored(t: Array, ignore: int | None) -> Array | None:
    """Where labels are the one that is left out; None if there is none."""
    if ignore is None:
        return None
    xp = array_namespace(t)
    return xp.astype(t, xp.int64) == ignore  # in a smaller type, numbers would wrap around


def check_labels(t: Array, outputs: Sequence[int] = (), ignore: int | None = None) -> int:
    """Refuse labels below 0, which are no class; how many classes labels need, 0 if they are none.

    Parameters
    ----------
    outputs, ignore : the shape of what they are for, (N, K, ...), and a label that is left out

    Raises
    ------
    ArgumentError
        A label is below 0.
    """
    return classes_of(t, ignore) if are_labels(t, outputs) else 0


def classes_of(t: Array, ignore: int | None = None) -> int:
    """The classes that labels of any shape need, the highest and 1; 0 for floats.

    Parameters
    ----------
    ignore : a label that is left out

    Raises
    ------
    ArgumentError
        A label is below 0.
    """
    xp = array_namespace(t)
    if kind_of_numbers(t) == "floats" or 0 in t.shape:
        return 0
    if (left := is_ignored(t, ignore)) is not None:
        if xp.all(left):
            return 0
        t = xp.where(left, xp.zeros_like(t), t)
    if xp.isdtype(t.dtype, "bool"):
        return int(xp.any(t)) + 1
    if (lowest := int(xp.min(t))) < 0:
        cure = f"where they are numbers to be learned by one output, {AS_ROWS}"
        if t.ndim > 1:
            cure = _left_out(lowest)
        raise ArgumentError(
            f"labels must be 0 or more{_or_ignored(ignore)}, got {lowest}{_place(t, lowest)}; "
            f"{cure}"
        )
    return int(xp.max(t)) + 1


def check_classes(
    needed: int, outputs: int, t: Array | None = None, ignore: int | None = None
) -> None:
    """Refuse labels without an output: on the device they would be no class at all, unnoticed.

    Parameters
    ----------
    needed : as `check_labels` gives it
    outputs : of a network
    t, ignore : the labels, of which maps have their place told, and the one that is left out

    Raises
    ------
    ArgumentError
        The labels need more.
    """
    if needed > outputs:
        highest, maps = needed - 1, t is not None and t.ndim > 1
        told = f"labels must be below the network's {outputs} outputs{_or_ignored(ignore)}, "
        told += f"got {highest}{_place(t, highest)}; "
        if outputs == 1 and not maps:
            told += f"where they are numbers, or 0 and 1, to be learned by one output, {AS_ROWS}; "
        elif needed == outputs + 1:
            told += "they count from 0: if these begin with 1, subtract 1; otherwise "
        elif maps and ignore is None:
            told += f"{_left_out(highest)}; otherwise "
        told += "give the network one output for each class"
        if outputs > 1 and not maps:
            told += (
                f", or, where they are numbers to be learned, give floats of shape (N, {outputs})"
            )
        raise ArgumentError(told)


def check_fit(t: Array, outputs: Sequence[int], ignore: int | None = None) -> int:
    """Refuse labels that outputs (N, K, ...) have no class for; how many classes they need.

    Raises
    ------
    ArgumentError
        A label is below 0, or K or more, and not the one that is left out.
    """
    needed = check_labels(t, outputs, ignore)
    check_classes(needed, outputs[class_axis(outputs)], t, ignore)
    return needed


def _or_ignored(ignore: int | None) -> str:
    return "" if ignore is None else f", or {ignore}, which is left out"


def _left_out(label: int) -> str:
    return f"where it marks what is of no class, give SoftmaxWithLoss(ignore={label})"


def _place(t: Array | None, label: int) -> str:
    """Where a label stands first in a map, in words; "" for one of a sample."""
    if t is None or t.ndim < 2:
        return ""
    found = np.argwhere(to_numpy(t) == label)[0]
    return f" at [{', '.join(map(str, found))}]"
