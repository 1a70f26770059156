"""Pooling."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Literal

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import floating
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import (
    Stride,
    Uneven,
    UnevenPool,
    contiguous,
    cropped,
    inner,
    outer,
    output_sizes,
    padded,
    shifted,
)
from xpnet.functions.init import filled
from xpnet.functions.pooling import max_pool, maxima, places_of, reached, unpool
from xpnet.layers.base import (
    Backward,
    Container,
    Layer,
    Leaf,
    Params,
    Shape,
    Tracer,
    sample_shape,
    take_back,
)
from xpnet.layers.numbers import Windowed, height_and_width
from xpnet.layers.sequential import body_of


class _Pool(Windowed):
    """The common part of both kinds: a window moved over each channel by itself."""

    def __init__(
        self,
        window: int | tuple[int, int],
        stride: Stride,
        pad: int | tuple[int, int],
        uneven: UnevenPool,
    ) -> None:
        kind = type(self).__name__
        height, width = height_and_width(kind, "window", window)
        self._move_by(kind, stride, pad)
        top, left, *_ = self.pads
        if self.pads != (top, left, top, left):
            raise ArgumentError(
                f"pad of {kind} must be alike on opposite sides, one number or two for height and "
                f"width, got {pad}"
            )
        narrower = 0 <= top < height and 0 <= left < width
        if min(height, width, *self.strides) < 1 or not narrower:
            raise ArgumentError(
                "pooling needs a window and a stride of at least 1 and padding narrower than the "
                f"window, got window {height, width}, stride {stride}, pad {pad}"
            )
        self.params: Params = {}
        self.window, self.uneven = (height, width), uneven

    def arguments(self) -> dict[str, Any]:
        """Window, steps and padding."""
        return {
            "window": self.window,
            "stride": self.stride,
            "pad": self.pad,
            "uneven": self.uneven,
        }

    def output_shape(self, shape: Shape) -> Shape:
        """(C, OH, OW) for images of shape (C, H, W)."""
        if len(shape) != 3:
            raise ArgumentError(f"pooling takes images, (C, H, W), got {shape}")
        sizes = output_sizes(shape[1:], self.window, self.stride, self.pad, uneven=self.uneven)
        return shape[0], *sizes


class MaxPool(_Pool):
    """The largest value of each window (section 7.3); padding never wins.

    The gradient goes to where the maximum was. Where several values of a window are the maximum,
    as on the even ground of a drawing, `ties` decides.

    Parameters
    ----------
    window : height and width of the window, or one number for both
    stride, pad : steps of the window; rows and columns around the image that never win. One number,
        or two for height and width
    ties : "first" sends the gradient to the first of them, row by row; "all" to every one of them,
        which is the rule of Wakui's book and is no derivative
    uneven : as in `conv_output_size`; places beyond the image, which windows reach with "ceil",
        never win either
    """

    @checked
    def __init__(
        self,
        window: int | tuple[int, int],
        *,
        stride: Stride = 1,
        pad: int | tuple[int, int] = 0,
        ties: Literal["first", "all"] = "first",
        uneven: UnevenPool = "error",
    ) -> None:
        super().__init__(window, stride, pad, uneven)
        self.ties = ties

    def arguments(self) -> dict[str, Any]:
        """Window, steps, padding, and the rule of ties."""
        return super().arguments() | {"ties": self.ties}

    def reached(self, shape: Shape) -> tuple[int, int, int, int]:
        """Rows and columns around images (C, H, W) that windows reach: `pads`, or more.

        With "ceil" the last windows may reach further at the bottom and the right.
        """
        self.output_shape(shape)
        return reached(shape[1:], self.window, self.strides, self.pad, self.uneven)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The maxima, (N, C, OH, OW)."""
        image, y = maxima(x, self.window, self.strides, self.reached(sample_shape(x)))
        (top, left, *_), (H, W) = self.pads, x.shape[2:]
        inside = (slice(top, top + H), slice(left, left + W), ...)

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            xp, d = array_namespace(dy), contiguous(outer(dy))  # read once for each place
            dx = xp.zeros(image.shape, dtype=dy.dtype, device=dy.device)
            hits = places_of(image, y, self.window, self.strides, self.ties)
            targets = shifted(dx, *self.window, self.stride)
            for (_, _, hit), (_, _, target) in zip(hits, targets, strict=True):
                target += d * xp.astype(hit, d.dtype)
            return inner(dx[inside]), {}

        return inner(y), backward

    def places(self, x: Array) -> Array:
        """Find the maximum of each window: row W + column in the image without its padding.

        It is the first one of equals, row by row, as PyTorch's and ONNX's `indices` have it.

        Returns
        -------
        (N, C, OH, OW), int64
        """
        self.output_shape(sample_shape(x))
        return max_pool(x, self.window, self.stride, self.pad, uneven=self.uneven)[1].index


