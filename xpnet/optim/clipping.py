"""Gradients that are too long, made shorter before an optimizer follows them."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.errors import ArgumentError
from xpnet.layers.base import Params


@checked
def clip_by_norm(grads: Mapping[str, Array], limit: float) -> Params:
    """All gradients, scaled as one so that they are together no longer than `limit`.

        g <- g min(1, limit / norm),   norm = sqrt(sum of all g^2)

    Their direction stays. Nothing is read back from the device. Pascanu, Mikolov, Bengio 2013,
    arXiv:1211.5063, algorithm 1.
    """
    _check(grads, limit)
    if not grads:
        return {}
    xp = array_namespace(next(iter(grads.values())))
    norm = xp.sqrt(sum(xp.sum(g * g) for g in grads.values()))
    scale = limit / xp.maximum(norm, limit)  # 1 where norm is 0, too
    return {name: scale * g for name, g in grads.items()}


@checked
def clip_by_value(grads: Mapping[str, Array], limit: float) -> Params:
    """All gradients, with every number brought into -limit ... limit."""
    _check(grads, limit)
    return {name: array_namespace(g).clip(g, -limit, limit) for name, g in grads.items()}


def _check(grads: Any, limit: float) -> None:
    checked_limit(limit)
    if not isinstance(grads, Mapping):
        raise ArgumentError(f"gradients by their names are needed, got {type(grads).__name__}")


def checked_limit(limit: float) -> float:
    """`limit`, or an error if it leaves no gradient or is no limit."""
    if not (isfinite(limit) and limit > 0):
        raise ArgumentError(f"the limit of gradients must be a positive number, got {limit}; try 1")
    return limit
