"""GoogLeNet: Inception modules, one behind the other."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple, Self, TypeAlias

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device
from xpnet.errors import ArgumentError
from xpnet.layers import (
    LRN,
    Affine,
    AuxiliaryHeads,
    AveragePool,
    Concatenate,
    Convolution,
    Dropout,
    GlobalAveragePool,
    HeadsWithLoss,
    Layer,
    MaxPool,
    ReLU,
    Sequential,
    Shape,
    SoftmaxWithLoss,
)
from xpnet.models.network import Network
from xpnet.models.parts import features_behind, image_shape, norm

Unit: TypeAlias = Callable[..., Sequential]
"""A convolution and what follows it: see `_unit`."""


class Inception(NamedTuple):
    """Filters of a module: 1 x 1; 1 x 1 and then 3 x 3; 1 x 1 and then 5 x 5; behind the pool."""

    one: int
    three: tuple[int, int]
    five: tuple[int, int]
    pool: int

    @property
    def channels(self) -> int:
        """All that it puts out."""
        return self.one + self.three[1] + self.five[1] + self.pool


MODULES = {
    "3a": Inception(64, (96, 128), (16, 32), 32),
    "3b": Inception(128, (128, 192), (32, 96), 64),
    "4a": Inception(192, (96, 208), (16, 48), 64),
    "4b": Inception(160, (112, 224), (24, 64), 64),
    "4c": Inception(128, (128, 256), (24, 64), 64),
    "4d": Inception(112, (144, 288), (32, 64), 64),
    "4e": Inception(256, (160, 320), (32, 128), 128),
    "5a": Inception(256, (160, 320), (32, 128), 128),
    "5b": Inception(384, (192, 384), (48, 128), 128),
}
"""The paper's table 1."""

SMALL_MODULES = {
    "3a": Inception(8, (8, 16), (4, 8), 8),
    "3b": Inception(16, (16, 24), (4, 8), 8),
    "4a": Inception(24, (16, 32), (8, 12), 12),
    "4b": Inception(24, (24, 48), (8, 12), 12),
}


class Head(NamedTuple):
    """An auxiliary head: the module that it reads, and its filters and units."""

    module: str
    filters: int = 128
    units: int = 1024


HEADS = {"aux1": Head("4a"), "aux2": Head("4d")}
SMALL_HEADS = {"aux1": Head("3a", 16, 64), "aux2": Head("3b", 16, 64)}
WEIGHT = 0.3
"""The weight of the loss of each."""


