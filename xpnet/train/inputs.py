"""What is wrong with samples and targets, told where training goes wrong by them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from xpnet.arrays import Array, to_numpy
from xpnet.data.batches import Batches
from xpnet.engine.base import CHECKED
from xpnet.functions.targets import by_head, values_of
from xpnet.train.learner import Batch

LARGE = 50.0
"""Inputs beyond this make first scores, and so gradients, that usual learning rates are not for;
inputs of mean 0 and standard deviation 1 never get there."""
DARK = 16
"""Counts and flags go to about here, and of pictures in uint8 hardly one is so dark."""


def not_finite(batch: Batch, source: Any, epoch: int, step: int | None) -> str:
    """Say what of a batch is not finite, which no learning rate helps; "" if everything is.

    Parameters
    ----------
    source : of the batches
    epoch, step : which of its batches this is; step is None if it is none of them
    """
    known = isinstance(source, Batches)
    for k, array in enumerate(batch):
        name = ("samples", "targets")[k] if known else f"arrays number {k + 1}"
        part_of = ("inputs", "targets")[k] if known else "numbers"
        for part in array.values() if isinstance(array, Mapping) else (array,):
            values = to_numpy(part)
            bad = ~np.isfinite(values)
            if not (count := np.count_nonzero(bad)):
                continue
            sample = int(np.argmax(bad.reshape(len(values), -1).any(axis=1)))
            which = f"sample {sample} of the batch"
            if known and step is not None:
                order = source.order(epoch)
                which = f"sample {order[step * source.batch_size + sample]} of the training data"
            return (
                f"and of the {name} of its batch {count} of {values.size} numbers are not finite, "
                f"first the {part_of} of {which}; leave such samples out, or give them numbers"
            )
    return ""


def too_large(source: Any, *, targets: bool = False) -> str:
    """Say that numbers are far larger than a network is made for; "" if they are not, or unknown.

    The first samples are looked at, as they lie.

    Parameters
    ----------
    targets : look at targets that are numbers, too; those that are learned may be large
    """
    if not isinstance(source, Batches):
        return ""
    x, t = source.first(CHECKED)
    if source.kind != "pixels" and (largest := _largest(x)):
        remedy = "bring them to mean 0 and standard deviation 1"
        if to_numpy(x).min() >= 0 and largest <= 255:
            remedy = "divide pixels by 255, or give them as uint8"
        return f"inputs reach {largest:g}, and floats are taken as they are; {remedy}"
    kinds = by_head(lambda kind: kind == "numbers", source.target_kind)
    for numbers, each in zip(values_of(kinds), values_of(t), strict=True):
        if targets and numbers and (largest := _largest(each)):
            return (
                f"targets reach {largest:g}, and are taken as they are; bring them to mean 0 and "
                "standard deviation 1"
            )
    return ""


def dark_pixels(source: Any) -> str:
    """Say that pixels are so dark that they may be none; "" if they are not, or unknown.

    The first samples are looked at.
    """
    if not isinstance(source, Batches) or source.kind != "pixels":
        return ""
    largest = int(np.max(to_numpy(source.first(CHECKED)[0]), initial=0))
    if not 0 < largest <= DARK:
        return ""
    return (
        "inputs are uint8, which are taken for pixels and divided by 255, and reach only "
        f"{largest}; give them as int64 or float32 if they are no pixels"
    )


def _largest(numbers: Array) -> float:
    """The size of the largest number if that is far too large, otherwise 0."""
    largest = float(np.max(np.abs(to_numpy(numbers))))
    return largest if LARGE < largest < np.inf else 0.0
