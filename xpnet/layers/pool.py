"""Pooling."""

from collections.abc import Iterator

from xpnet.arrays import Array, array_namespace
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import (
    contiguous,
    conv_output_size,
    cropped,
    inner,
    outer,
    padded,
    shifted,
)
from xpnet.layers.base import Backward, Params, Shape


class _Pool:
    """What both kinds share: a window moved over each channel by itself."""

    def __init__(
        self, pool_h: int, pool_w: int, stride: int = 1, pad: int = 0, *, uneven: str = "error"
    ) -> None:
        if min(pool_h, pool_w, stride) < 1 or not 0 <= pad < min(pool_h, pool_w):
            raise ArgumentError(
                "pooling needs a window and a stride of at least 1 and padding narrower than the "
                f"window, got window {pool_h, pool_w}, stride {stride}, pad {pad}"
            )
        self.params: Params = {}
        self.window, self.stride, self.pad, self.uneven = (pool_h, pool_w), stride, pad, uneven

    def output_shape(self, shape: Shape) -> Shape:
        """(C, OH, OW) for images of shape (C, H, W)."""
        if len(shape) != 3:
            raise ArgumentError(f"pooling takes images, (C, H, W), got {shape}")
        return shape[0], *(
            conv_output_size(size, window, self.stride, self.pad, uneven=self.uneven)
            for size, window in zip(shape[1:], self.window, strict=True)
        )


class MaxPool(_Pool):
    """The largest value of each window (section 7.3); padding never wins.

    The gradient goes to where the maximum was. Where several values of a window are the maximum,
    as on the even ground of a drawing, `ties` decides.

    Parameters
    ----------
    pool_h, pool_w, stride, pad : of the window
    ties : "first" sends the gradient to the first of them, row by row; "all" to every one of them,
        which is the rule of Wakui's book and is no derivative
    uneven : as in `conv_output_size`
    """

    def __init__(
        self,
        pool_h: int,
        pool_w: int,
        stride: int = 1,
        pad: int = 0,
        *,
        ties: str = "first",
        uneven: str = "error",
    ) -> None:
        super().__init__(pool_h, pool_w, stride, pad, uneven=uneven)
        if ties not in ("first", "all"):
            raise ArgumentError(f"ties must be 'first' or 'all', got {ties!r}")
        self.ties = ties

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The maxima, (N, C, OH, OW)."""
        self.output_shape(tuple(x.shape[1:]))
        xp = array_namespace(x)
        image = padded(outer(x), self.pad, -xp.inf)

        def windows(of: Array) -> Iterator[tuple[int, int, Array]]:
            return shifted(of, *self.window, self.stride)

        first, *others = (view for _, _, view in windows(image))
        y = xp.asarray(first, copy=True)
        for view in others:
            y = xp.maximum(y, view)

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            d = contiguous(outer(dy))  # it is read once for each place of the window
            dx = xp.zeros(image.shape, dtype=dy.dtype, device=dy.device)
            found = None
            for (_, _, view), (_, _, target) in zip(windows(image), windows(dx), strict=True):
                hit = view == y
                if self.ties == "first":
                    hit, found = (hit, hit) if found is None else (hit & ~found, found | hit)
                target += d * xp.astype(hit, d.dtype)
            return inner(cropped(dx, self.pad)), {}

        return inner(y), backward


class AveragePool(_Pool):
    """The mean of each window; padding counts as zeros."""

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The means, (N, C, OH, OW)."""
        self.output_shape(tuple(x.shape[1:]))
        xp = array_namespace(x)
        image = padded(outer(x), self.pad)
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
