"""Batch normalization folded into the layer before it."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import takewhile
from typing import Any

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, to_numpy
from xpnet.functions.targets import values_of
from xpnet.layers import (
    Affine,
    AuxiliaryHeads,
    BatchNorm,
    Concatenate,
    Container,
    Convolution,
    Heads,
    Identity,
    Layer,
    Residual,
    Sequential,
    Sum,
    TransposedConvolution,
    Unpooled,
)
from xpnet.models.network import Network
from xpnet.models.nodes import Node
from xpnet.models.plain import check_plain

REBUILT = (AuxiliaryHeads, Concatenate, Heads, Residual, Sequential, Sum, Unpooled)
"""Containers whose `arguments` say all of them."""

FOLDED = (Affine, Convolution, TransposedConvolution)
"""Layers that a norm behind them can be folded into."""


@checked
def fold_batch_norm(network: Network) -> Network:
    """A copy for inference, with each `BatchNorm` in the layer with weights that it follows.

        W <- W gamma / std,   b <- beta + (b - mean) gamma / std,   std = sqrt(var + eps)

    with the running statistics, for each filter or output; where there was no b there is one then.
    Up to rounding the copy predicts what the network predicts. Layers and parameters keep their
    names, and how they learn. Layers with weights are here `Affine`, `Convolution` and
    `TransposedConvolution`; a BatchNorm stays that follows another one, or one whose output others
    read, too. If the copy is trained on, what was folded is not normalized any more.

    Returns
    -------
    A `Network` of the same layers, whatever class the given one is of, that shares nothing with it

    Raises
    ------
    ArgumentError
        The network, or a layer, has a forward of its own.
    """
    check_plain(network)
    swapped: dict[int, Layer | None] = {}
    for weights, norms in _chains(network):
        swapped[id(weights.layer)] = _folded(weights.layer, [norm.layer for norm in norms])
        swapped |= {id(norm.layer): None for norm in norms}
    arguments = Network.arguments(network) | {"loss": deepcopy(network.last_layer)}
    given = arguments["layers"]
    layers = _row(given, swapped) if isinstance(given, dict) else _anew(given, swapped)
    other = Network(**(arguments | {"layers": layers}), device=network.device)
    _learn_alike(network, other)
    other.photographs = network.photographs
    return other


def norms_behind(nodes: Sequence[Node], outputs: int | dict[str, int]) -> dict[int, list[int]]:
    """Say what may be folded: by the number of a layer with weights, those of the norms behind it.

    Each norm is the only reader of the node before it.
    """
    read = [value for node in nodes for value in node.inputs] + values_of(outputs)
    found: dict[int, list[int]] = {}
    first: dict[int, int] = {}  # of a layer or a norm behind it, the number of the layer
    for number, node in enumerate(nodes):
        before = node.inputs[0]
        if type(node.layer) in FOLDED:
            found[number], first[number] = [], number
        elif type(node.layer) is BatchNorm and before in first and read.count(before) == 1:
            first[number] = first[before]
            found[first[before]].append(number)
    return {number: norms for number, norms in found.items() if norms}


def _chains(network: Network) -> Iterator[tuple[Node, list[Node]]]:
    """List the layers that have something folded into them, with what that is."""
    nodes = network.nodes()
    within = {id(layer) for layer in _reached(network.layers.values())}
    for number, behind in norms_behind(nodes, network.outputs).items():
        chain = [nodes[k] for k in (number, *behind)]
        chain = list(takewhile(lambda node: id(node.layer) in within, chain))
        if len(chain) > 1:
            yield chain[0], chain[1:]


def _reached(layers: Any) -> Iterator[Layer]:
    """List the layers, also those in containers that can be built anew."""
    for layer in layers:
        if type(layer) in REBUILT:
            yield from _reached(layer.children().values())
        elif not isinstance(layer, Container):
            yield layer


def _folded(layer: Any, norms: list[Any]) -> Layer:
    """A copy of the layer that does what the layers behind it do, too."""
    other: Layer = deepcopy(layer)
    other.params = folded_parameters(layer, norms)
    return other


def folded_parameters(layer: Any, norms: Sequence[Any]) -> dict[str, np.ndarray]:
    """W and b, in float64, with which a layer does what the layers behind it do, too."""
    own = {name: _in_float64(array) for name, array in layer.params.items()}
    axis = 0 if isinstance(layer, Convolution) else 1
    W = np.moveaxis(own["W"], axis, -1)
    b = own.get("b", np.zeros(W.shape[-1]))
    for norm in norms:
        gamma, beta = (_in_float64(norm.params[name]) for name in ("gamma", "beta"))
        mean, var = (_in_float64(norm.state[name]) for name in ("running_mean", "running_var"))
        scale = gamma / np.sqrt(var + norm.eps)
        W, b = W * scale, beta + (b - mean) * scale
    return {"W": np.moveaxis(W, -1, axis), "b": b}


def _in_float64(array: Array) -> np.ndarray:
    """An array on the host, with the digits in which it is folded."""
    return to_numpy(array).astype(np.float64)


def _row(layers: Mapping[str, Layer], swapped: Mapping[int, Layer | None]) -> dict[str, Layer]:
    """Layers in a row anew, without what was folded; something stays, even if it does nothing."""
    gone = {name for name, layer in layers.items() if swapped.get(id(layer), layer) is None}
    kept = [name for name in layers if name not in gone] or list(layers)[:1]
    return {name: _anew(layers[name], swapped) for name in kept}


def _anew(layer: Any, swapped: Mapping[int, Layer | None]) -> Layer:
    """A layer for the copy; what was folded does nothing any more."""
    if id(layer) in swapped:
        other = swapped[id(layer)]
        return Identity() if other is None else other
    made: Layer
    if type(layer) not in REBUILT:
        made = deepcopy(layer)
        return made
    # A head may read what was folded, by its name.
    dropped = type(layer) is not AuxiliaryHeads
    arguments = {
        name: _row(value, swapped) if name == "layers" and dropped else _each_anew(value, swapped)
        for name, value in layer.arguments().items()
    }
    made = type(layer)(**arguments)
    return made


def _each_anew(value: Any, swapped: Mapping[int, Layer | None]) -> Any:
    """An argument of a container, with the layers in it anew."""
    if isinstance(value, Mapping):
        return {name: _each_anew(each, swapped) for name, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_each_anew(each, swapped) for each in value)
    return _anew(value, swapped) if isinstance(value, Layer) else value


def _learn_alike(network: Network, other: Network) -> None:
    """Have parameters learn in the copy as they do in the network; a new b as its W does."""
    old = network.paths()
    other.thaw()
    for path, name in other.paths().items():
        like = old.get(path) or old[f"{path.rpartition('.')[0]}.W"]
        how = network.params.learning(like)
        other.scale_rate(how.rate, name)
        if how.frozen:
            other.freeze(name)
