"""The fully connected layer with ReLU."""

from collections.abc import Sequence

import numpy as np

from xpnet.arrays import Array
from xpnet.compiled import loop
from xpnet.engine.cpu.dense import Dense
from xpnet.engine.cpu.kernel import computes_compiled
from xpnet.engine.lower import Pattern
from xpnet.layers import Affine, ReLU


@loop
def rectify(y: Array, b: Array) -> None:
    """y <- max(y + b, 0) in rows; NaN stays."""
    for n in range(y.shape[0]):
        for k in range(y.shape[1]):
            value = y[n, k] + b[k]
            y[n, k] = 0 if value < 0 else value


@loop
def take_back(dy: Array, y: Array, dz: Array, db: Array) -> None:
    """dz <- dy where y is above 0, and elsewhere 0 dy, which may be NaN; db <- sum of its rows."""
    db[:] = 0
    for n in range(y.shape[0]):
        for k in range(y.shape[1]):
            d = dy[n, k]
            dz[n, k] = d if y[n, k] > 0 else d - d
        for k in range(y.shape[1]):
            db[k] += dz[n, k]


@computes_compiled(Pattern(((Affine,), (ReLU,))))
class RectifiedDense(Dense):
    """Y = max(X W + b, 0): what comes behind the product is done in one pass."""

    keeps_y = True
    method = "GEMM with ReLU"

    def build(self) -> None:
        """One more array for rows, a bias of 0 where there is none, and room for its gradient."""
        super().build()
        self._dz = self.buffers.scratch("dz", self.y.shape)
        if self._b is None:
            self._b = np.zeros(self.y.shape[1], dtype=self.buffers.dtype)
        self._unasked = np.empty_like(self._b)

    def forward(self) -> None:
        """Compute y from x."""
        np.matmul(self._rows, self._W, out=self.y)
        rectify(self.y, self._b)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        db = self.grads.get("b", self._unasked) if need_grads else self._unasked
        take_back(self.dy, self.y, self._dz, db)
        if need_grads:
            np.matmul(self._rows.T, self._dz, out=self.grads["W"])
        if need_dx[0]:
            np.matmul(self._dz, self._W.T, out=self._dx_rows)
