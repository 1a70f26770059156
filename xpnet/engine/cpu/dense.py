"""The fully connected layer."""

import numpy as np

from xpnet.engine.cpu.between import in_memory_order
from xpnet.engine.cpu.scratch import Scratch
from xpnet.layers import Affine, Params, Shape


class Dense:
    """Y = X W + b on static arrays; the rows of X are in the book's order, images as (C, H, W).

    What comes before may write into `x`, images through a view of memory order (H, W, n, C); `feed`
    takes rows from outside instead, without a copy.
    """

    method = "GEMM"

    def __init__(
        self, layer: Affine, shape: Shape, n: int, grads: Params, scratch: Scratch, *, need_dx: bool
    ) -> None:
        self._W, self._b = layer.params["W"], layer.params["b"]
        self._dW, self._db = grads["W"], grads["b"]
        (n_in, n_out), kind = self._W.shape, self._W.dtype
        self._rows = np.empty((n, n_in), dtype=kind)
        self.x = in_memory_order(self._rows.reshape(n, *shape))
        self.y, self.dy = np.empty((n, n_out), dtype=kind), np.empty((n, n_out), dtype=kind)
        self._ones = np.ones(n, dtype=kind)
        self.dx: np.ndarray | None = None
        if need_dx:
            self._dx_rows = scratch.get("rows", (n, n_in), kind)
            self.dx = in_memory_order(self._dx_rows.reshape(n, *shape))

    def feed(self, rows: np.ndarray) -> None:
        """Take these rows, (n, n_in), until others come."""
        self._rows = rows

    def prepare(self) -> None:
        """Nothing: the weights are used as they are."""

    def forward(self) -> None:
        """From x to y."""
        np.matmul(self._rows, self._W, out=self.y)
        self.y += self._b

    def backward(self) -> None:
        """From dy to the gradients and dx."""
        np.matmul(self._rows.T, self.dy, out=self._dW)
        np.matmul(self._ones, self.dy, out=self._db)  # faster than a sum over the rows
        if self.dx is not None:
            np.matmul(self.dy, self._W.T, out=self._dx_rows)
