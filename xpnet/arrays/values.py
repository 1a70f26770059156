"""What users give as arrays, and what the numbers in them mean: one rule for all who take them."""

from collections.abc import Iterator, Mapping
from functools import cache
from numbers import Real
from typing import Any, Literal, TypeAlias

import array_api_compat
import numpy as np

from xpnet.arrays.namespace import Array, array_namespace
from xpnet.errors import ArgumentError

Kind: TypeAlias = Literal["floats", "pixels", "integers", "bool", ""]
"""What the numbers of an array are; "" if they are none that can be computed with."""


@cache
def _kind(xp: Any, dtype: Any) -> Kind:
    """Name the kind of a dtype; asked once for each, as a small step would notice."""
    if xp.isdtype(dtype, "real floating"):
        return "floats"
    if xp.isdtype(dtype, "integral"):
        return "pixels" if dtype == xp.uint8 else "integers"
    return "bool" if xp.isdtype(dtype, "bool") else ""


def kind_of_numbers(x: Array) -> Kind:
    """Name what the numbers of an array are."""
    return _kind(array_namespace(x), x.dtype)


def as_array(given: Any, what: str = "") -> Array:
    """What was given as an array of numbers: lists and tables, such as DataFrames, are converted.

    An array of any library stays as it is.

    Parameters
    ----------
    what : it is, such as "inputs", for the error

    Raises
    ------
    ArgumentError
        It is no array of numbers: text, objects, complex numbers, or a masked array, whose hidden
        values would be taken for numbers.
    """
    array = given if type(given) is np.ndarray else _converted(given)
    if not kind_of_numbers(array):
        told = f"{what}: " if what else ""
        raise ArgumentError(told + _no_numbers(array.dtype, _column_without_numbers(given)))
    return array


def _column_without_numbers(given: Any) -> Any:
    """The name of a table's first column with anything else in it; None if that is not known."""
    columns, values = getattr(given, "columns", None), getattr(given, "to_numpy", None)
    if columns is None or values is None or (found := np.asarray(values())).ndim != 2:
        return None
    for name, column in zip(columns, found.T, strict=False):
        if not all(isinstance(value, Real | np.bool_) for value in column):
            return name
    return None


def _converted(given: Any) -> Array:
    for part in given if isinstance(given, list | tuple) else [given]:
        if isinstance(part, np.ma.MaskedArray):
            array_namespace(part)  # which refuses it
    if isinstance(given, np.ndarray | np.generic):
        return np.asarray(given)
    if array_api_compat.is_array_api_obj(given):
        return given
    try:
        if callable(to_numpy := getattr(given, "to_numpy", None)):
            found = np.asarray(to_numpy())
            # Columns of different types become objects, though all may be numbers.
            return np.asarray(found.tolist()) if found.dtype.kind == "O" else found
        if hasattr(given, "__array__") or isinstance(given, list | tuple | bool | int | float):
            return np.asarray(given)
    except (TypeError, ValueError) as error:  # such as of rows of different lengths
        raise ArgumentError(
            f"an array of numbers is needed, got {type(given).__name__} that becomes none: {error}"
        ) from None
    raise ArgumentError(
        f"an array of numbers is needed, got {type(given).__name__}; convert it first, for "
        "instance with numpy.asarray"
    )


def _no_numbers(dtype: Any, column: Any = None) -> str:
    what, remedy = f"{dtype}", "give integers or floats"
    if column is not None:
        remedy = "leave it out, or bring what is in it to numbers"
        return f"numbers are needed, real ones, got others in column {column!r}; {remedy}"
    if getattr(dtype, "kind", "") in ("U", "S", "T"):
        what = f"text ({dtype})"
        remedy = (
            "where these are names of classes, number them, as "
            "numpy.unique(t, return_inverse=True)[1] does"
        )
    return f"numbers are needed, real ones, got {what}; {remedy}"


def scaled(x: Array, dtype: Any) -> Array:
    """Inputs as floats of that dtype: pixels, uint8, are divided by 255, all else is as it is.

    So False and True are 0 and 1, other integers the same number, floats themselves.

    Raises
    ------
    ArgumentError
        They are no real numbers.
    """
    if x.dtype == dtype:
        return x
    xp, kind = array_namespace(x), kind_of_numbers(x)
    if not kind:
        raise ArgumentError(_no_numbers(x.dtype))
    floats = xp.astype(x, dtype)
    return floats / 255.0 if kind == "pixels" else floats


def floating(x: Array) -> Array:
    """Integers and booleans as float64; floats, and numbers of Python, as they are.

    For formulas: in small integers sums and products wrap around, and in unsigned ones negatives.

    Raises
    ------
    ArgumentError
        It is no array of real numbers, nor a number.
    """
    xp = array_namespace(x)
    if not hasattr(x, "dtype"):
        return x
    kind = _kind(xp, x.dtype)
    if not kind:
        raise ArgumentError(_no_numbers(x.dtype))
    return x if kind == "floats" else xp.astype(x, xp.float64)


def floats_among(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Those that hold floats: of what training changes, what was learned, and no counters."""
    return {
        name: array
        for name, array in arrays.items()
        if array_namespace(array).isdtype(array.dtype, "real floating")
    }


def in_parts(n: int, size: int) -> Iterator[slice]:
    """Slices of n things, `size` at a time; the last one may be shorter.

    None ends behind the n-th: what such a slice of an array gives, the array API does not say.
    """
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def check_same_shape(what: str, x: Array, y: Array) -> None:
    """Refuse two arrays of different shapes, of which broadcasting would make more pairs.

    Raises
    ------
    ArgumentError
        The shapes differ.
    """
    shapes = tuple(getattr(x, "shape", ())), tuple(getattr(y, "shape", ()))
    if shapes[0] != shapes[1]:
        raise ArgumentError(
            f"{what} needs two arrays of one shape, got {shapes[0]} and {shapes[1]}; reshape one"
        )
