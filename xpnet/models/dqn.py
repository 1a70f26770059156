"""The networks of Deep Q-learning."""

from collections.abc import Sequence

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device
from xpnet.errors import ArgumentError
from xpnet.layers import Affine, Convolution, IdentityWithLoss, Layer, ReLU, Shape
from xpnet.layers.numbers import sizes
from xpnet.models.network import Network
from xpnet.models.parts import features_behind, image_shape

LARGE = 36
"""Pixels of a side from which on pictures go through the three convolutions."""


class DQN(Network):
    """Values of all actions by what is seen, Q(s, a): one network for games of all kinds.

    Of pictures smaller than 36 x 36, as MinAtar's,

        convolution of 3 x 3, 16 filters;   Affine, 128;   Affine, a value for each action

    of larger ones the network of Nature,

        convolutions of 8 x 8 by steps of 4, 32 filters, of 4 x 4 by 2, 64, and of 3 x 3, 64;
        Affine, 512;   Affine

    and of rows of numbers two affine layers of 128 and the last one; ReLU is behind each but that.
    Four pictures of 10 x 10 and three actions make 132,179 parameters, four of 84 x 84 and 18
    actions 1,693,362, four numbers and two actions 17,410.

    Mnih et al. 2015, "Human-level control through deep reinforcement learning", Nature 518; Young,
    Tian 2019, "MinAtar", arXiv:1903.03176.

    Parameters
    ----------
    actions : how many there are
    input_shape : (C, H, W), pictures that are seen one after the other being channels, or (K,)
    rng : NumPy generator or seed of initial weights: N(0, 2 / fan-in) where pictures are seen, but
        for the last layer, behind which there is no ReLU. That, and all layers for rows of numbers,
        have N(0, 1 / (3 fan-in)), the variance of PyTorch's, so that values begin near 0.
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        actions: int = 3,
        *,
        input_shape: Sequence[int] = (4, 10, 10),
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        if actions < 1:
            raise ArgumentError(f"a DQN needs at least one action, got {actions}")
        rng = np.random.default_rng(rng)
        shape = sizes("input_shape", input_shape, "(4, 10, 10) or (4,)")
        layers = _of_numbers(shape, rng) if len(shape) == 1 else _of_pictures(shape, rng)
        *_, last = (layer for layer in layers.values() if isinstance(layer, Affine))
        width = int(last.params["b"].shape[0])
        layers["values"] = _affine(width, actions, rng)
        super().__init__(layers, IdentityWithLoss(), input_shape=shape, device=device, dtype=dtype)


def _of_numbers(shape: Shape, rng: np.random.Generator) -> dict[str, Layer]:
    layers: dict[str, Layer] = {}
    for k, inputs in enumerate((shape[0], 128), 1):
        layers |= {f"affine{k}": _affine(inputs, 128, rng), f"relu{k}": ReLU()}
    return layers


def _affine(inputs: int, outputs: int, rng: np.random.Generator) -> Affine:
    """A layer whose weights have the variance of numbers that are even within 1 / sqrt(inputs)."""
    return Affine(inputs, outputs, std=(3 * inputs) ** -0.5, rng=rng)


def _of_pictures(shape: Shape, rng: np.random.Generator) -> dict[str, Layer]:
    image = image_shape("DQN", shape)
    small, layers = min(image[1:]) < LARGE, dict[str, Layer]()
    channels, width = image[0], 128 if small else 512
    convolutions = [(16, 3, 1)] if small else [(32, 8, 4), (64, 4, 2), (64, 3, 1)]
    for k, (filters, size, stride) in enumerate(convolutions, 1):
        layers[f"conv{k}"] = Convolution(
            channels,
            filters,
            size,
            stride=stride,
            std="he",
            uneven="drop",
            rng=rng,
        )
        layers[f"relu{k}"], channels = ReLU(), filters
    inputs = features_behind("DQN", layers, image)
    return layers | {"affine": Affine(inputs, width, std="he", rng=rng), "relu": ReLU()}
