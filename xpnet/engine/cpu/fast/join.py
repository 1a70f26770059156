"""Sums of branches in one pass through memory each way."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from xpnet.compiled import loop
from xpnet.engine.cpu.fast.rows import Rows
from xpnet.engine.cpu.join import RectifiedSum
from xpnet.engine.cpu.kernel import instead_of


@instead_of(RectifiedSum)
class RectifiedSumInLoops(RectifiedSum):
    """The same for two branches; with more, NumPy does what is left."""

    def build(self) -> None:
        """Rows for the way back are found later: of arrays that the kernel is given."""
        super().build()
        self._back: dict[tuple[bool, ...], Rows] = {}

    @cached_property
    def _forth(self) -> Rows:
        return Rows(self.buffers, self.inputs, writes=[self.y])

    def forward(self) -> None:
        """The inputs to y."""
        if len(self.inputs) == 2:
            self._forth.go(rectified_sum, self._forth.length)
        else:
            super().forward()

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy, where y is above 0, to each input; dy itself is used up."""
        needed = tuple(need_dx)
        targets = self.targets(needed)
        if needed not in self._back:
            updates = [self.dy, *(dx for dx, _ in targets[:1])]
            self._back[needed] = Rows(self.buffers, [self.y], updates=updates)
        rows = self._back[needed]
        if targets:
            rows.go(passed_where_positive, rows.length, targets[0][1])
        else:
            rows.go(kept_where_positive, rows.length)
        self.pass_on(targets[1:])


@loop
def rectified_sum(
    length: int,
    a: np.ndarray,
    at_a: np.ndarray,
    b: np.ndarray,
    at_b: np.ndarray,
    y: np.ndarray,
    at_y: np.ndarray,
) -> None:
    """y = max(a + b, 0); NaN stays."""
    zero = y.dtype.type(0)
    for r in range(len(at_y)):
        one, other = a[at_a[r] : at_a[r] + length], b[at_b[r] : at_b[r] + length]
        out = y[at_y[r] : at_y[r] + length]
        for c in range(length):
            found = one[c] + other[c]
            out[c] = zero if found < zero else found


@loop
def kept_where_positive(
    length: int, y: np.ndarray, at_y: np.ndarray, dy: np.ndarray, at_dy: np.ndarray
) -> None:
    """dy becomes 0 where y is not above 0: products, so that NaN stays."""
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for r in range(len(at_y)):
        row, given = y[at_y[r] : at_y[r] + length], dy[at_dy[r] : at_dy[r] + length]
        for c in range(length):
            given[c] *= one if row[c] > zero else zero


@loop
def passed_where_positive(
    length: int,
    adds: bool,
    y: np.ndarray,
    at_y: np.ndarray,
    dy: np.ndarray,
    at_dy: np.ndarray,
    dx: np.ndarray,
    at_dx: np.ndarray,
) -> None:
    """The same, which also goes to dx, or is added to it."""
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for r in range(len(at_y)):
        row, given = y[at_y[r] : at_y[r] + length], dy[at_dy[r] : at_dy[r] + length]
        out = dx[at_dx[r] : at_dx[r] + length]
        for c in range(length):
            d = given[c] * (one if row[c] > zero else zero)
            given[c] = d
            out[c] = out[c] + d if adds else d
