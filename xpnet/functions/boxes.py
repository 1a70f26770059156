"""Boxes in pictures: how far they overlap, their differences as numbers to be learned, choices.

A box is (x1, y1, x2, y2), in pixels and continuous: it is x2 - x1 wide and y2 - y1 high, and the
pixel of row r and column c covers [c, c + 1) x [r, r + 1).
"""

from collections.abc import Sequence
from math import inf, isfinite, log, sqrt
from typing import Any, TypeAlias

import numpy as np

from xpnet.arguments import checked, real
from xpnet.arrays import Array, array_namespace, on_host
from xpnet.arrays.values import floating, in_parts
from xpnet.errors import ArgumentError

Weights: TypeAlias = tuple[float, float, float, float]
"""What the four differences of boxes are multiplied by: across, down, in width and in height."""

LARGEST_GROWTH = log(1000 / 16)
"""The logarithm of a box's growth that `decode` allows at most, in width and in height."""

TEMPORARY = 2**22
"""Numbers at most that are computed of pairs of boxes at a time."""


def iou(a: Array, b: Array) -> Array:
    """Intersection over union of every box of a with every box of b; 0 where the union is empty.

    Parameters
    ----------
    a, b : (..., A, 4) and (..., B, 4), with equal axes before

    Returns
    -------
    (..., A, B), from 0 to 1; a box whose corners are in the wrong order has no area
    """
    xp = array_namespace(a)
    a, b = _boxes("iou", a)[..., :, None, :], _boxes("iou", b)[..., None, :, :]
    intersection = _length(
        xp.maximum(a[..., 0], b[..., 0]), xp.minimum(a[..., 2], b[..., 2])
    ) * _length(xp.maximum(a[..., 1], b[..., 1]), xp.minimum(a[..., 3], b[..., 3]))
    union = _area(a) + _area(b) - intersection
    return intersection / xp.where(union == 0, 1.0, union)


def encode(boxes: Array, references: Array, weights: Weights = (1.0, 1.0, 1.0, 1.0)) -> Array:
    """Write boxes g as differences from reference boxes p, which a network can learn.

        t = ((gx - px) / pw, (gy - py) / ph, ln(gw / pw), ln(gh / ph)) times the weights

    with centres x, y and sizes w, h. Girshick et al. 2014, arXiv:1311.2524, appendix C. Dividing
    by standard deviations of 0.1 and 0.2 is multiplying by the weights (10, 10, 5, 5).

    Parameters
    ----------
    boxes, references : (..., 4) each

    Raises
    ------
    ArgumentError
        A box or a reference has no area, and so no logarithm of its size; those that a mask leaves
        out can be given as their references. On a device with memory of its own nothing is read,
        and such differences are not finite.
    """
    xp, boxes = array_namespace(boxes), _boxes("encode", boxes)
    gx, gy, gw, gh = _centred(boxes)
    px, py, pw, ph = _centred(_boxes("encode", references))
    for what, sizes in (("boxes", (gw, gh)), ("references", (pw, ph))):
        if on_host(boxes) and any(bool(xp.any(size <= 0)) for size in sizes):
            raise ArgumentError(
                f"encode needs {what} of some width and height, got one of none; leave it out, or, "
                "where a mask does so afterwards, give its reference in its place"
            )
    t = xp.stack([(gx - px) / pw, (gy - py) / ph, xp.log(gw / pw), xp.log(gh / ph)], axis=-1)
    return t * _weights("encode", boxes, weights)


def decode(deltas: Array, references: Array, weights: Weights = (1.0, 1.0, 1.0, 1.0)) -> Array:
    """Return the boxes that have these differences from their references: the inverse of `encode`.

    A box is at most 62.5 times as wide, and as high, as its reference: the differences in size are
    cut off at `LARGEST_GROWTH`, so that no wild one overflows. What reaches beyond the picture is
    left to `clip`.

    Parameters
    ----------
    deltas, references : (..., 4) each
    """
    xp, deltas = array_namespace(deltas), _boxes("decode", deltas)
    t = deltas / _weights("decode", deltas, weights)
    px, py, pw, ph = _centred(_boxes("decode", references))
    grown = xp.exp(xp.minimum(t[..., 2:], LARGEST_GROWTH))
    x, y = px + t[..., 0] * pw, py + t[..., 1] * ph
    across, down = grown[..., 0] * pw / 2, grown[..., 1] * ph / 2
    return xp.stack([x - across, y - down, x + across, y + down], axis=-1)


