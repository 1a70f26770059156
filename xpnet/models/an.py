"""The plain convolutional networks that read MNIST in An et al.'s ensembles."""

from collections.abc import Sequence

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device
from xpnet.errors import ArgumentError
from xpnet.layers import Affine, Convolution, Layer, ReLU
from xpnet.models.network import Network
from xpnet.models.parts import features_behind, image_shape, norm

FILTERS = {
    3: tuple(range(32, 177, 16)),
    5: tuple(range(32, 161, 32)),
    7: tuple(range(48, 193, 48)),
}
"""Filters of the convolutions, by the size of their windows."""


class AnConvNet(Network):
    """Convolutions without padding, each with BatchNorm and ReLU, and one affine layer.

        3 x 3:   10 convolutions of 32, 48, 64, ..., 176 filters
        5 x 5:    5 convolutions of 32, 64, 96, 128, 160 filters
        7 x 7:    4 convolutions of 48, 96, 144, 192 filters
        fc1, fc1_bn:   the scores, which BatchNorm brings to one mean and variance, too

    There are no pools: windows that stay within the image make it smaller, from 28 pixels to 8, 8
    and 4. No layer but BatchNorm has a bias. An, Lee, Park, Yang, So 2020, "An ensemble of simple
    convolutional neural network models for MNIST digit recognition", arXiv:2008.10400. For
    1 x 28 x 28 and ten classes there are 1,124,180, 1,128,180 and 2,291,972 parameters. The authors
    bring pixels from 0..1 to -1..1 first, which the first BatchNorm undoes; here they stay.

    Parameters
    ----------
    size : height and width of the windows: 3, 5 or 7
    classes : number of outputs
    input_shape : channels, height and width of an image
    rng : NumPy generator or seed of initial weights: N(0, 2 / fan-in); the paper leaves them open
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        size: int = 3,
        *,
        classes: int = 10,
        input_shape: Sequence[int] = (1, 28, 28),
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        if size not in FILTERS:
            raise ArgumentError(
                f"AnConvNet has windows of {', '.join(map(str, FILTERS))}, got size={size}"
            )
        image, rng = image_shape("AnConvNet", input_shape), np.random.default_rng(rng)
        layers: dict[str, Layer] = {}
        channels = image[0]
        for k, filters in enumerate(FILTERS[size], start=1):
            layers[f"conv{k}"] = Convolution(channels, filters, size, bias=False, rng=rng)
            layers[f"conv{k}_bn"] = norm(filters)
            layers[f"relu{k}"] = ReLU()
            channels = filters
        features = features_behind("AnConvNet", layers, image)
        layers["fc1"] = Affine(features, classes, bias=False, rng=rng)
        layers["fc1_bn"] = norm(classes)
        super().__init__(layers, input_shape=image, device=device, dtype=dtype)
