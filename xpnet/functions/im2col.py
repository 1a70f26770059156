"""Windows of images: what convolution and pooling are made of.

Both look at an image through a window that moves over it. All of it rests on one view, `shifted`:
what one place of the window sees while the window moves is the image itself, shifted. Copying those
views side by side is im2col; adding into them is col2im, its transpose; multiplying each by its
weights and summing is convolution; their maximum is pooling.

Here images are (H, W, N, C): the window moves along the two outer axes, so that every operation
runs over N C neighbouring numbers. Layers take and give the book's (N, C, H, W), and `outer` and
`inner` turn one into the other without moving a number: memory stays as it is from layer to layer.
"""

from collections.abc import Iterator
from math import prod
from typing import Any, Literal, TypeAlias

from xpnet.arguments import check_whole, check_word
from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import floating
from xpnet.errors import ArgumentError

Uneven: TypeAlias = Literal["error", "drop"]
"""What to do where the stride does not divide."""


def conv_output_size(
    input_size: int, filter_size: int, stride: int = 1, pad: int = 0, *, uneven: Uneven = "error"
) -> int:
    """Count a window's positions along one axis: (input + 2 pad - filter) / stride + 1 (eq. 7.1).

    Parameters
    ----------
    uneven : what to do where the stride does not divide: "error", or "drop" the pixels at the end
        that no whole window reaches

    Raises
    ------
    ArgumentError
        The window is larger than the padded image, or the stride does not divide.
    """
    check_word("uneven", "a window", uneven, "error", "drop")
    check_whole("a window", input_size=input_size, filter_size=filter_size, stride=stride, pad=pad)
    if min(filter_size, stride) < 1 or pad < 0:
        raise ArgumentError(
            "a window and its stride must be 1 or more and the padding 0 or more, "
            f"got window {filter_size}, stride {stride}, pad {pad}"
        )
    steps, left = divmod(input_size + 2 * pad - filter_size, stride)
    if steps < 0:
        raise ArgumentError(
            f"a window of {filter_size} needs an image of at least {filter_size} pixels, "
            f"got {input_size} with pad {pad}; use a smaller window or more padding"
        )
    if left and uneven != "drop":
        raise ArgumentError(
            f"a window of {filter_size} with stride {stride} does not end at the edge of "
            f"{input_size} pixels with pad {pad}: {left} would be left over; "
            "change one of these, or drop them with uneven='drop'"
        )
    return steps + 1


def outer(x: Array) -> Array:
    """View (N, C, H, W) as (H, W, N, C)."""
    return array_namespace(x).permute_dims(x, (2, 3, 0, 1))


inner = outer
"""(H, W, N, C) seen as (N, C, H, W): the same exchange of axes."""


def contiguous(x: Array) -> Array:
    """Copy x so that memory has the order of its axes; a plain copy keeps that of x."""
    y = array_namespace(x).empty(x.shape, dtype=x.dtype, device=x.device)
    y[...] = x
    return y


def padded(x: Array, pad: int, value: float = 0.0) -> Array:
    """Surround x (H, W, N, C) by `pad` rows and columns of `value`."""
    if pad == 0:
        return x
    xp, (H, W, *rest) = array_namespace(x), x.shape
    y = xp.full((H + 2 * pad, W + 2 * pad, *rest), value, dtype=x.dtype, device=x.device)
    y[pad : pad + H, pad : pad + W, ...] = x
    return y


def cropped(x: Array, pad: int) -> Array:
    """View the inside of a padded array."""
    return x[pad : x.shape[0] - pad, pad : x.shape[1] - pad, ...] if pad else x


def shifted(
    x: Array, filter_h: int, filter_w: int, stride: int = 1
) -> Iterator[tuple[int, int, Array]]:
    """Yield for each place (fy, fx) of the window what it sees of x: a view (OH, OW, N, C).

    Writing into the views writes into x.
    """
    OH = (x.shape[0] - filter_h) // stride + 1
    OW = (x.shape[1] - filter_w) // stride + 1
    for fy in range(filter_h):
        for fx in range(filter_w):
            rows = slice(fy, fy + stride * (OH - 1) + 1, stride)
            columns = slice(fx, fx + stride * (OW - 1) + 1, stride)
            yield fy, fx, x[rows, columns, ...]


