"""Convolution, and its transpose."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np

from xpnet.arguments import checked, one_or_several, whole, whole_numbers
from xpnet.arrays import Array, array_namespace, device_of
from xpnet.arrays.values import floating, in_parts
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import (
    Pad,
    Stride,
    Uneven,
    col2im,
    im2col,
    output_sizes,
    strides_of,
)
from xpnet.functions.init import bilinear, bilinear_size, filled, initial_std, normal
from xpnet.layers.base import Backward, Params, Shape, sample_shape
from xpnet.layers.numbers import Windowed, height_and_width

COLUMNS = 2**26
"""Bytes of columns at most, but those of one image: larger batches are gone through in parts."""


class Convolution(Windowed):
    """Convolution as networks mean it, without turning the filter round (section 7.2).

        y[n, f, oy, ox] = b[f] + sum over c, fy, fx of W[f, c, fy, fx] x[n, c, oy s + fy, ox s + fx]

    x is padded with zeros first. With every window of x laid out as a row of X = im2col(x), and W
    as a matrix with a row for each filter, that is one product (Figure 7-19):

        Y = X W^T + b
        dW = dY^T X,   dX = dY W,   dx = col2im(dX),   db = sum of the rows of dY

    Rows of X, Y and dY run over n, oy, ox; columns of X and W over c, fy, fx.

    In `groups`, the channels and the filters are divided alike: the first filters see the first
    channels alone, and so on. Columns of X and of Y are then divided into as many parts, and there
    is one product for each. The two GPUs of AlexNet were two groups; with a group for each channel
    the convolution is called depthwise. Krizhevsky, Sutskever, Hinton 2012, "ImageNet
    classification with deep convolutional neural networks", section 3.2.

    A `table` says of each filter which channels it sees, as that of LeNet's C3 does. W has a place
    for every channel; it is 0 where the table has none, and so is its gradient. LeCun, Bottou,
    Bengio, Haffner 1998, "Gradient-based learning applied to document recognition", Table 1.

    Parameters
    ----------
    channels, filters : channels of the input and of the output
    filter_size : height and width of the window, or one number for both
    stride : steps of the window, or those (down, across)
    pad : rows and columns of zeros around the image: one number, (height, width), or (top, left,
        bottom, right) as ONNX has them
    std : standard deviation of the initial weights, or the name of a rule for it in
        `xpnet.functions.init`; He's, sqrt(2 / (channels that a filter sees FH FW)), if None. Biases
        start at 0.
    rng : NumPy generator or seed
    uneven : as in `conv_output_size`, without "ceil"
    bias : whether there is a b
    groups : number of groups, which divides channels and filters; W is then (filters, channels /
        groups, FH, FW)
    table : for each filter the numbers of the channels that it sees, from 0; all if None

    Attributes
    ----------
    mask : (filters, channels, 1, 1), 1 where the table has a connection and else 0; None without
    """

    decays = ("W",)

    @checked
    def __init__(
        self,
        channels: int,
        filters: int,
        filter_size: int | tuple[int, int],
        *,
        stride: Stride = 1,
        pad: Pad = 0,
        std: float | str | None = None,
        rng: np.random.Generator | int | None = None,
        uneven: Uneven = "error",
        bias: bool = True,
        groups: int = 1,
        table: Sequence[Sequence[int]] | None = None,
    ) -> None:
        FH, FW = height_and_width("Convolution", "filter_size", filter_size)
        self._move_by("Convolution", stride, pad)
        _check_sizes("Convolution", self, channels, filters, (FH, FW))
        if groups < 1 or channels % groups or filters % groups:
            raise ArgumentError(
                "the groups of Convolution must divide its channels and its filters, got "
                f"groups={groups}, channels={channels}, filters={filters}"
            )
        self.uneven, self.groups = uneven, int(groups)
        self.table: Table | None = None
        self.mask: np.ndarray | None = None
        if table is not None:
            self.table = _checked_table(table, channels, filters, groups)
            self.mask = _mask_of(self.table, channels)
        shape = (filters, channels // groups, FH, FW)
        n_out = filters // groups * FH * FW
        if self.table is None:
            W = normal(shape, initial_std(std, shape[1] * FH * FW, n_out), rng)
        else:
            stds = [initial_std(std, len(seen) * FH * FW, n_out) for seen in self.table]
            W = normal(shape, 1.0, rng) * np.reshape(stds, (-1, 1, 1, 1)) * self.mask
        self.params: Params = {"W": W, "b": filled(filters, 0.0)} if bias else {"W": W}

    def masks(self) -> dict[str, np.ndarray]:
        """The table's, for W."""
        return {} if self.mask is None else {"W": self.mask}

    def arguments(self) -> dict[str, Any]:
        """Sizes of the filters, steps, padding, a bias or none; groups, or a table, if any."""
        filters, channels, *window = self.params["W"].shape
        found = {
            "channels": channels * self.groups,
            "filters": filters,
            "filter_size": tuple(window),
            "stride": self.stride,
            "pad": self.pad,
            "uneven": self.uneven,
            "bias": "b" in self.params,
        }
        if self.groups > 1:
            found["groups"] = self.groups
        return found if self.table is None else found | {"table": self.table}

    def output_shape(self, shape: Shape) -> Shape:
        """(filters, OH, OW) for images of shape (channels, H, W)."""
        filters, channels, *window = self.params["W"].shape
        channels *= self.groups
        if len(shape) != 3 or shape[0] != channels:
            raise ArgumentError(
                f"Convolution takes images of {channels} channels, ({channels}, H, W), got {shape}"
            )
        sizes = output_sizes(shape[1:], window, self.stride, self.pad, uneven=self.uneven)
        return filters, *sizes

    def macs(self, shape: Shape) -> int:
        """Multiplications, each with an addition, for a sample of this shape: W's at each pixel."""
        _, OH, OW = self.output_shape(shape)
        return OH * OW * int(prod(self.params["W"].shape))

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The filtered images, (N, filters, OH, OW)."""
        xp, W, b, G = array_namespace(x), self.params["W"], self.params.get("b"), self.groups
        FN, _, FH, FW = W.shape
        _, OH, OW = self.output_shape(sample_shape(x))
        x = floating(x)
        if (mask := self.mask) is not None:
            mask = xp.astype(device_of(x).asarray(mask), W.dtype)
            W = W * mask  # also where W was given other numbers there
        w = _groups_of(xp.reshape(W, (FN, -1)), G, axis=0)
        window = (FH, FW, self.stride, self.pad)
        parts = list(_parts(x.shape[0], OH * OW * prod(W.shape[1:]) * G * _size(xp, x)))

        def columns(part: slice) -> Array:
            """X of some images."""
            return im2col(x[part, ...], *window, uneven=self.uneven)

        # Of a batch that is gone through in parts nothing is kept, and X is laid out again.
        kept = columns(parts[0]) if len(parts) == 1 else None
        y = xp.empty((x.shape[0], OH, OW, FN), dtype=x.dtype, device=x.device)
        for part in parts:
            X = columns(part) if kept is None else kept
            Y = _joined(_groups_of(X, G) @ _transpose(w), G)
            y[part, ...] = xp.reshape(Y if b is None else Y + b, (-1, OH, OW, FN))

        def backward(
            dy: Array, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array, Params]:
            d = xp.permute_dims(dy, (0, 2, 3, 1))
            dw, db = xp.zeros_like(w), xp.zeros((FN,), dtype=w.dtype, device=w.device)
            dx = xp.empty(x.shape, dtype=x.dtype, device=x.device) if need_dx else None
            for part in parts:
                dY = xp.reshape(d[part, ...], (-1, FN))
                if need_grads:
                    X = columns(part) if kept is None else kept
                    dw += _transpose(_groups_of(dY, G)) @ _groups_of(X, G)
                    # As a product with ones: libraries sum over leading axes slowly.
                    db += xp.ones((dY.shape[0],), dtype=dY.dtype, device=dY.device) @ dY
                if dx is not None:
                    dX = _joined(_groups_of(dY, G) @ w, G)
                    dx[part, ...] = col2im(dX, x[part, ...].shape, *window, uneven=self.uneven)
            dW = xp.reshape(dw, W.shape)
            grads = {"W": dW if mask is None else dW * mask, "b": db} if need_grads else {}
            return dx, {name: grads[name] for name in self.params if name in grads}

        return xp.permute_dims(y, (0, 3, 1, 2)), backward


class TransposedConvolution(Windowed):
    """The transpose of convolution as a linear map, which enlarges images; "deconvolution".

        y[n, f, oy s + fy - p, ox s + fx - p] += x[n, c, oy, ox] W[c, f, fy, fx],   then + b[f]

    over all c, oy, ox, fy, fx; what falls outside y is left out. W is the weight of the convolution
    from `filters` to `channels` channels whose transpose this is, <conv(d), x> = <d, y(x)> without
    the bias: with each pixel of x as a row of X, and W as a matrix with a row for each channel,

        y = col2im(X W) + b
        dX = im2col(dy) W^T,   dW = X^T im2col(dy),   db = sum of dy over samples and pixels

    As the convolution may leave out pixels at the end, several sizes of y belong to one of x;
    `output_pad` settles which is meant. Its rows and columns are computed as all others are.

    Long, Shelhamer, Darrell 2015, "Fully convolutional networks for semantic segmentation",
    section 3.3; Zeiler, Krishnan, Taylor, Fergus 2010, "Deconvolutional networks".

    Parameters
    ----------
    channels, filters, filter_size : channels of the input and of the output, and the window
    stride, pad : steps of the window over the output, and rows and columns that are cut off around
        it, as for `Convolution`
    output_pad : rows at the bottom and columns at the right of the output besides, fewer than the
        stride: one number, or two
    std : as for `Convolution`, an output being made up of channels FH FW / (steps down times steps
        across) products on average; or "bilinear": the weights of `functions.init.bilinear`
    rng : NumPy generator or seed
    bias : whether there is a b
    """

    decays = ("W",)

    @checked
    def __init__(
        self,
        channels: int,
        filters: int,
        filter_size: int | tuple[int, int],
        *,
        stride: Stride = 1,
        pad: Pad = 0,
        output_pad: int | tuple[int, int] = 0,
        std: float | str | None = None,
        rng: np.random.Generator | int | None = None,
        bias: bool = True,
    ) -> None:
        FH, FW = height_and_width("TransposedConvolution", "filter_size", filter_size)
        self._move_by("TransposedConvolution", stride, pad)
        _check_sizes("TransposedConvolution", self, channels, filters, (FH, FW))
        if (more := one_or_several(output_pad, 2)) is None:
            raise ArgumentError(
                "output_pad of TransposedConvolution must be a whole number, such as 1, or two for "
                f"rows and columns, such as (1, 0), got {output_pad!r:.200}"
            )
        if not all(0 <= q < step for q, step in zip(more, self.strides, strict=True)):
            raise ArgumentError(
                "output_pad of TransposedConvolution must be from 0 to below its stride, got "
                f"output_pad={output_pad!r}, stride={stride!r}"
            )
        self.output_pad: Any = more[0] if whole(output_pad) else more
        if std == "bilinear":
            W = _bilinear_filters(channels, filters, (FH, FW), self.stride)
        else:
            n_in = channels * FH * FW / prod(self.strides)
            std = initial_std(std, n_in, filters * FH * FW)
            W = normal((channels, filters, FH, FW), std, rng)
        self.params: Params = {"W": W, "b": filled(filters, 0.0)} if bias else {"W": W}

    @classmethod
    def bilinear(
        cls, channels: int, stride: Stride, *, bias: bool = False
    ) -> "TransposedConvolution":
        """A layer that makes images `stride` times as large, at first by bilinear interpolation.

        Its weights learn. Within a pixel of the input's border images fade to 0.
        """
        steps = strides_of(stride, "TransposedConvolution")
        height, width = map(bilinear_size, steps)
        pad = steps[0] // 2, steps[1] // 2  # ceil((step - 1) / 2)
        return cls(
            channels,
            channels,
            (height, width),
            stride=stride,
            pad=pad[0] if whole(stride) else pad,
            std="bilinear",
            bias=bias,
        )

    def arguments(self) -> dict[str, Any]:
        """Sizes of the filters, steps, what is cut off and what is added, a bias or none."""
        channels, filters, *window = self.params["W"].shape
        return {
            "channels": channels,
            "filters": filters,
            "filter_size": tuple(window),
            "stride": self.stride,
            "pad": self.pad,
            "output_pad": self.output_pad,
            "bias": "b" in self.params,
        }

    @property
    def output_pads(self) -> tuple[int, int]:
        """Rows at the bottom and columns at the right of the output besides."""
        rows, columns = one_or_several(self.output_pad, 2) or (0, 0)
        return rows, columns

    def output_shape(self, shape: Shape) -> Shape:
        """(filters, OH, OW) for images (channels, H, W): OH = (H - 1) s - 2 p + FH + q, OW alike.

        p is the pad, for each side its own, and q the output_pad.
        """
        channels, filters, *window = self.params["W"].shape
        if len(shape) != 3 or shape[0] != channels or min(shape) < 1:
            raise ArgumentError(
                f"TransposedConvolution takes images of {channels} channels, ({channels}, H, W), "
                f"got {shape}"
            )
        top, left, bottom, right = self.pads
        OH, OW = (
            (size - 1) * step - cut + width + more
            for size, step, cut, width, more in zip(
                shape[1:],
                self.strides,
                (top + bottom, left + right),
                window,
                self.output_pads,
                strict=True,
            )
        )
        if min(OH, OW) < 1:
            raise ArgumentError(
                f"TransposedConvolution with pad={self.pad} leaves nothing of images {shape}: "
                f"{OH} rows and {OW} columns; use less padding"
            )
        return filters, OH, OW

    def macs(self, shape: Shape) -> int:
        """Multiplications, each with an addition, for a sample: W's at each pixel of the input."""
        self.output_shape(shape)
        return int(prod(shape[1:]) * prod(self.params["W"].shape))

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The enlarged images, (N, filters, OH, OW)."""
        xp, W, b = array_namespace(x), self.params["W"], self.params.get("b")
        C, FN, FH, FW = W.shape
        size = self.output_shape(sample_shape(x))
        x, w = floating(x), xp.reshape(W, (C, -1))
        window = (FH, FW, self.stride, self.pad)
        N, _, *image = x.shape
        parts = list(_parts(N, prod(image) * w.shape[1] * _size(xp, x)))
        y = xp.empty((N, *size), dtype=x.dtype, device=x.device)
        for part in parts:
            shape = (x[part, ...].shape[0], *size)
            Y = col2im(_pixels(x[part, ...]) @ w, shape, *window, uneven="drop")
            y[part, ...] = Y if b is None else Y + xp.reshape(b, (FN, 1, 1))

        def backward(
            dy: Array, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array, Params]:
            dw, db = xp.zeros_like(w), xp.zeros((FN,), dtype=w.dtype, device=w.device)
            dx = xp.empty((N, *image, C), dtype=x.dtype, device=x.device) if need_dx else None
            for part in parts:
                D = im2col(dy[part, ...], *window, uneven="drop")
                if need_grads:
                    dw += _transpose(_pixels(x[part, ...])) @ D
                    # As a product with ones: libraries sum over leading axes slowly.
                    d = _pixels(dy[part, ...])
                    db += xp.ones((d.shape[0],), dtype=d.dtype, device=d.device) @ d
                if dx is not None:
                    dx[part, ...] = xp.reshape(D @ _transpose(w), (-1, *image, C))
            grads = {"W": xp.reshape(dw, W.shape), "b": db} if need_grads else {}
            if dx is not None:
                dx = xp.permute_dims(dx, (0, 3, 1, 2))
            return dx, {name: grads[name] for name in self.params if name in grads}

        return y, backward


def _check_sizes(
    kind: str, layer: Windowed, channels: int, filters: int, window: tuple[int, int]
) -> None:
    """Refuse a layer that has nothing of something, or a frame of less than nothing."""
    if min(channels, filters, *window, *layer.strides) < 1 or min(layer.pads) < 0:
        raise ArgumentError(
            f"{kind} needs at least one channel, filter, pixel and step, got "
            f"channels={channels}, filters={filters}, filter_size={window}, stride={layer.stride}, "
            f"pad={layer.pad}"
        )


def _bilinear_filters(
    channels: int, filters: int, window: tuple[int, int], stride: Stride
) -> np.ndarray:
    """The weights that interpolate, for as many filters as channels and the window of that rule."""
    needed = tuple(map(bilinear_size, strides_of(stride)))
    if filters != channels or window != needed:
        raise ArgumentError(
            "TransposedConvolution that begins as bilinear interpolation needs as many filters as "
            f"channels and, for stride={stride}, filter_size={needed}, got channels={channels}, "
            f"filters={filters}, filter_size={window}; see TransposedConvolution.bilinear"
        )
    return bilinear(channels, stride)


def _pixels(images: Array) -> Array:
    """Each pixel of images as a row of its channels."""
    xp = array_namespace(images)
    return xp.reshape(xp.permute_dims(images, (0, 2, 3, 1)), (-1, images.shape[1]))


Table: TypeAlias = tuple[tuple[int, ...], ...]
"""For each filter the channels that it sees."""


def _checked_table(given: Any, channels: int, filters: int, groups: int) -> Table:
    """A table of these many filters, each of which sees some of the channels."""
    if groups > 1:
        raise ArgumentError(f"Convolution takes a table or groups, got both: {groups} groups")
    rows = given if isinstance(given, Sequence | np.ndarray) and not isinstance(given, str) else ()
    found = [whole_numbers(row) for row in rows]
    if len(found) != filters or None in found:
        raise ArgumentError(
            "the table of Convolution must hold the numbers of channels for each of the "
            f"{filters} filters, such as [(0, 1), ...], got {given!r:.200}"
        )
    table = tuple(row for row in found if row is not None)
    for filter_, row in enumerate(table):
        if not row or len(set(row)) < len(row) or not 0 <= min(row) <= max(row) < channels:
            raise ArgumentError(
                f"filter {filter_} of the table of Convolution must see at least one of the "
                f"channels 0 to {channels - 1}, and none twice, got {row!r:.200}"
            )
    return table


def _mask_of(table: Table, channels: int) -> np.ndarray:
    """1 where a filter sees a channel and 0 elsewhere."""
    mask = np.zeros((len(table), channels, 1, 1))
    for filter_, row in enumerate(table):
        mask[filter_, list(row)] = 1.0
    return mask


def _groups_of(matrix: Array, groups: int, *, axis: int = 1) -> Array:
    """The columns of each group, or its rows, as a matrix of their own: (groups, ...).

    The matrix itself where there are no groups.
    """
    if groups == 1:
        return matrix
    xp, (m, n) = array_namespace(matrix), matrix.shape
    if axis == 0:
        return xp.reshape(matrix, (groups, m // groups, n))
    return xp.permute_dims(xp.reshape(matrix, (m, groups, n // groups)), (1, 0, 2))


def _joined(matrices: Array, groups: int) -> Array:
    """The columns of all groups side by side in one matrix again."""
    if groups == 1:
        return matrices
    xp, (_, m, n) = array_namespace(matrices), matrices.shape
    return xp.reshape(xp.permute_dims(matrices, (1, 0, 2)), (m, groups * n))


def _transpose(matrices: Array) -> Array:
    """Each matrix with rows and columns exchanged."""
    return array_namespace(matrices).matrix_transpose(matrices)


def _parts(n: int, size: int) -> Iterator[slice]:
    """The images in parts, whose columns take `size` bytes for each image."""
    return in_parts(n, max(1, COLUMNS // max(1, size)))


def _size(xp: Any, x: Array) -> int:
    """Bytes of a number."""
    return int(xp.finfo(x.dtype).bits) // 8
