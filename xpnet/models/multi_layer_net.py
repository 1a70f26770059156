"""The fully connected networks of chapter 6, of any depth."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device
from xpnet.errors import ArgumentError
from xpnet.layers import Affine, BatchNorm, Dropout, Layer
from xpnet.layers.numbers import sizes as whole_numbers
from xpnet.models.network import Network
from xpnet.models.two_layer_net import ACTIVATIONS
from xpnet.optim.penalties import L2


class MultiLayerNetExtend(Network):
    """Affine - BatchNorm - activation - Dropout for each hidden layer, Affine, softmax with loss.

    BatchNorm and Dropout are there if asked for. Whether they are or not, a seed gives the same
    initial weights.

    Parameters
    ----------
    input_size, output_size : numbers of units
    hidden_size_list : number of units of each hidden layer, such as [100, 100, 100, 100]
    activation : "relu", "sigmoid" or "tanh"
    weight_init_std : standard deviation of the initial weights, or the name of a rule: "relu" or
        "he", "sigmoid" or "xavier", and the others of `xpnet.functions.init`; biases start at 0
    weight_decay_lambda : strength of the `L2` penalty; none if 0
    use_dropout, dropout_ratio : the book's code spells the latter dropout_ration
    use_batchnorm : with one BatchNorm for each hidden layer
    rng : NumPy generator or seed of initial weights and dropout
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: float | str = "relu",
        weight_decay_lambda: float = 0,
        use_dropout: bool = False,
        dropout_ratio: float = 0.5,
        use_batchnorm: bool = False,
        *,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ArgumentError(
                f"activation {activation!r} is unknown; use {', '.join(ACTIVATIONS)}"
            )
        rng = np.random.default_rng(rng)
        hidden_sizes = whole_numbers("hidden_size_list", hidden_size_list, "[100, 50]")
        sizes = (input_size, *hidden_sizes, output_size)
        *hidden, last = (
            Affine(n_in, n_out, std=weight_init_std, rng=rng) for n_in, n_out in pairwise(sizes)
        )
        layers: dict[str, Layer] = {}
        for k, affine in enumerate(hidden, start=1):
            layers[f"Affine{k}"] = affine
            if use_batchnorm:
                layers[f"BatchNorm{k}"] = BatchNorm(sizes[k])
            layers[f"{activation.capitalize()}{k}"] = ACTIVATIONS[activation]()
            if use_dropout:
                layers[f"Dropout{k}"] = Dropout(dropout_ratio, rng=rng)
        layers[f"Affine{len(sizes) - 1}"] = last
        penalty = L2(weight_decay_lambda) if weight_decay_lambda else None
        super().__init__(layers, penalty=penalty, names="book", device=device, dtype=dtype)


class MultiLayerNet(MultiLayerNetExtend):
    """Affine - activation for each hidden layer, Affine, softmax with loss.

    Parameters
    ----------
    input_size, ..., weight_decay_lambda, rng, device, dtype : as in `MultiLayerNetExtend`
    """

    @checked
    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: float | str = "relu",
        weight_decay_lambda: float = 0,
        *,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size_list,
            output_size,
            activation,
            weight_init_std,
            weight_decay_lambda,
            rng=rng,
            device=device,
            dtype=dtype,
        )
