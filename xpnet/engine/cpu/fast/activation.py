"""Activation functions in one pass through memory each way."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from xpnet.compiled import loop
from xpnet.engine.cpu.activation import Rectify, RectifyBelow6, RectifyLeaking
from xpnet.engine.cpu.fast.rows import Rows
from xpnet.engine.cpu.kernel import Kernel, instead_of
from xpnet.layers import ReLU6


@instead_of(Rectify, RectifyBelow6)
class Clipped(Kernel):
    """ReLU or ReLU6: x where it is between 0 and the most, else the nearer of both."""

    keeps_y = True
    method = "in place of a copy"

    def build(self) -> None:
        """What is the most; nothing is more than NaN."""
        limited = type(self.op.layer) is ReLU6
        self._most = self.buffers.dtype.type(6 if limited else np.nan)

    @cached_property
    def _forth(self) -> Rows:
        return Rows(self.buffers, self.inputs, writes=[self.y])

    @cached_property
    def _back(self) -> Rows:
        return Rows(self.buffers, [self.y, self.dy], writes=self.gradients)

    def forward(self) -> None:
        """x to y."""
        self._forth.go(clipped, self._forth.length, self._most)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx, where y is between."""
        self._back.go(passed_between, self._back.length, self._most)


@instead_of(RectifyLeaking)
class Leaking(RectifyLeaking):
    """LeakyReLU in one pass."""

    @cached_property
    def _forth(self) -> Rows:
        return Rows(self.buffers, self.inputs, writes=[self.y])

    @cached_property
    def _back(self) -> Rows:
        return Rows(self.buffers, [self.y, self.dy], writes=self.gradients)

    def forward(self) -> None:
        """x to y."""
        self._forth.go(leaked, self._forth.length, self._slope)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx, times the slope where y is not above 0."""
        self._back.go(passed_leaking, self._back.length, self._slope)


@loop
def clipped(
    length: int, most: float, x: np.ndarray, at_x: np.ndarray, y: np.ndarray, at_y: np.ndarray
) -> None:
    """y = min(max(x, 0), most); NaN stays."""
    zero = x.dtype.type(0)
    for r in range(len(at_x)):
        row, out = x[at_x[r] : at_x[r] + length], y[at_y[r] : at_y[r] + length]
        for c in range(length):
            found = zero if row[c] < zero else row[c]
            out[c] = most if found > most else found


@loop
def passed_between(
    length: int,
    most: float,
    y: np.ndarray,
    at_y: np.ndarray,
    dy: np.ndarray,
    at_dy: np.ndarray,
    dx: np.ndarray,
    at_dx: np.ndarray,
) -> None:
    """dx = dy where 0 < y < most, else 0: products, so that NaN stays NaN, as in the layers."""
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for r in range(len(at_y)):
        row, given = y[at_y[r] : at_y[r] + length], dy[at_dy[r] : at_dy[r] + length]
        out = dx[at_dx[r] : at_dx[r] + length]
        for c in range(length):
            out[c] = given[c] * (one if row[c] > zero and not row[c] >= most else zero)


@loop
def leaked(
    length: int, slope: float, x: np.ndarray, at_x: np.ndarray, y: np.ndarray, at_y: np.ndarray
) -> None:
    """y = x where it is above 0, else slope x; NaN stays."""
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for r in range(len(at_x)):
        row, out = x[at_x[r] : at_x[r] + length], y[at_y[r] : at_y[r] + length]
        for c in range(length):
            out[c] = row[c] * (one if row[c] > zero else slope)


@loop
def passed_leaking(
    length: int,
    slope: float,
    y: np.ndarray,
    at_y: np.ndarray,
    dy: np.ndarray,
    at_dy: np.ndarray,
    dx: np.ndarray,
    at_dx: np.ndarray,
) -> None:
    """dx = dy where y is above 0, else slope dy."""
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for r in range(len(at_y)):
        row, given = y[at_y[r] : at_y[r] + length], dy[at_dy[r] : at_dy[r] + length]
        out = dx[at_dx[r] : at_dx[r] + length]
        for c in range(length):
            out[c] = given[c] * (one if row[c] > zero else slope)
