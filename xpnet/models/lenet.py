"""LeNet-5, as it was and as it is built today."""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device
from xpnet.layers import (
    Affine,
    Convolution,
    Layer,
    MaxPool,
    ReLU,
    ScaledTanh,
    Shape,
    Sigmoid,
    Subsampling,
    Tanh,
)
from xpnet.models.network import Network
from xpnet.models.parts import features_behind, image_shape

ACTIVATIONS: dict[str, type[Layer]] = {
    "scaled-tanh": ScaledTanh,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "relu": ReLU,
}

TABLE = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip
"""The maps of S2 that each map of C3 sees: the paper's table I."""


class LeNet(Network):
    """Two convolutions, each with a pool of 2 x 2, a third over what is left, two affine layers.

        C1 6 of 5 x 5, S2;   C3 16 of 5 x 5, S4;   C5 120 of 5 x 5, F6 84 units, the output

    LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition",
    figure 2. Digits of 28 x 28 pixels are seen as the middle of 32 x 32. The paper's output is ten
    distances from fixed codes; here an affine layer and softmax follow. So there are 60,850
    parameters: 156, 12, 1,516, 32, 48,120, 10,164 and 850. `LeNet.modern()` has 61,706.

    Parameters
    ----------
    activation : behind every layer up to F6
    pool : "subsample" for sums of each window, with a coefficient and a bias for each map; "max"
        for its largest value, with nothing to learn
    table : whether a map of C3 sees but those maps of S2 that the paper's table says, or all
    squash_convolutions : whether sums that are subsampled went through the activation before, as in
        the paper, or only go through it afterwards. Where the pool takes maxima, convolutions have
        it, and pools have none.
    classes : number of outputs
    input_shape : channels, height and width of an image, which is padded by 2 if smaller than 32
    rng : NumPy generator or seed of initial weights: N(0, 2 / fan-in) for ReLU, N(0, 1 / fan-in)
        for the others; the paper draws them evenly from +-2.4 / fan-in
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        activation: Literal["scaled-tanh", "tanh", "sigmoid", "relu"] = "scaled-tanh",
        pool: Literal["subsample", "max"] = "subsample",
        *,
        table: bool = True,
        squash_convolutions: bool = True,
        classes: int = 10,
        input_shape: Sequence[int] = (1, 28, 28),
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        image = image_shape("LeNet", input_shape)
        layers = lenet_layers(
            image,
            classes,
            activation,
            pool,
            table=table,
            squash_convolutions=squash_convolutions,
            rng=np.random.default_rng(rng),
        )
        super().__init__(layers, input_shape=image, device=device, dtype=dtype)

    @classmethod
    def modern(
        cls,
        *,
        classes: int = 10,
        input_shape: Sequence[int] = (1, 28, 28),
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> Self:
        """As it is built today, with ReLU, max pools and no table: 61,706 parameters."""
        return cls(
            "relu",
            "max",
            table=False,
            classes=classes,
            input_shape=input_shape,
            rng=rng,
            device=device,
            dtype=dtype,
        )


def lenet_layers(
    image: Shape,
    classes: int,
    activation: str,
    pool: str,
    *,
    table: bool,
    squash_convolutions: bool,
    rng: np.random.Generator,
) -> dict[str, Layer]:
    """The layers of a `LeNet`, whose arguments these are."""
    squash, std = ACTIVATIONS[activation], "he" if activation == "relu" else "xavier"
    pad = 2 if min(image[1:]) < 32 else 0

    def halved(conv: Layer, channels: int, number: int) -> dict[str, Layer]:
        """Layer C1 or C3, and the pool behind it, with their activations."""
        convolved, pooled = f"C{number}", f"S{number + 1}"
        if pool == "max":
            half: Layer = MaxPool(2, stride=2, uneven="drop")
            return {convolved: conv, f"{convolved}-activation": squash(), pooled: half}
        first: dict[str, Layer] = {convolved: conv}
        if squash_convolutions:
            first[f"{convolved}-activation"] = squash()
        return first | {pooled: Subsampling(channels), f"{pooled}-activation": squash()}

    c1 = Convolution(image[0], 6, 5, pad=pad, std=std, rng=rng)
    c3 = Convolution(6, 16, 5, table=TABLE if table else None, std=std, rng=rng)
    layers: dict[str, Layer] = {
        **halved(c1, 6, 1),
        **halved(c3, 16, 3),
        "C5": Convolution(16, 120, 5, std=std, rng=rng),
        "C5-activation": squash(),
    }
    return layers | {
        "F6": Affine(features_behind("LeNet", layers, image), 84, std=std, rng=rng),
        "F6-activation": squash(),
        "output": Affine(84, classes, std=std, rng=rng),
    }
