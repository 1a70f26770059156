"""Pooling."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from xpnet.engine.cpu.kernel import Kernel, computes, zeros_beside
from xpnet.engine.lower import Op, Pattern
from xpnet.functions.im2col import shifted
from xpnet.layers import (
    AveragePool,
    GlobalAveragePool,
    Layer,
    MaxPool,
    ReLU,
    Shape,
    Subsampling,
    Unpooled,
)
from xpnet.models.nodes import Node


class Places(Protocol):
    """A max pool that knows where the maxima of its last pass were."""

    def scatter(self, v: np.ndarray, y: np.ndarray) -> None:
        """Each value of v to the place of its window's maximum in y; 0 elsewhere."""

    def gather(self, y: np.ndarray, v: np.ndarray) -> None:
        """Copy what is at the places of the maxima in y to v."""


def _pool(op: Op) -> MaxPool:
    layer = op.nodes[-1].layer
    assert isinstance(layer, MaxPool)
    return layer


def forgets(kernel: Kernel) -> bool:
    """Tell whether nobody will ask where the maxima of this pass were.

    What an `Unpooled` takes the places from has another reader, the first of its layers.
    """
    return not kernel.under_way.keep and kernel.op.readers <= 1


class Pool2x2(Kernel):
    """The largest of each 2 x 2 window.

    First the larger of two neighbours across, then of two of those down. Of equals the first wins,
    row by row, as in `MaxPool`: left before right, upper before lower. Two masks remember the way,
    and the gradient takes it back: what the first does not get, the second does, as the difference.
    """

    method = "2x2"

    @staticmethod
    def fits(layer: Layer, shape: Shape) -> bool:
        """Tell whether the windows lie side by side and cover the image."""
        assert isinstance(layer, MaxPool)
        tiled = layer.window == (2, 2) and layer.strides == (2, 2) and not any(layer.pads)
        return tiled and shape[1] % 2 == 0 and shape[2] % 2 == 0 and layer.ties == "first"

    def build(self) -> None:
        """Room for what is half done, and the masks."""
        H, W, n, C = self.buffers.shape(self.op.input_shapes[0])
        half, quarter = (H, W // 2, n, C), (H // 2, W // 2, n, C)
        self._across = self.buffers.scratch("across", half)
        self._down = self.buffers.scratch("down", quarter)
        self._left, self._upper = (self.buffers.kept(shape, bool) for shape in (half, quarter))

    def forward(self) -> None:
        """x to y."""
        self._largest(self.inputs[0], self.y)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to the place in dx where the maximum was; 0 elsewhere."""
        np.copyto(self._down, self.dy)
        self.scatter(self._down, self.gradients[0])

    def scatter(self, v: np.ndarray, y: np.ndarray) -> None:
        """Put values at the places of the maxima, as `Places` says."""
        across = self._across
        np.multiply(v, self._upper, out=across[0::2])
        np.subtract(v, across[0::2], out=across[1::2])
        np.multiply(across, self._left, out=y[:, 0::2])
        np.subtract(across, y[:, 0::2], out=y[:, 1::2])

    def gather(self, y: np.ndarray, v: np.ndarray) -> None:
        """Take values from the places of the maxima, as `Places` says."""
        across = self._across
        np.copyto(across, y[:, 1::2])
        np.copyto(across, y[:, 0::2], where=self._left)
        np.copyto(v, across[1::2])
        np.copyto(v, across[0::2], where=self._upper)

    def _largest(self, x: np.ndarray, y: np.ndarray) -> bool:
        """x to y, and to the masks if anybody will ask for them; whether anybody will."""
        left, right = x[:, 0::2], x[:, 1::2]
        np.maximum(left, right, out=self._across)
        upper, lower = self._across[0::2], self._across[1::2]
        np.maximum(upper, lower, out=y)
        if forgets(self):
            return False
        np.greater_equal(left, right, out=self._left)
        np.greater_equal(upper, lower, out=self._upper)
        return True


def halves(nodes: Sequence[Node]) -> bool:
    """Tell whether layers end in a pool that halves an image."""
    return Pool2x2.fits(nodes[-1].layer, nodes[-1].input_shape)


@computes(Pattern(((ReLU,), (MaxPool,)), halves))
class RectifiedPool2x2(Pool2x2):
    """ReLU, which has a quarter to do after the pool."""

    main = 1
    method = "2x2 with ReLU"

    def build(self) -> None:
        """One more mask, and zeros."""
        super().build()
        self._positive = self.buffers.kept(self._down.shape, bool)
        self._zeros = zeros_beside(self._down.shape, self._down.dtype)

    def forward(self) -> None:
        """x to y."""
        if self._largest(self.inputs[0], self._down):
            np.greater(self._down, 0, out=self._positive)
        np.maximum(self._down, self._zeros, out=self.y)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to the place in dx where the maximum was, if it was positive; 0 elsewhere."""
        np.multiply(self.dy, self._positive, out=self._down)
        self.scatter(self._down, self.gradients[0])


@computes(MaxPool)
class Windows(Kernel):
    """The largest of each window of any size and stride; a mask for each place of the window."""

    method = "place by place"

    @classmethod
    def best(cls, op: Op) -> type[Kernel]:
        """Choose halves where they fit, and a border where windows reach beyond the image."""
        layer, (shape,) = _pool(op), op.input_shapes
        if Pool2x2.fits(layer, shape):
            return Pool2x2
        return BorderedWindows if any(layer.reached(shape)) else cls

    def build(self) -> None:
        """The masks."""
        shape, (FH, FW) = self.buffers.shape(self.op.output_shape), _pool(self.op).window
        self._hits = [self.buffers.kept(shape, bool) for _ in range(FH * FW)]
        self._free = self.buffers.scratch("mask", shape, bool)
        self._term = self.buffers.scratch("down", shape)

    def _views(self, images: np.ndarray) -> list[np.ndarray]:
        layer = _pool(self.op)
        return [view for _, _, view in shifted(images, *layer.window, layer.stride)]

    def forward(self) -> None:
        """x to y."""
        self._largest(self.inputs[0])

    def _largest(self, images: np.ndarray) -> None:
        """Images to y, and the places of the maxima if anybody will ask for them."""
        first, *others = views = self._views(images)
        np.copyto(self.y, first)
        for view in others:
            np.maximum(self.y, view, out=self.y)
        if forgets(self):
            return
        self._free[...] = True
        for view, hit in zip(views, self._hits, strict=True):
            np.equal(view, self.y, out=hit)
            np.logical_and(hit, self._free, out=hit)
            np.greater(self._free, hit, out=self._free)  # free and no hit

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to the place in dx where the maximum was."""
        self.scatter(self.dy, self.gradients[0])

    def scatter(self, v: np.ndarray, y: np.ndarray) -> None:
        """Put values at the places of the maxima, as `Places` says; windows that overlap add."""
        y[...] = 0.0
        for view, hit in zip(self._views(y), self._hits, strict=True):
            np.multiply(v, hit, out=self._term)
            view += self._term

    def gather(self, y: np.ndarray, v: np.ndarray) -> None:
        """Take values from the places of the maxima, as `Places` says."""
        v[...] = 0.0
        for view, hit in zip(self._views(y), self._hits, strict=True):
            np.copyto(v, view, where=hit)


class BorderedWindows(Windows):
    """The same for windows that reach beyond the image: into a border that never wins."""

    owns_x = True
    method = "place by place, with a border"

    def build(self) -> None:
        """Images with a border, too."""
        super().build()
        pads = _pool(self.op).reached(self.op.input_shapes[0])
        self._images, self._dx_around = self.bordered(pads, -np.inf)

    def forward(self) -> None:
        """x to y."""
        self._largest(self._images)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to the place in dx where the maximum was."""
        self.scatter(self.dy, self._dx_around)


@computes(Unpooled)
class Unpool(Kernel):
    """Puts the output of the layers behind a pool at the places that the pool remembers."""

    method = "at the pool's places"

    @property
    def _pool(self) -> Places:
        pool = self.below[1]
        assert isinstance(pool, Pool2x2 | Windows)
        return pool

    def forward(self) -> None:
        """x to y."""
        self._pool.scatter(self.inputs[0], self.y)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx."""
        if need_dx[0]:
            self._pool.gather(self.dy, self.gradients[0])


@computes(AveragePool)
class Averages(Kernel):
    """The mean of each window, from images with a border of zeros."""

    owns_x = True
    method = "place by place"

    def build(self) -> None:
        """Images with a border, and what the places of the window see of them."""
        layer, buffers = self.op.layer, self.buffers
        assert isinstance(layer, AveragePool)
        self._size = layer.window[0] * layer.window[1]
        self._term = buffers.scratch("down", buffers.shape(self.op.output_shape))
        images, self._dx_around = self.bordered(layer.pads)

        def places(around: np.ndarray) -> list[np.ndarray]:
            return [view for _, _, view in shifted(around, *layer.window, layer.stride)]

        self._views = places(images)
        if self._dx_around is not None:
            self._dx_views = places(self._dx_around)

    def forward(self) -> None:
        """x to y."""
        first, *others = self._views
        np.divide(first, self._size, out=self.y)
        for view in others:
            np.divide(view, self._size, out=self._term)
            self.y += self._term

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """An equal share of dy to each place."""
        np.divide(self.dy, self._size, out=self._term)
        self._dx_around[...] = 0.0
        for view in self._dx_views:
            view += self._term


@computes(Subsampling)
class ScaledSums(Kernel):
    """y = coef S + b, with the sums S of windows of 2 x 2, which are kept."""

    method = "sums of 2x2, then scale and shift"

    def build(self) -> None:
        """The sums, and the parameters spread over the samples."""
        shape = H, W, n, C = self.buffers.shape(self.op.output_shape)
        self._S = self.buffers.kept(shape)
        self._product = self.buffers.scratch("product", shape)
        # So that NumPy's innermost loop is over samples and channels.
        self._coef, self._b = (self.buffers.kept((n, C)) for _ in "cb")
        self._ones = np.ones(H * W * n, dtype=self.buffers.dtype)

    def prepare(self) -> None:
        """Coefficients and biases as they are now."""
        params = self.op.layer.params
        np.copyto(self._coef, params["coef"])
        np.copyto(self._b, params["b"])

    def forward(self) -> None:
        """x to y."""
        first, *others = (view for _, _, view in shifted(self.inputs[0], 2, 2, 2))
        np.copyto(self._S, first)
        for view in others:
            self._S += view
        np.multiply(self._S, self._coef, out=self.y)
        self.y += self._b

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to the gradients, and to each place of its window."""
        product = self._product
        if need_grads:
            # As products with ones: NumPy is slow to sum over leading axes.
            rows = product.reshape(len(self._ones), -1)
            np.multiply(self.dy, self._S, out=product)
            np.matmul(self._ones, rows, out=self.grads["coef"])
            np.copyto(product, self.dy)
            np.matmul(self._ones, rows, out=self.grads["b"])
        if need_dx[0]:
            np.multiply(self.dy, self._coef, out=product)
            for _, _, view in shifted(self.gradients[0], 2, 2, 2):
                np.copyto(view, product)


@computes(GlobalAveragePool)
class Mean(Kernel):
    """y = mean of x over the pixels."""

    method = "mean"

    def forward(self) -> None:
        """x to y."""
        (x,) = self.inputs
        np.add.reduce(x, axis=(0, 1), out=self.y)
        self.y /= x.shape[0] * x.shape[1]

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx."""
        (dx,) = self.gradients
        np.divide(self.dy, dx.shape[0] * dx.shape[1], out=dx)
