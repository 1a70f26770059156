"""Networks of one-bit weights and activations (section 8.3.4).

Hubara, Courbariaux, Soudry, El-Yaniv, Bengio 2016, "Binarized neural networks", arXiv:1602.02830.
The paper has a squared hinge loss; here it is softmax with cross-entropy. Pixels, 0 to 1, become
-1 to 1 first.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device
from xpnet.errors import ArgumentError
from xpnet.layers import (
    BatchNorm,
    BinaryAffine,
    BinaryConvolution,
    Convolution,
    Layer,
    MaxPool,
    Rescale,
    Sequential,
    Sign,
)
from xpnet.layers.numbers import sizes
from xpnet.models.network import Network
from xpnet.models.parts import image_shape

EPS = 1e-5
"""Of BatchNorm."""


class BinaryMLP(Network):
    """(BinaryAffine - BatchNorm - Sign) for each hidden layer, BinaryAffine - BatchNorm.

    Parameters
    ----------
    input_shape : of a sample, whose numbers are one row to the first layer
    hidden_sizes, classes : numbers of units
    rng : NumPy generator or seed of the initial weights
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        *,
        input_shape: Sequence[int] = (784,),
        hidden_sizes: Sequence[int] = (512, 512, 512),
        classes: int = 10,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        rng, shape = np.random.default_rng(rng), sizes("input_shape", input_shape, "(784,)")
        layers: dict[str, Layer] = {"rescale": Rescale(2.0, -1.0)}
        features = prod(shape)
        units = (*sizes("hidden_sizes", hidden_sizes, "(512, 512, 512)"), classes)
        for k, outputs in enumerate(units, start=1):
            layers[f"fc{k}"] = BinaryAffine(features, outputs, rng=rng)
            layers[f"bn{k}"] = BatchNorm(outputs, eps=EPS)
            layers[f"sign{k}"] = Sign()
            features = outputs
        del layers[f"sign{len(units)}"]
        super().__init__(layers, input_shape=shape, device=device, dtype=dtype)


class BinaryConvNet(Network):
    """Filters of 3 x 3 in pairs, each pair with a pool of 2 x 2, then fully connected layers.

        Convolution - BatchNorm - Sign,
        BinaryConvolution - MaxPool - BatchNorm - Sign,
        (BinaryConvolution - BatchNorm - Sign, BinaryConvolution - MaxPool - BatchNorm - Sign) for
        each further pair,
        BinaryAffine - BatchNorm - Sign, BinaryAffine - BatchNorm

    The first convolution, which reads real pixels, has real weights. The form of section 2.2 of the
    paper, which has pairs of 128, 256 and 512 filters, for images of 28 x 28. Pools look at whole
    numbers, before they are one bit each.

    Parameters
    ----------
    input_shape : channels, height and width, which each pool halves
    filters : of the pairs
    hidden_size, classes : numbers of units
    rng : NumPy generator or seed of the initial weights
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        *,
        input_shape: Sequence[int] = (1, 28, 28),
        filters: Sequence[int] = (32, 64),
        hidden_size: int = 256,
        classes: int = 10,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        rng, shape = np.random.default_rng(rng), image_shape("BinaryConvNet", input_shape)
        counts = sizes("filters", filters, "(32, 64)")
        if not counts:
            raise ArgumentError("BinaryConvNet needs at least one pair of filters, got none")
        layers: dict[str, Layer] = {"rescale": Rescale(2.0, -1.0)}
        channels = shape[0]
        for k, count in enumerate([n for n in counts for _ in "12"], start=1):
            layers[f"conv{k}"] = (
                BinaryConvolution(channels, count, 3, pad=1, rng=rng)
                if k > 1
                else Convolution(channels, count, 3, pad=1, bias=False, std="xavier", rng=rng)
            )
            if k % 2 == 0:
                layers[f"pool{k // 2}"] = MaxPool(2, stride=2, uneven="drop")
            layers |= {f"bn{k}": BatchNorm(count, eps=EPS), f"sign{k}": Sign()}
            channels = count
        features = prod(Sequential(layers).output_shape(shape))
        k = 2 * len(counts) + 1
        layers |= {
            "fc1": BinaryAffine(features, hidden_size, rng=rng),
            f"bn{k}": BatchNorm(hidden_size, eps=EPS),
            f"sign{k}": Sign(),
            "fc2": BinaryAffine(hidden_size, classes, rng=rng),
            f"bn{k + 1}": BatchNorm(classes, eps=EPS),
        }
        super().__init__(layers, input_shape=shape, device=device, dtype=dtype)
