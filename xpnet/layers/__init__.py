"""Layers. Each is a `forward` that returns its own `backward`; see `xpnet.layers.base`."""

from xpnet.layers.activation import LeakyReLU, ReLU, ReLU6, Rescale, ScaledTanh, Sigmoid, Tanh
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
from xpnet.layers.dense import Affine, TimeAffine, Unflatten
from xpnet.layers.dropout import Dropout
from xpnet.layers.embedding import Embedding
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
from xpnet.layers.recurrent import GRU, LSTM, RNN, Recurrent, State, StepsLast
from xpnet.layers.sequential import Sequential

__all__ = [
    "GRU",
    "LRN",
    "LSTM",
    "RNN",
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
    "Embedding",
    "GlobalAveragePool",
    "Heads",
    "HeadsWithLoss",
    "Identity",
    "IdentityWithLoss",
    "Layer",
    "LeakyReLU",
    "Loss",
    "MaxPool",
    "Mul",
    "PadShortcut",
    "Params",
    "ReLU",
    "ReLU6",
    "Recurrent",
    "Rescale",
    "Residual",
    "ScaledTanh",
    "Sequential",
    "Shape",
    "Sigmoid",
    "SigmoidWithLoss",
    "Sign",
    "SoftmaxWithLoss",
    "State",
    "Stateful",
    "StepsLast",
    "Subsampling",
    "Sum",
    "Tanh",
    "TimeAffine",
    "TransposedConvolution",
    "Unflatten",
    "Unpooled",
    "decaying",
    "learns",
    "leaves",
]
