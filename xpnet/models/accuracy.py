"""The share of samples, or of the places of images, that a network classifies rightly."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from xpnet.arrays import Array, Device, array_namespace, on_host, to_numpy
from xpnet.arrays.values import as_array, in_parts, kind_of_numbers
from xpnet.errors import ArgumentError
from xpnet.functions.losses import as_one_hot
from xpnet.functions.targets import (
    as_labels,
    check_classes,
    check_fit,
    class_axis,
    classes_of,
    is_ignored,
    label_shape,
)
from xpnet.notice import notice

EVALUATION_BATCH, GPU_EVALUATION_BATCH = 200, 1000
"""Images at a time where only scores are wanted: bounds memory, and costs no speed. A GPU is not
filled by as few as are enough for a CPU."""


def evaluation_batch(device: Device) -> int:
    """Images at a time on a device where only scores are wanted."""
    return GPU_EVALUATION_BATCH if device.kind == "cuda" else EVALUATION_BATCH


class Truth(NamedTuple):
    """What targets say of every place, (N, ...)."""

    labels: Array
    """int64; what is left out, or names no class, has any number."""
    unclear: Array
    """True for rows that are not one-hot."""
    foreign: Array
    """True for labels that are no class."""
    left: Array | None
    """True for what is left out; None if nothing can be."""


def truth_of(y: Array, t: Array, ignore: int | None = None) -> Truth:
    """Read targets, in whichever form they came; nothing is read back from a device.

    Parameters and errors are those of `counted`.
    """
    xp, axis = array_namespace(y), class_axis(y.shape)
    classes = y.shape[axis]
    check_several(classes)
    t = t if t.shape == y.shape else as_labels(t, y.shape)
    if t.shape == label_shape(y.shape) and kind_of_numbers(t) != "floats":
        if on_host(t):
            check_classes(classes_of(t, ignore), classes, t, ignore)
        labels = xp.astype(t, xp.int64)
        foreign = (labels < 0) | (labels >= classes)
        return Truth(labels, xp.zeros_like(foreign), foreign, is_ignored(t, ignore))
    t = as_one_hot(t, y)
    ones, others = (xp.astype(a, xp.int64) for a in (t == 1, (t != 0) & (t != 1)))
    unclear = (xp.sum(ones, axis=axis) != 1) | (xp.sum(others, axis=axis) != 0)
    return Truth(xp.argmax(t, axis=axis), unclear, xp.zeros_like(unclear), None)


def counted(y: Array, t: Array, ignore: int | None = None) -> Array:
    """Count places (5,): right, of unclear rows, of foreign labels, of lost scores, and all.

    The places are the samples, or those of all samples' images. Right are those whose highest score
    is at the target, the first of equal ones being the highest; scores with NaN among them are
    lost, and never right; foreign labels are no class. Nothing is read back from a device with
    memory of its own.

    Parameters
    ----------
    y : scores (N, K, ...)
    t : labels (N, ...) or (N, 1, ...), or one-hot in the shape of y; what is not names no class
    ignore : a label whose places are left out of all counts

    Raises
    ------
    ArgumentError
        There is one output alone; the targets have none of these shapes; or, on the host, a label
        is no class.
    """
    xp, axis = array_namespace(y), class_axis(y.shape)
    labels, unclear, foreign, left = truth_of(y, t, ignore)
    lost = xp.any(xp.isnan(y), axis=axis)
    right = (xp.argmax(y, axis=axis) == labels) & ~lost
    found = (right, unclear, foreign, lost, xp.ones_like(right))
    if left is not None:
        found = tuple(each & ~left for each in found)
    return xp.stack([xp.sum(xp.astype(each, xp.int64)) for each in found])


def share_of(right: int, unclear: int, foreign: int, lost: int, places: int) -> float:
    """The share of what is right, of counts as in `counted`; of lost scores a line tells.

    Raises
    ------
    ArgumentError
        There are targets that name no class, or all are left out.
    """
    if unclear:
        raise ArgumentError(
            f"accuracy needs labels (N,) or one-hot rows (N, K), and {unclear} of {places} rows "
            "are not one-hot; use another metric, such as R2 for numbers or BinaryAccuracy for "
            "rows of 0 and 1"
        )
    check_counted(foreign, lost, places)
    return right / places


def check_counted(foreign: int, lost: int, places: int) -> None:
    """Refuse labels that are no class, or none that counts; of lost scores a line tells.

    Raises
    ------
    ArgumentError
        There are such labels, or there is none to be judged by.
    """
    if foreign:
        raise ArgumentError(
            f"labels must be from 0 and below the network's outputs, and {foreign} of {places} "
            "are not; give the network one output for each class"
        )
    if not places:
        raise ArgumentError(
            "a label at least is needed to be judged by, and all are left out; give some that "
            "name a class"
        )
    if lost:
        notice(f"the scores of {lost} of {places} samples are not numbers, and count as wrong")


def check_finite(x: Array, first: int = 0, what: str = "inputs") -> None:
    """Refuse samples with inputs that are not finite, which have no scores that mean anything.

    Parameters
    ----------
    x : inputs of some samples, or `what` else they have
    first : the number of the first of them

    Raises
    ------
    ArgumentError
        There is one; the message names the first.
    """
    if kind_of_numbers(x) != "floats":
        return
    finite = to_numpy(array_namespace(x).isfinite(x)).reshape(x.shape[0], -1).all(axis=1)
    if not finite.all():
        raise ArgumentError(
            f"{what} must be finite, and those of sample {first + int(finite.argmin())} are not; "
            "leave it out, or give it numbers that are"
        )


def share_correct(
    predict: Callable[[Array], Array],
    x: Array,
    t: Array,
    device: Device,
    batch_size: int | None = None,
    ignore: int | None = None,
) -> float:
    """Share of samples whose highest prediction is at the target, in bounded memory.

    Of images whose places are classified, the share of these. Labels `ignore` are left out.
    """
    if isinstance(t, Mapping):
        check_one_output(t, "accuracy is of one")
    batch_size = evaluation_batch(device) if batch_size is None else batch_size
    x, t = as_array(x, "inputs"), device.asarray(as_array(t, "targets"))
    n = x.shape[0] if x.ndim else 0
    if n == 0 or t.shape[:1] != (n,):
        got = t.shape[0] if t.ndim else "a number"
        raise ArgumentError(f"accuracy needs one target a sample, got {got} for {n}")
    counts: Any = 0
    parts = list(in_parts(n, batch_size))
    for part in parts:
        scores = predict(x[part, ...])
        check_one_output(scores, "accuracy is of one")
        try:
            counts = counts + counted(scores, t[part, ...], ignore)
        except ArgumentError:  # of a part, which knows the places of its own labels alone
            check_fit(as_labels(t, of_all := (n, *scores.shape[1:])), of_all, ignore)
            raise
    for part in parts:  # at the end, so that no device is waited for before
        check_finite(x[part, ...], part.start)
    return share_of(*to_numpy(counts).tolist())


def check_one_output(outputs: Any, what: str) -> None:
    """Refuse outputs, or targets, by the names of several heads where one is needed."""
    if isinstance(outputs, Mapping):
        raise ArgumentError(
            f"the network has several outputs, {', '.join(outputs)}, and {what}; "
            "take that of predict(x)[name]"
        )


def check_several(outputs: int) -> None:
    """Refuse to look for the highest of one output, which it always is.

    Raises
    ------
    ArgumentError
        There is one output.
    """
    if outputs == 1:
        raise ArgumentError(
            "accuracy is of a choice among outputs, and of one alone it would always be 1; use "
            "BinaryAccuracy for yes or no, R2 for numbers"
        )
