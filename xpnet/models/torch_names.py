"""Weights under the names that PyTorch gives them, in safetensors files."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xpnet.arrays import Array, to_numpy
from xpnet.errors import WeightsError
from xpnet.files.weights import load_weights, save_weights
from xpnet.layers import Affine
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


class _Place(NamedTuple):
    """An array of the network, with its name in PyTorch."""

    name: str
    array: Array
    transposed: bool


def _places(network: Network) -> Iterator[_Place]:
    """Every parameter and running statistic, by PyTorch's names."""
    for node in network.nodes():
        arrays = {**node.layer.params, **getattr(node.layer, "state", {})}
        for key, array in arrays.items():
            if key in NAMES:
                # PyTorch keeps the matrix of a fully connected layer as (n_out, n_in).
                transposed = isinstance(node.layer, Affine) and key == "W"
                yield _Place(f"{node.name}.{NAMES[key]}", array, transposed)


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
    for name, array, transposed in _places(network):
        host = to_numpy(array)
        arrays[name] = np.ascontiguousarray(host.T) if transposed else host
        if name.endswith(".running_var"):
            counted = name.removesuffix("running_var") + COUNTED
            arrays[counted] = np.zeros((), dtype=np.int64)
    save_weights(path, arrays, {"format": "pt"})


def load_torch(network: Network, path: str | Path, *, strict: bool = True) -> list[str]:
    """Take the weights of a safetensors file with PyTorch's names; `save_torch` explains them.

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
    given = load_weights(path).params
    places = {place.name: place for place in _places(network)}
    extra = [n for n in given if n not in places and not n.endswith(f".{COUNTED}")]
    fitting: dict[str, np.ndarray] = {}
    problems = {}
    for name, place in places.items():
        want = tuple(place.array.shape)[:: -1 if place.transposed else 1]
        got = given.get(name)
        if got is None or got.shape != want:
            problems[name] = f"must have shape {want}, got {'none' if got is None else got.shape}"
        elif got.dtype.kind != "f" or not np.isfinite(got).all():
            kind = f"NaN or infinity in {got.dtype}" if got.dtype.kind == "f" else got.dtype
            raise WeightsError(f"{path}: {name} must hold finite floats, got {kind}")
        else:
            fitting[name] = got.T if place.transposed else got
    if strict and problems:
        name, problem = next(iter(problems.items()))
        raise WeightsError(f"{path}: {name} {problem}; strict=False leaves it as it is")
    if strict and extra:
        raise WeightsError(
            f"{path} holds more than the network: {extra[0]!a}; strict=False passes it over"
        )
    if not fitting:
        raise WeightsError(
            f"{path} holds nothing for this network, which has {', '.join(list(places)[:4])}, ...; "
            f"got {', '.join(map(ascii, list(given)[:4])) or 'nothing'}"
        )
    for name, array in fitting.items():
        places[name].array[...] = network.device.asarray(array, dtype=network.dtype)
    network.params.apply_masks()
    return [*problems, *extra]