class AveragePool(_Pool):
    """The mean of each window; padding counts as zeros.

    Parameters
    ----------
    window, stride, pad, uneven : as for `MaxPool`, without "ceil"
    """

    @checked
    def __init__(
        self,
        window: int | tuple[int, int],
        *,
        stride: Stride = 1,
        pad: int | tuple[int, int] = 0,
        uneven: Uneven = "error",
    ) -> None:
        super().__init__(window, stride, pad, uneven)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The means, (N, C, OH, OW)."""
        self.output_shape(sample_shape(x))
        xp = array_namespace(x)
        image = padded(outer(floating(x)), self.pad)
        size = self.window[0] * self.window[1]
        y = None
        for _, _, view in shifted(image, *self.window, self.stride):
            y = view / size if y is None else y + view / size

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            share = outer(dy) / size
            dx = xp.zeros(image.shape, dtype=dy.dtype, device=dy.device)
            for _, _, target in shifted(dx, *self.window, self.stride):
                target += share
            return inner(cropped(dx, self.pad)), {}

        return inner(y), backward


class GlobalAveragePool(Leaf):
    """y[n, c] = mean of x[n, c] over all its pixels; dx = dy / (H W) at each.

    Lin, Chen, Yan 2013, "Network in network", arXiv:1312.4400, section 3.2.
    """

    def __init__(self) -> None:
        self.params: Params = {}

    def output_shape(self, shape: Shape) -> Shape:
        """(C,) for images (C, H, W) of any size."""
        if len(shape) != 3:
            raise ArgumentError(f"GlobalAveragePool takes images, (C, H, W), got {shape}")
        return shape[:1]

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The means, (N, C)."""
        self.output_shape(sample_shape(x))
        xp, x, (_, _, H, W) = array_namespace(x), floating(x), x.shape

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            share = xp.expand_dims(xp.expand_dims(dy / (H * W), axis=-1), axis=-1)
            return xp.asarray(xp.broadcast_to(share, x.shape), copy=True), {}

        return xp.mean(x, axis=(2, 3)), backward


class Subsampling(Leaf):
    """The sum of each 2 x 2 window, times a number of its channel's, and moved: LeNet's S2 and S4.

        y = coef S + b,   S = sum of the window
        dcoef = sum of dy S,   db = sum of dy,   dx = coef dy at each of the four places

    A squashing function, such as `ScaledTanh`, follows as a layer of its own. LeCun, Bottou,
    Bengio, Haffner 1998, "Gradient-based learning applied to document recognition", section II.B.

    Parameters
    ----------
    channels : of the images, whose height and width are even
    coef : what coef starts with; 1/4 makes means of the sums. b starts at 0.
    """

    decays = ()

    @checked
    def __init__(self, channels: int, *, coef: float = 0.25) -> None:
        if channels < 1 or not isfinite(coef):
            raise ArgumentError(
                "Subsampling needs at least one channel and a finite coef, got "
                f"channels={channels}, coef={coef}"
            )
        self.params: Params = {"coef": filled(channels, coef), "b": filled(channels, 0.0)}

    def arguments(self) -> dict[str, Any]:
        """The channels."""
        return {"channels": self.params["coef"].shape[0]}

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H / 2, W / 2) for images of shape (C, H, W)."""
        (channels,) = self.params["coef"].shape
        if len(shape) != 3 or shape[0] != channels or shape[1] % 2 or shape[2] % 2:
            raise ArgumentError(
                f"Subsampling takes images of {channels} channels, ({channels}, H, W), of even "
                f"height and width, got {shape}"
            )
        return channels, shape[1] // 2, shape[2] // 2

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The scaled sums, (N, C, H / 2, W / 2)."""
        self.output_shape(sample_shape(x))
        xp, coef, b = array_namespace(x), self.params["coef"], self.params["b"]
        image = outer(floating(x))
        upper_left, *others = (view for _, _, view in shifted(image, 2, 2, 2))
        S = xp.asarray(upper_left, copy=True)
        for view in others:
            S += view

        def backward(
            dy: Array, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array, Params]:
            d, dx, grads = outer(dy), None, {}
            if need_grads:
                windows = (0, 1, 2)
                grads = {"coef": xp.sum(d * S, axis=windows), "b": xp.sum(d, axis=windows)}
            if need_dx:
                share = coef * d
                dx = xp.empty(image.shape, dtype=share.dtype, device=share.device)
                for _, _, target in shifted(dx, 2, 2, 2):
                    target[...] = share
                dx = inner(dx)
            return dx, grads

        return inner(coef * S + b), backward


