"""DCGAN: a network that makes images of random numbers, and one that tells them from real ones."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np

from xpnet.arguments import checked, whole_numbers
from xpnet.arrays import Array, Device, get_device
from xpnet.arrays.random import normal
from xpnet.arrays.values import in_parts
from xpnet.errors import ArgumentError
from xpnet.functions.init import shapes_alone
from xpnet.layers import (
    Affine,
    Convolution,
    IdentityWithLoss,
    Layer,
    LeakyReLU,
    ReLU,
    Shape,
    SigmoidWithLoss,
    Tanh,
    TransposedConvolution,
    Unflatten,
)
from xpnet.models.network import Network
from xpnet.models.parts import image_shape, norm
from xpnet.models.together import hand_over, save_networks

STD = 0.02
"""Standard deviation of all initial weights."""
SLOPE = 0.2
"""Of LeakyReLU below 0."""
TRAINING, EVALUATION = 0x6A00, 0x6A01
"""What the key of latent vectors has beside the seed: those of training, and those to look at."""
AT_A_TIME = 500
"""Images that are made together."""


class DCGAN:
    """Two networks: a generator makes images of latent vectors, a discriminator judges images.

        generator:      Affine to the maps of the first width, a small image; BatchNorm, ReLU;
                        for each further width, transposed convolution 4 x 4 by steps of 2,
                        BatchNorm, ReLU; at last one to the channels of an image, and tanh
        discriminator:  the same widths backward, convolutions 4 x 4 by steps of 2, LeakyReLU 0.2,
                        BatchNorm before it but for the first; Affine to one score

    Images are -1 to 1 for both networks, and 0 to 1 for everybody else. The generator of digits has
    237,313 parameters, the discriminator 36,577.

    Radford, Metz, Chintala 2015, "Unsupervised representation learning with deep convolutional
    generative adversarial networks", arXiv:1511.06434. All weights begin at N(0, 0.02), gamma at 1.
    Latent vectors are N(0, 1), where the paper has them even from -1 to 1.

    Parameters
    ----------
    latent : numbers of a latent vector
    input_shape : channels, height and width of an image; sides are multiples of 2 for each width
    widths : maps of the generator from its smallest image on
    rng : NumPy generator or seed of initial weights
    device, dtype : as in `Network`

    Attributes
    ----------
    networks : "generator", (latent,) to an image, and "discriminator", an image to the score of its
        being real, (1,), before the sigmoid

    Raises
    ------
    ArgumentError
        Sides are no such multiples, or there is nothing of something.
    """

    @checked
    def __init__(
        self,
        *,
        latent: int = 64,
        input_shape: Sequence[int] = (1, 28, 28),
        widths: Sequence[int] = (64, 32),
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        image, rng = image_shape("DCGAN", input_shape), np.random.default_rng(rng)
        found = whole_numbers(widths)
        if latent < 1 or not found or min(found) < 1:
            raise ArgumentError(
                "DCGAN needs at least one latent number, and one map of each of its widths, got "
                f"latent={latent}, widths={widths!r:.200}"
            )
        self.latent_size, self.input_shape, self.widths = int(latent), image, tuple(found)
        steps = 2 ** len(self.widths)
        if any(side % steps for side in image[1:]):
            raise ArgumentError(
                f"DCGAN with {len(self.widths)} widths makes images whose sides are multiples of "
                f"{steps}, got {image[1]} x {image[2]}; add a margin, or take other widths"
            )
        self.device, self.dtype = get_device(device), dtype
        placed: dict[str, Any] = {"device": self.device, "dtype": dtype}
        generator = _generator(self.latent_size, image, self.widths, rng)
        discriminator = _discriminator(image, self.widths, rng)
        shape = (self.latent_size,)
        self.networks = {
            "generator": Network(generator, IdentityWithLoss(), input_shape=shape, **placed),
            "discriminator": Network(discriminator, SigmoidWithLoss(), input_shape=image, **placed),
        }

    @classmethod
    def large(cls, **arguments: Any) -> Self:
        """The paper's: images of 3 x 64 x 64, latent vectors of 100, widths 1024, 512, 256, 128.

        Parameters
        ----------
        arguments : as for the constructor
        """
        paper: dict[str, Any] = {
            "latent": 100, "input_shape": (3, 64, 64), "widths": (1024, 512, 256, 128)
        }  # fmt: skip
        return cls(**(paper | arguments))

    @classmethod
    def of(cls, networks: Mapping[str, Network], **arguments: Any) -> Self:
        """A DCGAN of two networks that are there already, such as those of a file.

        Parameters
        ----------
        arguments : as for the constructor, but for rng, device and dtype

        Raises
        ------
        ArgumentError
            The networks are others than these arguments make.
        """
        given = networks.get("generator")
        if given is None or networks.keys() != {"generator", "discriminator"}:
            raise ArgumentError(
                f"networks called generator and discriminator are needed, got {networks}"
            )
        placed: dict[str, Any] = {"device": given.device, "dtype": given.dtype}
        with shapes_alone():
            gan = cls(**arguments, **placed)
        hand_over(gan, networks, arguments)
        return gan

    def arguments(self) -> dict[str, Any]:
        """Numbers of a latent vector, shape of an image, widths, and dtype."""
        return {
            "latent": self.latent_size,
            "input_shape": self.input_shape,
            "widths": self.widths,
            "dtype": self.dtype,
        }

    def __repr__(self) -> str:
        return (
            f"DCGAN({self.latent_size} -> {self.input_shape}, {self.count} parameters, "
            f"{self.dtype} on {self.device.name})"
        )

    @property
    def count(self) -> int:
        """The numbers that both networks learn."""
        return sum(network.params.count for network in self.networks.values())

    @checked
    def latent(self, count: int, *, seed: int = 0, first: int = 0) -> Array:
        """Latent vectors to look at, number `first` and so on of a seed, (count, latent); N(0, 1).

        They are the same on every device, and others than those of any training.

        Raises
        ------
        ArgumentError
            Less than one is asked for, or one before the first.
        """
        if count < 1 or first < 0:
            raise ArgumentError(
                "at least one latent vector is needed, and they are numbered from 0, got "
                f"count={count}, first={first}"
            )
        drawn = self.drawn((first + count), key=(seed, EVALUATION), step=0)
        return drawn[first:, ...]

    def drawn(self, count: int, *, key: tuple[int, int], step: int) -> Array:
        """Latent vectors of a step of a sequence, as `xpnet.arrays.random` has both."""
        xp, device = self.device.xp, self.device
        at = xp.asarray([step], dtype=xp.int64, device=device.native)
        numbers = normal(count * self.latent_size, key=key, step=at, device=device)
        return xp.astype(xp.reshape(numbers, (count, -1)), device.dtype(self.dtype))

    def generate(self, z: Array, computing: Callable[[Array], Array] | None = None) -> Array:
        """Images of latent vectors, (N, C, H, W) from 0 to 1, by the running statistics.

        Parameters
        ----------
        z : (N, latent)
        computing : what makes images, -1 to 1, of latent vectors, such as an engine's `predict`;
            the network's if None

        Raises
        ------
        ArgumentError
            The latent vectors are of another length, or an image is not finite.
        """
        network, xp = self.networks["generator"], self.device.xp
        z, compute = self._checked_latent(z), computing or network.predict
        made = [compute(z[part, ...]) for part in in_parts(z.shape[0], AT_A_TIME)]
        images = (xp.concat(made, axis=0) + 1.0) / 2.0
        if not xp.all(xp.isfinite(images)):
            raise ArgumentError(
                "no images can be made: what the generator puts out is not finite; check that "
                "latent vectors and weights are"
            )
        return images

    def _checked_latent(self, z: Array) -> Array:
        """Latent vectors on the device."""
        shape = np.shape(z)
        if len(shape) != 2 or shape[1] != self.latent_size or not shape[0]:
            raise ArgumentError(
                f"latent vectors (N, {self.latent_size}) are needed, one at least, got {shape}; "
                "see DCGAN.latent"
            )
        return self.networks["generator"].place(z)

    @checked
    def save_params(self, path: str | Path) -> None:
        """Write both networks as safetensors, of which `load_gan` makes a DCGAN again.

        Raises
        ------
        WeightsError
            The name is one of another format.
        OutputError
            The file cannot be written.
        """
        arguments = {name: each for name, each in self.arguments().items() if name != "dtype"}
        save_networks(path, self.networks, {"model": "dcgan", "arguments": arguments})


def as_signed(x: Array) -> Array:
    """Images from 0 to 1 as both networks see them, from -1 to 1."""
    return x * 2.0 - 1.0


def _generator(
    latent: int, image: Shape, widths: Sequence[int], rng: np.random.Generator
) -> dict[str, Layer]:
    """The layers of the generator."""
    smallest = (widths[0], *(side // 2 ** len(widths) for side in image[1:]))
    layers: dict[str, Layer] = {
        "affine": Affine(latent, prod(smallest), std=STD, rng=rng),
        "images": Unflatten(smallest),
        "norm0": norm(widths[0]),
        "relu0": ReLU(),
    }
    for k, (width, maps) in enumerate(zip(widths, [*widths[1:], image[0]], strict=True), start=1):
        last = k == len(widths)
        layers[f"up{k}"] = TransposedConvolution(
            width, maps, 4, stride=2, pad=1, std=STD, bias=last, rng=rng
        )
        layers |= {"tanh": Tanh()} if last else {f"norm{k}": norm(maps), f"relu{k}": ReLU()}
    return layers


def _discriminator(
    image: Shape, widths: Sequence[int], rng: np.random.Generator
) -> dict[str, Layer]:
    """The layers of the discriminator."""
    layers: dict[str, Layer] = {}
    channels = image[0]
    for k, maps in enumerate(reversed(widths), start=1):
        layers[f"conv{k}"] = Convolution(
            channels, maps, 4, stride=2, pad=1, std=STD, bias=k == 1, rng=rng
        )
        layers |= {} if k == 1 else {f"norm{k}": norm(maps)}
        layers[f"leak{k}"], channels = LeakyReLU(SLOPE), maps
    pixels = prod(side // 2 ** len(widths) for side in image[1:])
    return layers | {"affine": Affine(channels * pixels, 1, std=STD, rng=rng)}
