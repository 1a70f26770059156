"""The fully connected layer."""

from collections.abc import Sequence

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cpu.buffers import in_book_order, in_memory_order
from xpnet.engine.cpu.kernel import Kernel, computes
from xpnet.layers import Affine, Unflatten


@computes(Affine)
class Dense(Kernel):
    """Y = X W + b on static arrays; the rows of X are in the book's order, images as (C, H, W).

    What comes before may write into `x`, images through a view of memory order (H, W, n, C); `feed`
    takes rows from outside instead, without a copy.
    """

    owns_x = owns_y = True
    method = "GEMM"

    def build(self) -> None:
        """Rows, and their products."""
        params, n, (shape,) = self.op.layer.params, self.buffers.n, self.op.input_shapes
        self._W, self._b = params["W"], params.get("b")
        n_in, n_out = self._W.shape
        self._rows = self.buffers.kept((n, n_in))
        self.x = in_memory_order(self._rows.reshape(n, *shape))
        self.y = self.buffers.value(self.number, (n, n_out))
        self.dy = self.buffers.gradient(self.number, (n, n_out))
        self._ones = np.ones(n, dtype=self.buffers.dtype)
        self.dx: Array = None
        if any(self.op.need_dx):
            self._dx_rows = self.buffers.passed(self.number, (n, n_in))
            self.dx = in_memory_order(self._dx_rows.reshape(n, *shape))

    def feed(self, rows: np.ndarray) -> None:
        """Take these rows, (n, n_in), until others come."""
        self._rows = rows

    def forward(self) -> None:
        """Compute y from x."""
        np.matmul(self._rows, self._W, out=self.y)
        if self._b is not None:
            self.y += self._b

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        if need_grads:
            np.matmul(self._rows.T, self.dy, out=self.grads["W"])
            if self._b is not None:  # faster than a sum over the rows
                np.matmul(self._ones, self.dy, out=self.grads["b"])
        if need_dx[0]:
            np.matmul(self.dy, self._W.T, out=self._dx_rows)


@computes(Unflatten)
class Images(Kernel):
    """Rows as images, which lie in memory otherwise: a copy each way."""

    method = "copy"

    def forward(self) -> None:
        """x to y."""
        images = in_book_order(self.y)
        np.copyto(images, self.inputs[0].reshape(images.shape))

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """dy to dx."""
        dy, (dx,) = in_book_order(self.dy), self.gradients
        for rows, images in zip(dx, dy, strict=True):  # each of which is one piece
            np.copyto(rows.reshape(images.shape), images)
