"""Boxes in which something may be, from what is lighter than its surroundings.

    thresholds 64, 112, 160: the 8-connected components of the pixels above each, and every two of
    them, of one threshold, that are at most 3 pixels apart both in x and in y, as one; of all boxes
    around these, each once, those that are 10 to 34 pixels high and 3 to 34 wide

A component may be a whole digit or a piece of one, at a higher threshold also one of two digits
that touch. Everything happens on the host, for all pictures at once: they stand one below another
as a single row of pixels, in which nothing of one picture touches another's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpnet.arguments import checked
from xpnet.arrays import to_numpy
from xpnet.arrays.values import as_array, in_parts
from xpnet.errors import ArgumentError
from xpnet.models.detections import check_scaled

Ints = NDArray[np.int64]

THRESHOLDS = (64, 112, 160)
APART = 3
"""Pixels between two components that may be pieces of one digit."""
HEIGHTS, WIDTHS = (10, 34), (3, 34)
"""The lowest and the highest box, the narrowest and the widest."""
AT_A_TIME = 2**22
"""Pixels that are looked at together, so that memory stays bounded."""


@checked
def proposals(
    images: Any, *, thresholds: Sequence[float] = THRESHOLDS, pairs: bool = True
) -> list[NDArray[np.float64]]:
    """Propose boxes of each picture, (n, 4), by x1, y1, x2, y2 in rising order; n may be 0.

    Parameters
    ----------
    images : (N, 1, H, W) or (N, H, W): light on dark, pixels, uint8, or floats from 0 to 1
    thresholds : from 0 to 255, whatever the pictures are
    pairs : whether two components together are proposed, too

    Raises
    ------
    ArgumentError
        They are no grey pictures, or not of such numbers.
    """
    pictures = grey_pictures(images)
    n, pixels = len(pictures), pictures.shape[1] * pictures.shape[2]
    found: list[NDArray[np.float64]] = []
    for part in in_parts(n, max(1, AT_A_TIME // max(1, pixels))):
        found += _proposals(pictures[part], thresholds, pairs)
    return found


def grey_pictures(images: Any) -> NDArray[Any]:
    """Pictures (N, H, W) on the host, of pixels or floats, as they were given.

    Raises
    ------
    ArgumentError
        They are others.
    """
    x = to_numpy(as_array(images, "pictures"))
    if x.ndim == 4 and x.shape[1] == 1:
        x = x[:, 0]
    if x.ndim != 3:
        raise ArgumentError(
            f"grey pictures are (N, 1, H, W) or (N, H, W), got {x.shape}; convert them, and give "
            "one as images[None]"
        )
    check_scaled(x)
    return x


def _proposals(
    pictures: NDArray[Any], thresholds: Sequence[float], pairs: bool
) -> list[NDArray[np.float64]]:
    scale = 1 if pictures.dtype == np.uint8 else 255
    rows = [np.zeros((0, 5), dtype=np.int64)]
    for threshold in thresholds:
        parts = _components(pictures > threshold / scale)
        rows += [parts, _pairs(parts)] if pairs else [parts]
    boxes = np.concatenate(rows)
    widths, heights = boxes[:, 3] - boxes[:, 1], boxes[:, 4] - boxes[:, 2]
    fits = (heights >= HEIGHTS[0]) & (heights <= HEIGHTS[1])
    fits &= (widths >= WIDTHS[0]) & (widths <= WIDTHS[1])
    found = np.unique(boxes[fits], axis=0)
    last = np.searchsorted(found[:, 0], np.arange(1, len(pictures)))
    return np.split(found[:, 1:].astype(np.float64), last)


def _components(light: NDArray[np.bool_]) -> Ints:
    """Boxes around the 8-connected components of pictures (N, H, W): picture, x1, y1, x2, y2.

    By runs, which are what is light in a row without a gap. Each run starts as a component of its
    own; as long as two that touch are of different ones, both become that of the lower number.
    """
    n, height, width = light.shape
    # A dark row and two dark columns, so that neither rows nor pictures meet at their ends.
    row = width + 2
    flat = np.zeros((n, height + 1, row), dtype=np.int8)
    flat[:, :height, 1:-1] = light
    edges = np.diff(flat.reshape(-1), prepend=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    # Runs of the row below that touch one, also by a corner, are neighbours in the list.
    first = np.searchsorted(ends, starts + row, side="left")
    last = np.searchsorted(starts, ends + row, side="right")
    touching = last - first
    above = np.repeat(np.arange(len(starts)), touching)
    below = np.arange(len(above)) + np.repeat(last - np.cumsum(touching), touching)
    component = _joined(len(starts), above, below)
    _, component = np.unique(component, return_inverse=True)
    count = int(component.max(initial=-1)) + 1
    y, x1 = np.divmod(starts, row)
    boxes = np.empty((5, count), dtype=np.int64)
    boxes[1:3], boxes[3:] = np.iinfo(np.int64).max, 0
    boxes[0, component] = y // (height + 1)
    np.minimum.at(boxes[1], component, x1 - 1)
    np.minimum.at(boxes[2], component, y % (height + 1))
    np.maximum.at(boxes[3], component, ends % row - 1)
    np.maximum.at(boxes[4], component, y % (height + 1) + 1)
    return boxes.T


def _joined(count: int, a: Ints, b: Ints) -> Ints:
    """The lowest number in each one's component, where a[k] and b[k] belong together."""
    root = np.arange(count)
    while True:
        low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
        if np.array_equal(low, high):
            return root
        np.minimum.at(root, high, low)
        while not np.array_equal(root, root[root]):
            root = root[root]


def _pairs(parts: Ints) -> Ints:
    """Boxes around each two parts of a picture that are near each other.

    Parts that are larger than any box may be are left out before.
    """
    widths, heights = parts[:, 3] - parts[:, 1], parts[:, 4] - parts[:, 2]
    parts = parts[(widths <= WIDTHS[1]) & (heights <= HEIGHTS[1])]
    # Below each other as one tall picture: what is near in y stands near in the list.
    tall = int(parts[:, 4].max(initial=0)) + APART + 1
    top = parts[:, 0] * tall + parts[:, 2]
    parts, top = parts[order := np.argsort(top, kind="stable")], top[order]
    bottom = parts[:, 0] * tall + parts[:, 4]
    reach = np.searchsorted(top, bottom + APART, side="right") - np.arange(len(parts)) - 1
    found = [parts[:0]]
    for step in range(1, int(reach.max(initial=0)) + 1):
        upper = np.flatnonzero(reach >= step)
        a, b = parts[upper], parts[upper + step]
        near = np.maximum(a[:, 1], b[:, 1]) - np.minimum(a[:, 3], b[:, 3]) <= APART
        a, b = a[near], b[near]
        ends = np.minimum(a[:, :3], b[:, :3]), np.maximum(a[:, 3:], b[:, 3:])
        found.append(np.concatenate(ends, axis=1))
    return np.concatenate(found)
