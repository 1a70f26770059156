"""Neural networks from scratch on the Python array API: the same lines on NumPy and CuPy.

The public names. Importing them needs NumPy and array-api-compat only.
"""

from xpnet.arrays import Device, array_namespace, get_device, to_numpy
from xpnet.data import (
    Batches,
    Dataset,
    hold_out,
    load_dataset,
    load_mnist,
    shuffle_dataset,
    synthetic_digits,
)
from xpnet.data.augment import Augmentation
from xpnet.errors import XPNetError
from xpnet.functions.activations import (
    identity_function,
    log_softmax,
    relu,
    sigmoid,
    softmax,
    step_function,
    tanh,
)
from xpnet.functions.gradients import gradient_descent, numerical_diff, numerical_gradient
from xpnet.functions.im2col import col2im, conv_output_size, im2col
from xpnet.functions.losses import (
    cross_entropy_error,
    mean_squared_error,
    one_hot,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)
from xpnet.functions.perceptron import AND, NAND, OR, XOR, perceptron
from xpnet.layers import (
    Add,
    Affine,
    AveragePool,
    BatchNorm,
    Convolution,
    Dropout,
    IdentityWithLoss,
    MaxPool,
    Mul,
    ReLU,
    Sequential,
    Sigmoid,
    SigmoidWithLoss,
    SoftmaxWithLoss,
    Tanh,
)
from xpnet.models import (
    DeepConvNet,
    MultiLayerNet,
    MultiLayerNetExtend,
    Network,
    SimpleConvNet,
    TwoLayerNet,
    load_network,
)
from xpnet.models.ensemble import Ensemble
from xpnet.optim import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, RMSprop
from xpnet.optim.penalties import L1, L2, MaxNorm
from xpnet.report.metrics import (
    R2,
    Accuracy,
    BinaryAccuracy,
    MeanAbsoluteError,
    MeanLoss,
    MeanSquaredError,
    Metric,
)
from xpnet.testing import gradient_check
from xpnet.train import Callback, EarlyStopping, Learner, Supervised, Trainer

__version__ = "0.1.0"

__all__ = [
    "AND",
    "L1",
    "L2",
    "NAND",
    "OR",
    "R2",
    "SGD",
    "XOR",
    "Accuracy",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Add",
    "Affine",
    "Augmentation",
    "AveragePool",
    "BatchNorm",
    "Batches",
    "BinaryAccuracy",
    "Callback",
    "Convolution",
    "Dataset",
    "DeepConvNet",
    "Device",
    "Dropout",
    "EarlyStopping",
    "Ensemble",
    "IdentityWithLoss",
    "Learner",
    "MaxNorm",
    "MaxPool",
    "MeanAbsoluteError",
    "MeanLoss",
    "MeanSquaredError",
    "Metric",
    "Momentum",
    "Mul",
    "MultiLayerNet",
    "MultiLayerNetExtend",
    "Nesterov",
    "Network",
    "RMSprop",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "SigmoidWithLoss",
    "SimpleConvNet",
    "SoftmaxWithLoss",
    "Supervised",
    "Tanh",
    "Trainer",
    "TwoLayerNet",
    "XPNetError",
    "array_namespace",
    "col2im",
    "conv_output_size",
    "cross_entropy_error",
    "get_device",
    "gradient_check",
    "gradient_descent",
    "hold_out",
    "identity_function",
    "im2col",
    "load_dataset",
    "load_mnist",
    "load_network",
    "log_softmax",
    "mean_squared_error",
    "numerical_diff",
    "numerical_gradient",
    "one_hot",
    "perceptron",
    "relu",
    "shuffle_dataset",
    "sigmoid",
    "sigmoid_cross_entropy",
    "softmax",
    "softmax_cross_entropy",
    "step_function",
    "synthetic_digits",
    "tanh",
    "to_numpy",
]
