"""Regions of interest: what maps hold within boxes, brought to one size.

RoIs are (K, 5): the number of a picture, and a box (x1, y1, x2, y2) in its pixels, of which maps
have `scale` as many along each side. Both functions give y (K, C, P, Q) and `backward`, which takes
dy to dx, the gradient of the maps; boxes get none.

Inside, maps are (N, H, W, C), so that what is done to a pixel is done to neighbouring numbers, and
a region is brought to its height first and then to its width.
"""

from collections.abc import Callable
from itertools import pairwise
from math import inf, nan
from typing import NamedTuple, TypeAlias

import numpy as np

from xpnet.arguments import checked, one_or_several
from xpnet.arrays import Array, array_namespace, on_host, scatter_add, to_numpy
from xpnet.arrays.values import floating, in_parts
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import contiguous

Back: TypeAlias = Callable[[Array], Array]
"""From the gradient of regions, (K, C, P, Q), to that of the maps, (N, C, H, W)."""

TEMPORARY = 2**22
"""Numbers at most that are read from the rows of maps at a time."""


@checked
def roi_align(
    x: Array,
    rois: Array,
    size: int | tuple[int, int],
    scale: float,
    samples: int = 2,
    aligned: bool = True,
) -> tuple[Array, Back]:
    """The mean of samples x samples points in each of P x Q bins, read between the pixels.

    A region is (y2 - y1) scale high and its bins the P-th part of that, unrounded; points stand
    (k + 0.5) / samples of a bin behind its edge. They are read bilinearly, with the centres of
    pixels at whole numbers; beyond the outermost centres the map goes on as it ends there, and a
    point below -1 or above H is 0. The same holds across.

    A bin's mean has a weight for each row times one for each column: y = A_y x A_x^T for each
    region and channel. So a value that is not finite makes NaN of its channel in every region of
    its picture.

    He, Gkioxari, Dollár, Girshick 2017, "Mask R-CNN", arXiv:1703.06870, section 3.

    Parameters
    ----------
    x : (N, C, H, W)
    rois : (K, 5)
    size : P and Q, or one number for both
    scale : of the maps over the pictures, such as 1/16
    samples : points along each side of a bin
    aligned : whether coordinates are moved by half a pixel, which is right. The first codes did
        not, and had regions of at least one pixel, too; PyTorch's and ONNX's know both.

    Returns
    -------
    y : (K, C, P, Q)
    backward : dy to dx

    Raises
    ------
    ArgumentError
        The shapes do not fit, or a RoI is of no picture, or its corners are in the wrong order. On
        a device with memory of its own RoIs are not read, and what such a one has is NaN.
    """
    x, (P, Q) = _checked("roi_align", x, rois, scale), _size("roi_align", size)
    if samples < 1:
        raise ArgumentError(f"roi_align needs samples of at least 1, got {samples}")
    region = _regions("roi_align", x, rois, scale)
    xp, (N, C, H, W), K = array_namespace(x), x.shape, rois.shape[0]
    A_y = xp.where(
        region.told[:, None, None], _weights(region.y1, region.y2, P, H, samples, aligned), nan
    )
    A_x = _weights(region.x1, region.x2, Q, W, samples, aligned)[:, None, :, :]
    A_y, A_x = (xp.astype(A, x.dtype, copy=False) for A in (A_y, A_x))
    parts = _parts(region.picture, max(1, TEMPORARY // (P * W * C)))
    maps = xp.reshape(contiguous(xp.permute_dims(x, (0, 2, 3, 1))), (N, H, W * C))
    y = xp.empty((K, P, Q, C), dtype=x.dtype, device=x.device)
    for n, part in parts:
        A = A_y[part, ...]
        if n is None:
            rows = A @ xp.take(maps, region.picture[part], axis=0)
        else:
            rows = xp.reshape(A, (-1, H)) @ maps[n, ...]
        y[part, ...] = A_x[part, ...] @ xp.reshape(rows, (A.shape[0], P, W, C))

    def backward(dy: Array) -> Array:
        d = contiguous(xp.permute_dims(dy, (0, 2, 3, 1)))
        dx = xp.zeros((N, H, W * C), dtype=d.dtype, device=d.device)
        for n, part in parts:
            A, k = xp.astype(A_y[part, ...], d.dtype, copy=False), d[part, ...].shape[0]
            rows = xp.matrix_transpose(xp.astype(A_x[part, ...], d.dtype)) @ d[part, ...]
            if n is None:
                more = xp.matrix_transpose(A) @ xp.reshape(rows, (k, P, W * C))
                dx += scatter_add(more, region.picture[part], N)
            else:
                flat = xp.reshape(A, (k * P, H))
                dx[n, ...] += xp.matrix_transpose(flat) @ xp.reshape(rows, (k * P, W * C))
        return xp.permute_dims(xp.reshape(dx, (N, H, W, C)), (0, 3, 1, 2))

    return xp.permute_dims(y, (0, 3, 1, 2)), backward


@checked
def roi_pool(
    x: Array, rois: Array, size: int | tuple[int, int], scale: float
) -> tuple[Array, Back]:
    """The largest value in each of P x Q bins of whole pixels; 0 in a bin without any.

    Corners are rounded to pixels, half away from 0, and both belong to the region: of its
    h = max(y2 - y1 + 1, 1) rows, bin i has those from floor(i h / P) to ceil((i + 1) h / P) - 1, so
    that neighbours may share one. The same holds for columns. The gradient goes to the first
    maximum of a bin, row by row, and adds where bins overlap.

    Girshick 2015, "Fast R-CNN", arXiv:1504.08083, section 2.1.

    Parameters
    ----------
    x, rois, size, scale : as for `roi_align`

    Returns
    -------
    y : (K, C, P, Q)
    backward : dy to dx

    Raises
    ------
    ArgumentError
        As in `roi_align`.
    """
    x, (P, Q) = _checked("roi_pool", x, rois, scale), _size("roi_pool", size)
    region = _regions("roi_pool", x, rois, scale)
    xp, (N, C, H, W), K = array_namespace(x), x.shape, rois.shape[0]
    y1, y2, x1, x2 = (_rounded(c) for c in (region.y1, region.y2, region.x1, region.x2))
    (top, bottom), (left, right) = _bins(y1, y2, P, H), _bins(x1, x2, Q, W)
    maps = xp.reshape(contiguous(xp.permute_dims(x, (0, 2, 3, 1))), (N, H, W * C))
    y = xp.empty((K, Q, P, C), dtype=x.dtype, device=x.device)
    place = xp.empty((K, Q, P, C), dtype=xp.int64, device=x.device)
    nowhere, channel = N * H * W * C, xp.arange(C, dtype=xp.int64, device=x.device)
    for part in in_parts(K, max(1, TEMPORARY // (P * W * C))):
        picture = region.picture[part]
        rows, row, _ = _maxima(maps, picture, top[part, :], bottom[part, :])
        k, shape = picture.shape[0], (picture.shape[0], P, W, C)
        # From rows (k, P, W C) to columns (k, W, P C), which are as many pictures.
        rows, row = (
            xp.reshape(xp.permute_dims(xp.reshape(of, shape), (0, 2, 1, 3)), (k, W, P * C))
            for of in (rows, row)
        )
        own = xp.arange(k, dtype=xp.int64, device=x.device)
        best, row, column = _maxima(rows, own, left[part, :], right[part, :], row)
        best, row, column = (xp.reshape(of, (k, Q, P, C)) for of in (best, row, column))
        pixel = (picture[:, None, None, None] * H + row) * W + column
        y[part, ...] = xp.where(row < 0, 0.0, best)
        place[part, ...] = xp.where(row < 0, nowhere, pixel * C + channel)
    y = xp.where(region.told[:, None, None, None], y, nan)

    def backward(dy: Array) -> Array:
        d = contiguous(xp.permute_dims(dy, (0, 3, 2, 1)))
        dx = scatter_add(xp.reshape(d, (-1,)), xp.reshape(place, (-1,)), nowhere)
        return xp.permute_dims(xp.reshape(dx, (N, H, W, C)), (0, 3, 1, 2))

    return xp.permute_dims(y, (0, 3, 2, 1)), backward


def _checked(owner: str, x: Array, rois: Array, scale: float) -> Array:
    """The maps as floats, if all shapes fit."""
    shapes = tuple(getattr(x, "shape", ())), tuple(getattr(rois, "shape", ()))
    fits = len(shapes[0]) == 4 and len(shapes[1]) == 2 and shapes[1][1] == 5
    if not fits or min(shapes[0][1:]) < 1 or (shapes[1][0] and not shapes[0][0]):
        raise ArgumentError(
            f"{owner} needs maps (N, C, H, W) of at least one pixel and RoIs (K, 5), each a number "
            f"of a picture and a box, got {shapes[0]} and {shapes[1]}"
        )
    if not 0 < scale < inf:
        raise ArgumentError(f"scale of {owner} must be a finite number above 0, got {scale}")
    return floating(x)


def _size(owner: str, given: int | tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of bins."""
    found = one_or_several(given, 2)
    if found is None or min(found) < 1:
        raise ArgumentError(
            f"size of {owner} must be a whole number above 0, or two for height and width, got "
            f"{given!r:.100}"
        )
    return found[0], found[1]


class _Regions(NamedTuple):
    """RoIs as pictures and corners in the coordinates of maps, each (K,)."""

    picture: Array
    x1: Array
    y1: Array
    x2: Array
    y2: Array
    told: Array
    """False for what is no box of a picture"""


def _regions(owner: str, x: Array, rois: Array, scale: float) -> _Regions:
    """The corners of RoIs, or a refusal."""
    xp, rois, N = array_namespace(x), floating(rois), x.shape[0]
    rois = xp.astype(rois, xp.result_type(x.dtype, rois.dtype))
    number, x1, y1, x2, y2 = (rois[:, k] for k in range(5))
    known = (number >= 0) & (number < N) & (number == xp.floor(number))
    turned = (x2 < x1) | (y2 < y1)
    if on_host(rois) and bool(xp.any(~known | turned)):
        k = int(np.flatnonzero(to_numpy(~known | turned))[0])
        raise ArgumentError(
            f"{owner} needs RoIs of the pictures 0 to {N - 1}, whose boxes have x1 <= x2 and "
            f"y1 <= y2, got {to_numpy(rois[k, :]).tolist()} in row {k}; leave it out"
        )
    told = known & ~turned & xp.all(xp.isfinite(rois), axis=1)
    x1, y1, x2, y2 = (xp.where(told, corner * scale, 0.0) for corner in (x1, y1, x2, y2))
    return _Regions(xp.astype(xp.where(known, number, 0.0), xp.int64), x1, y1, x2, y2, told)


def _weights(low: Array, high: Array, bins: int, length: int, samples: int, aligned: bool) -> Array:
    """Return by what the pixels along an axis are multiplied in each bin, (K, bins, length)."""
    xp, size = array_namespace(low), high - low
    if aligned:
        low = low - 0.5
    else:
        size = xp.maximum(size, 1.0)
    numbers = {"dtype": low.dtype, "device": low.device}
    steps = (xp.arange(bins * samples, **numbers) + 0.5) / (bins * samples)
    points = low[:, None] + size[:, None] * steps
    beyond = (points < -1.0) | (points > length)
    points = xp.minimum(xp.maximum(points, 0.0), length - 1.0)
    near = xp.maximum(1.0 - xp.abs(points[..., None] - xp.arange(length, **numbers)), 0.0)
    near = xp.where(beyond[..., None], 0.0, near)
    return xp.sum(xp.reshape(near, (low.shape[0], bins, samples, length)), axis=2) / samples


def _parts(picture: Array, most: int) -> list[tuple[int | None, slice]]:
    """Slices of up to `most` RoIs; on the host of one picture each, and its number.

    There one product does for all that follow each other.
    """
    K = picture.shape[0]
    if not on_host(picture):
        return [(None, part) for part in in_parts(K, most)]
    numbers = to_numpy(picture)
    ends = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), K] if K else []
    return [
        (int(numbers[first]), slice(first + part.start, first + part.stop))
        for first, end in pairwise(ends)
        for part in in_parts(end - first, most)
    ]


def _rounded(x: Array) -> Array:
    """Whole numbers nearest to x, half away from 0."""
    xp = array_namespace(x)
    size = xp.clip(xp.abs(x), max=2.0**31)  # further out nothing changes
    below = xp.floor(size)
    return xp.astype(xp.sign(x) * (below + xp.astype(size - below >= 0.5, x.dtype)), xp.int64)


def _bins(low: Array, high: Array, bins: int, length: int) -> tuple[Array, Array]:
    """First pixels of each bin along an axis, and those behind its last ones: (K, bins)."""
    xp = array_namespace(low)
    size = xp.clip(high - low + 1, min=1)[:, None]
    i = xp.arange(bins, dtype=xp.int64, device=low.device)
    ends = (i * size // bins, ((i + 1) * size + bins - 1) // bins)
    first, behind = (xp.clip(low[:, None] + end, min=0, max=length) for end in ends)
    return first, behind


def _maxima(
    lines: Array, which: Array, low: Array, high: Array, key: Array | None = None
) -> tuple[Array, Array, Array]:
    """Find the largest values from pixels low to high of lines.

    Parameters
    ----------
    lines : (M, L, D)
    which : (K,), the line that each region is in
    low, high : (K, B), of its bins
    key : (M, L, D), of which the smallest wins among equal values; the place along L if None

    Returns
    -------
    value, key and place of each, (K, B, D); minus infinity and -1 where a bin is empty. NaN wins.
    """
    xp, (M, L, D), (K, B) = array_namespace(lines), lines.shape, low.shape
    lines = xp.reshape(lines, (M * L, D))
    best = xp.full((K, B, D), -inf, dtype=lines.dtype, device=lines.device)
    place = best_key = xp.full((K, B, D), -1, dtype=xp.int64, device=lines.device)
    turns = L
    if on_host(low):
        turns = int(xp.max(high - low)) if K else 0
    for turn in range(turns):
        here = low + turn
        index = xp.reshape(which[:, None] * L + xp.clip(here, max=L - 1), (-1,))
        value = xp.reshape(xp.take(lines, index, axis=0), (K, B, D))
        better = (value > best) | xp.isnan(value) | (place < 0)
        if key is not None:
            own = xp.reshape(xp.take(xp.reshape(key, (M * L, D)), index, axis=0), (K, B, D))
            better = better | ((value == best) & (own < best_key))
        better = better & (here < high)[..., None]
        best = xp.where(better, value, best)
        place = xp.where(better, here[..., None], place)
        best_key = place if key is None else xp.where(better, own, best_key)
    return best, best_key, place
