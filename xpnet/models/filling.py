"""Arrays of a weight file, by the names of a network."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from xpnet.errors import WeightsError
from xpnet.files.weights import Weights
from xpnet.functions.rounding import rounded
from xpnet.layers import Params
from xpnet.models.names import book_names

Kept: TypeAlias = Literal["float16", "bfloat16", "float32", "float64"]
"""How a weight file can keep its numbers."""


def kept_as(arrays: Mapping[str, np.ndarray], dtype: Kept) -> dict[str, np.ndarray]:
    """Arrays as a weight file is to keep them; what is to be bfloat16 is rounded, and float32.

    Raises
    ------
    WeightsError
        A number is too large for that.
    """
    found = {}
    for name, array in arrays.items():
        with np.errstate(over="ignore"):
            if dtype in ("float16", "bfloat16"):
                array = rounded(array, dtype)
            kind = "float32" if dtype == "bfloat16" else dtype
            found[name] = narrow = array.astype(kind)
        if not np.array_equal(np.isfinite(narrow), np.isfinite(arrays[name])):
            largest = float(np.max(np.abs(arrays[name][np.isfinite(arrays[name])])))
            raise WeightsError(
                f"{name} holds {largest:g}, which is more than {dtype} can keep; save it as "
                f"{'bfloat16' if dtype == 'float16' else 'float64'}"
            )
    return found


def fitting(
    weights: Weights, own: Params, names: Mapping[str, str], *, needed: Collection[str]
) -> dict[str, np.ndarray]:
    """The file's array for each of a network's own.

    Parameters
    ----------
    own : arrays that are to be filled
    names : of the parameters, by their paths
    needed : names of statistics

    Raises
    ------
    WeightsError
        A name is missing or too many, a shape differs, or numbers are no finite floats.
    """
    given = weights.params
    if given.keys() != own.keys() and (others := _other_names(given.keys(), names)) is not None:
        given = {others.get(name, name): array for name, array in given.items()}
    for name, array in own.items():
        got = given.get(name)
        if got is None and name in needed:
            raise WeightsError(
                f"{weights.path} lacks {name}, without which the network cannot classify; "
                "use a file that save_params wrote"
            )
        if got is None or got.shape != tuple(array.shape):
            torch = got is None and any(other.endswith(".weight") for other in given)
            raise WeightsError(
                f"{weights.path}: {name} must have shape {tuple(array.shape)}, "
                f"got {'none' if got is None else got.shape}"
                f"{'; names such as PyTorch has are for load_torch' if torch else ''}"
            )
        check_floats(weights.path, name, got, str(array.dtype).rpartition(".")[2])
    if extra := given.keys() - own.keys():
        raise WeightsError(f"{weights.path} holds more than the network: {min(extra)!a}")
    return given


def check_floats(path: Path | str, name: str, got: np.ndarray, dtype: str) -> None:
    """Refuse what would be no finite floats in a network of this dtype.

    Raises
    ------
    WeightsError
        There are integers, NaN or infinity, or numbers that float32 has no room for.
    """
    if got.dtype.kind != "f":
        raise WeightsError(f"{path}: {name} must hold finite floats, got {got.dtype}")
    with np.errstate(over="ignore"):
        finite = bool(np.isfinite(got.astype(dtype, copy=False)).all())
    if finite:
        return
    if np.isfinite(got).all():
        raise WeightsError(
            f"{path}: {name} has numbers in {got.dtype} that are too large for {dtype}; give the "
            "network that dtype"
        )
    raise WeightsError(
        f"{path}: {name} must hold finite floats, got NaN or infinity in {got.dtype}"
    )


def _other_names(given: Collection[str], names: Mapping[str, str]) -> dict[str, str] | None:
    """Map the names in a file, paths or the books', to the network's; None for others."""
    for others in (list(names), book_names(list(names), strict=False).values()):
        found = dict(zip(others, names.values(), strict=True))
        if len(found) == len(names) and found.keys() <= set(given):
            return found
    return None