def gather(x: Array, filter_h: int, filter_w: int, stride: int = 1) -> Array:
    """Lay every window of x (H, W, N, C) out in full: (OH, OW, N, FH, FW, C)."""
    xp, (H, W, N, C) = array_namespace(x), x.shape
    OH, OW = (H - filter_h) // stride + 1, (W - filter_w) // stride + 1
    windows = xp.empty((OH, OW, N, filter_h, filter_w, C), dtype=x.dtype, device=x.device)
    for fy, fx, view in shifted(x, filter_h, filter_w, stride):
        windows[:, :, :, fy, fx, :] = view
    return windows


def scatter(windows: Array, shape: tuple[int, ...], stride: int = 1) -> Array:
    """Add windows up where they overlap, of shape (H, W, N, C): the transpose of `gather`."""
    xp, (filter_h, filter_w) = array_namespace(windows), windows.shape[3:5]
    x = xp.zeros(shape, dtype=windows.dtype, device=windows.device)
    for fy, fx, view in shifted(x, filter_h, filter_w, stride):
        view += windows[:, :, :, fy, fx, :]
    return x


def im2col(
    input_data: Array,
    filter_h: int,
    filter_w: int,
    stride: int = 1,
    pad: int = 0,
    *,
    uneven: Uneven = "error",
) -> Array:
    """Lay every window of every image out as a row, so that convolution is one matrix product.

    Parameters
    ----------
    input_data : (N, C, H, W), not altered
    filter_h, filter_w, stride, pad : of the window; the padding is 0
    uneven : as in `conv_output_size`

    Returns
    -------
    (N*OH*OW, C*FH*FW); rows run over n, oh, ow, columns over c, fh, fw

    References
    ----------
    Chellapilla, Puri, Simard 2006, "High Performance Convolutional Neural Networks for Document
    Processing".
    """
    xp, (N, C, H, W) = array_namespace(input_data), _four(input_data.shape)
    OH = conv_output_size(H, filter_h, stride, pad, uneven=uneven)
    OW = conv_output_size(W, filter_w, stride, pad, uneven=uneven)
    windows = gather(padded(outer(input_data), pad), filter_h, filter_w, stride)
    rows = xp.permute_dims(windows, (2, 0, 1, 5, 3, 4))  # (N, OH, OW, C, FH, FW)
    return xp.reshape(rows, (N * OH * OW, C * filter_h * filter_w))


def col2im(
    col: Array,
    input_shape: tuple[int, int, int, int],
    filter_h: int,
    filter_w: int,
    stride: int = 1,
    pad: int = 0,
    *,
    uneven: Uneven = "error",
) -> Array:
    """Add rows of windows back into images: <im2col(x), c> = <x, col2im(c)>, so its transpose.

    Parameters
    ----------
    col : (N*OH*OW, C*FH*FW)
    input_shape : (N, C, H, W) of the images

    Returns
    -------
    (N, C, H, W), sums in floats; what falls on the padding is left out
    """
    xp, col, (N, C, H, W) = array_namespace(col), floating(col), _four(input_shape)
    OH = conv_output_size(H, filter_h, stride, pad, uneven=uneven)
    OW = conv_output_size(W, filter_w, stride, pad, uneven=uneven)
    needed = (N * OH * OW, C * filter_h * filter_w)
    if prod(col.shape) != prod(needed):
        raise ArgumentError(f"col2im needs rows of shape {needed}, got {tuple(col.shape)}")
    rows = xp.reshape(col, (N, OH, OW, C, filter_h, filter_w))
    windows = xp.permute_dims(rows, (1, 2, 0, 4, 5, 3))  # (OH, OW, N, FH, FW, C)
    return inner(cropped(scatter(windows, (H + 2 * pad, W + 2 * pad, N, C), stride), pad))


def _four(shape: Any) -> tuple[int, int, int, int]:
    """Return the shape of images (N, C, H, W), or refuse another."""
    try:
        N, C, H, W = shape
    except (TypeError, ValueError):
        raise ArgumentError(
            f"images of shape (N, C, H, W) are needed, got the shape {shape!r:.100}"
        ) from None
    return N, C, H, W
