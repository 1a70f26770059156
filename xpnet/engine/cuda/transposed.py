"""Transposed convolution."""

from functools import cached_property
from math import prod

from xpnet.engine.blocks import Blocks, blocks_of
from xpnet.engine.cuda.chain import chained
from xpnet.engine.cuda.conv import PLACED, SEEN
from xpnet.engine.cuda.function import POINTWISE, Call, Function, boolean, counts, reads, writes
from xpnet.engine.cuda.kernel import Arrays, does
from xpnet.engine.cuda.product import BACKWARD, GRADIENT, SHARED, Products
from xpnet.engine.cuda.tiles import Product
from xpnet.layers import TransposedConvolution


@does(TransposedConvolution, patterns=chained(TransposedConvolution))
class TransposedKernel(Products):
    """Transposed convolution: of blocks there, and back as the convolution that it transposes."""

    kind = "direct convolution"
    products = ("TransposedForward", "ConvolutionGradient", "ConvolutionForward")

    @cached_property
    def blocks(self) -> tuple[Blocks, Blocks]:
        """Those of its output, down and across."""
        return blocks_of(self.layer, self.input_shape[1:], self.output_shape[1:])

    @property
    def template(self) -> str:
        """The convolution of the blocks, and how they lie in the output."""
        (C, *image), (F, OH, OW) = self.input_shape, self.output_shape
        _, _, FH, FW = self.layer.params["W"].shape
        down, across = self.blocks
        before = down.before - down.first, across.before - across.first
        pixels = F * down.step * across.step
        seen = (1, C, *image, pixels, down.taps, across.taps, 1, 1, *before)
        numbers = (*seen, down.blocks, across.blocks)
        lie = (F, FH, FW, down.step, across.step, down.skipped, across.skipped, OH, OW)
        return (
            f"Shape<{', '.join(map(str, numbers))}, false>, "
            f"Blocks<{', '.join(map(str, lie))}, {boolean(self.has_bias)}>"
        )

    @property
    def of_gradient(self) -> str:
        """The convolution that it transposes."""
        (C, *image), (F, *out) = self.input_shape, self.output_shape
        _, _, FH, FW = self.layer.params["W"].shape
        steps = (*self.layer.strides, *self.layer.pads[:2])
        numbers = (1, F, *out, C, FH, FW, *steps, *image)
        return f"Shape<{', '.join(map(str, numbers))}, false>"

    def sizes(self, n: int) -> tuple[tuple[int, int, int], ...]:
        """Pixels and filters of a block; weights; and channels."""
        C, F, FH, FW = self.layer.params["W"].shape
        blocks, pixels, _ = self.counted(n)
        down, across = self.blocks
        rows, depth = F * down.step * across.step, C * down.taps * across.taps
        places = F * FH * FW
        return (rows, blocks, depth), (C, places, pixels), (C, pixels, places)

    def of_samples(self, n: int) -> list[Product]:
        """Places of windows are reckoned for each number, but where channels fill whole tiles."""
        C, F, _, _ = self.layer.params["W"].shape
        forward, gradient, backward = super().of_samples(n)
        return [
            forward._replace(whole=C),
            gradient._replace(right=SEEN, kept=PLACED),
            backward._replace(whole=F),
        ]

    def counted(self, n: int) -> tuple[int, int, int]:
        """Blocks of the output, and pixels of the input."""
        into = n * prod(self.input_shape[1:])
        return n * prod(each.blocks for each in self.blocks), into, into

    def gradient_function(self) -> Function:
        """As that of the convolution, whose input is the gradient; the biases' place stays free."""
        behind = self.output_shape[0] if self.has_bias else 0
        operation = f"{self.products[GRADIENT]}<{self.of_gradient}, Full, {behind}>"
        return Function(
            f"{self.name}_gradient",
            self.tiles[GRADIENT].threads,
            (*reads("x", "d"), *writes("parts"), *self.size_parameters(GRADIENT)),
            f"product<{self.tiles[GRADIENT].source(self.math)}>({operation}"
            "{d, x, parts, count}, rows, columns, depth, nullptr, nullptr);",
        )

    def bias_function(self) -> Function:
        """Sums of the gradient."""
        F, *plane = self.output_shape
        numbers = (F, prod(plane), prod(self.layer.params["W"].shape), POINTWISE)
        return Function(
            f"{self.name}_biases",
            POINTWISE,
            (*reads("d"), *writes("parts"), *counts(samples=lambda a: a.n)),
            f"bias_gradient<{', '.join(map(str, numbers))}>(d, parts, samples);",
        )

    def backward_function(self) -> Function:
        """The convolution, without biases."""
        below, tile = self.below(), self.tiles[BACKWARD]
        parameters = (*reads("d"), self.weights, *reads("x"), *writes("dx"))
        parameters += (*self.size_parameters(BACKWARD), *SHARED)
        back = f"Back<{below.kind}>"
        return Function(
            f"{self.name}_backward",
            tile.threads,
            parameters + below.parameters,
            f"product<{tile.source(self.math)}>({self.products[BACKWARD]}<{self.of_gradient}, "
            f"{back}>{{d, w, nullptr, dx, count, {back}{{{below.value}, dx, x}}}}, "
            "rows, columns, depth, scratch, tickets);",
            self.residents(BACKWARD),
        )

    def backward_functions(self) -> list[Function]:
        """Those of all products, and of the biases behind the weights."""
        functions = super().backward_functions()
        if self.op.need_grads and self.has_bias:
            functions.insert(1, self.bias_function())
        return functions

    def backward(self, arrays: Arrays) -> list[Call]:
        """Nothing waits for the parameters' before their update."""
        calls = super().backward(arrays)
        if self.op.need_grads and self.has_bias:
            grid = self.output_shape[0], self.parts(arrays.n), 1
            calls.insert(1, self.bias_function().call(arrays, grid, aside=True))
        return calls
