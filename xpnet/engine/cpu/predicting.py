"""What a network computes for predictions: less than it does to learn."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from xpnet.arrays.parameters import ALIGN, FlatParams
from xpnet.functions.targets import by_head, values_of
from xpnet.layers import BinaryAffine, Convolution, Dropout, Identity, Layer
from xpnet.models.folding import folded_parameters, norms_behind
from xpnet.models.nodes import INPUT, Node

Outputs = int | dict[str, int]

PREPARED = (Convolution, BinaryAffine)
"""Layers whose weights kernels keep in another form; all others they read as they are."""


class Folded:
    """A layer that does what the `BatchNorm` behind it do, too, by their running statistics.

    Attributes
    ----------
    layer : a copy of the layer, with parameters of its own, which are right after `follow`
    """

    def __init__(self, original: Layer, norms: Sequence[Any]) -> None:
        self._original, self._norms = original, norms
        self.layer = deepcopy(original)
        W = original.params["W"]
        outputs = W.shape[0] if isinstance(original, Convolution) else W.shape[1]
        self.layer.params = {"W": W.copy(), "b": np.zeros(outputs, dtype=W.dtype)}

    def follow(self) -> None:
        """Take up the parameters and the statistics."""
        for name, array in folded_parameters(self._original, self._norms).items():
            np.copyto(self.layer.params[name], array, casting="same_kind")


class Taken(NamedTuple):
    """What is taken up for one node: parameters, by the network's names, and norms' statistics."""

    names: list[str]
    norms: list[Any]


class Watch:
    """Notices that parameters or running statistics changed, in whatever way.

    Bit by bit: what is there is compared as bytes with a copy, of which C's `memcmp` does a
    network's at the speed of memory. So all stretches of the buffer of the parameters are compared
    at once, and only if there is a difference is it asked where.

    Parameters
    ----------
    params : of the network
    taken : what is to be watched
    """

    def __init__(self, params: FlatParams, taken: Sequence[Taken]) -> None:
        self._taken = taken
        self._stretches: list[tuple[bytearray, np.ndarray]] = []  # the copy, and what it is of
        self._params: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        arrays = {name: params[name] for each in taken for name in each.names}
        for start, end in _stretches(params, arrays.values()):
            now = params.flat[start:end]
            copy = bytearray(now.nbytes)
            self._stretches.append((copy, now))
            for name, array in arrays.items():
                first = (_place(array, params) - start) * now.itemsize
                if 0 <= first < now.nbytes:
                    kept = np.frombuffer(copy, np.uint8, array.nbytes, first)
                    self._params[name] = array.reshape(-1).view(np.uint8), kept
        self._statistics: list[Any] | None = None

    def changed(self) -> list[int]:
        """The numbers of what is not as it was when it was kept last."""
        if self._statistics is None:
            return list(range(len(self._taken)))
        statistics = self._of_norms()
        # A bytearray compares itself, by memcmp, with whatever has bytes.
        if statistics == self._statistics and all(copy == now for copy, now in self._stretches):
            return []
        return [
            number
            for number, (names, _) in enumerate(self._taken)
            if statistics[number] != self._statistics[number]
            or not all(np.array_equal(*self._params[name]) for name in names)
        ]

    def keep(self) -> None:
        """Keep a copy of what there is now."""
        for copy, now in self._stretches:
            copy[:] = now.tobytes()
        self._statistics = self._of_norms()

    def forget(self) -> None:
        """Hold everything for changed until it is kept once more."""
        self._statistics = None

    def _of_norms(self) -> list[Any]:
        """The statistics of all norms, and what is added to their variances: a copy."""
        return [
            [(norm.eps, *[array.tobytes() for array in norm.state.values()]) for norm in norms]
            for _, norms in self._taken
        ]


def _stretches(params: FlatParams, arrays: Iterable[np.ndarray]) -> list[tuple[int, int]]:
    """Where in the buffer these parameters are, with the gaps behind them; neighbours together."""
    spans = list[tuple[int, int]]()
    for start, size in sorted((_place(array, params), array.size) for array in arrays):
        end = -(-(start + size) // ALIGN) * ALIGN
        if spans and start == spans[-1][1]:
            start = spans.pop()[0]
        spans.append((start, end))
    return spans


def _place(array: np.ndarray, params: FlatParams) -> int:
    """The place in the buffer at which a parameter begins."""
    return int(array.ctypes.data - params.flat.ctypes.data) // array.itemsize


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
        behind = norms_behind(nodes, outputs)
        self._folded = {
            number: Folded(nodes[number].layer, [nodes[k].layer for k in norms])
            for number, norms in behind.items()
        }
        folding = [
            # Under another name, for kernels find what they have prepared by their names.
            node._replace(name=f"{node.name} folded", layer=self._folded[number].layer)
            if number in self._folded
            else node
            for number, node in enumerate(nodes)
        ]
        gone = {k for norms in behind.values() for k in norms}
        self._taken: dict[int, Taken] = {}
        for number, node in enumerate(nodes):
            norms = [nodes[k] for k in behind.get(number, ())]
            if norms or isinstance(node.layer, PREPARED):
                names = [name for each in (node, *norms) for name in each.names.values()]
                self._taken[number] = Taken(names, [norm.layer for norm in norms])
        self._called = {number: folding[number].name for number in self._taken}
        self.nodes, self.outputs = _without(gone, folding, outputs)
        self.folds = bool(self._folded)
        self._watch: Watch | None = None
        self._versions: Mapping[str, int] = {}

    def follow(self, params: FlatParams) -> Mapping[str, int]:
        """Take up the network's parameters and the statistics as they are now.

        Returns
        -------
        A number for each node of which kernels take something up, by the node's name, which is
        another one whenever that has changed; the same mapping as before if nothing has
        """
        if self._watch is None:
            self._watch = Watch(params, list(self._taken.values()))
        numbers = list(self._taken)
        if changed := [numbers[k] for k in self._watch.changed()]:
            names = [self._called[number] for number in changed]
            self._versions = {**self._versions, **{k: self._versions.get(k, 0) + 1 for k in names}}
            try:
                self._watch.keep()
                for number in changed:
                    if number in self._folded:
                        self._folded[number].follow()
            except BaseException:
                self._watch.forget()
                raise
        return self._versions


def _does_nothing(layer: Layer) -> bool:
    """Tell whether a layer puts out what it reads, but while it is training."""
    return type(layer) is Identity or (type(layer) is Dropout and layer.inverted)


def _without(
    gone: Collection[int], nodes: Sequence[Node], outputs: Outputs
) -> tuple[list[Node], Outputs]:
    """Leave out some nodes, whose readers then read what they read, and all that no output needs.

    What reads the network's input stays: an output must be a node's.
    """
    needed = set(values_of(outputs))
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
    return found, by_head(place.__getitem__, outputs)
