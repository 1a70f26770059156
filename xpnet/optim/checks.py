"""What optimizers ask of their numbers, and of parameters and gradients."""

from collections.abc import Mapping
from math import inf, isfinite
from numbers import Number
from typing import Any

import numpy as np

from xpnet.arrays import Array, array_namespace
from xpnet.arrays.parameters import FlatParams
from xpnet.errors import ArgumentError


def checked_learning_rate(lr: float) -> float:
    """`lr`, or an error if no step can be taken with it."""
    if not (isfinite(lr) and lr > 0):
        raise ArgumentError(f"the learning rate must be a positive number, got {lr}; try 0.1")
    return lr


def checked_rate(lr: Any) -> Any:
    """Return the rate of one update, or refuse one that leads nowhere; 0 stays where it is.

    Schedules may end there.
    """
    try:
        fits = not isinstance(lr, str) and 0 <= float(lr) < inf
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ArgumentError(f"the learning rate of an update must be a number from 0, got {lr!r}")
    return lr


class Rate:
    """The attribute `lr`: whatever sets it, nothing but a rate is taken; reading costs nothing."""

    def __set__(self, optimizer: Any, lr: Any) -> None:
        optimizer.__dict__["lr"] = checked_rate(lr)


def checked_share(name: str, share: float) -> float:
    """Return the share that stays of an average or a speed, or refuse one that never fades."""
    if not 0 <= share < 1:
        raise ArgumentError(f"{name} must be from 0 to below 1, got {share}")
    return share


def checked_eps(usual: float, eps: float | None) -> float:
    """`eps`, or the usual one if None, or an error if it does not keep a quotient finite."""
    eps = usual if eps is None else eps
    if not (isfinite(eps) and eps > 0):
        raise ArgumentError(f"eps must be a small positive number, got {eps}; try {usual}")
    return eps


def check_gradients(params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
    """Refuse to update some parameters and forget others, and to stretch a gradient.

    What is frozen needs no gradient.
    """
    if isinstance(params, FlatParams):
        if isinstance(grads, FlatParams) and params.shapes == grads.shapes:
            return
        learning = {name for name in params if not params.learning(name).frozen}
    elif not isinstance(params, Mapping):
        raise ArgumentError(f"parameters by name are needed, got {type(params).__name__}")
    else:
        learning = set(params)
        for name, p in params.items():
            _check_changeable(name, p)
    if not isinstance(grads, Mapping):
        raise ArgumentError(f"gradients by name are needed, got {type(grads).__name__}")
    if not params or not learning <= grads.keys() <= params.keys():
        raise ArgumentError(
            f"update needs parameters, and one gradient for each: parameters {sorted(learning)}, "
            f"gradients {sorted(grads)}"
        )
    for name, gradient in grads.items():
        shape = getattr(gradient, "shape", ())  # of a number
        if params[name].shape != shape:
            raise ArgumentError(
                f"parameter {name} has shape {tuple(params[name].shape)}, its gradient "
                f"{tuple(shape)}"
            )


def _check_changeable(name: str, p: Any) -> None:
    """Refuse a parameter that no step could change where it is."""
    if isinstance(p, Number | np.generic) or not hasattr(p, "shape"):
        raise ArgumentError(
            f"parameter {name} is {p!r:.40}, which cannot be changed in place; make it an array, "
            "such as numpy.asarray(0.5)"
        )
    if not array_namespace(p).isdtype(p.dtype, "real floating"):
        raise ArgumentError(
            f"parameter {name} is of {p.dtype}, and steps are fractions; make it float32 or float64"
        )
    if not getattr(getattr(p, "flags", None), "writeable", True):
        raise ArgumentError(f"parameter {name} is read-only; give a copy of it")
