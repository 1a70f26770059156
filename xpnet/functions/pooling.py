"""Max pooling that remembers where each maximum was, and its undoing.

As in `im2col`, images inside are (H, W, N, C), and what one place of the window sees while it moves
is a view of the image.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Literal

from xpnet.arguments import one_or_several
from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import floating
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import (
    Pad,
    Stride,
    UnevenPool,
    contiguous,
    cropped,
    inner,
    outer,
    output_sizes,
    padded,
    pads_of,
    shifted,
    strides_of,
)


@dataclass(frozen=True)
class Places:
    """Where the maxima of windows are.

    Attributes
    ----------
    hits : for each place of the window, row by row, (OH, OW, N, C), True where the maximum is there
    size : height and width of the images
    window, strides, pads : of the pool, and what its windows reach around the images, at the top,
        the left, the bottom and the right
    """

    hits: tuple[Array, ...]
    size: tuple[int, int]
    window: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]

    @property
    def index(self) -> Array:
        """Row W + column of each maximum in the image without padding, (N, C, OH, OW), int64.

        So PyTorch's and ONNX's `indices` have it, ONNX's but for what is added for each image.
        """
        first, (OH, OW, *_), width = self.hits[0], self.hits[0].shape, self.size[1]
        xp = array_namespace(first)
        rows, columns = (
            xp.arange(count, dtype=xp.int64, device=first.device) * step
            for count, step in zip((OH, OW), self.strides, strict=True)
        )
        corner = xp.reshape(rows, (OH, 1, 1, 1)) * width + xp.reshape(columns, (OW, 1, 1))
        (top, left, *_), index = (
            self.pads,
            xp.zeros(first.shape, dtype=xp.int64, device=first.device),
        )
        for k, hit in enumerate(self.hits):
            fy, fx = divmod(k, self.window[1])
            index = xp.where(hit, corner + ((fy - top) * width + fx - left), index)
        return inner(index)


def max_pool(
    x: Array,
    window: int | tuple[int, int],
    stride: Stride | None = None,
    pad: Pad = 0,
    *,
    uneven: UnevenPool = "error",
) -> tuple[Array, Places]:
    """The largest value of each window, and where it is: the first one of equals, row by row.

    Parameters
    ----------
    x : (N, C, H, W)
    window : height and width of the window, or one number for both
    stride, pad, uneven : as in `MaxPool`; the stride is the window if None, so that windows lie
        side by side, as `unpool` needs them

    Returns
    -------
    (N, C, OH, OW), and the places

    Raises
    ------
    ArgumentError
        A window does not fit into the images, or into their padding.
    """
    pair, shape = one_or_several(window, 2), tuple(getattr(x, "shape", ()))
    if pair is None or len(shape) != 4:
        raise ArgumentError(
            "max_pool needs images (N, C, H, W), and a window of one whole number, or two for "
            f"height and width, got the shape {shape} and the window {window!r:.100}"
        )
    height, width = pair
    strides = strides_of((height, width) if stride is None else stride, "max_pool")
    if not all(0 <= side < pair[k % 2] for k, side in enumerate(pads_of(pad, "max_pool"))):
        raise ArgumentError(
            f"padding of max_pool must be narrower than the window, got {pad} and {pair}"
        )
    pads = reached(shape[2:], (height, width), strides, pad, uneven)
    image, y = maxima(x, (height, width), strides, pads)
    hits = tuple(hit for _, _, hit in places_of(image, y, (height, width), strides))
    return inner(y), Places(hits, (shape[2], shape[3]), (height, width), strides, pads)


def unpool(v: Array, places: Places) -> tuple[Array, Callable[[Array], Array]]:
    """Each value where the maximum of its window was, and 0 at all other places.

        y = 0,   y[place of v] = v;   dv = dy at the places

    The images have the size that was pooled, and rows and columns that filled no window are 0.
    Zeiler, Fergus 2013, arXiv:1311.2901, section 2.1.

    Parameters
    ----------
    v : (N, C, OH, OW)
    places : as `max_pool` gives them

    Returns
    -------
    y : (N, C, H, W)
    backward : dy to dv

    Raises
    ------
    ArgumentError
        Windows overlap, so that two values may have one place, or v is not what was pooled.
    """
    (OH, OW, N, C), (H, W), (top, left, bottom, right) = (
        places.hits[0].shape, places.size, places.pads
    )  # fmt: skip
    if any(step < side for step, side in zip(places.strides, places.window, strict=True)):
        raise ArgumentError(
            "unpool needs windows that lie side by side, since two maxima of others may have one "
            f"place, got windows of {places.window} with stride {places.strides}; pool with "
            "stride=None"
        )
    if tuple(getattr(v, "shape", ())) != (N, C, OH, OW):
        raise ArgumentError(
            f"unpool needs values of the shape that was pooled, {(N, C, OH, OW)}, got "
            f"{tuple(getattr(v, 'shape', ()))}"
        )
    xp, v = array_namespace(v), contiguous(outer(floating(v)))  # read once for each place
    y = xp.zeros((top + H + bottom, left + W + right, N, C), dtype=v.dtype, device=v.device)
    for hit, (_, _, target) in zip(places.hits, _windows(y, places), strict=True):
        target[...] = xp.where(hit, v, 0.0)

    def backward(dy: Array) -> Array:
        views = _windows(padded(outer(dy), places.pads), places)
        dv = xp.zeros((OH, OW, N, C), dtype=dy.dtype, device=dy.device)
        for hit, (_, _, view) in zip(places.hits, views, strict=True):
            dv = xp.where(hit, view, dv)
        return inner(dv)

    return inner(cropped(y, places.pads)), backward


def reached(
    size: tuple[int, ...],
    window: tuple[int, int],
    strides: tuple[int, int],
    pad: Pad,
    uneven: UnevenPool,
) -> tuple[int, int, int, int]:
    """Rows and columns around images of a size that windows reach: the padding, or more.

    With "ceil" the last windows may reach further at the bottom and the right.
    """
    (OH, OW), pads = output_sizes(size, window, strides, pad, uneven=uneven), pads_of(pad)
    if uneven != "ceil":
        return pads
    (top, left, bottom, right), (H, W), (down, across) = pads, size, strides
    below = (OH - 1) * down + window[0] - (top + H)
    beside = (OW - 1) * across + window[1] - (left + W)
    return top, left, max(bottom, below), max(right, beside)


def maxima(
    x: Array, window: tuple[int, int], strides: tuple[int, int], pads: tuple[int, int, int, int]
) -> tuple[Array, Array]:
    """The images (N, C, H, W), padded, and the largest value of each window: (H, W, N, C) both."""
    xp = array_namespace(x)
    # Of pixels none is -inf.
    image = padded(outer(floating(x) if any(pads) else x), pads, -inf)
    first, *others = (view for _, _, view in shifted(image, *window, strides))
    y = xp.asarray(first, copy=True)
    for view in others:
        y = xp.maximum(y, view)
    return image, y


def places_of(
    image: Array,
    y: Array,
    window: tuple[int, int],
    strides: tuple[int, int],
    ties: Literal["first", "all"] = "first",
) -> Iterator[tuple[int, int, Array]]:
    """List for each place of the window where it holds the maximum; of ties as `MaxPool` says."""
    found = None
    for fy, fx, view in shifted(image, *window, strides):
        hit = view == y
        if ties == "first":
            hit, found = (hit, hit) if found is None else (hit & ~found, found | hit)
        yield fy, fx, hit


def _windows(of: Array, places: Places) -> Iterator[tuple[int, int, Array]]:
    """List what each place of the window sees of padded images (H, W, N, C)."""
    return shifted(of, *places.window, places.strides)
