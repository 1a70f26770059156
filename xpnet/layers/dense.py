"""The fully connected layer."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.errors import ArgumentError
from xpnet.functions.init import filled, initial_std, normal
from xpnet.layers.base import Backward, Leaf, Params, Shape, sample_shape
from xpnet.layers.numbers import sizes


class Affine(Leaf):
    """Fully connected layer, Y = X W + b (section 5.6).

        dX = dY W^T,   dW = X^T dY,   db = sum of the rows of dY        (eq. 5.13)

    X is (N, ...): everything behind the first axis is one row of n_in numbers, so images need no
    flattening. A single sample may come as (n_in,), and its output is (n_out,).

    Parameters
    ----------
    n_in, n_out : number of inputs and outputs of a sample
    std : standard deviation of the initial weights, or the name of a rule for it in
        `xpnet.functions.init`; He's, sqrt(2 / n_in), if None. Biases start at 0.
    rng : NumPy generator or seed. NumPy draws for every array library, so one seed is one network.
    bias : whether there is a b
    """

    decays = ("W",)

    @checked
    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        std: float | str | None = None,
        rng: np.random.Generator | int | None = None,
        bias: bool = True,
    ) -> None:
        if n_in < 1 or n_out < 1:
            raise ArgumentError(
                f"Affine needs at least one input and one output, got n_in={n_in}, n_out={n_out}"
            )
        W = normal((n_in, n_out), initial_std(std, n_in, n_out), rng)
        self.params: Params = {"W": W, "b": filled(n_out, 0.0)} if bias else {"W": W}

    def arguments(self) -> dict[str, Any]:
        """Sizes, and whether there is a bias."""
        n_in, n_out = self.params["W"].shape
        return {"n_in": n_in, "n_out": n_out, "bias": "b" in self.params}

    def output_shape(self, shape: Shape) -> Shape:
        """(n_out,) for samples of n_in numbers in any shape."""
        n_in, n_out = self.params["W"].shape
        if prod(shape) != n_in:
            raise ArgumentError(f"Affine takes {n_in} numbers a sample, got the shape {shape}")
        return (n_out,)

    def macs(self, shape: Shape) -> int:
        """Multiplications, each with an addition, for a sample of this shape: n_in n_out."""
        return prod(self.params["W"].shape)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """X W + b, of shape (N, n_out)."""
        self.output_shape(sample_shape(x, single=True))
        return self._rows(x, (-1,) if x.ndim == 1 else (-1, self.params["W"].shape[1]))

    def _rows(self, x: Array, shape: Shape) -> tuple[Array, Backward]:
        """The products of all rows of n_in numbers, in this shape."""
        xp, W, b = array_namespace(x), self.params["W"], self.params.get("b")
        rows = xp.reshape(x, (-1, W.shape[0]))

        def backward(
            dy: Array, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array, Params]:
            d_rows, grads = xp.reshape(dy, (-1, W.shape[1])), {}
            if need_grads:
                grads["W"] = rows.T @ d_rows
                if b is not None:
                    grads["b"] = xp.sum(d_rows, axis=0)
            return (xp.reshape(d_rows @ W.T, x.shape) if need_dx else None), grads

        y = rows @ W if b is None else rows @ W + b
        return xp.reshape(y, shape), backward


class TimeAffine(Affine):
    """Fully connected layer at every step of a sequence, y_t = x_t W + b, of x (N, T, n_in).

    Parameters
    ----------
    n_in, n_out, std, rng, bias : as in `Affine`
    """

    def output_shape(self, shape: Shape) -> Shape:
        """(T, n_out) for a sequence (T, n_in)."""
        n_in, n_out = self.params["W"].shape
        if len(shape) != 2 or shape[1] != n_in:
            raise ArgumentError(
                f"TimeAffine takes sequences of {n_in} numbers a step, (T, {n_in}), got the shape "
                f"{tuple(shape)}"
            )
        return (shape[0], n_out)

    def macs(self, shape: Shape) -> int:
        """Multiplications of a sequence, each with an addition: T n_in n_out."""
        return shape[0] * super().macs(shape)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The outputs of all steps, (N, T, n_out)."""
        return self._rows(x, (x.shape[0], *self.output_shape(sample_shape(x))))


class Unflatten(Leaf):
    """Rows of C H W numbers as images (C, H, W): the way back from what Affine does to images.

        y[n, c, i, j] = x[n, (c H + i) W + j],   dx is dy in rows again

    Parameters
    ----------
    shape : channels, height and width

    Raises
    ------
    ArgumentError
        The shape is none of images.
    """

    @checked
    def __init__(self, shape: Sequence[int]) -> None:
        found = sizes("shape", shape, "(64, 7, 7)")
        if len(found) != 3 or min(found) < 1:
            raise ArgumentError(
                "Unflatten makes images: the shape must be (channels, height, width), such as "
                f"(64, 7, 7), got {found}"
            )
        self.shape = found
        self.params: Params = {}

    def arguments(self) -> dict[str, Any]:
        """The shape."""
        return {"shape": self.shape}

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H, W) for rows of as many numbers."""
        if tuple(shape) != (prod(self.shape),):
            raise ArgumentError(
                f"Unflatten({self.shape}) takes rows of {prod(self.shape)} numbers, got the shape "
                f"{shape}"
            )
        return self.shape

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The images, (N, C, H, W)."""
        self.output_shape(sample_shape(x))

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            return array_namespace(dy).reshape(dy, x.shape), {}

        return array_namespace(x).reshape(x, (x.shape[0], *self.shape)), backward