@checked
def clip(boxes: Array, height: float, width: float) -> Array:
    """The parts of boxes (..., 4) within a picture; of one outside an empty box at the edge."""
    xp, boxes = array_namespace(boxes), _boxes("clip", boxes)
    ends = xp.asarray([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
    return xp.minimum(xp.maximum(boxes, 0.0), ends)


@checked
def anchors(
    height: int,
    width: int,
    stride: float,
    sizes: Sequence[float],
    ratios: Sequence[float],
    rounded: bool = False,
) -> np.ndarray:
    """Boxes of several shapes at every cell of a map, from which those of objects differ little.

        w = size / sqrt(ratio),   h = size sqrt(ratio)
        x = (j + 0.5) stride,   y = (i + 0.5) stride   of the centre in row i and column j

    Ren, He, Girshick, Sun 2015, "Faster R-CNN", arXiv:1506.01497, section 3.1.1.

    Parameters
    ----------
    height, width : cells of the map
    stride : pixels of the picture between two cells
    sizes, ratios : square roots of areas, in pixels; heights over widths
    rounded : as torchvision has them: half sizes rounded to whole pixels, half to even, and centres
        at (j stride, i stride). Weights that were learned there need it.

    Returns
    -------
    (height width len(ratios) len(sizes), 4), float64 on the host: rows of the map, its columns,
    ratios, and innermost sizes

    Raises
    ------
    ArgumentError
        A number is not positive.
    """
    given = {"stride": [stride], "sizes": sizes, "ratios": ratios}
    if min(height, width) < 1 or not all(map(_positive, given.values())):
        raise ArgumentError(
            "anchors need a map of at least one cell, and a stride, sizes and ratios above 0, got "
            f"{height} x {width} cells, stride={stride}, sizes={sizes!r:.100}, "
            f"ratios={ratios!r:.100}"
        )
    halves = np.asarray(
        [[size / sqrt(ratio) / 2, size * sqrt(ratio) / 2] for ratio in ratios for size in sizes]
    )
    if rounded:
        halves = np.round(halves)
    i, j = ((np.arange(count) + (0 if rounded else 0.5)) * stride for count in (height, width))
    centres = np.stack(np.broadcast_arrays(j[None, :], i[:, None]), axis=-1)[:, :, None, :]
    return np.concatenate([centres - halves, centres + halves], axis=-1).reshape(-1, 4)


@checked
def nms(
    boxes: Array,
    scores: Array,
    threshold: float,
    limit: int,
    classes: Array | None = None,
    valid: Array | None = None,
) -> tuple[Array, Array]:
    """Choose boxes by falling score, each of which drops those after it that overlap it too far.

    That is when their IoU is above the threshold; at it they stay. Equal scores keep their order.
    The result has a fixed size: what is chosen comes first, and a mask tells how much that is. So
    nothing depends on data but the numbers ("non-maximum suppression").

    Parameters
    ----------
    boxes, scores : (..., M, 4) and (..., M); axes before are those of pictures, each by itself.
        Boxes that are not finite, and scores that are NaN, are left out
    threshold : an IoU, from 0 to 1
    limit : how many are chosen at most
    classes : (..., M): only boxes of the same class drop each other; all are of one if None
    valid : (..., M), False for those that are not there; all are if None

    Returns
    -------
    indices : (..., limit), int64: which ones, by falling score; 0 where fewer were chosen
    valid : (..., limit), True for those that were chosen

    Raises
    ------
    ArgumentError
        The shapes do not fit, or a number is out of range.
    """
    xp, boxes, scores = array_namespace(boxes), _boxes("nms", boxes), floating(scores)
    (*pictures, M), N = scores.shape, int(np.prod(scores.shape[:-1]))
    for name, given in (("classes", classes), ("valid", valid)):
        if given is not None and given.shape != scores.shape:
            raise ArgumentError(
                f"nms needs {name} of shape {tuple(scores.shape)}, as the scores', got "
                f"{tuple(given.shape)}"
            )
    if boxes.shape != (*scores.shape, 4) or not 0 <= threshold <= 1 or limit < 1:
        raise ArgumentError(
            "nms needs a score for each box, a threshold from 0 to 1 and a limit of at least 1, "
            f"got boxes {tuple(boxes.shape)} and scores {tuple(scores.shape)}, "
            f"threshold={threshold}, limit={limit}"
        )
    whole = {"dtype": xp.int64, "device": scores.device}
    if not M or not N:
        none = xp.zeros((*pictures, limit), dtype=xp.bool, device=scores.device)
        return xp.zeros((*pictures, limit), **whole), none
    numbers = xp.all(xp.isfinite(boxes), axis=-1) & ~xp.isnan(scores)
    there = numbers if valid is None else numbers & valid
    order = xp.argsort(xp.where(there, -scores, inf), axis=-1, stable=True)
    first = xp.arange(N, **whole)[:, None] * M  # of each picture among all
    chosen = xp.reshape(xp.reshape(order, (N, M)) + first, (N * M,))

    def sorted_(x: Array) -> Array:
        rest = x.shape[scores.ndim :]
        return xp.reshape(xp.take(xp.reshape(x, (N * M, *rest)), chosen, axis=0), (N, M, *rest))

    kept = _kept(
        sorted_(boxes), sorted_(there), None if classes is None else sorted_(classes), threshold
    )
    # The kept ones come first, in their order.
    places = xp.argsort(xp.astype(~kept, xp.uint8), axis=-1, stable=True)[:, : min(limit, M)]
    found = xp.arange(places.shape[1], **whole) < xp.sum(
        xp.astype(kept, xp.int64), axis=-1, keepdims=True
    )
    flat = xp.reshape(places + first, (-1,))
    indices = xp.reshape(xp.take(xp.reshape(order, (N * M,)), flat), places.shape)
    indices = xp.where(found, indices, 0)
    if (more := limit - indices.shape[1]) > 0:
        indices = xp.concat([indices, xp.zeros((N, more), **whole)], axis=1)
        found = xp.concat([found, xp.zeros((N, more), dtype=xp.bool, device=scores.device)], axis=1)
    return xp.reshape(indices, (*pictures, limit)), xp.reshape(found, (*pictures, limit))


def _kept(boxes: Array, there: Array, classes: Array | None, threshold: float) -> Array:
    """Tell which boxes (N, M, 4), by falling score, are dropped by none before: (N, M)."""
    xp, (N, M) = array_namespace(boxes), there.shape
    boxes = xp.where(there[..., None], boxes, 0.0)
    kept, ranks = there, xp.arange(M, dtype=xp.int64, device=boxes.device)
    for part in in_parts(M, max(1, TEMPORARY // (N * M))):
        drops = iou(boxes[:, part, :], boxes) > threshold
        drops = drops & (ranks[part][:, None] < ranks)
        if classes is not None:
            drops = drops & (classes[:, part][:, :, None] == classes[:, None, :])
        spares = ~drops
        for k in range(part.start, part.stop):
            kept = kept & (spares[:, k - part.start, :] | ~kept[:, k : k + 1])
    return kept


def _boxes(owner: str, given: Array) -> Array:
    """Boxes as floats, or a refusal of what has no four numbers."""
    if not getattr(given, "shape", ()) or given.shape[-1] != 4:
        raise ArgumentError(
            f"{owner} needs boxes (..., 4), got the shape {tuple(getattr(given, 'shape', ()))}"
        )
    return floating(given)


def _length(low: Array, high: Array) -> Array:
    """The lengths from low to high, 0 where high is lower."""
    return array_namespace(low).maximum(high - low, 0.0)


def _area(boxes: Array) -> Array:
    return _length(boxes[..., 0], boxes[..., 2]) * _length(boxes[..., 1], boxes[..., 3])


def _centred(boxes: Array) -> tuple[Array, Array, Array, Array]:
    """The centres, x and y, and the sizes, width and height."""
    w, h = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return boxes[..., 0] + w / 2, boxes[..., 1] + h / 2, w, h


def _weights(owner: str, like: Array, weights: Weights) -> Array:
    """The weights as an array beside boxes."""
    if not _positive(weights) or len(weights) != 4:
        raise ArgumentError(
            f"weights of {owner} must be four numbers above 0, got {weights!r:.100}"
        )
    return array_namespace(like).asarray(list(weights), dtype=like.dtype, device=like.device)


def _positive(numbers: Any) -> bool:
    """Tell whether these are several numbers, all of them positive and finite."""
    several = isinstance(numbers, Sequence | np.ndarray) and len(numbers) > 0
    return several and all(real(each) and isfinite(each) and each > 0 for each in numbers)
