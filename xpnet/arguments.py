"""Arguments of the kinds that annotations name: asked at once, and in one way everywhere."""

import inspect
import types
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import numpy as np

from xpnet.errors import ArgumentError

F = TypeVar("F", bound=Callable[..., Any])

SEEDS = ("rng", "seed")
"""Names of arguments that are not negative, if they are numbers."""


class _Kind(NamedTuple):
    """A test of values, and what passes it, in words."""

    fits: Callable[[Any], bool]
    words: str


def checked(function: F, *, but: tuple[str, ...] = ()) -> F:
    """Have a function, or a class's constructor, refuse what its annotations do not name.

    A whole number is an `int`, any real one a `float`, and True is none; `bool` takes 0 and 1, too.
    Of a `Literal` one of its words is needed, of a class an instance. Whether numbers are in range
    is for the function to say, and so is all about arrays, sequences and mappings.

    Parameters
    ----------
    but : arguments that the function asks for in its own words
    """
    if isinstance(function, type):
        function.__init__ = checked(function.__init__, but=but)  # type: ignore[misc]
        return function
    signature = inspect.signature(function)
    of_class = function.__name__ == "__init__"
    kinds = {
        name: kind
        for name, parameter in signature.parameters.items()
        if name not in but
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and (kind := _kind_of(name, parameter.annotation)) is not None
    }

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            given = signature.bind(*arguments, **named).arguments
        except TypeError:  # which Python tells better
            return function(*arguments, **named)
        for name, value in given.items():
            if name in kinds and not kinds[name].fits(value):
                owner = type(arguments[0]).__name__ if of_class else function.__name__
                raise ArgumentError(_refusal(name, owner, kinds[name].words, value))
        return function(*arguments, **named)

    return call  # type: ignore[return-value]


def check_word(name: str, owner: str, given: Any, *words: str) -> None:
    """Refuse what is none of some words, where a call is too short to be `checked`."""
    if not isinstance(given, str) or given not in words:
        raise ArgumentError(_refusal(name, owner, _listed(words), given))


def check_number(name: str, owner: str, given: Any) -> None:
    """Refuse what is no real number, such as one of several that a mapping holds."""
    if not real(given):
        raise ArgumentError(_refusal(name, owner, _PLAIN[float].words, given))


def check_whole(owner: str, **given: Any) -> None:
    """Refuse what are no whole numbers, where a call is too short to be `checked`."""
    for name, value in given.items():
        if not whole(value):
            raise ArgumentError(_refusal(name, owner, _PLAIN[int].words, value))


def whole(value: Any) -> bool:
    """Tell whether a value is a whole number, which True is not."""
    # Asked first, as what is derived from a base class is looked up.
    return type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))


def real(value: Any) -> bool:
    """Tell whether a value is a real number, which True is not."""
    return isinstance(value, Real) and not isinstance(value, bool)


def whole_numbers(given: Any) -> tuple[int, ...] | None:
    """Return several whole numbers as Python's own; None if anything in it is no whole number."""
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes)
    several = several and getattr(given, "ndim", 1) > 0  # arrays of one number are no row of them
    found = tuple(given) if several else (None,)
    if not all(map(whole, found)):
        return None
    return tuple(int(each) for each in found)


def one_or_several(given: Any, *counts: int) -> tuple[int, ...] | None:
    """Return one whole number twice, or several if there are so many; None for anything else."""
    found = (int(given), int(given)) if whole(given) else whole_numbers(given)
    return found if found is not None and len(found) in counts else None


def _refusal(name: str, owner: str, words: str, given: Any) -> str:
    shown = f"{given!r:.200}"
    if isinstance(given, type):
        usual = repr(given.__name__) if issubclass(given, np.generic) else f"{given.__name__}(...)"
        shown = f"the class {given.__name__}; give {usual}"
    whose = f"{owner}'s {name}" if words.startswith("'") else f"{name} of {owner}"
    return f"{whose} must be {words}, got {shown}"


def _listed(words: tuple[str, ...]) -> str:
    *others, last = map(repr, words)
    return f"{', '.join(others)} or {last}" if others else last


def _kind_of(name: str, annotation: Any) -> _Kind | None:
    """All that an annotation admits; None if it names what is not told here."""
    found = [_single(each) for each in _members(annotation)]
    kinds = [kind for kind in found if kind is not None]
    if len(kinds) < len(found):
        return None
    seed, words = name in SEEDS, " or ".join(kind.words for kind in kinds if kind.words != "None")
    if seed:
        words = words.replace(_PLAIN[int].words, "a whole number from 0")

    def fits(value: Any) -> bool:
        return any(kind.fits(value) for kind in kinds) and not (seed and whole(value) and value < 0)

    return _Kind(fits, words)


def _members(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from _members(each)
    else:
        yield annotation


def _single(kind: Any) -> _Kind | None:
    if kind in _PLAIN:
        return _PLAIN[kind]
    if get_origin(kind) is Literal:
        words = get_args(kind)
        return _Kind(lambda value: isinstance(value, str) and value in words, _listed(words))
    if get_origin(kind) is Callable:
        return _Kind(lambda value: callable(value) and not isinstance(value, type), "a function")
    if not isinstance(kind, type) or not kind.__module__.startswith("xpnet."):
        return None
    if not getattr(kind, "_is_protocol", False):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        return _Kind(lambda value: isinstance(value, kind), f"{article} {kind.__name__}")
    methods = [name for name, each in vars(kind).items() if name[0] != "_" and callable(each)]
    return _Kind(
        lambda value: (
            not isinstance(value, type)
            and all(callable(getattr(value, name, None)) for name in methods)
        ),
        f"something with {' and '.join(methods)}, as a {kind.__name__} has",
    )


def _true_or_false(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or (whole(value) and value in (0, 1))


_PLAIN: dict[Any, _Kind] = {
    types.NoneType: _Kind(lambda value: value is None, "None"),
    bool: _Kind(_true_or_false, "True or False"),
    int: _Kind(whole, "a whole number, such as 3"),
    float: _Kind(real, "a number, such as 0.5"),
    str: _Kind(lambda value: isinstance(value, str), "text"),
    Path: _Kind(lambda value: isinstance(value, Path), "a path"),
    np.random.Generator: _Kind(
        lambda value: isinstance(value, np.random.Generator), "a generator of NumPy"
    ),
}
