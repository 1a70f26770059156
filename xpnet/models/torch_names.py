"""Weights under the names that PyTorch gives them, as safetensors and in PyTorch's own files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xpnet.arrays import Array, to_numpy
from xpnet.arrays.values import floats_among
from xpnet.errors import WeightsError
from xpnet.files.weights import Weights, load_weights, save_weights
from xpnet.layers import Affine, Container
from xpnet.models.filling import check_floats
from xpnet.models.network import Network

NAMES = {
    "W": "weight",
    "b": "bias",
    "gamma": "weight",
    "beta": "bias",
    "running_mean": "running_mean",
    "running_var": "running_var",
}
"""The names that PyTorch's modules give to what the layers have."""

COUNTED = "num_batches_tracked"
"""The count of batches that PyTorch's batch normalization keeps; it is 0 here, and not read."""


class Place(NamedTuple):
    """An array of the network, with its name in PyTorch."""

    name: str
    array: Array
    transposed: bool


def places_of(network: Network) -> Iterator[Place]:
    """Every parameter and running statistic, by PyTorch's names."""
    for node in network.nodes():
        if isinstance(node.layer, Container):  # where its branches meet
            continue
        floats = floats_among(getattr(node.layer, "state", {}))
        for key, array in {**node.layer.params, **floats}.items():
            # PyTorch keeps the matrix of a fully connected layer as (n_out, n_in).
            transposed = isinstance(node.layer, Affine) and key == "W"
            yield Place(f"{node.name}.{NAMES.get(key, key)}", array, transposed)


def save_torch(network: Network, path: str | Path) -> None:
    """Write the weights under PyTorch's names: "layer1.0.conv1.weight" for "layer1.0.conv1.W".

    A PyTorch module whose children have the names of the layers takes them by
    `load_state_dict(safetensors.torch.load_file(path))`.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, array, transposed in places_of(network):
        host = to_numpy(array)
        arrays[name] = np.ascontiguousarray(host.T) if transposed else host
        if name.endswith(".running_var"):
            counted = name.removesuffix("running_var") + COUNTED
            arrays[counted] = np.zeros((), dtype=np.int64)
    save_weights(path, arrays, {"format": "pt"})


def load_torch(network: Network, path: str | Path, *, strict: bool = True) -> list[str]:
    """Take the weights of a file with PyTorch's names; `save_torch` explains them.

    The file is safetensors, or what `torch.save(module.state_dict(), path)` writes, whose pickle is
    read and not run. Of a dictionary with more in it, such as {"epoch": 3, "state_dict": {...}},
    the state_dict is taken, and told on standard error. Floats of any size become the network's.

    Parameters
    ----------
    strict : every array of the network is in the file, and no other. Otherwise what is missing, or
        of another shape, stays as it is in the network, and what it has no place for is passed over

    Returns
    -------
    The names, PyTorch's, of what was left as it was or passed over

    Raises
    ------
    WeightsError
        The file cannot be read, or does not fit; the network is then unchanged.
    """
    return fill_torch(network, load_weights(path), strict=strict)


def named_by_torch(weights: Weights) -> bool:
    """Tell whether a file has PyTorch's names."""
    return any(name.endswith(f".{NAMES['W']}") for name in weights.params)


def fill_torch(network: Network, weights: Weights, *, strict: bool = True) -> list[str]:
    """Copy arrays in, all or none; see `load_torch`."""
    given, path = weights.params, weights.path
    places = {place.name: place for place in places_of(network)}
    shapes = {
        name: tuple(place.array.shape)[:: -1 if place.transposed else 1]
        for name, place in places.items()
    }
    missing = [name for name in places if name not in given]
    other = [name for name in places if name in given and given[name].shape != shapes[name]]
    extra = sorted(n for n in given if n not in places and n.rpartition(".")[2] != COUNTED)
    if len(missing) + len(other) == len(places):
        if other:
            raise WeightsError(
                f"{path} holds nothing of this network's shapes: {other[0]} must have shape "
                f"{shapes[other[0]]}, got {given[other[0]].shape}"
            )
        raise WeightsError(
            f"{path} holds nothing for this network, which has {', '.join(list(places)[:4])}, ...; "
            f"got {', '.join(map(ascii, list(given)[:4])) or 'nothing'}"
        )
    if strict and missing:
        has = f", and has {_first(extra)} that the network has not" if extra else ""
        raise WeightsError(
            f"{path} lacks {_first(missing)}{has}; strict=False leaves what is missing as it is"
        )
    if strict and other:
        name = other[0]
        more = f" (and {len(other) - 1} more)" if other[1:] else ""
        raise WeightsError(
            f"{path}: {name} must have shape {shapes[name]}, got {given[name].shape}; "
            f"strict=False leaves it as it is{more}"
        )
    if strict and extra:
        raise WeightsError(
            f"{path} holds more than the network: {_first(extra)}; strict=False passes it over"
        )
    left = [*missing, *other]
    fitting = [name for name in places if name not in left]
    for name in fitting:
        check_floats(path, name, given[name], network.dtype)
    for name in fitting:
        place, got = places[name], given[name]
        numbers = got.T if place.transposed else got
        place.array[...] = network.device.asarray(numbers, dtype=network.dtype)
    network.params.apply_masks()
    return [*left, *extra]


def _first(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]!a}{more}"
