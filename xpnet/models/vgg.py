"""VGG: small filters, one behind the other."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from xpnet.arguments import checked, whole
from xpnet.arrays import Device
from xpnet.errors import ArgumentError
from xpnet.layers import Affine, Convolution, Dropout, Layer, MaxPool, ReLU, Sequential
from xpnet.layers.numbers import sizes
from xpnet.models.network import Network
from xpnet.models.parts import features_behind, image_shape, norm, numbered

Stages = Sequence[Sequence[int]]

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {
    11: (1, 1, 2, 2, 2),  # the paper's A
    13: (2, 2, 2, 2, 2),  # B
    16: (2, 2, 3, 3, 3),  # D
    19: (2, 2, 4, 4, 4),  # E
}
"""Convolutions of each stage, by the number of layers with weights."""


class VGG(Network):
    """(3 x 3 convolution - ReLU) some times, then a 2 x 2 pool: so in five stages, then affine.

        features: 64, 128, 256, 512 and 512 filters in the stages; 224 pixels become 7
        classifier: (Affine - ReLU - Dropout) twice with 4,096 units, Affine

    Simonyan, Zisserman 2014, "Very deep convolutional networks for large-scale image recognition",
    arXiv:1409.1556, table 1. For 3 x 224 x 224 and 1,000 classes VGG-11, 13, 16 and 19 have
    132,863,336, 133,047,848, 138,357,544 and 143,667,240 parameters. With `batch_norm`, BatchNorm
    stands before each ReLU of the features, which the paper has not. Layers are called as in
    torchvision.

    Parameters
    ----------
    config : 11, 13, 16 or 19, or the filters of each convolution by stage, ((16, 16), (32, 32))
    batch_norm : whether the features are normalized
    classes : number of outputs
    input_shape : channels, height and width of an image
    hidden : units of the hidden affine layers; one number is for two layers
    rng : NumPy generator or seed of initial weights, which are He's, and of dropout
    device, dtype : as in `Network`

    Raises
    ------
    ArgumentError
        Images are smaller than the pools can halve.
    """

    @checked
    def __init__(
        self,
        config: int | Stages = 16,
        *,
        batch_norm: bool = False,
        classes: int = 1000,
        input_shape: Sequence[int] = (3, 224, 224),
        hidden: int | Sequence[int] = 4096,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        name, stages = _stages(config)
        image, rng = image_shape(name, input_shape), np.random.default_rng(rng)
        channels, found = image[0], list[Layer]()
        for filters_of_stage in stages:
            for filters in filters_of_stage:
                found.append(Convolution(channels, filters, 3, pad=1, rng=rng))
                found += [norm(filters)] if batch_norm else []
                found.append(ReLU())
                channels = filters
            found.append(MaxPool(2, stride=2, uneven="drop"))
        features = numbered(found)
        units, found = features_behind(name, features, image), []
        for width in sizes("hidden", (hidden, hidden) if whole(hidden) else hidden, "(128,)"):
            found += [Affine(units, width, rng=rng), ReLU(), Dropout(0.5, inverted=True, rng=rng)]
            units = width
        found.append(Affine(units, classes, rng=rng))
        layers = {"features": Sequential(features), "classifier": Sequential(numbered(found))}
        super().__init__(layers, input_shape=image, device=device, dtype=dtype)

    @classmethod
    def small(
        cls,
        *,
        input_shape: Sequence[int] = (1, 28, 28),
        classes: int = 10,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> Self:
        """Three stages of 16, 32 and 64 filters and 128 hidden units: 146,938 parameters."""
        return cls(
            ((16, 16), (32, 32), (64, 64)),
            classes=classes,
            input_shape=input_shape,
            hidden=(128,),
            rng=rng,
            device=device,
            dtype=dtype,
        )


def _stages(config: Any) -> tuple[str, Stages]:
    """The network's name, and the filters of each convolution by stage."""
    if whole(config) and config in CONVOLUTIONS:
        counts = zip(WIDTHS, CONVOLUTIONS[config], strict=True)
        return f"VGG-{config}", [(width,) * count for width, count in counts]
    if not isinstance(config, list | tuple) or not config:
        raise ArgumentError(
            f"VGG has {', '.join(map(str, CONVOLUTIONS))} layers, or stages of your own, such as "
            f"((16, 16), (32, 32)), got {config!r}"
        )
    return "VGG", [sizes("a stage of VGG", stage, "(16, 16)") for stage in config]
