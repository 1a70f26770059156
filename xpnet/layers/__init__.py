"""Layers. Each is a `forward` that returns its own `backward`; see `xpnet.layers.base`."""

from xpnet.layers.activation import ReLU, Sigmoid, Tanh
from xpnet.layers.arithmetic import Add, Mul
from xpnet.layers.base import Backward, Layer, Params, Shape, Stateful
from xpnet.layers.conv import Convolution
from xpnet.layers.dense import Affine
from xpnet.layers.dropout import Dropout
from xpnet.layers.loss import IdentityWithLoss, Loss, SigmoidWithLoss, SoftmaxWithLoss
from xpnet.layers.norm import BatchNorm
from xpnet.layers.pool import AveragePool, MaxPool
from xpnet.layers.sequential import Sequential

__all__ = [
    "Add",
    "Affine",
    "AveragePool",
    "Backward",
    "BatchNorm",
    "Convolution",
    "Dropout",
    "IdentityWithLoss",
    "Layer",
    "Loss",
    "MaxPool",
    "Mul",
    "Params",
    "ReLU",
    "Sequential",
    "Shape",
    "Sigmoid",
    "SigmoidWithLoss",
    "SoftmaxWithLoss",
    "Stateful",
    "Tanh",
]
