"""The book's two convolutional networks."""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device
from xpnet.errors import ArgumentError
from xpnet.layers import Affine, Convolution, Dropout, Layer, MaxPool, ReLU, Sequential
from xpnet.layers.numbers import sizes
from xpnet.models.network import Network

ConvParam = Mapping[str, int]

IMAGE = "(1, 28, 28)"
"""An example of the shape of a sample."""


def _convolution(
    channels: int,
    default: ConvParam,
    given: ConvParam | None,
    rng: np.random.Generator,
    std: float | None = None,
) -> Convolution:
    """A convolution from the book's dictionary; what is not given is as in `default`."""
    if given is not None and not isinstance(given, Mapping):
        raise ArgumentError(
            f"conv_param must be a dictionary, such as {{'filter_num': 30}}, got {given!r}"
        )
    if unknown := set(given or {}) - set(default):
        raise ArgumentError(
            f"conv_param has {', '.join(default)}, and no {min(unknown)!r}; leave it out"
        )
    param = {**default, **(given or {})}
    return Convolution(
        channels,
        param["filter_num"],
        param["filter_size"],
        stride=param["stride"],
        pad=param["pad"],
        std=std,
        rng=rng,
    )


class SimpleConvNet(Network):
    """Conv - ReLU - Pool - Affine - ReLU - Affine - softmax with loss (section 7.5).

    Parameters
    ----------
    input_dim : channels, height and width of an image
    conv_param : of the convolution; pooling is 2 x 2 with stride 2
    hidden_size, output_size : numbers of units
    weight_init_std : standard deviation of all initial weights; biases start at 0
    rng : NumPy generator or seed of the initial weights
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        input_dim: Sequence[int] = (1, 28, 28),
        conv_param: ConvParam | None = None,
        hidden_size: int = 100,
        output_size: int = 10,
        weight_init_std: float = 0.01,
        *,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        rng, input_dim = np.random.default_rng(rng), sizes("input_dim", input_dim, IMAGE)
        default = {"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1}
        layers: dict[str, Layer] = {
            "Conv1": _convolution(input_dim[0], default, conv_param, rng, weight_init_std),
            "Relu1": ReLU(),
            "Pool1": MaxPool(2, stride=2),
        }
        features = prod(Sequential(layers).output_shape(input_dim))
        layers |= {
            "Affine1": Affine(features, hidden_size, std=weight_init_std, rng=rng),
            "Relu2": ReLU(),
            "Affine2": Affine(hidden_size, output_size, std=weight_init_std, rng=rng),
        }
        super().__init__(layers, input_shape=input_dim, names="book", device=device, dtype=dtype)


class DeepConvNet(Network):
    """Eight weight layers with small filters, as VGG has them (section 8.1).

        (Conv - ReLU - Conv - ReLU - Pool) three times,
        Affine - ReLU - Dropout - Affine - Dropout - softmax with loss

    All weights start as He et al. have them. As in the book's code, the second Dropout leaves out
    output scores while training.

    Parameters
    ----------
    input_dim : channels, height and width of an image
    conv_param_1 ... conv_param_6 : of the convolutions; 16, 16, 32, 32, 64 and 64 filters of 3 x 3,
        stride 1 and padding 1, but 2 in the fourth
    hidden_size, output_size : numbers of units
    rng : NumPy generator or seed of initial weights and dropout
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        input_dim: Sequence[int] = (1, 28, 28),
        conv_param_1: ConvParam | None = None,
        conv_param_2: ConvParam | None = None,
        conv_param_3: ConvParam | None = None,
        conv_param_4: ConvParam | None = None,
        conv_param_5: ConvParam | None = None,
        conv_param_6: ConvParam | None = None,
        hidden_size: int = 50,
        output_size: int = 10,
        *,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        rng, input_dim = np.random.default_rng(rng), sizes("input_dim", input_dim, IMAGE)
        given = (
            conv_param_1, conv_param_2, conv_param_3, conv_param_4, conv_param_5, conv_param_6,
        )  # fmt: skip
        layers: dict[str, Layer] = {}
        channels = input_dim[0]
        for k, (param, filters) in enumerate(
            zip(given, (16, 16, 32, 32, 64, 64), strict=True), start=1
        ):
            default = {
                "filter_num": filters,
                "filter_size": 3,
                "pad": 2 if k == 4 else 1,
                "stride": 1,
            }
            layers[f"Conv{k}"] = conv = _convolution(channels, default, param, rng)
            layers[f"Relu{k}"] = ReLU()
            channels = conv.params["W"].shape[0]
            if k % 2 == 0:
                layers[f"Pool{k // 2}"] = MaxPool(2, stride=2)
        features = prod(Sequential(layers).output_shape(input_dim))
        layers |= {
            "Affine1": Affine(features, hidden_size, rng=rng),
            "Relu7": ReLU(),
            "Dropout1": Dropout(0.5, rng=rng),
            "Affine2": Affine(hidden_size, output_size, rng=rng),
            "Dropout2": Dropout(0.5, rng=rng),
        }
        super().__init__(layers, input_shape=input_dim, names="book", device=device, dtype=dtype)
