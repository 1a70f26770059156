"""Against overfitting: what keeps weights small (section 6.4.2).

A penalty is added to the loss, and its gradient to the weights'. A constraint is no part of the
loss: it changes the weights themselves after an update. Both concern the weights alone, as their
layers tell; biases, and gamma and beta of batch normalization, are left as they are.
"""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, Protocol

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.arrays.parameters import FlatParams
from xpnet.described import Described
from xpnet.errors import ArgumentError
from xpnet.functions.rounding import Half, rounded
from xpnet.layers.base import Params


class Penalty(Protocol):
    """A term of the loss that depends on the parameters alone."""

    def value(self, params: Mapping[str, Array]) -> Array:
        """The term, 0-d on the device."""

    def gradient(self, params: Mapping[str, Array]) -> Params:
        """Its gradient by every parameter that it depends on."""


class Constraint(Protocol):
    """A condition that parameters are brought to after every update."""

    def apply(self, params: Mapping[str, Array]) -> None:
        """Change the parameters in place."""


class L2(Described):
    """Weight decay: 1/2 strength sum W^2 over all weights, with gradient strength W."""

    @checked
    def __init__(self, strength: float) -> None:
        self.strength = _checked("strength", strength)

    def arguments(self) -> dict[str, Any]:
        """The strength."""
        return {"strength": self.strength}

    def value(self, params: Mapping[str, Array]) -> Array:
        """1/2 strength sum W^2."""
        return 0.5 * self.strength * sum(_total(W * W) for _, W in weights(params))

    def gradient(self, params: Mapping[str, Array]) -> Params:
        """strength W, by the name of each W."""
        return {name: self.strength * W for name, W in weights(params)}


class L1(Described):
    """strength sum |W| over all weights, with gradient strength sign(W): drives weights to 0."""

    @checked
    def __init__(self, strength: float) -> None:
        self.strength = _checked("strength", strength)

    def arguments(self) -> dict[str, Any]:
        """The strength."""
        return {"strength": self.strength}

    def value(self, params: Mapping[str, Array]) -> Array:
        """strength sum |W|."""
        return self.strength * sum(_total(abs(W)) for _, W in weights(params))

    def gradient(self, params: Mapping[str, Array]) -> Params:
        """strength sign(W), by the name of each W; 0 where W is 0."""
        return {name: self.strength * array_namespace(W).sign(W) for name, W in weights(params)}


class MaxNorm(Described):
    """No unit's incoming weights w are longer than `limit`: w <- w limit / max(|w|, limit).

    They are a column of a matrix (n_in, n_out) and a filter of (FN, C, FH, FW).

    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting",
    JMLR 15, section 5.1.
    """

    @checked
    def __init__(self, limit: float) -> None:
        if limit == 0:
            raise ArgumentError("limit must be above 0, or every weight is 0; try 3")
        self.limit = _checked("limit", limit)

    def arguments(self) -> dict[str, Any]:
        """The limit."""
        return {"limit": self.limit}

    def apply(self, params: Mapping[str, Array]) -> None:
        """Scale down, in place, what is longer than the limit."""
        for _, W in weights(params):
            xp = array_namespace(W)
            incoming = 0 if W.ndim == 2 else tuple(range(1, W.ndim))
            length = xp.sqrt(xp.sum(W * W, axis=incoming, keepdims=True))
            W *= self.limit / xp.maximum(length, self.limit)


class HalfStorage(Described):
    """All parameters are numbers that "float16" or "bfloat16" can keep, after every update.

    So it is where nothing keeps more digits of them. An update that is smaller than half of the
    last digit is then lost: 2^-12 of a parameter in float16, 2^-9 in bfloat16.
    """

    @checked
    def __init__(self, to: Half = "float16") -> None:
        self.to = to

    def arguments(self) -> dict[str, Any]:
        """The format."""
        return {"to": self.to}

    def apply(self, params: Mapping[str, Array]) -> None:
        """Round in place."""
        arrays = [params.flat] if isinstance(params, FlatParams) else params.values()
        for array in arrays:
            array[...] = rounded(array, self.to)


def weights(params: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """The names and arrays of the weights among all parameters.

    Of a network's parameters they are those of which their layers say so, in `decays`. Any other
    mapping has nothing but names to go by: the books' W, W1, W2, ..., and paths that end so.
    """
    return ((name, array) for name, array in params.items() if is_weight(params, name))


def is_weight(params: Mapping[str, Array], name: str) -> bool:
    """Return whether weight decay concerns a parameter."""
    if isinstance(params, FlatParams):
        return params.learning(name).decays
    return name.rpartition(".")[2].startswith("W")


def _total(x: Array) -> Array:
    return array_namespace(x).sum(x)


def _checked(name: str, number: float) -> float:
    if not (isfinite(number) and number >= 0):
        raise ArgumentError(f"{name} must be a number from 0, got {number}; try 0.1")
    return number
