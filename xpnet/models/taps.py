"""What a network has behind some of its layers, and the gradient of a picture by that."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, Device
from xpnet.errors import ArgumentError
from xpnet.files.photographs import Photographs
from xpnet.layers import AveragePool, Convolution, Layer, MaxPool, ReLU, Sequential
from xpnet.models.efficientnet import EfficientNetLite0
from xpnet.models.network import Network
from xpnet.models.parts import image_shape
from xpnet.models.vgg import VGG

Slopes = Mapping[str, Array]


class Computes(Protocol):
    """Layers, or an engine for them."""

    def forward(self, x: Array, *, train: bool = False) -> tuple[Any, Callable[..., Any]]:
        """The output, and what takes its gradient back to x."""


class StyleLayers(NamedTuple):
    """The layers of a network at whose outputs pictures are compared, by their paths.

    Attributes
    ----------
    style : where Gram matrices are taken
    content : where the features themselves are
    """

    style: tuple[str, ...]
    content: str


CHANNELS, POOLED = (32, 32, 64, 64, 128, 128), (2, 4)
"""Filters of each convolution of `random_features`, and behind how many of them it pools."""
MEAN, STD = 0.45, 0.25
"""Of its inputs, of pixels from 0 to 1."""
RANDOM = StyleLayers(("relu1", "relu3", "relu5"), "relu4")
LITE0 = StyleLayers(("_relu0", "_blocks.0", "_blocks.2", "_blocks.4"), "_blocks.2")
"""Of `random_features`, and of EfficientNet-Lite0: the deepest sees an eighth of the pixels across.
"""


@checked
def random_features(
    input_shape: tuple[int, int, int] = (3, 64, 64),
    *,
    rng: np.random.Generator | int | None = None,
    device: str | Device = "cpu",
    dtype: str = "float32",
) -> Network:
    """A network of filters that never learned, which is enough to compare textures by.

        (convolution 3 x 3 - ReLU) twice with 32 filters, average pool 2, twice with 64, average
        pool 2, twice with 128; the layers conv1, relu1, ..., pool1, ..., relu6

    It has no biases, and 286,560 weights. Pixels are read as (x - 0.45) / 0.25. Ustyuzhaninov,
    Brendel, Gatys, Bethge 2016, "Texture synthesis using shallow convolutional networks with random
    filters", arXiv:1606.00021.

    Parameters
    ----------
    input_shape : 3 channels, height and width. Behind its layers, pictures of other sizes are taken
        as well: see `Taps`.
    rng : NumPy generator or seed of the weights, N(0, 2 / fan-in)
    device, dtype : as in `Network`
    """
    channels, *_ = image = image_shape("random_features", input_shape)
    rng, layers = np.random.default_rng(rng), dict[str, Layer]()
    for number, filters in enumerate(CHANNELS, start=1):
        layers[f"conv{number}"] = Convolution(channels, filters, 3, pad=1, bias=False, rng=rng)
        layers[f"relu{number}"] = ReLU()
        if number in POOLED:
            pool = AveragePool(2, stride=2, uneven="drop")
            layers[f"pool{POOLED.index(number) + 1}"] = pool
        channels = filters
    network = Network(layers, input_shape=image, device=device, dtype=dtype)
    network.photographs = Photographs(min(image[1:]), 255 * MEAN, 255 * STD)
    return network


@checked
def style_layers(network: Network) -> StyleLayers:
    """The layers at which pictures are compared: of a network that it is known for.

    Of VGG they are the paper's, behind the ReLUs: the first convolution of each stage for style,
    and the second of the fourth for content; where there are fewer stages, of the last.

    Raises
    ------
    ArgumentError
        The network is none of these.
    """
    if isinstance(network, EfficientNetLite0):
        return LITE0
    if isinstance(network, VGG):
        stages: list[list[str]] = [[]]
        for path, layer in in_a_row(network):
            if path.startswith("features.") and isinstance(layer, ReLU):
                stages[-1].append(path)
            elif path.startswith("features.") and isinstance(layer, MaxPool | AveragePool):
                stages.append([])
        found = [stage for stage in stages if stage]
        return StyleLayers(tuple(stage[0] for stage in found), found[:4][-1][:2][-1])
    if RANDOM.content in network.layers and {*RANDOM.style} <= {*network.layers}:
        return RANDOM
    raise ArgumentError(
        f"style is compared behind layers of VGG, of EfficientNet-Lite0 and of random filters, got "
        f'{type(network).__name__}; name the layers yourself, StyleLayers(("relu1",), "relu2")'
    )


def in_a_row(network: Network) -> Iterator[tuple[str, Layer]]:
    """The layers of a network in a row with their paths, those in rows within it one by one."""

    def within(layers: Mapping[str, Layer], path: str) -> Iterator[tuple[str, Layer]]:
        for name, layer in layers.items():
            if isinstance(layer, Sequential):
                yield from within(layer.layers, f"{path}{name}.")
            else:
                yield f"{path}{name}", layer

    yield from within(network.layers, "")


class Taps:
    """The outputs of some layers of a network for a picture, and the gradient of the picture.

    The network is run in chunks from one of these layers to the next, and no further. On the way
    back what a layer's output is asked for is added to what comes from behind it. No gradients of
    parameters are computed: only the picture changes. Layers are run as for prediction, on pictures
    of any size that fits their windows.

    Parameters
    ----------
    network : of layers in a row, which may be in rows again or branch between them. It is read, and
        shares its layers.
    paths : of the layers, such as "relu1" or "features.1"; that of a row is for its last layer

    Raises
    ------
    ArgumentError
        There is no such layer in the row, none is named, or one by two paths.

    Attributes
    ----------
    chunks : the layers up to each of these, by its path, in their order
    """

    def __init__(self, network: Network, paths: Sequence[str]) -> None:
        row = dict(in_a_row(network))
        # A row of layers within the row ends where its last layer does.
        ends = {path: [key for key in row if f"{key}.".startswith(f"{path}.")] for path in paths}
        unknown = [path for path, keys in ends.items() if not keys]
        if unknown or not ends or isinstance(paths, str):
            raise ArgumentError(
                f"taps are the paths of layers in a row, of which this network has "
                f"{', '.join(row)}; got {', '.join(map(str, unknown or paths)) or 'none'}"
            )
        named = {keys[-1]: path for path, keys in ends.items()}
        if len(named) < len(ends):
            raise ArgumentError(
                f"taps must be of different layers, got {', '.join(ends)}; leave one out"
            )
        self.network = network
        self.chunks: dict[str, Sequential] = {}
        chunk: dict[str, Layer] = {}
        for key, layer in row.items():
            chunk[key.replace(".", "/")] = layer  # a layer's name has no dot
            if key in named:
                self.chunks[named[key]] = Sequential(chunk)
                chunk = {}

    def __repr__(self) -> str:
        return f"Taps({self.network!r}, {', '.join(self.chunks)})"

    def forward(
        self, x: Array, computing: Mapping[str, Computes] | None = None
    ) -> tuple[dict[str, Array], Callable[[Slopes], Array]]:
        """The outputs by path, for pictures x (N, C, H, W) on the network's device.

        Parameters
        ----------
        computing : what computes each chunk, such as an engine; the chunk itself if None

        Returns
        -------
        the outputs; and a function that takes their gradients, by path, back to that of x. A path
        that is not given has none.
        """
        found: dict[str, Array] = {}
        steps = []
        for path, chunk in (computing or self.chunks).items():
            x, step = chunk.forward(x)
            found[path] = x
            steps.append((path, step))

        def backward(slopes: Slopes) -> Array:
            d = None
            for path, step in reversed(steps):
                if (own := slopes.get(path)) is not None:
                    d = own if d is None else d + own
                if d is not None:
                    d, _ = step(d, need_grads=False)
            if d is None:
                raise ArgumentError(
                    f"gradients of {', '.join(found)} are needed, got {', '.join(slopes) or 'none'}"
                )
            return d

        return found, backward
