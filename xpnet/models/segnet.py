"""SegNet: what pools took away is put back at the places that it was taken from."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device
from xpnet.layers import (
    Convolution,
    Identity,
    Layer,
    Rescale,
    Sequential,
    SoftmaxWithLoss,
    Unpooled,
)
from xpnet.models.fcn import IGNORED, SMALL
from xpnet.models.network import Network
from xpnet.models.parts import image_shape, normed, numbered
from xpnet.models.vgg import CONVOLUTIONS, WIDTHS, Stages


class SegNet(Network):
    """VGG-16's convolutions and pools, and the same the other way round.

        encode_k:   (3 x 3 convolution - BatchNorm - ReLU) some times, then a pool of 2 x 2
        decode_k:   unpooling at the places of that pool's maxima, then as many convolutions, the
                    last of them with as many filters as encode_k has channels in

    in five stages, of which each stands between pool and unpooling of the one before: encode1,
    pooled1 (encode2, pooled2 (...), decode2), decode1. The last convolution of decode1 puts out the
    scores, with nothing behind it. Badrinarayanan, Kendall, Cipolla 2015, "SegNet: a deep
    convolutional encoder-decoder architecture for image segmentation", arXiv:1511.00561. For 12
    classes it has 29,449,932 parameters, half of them on either way.

    The paper balances classes by their frequencies:
    `class_weights=median_frequency_weights(labels, classes)`.

    Parameters
    ----------
    classes : number of classes
    input_shape : channels, height and width of an image
    class_weights : of the loss, as in `SoftmaxWithLoss`; pixels labelled 255 count nothing
    rng : NumPy generator or seed of initial weights, which are He's
    device, dtype : as in `Network`

    Raises
    ------
    ArgumentError
        The image is too small to be halved so often.
    """

    @checked
    def __init__(
        self,
        *,
        classes: int = 12,
        input_shape: Sequence[int] = (3, 360, 480),
        class_weights: Sequence[float] | None = None,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        image, rng = image_shape("SegNet", input_shape), np.random.default_rng(rng)
        counts = zip(WIDTHS, CONVOLUTIONS[16], strict=True)
        stages = [(width,) * count for width, count in counts]
        super().__init__(
            _there_and_back(image[0], stages, classes, bias=True, rng=rng),
            SoftmaxWithLoss(ignore=IGNORED, class_weights=class_weights),
            input_shape=image,
            device=device,
            dtype=dtype,
        )

    @classmethod
    @checked
    def small(
        cls,
        *,
        classes: int = 6,
        input_shape: Sequence[int] = (3, 48, 64),
        class_weights: Sequence[float] | None = None,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> Self:
        """Three stages of two convolutions, 16, 32 and 64 filters: 144,918 parameters.

        Pixels from 0 to 1 become -0.5 to 0.5 first. No convolution has a bias but the last.
        """
        image, rng = image_shape("SegNet.small", input_shape), np.random.default_rng(rng)
        stages = [(width, width) for width in SMALL]
        network = cls.__new__(cls)
        Network.__init__(
            network,
            {"rescale": Rescale(1.0, -0.5)}
            | _there_and_back(image[0], stages, classes, bias=False, rng=rng),
            SoftmaxWithLoss(ignore=IGNORED, class_weights=class_weights),
            input_shape=image,
            device=device,
            dtype=dtype,
        )
        return network


def _there_and_back(
    channels: int,
    stages: Stages,
    out: int,
    *,
    bias: bool,
    rng: np.random.Generator,
    number: int = 1,
) -> dict[str, Layer]:
    """Layers that make `out` maps of `channels` maps: a stage, those after it, and its way back.

    Parameters
    ----------
    stages : the filters of each convolution on the way down, of this stage and of all after it
    bias : whether convolutions have one where BatchNorm follows
    number : of this stage, of which the first one ends in scores
    """
    widths, *others = stages
    down, before = list[Layer](), channels
    for filters in widths:
        down += normed(before, filters, bias=bias, rng=rng)
        before = filters
    inner: dict[str, Layer] = {"bottom": Identity()}
    if others:
        inner = _there_and_back(before, others, before, bias=bias, rng=rng, number=number + 1)
    up = list[Layer]()
    for filters in (*widths[-2::-1], out):
        up += normed(before, filters, bias=bias, rng=rng)
        before = filters
    if number == 1:
        last = widths[0]
        up[-3:] = [Convolution(last, out, 3, pad=1, rng=rng)]
    return {
        f"encode{number}": Sequential(numbered(down)),
        f"pooled{number}": Unpooled(inner),
        f"decode{number}": Sequential(numbered(up)),
    }
