"""Networks by name, and networks in files."""

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backend import Device, to_numpy
from xpnet.errors import ArgumentError, WeightsError
from xpnet.layers import Affine, Layer
from xpnet.models.network import Network
from xpnet.models.two_layer_net import ACTIVATIONS, TwoLayerNet
from xpnet.weights import Weights, load_weights, save_weights

MODELS: dict[str, Callable[..., Network]] = {"two-layer-net": TwoLayerNet}
"""By the names that the command line takes and weight files hold."""


def build_network(model: str, arguments: Mapping[str, Any], **placement: Any) -> Network:
    """A fresh network, from arguments that its file keeps and from rng, device and dtype."""
    if model not in MODELS:
        raise ArgumentError(f"model {model!r} is unknown; use {', '.join(MODELS)}")
    return MODELS[model](**arguments, **placement)


def save_network(
    path: str | Path, network: Network, model: str, arguments: Mapping[str, Any]
) -> None:
    """Write the parameters, with what `load_network` needs to build the network again."""
    params = {name: to_numpy(array) for name, array in network.params.items()}
    description = {"model": model, "arguments": json.dumps(dict(arguments)), "dtype": network.dtype}
    save_weights(path, params, description)


def load_network(
    path: str | Path, *, activation: str | None = None, device: str | Device = "cpu"
) -> Network:
    """The network of a weight file.

    A file that `save_network` wrote names its network. Any other file, such as the pickles that
    the books publish, must hold W1, b1, W2, b2, ... of fully connected layers; what it cannot tell
    is the activation between them, which is the sigmoid of the books' published network if
    `activation` is None.

    Raises
    ------
    WeightsError
        The file cannot be read, or its arrays do not make up a network.
    """
    weights = load_weights(path)
    if "model" not in weights.metadata:
        return _dense_network(weights, activation or "sigmoid", device)
    if activation is not None:
        raise ArgumentError(f"{path} says itself what its activation is; leave out --activation")
    metadata = weights.metadata
    try:
        network = build_network(
            metadata["model"],
            json.loads(metadata["arguments"]),
            device=device,
            dtype=metadata["dtype"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path} describes a network that this version cannot build ({error}); "
            "train it again, or use the version of xpnet that wrote it"
        ) from error
    _fill(network, weights)
    return network


def _dense_network(weights: Weights, activation: str, device: str | Device) -> Network:
    sizes = _dense_sizes(weights)
    layers: list[Layer] = []
    for n_in, n_out in pairwise(sizes):
        layers += [Affine(n_in, n_out, std=0.0), ACTIVATIONS[activation]()]
    network = Network(layers[:-1], device=device)
    _fill(network, weights)
    return network


def _dense_sizes(weights: Weights) -> list[int]:
    """Units of each layer, read off W1, W2, ..."""
    params = weights.params
    count = len(params) // 2
    expected = [f"{kind}{k}" for k in range(1, count + 1) for kind in "Wb"]
    if not count or set(params) != set(expected):
        raise WeightsError(
            f"{weights.path} must hold W1, b1, W2, b2, ... of fully connected layers, "
            f"got {', '.join(map(ascii, sorted(params)[:8])) or 'nothing'}"
        )
    matrices = [params[f"W{k}"] for k in range(1, count + 1)]
    for k, W in enumerate(matrices, start=1):
        if W.ndim != 2 or 0 in W.shape:
            raise WeightsError(f"{weights.path}: W{k} must be a matrix, got shape {W.shape}")
    for k, (W, after) in enumerate(pairwise(matrices), start=1):
        if W.shape[1] != after.shape[0]:
            raise WeightsError(
                f"{weights.path}: W{k} {W.shape} and W{k + 1} {after.shape} do not fit together"
            )
    return [matrices[0].shape[0], *(W.shape[1] for W in matrices)]


def _fill(network: Network, weights: Weights) -> None:
    """Copy the arrays in, all or none."""
    for name, array in network.params.items():
        got = weights.params.get(name)
        if got is None or got.shape != tuple(array.shape):
            raise WeightsError(
                f"{weights.path}: {name} must have shape {tuple(array.shape)}, "
                f"got {'none' if got is None else got.shape}"
            )
        if got.dtype.kind != "f" or not np.isfinite(got).all():
            raise WeightsError(f"{weights.path}: {name} must hold finite floats, got {got.dtype}")
    if extra := set(weights.params) - set(network.params):
        raise WeightsError(f"{weights.path} holds more than the network: {min(extra)!a}")
    for name in network.params:
        network.params[name] = weights.params[name]
