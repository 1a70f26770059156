"""Dropout."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace, device_of
from xpnet.arrays.parameters import Held
from xpnet.arrays.random import random_words
from xpnet.errors import ArgumentError
from xpnet.layers.base import Backward, Leaf, Params, Shape


class Dropout(Leaf):
    """Leave units out at random while training (section 6.4.3; Srivastava et al. 2014).

        training:   y = x mask,           mask = 1 with probability 1 - ratio, else 0
        inference:  y = x (1 - ratio)

    The inverted form divides by 1 - ratio while training instead, and leaves inference alone.

    The mask of a layer's k-th training pass is a function of its key and k, and is bit for bit the
    same on every device. `state["calls"]` holds k, on the device.

    Parameters
    ----------
    dropout_ratio : probability of leaving a unit out, from 0 to below 1
    inverted : use the inverted form
    rng : NumPy generator or seed, from which the key is drawn
    key : two words of 32 bits; drawn if None
    """

    state: Params = Held()  # type: ignore[assignment]

    @checked
    def __init__(
        self,
        dropout_ratio: float = 0.5,
        *,
        inverted: bool = False,
        rng: np.random.Generator | int | None = None,
        key: Sequence[int] | None = None,
    ) -> None:
        if not 0 <= dropout_ratio < 1:
            raise ArgumentError(
                f"dropout_ratio must be from 0 to below 1, got {dropout_ratio}; try 0.5"
            )
        if key is None:
            key = np.random.default_rng(rng).integers(2**32, size=2).tolist()
        if not (
            isinstance(key, Sequence)
            and len(key) == 2
            and all(isinstance(word, int) and 0 <= word < 2**32 for word in key)
        ):
            raise ArgumentError(f"a key of two numbers from 0 to 2^32 - 1 is needed, got {key}")
        self.key = (key[0], key[1])
        self.dropout_ratio, self.inverted = dropout_ratio, inverted
        self.params: Params = {}
        self.state = {"calls": np.zeros(1, dtype=np.int64)}

    def arguments(self) -> dict[str, Any]:
        """The share left out, the form, and the key of the masks."""
        return {"dropout_ratio": self.dropout_ratio, "inverted": self.inverted, "key": self.key}

    def output_shape(self, shape: Shape) -> Shape:
        """The same shape."""
        return shape

    def mask(self, x: Array) -> Array:
        """The mask of the current pass for x, in its shape and dtype."""
        xp, device, n = array_namespace(x), device_of(x), prod(x.shape)
        words = random_words(n, key=self.key, step=self.state["calls"], device=device)
        # Integers are compared: as floats, the largest words would round up to 1.
        kept = words >= round(self.dropout_ratio * 2**32)
        return xp.astype(xp.reshape(kept, x.shape), x.dtype)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """x with units left out, or scaled."""
        keep = 1.0 - self.dropout_ratio
        scale: Array = 1.0 if self.inverted else keep
        if train:
            scale = self.mask(x) / keep if self.inverted else self.mask(x)
            self.state["calls"] += 1

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            return dy * scale, {}

        return x * scale, backward
