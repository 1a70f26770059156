"""Layers of numbers of one bit, and what brings pixels to them."""

from math import prod
from typing import Any

from xpnet.engine.cuda.chain import chained
from xpnet.engine.cuda.conv import ConvolutionKernel, DepthwiseKernel
from xpnet.engine.cuda.dense import DenseKernel
from xpnet.engine.cuda.function import (
    POINTWISE,
    Call,
    Function,
    Parameter,
    Parameters,
    blocks,
    counts,
)
from xpnet.engine.cuda.kernel import Arrays, EachNumber, Kernel, Weighted, does, forward_name
from xpnet.layers import BinaryAffine, BinaryConvolution, Rescale, Sign

SIGNS = "signs"
"""Name of what the forward pass leaves to the backward pass: the weights' signs."""


class Signed(Weighted):
    """An operation with the signs of its weights, which each forward pass finds anew."""

    @property
    def weights(self) -> Parameter:
        """The signs."""
        return Parameter("const real*", "w", lambda a: a.kept[SIGNS])

    def keeps(self, samples: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """The signs."""
        return {SIGNS: (tuple(self.layer.params["W"].shape), "real")}

    def _signs_function(self, *, train: bool) -> Function:
        """A thread a weight."""
        total = prod(self.layer.params["W"].shape)
        given = Parameter("const real*", "w", lambda a: self.layer.params["W"])
        found = Parameter("real*", SIGNS, lambda a: a.kept[SIGNS])
        parameters = (given, found, *counts(total=lambda a: total))
        name = f"{forward_name(self, train=train)}_{SIGNS}"
        return Function(name, POINTWISE, parameters, f"signs_of(w, {SIGNS}, total);")

    def forward_functions(self, *, train: bool) -> list[Function]:
        """The signs before all else."""
        return [self._signs_function(train=train), *super().forward_functions(train=train)]

    def forward(self, arrays: Arrays, *, train: bool) -> list[Call]:
        """The signs before all else."""
        grid = blocks(prod(self.layer.params["W"].shape))
        signs = self._signs_function(train=train).call(arrays, grid)
        return [signs, *super().forward(arrays, train=train)]


@does(BinaryAffine, patterns=chained(BinaryAffine))
class BinaryDenseKernel(Signed, DenseKernel):
    """BinaryAffine."""

    kind = "tiled product with signs"


@does(BinaryConvolution, patterns=chained(BinaryConvolution))
class BinaryConvolutionKernel(Signed, ConvolutionKernel):
    """BinaryConvolution."""

    kind = "direct convolution with signs"

    @classmethod
    def for_layer(cls, layer: Any) -> type[Kernel]:
        """Return another class where each filter of several groups reads one channel."""
        depthwise = super().for_layer(layer) is DepthwiseKernel
        return BinaryDepthwiseKernel if depthwise else cls


class BinaryDepthwiseKernel(Signed, DepthwiseKernel):
    """BinaryConvolution whose filters read one channel each."""


@does(Sign, patterns=chained(Sign))
class SignKernel(EachNumber):
    """Signs, whose gradients pass where numbers are near to changing them."""

    begins = "sign_forward(x", "sign_backward(x"


@does(Rescale, patterns=chained(Rescale))
class RescaleKernel(EachNumber):
    """A scale and a shift that do not learn."""

    begins = "rescale_forward(x, scale, shift", "rescale_backward(x, scale"

    @property
    def besides(self) -> tuple[Parameters, Parameters]:
        """Both numbers, which are settings."""
        scale, shift = (
            Parameter("real", key, getattr(self.layer, key)) for key in ("scale", "shift")
        )
        return (scale, shift), (scale,)
