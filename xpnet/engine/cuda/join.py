"""Layers side by side: sums, channels joined, shortcuts."""

from itertools import accumulate
from math import prod
from typing import Any

from xpnet.arrays import Array
from xpnet.engine.cuda.chain import Chain, chained
from xpnet.engine.cuda.driver import NULL, Argument
from xpnet.engine.cuda.function import (
    POINTWISE,
    Call,
    Function,
    Parameter,
    Parameters,
    blocks,
    counts,
    reads,
    writes,
)
from xpnet.engine.cuda.kernel import Arrays, EachNumber, Kernel, does, forward_name
from xpnet.layers import Concatenate, Identity, PadShortcut, Residual, Sum, Unflatten

NUMBER = "const int i = blockIdx.x * blockDim.x + threadIdx.x;\n    "
"""A thread's own, in C++."""


class Join(Kernel):
    """An operation that reads several values; a thread has its number of each of them."""

    kind = "one thread a number"

    @property
    def slices(self) -> list[str]:
        """Types of C++ that say where each input lies in the output."""
        sizes = [prod(shape) for shape in self.op.input_shapes]
        firsts = [0, *accumulate(sizes)]
        return [
            f"Slice<{size}, {first}, {sum(sizes)}>"
            for size, first in zip(sizes, firsts, strict=False)
        ]

    @property
    def threads(self) -> int:
        """Threads for a sample: as many as the largest input has numbers."""
        return max(map(prod, self.op.input_shapes))

    def input_parameters(self) -> Parameters:
        """x0, x1, ..."""

        def parameter(place: int) -> Parameter:
            return Parameter("const real*", f"x{place}", lambda a: a.inputs[place])

        return tuple(map(parameter, range(len(self.op.inputs))))

    def forward_lines(self, chain: str) -> list[str]:
        """Lines of C++ that compute y from x0, x1, ..., for number i of each."""
        return [
            f"join_forward<{piece}>(x{place}, y, i, samples, {chain});"
            for place, piece in enumerate(self.slices)
        ]

    def forward_function(self, *, train: bool) -> Function:
        """All inputs in one."""
        chain = self.chain
        parameters = (*self.input_parameters(), *writes("y"), *counts(samples=lambda a: a.n))
        lines = self.forward_lines(chain.value(train=train))
        return Function(
            forward_name(self, train=train),
            POINTWISE,
            parameters + chain.parameters(train=train),
            NUMBER + "\n    ".join(lines),
        )

    def forward(self, arrays: Arrays, *, train: bool) -> list[Call]:
        """One launch, or none where the output is the input."""
        if self.is_alias:
            return []
        grid = blocks(arrays.n * self.threads)
        return [self.forward_function(train=train).call(arrays, grid)]

    @property
    def written(self) -> list[int]:
        """The places of inputs whose gradients are written."""
        return [k for k, need in enumerate(self.op.need_dx) if need and not self.shares(k)]

    def backward_functions(self) -> list[Function]:
        """All inputs in one."""
        parameters, lines = (*self.input_parameters(), *reads("d")), []
        parameters += counts(samples=lambda a: a.n)
        for place in self.written:
            below, piece = self.below(place, which=str(place)), self.slices[place]
            parameters += (_gradient(place), *below.parameters)
            lines.append(
                f"join_backward<{piece}>(x{place}, d, dx{place}, i, samples, {below.value});"
            )
        if not lines:
            return []
        body = NUMBER + "\n    ".join(lines)
        return [Function(f"{self.name}_backward", POINTWISE, parameters, body)]

    def backward(self, arrays: Arrays) -> list[Call]:
        """One launch, or none where dy serves for all."""
        grid = blocks(arrays.n * self.threads)
        return [function.call(arrays, grid) for function in self.backward_functions()]


def _gradient(place: int) -> Parameter:
    def found(a: Arrays) -> Argument:
        dx: Array | None = a.dxs[place]
        return NULL if dx is None else dx

    return Parameter("real*", f"dx{place}", found)


@does(Concatenate, patterns=chained(Concatenate))
class ConcatenateKernel(Join):
    """Slices of the output."""


@does(Identity, Unflatten, patterns=())
@does(Sum, Residual, patterns=chained(Sum, Residual))
class SumKernel(Join):
    """The sum of its inputs, of which Identity and Unflatten have one.

    Images lie as their rows do.
    """

    @property
    def slices(self) -> list[str]:
        """The whole of the output, for each input."""
        size = prod(self.output_shape)
        return [f"Slice<{size}, 0, {size}>"] * len(self.op.inputs)

    @property
    def is_alias(self) -> bool:
        """There is nothing to be added, nothing follows, and nobody asks for another shape."""
        kept = self.input_shape == self.output_shape or not self.op.is_output
        return len(self.op.inputs) == 1 and self.chain == Chain() and kept

    def shares(self, place: int) -> bool:
        """Tell whether nobody but this operation writes or changes the gradient by that input."""
        source: Any = self.sources[place]
        if source is None or source.op.readers > 1 or source.op.is_output:
            return False
        alone: bool = source.chain == Chain()
        return alone

    def forward_lines(self, chain: str) -> list[str]:
        """The sum, in the order of the inputs."""
        total = " + ".join(f"x{place}[i]" for place in range(len(self.op.inputs)))
        count = f"samples * {prod(self.output_shape)}"
        return [f"if (i < {count}) y[i] = {chain}.value({total}, i);"]


@does(PadShortcut, patterns=chained(PadShortcut))
class PadShortcutKernel(EachNumber):
    """Every so many pixels, in channels between zeros."""

    @property
    def begins(self) -> tuple[str, str]:
        """The calls in C++, for these sizes."""
        before = (self.layer.channels - self.input_shape[0]) // 2
        sizes = (*self.input_shape, self.layer.stride, before, *self.output_shape)
        made = f"Padding<{', '.join(map(str, sizes))}>"
        return f"pad_forward<{made}>(x", f"pad_backward<{made}>(x"
