"""Kernels of layers where values meet, and of what stands in for a branch."""

from collections.abc import Iterator, Sequence

import numpy as np

from xpnet.engine.cpu.kernel import Kernel, computes, zeros_beside
from xpnet.engine.lower import Pattern
from xpnet.layers import Concatenate, Identity, PadShortcut, ReLU, Residual, Sum


@computes(Identity)
class Copy(Kernel):
    """y = x."""

    passes_dy = True
    method = "copy"

    def forward(self) -> None:
        """x to y."""
        np.copyto(self.y, self.inputs[0])

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx."""
        if self.gradients[0] is not self.dy:
            np.copyto(self.gradients[0], self.dy)


@computes(Sum, Residual)
class Add(Kernel):
    """y = x_1 + x_2 + ..., in the order of the branches."""

    adds = passes_dy = True
    method = "sum"

    def forward(self) -> None:
        """The inputs to y."""
        first, *others = self.inputs
        if not others:
            np.copyto(self.y, first)
            return
        second, *others = others
        np.add(first, second, out=self.y)
        for x in others:
            np.add(self.y, x, out=self.y)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to each input."""
        self.pass_on(self.targets(need_dx))

    def targets(self, need_dx: Sequence[bool]) -> list[tuple[np.ndarray, bool]]:
        """Where dy must go, and whether it is added there; one input may have dy itself."""
        found = zip(self.gradients, self.op.adds, need_dx, strict=True)
        return [(dx, adds) for dx, adds, need in found if need and dx is not self.dy]

    def pass_on(self, targets: Sequence[tuple[np.ndarray, bool]]) -> None:
        """dy to some inputs."""
        for dx, adds in targets:
            if adds:
                np.add(dx, self.dy, out=dx)
            else:
                np.copyto(dx, self.dy)


@computes(Pattern(((Sum, Residual), (ReLU,))))
class RectifiedSum(Add):
    """ReLU of a sum."""

    keeps_y = True
    method = "sum with ReLU"

    def build(self) -> None:
        """Zeros, and a mask."""
        shape = self.buffers.shape(self.op.output_shape)
        self._zeros = zeros_beside(shape, self.buffers.dtype)
        self._mask = self.buffers.scratch("mask", shape, bool)

    def forward(self) -> None:
        """The inputs to y."""
        super().forward()
        np.maximum(self.y, self._zeros, out=self.y)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy, where y is above 0, to each input; dy itself is used up."""
        np.greater(self.y, 0, out=self._mask)
        np.multiply(self.dy, self._mask, out=self.dy)
        super().backward(need_dx, need_grads)


@computes(Concatenate)
class Join(Kernel):
    """Channels, or features, side by side; what only this reads has been written there already."""

    holds_inputs = True
    method = "side by side"

    def slices(self) -> Iterator[slice]:
        """The channels of each input."""
        end = 0
        for shape in self.op.input_shapes:
            begin, end = end, end + shape[0]
            yield slice(begin, end)

    def forward(self) -> None:
        """The inputs to y."""
        for value, x, part in zip(self.op.inputs, self.inputs, self.slices(), strict=True):
            if self.buffers.homes.get(value) != self.number:
                np.copyto(self.y[..., part], x)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Slices of dy to each input."""
        for k, part in enumerate(self.slices()):
            if not need_dx[k] or self.buffers.homes.get(self.op.inputs[k]) == self.number:
                continue
            np.copyto(self.gradients[k], self.dy[..., part])


@computes(PadShortcut)
class Padded(Kernel):
    """Every so many pixels, with channels of zeros before and behind."""

    method = "pixels and zeros"

    def build(self) -> None:
        """Find the channels that x goes to."""
        assert isinstance(self.op.layer, PadShortcut)
        channels, self._stride = self.op.input_shapes[0][0], self.op.layer.stride
        before = (self.op.output_shape[0] - channels) // 2
        self._inside = slice(before, before + channels)

    def forward(self) -> None:
        """x to y."""
        s, inside = self._stride, self._inside
        self.y[..., : inside.start] = 0.0
        self.y[..., inside.stop :] = 0.0
        np.copyto(self.y[..., inside], self.inputs[0][::s, ::s])

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx."""
        s, (dx,) = self._stride, self.gradients
        dx[...] = 0.0
        np.copyto(dx[::s, ::s], self.dy[..., self._inside])