class Unpooled(Container):
    """Layers between a max pool and its undoing, which puts each value where the maximum was.

        y = unpool(f(pool(x)), places of the maxima),   0 at all other places

    f keeps channels and size. The gradient is gathered at the places, goes back through f, and from
    the pool to the same places. Windows lie side by side; pixels that fill none are 0 in y. Zeiler,
    Fergus 2013, arXiv:1311.2901, section 2.1; Badrinarayanan, Kendall, Cipolla 2015, "SegNet",
    arXiv:1511.00561.

    On even ground, where numbers are equal but for rounding, rounding decides the places: a matrix
    product may round rows otherwise in a batch of another size, and so the same sample can come out
    quite another image. Noise in the images spares networks that.

    Parameters
    ----------
    layers : f, as for `Sequential`; their names stand for themselves
    window : height and width of the window, or one number for both
    """

    def __init__(
        self, layers: Mapping[str, Layer] | Sequence[Layer], window: int | tuple[int, int] = 2
    ) -> None:
        self._inner = body_of("Unpooled", layers)
        super().__init__(self._inner.children())
        if "pool" in self._children:
            raise ArgumentError("a layer in Unpooled is called 'pool', as its pool is; rename it")
        height, width = height_and_width("Unpooled", "window", window)
        if height != width:
            raise ArgumentError(
                f"the windows of Unpooled lie side by side and must be square, got {window}"
            )
        self.pool = MaxPool(height, stride=height, uneven="drop")

    def arguments(self) -> dict[str, Any]:
        """The layers and the window."""
        return {"layers": self.children(), "window": self.pool.window[0]}

    def output_shape(self, shape: Shape) -> Shape:
        """The same shape."""
        pooled = self.pool.output_shape(shape)
        if (found := self._inner.output_shape(pooled)) != pooled:
            raise ArgumentError(
                f"the layers in Unpooled must keep the pooled shape, {pooled}, got {found}"
            )
        return shape

    def trace(self, tracer: Tracer, path: str, value: int) -> Any:
        """The pool, the layers, and the unpooling, which reads both."""
        shape = tracer.shape(value)
        pooled = tracer.layer(f"{path}pool", self.pool, value)
        found = self._inner.trace(tracer, path, pooled)
        return tracer.node(
            path.removesuffix("."), self, [found, pooled], lambda: self.output_shape(shape)
        )

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The values at the places of the maxima, in the shape of x."""
        self.output_shape(sample_shape(x))
        found, places = max_pool(x, self.pool.window, uneven="drop")
        v, step = self._inner.forward(found, train=train)
        y, gathered = unpool(v, places)

        def backward(
            dy: Array, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array, Params]:
            dv, grads = take_back(
                step, self._inner, gathered(dy), need_dx=need_dx, need_grads=need_grads
            )
            return (unpool(dv, places)[0] if need_dx else None), grads

        return y, backward
