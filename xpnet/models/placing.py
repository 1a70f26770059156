"""Samples and targets as users give them, brought to what a network takes."""

from collections.abc import Mapping
from functools import partial
from math import prod
from typing import Any

import numpy as np

from xpnet.arrays import Array, Device, array_namespace
from xpnet.arrays.values import as_array
from xpnet.errors import ArgumentError
from xpnet.functions.targets import as_labels, by_head, check_fit
from xpnet.layers.base import Shape, Shapes

_as_targets = partial(as_array, what="targets")


def in_shape(x: Array, want: Shape, single: bool = False) -> Array:
    """A batch in the shape that a network takes, (N, ...).

    Parameters
    ----------
    want : the shape of a sample
    single : whether one sample of a network of rows, (n_in,), will do, too

    Raises
    ------
    ArgumentError
        It is of another shape; as rows of n_in numbers images will do.
    """
    got = tuple(x.shape[1:])
    if got == want or (single and tuple(x.shape) == want and len(want) == 1):
        return x
    if len(want) == 1 and prod(got) == prod(want) and x.ndim > 1:
        return array_namespace(x).reshape(x, (x.shape[0], *want))
    raise ArgumentError(
        f"a batch of shape (N, {', '.join(map(str, want))}) is needed, got {tuple(x.shape)}"
    )


def placed_targets(t: Any, device: Device, outputs: Shapes, ignore: Any = None) -> Any:
    """Targets on a device; by name where there are several heads.

    On the host a loss looks at the labels itself. What goes to a device of its own is looked at
    here, since to read it there would be to wait.

    Parameters
    ----------
    outputs : the shape of a sample's output, by name if there are several heads
    ignore : the label that the loss leaves out, or None; by name, too

    Raises
    ------
    ArgumentError
        They are no numbers, or a label that goes to another device is no class.
    """
    t = by_head(_as_targets, t)
    if not device.is_host:
        check_labels_of(t, outputs, ignore)
    return by_head(device.asarray, t)


def check_labels_of(t: Any, outputs: Shapes, ignore: Any = None) -> None:
    """Refuse labels on the host that are no class of the outputs, of each head by its name.

    Parameters
    ----------
    outputs, ignore : as in `placed_targets`

    Raises
    ------
    ArgumentError
        There is such a label; the message tells it, and its place in a map.
    """
    for name, shape in (outputs if isinstance(outputs, dict) else {"": outputs}).items():
        given = t.get(name) if isinstance(t, Mapping) else t
        if isinstance(given, np.ndarray) and given.ndim:
            of_all = (len(given), *shape)
            left_out = ignore.get(name) if isinstance(ignore, Mapping) else ignore
            check_fit(as_labels(given, of_all), of_all, left_out)
