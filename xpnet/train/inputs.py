"""What is wrong with samples and targets, told where training goes wrong by them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from xpnet.arrays import to_numpy
from xpnet.data.batches import Batches
from xpnet.engine.base import CHECKED
from xpnet.train.learner import Batch

LARGE = 50.0
"""Inputs beyond this make first scores, and so gradients, that usual learning rates are not for;
inputs of mean 0 and standard deviation 1 never get there."""


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


def too_large(source: Any) -> str:
    """Say that inputs are far larger than a network is made for; "" if they are not, or unknown.

    The first samples are looked at, as they lie.
    """
    if not isinstance(source, Batches) or source.kind == "pixels":
        return ""
    values = to_numpy(source.first(CHECKED)[0])
    largest = float(np.max(np.abs(values)))
    if not LARGE < largest < np.inf:
        return ""
    remedy = "bring them to mean 0 and standard deviation 1"
    if values.min() >= 0 and largest <= 255:
        remedy = "divide pixels by 255, or give them as uint8"
    return f"inputs reach {largest:g}, and floats are taken as they are; {remedy}"
