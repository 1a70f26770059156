"""Layers. Each is a `forward` that returns its own `backward`; see `xpnet.layers.base`."""

from xpnet.layers.activation import ReLU, Sigmoid, Tanh
from xpnet.layers.arithmetic import Add, Mul
from xpnet.layers.base import Backward, Layer, Params
from xpnet.layers.dense import Affine
from xpnet.layers.loss import IdentityWithLoss, Loss, SoftmaxWithLoss
from xpnet.layers.sequential import Sequential

__all__ = [
    "Add",
    "Affine",
    "Backward",
    "IdentityWithLoss",
    "Layer",
    "Loss",
    "Mul",
    "Params",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "SoftmaxWithLoss",
    "Tanh",
]
