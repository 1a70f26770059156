"""Convolution."""

from math import prod
from typing import Any

from xpnet.engine.cuda.chain import chained
from xpnet.engine.cuda.driver import Grid
from xpnet.engine.cuda.function import POINTWISE, Parameters, boolean
from xpnet.engine.cuda.kernel import EachNumberAndSums, Kernel, Weighted, does
from xpnet.engine.cuda.product import Products
from xpnet.engine.cuda.tiles import REGISTERS, Product
from xpnet.layers import Convolution

WORD = 64
"""Bits of a word of a table in convolution.cuh."""
SEEN, PLACED = 20.0, 6.0
"""Instructions by which a pixel is found that a window sees at some place, and registers."""

SPARED = 32
"""Sums of a thread at most that leave room for little else in 128 registers."""


class Filters(Weighted):
    """Filters over images, whose channels may be in groups."""

    @property
    def template(self) -> str:
        """Sizes of groups, images, filters and windows, and whether there is a bias."""
        layer, (F, C, FH, FW) = self.layer, self.layer.params["W"].shape
        _, *image = self.input_shape
        _, *out = self.output_shape
        numbers = (
            *(layer.groups, C, *image, F // layer.groups, FH, FW),
            *(*layer.strides, *layer.pads[:2], *out),
        )
        return f"Shape<{', '.join(map(str, numbers))}, {boolean(self.has_bias)}>"


@does(Convolution, patterns=chained(Convolution))
class ConvolutionKernel(Filters, Products):
    """Convolution, whose columns are never written."""

    kind = "direct convolution"
    products = ("ConvolutionForward", "ConvolutionGradient", "ConvolutionBackward")

    @classmethod
    def for_layer(cls, layer: Any) -> type[Kernel]:
        """Return another class where each filter of several groups reads one channel."""
        one = layer.groups > 1 and layer.params["W"].shape[1] == 1
        return DepthwiseKernel if one else cls

    @property
    def groups(self) -> int:
        """The layer's."""
        groups: int = self.layer.groups
        return groups

    @property
    def of_gradient(self) -> str:
        """The channels that each filter reads, too, where they are not all: the others stay 0."""
        if self.layer.table is None:
            return self.template
        channels = self.layer.params["W"].shape[1]
        words = [
            sum(1 << channel % WORD for channel in row if channel // WORD == word)
            for row in self.layer.table
            for word in range(-(-channels // WORD))
        ]
        return f"{self.template}, Table<{channels}, {', '.join(f'{word}ull' for word in words)}>"

    def sizes(self, n: int) -> tuple[tuple[int, int, int], ...]:
        """Biases are one more column of the gradient."""
        F, C, FH, FW = self.layer.params["W"].shape
        out, _, into = self.counted(n)
        F, depth = F // self.groups, C * FH * FW
        return (F, out, depth), (F, depth + self.has_bias, out), (C, into, F * FH * FW)

    def of_samples(self, n: int) -> list[Product]:
        """Places of windows are reckoned for each number, but where channels fill whole tiles."""
        F, C, _, _ = self.layer.params["W"].shape
        forward, gradient, backward = super().of_samples(n)
        return [
            forward._replace(whole=C),
            gradient._replace(right=SEEN, kept=PLACED),
            backward._replace(whole=F // self.groups),
        ]

    def residents(self, which: int) -> int:
        """Enough for 128 registers a thread, where places would take more, to little use."""
        tile, product = self.tiles[which], self.of_samples(1)[which]
        spared = self.math == "FLOAT" and self.layer.params["W"].dtype.itemsize == 4
        if not spared or product.whole % tile.depth == 0 or tile.own > SPARED:
            return 0
        return REGISTERS // (128 * tile.threads)

    def counted(self, n: int) -> tuple[int, int, int]:
        """Pixels of the output, and of the input."""
        out, into = n * prod(self.output_shape[1:]), n * prod(self.input_shape[1:])
        return out, out, into


class DepthwiseKernel(Filters, EachNumberAndSums):
    """Convolution whose filters read one channel each."""

    @property
    def begins(self) -> tuple[str, str]:
        """The calls in C++, for these sizes."""
        made = self.template
        return f"depthwise_forward<{made}>(x, w, bias", f"depthwise_backward<{made}>(x, w"

    @property
    def besides(self) -> tuple[Parameters, Parameters]:
        """Weights, and biases."""
        return (self.weights, self.bias), (self.weights,)

    @property
    def sums(self) -> tuple[str, Grid]:
        """A block for each number of W and b."""
        filters, _, *window = self.layer.params["W"].shape
        grid = filters, prod(window) + self.has_bias, 1
        return f"depthwise_gradient<{self.template}, {POINTWISE}>(x", grid
