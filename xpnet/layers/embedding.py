"""Words as vectors."""

from math import prod
from typing import Any

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace, on_host
from xpnet.arrays.scatter import scatter_add
from xpnet.arrays.values import kind_of_numbers
from xpnet.errors import ArgumentError
from xpnet.functions.init import initial_std, normal
from xpnet.layers.base import Backward, Leaf, Params, Shape, sample_shape

_EXACT = 2**24
"""Below it every whole number is a float32, which a network makes of numbers of words."""


class Embedding(Leaf):
    """A vector for each of n_words words, y = W[ids]: the fully connected layer of one-hot rows.

        dW[v] = sum of dy over all places where ids = v

    Numbers of words come in any shape (N, ...), as whole numbers or, as a network hands them on, as
    floats without a fraction. They have no gradient: `backward` gives None for dx.

    The sums over places are taken in a fixed order, so that a run repeats bit for bit on every
    device.

    Parameters
    ----------
    n_words, n_out : number of words, at most 2^24, and of the numbers in a word's vector
    std : standard deviation of the initial vectors, or the name of a rule for it in
        `xpnet.functions.init`
    rng : NumPy generator or seed. NumPy draws for every array library, so one seed is one network.
    """

    decays = ("W",)

    @checked
    def __init__(
        self,
        n_words: int,
        n_out: int,
        *,
        std: float | str = 0.1,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        if not 1 <= n_words <= _EXACT or n_out < 1:
            raise ArgumentError(
                f"Embedding needs from one to {_EXACT} words and at least one number for each, got "
                f"n_words={n_words}, n_out={n_out}"
            )
        self.params: Params = {"W": normal((n_words, n_out), initial_std(std, n_words, n_out), rng)}

    def arguments(self) -> dict[str, Any]:
        """Number of words, and length of their vectors."""
        n_words, n_out = self.params["W"].shape
        return {"n_words": n_words, "n_out": n_out}

    def output_shape(self, shape: Shape) -> Shape:
        """(..., n_out) for samples of numbers (...)."""
        return (*shape, self.params["W"].shape[1])

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The vectors of the words, of shape (N, ..., n_out).

        Raises
        ------
        ArgumentError
            What came is no number of a word. On a device with memory of its own nothing is read
            back, and its vector is NaN, which no loss hides.
        """
        xp, W = array_namespace(x), self.params["W"]
        V, D = W.shape
        sample_shape(x)
        ids, none = self._numbers(x)
        y = xp.take(W, ids, axis=0)
        if none is not None:
            y = xp.where(xp.expand_dims(none, axis=-1), xp.nan, y)

        def backward(
            dy: Array, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[None, Params]:
            if not need_grads:
                return None, {}
            return None, {"W": scatter_add(xp.reshape(dy, (prod(x.shape), D)), ids, V)}

        return xp.reshape(y, (*x.shape, D)), backward

    def _numbers(self, x: Array) -> tuple[Array, Array | None]:
        """Numbers of words in a row, int64, and on a device where there are none, which are 0."""
        xp, V = array_namespace(x), self.params["W"].shape[0]
        given = xp.reshape(x, (-1,))
        if (kind := kind_of_numbers(given)) in ("bool", ""):
            raise ArgumentError(f"Embedding takes numbers of words, whole ones, got {x.dtype}")
        if kind != "floats":
            given = xp.astype(given, xp.int64)
        none = (given < 0) | (given > V - 1)
        if kind == "floats":
            none = none | (xp.floor(given) != given)
        if not on_host(x):
            return xp.astype(xp.where(none, xp.zeros_like(given), given), xp.int64), none
        if xp.any(none):
            wrong = float(given[int(xp.argmax(xp.astype(none, xp.int64)))])
            told = (
                ""
                if wrong.is_integer()
                else (
                    "; a network takes uint8 for pixels and divides them by 255, so give it int64"
                )
            )
            raise ArgumentError(
                f"numbers of words must be whole and from 0 to {V - 1}, got {wrong:g}{told}"
            )
        return xp.astype(given, xp.int64), None
