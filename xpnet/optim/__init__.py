"""Rules by which parameters follow their gradients."""

from xpnet.optim.checks import check_gradients, checked_eps, checked_learning_rate, checked_share
from xpnet.optim.rules import (
    EPS,
    OPTIMIZERS,
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    Optimizer,
    RMSprop,
)

__all__ = [
    "EPS",
    "OPTIMIZERS",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "RMSprop",
    "check_gradients",
    "checked_eps",
    "checked_learning_rate",
    "checked_share",
]
