"""Networks by name, and networks in files."""

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.arrays import Device, to_numpy
from xpnet.errors import ArgumentError, WeightsError
from xpnet.files.weights import Weights, load_weights, save_weights
from xpnet.layers import Affine, Layer
from xpnet.models.conv_nets import DeepConvNet, SimpleConvNet
from xpnet.models.multi_layer_net import MultiLayerNet, MultiLayerNetExtend
from xpnet.models.network import Network
from xpnet.models.two_layer_net import ACTIVATIONS, TwoLayerNet


class Model(NamedTuple):
    """A kind of network, and how the book trains it."""

    build: Callable[..., Network]
    optimizer: str
    lr: float
    epochs: int


MODELS = {
    "two-layer-net": Model(TwoLayerNet, "sgd", 0.1, 17),
    "multi-layer-net": Model(MultiLayerNet, "sgd", 0.01, 20),
    "multi-layer-net-extend": Model(MultiLayerNetExtend, "sgd", 0.01, 20),
    "simple-convnet": Model(SimpleConvNet, "adam", 0.001, 20),
    "deep-convnet": Model(DeepConvNet, "adam", 0.001, 20),
}
"""By the names that weight files hold; the command line offers some of them."""

_UNBUILDABLE = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)
"""What a description that fits no network can raise; being out of memory is none of its faults."""


class _NoDraws(np.random.Generator):
    """Zeros for initial weights that a file is about to replace, and not many more than it holds.

    A description is as little to be trusted as the rest of a file: it could ask for a layer, or for
    many, that no memory holds. One array may be as large as the largest in the file, all together
    twice as large as the file's, so that a network that does not fit is told by its shapes.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__(np.random.PCG64(0))
        sizes = [array.size for array in weights.params.values()]
        self._largest, self._left = max(sizes, default=0), 2 * sum(sizes)
        self._path = weights.path

    def standard_normal(self, size: Any = None, *_: Any) -> Any:  # type: ignore[override]
        self._left -= prod(size)
        if prod(size) > self._largest or self._left < 0:
            raise WeightsError(f"{self._path} describes a layer of {size}, and holds no such array")
        return np.zeros(size)


def build_network(model: str, arguments: Mapping[str, Any], **placement: Any) -> Network:
    """A fresh network, from arguments that its file keeps and from rng, device and dtype."""
    if model not in MODELS:
        raise ArgumentError(f"model {model!r} is unknown; use {', '.join(MODELS)}")
    return MODELS[model].build(**arguments, **placement)


def save_network(
    path: str | Path, network: Network, model: str, arguments: Mapping[str, Any]
) -> None:
    """Write the network's arrays, with what `load_network` needs to build it again."""
    arrays = {name: to_numpy(array) for name, array in network.file_arrays().items()}
    description = {"model": model, "arguments": json.dumps(dict(arguments)), "dtype": network.dtype}
    save_weights(path, arrays, description)


def load_network(
    path: str | Path, *, activation: str | None = None, device: str | Device = "cpu"
) -> Network:
    """The network of a weight file.

    A file that `save_network` wrote names its network. Any other file, such as the pickles that
    the books publish, holds W1, b1, W2, b2, ...: filters first make it a SimpleConvNet or a
    DeepConvNet for MNIST's images. Matrices alone make it fully connected layers; what the file
    cannot tell is the activation between them, which is the sigmoid of the book's published network
    if `activation` is None.

    Raises
    ------
    WeightsError
        The file cannot be read, or its arrays do not make up a network.
    """
    weights = load_weights(path)
    if "model" not in weights.metadata:
        if getattr(weights.params.get("W1"), "ndim", 0) == 4:
            return _conv_network(weights, activation, device)
        return _dense_network(weights, activation or "sigmoid", device)
    if activation is not None:
        raise ArgumentError(f"{path} says itself what its activation is; leave out --activation")
    metadata = weights.metadata
    try:
        network = build_network(
            metadata["model"],
            json.loads(metadata["arguments"]),
            rng=_NoDraws(weights),
            device=device,
            dtype=metadata["dtype"],
        )
    except _UNBUILDABLE as error:
        raise WeightsError(
            f"{path} describes a network that this version cannot build ({error}); "
            "train it again, or use the version of xpnet that wrote it"
        ) from error
    network.fill(weights)
    return network


def _dense_network(weights: Weights, activation: str, device: str | Device) -> Network:
    sizes = _dense_sizes(weights)
    layers: list[Layer] = []
    for n_in, n_out in pairwise(sizes):
        layers += [Affine(n_in, n_out, std=0.0), ACTIVATIONS[activation]()]
    network = Network(layers[:-1], device=device)
    network.fill(weights)
    return network


def _conv_network(weights: Weights, activation: str | None, device: str | Device) -> Network:
    if activation is not None:
        raise ArgumentError("the book's convolutional networks use ReLU; leave out --activation")
    shapes = [array.shape for name, array in sorted(weights.params.items()) if name.startswith("W")]
    kinds = [len(shape) for shape in shapes]
    try:
        if kinds == [4, 2, 2]:
            (filters, channels, size, _), (_, hidden), (_, outputs) = shapes
            param = {"filter_num": filters, "filter_size": size}
            network: Network = SimpleConvNet(
                (channels, 28, 28), param, hidden, outputs, rng=_NoDraws(weights), device=device
            )
        elif kinds == [4] * 6 + [2, 2]:
            sizes: dict[str, Any] = {"hidden_size": shapes[6][1], "output_size": shapes[7][1]}
            for k, (filters, _, size, _) in enumerate(shapes[:6], start=1):
                sizes[f"conv_param_{k}"] = {"filter_num": filters, "filter_size": size}
            network = DeepConvNet(
                (shapes[0][1], 28, 28), **sizes, rng=_NoDraws(weights), device=device
            )
        else:
            raise ArgumentError(f"its weights have {kinds} axes")
    except ArgumentError as error:
        raise WeightsError(
            f"{weights.path} begins with filters, but is neither a SimpleConvNet nor a DeepConvNet "
            f"for 28 x 28 images ({error})"
        ) from error
    network.fill(weights)
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
