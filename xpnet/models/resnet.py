"""Residual networks, for large images and for small ones."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device
from xpnet.errors import ArgumentError
from xpnet.functions.init import filled
from xpnet.layers import (
    Affine,
    GlobalAveragePool,
    Layer,
    MaxPool,
    PadShortcut,
    ReLU,
    Residual,
    Sequential,
)
from xpnet.models.network import Network
from xpnet.models.parts import features_behind, image_shape, norm, unbiased

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks of the four stages, by the number of layers with weights."""

BOTTLENECKS = (50, 101, 152)
"""Depths whose blocks have three convolutions, the last of them with `EXPANSION` times the filters
of the others."""

EXPANSION = 4

Block: TypeAlias = Callable[[int, int, int], Layer]
"""A block of so many channels in and out, and with this stride."""


class ResNet(Network):
    """A stem, four stages of blocks with shortcuts, the mean of each map, Affine.

        conv1 7 x 7 / 2, BatchNorm, ReLU, maxpool 3 x 3 / 2:   224 pixels become 56
        layer1 to layer4, 64, 128, 256 and 512 filters:   y = ReLU(body(x) + shortcut(x)); 56 to 7
        avgpool, fc

        18 and 34:         body = 3 x 3, ReLU, 3 x 3
        50, 101 and 152:   body = 1 x 1, ReLU, 3 x 3, ReLU, 1 x 1 with 4 times the filters

    with BatchNorm behind each convolution. The shortcut is x itself, or where the shape changes a
    1 x 1 convolution and BatchNorm. He, Zhang, Ren, Sun 2015, "Deep residual learning for image
    recognition", arXiv:1512.03385, table 1. For 3 x 224 x 224 and 1,000 classes, ResNet-18, 34, 50,
    101 and 152 have 11,689,512, 21,797,672, 25,557,032, 44,549,160 and 60,192,808 parameters.
    Layers are called as in torchvision.

    Parameters
    ----------
    depth : 18, 34, 50, 101 or 152
    v1_5 : whether of three convolutions the second takes the stride, as in torchvision, or the
        first, as in the paper; the parameters are the same
    zero_gamma : whether the last BatchNorm of each body starts at gamma = 0, so that a block begins
        as its shortcut alone: Goyal et al. 2017, arXiv:1706.02677, section 5.1
    width : filters of stem and first stage
    classes : number of outputs
    input_shape : channels, height and width of an image
    rng : NumPy generator or seed of initial weights: N(0, 2 / fan-out), fc's N(0, 2 / fan-in)
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        depth: int = 50,
        *,
        v1_5: bool = True,
        zero_gamma: bool = False,
        width: int = 64,
        classes: int = 1000,
        input_shape: Sequence[int] = (3, 224, 224),
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        if depth not in BLOCKS:
            raise ArgumentError(f"ResNet has {', '.join(map(str, BLOCKS))} layers, got {depth}")
        name = f"ResNet-{depth}"
        image, rng = image_shape(name, input_shape), np.random.default_rng(rng)
        wider = EXPANSION if depth in BOTTLENECKS else 1

        def block(channels: int, filters: int, stride: int) -> Layer:
            if wider == 1:
                body = _basic(channels, filters, stride, rng)
            else:
                body = _bottleneck(channels, filters, stride, rng, v1_5=v1_5)
            if zero_gamma:
                *_, last = body.values()
                last.params["gamma"] = filled(filters, 0.0)
            changes = stride > 1 or channels != filters
            shortcut = _projection(channels, filters, stride, rng) if changes else None
            return Residual(body, shortcut)

        layers: dict[str, Layer] = {
            "conv1": unbiased(image[0], width, 7, stride=2, rng=rng),
            "bn1": norm(width),
            "relu": ReLU(),
            "maxpool": MaxPool(3, stride=2, pad=1, uneven="drop"),
        }
        channels = width
        for k, count in enumerate(BLOCKS[depth], start=1):
            filters = width * 2 ** (k - 1) * wider
            layers[f"layer{k}"] = _stage(channels, filters, count, 1 if k == 1 else 2, block)
            channels = filters
        layers["avgpool"] = GlobalAveragePool()
        layers["fc"] = Affine(features_behind(name, layers, image), classes, rng=rng)
        super().__init__(layers, input_shape=image, device=device, dtype=dtype)


class CifarResNet(Network):
    """The residual network for small images: 6 n + 2 layers with weights, three stages.

        conv1 3 x 3, BatchNorm, ReLU
        layer1, layer2, layer3:   n blocks each of w, 2 w and 4 w filters, on all, half and a
                                  quarter of the pixels;  y = ReLU(body(x) + shortcut(x))
        avgpool, fc

    The body is that of ResNet-18. He, Zhang, Ren, Sun 2015, arXiv:1512.03385, section 4.2. With
    w = 16, for 3 x 32 x 32, ResNet-20, 32, 56 and 110 have 269,722, 464,154, 853,018 and 1,727,962
    parameters.

    Parameters
    ----------
    depth : 6 n + 2: 20, 32, 44, 56, 110
    shortcut : where the shape changes, "A" takes every second pixel and adds maps of zeros, "B" is
        a 1 x 1 convolution and BatchNorm; elsewhere it is x itself. None is for no shortcut
        anywhere, the paper's plain network, with the parameters of "A".
    width : w
    classes : number of outputs
    input_shape : channels, height and width of an image
    rng : NumPy generator or seed of initial weights: N(0, 2 / fan-out), fc's N(0, 2 / fan-in)
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        depth: int = 20,
        *,
        shortcut: Literal["A", "B"] | None = "A",
        width: int = 16,
        classes: int = 10,
        input_shape: Sequence[int] = (3, 32, 32),
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        if depth < 8 or depth % 6 != 2:
            raise ArgumentError(
                f"CifarResNet has 6 n + 2 layers, 20, 32, 44, 56 or 110 for instance, got {depth}"
            )
        image, rng = image_shape("CifarResNet", input_shape), np.random.default_rng(rng)

        def block(channels: int, filters: int, stride: int) -> Layer:
            body = _basic(channels, filters, stride, rng)
            if shortcut is None:
                return Sequential(body)
            if channels == filters:
                return Residual(body)
            if shortcut == "A":
                return Residual(body, PadShortcut(stride, filters))
            return Residual(body, _projection(channels, filters, stride, rng))

        layers: dict[str, Layer] = {
            "conv1": unbiased(image[0], width, 3, rng=rng),
            "bn1": norm(width),
            "relu": ReLU(),
            "layer1": _stage(width, width, depth // 6, 1, block),
            "layer2": _stage(width, 2 * width, depth // 6, 2, block),
            "layer3": _stage(2 * width, 4 * width, depth // 6, 2, block),
            "avgpool": GlobalAveragePool(),
            "fc": Affine(4 * width, classes, rng=rng),
        }
        super().__init__(layers, input_shape=image, device=device, dtype=dtype)


def _stage(channels: int, filters: int, count: int, stride: int, block: Block) -> Sequential:
    """Blocks one behind the other, each with its ReLU; the first one takes the stride."""
    layers: dict[str, Layer] = {}
    for k in range(count):
        layers[str(k)] = block(channels, filters, stride)
        layers[f"relu{k}"] = ReLU()
        channels, stride = filters, 1
    return Sequential(layers)


def _basic(channels: int, filters: int, stride: int, rng: np.random.Generator) -> dict[str, Layer]:
    """Two convolutions, of 3 x 3."""
    return {
        "conv1": unbiased(channels, filters, 3, stride=stride, rng=rng),
        "bn1": norm(filters),
        "relu": ReLU(),
        "conv2": unbiased(filters, filters, 3, rng=rng),
        "bn2": norm(filters),
    }


def _bottleneck(
    channels: int, filters: int, stride: int, rng: np.random.Generator, *, v1_5: bool
) -> dict[str, Layer]:
    """Three convolutions, the middle one with a quarter of the filters on either side."""
    narrow, (first, second) = filters // EXPANSION, (1, stride) if v1_5 else (stride, 1)
    return {
        "conv1": unbiased(channels, narrow, 1, stride=first, rng=rng),
        "bn1": norm(narrow),
        "relu1": ReLU(),
        "conv2": unbiased(narrow, narrow, 3, stride=second, rng=rng),
        "bn2": norm(narrow),
        "relu2": ReLU(),
        "conv3": unbiased(narrow, filters, 1, rng=rng),
        "bn3": norm(filters),
    }


def _projection(channels: int, filters: int, stride: int, rng: np.random.Generator) -> Sequential:
    """The shortcut to another shape that learns."""
    conv: Layer = unbiased(channels, filters, 1, stride=stride, rng=rng)
    return Sequential({"0": conv, "1": norm(filters)})
