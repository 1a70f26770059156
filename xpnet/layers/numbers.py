"""Arguments of layers and losses that must be numbers, asked before anything is made of them."""

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from xpnet.errors import ArgumentError
from xpnet.layers.base import Shape


def check_whole(kind: str, **given: Any) -> None:
    """Refuse arguments of a class that are no whole numbers, by their names."""
    for name, value in given.items():
        if not isinstance(value, Integral):
            raise ArgumentError(
                f"{name} of {kind} must be a whole number, such as 3, got {value!r}"
            )


def check_number(kind: str, **given: Any) -> None:
    """Refuse arguments of a class that are no numbers, by their names."""
    for name, value in given.items():
        if not isinstance(value, Real):
            raise ArgumentError(f"{name} of {kind} must be a number, such as 0.5, got {value!r}")


def check_std(kind: str, std: Any) -> None:
    """Refuse what cannot be the spread of initial weights: a number, a rule's name or None."""
    if std is not None and not isinstance(std, str):
        check_number(kind, std=std)


def height_and_width(kind: str, name: str, given: Any) -> tuple[int, int]:
    """A size of images, given as one whole number for both or as two."""
    pair = (given, given) if isinstance(given, Integral) else _whole_numbers(given)
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
    found = tuple(given) if isinstance(given, Iterable) else (None,)
    if not all(isinstance(size, Integral) for size in found):
        return None
    return tuple(int(size) for size in found)
