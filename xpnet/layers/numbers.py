"""Sizes and steps, given as one whole number or as several."""

from typing import Any

from xpnet.arguments import one_or_several, whole, whole_numbers
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import Pad, Stride, pads_of, strides_of
from xpnet.layers.base import Leaf, Shape


def height_and_width(kind: str, name: str, given: Any) -> tuple[int, int]:
    """A size of images, given as one whole number for both or as two."""
    if (pair := one_or_several(given, 2)) is None:
        raise ArgumentError(
            f"{name} of {kind} must be a whole number, or two for height and width, such as 3 or "
            f"(3, 5), got {given!r}"
        )
    height, width = pair
    return height, width


def sizes(name: str, given: Any, example: str) -> Shape:
    """Several whole numbers, such as the shape of a sample."""
    found = whole_numbers(given)
    if found is None:
        raise ArgumentError(f"{name} must be whole numbers, such as {example}, got {given!r}")
    return found


class Windowed(Leaf):
    """A layer that moves a window over images in steps, with padding around them.

    Attributes
    ----------
    stride, pad : as they were given, of Python's own kinds
    """

    stride: Any
    pad: Any

    def _move_by(self, kind: str, stride: Stride, pad: Pad) -> None:
        strides, pads, several = strides_of(stride, kind), pads_of(pad, kind), whole_numbers(pad)
        self.stride = strides[0] if whole(stride) else strides
        self.pad = pads[0] if whole(pad) else several

    @property
    def strides(self) -> tuple[int, int]:
        """Steps of the window down and across."""
        return strides_of(self.stride)

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Rows and columns around an image, at the top, the left, the bottom and the right."""
        return pads_of(self.pad)
