"""Sizes, given as one whole number or as several."""

from collections.abc import Iterable
from typing import Any

from xpnet.arguments import whole
from xpnet.errors import ArgumentError
from xpnet.layers.base import Shape


def height_and_width(kind: str, name: str, given: Any) -> tuple[int, int]:
    """A size of images, given as one whole number for both or as two."""
    pair = (given, given) if whole(given) else _whole_numbers(given)
    if pair is None or len(pair) != 2:
        raise ArgumentError(
            f"{name} of {kind} must be a whole number, or two for height and width, such as 3 or "
            f"(3, 5), got {given!r}"
        )
    return int(pair[0]), int(pair[1])


def sizes(name: str, given: Any, example: str) -> Shape:
    """Several whole numbers, such as the shape of a sample."""
    found = _whole_numbers(given)
    if found is None:
        raise ArgumentError(f"{name} must be whole numbers, such as {example}, got {given!r}")
    return found


def _whole_numbers(given: Any) -> Shape | None:
    """Return the numbers as Python's own; None if anything in it is no whole number."""
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes)
    several = several and getattr(given, "ndim", 1) > 0  # arrays of one number are no row of them
    found = tuple(given) if several else (None,)
    if not all(map(whole, found)):
        return None
    return tuple(int(size) for size in found)
