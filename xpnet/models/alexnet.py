"""AlexNet: the paper's, torchvision's, and one for small images."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device
from xpnet.functions.init import filled
from xpnet.layers import (
    LRN,
    Affine,
    Convolution,
    Dropout,
    Layer,
    MaxPool,
    ReLU,
    Sequential,
    Shape,
)
from xpnet.models.network import Network
from xpnet.models.parts import features_behind, image_shape, numbered


class Form(NamedTuple):
    """What the forms of the network differ in."""

    image: Shape
    convolutions: tuple[tuple[int, int, int, int], ...]
    """Filters, their size, stride and padding."""
    hidden: int
    """Units of either hidden layer."""
    uneven: Literal["drop", "ceil"] = "drop"
    """What the first two pools do with the rest."""


FORMS = {
    "paper": Form(
        (3, 227, 227),
        ((96, 11, 4, 0), (256, 5, 1, 2), (384, 3, 1, 1), (384, 3, 1, 1), (256, 3, 1, 1)),
        4096,
    ),
    "torchvision": Form(
        (3, 224, 224),
        ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)),
        4096,
    ),
    "small": Form(
        (1, 28, 28),
        ((32, 5, 1, 2), (64, 5, 1, 2), (96, 3, 1, 1), (96, 3, 1, 1), (64, 3, 1, 1)),
        256,
        "ceil",
    ),
}


class AlexNet(Network):
    """Five convolutions with three overlapping pools, then three affine layers with dropout.

        conv1, ReLU, LRN, pool 3 x 3 / 2;   conv2, ReLU, LRN, pool;   conv3, ReLU;   conv4, ReLU;
        conv5, ReLU, pool;   (Dropout, Affine, ReLU) twice with 4,096 units;   Affine

    Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural
    networks". Its two GPUs are two groups in conv2, 4 and 5: 60,965,224 parameters for 1,000
    classes, and 62,378,344 without groups. The paper says 224 pixels, of which its first
    convolution makes no whole number; 227 is meant. Weights start at N(0, 0.01), biases of conv2, 4
    and 5 and of the hidden layers at 1.

    torchvision's is that of Krizhevsky 2014, "One weird trick for parallelizing convolutional
    neural networks", arXiv:1404.5997: other filters, no groups, no LRN; 61,100,840 parameters. Its
    layers are called as there, and start as He's rule has them, as the small form's do.

    Parameters
    ----------
    form : "paper", "torchvision" or "small", which is the paper's order without groups
    groups : of the paper's conv2, 4 and 5
    classes : number of outputs; 1,000, or 10 of the small form, if None
    input_shape : channels, height and width of an image; (3, 227, 227), (3, 224, 224) or
        (1, 28, 28) by the form if None
    rng : NumPy generator or seed of initial weights and dropout
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        form: Literal["paper", "torchvision", "small"] = "paper",
        *,
        groups: int = 2,
        classes: int | None = None,
        input_shape: Sequence[int] | None = None,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        own, paper, rng = FORMS[form], form == "paper", np.random.default_rng(rng)
        image = image_shape("AlexNet", own.image if input_shape is None else input_shape)
        std = 0.01 if paper else None
        channels, features = image[0], dict[str, Layer]()
        for k, (filters, size, stride, pad) in enumerate(own.convolutions, start=1):
            features[f"conv{k}"] = conv = Convolution(
                channels,
                filters,
                size,
                stride=stride,
                pad=pad,
                groups=groups if paper and k in (2, 4, 5) else 1,
                std=std,
                uneven="drop",
                rng=rng,
            )
            features[f"relu{k}"] = ReLU()
            if k in (1, 2) and form != "torchvision":
                features[f"norm{k}"] = LRN()
            if k in (1, 2, 5):
                uneven = "drop" if k == 5 else own.uneven
                features[f"pool{k}"] = MaxPool(3, stride=2, uneven=uneven)
            if paper and k in (2, 4, 5):
                conv.params["b"] = filled(filters, 1.0)
            channels = filters
        units, classifier = features_behind("AlexNet", features, image), dict[str, Layer]()
        for k in (6, 7):
            affine = Affine(units, own.hidden, std=std, rng=rng)
            if paper:
                affine.params["b"] = filled(own.hidden, 1.0)
            dropout = Dropout(0.5, inverted=True, rng=rng)
            classifier |= {f"drop{k}": dropout, f"fc{k}": affine, f"relu{k}": ReLU()}
            units = own.hidden
        if classes is None:
            classes = 10 if form == "small" else 1000
        classifier["fc8"] = Affine(units, classes, std=std, rng=rng)
        layers: dict[str, Layer] = features | classifier
        if form == "torchvision":
            rows = {"features": features, "classifier": classifier}
            layers = {name: Sequential(numbered(row.values())) for name, row in rows.items()}
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
        """For images of 28 or 32 pixels: 461,962 parameters for those of 1 x 28 x 28."""
        return cls(
            "small", classes=classes, input_shape=input_shape, rng=rng, device=device, dtype=dtype
        )
