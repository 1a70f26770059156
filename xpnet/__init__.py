"""Neural networks from scratch on the Python array API: the same lines on NumPy and CuPy.

The public names. Importing them needs NumPy and array-api-compat only.
"""

from xpnet.activations import (
    identity_function,
    log_softmax,
    relu,
    sigmoid,
    softmax,
    step_function,
    tanh,
)
from xpnet.backend import Device, array_namespace, get_device, to_numpy
from xpnet.data import Batches, Dataset, load_dataset, load_mnist, synthetic_digits
from xpnet.errors import XPNetError
from xpnet.gradients import gradient_check, gradient_descent, numerical_diff, numerical_gradient
from xpnet.layers import (
    Add,
    Affine,
    IdentityWithLoss,
    Mul,
    ReLU,
    Sequential,
    Sigmoid,
    SoftmaxWithLoss,
    Tanh,
)
from xpnet.losses import cross_entropy_error, mean_squared_error, one_hot, softmax_cross_entropy
from xpnet.models import Network, TwoLayerNet
from xpnet.optim import SGD
from xpnet.perceptron import AND, NAND, OR, XOR, perceptron
from xpnet.train import Trainer

__version__ = "0.1.0"

__all__ = [
    "AND",
    "NAND",
    "OR",
    "SGD",
    "XOR",
    "Add",
    "Affine",
    "Batches",
    "Dataset",
    "Device",
    "IdentityWithLoss",
    "Mul",
    "Network",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "SoftmaxWithLoss",
    "Tanh",
    "Trainer",
    "TwoLayerNet",
    "XPNetError",
    "array_namespace",
    "cross_entropy_error",
    "get_device",
    "gradient_check",
    "gradient_descent",
    "identity_function",
    "load_dataset",
    "load_mnist",
    "log_softmax",
    "mean_squared_error",
    "numerical_diff",
    "numerical_gradient",
    "one_hot",
    "perceptron",
    "relu",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "step_function",
    "synthetic_digits",
    "tanh",
    "to_numpy",
]
