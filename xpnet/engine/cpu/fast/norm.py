"""Batch normalization in few passes through memory."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from xpnet.compiled import loop
from xpnet.engine.cpu.fast.rows import Rows
from xpnet.engine.cpu.kernel import instead_of
from xpnet.engine.cpu.norm import Moments, Normalize, RectifiedNorm
from xpnet.layers import BatchNorm

BLOCK = 32
"""Rows whose sums are added up in the type of the numbers before they are added in float64."""


@instead_of(Normalize)
class NormalizeInLoops(Normalize):
    """The same from x itself, which is kept; each sum and each result is one loop.

    With mu and std of the batch, m its mean as x's type has it, delta = mu - m, c = x - m,
    scale = gamma / std, slope = -scale dgamma / (k - ddof) / std, and k numbers in the batch,

        y = c scale + (beta - delta scale)
        dgamma = (sum dy c - delta sum dy) / std
        dx = dy scale + c slope - (delta slope + scale dbeta / k)
    """

    keeps_x = True
    rectifies = False

    def build(self) -> None:
        """Vectors: m, scale and shift as they multiply x, and delta, std and scale in float64."""
        assert isinstance(self.op.layer, BatchNorm)
        self._layer, kept = self.op.layer, self.buffers.kept
        self._features = C = self.op.output_shape[0]
        self._vectors, self._exact = kept((3, C)), kept((3, C), np.float64)
        self._more = kept((2, C))
        self._total: Any = None

    @cached_property
    def _forth(self) -> Rows:
        """Rows of x and y."""
        return Rows(self.buffers, self.inputs, writes=[self.y], period=self._features)

    @cached_property
    def _back(self) -> Rows:
        """Rows of x, dy, and dx if it is needed."""
        dx = [] if self.gradients[0] is None else self.gradients
        reads = [*self.inputs, self.dy]
        return Rows(self.buffers, reads, writes=dx, period=self._features)

    def _lanes(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Room for sums of the columns of rows, in either type."""
        scratch, length = self.buffers.scratch, rows.length
        return scratch("sums", (2, length)), scratch("exact sums", (3, length), np.float64)

    def bring(self) -> Moments:
        """Count, mean and squares."""
        (x,), rows, found = self.inputs, self._forth, np.empty((2, self._features))
        rows.fetch()
        moments(found, *self._lanes(rows), *rows.args[:2])
        return Moments(x.size // self._features, found[0], found[1])

    def settle(self, total: Moments) -> None:
        """x to y."""
        layer = self._layer
        layer.check_count(total.count)
        var = total.squares / (total.count - layer.ddof)
        kept = total.squares / (total.count - layer.running_ddof)
        self._batch, self._count, self._total = (total.mean, kept), total.count, None
        self._normalize(total.mean, var)

    def forward(self) -> None:
        """x to y by the running statistics, in training, too, where they are frozen."""
        self._total = None
        state = self._layer.state
        self._normalize(state["running_mean"], state["running_var"])

    def _normalize(self, mean: np.ndarray, var: np.ndarray) -> None:
        layer, rows, vectors = self._layer, self._forth, self._vectors
        gamma, beta = layer.params["gamma"], layer.params["beta"]
        scale_and_shift(mean, var, layer.eps, gamma, beta, vectors, self._exact)
        wide = self.buffers.scratch("wide", (3, rows.length))
        rows.go(normalized, self.rectifies, vectors, wide)

    def bring_back(self) -> np.ndarray:
        """The part's dbeta and dgamma."""
        rows, self._own = self._back, np.empty((2, self._features))
        rows.fetch()
        wide = self.buffers.scratch("wide", (3, rows.length))
        own, exact = self._own, self._exact
        summed_back(
            self.rectifies, own, self._vectors, exact, wide, *self._lanes(rows), *rows.args[:4]
        )
        return self._own

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to the gradients and dx."""
        if self._total is None and need_grads:
            self.bring_back()
        if need_grads:  # not earlier: parts of one thread share these arrays
            self.grads["beta"][...], self.grads["gamma"][...] = self._own
        total, self._total = self._total, None
        if not need_dx[0]:
            return
        rows, more, count = self._back, self._more, 0
        if total is not None:
            count = self._count
            slope_and_shift(total, count, count - self._layer.ddof, self._exact, more)
        wide = self.buffers.scratch("wide", (5, rows.length))
        rows.go(passed_back, self.rectifies, count > 0, self._vectors, more, wide)


@instead_of(RectifiedNorm)
class RectifiedNormInLoops(NormalizeInLoops):
    """ReLU of the normalized x; backward computes y anew rather than fetch it."""

    rectifies = True
    method = "moments, then scale, shift and ReLU"


@loop
def repeated(vectors: np.ndarray, wide: np.ndarray, first: int) -> None:
    """Write vectors into the rows of `wide` from `first` on, as often as they fit."""
    count, features = vectors.shape
    for k in range(count):
        for start in range(0, wide.shape[1], features):
            for c in range(features):
                wide[first + k, start + c] = vectors[k, c]


@loop
def moments(
    found: np.ndarray, sums: np.ndarray, exact: np.ndarray, x: np.ndarray, at: np.ndarray
) -> None:
    """Mean, and squares of what differs from it, of each feature.

    A block's numbers are added up as differences from those of its first row, and these sums in
    float64 as differences from the first row of all, so that a large mean takes no digits away.
    """
    length, features = sums.shape[1], found.shape[1]
    here, squares = sums[0], sums[1]
    S, Q, start = exact[0], exact[1], exact[2]
    for c in range(length):
        S[c] = 0.0
        Q[c] = 0.0
        start[c] = x[at[0] + c % features]
    for first in range(0, len(at), BLOCK):
        count = min(BLOCK, len(at) - first)
        origin = x[at[first] : at[first] + length]
        for c in range(length):
            here[c] = 0.0
            squares[c] = 0.0
        for r in range(first + 1, first + count):
            row = x[at[r] : at[r] + length]
            for c in range(length):
                d = row[c] - origin[c]
                here[c] += d
                squares[c] += d * d
        for c in range(length):
            apart = origin[c] - start[c]
            S[c] += here[c] + count * apart
            Q[c] += squares[c] + apart * (2.0 * here[c] + count * apart)
    numbers = len(at) * (length // features)
    for c in range(features):
        s, q = 0.0, 0.0
        for k in range(c, length, features):
            s += S[k]
            q += Q[k]
        found[0, c] = start[c] + s / numbers
        rest = q - s * (s / numbers)
        found[1, c] = 0.0 if rest < 0.0 else rest


@loop
def scale_and_shift(
    mean: np.ndarray,
    var: np.ndarray,
    eps: float,
    gamma: np.ndarray,
    beta: np.ndarray,
    vectors: np.ndarray,
    exact: np.ndarray,
) -> None:
    """m, scale and shift, and delta, std and scale in float64."""
    for c in range(len(mean)):
        vectors[0, c] = mean[c]
        exact[0, c] = delta = mean[c] - np.float64(vectors[0, c])
        exact[1, c] = std = np.sqrt(var[c] + eps)
        exact[2, c] = scale = gamma[c] / std
        vectors[1, c] = scale
        vectors[2, c] = beta[c] - delta * scale


@loop
def normalized(
    rectifies: bool,
    vectors: np.ndarray,
    wide: np.ndarray,
    x: np.ndarray,
    at_x: np.ndarray,
    y: np.ndarray,
    at_y: np.ndarray,
) -> None:
    """y, with ReLU if wanted."""
    repeated(vectors, wide, 0)
    m, scale, shift = wide[0], wide[1], wide[2]
    length, zero = len(m), wide.dtype.type(0)
    for r in range(len(at_x)):
        row, out = x[at_x[r] : at_x[r] + length], y[at_y[r] : at_y[r] + length]
        for c in range(length):
            found = (row[c] - m[c]) * scale[c] + shift[c]
            out[c] = zero if rectifies and found < zero else found


@loop
def summed_back(
    rectifies: bool,
    found: np.ndarray,
    vectors: np.ndarray,
    exact: np.ndarray,
    wide: np.ndarray,
    sums: np.ndarray,
    sums_exact: np.ndarray,
    x: np.ndarray,
    at_x: np.ndarray,
    dy: np.ndarray,
    at_dy: np.ndarray,
) -> None:
    """dbeta and dgamma."""
    repeated(vectors, wide, 0)
    m, scale, shift = wide[0], wide[1], wide[2]
    length, features = len(m), found.shape[1]
    zero, one = wide.dtype.type(0), wide.dtype.type(1)
    here, products = sums[0], sums[1]
    S, P = sums_exact[0], sums_exact[1]
    for c in range(length):
        S[c] = 0.0
        P[c] = 0.0
    for first in range(0, len(at_x), BLOCK):
        for c in range(length):
            here[c] = 0.0
            products[c] = 0.0
        for r in range(first, min(first + BLOCK, len(at_x))):
            row, given = x[at_x[r] : at_x[r] + length], dy[at_dy[r] : at_dy[r] + length]
            for c in range(length):
                apart = row[c] - m[c]
                open_ = not rectifies or apart * scale[c] + shift[c] > zero
                d = given[c] * (one if open_ else zero)
                here[c] += d
                products[c] += d * apart
        for c in range(length):
            S[c] += here[c]
            P[c] += products[c]
    for c in range(features):
        s, p = 0.0, 0.0
        for k in range(c, length, features):
            s += S[k]
            p += P[k]
        found[0, c] = s
        found[1, c] = (p - exact[0, c] * s) / exact[1, c]


@loop
def slope_and_shift(
    total: np.ndarray, count: int, freedom: int, exact: np.ndarray, more: np.ndarray
) -> None:
    """What dx has of c, and of all numbers alike."""
    for c in range(total.shape[1]):
        delta, std, scale = exact[0, c], exact[1, c], exact[2, c]
        slope = -scale / std * total[1, c] / freedom
        more[0, c] = slope
        more[1, c] = -(delta * slope + scale * total[0, c] / count)


@loop
def passed_back(
    rectifies: bool,
    of_batch: bool,
    vectors: np.ndarray,
    more: np.ndarray,
    wide: np.ndarray,
    x: np.ndarray,
    at_x: np.ndarray,
    dy: np.ndarray,
    at_dy: np.ndarray,
    dx: np.ndarray,
    at_dx: np.ndarray,
) -> None:
    """dx, by the statistics of the batch or by others."""
    repeated(vectors, wide, 0)
    if of_batch:
        repeated(more, wide, 3)
    m, scale, shift, slope, rest = wide[0], wide[1], wide[2], wide[3], wide[4]
    length, zero, one = len(m), wide.dtype.type(0), wide.dtype.type(1)
    for r in range(len(at_x)):
        row, given = x[at_x[r] : at_x[r] + length], dy[at_dy[r] : at_dy[r] + length]
        out = dx[at_dx[r] : at_dx[r] + length]
        if of_batch:
            for c in range(length):
                apart = row[c] - m[c]
                open_ = not rectifies or apart * scale[c] + shift[c] > zero
                d = given[c] * (one if open_ else zero)
                out[c] = d * scale[c] + (apart * slope[c] + rest[c])
        else:
            for c in range(length):
                open_ = not rectifies or (row[c] - m[c]) * scale[c] + shift[c] > zero
                out[c] = given[c] * (one if open_ else zero) * scale[c]
