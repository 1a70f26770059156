"""Optimizers: how parameters follow their gradients.

All have the book's interface, `optimizer.update(params, grads)` on two mappings of equal keys
(section 6.1.2), and change the parameter arrays in place.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Protocol

from xpnet.backend import Array
from xpnet.errors import ArgumentError
from xpnet.layers.base import Params


class Optimizer(Protocol):
    """An update rule, with the state it carries from step to step."""

    lr: float
    state: Params
    """Arrays by name, zero before the first update; with the parameters it makes a checkpoint."""

    def update(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        """Take one step: change every array of `params` in place."""


class SGD:
    """Stochastic gradient descent.

        p <- p - lr g                                                        (eq. 6.1)

    Raises
    ------
    ArgumentError
        lr is not a positive finite number, or a parameter has no gradient.
    """

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = checked_learning_rate(lr)
        self.state: Params = {}

    def update(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        """p <- p - lr g for every parameter, in place."""
        check_same_names(params, grads)
        for name, p in params.items():
            p -= self.lr * grads[name]


def checked_learning_rate(lr: float) -> float:
    """`lr`, or an error if no step can be taken with it."""
    if not (isfinite(lr) and lr > 0):
        raise ArgumentError(f"the learning rate must be a positive number, got {lr}; try 0.1")
    return lr


def check_same_names(params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
    """Refuse to update some parameters and forget others."""
    if params.keys() != grads.keys():
        raise ArgumentError(
            f"update needs one gradient for each parameter: parameters {sorted(params)}, "
            f"gradients {sorted(grads)}"
        )


OPTIMIZERS: dict[str, type[SGD]] = {"sgd": SGD}
"""By the names that `Trainer` and the command line take."""
