"""Fully connected layers."""

from math import prod

from xpnet.engine.cuda.chain import chained
from xpnet.engine.cuda.function import boolean
from xpnet.engine.cuda.kernel import does
from xpnet.engine.cuda.product import Products
from xpnet.layers import Affine


@does(Affine, patterns=chained(Affine))
class DenseKernel(Products):
    """Affine."""

    kind = "tiled product"
    products = ("DenseForward", "DenseGradient", "DenseBackward")

    @property
    def template(self) -> str:
        """Inputs, outputs, and whether there is a bias."""
        return f"{prod(self.input_shape)}, {self.output_shape[0]}, {boolean(self.has_bias)}"

    def sizes(self, n: int) -> tuple[tuple[int, int, int], ...]:
        """Biases are one more row of the gradient."""
        n_in, n_out = prod(self.input_shape), self.output_shape[0]
        return (n, n_out, n_in), (n_in + self.has_bias, n_out, n), (n, n_in, n_out)

    def counted(self, n: int) -> tuple[int, int, int]:
        """Samples."""
        return n, n, n
