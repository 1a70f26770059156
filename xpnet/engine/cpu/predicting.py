"""What a network computes for predictions: less than it does to learn."""

from collections.abc import Collection, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from xpnet.layers import Affine, BatchNorm, Convolution, Dropout, Identity, Layer
from xpnet.models.folding import folded_parameters
from xpnet.models.nodes import INPUT, Node

Outputs = int | dict[str, int]


class Folded:
    """A layer that does what the `BatchNorm` behind it do, too, by their running statistics.

    Attributes
    ----------
    layer : a copy of the layer, with parameters of its own, which are right after `follow`
    """

    def __init__(self, original: Layer) -> None:
        self._original, self._norms = original, list[Any]()
        self._before: list[np.ndarray] | None = None
        self.layer = deepcopy(original)
        W = original.params["W"]
        outputs = W.shape[0] if isinstance(original, Convolution) else W.shape[1]
        self.layer.params = {"W": W.copy(), "b": np.zeros(outputs, dtype=W.dtype)}

    def add(self, norm: Any) -> None:
        """Do what one more does."""
        self._norms.append(norm)

    def follow(self) -> None:
        """Take up the parameters and the statistics, if they are not as they were before."""
        now = [*self._original.params.values()]
        for norm in self._norms:
            now += [*norm.params.values(), *norm.state.values(), np.asarray(norm.eps)]
        before = self._before
        if before is not None and all(map(np.array_equal, before, now)):
            return
        self._before = None  # in case that it is broken off
        for name, array in folded_parameters(self._original, self._norms).items():
            np.copyto(self.layer.params[name], array, casting="same_kind")
        self._before = [array.copy() for array in now]


class Predicting:
    """The nodes of a network that predictions take.

    What no output needs is left out, and so is what does nothing but while training. A `BatchNorm`
    is folded into the fully connected layer or the convolution of which it is the only reader.

    Parameters
    ----------
    nodes : of the network
    outputs : the number of the node that is to be predicted, or numbers by name

    Attributes
    ----------
    nodes, outputs : likewise
    folds : whether anything was folded, so that results may be rounded otherwise
    """

    def __init__(self, nodes: Sequence[Node], outputs: Outputs) -> None:
        idle = {number for number, node in enumerate(nodes) if _does_nothing(node.layer)}
        nodes, outputs = _without(idle, nodes, outputs)
        read = [value for node in nodes for value in node.inputs] + _numbers(outputs)
        within: dict[int, int] = {}  # of a layer or a norm behind it, the number of the layer
        self._folded: dict[int, Folded] = {}
        for number, node in enumerate(nodes):
            before = node.inputs[0]
            if type(node.layer) in (Affine, Convolution):
                within[number] = number
            elif type(node.layer) is BatchNorm and before in within and read.count(before) == 1:
                within[number] = first = within[before]
                folded = self._folded.setdefault(first, Folded(nodes[first].layer))
                folded.add(node.layer)
        folding = [
            # Under another name, for kernels find what they have prepared by their names.
            node._replace(name=f"{node.name} folded", layer=self._folded[number].layer)
            if number in self._folded
            else node
            for number, node in enumerate(nodes)
        ]
        gone = {number for number, first in within.items() if number != first}
        self.nodes, self.outputs = _without(gone, folding, outputs)
        self.folds = bool(self._folded)

    def follow(self) -> None:
        """Take up the parameters and the statistics as they are now."""
        for folded in self._folded.values():
            folded.follow()


def _does_nothing(layer: Layer) -> bool:
    """Tell whether a layer puts out what it reads, but while it is training."""
    return type(layer) is Identity or (type(layer) is Dropout and layer.inverted)


def _numbers(outputs: Outputs) -> list[int]:
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


def _without(
    gone: Collection[int], nodes: Sequence[Node], outputs: Outputs
) -> tuple[list[Node], Outputs]:
    """Leave out some nodes, whose readers then read what they read, and all that no output needs.

    What reads the network's input stays: an output must be a node's.
    """
    needed = set(_numbers(outputs))
    for number in range(len(nodes) - 1, INPUT, -1):
        if number in needed:
            needed.update(nodes[number].inputs)
    place, found = {INPUT: INPUT}, list[Node]()
    for number, node in enumerate(nodes):
        if number not in needed:
            continue
        inputs = tuple(place[value] for value in node.inputs)
        if number in gone and inputs[0] != INPUT:
            place[number] = inputs[0]
        else:
            place[number] = len(found)
            found.append(node._replace(inputs=inputs))
    if isinstance(outputs, dict):
        return found, {name: place[number] for name, number in outputs.items()}
    return found, place[outputs]
