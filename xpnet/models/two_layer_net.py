"""The book's first network."""

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device
from xpnet.errors import ArgumentError
from xpnet.layers import Affine, Layer, ReLU, Sigmoid, Tanh
from xpnet.models.network import Network

ACTIVATIONS: dict[str, type[Layer]] = {"relu": ReLU, "sigmoid": Sigmoid, "tanh": Tanh}


class TwoLayerNet(Network):
    """Affine - activation - Affine - softmax with loss (Deep Learning from Scratch, 4.5 and 5.7).

    Chapter 4 uses the sigmoid, chapter 5 ReLU. As in chapter 5, `predict` gives scores;
    `probabilities` gives chapter 4's softmax of them.

    Parameters
    ----------
    input_size, hidden_size, output_size : numbers of units
    weight_init_std : standard deviation of the initial weights; biases start at 0
    activation : "relu", "sigmoid" or "tanh"
    rng : NumPy generator or seed of the initial weights
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        weight_init_std: float = 0.01,
        *,
        activation: str = "relu",
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ArgumentError(
                f"activation {activation!r} is unknown; use {', '.join(ACTIVATIONS)}"
            )
        rng = np.random.default_rng(rng)
        layers: dict[str, Layer] = {
            "Affine1": Affine(input_size, hidden_size, std=weight_init_std, rng=rng),
            f"{activation.capitalize()}1": ACTIVATIONS[activation](),
            "Affine2": Affine(hidden_size, output_size, std=weight_init_std, rng=rng),
        }
        super().__init__(layers, names="book", device=device, dtype=dtype)
