"""Layers. Each is a `forward` that returns its own `backward`; see `xpnet.layers.base`."""

from xpnet.layers.activation import ReLU, ReLU6, Rescale, ScaledTanh, Sigmoid, Tanh
from xpnet.layers.arithmetic import Add, Mul
from xpnet.layers.auxiliary import AuxiliaryHeads
from xpnet.layers.base import (
    Backward,
    Container,
    Layer,
    Params,
    Shape,
    Stateful,
    decaying,
    learns,
    leaves,
)
from xpnet.layers.binary import BinaryAffine, BinaryConvolution, Sign
from xpnet.layers.conv import Convolution, TransposedConvolution
from xpnet.layers.dense import Affine
from xpnet.layers.dropout import Dropout
from xpnet.layers.join import Concatenate, Heads, Identity, PadShortcut, Residual, Sum
from xpnet.layers.loss import (
    HeadsWithLoss,
    IdentityWithLoss,
    Loss,
    SigmoidWithLoss,
    SoftmaxWithLoss,
)
from xpnet.layers.norm import LRN, BatchNorm
from xpnet.layers.pool import AveragePool, GlobalAveragePool, MaxPool, Subsampling, Unpooled
from xpnet.layers.sequential import Sequential

__all__ = [
    "LRN",
    "Add",
    "Affine",
    "AuxiliaryHeads",
    "AveragePool",
    "Backward",
    "BatchNorm",
    "BinaryAffine",
    "BinaryConvolution",
    "Concatenate",
    "Container",
    "Convolution",
    "Dropout",
    "GlobalAveragePool",
    "Heads",
    "HeadsWithLoss",
    "Identity",
    "IdentityWithLoss",
    "Layer",
    "Loss",
    "MaxPool",
    "Mul",
    "PadShortcut",
    "Params",
    "ReLU",
    "ReLU6",
    "Rescale",
    "Residual",
    "ScaledTanh",
    "Sequential",
    "Shape",
    "Sigmoid",
    "SigmoidWithLoss",
    "Sign",
    "SoftmaxWithLoss",
    "Stateful",
    "Subsampling",
    "Sum",
    "Tanh",
    "TransposedConvolution",
    "Unpooled",
    "decaying",
    "learns",
    "leaves",
]
