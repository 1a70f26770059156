"""What several of the published networks have in common."""

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np

from xpnet.errors import ArgumentError
from xpnet.layers import BatchNorm, Convolution, Layer, ReLU, Sequential, Shape
from xpnet.layers.numbers import sizes

LARGEST = 1024
"""Pixels of the largest image that is tried in search of one that is large enough."""


def unbiased(
    channels: int, filters: int, size: int, *, stride: int = 1, rng: np.random.Generator
) -> Convolution:
    """A convolution that keeps the size of images but for its stride; BatchNorm follows it.

    Weights start at N(0, 2 / fan-out), as He et al. 2015 have it for residual networks.
    """
    return Convolution(
        channels,
        filters,
        size,
        stride=stride,
        pad=size // 2,
        std="fan-out",
        bias=False,
        uneven="drop",
        rng=rng,
    )


def norm(features: int, eps: float = 1e-5) -> BatchNorm:
    """Batch normalization with PyTorch's constants, and its two variances."""
    return BatchNorm(features, eps=eps, running_ddof=1)


def normed(
    channels: int, filters: int, *, bias: bool = False, rng: np.random.Generator
) -> list[Layer]:
    """A convolution of 3 x 3 that keeps the size of images, BatchNorm and ReLU.

    Weights start at N(0, 2 / fan-in).
    """
    conv = Convolution(channels, filters, 3, pad=1, bias=bias, rng=rng)
    return [conv, norm(filters), ReLU()]


def image_shape(network: str, given: Any) -> Shape:
    """The shape of an image as a network is given it.

    Raises
    ------
    ArgumentError
        It is not channels, height and width.
    """
    found = sizes("input_shape", given, "(1, 28, 28)")
    if len(found) != 3 or min(found) < 1:
        raise ArgumentError(
            f"{network} takes images: input_shape must be (channels, height, width), such as "
            f"(1, 28, 28), got {found}"
        )
    return found


def features_behind(network: str, layers: Mapping[str, Layer], image: Shape) -> int:
    """The numbers that layers make of an image, which the affine layers then read.

    Raises
    ------
    ArgumentError
        The image is too small for so many steps; the message says how large it must be.
    """
    body = Sequential(layers)
    try:
        return prod(body.output_shape(image))
    except ArgumentError as error:
        channels, height, width = image
        for size in range(min(height, width) + 1, LARGEST):
            try:
                body.output_shape((channels, max(height, size), max(width, size)))
            except ArgumentError:
                continue
            raise ArgumentError(
                f"{network} needs images of at least {size} x {size} pixels, got "
                f"{height} x {width}; enlarge them, or use a network with fewer pools"
            ) from None
        raise ArgumentError(f"{network} does not take images of {image}: {error}") from None


def numbered(layers: Iterable[Layer]) -> dict[str, Layer]:
    """Layers called 0, 1, 2, ..., as in PyTorch's rows."""
    return {str(k): layer for k, layer in enumerate(layers)}
