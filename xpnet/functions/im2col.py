"""Windows of images: what convolution and pooling are made of.

Both look at an image through a window that moves over it. All of it rests on one view, `shifted`:
what one place of the window sees while the window moves is the image itself, shifted. Copying those
views side by side is im2col; adding into them is col2im, its transpose; multiplying each by its
weights and summing is convolution; their maximum is pooling.

Here images are (H, W, N, C): the window moves along the two outer axes, so that every operation
runs over N C neighbouring numbers. Layers take and give the book's (N, C, H, W), and `outer` and
`inner` turn one into the other without moving a number: memory stays as it is from layer to layer.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, Literal, TypeAlias

from xpnet.arguments import check_whole, check_word, one_or_several
from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import floating
from xpnet.errors import ArgumentError

Uneven: TypeAlias = Literal["error", "drop"]
"""What to do where the stride does not divide."""

UnevenPool: TypeAlias = Literal["error", "drop", "ceil"]
"""The same for windows that may reach beyond the image, as those of a `MaxPool` may."""

Stride: TypeAlias = int | tuple[int, int]
"""Steps of a window: one number for both axes, or those down and across."""

Pad: TypeAlias = int | tuple[int, int] | tuple[int, int, int, int]
"""Rows and columns around an image: one number for all sides, those above and below and those left
and right, or (top, left, bottom, right), the order of ONNX's `pads`."""


def strides_of(stride: Stride, owner: str = "a window") -> tuple[int, int]:
    """Steps down and across.

    Raises
    ------
    ArgumentError
        They are neither a whole number nor two.
    """
    if type(stride) is int:
        return stride, stride
    if (found := one_or_several(stride, 2)) is None:
        raise ArgumentError(
            f"stride of {owner} must be a whole number, such as 3, or two for the steps down and "
            f"across, such as (2, 1), got {stride!r:.200}"
        )
    down, across = found
    return down, across


def pads_of(pad: Pad, owner: str = "a window") -> tuple[int, int, int, int]:
    """Rows and columns at the top, the left, the bottom and the right.

    Raises
    ------
    ArgumentError
        They are neither a whole number nor two nor four.
    """
    if type(pad) is int:
        return pad, pad, pad, pad
    if (found := one_or_several(pad, 2, 4)) is None:
        raise ArgumentError(
            f"pad of {owner} must be a whole number, such as 3, or two for height and width, such "
            f"as (1, 0), or four for top, left, bottom and right, got {pad!r:.200}"
        )
    top, left, bottom, right = (*found, *found)[:4]
    return top, left, bottom, right


def conv_output_size(
    input_size: int,
    filter_size: int,
    stride: int = 1,
    pad: int | tuple[int, int] = 0,
    *,
    uneven: UnevenPool = "error",
) -> int:
    """Count a window's positions along one axis: (input + 2 pad - filter) / stride + 1 (eq. 7.1).

    Parameters
    ----------
    pad : on each side, or (before, behind)
    uneven : what to do where the stride does not divide: "error", or "drop" the pixels at the end
        that no whole window reaches, or "ceil": one more window, which reaches beyond the end. That
        one is left out if it would begin behind the image, in the padding or beyond it, which is
        PyTorch's rule.

    Raises
    ------
    ArgumentError
        The window is larger than the padded image, or the stride does not divide.
    """
    check_word("uneven", "a window", uneven, "error", "drop", "ceil")
    check_whole("a window", input_size=input_size, filter_size=filter_size, stride=stride)
    if (sides := one_or_several(pad, 2)) is None:
        raise ArgumentError(
            "pad of a window must be a whole number, such as 3, or two for before and behind, such "
            f"as (1, 0), got {pad!r:.200}"
        )
    before, behind = sides
    shown = before if before == behind else (before, behind)
    if min(filter_size, stride) < 1 or min(sides) < 0:
        raise ArgumentError(
            "a window and its stride must be 1 or more and the padding 0 or more, "
            f"got window {filter_size}, stride {stride}, pad {shown}"
        )
    steps, left = divmod(int(input_size + before + behind - filter_size), stride)
    if uneven == "ceil" and left and (steps + 1) * stride < input_size + before:
        steps += 1
    if steps < 0:
        raise ArgumentError(
            f"a window of {filter_size} needs an image of at least {filter_size} pixels, "
            f"got {input_size} with pad {shown}; use a smaller window or more padding"
        )
    if left and uneven == "error":
        raise ArgumentError(
            f"a window of {filter_size} with stride {stride} does not end at the edge of "
            f"{input_size} pixels with pad {shown}: {left} would be left over; "
            "change one of these, or drop them with uneven='drop'"
        )
    return steps + 1


def output_sizes(
    size: Sequence[int],
    window: Sequence[int],
    stride: Stride = 1,
    pad: Pad = 0,
    *,
    uneven: UnevenPool = "error",
) -> tuple[int, int]:
    """A window's positions down and across, as `conv_output_size` counts them."""
    (top, left, bottom, right), (down, across) = pads_of(pad), strides_of(stride)
    rows = top if top == bottom else (top, bottom)
    columns = left if left == right else (left, right)
    return (
        conv_output_size(size[0], window[0], down, rows, uneven=uneven),
        conv_output_size(size[1], window[1], across, columns, uneven=uneven),
    )


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


