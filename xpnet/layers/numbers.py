"""Sizes, given as one whole number or as several."""

from typing import Any

from xpnet.arguments import whole, whole_numbers
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import Pad, Stride, pads_of, strides_of
from xpnet.layers.base import Shape


def height_and_width(kind: str, name: str, given: Any) -> tuple[int, int]:
    """A size of images, given as one whole number for both or as two."""
    pair = (given, given) if whole(given) else whole_numbers(given)
    if pair is None or len(pair) != 2:
        raise ArgumentError(
            f"{name} of {kind} must be a whole number, or two for height and width, such as 3 or "
            f"(3, 5), got {given!r}"
        )
    return int(pair[0]), int(pair[1])


def sizes(name: str, given: Any, example: str) -> Shape:
    """Several whole numbers, such as the shape of a sample."""
    found = whole_numbers(given)
    if found is None:
        raise ArgumentError(f"{name} must be whole numbers, such as {example}, got {given!r}")
    return found


def steps_and_padding(kind: str, stride: Stride, pad: Pad) -> tuple[Stride, Pad]:
    """Steps of a window and its padding as they were given, of Python's own kinds."""
    strides, pads = strides_of(stride, kind), pads_of(pad, kind)
    several: Any = whole_numbers(pad)
    return strides[0] if whole(stride) else strides, pads[0] if whole(pad) else several
