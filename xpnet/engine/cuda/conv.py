"""Convolution."""

from math import prod
from typing import Any

from xpnet.engine.cuda.chain import chained
from xpnet.engine.cuda.function import boolean
from xpnet.engine.cuda.kernel import does
from xpnet.engine.cuda.product import Products
from xpnet.layers import Convolution


@does(Convolution, patterns=chained(Convolution))
class ConvolutionKernel(Products):
    """Convolution, whose columns are never written."""

    kind = "direct convolution"
    products = ("ConvolutionForward", "ConvolutionGradient", "ConvolutionBackward")

    @classmethod
    def fits(cls, layer: Any) -> bool:
        """Tell whether every filter sees every channel, and all sides are treated alike."""
        alike = isinstance(layer.stride, int) and isinstance(layer.pad, int)
        return alike and layer.groups == 1 and layer.table is None

    @property
    def template(self) -> str:
        """Sizes of images, filters and windows, and whether there is a bias."""
        F, C, FH, FW = self.layer.params["W"].shape
        _, H, W = self.input_shape
        _, OH, OW = self.output_shape
        numbers = (C, H, W, F, FH, FW, self.layer.stride, self.layer.pad, OH, OW)
        return f"Shape<{', '.join(map(str, numbers))}, {boolean(self.has_bias)}>"

    def sizes(self, n: int) -> tuple[tuple[int, int, int], ...]:
        """Biases are one more column of the gradient."""
        F, C, FH, FW = self.layer.params["W"].shape
        out, _, into = self.counted(n)
        depth = C * FH * FW
        return (F, out, depth), (F, depth + self.has_bias, out), (C, into, F * FH * FW)

    def counted(self, n: int) -> tuple[int, int, int]:
        """Pixels of the output, and of the input."""
        out, into = n * prod(self.output_shape[1:]), n * prod(self.input_shape[1:])
        return out, out, into