def padded(x: Array, pad: Pad, value: float = 0.0) -> Array:
    """Surround x (H, W, N, C) by rows and columns of `value`."""
    top, left, bottom, right = pads_of(pad)
    if not (top or left or bottom or right):
        return x
    xp, (H, W, *rest) = array_namespace(x), x.shape
    shape = (top + H + bottom, left + W + right, *rest)
    y = xp.full(shape, value, dtype=x.dtype, device=x.device)
    y[top : top + H, left : left + W, ...] = x
    return y


def cropped(x: Array, pad: Pad) -> Array:
    """View the inside of a padded array."""
    top, left, bottom, right = pads_of(pad)
    return x[top : x.shape[0] - bottom, left : x.shape[1] - right, ...]


def shifted(
    x: Array, filter_h: int, filter_w: int, stride: Stride = 1
) -> Iterator[tuple[int, int, Array]]:
    """Yield for each place (fy, fx) of the window what it sees of x: a view (OH, OW, N, C).

    Writing into the views writes into x.
    """
    down, across = strides_of(stride)
    OH = (x.shape[0] - filter_h) // down + 1
    OW = (x.shape[1] - filter_w) // across + 1
    for fy in range(filter_h):
        for fx in range(filter_w):
            rows = slice(fy, fy + down * (OH - 1) + 1, down)
            columns = slice(fx, fx + across * (OW - 1) + 1, across)
            yield fy, fx, x[rows, columns, ...]


def gather(x: Array, filter_h: int, filter_w: int, stride: Stride = 1) -> Array:
    """Lay every window of x (H, W, N, C) out in full: (OH, OW, N, FH, FW, C)."""
    xp, (H, W, N, C), (down, across) = array_namespace(x), x.shape, strides_of(stride)
    OH, OW = (H - filter_h) // down + 1, (W - filter_w) // across + 1
    windows = xp.empty((OH, OW, N, filter_h, filter_w, C), dtype=x.dtype, device=x.device)
    for fy, fx, view in shifted(x, filter_h, filter_w, stride):
        windows[:, :, :, fy, fx, :] = view
    return windows


def scatter(windows: Array, shape: tuple[int, ...], stride: Stride = 1) -> Array:
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
    stride: Stride = 1,
    pad: Pad = 0,
    *,
    uneven: Uneven = "error",
) -> Array:
    """Lay every window of every image out as a row, so that convolution is one matrix product.

    Parameters
    ----------
    input_data : (N, C, H, W), not altered
    filter_h, filter_w : size of the window
    stride, pad : steps of the window; rows and columns of zeros around the images. One number, or
        several as `Stride` and `Pad` say
    uneven : as in `conv_output_size`, without "ceil"

    Returns
    -------
    (N*OH*OW, C*FH*FW); rows run over n, oh, ow, columns over c, fh, fw

    References
    ----------
    Chellapilla, Puri, Simard 2006, "High Performance Convolutional Neural Networks for Document
    Processing".
    """
    xp, (N, C, H, W) = array_namespace(input_data), _four(input_data.shape)
    check_word("uneven", "a window", uneven, "error", "drop")
    OH, OW = output_sizes((H, W), (filter_h, filter_w), stride, pad, uneven=uneven)
    windows = gather(padded(outer(input_data), pad), filter_h, filter_w, stride)
    rows = xp.permute_dims(windows, (2, 0, 1, 5, 3, 4))  # (N, OH, OW, C, FH, FW)
    return xp.reshape(rows, (N * OH * OW, C * filter_h * filter_w))


def col2im(
    col: Array,
    input_shape: tuple[int, int, int, int],
    filter_h: int,
    filter_w: int,
    stride: Stride = 1,
    pad: Pad = 0,
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
    check_word("uneven", "a window", uneven, "error", "drop")
    OH, OW = output_sizes((H, W), (filter_h, filter_w), stride, pad, uneven=uneven)
    needed = (N * OH * OW, C * filter_h * filter_w)
    if prod(col.shape) != prod(needed):
        raise ArgumentError(f"col2im needs rows of shape {needed}, got {tuple(col.shape)}")
    rows = xp.reshape(col, (N, OH, OW, C, filter_h, filter_w))
    windows = xp.permute_dims(rows, (1, 2, 0, 4, 5, 3))  # (OH, OW, N, FH, FW, C)
    top, left, bottom, right = pads_of(pad)
    return inner(cropped(scatter(windows, (top + H + bottom, left + W + right, N, C), stride), pad))


def _four(shape: Any) -> tuple[int, int, int, int]:
    """Return the shape of images (N, C, H, W), or refuse another."""
    try:
        N, C, H, W = shape
    except (TypeError, ValueError):
        raise ArgumentError(
            f"images of shape (N, C, H, W) are needed, got the shape {shape!r:.100}"
        ) from None
    return N, C, H, W