class GoogLeNet(Network):
    """A stem of convolutions, nine Inception modules with pools between, the mean of each map.

        conv1 7 x 7 / 2, pool, LRN;   conv2 1 x 1, conv3 3 x 3, LRN, pool;
        3a, 3b, pool;   4a to 4e, pool;   5a, 5b, mean, Dropout, fc

        module: 1 x 1 | 1 x 1, 3 x 3 | 1 x 1, 5 x 5 | pool 3 x 3, 1 x 1, joined; ReLU behind each

    Szegedy et al. 2014, "Going deeper with convolutions", arXiv:1409.4842, table 1. For 3 x 224 x
    224 and 1,000 classes there are 6,998,552 parameters. torchvision's has BatchNorm in place of
    biases, no LRN, 3 x 3 for 5 x 5, another pool before 5a and less dropout: `GoogLeNet(
    batch_norm=True, five=3)`, with 6,624,904. Layers are called as there.

    While it trains, two more heads may read 4a and 4d, whose losses count 0.3 times: average pool
    5 x 5 / 3, 1 x 1 with 128 filters, 1,024 units, Dropout, affine. They add 3,188,840 and
    3,190,888 parameters; predictions are the main output's alone.

    Parameters
    ----------
    batch_norm : whether it is torchvision's form, but for `five`
    five : size of the filters that the paper has as 5 x 5; torchvision has 3
    auxiliary : whether there are the two heads
    size : "small" is for images of 28 pixels, with four modules; see `small`
    classes : number of outputs; 1,000, or 10 of the small form, if None
    input_shape : channels, height and width of an image; (3, 224, 224) or (1, 28, 28) if None
    rng : NumPy generator or seed of initial weights, which are He's, and of dropout
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        *,
        batch_norm: bool = False,
        five: int = 5,
        auxiliary: bool = False,
        size: Literal["large", "small"] = "large",
        classes: int | None = None,
        input_shape: Sequence[int] | None = None,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        if five < 1 or five % 2 == 0:
            raise ArgumentError(f"five of GoogLeNet must be odd, 5 or 3 for instance, got {five}")
        small, rng = size == "small", np.random.default_rng(rng)
        if input_shape is None:
            input_shape = (1, 28, 28) if small else (3, 224, 224)
        image = image_shape("GoogLeNet", input_shape)
        classes = (10 if small else 1000) if classes is None else classes
        unit = partial(_unit, batch_norm=batch_norm, rng=rng)
        row: dict[str, Layer] = {}
        if small:
            pool = partial(MaxPool, stride=2, pad=1, uneven="drop")
            row |= {"conv1": unit(image[0], 16, 3), "maxpool1": pool(3)}
        else:
            pool = partial(MaxPool, stride=2, uneven="ceil")
            row |= {"conv1": unit(image[0], 64, 7, stride=2), "maxpool1": pool(3)}
            row |= {} if batch_norm else {"norm1": LRN()}
            row |= {"conv2": unit(64, 64, 1), "conv3": unit(64, 192, 3)}
            row |= {} if batch_norm else {"norm2": LRN()}
            row["maxpool2"] = pool(3)
        channels, stage = 16 if small else 192, "3"
        for name, module in (SMALL_MODULES if small else MODULES).items():
            if name[0] != stage:  # half as many pixels
                stage = name[0]
                last = 2 if batch_norm and stage == "5" else 3
                row[f"maxpool{int(stage) - 1}"] = pool(last)
            row[f"inception{name}"] = _inception(channels, module, five, unit)
            channels = module.channels
        row["avgpool"] = GlobalAveragePool()
        row["dropout"] = Dropout(0.2 if small or batch_norm else 0.4, inverted=True, rng=rng)
        row["fc"] = Affine(features_behind("GoogLeNet", row, image), classes, rng=rng)
        if not auxiliary:
            super().__init__(row, input_shape=image, device=device, dtype=dtype)
            return
        heads = {}
        for name, head in (SMALL_HEADS if small else HEADS).items():
            place = f"inception{head.module}"
            below = {each: row[each] for each in list(row)[: list(row).index(place) + 1]}
            heads[name] = place, _head(head, below, image, classes, unit, rng)
        losses = {name: SoftmaxWithLoss() for name in ("main", *heads)}
        super().__init__(
            AuxiliaryHeads(row, heads),
            HeadsWithLoss(losses, dict.fromkeys(heads, WEIGHT), main="main"),
            input_shape=image,
            device=device,
            dtype=dtype,
        )

    @classmethod
    def small(
        cls,
        *,
        auxiliary: bool = False,
        input_shape: Sequence[int] = (1, 28, 28),
        classes: int = 10,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> Self:
        """Four modules for images of 28 pixels: 38,482 parameters for those of 1 x 28 x 28."""
        return cls(
            size="small",
            auxiliary=auxiliary,
            classes=classes,
            input_shape=input_shape,
            rng=rng,
            device=device,
            dtype=dtype,
        )


def _unit(
    channels: int,
    filters: int,
    size: int,
    *,
    stride: int = 1,
    batch_norm: bool,
    rng: np.random.Generator,
) -> Sequential:
    """A convolution that keeps the pixels but for its stride, and ReLU."""
    layers: dict[str, Layer] = {
        "conv": Convolution(
            channels,
            filters,
            size,
            stride=stride,
            pad=size // 2,
            bias=not batch_norm,
            uneven="drop",
            rng=rng,
        )
    }
    layers |= {"bn": norm(filters, eps=1e-3)} if batch_norm else {}
    return Sequential(layers | {"relu": ReLU()})


def _inception(channels: int, module: Inception, five: int, unit: Unit) -> Concatenate:
    """Four branches, whose channels are joined."""
    (reduced, three), (narrow, wide) = module.three, module.five
    return Concatenate(
        {
            "branch1": unit(channels, module.one, 1),
            "branch2": Sequential({"0": unit(channels, reduced, 1), "1": unit(reduced, three, 3)}),
            "branch3": Sequential({"0": unit(channels, narrow, 1), "1": unit(narrow, wide, five)}),
            "branch4": Sequential({"0": MaxPool(3, pad=1), "1": unit(channels, module.pool, 1)}),
        }
    )


def _head(
    head: Head,
    below: dict[str, Layer],
    image: Shape,
    classes: int,
    unit: Unit,
    rng: np.random.Generator,
) -> Sequential:
    """The layers of an auxiliary head, which reads the last of those below."""
    channels = Sequential(below).output_shape(image)[0]
    layers: dict[str, Layer] = {
        "pool": AveragePool(5, stride=3, uneven="drop"),
        "conv": unit(channels, head.filters, 1),
    }
    features = features_behind("GoogLeNet's auxiliary heads", below | layers, image)
    return Sequential(
        layers
        | {
            "fc1": Affine(features, head.units, rng=rng),
            "relu": ReLU(),
            "dropout": Dropout(0.7, inverted=True, rng=rng),
            "fc2": Affine(head.units, classes, rng=rng),
        }
    )
