"""What a network computes for predictions: less than it does to learn."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from xpnet.arrays.parameters import ALIGN, FlatParams
from xpnet.arrays.values import in_parts
from xpnet.functions.targets import by_head, values_of
from xpnet.layers import Affine, Convolution, Dropout, Identity, Layer
from xpnet.models.folding import folded_parameters, norms_behind
from xpnet.models.nodes import INPUT, Node

Outputs = int | dict[str, int]

BLOCK = 1 << 16
"""Numbers that are compared at a time, so that what it takes stays in the second cache."""
_NOTHING = np.empty(0)


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

    Stretches of the buffer of the parameters are compared with one copy of them, and all statistics
    as one array: many small comparisons would take more time than a small network. Only if there
    is a difference is it asked where.

    Parameters
    ----------
    params : of the network
    taken : what is to be watched
    """

    def __init__(self, params: FlatParams, taken: Sequence[Taken]) -> None:
        self._taken, self._norms = taken, [norm for each in taken for norm in each.norms]
        self._blocks: list[tuple[np.ndarray, np.ndarray]] = []  # of the parameters, and of the copy
        self._params: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        arrays = {name: params[name] for each in taken for name in each.names}
        for start, end in _stretches(params, arrays.values()):
            now = params.flat[start:end]
            copy = np.empty_like(now)
            self._blocks += [(now[part], copy[part]) for part in in_parts(len(now), BLOCK)]
            for name, array in arrays.items():
                k = _place(array, params) - start
                if 0 <= k <= len(now):
                    self._params[name] = array, copy[k : k + array.size].reshape(array.shape)
        self._statistics: np.ndarray | None = None

    def changed(self) -> list[int]:
        """The numbers of what is not as it was when it was kept last."""
        before = self._statistics
        if before is None:
            return list(range(len(self._taken)))
        now = self._gathered()
        # Of one shape: `np.array_equal` would take longer, which a small network notices.
        same = not self._norms or (now == before).all()
        if same and all((block == copy).all() for block, copy in self._blocks):
            return []
        found, first = list[int](), 0
        for number, (names, norms) in enumerate(self._taken):
            end = first + sum(_count(norm) for norm in norms)
            same = np.array_equal(now[first:end], before[first:end])
            if not (same and all(np.array_equal(*self._params[name]) for name in names)):
                found.append(number)
            first = end
        return found

    def keep(self) -> None:
        """Keep a copy of what there is now."""
        for block, copy in self._blocks:
            np.copyto(copy, block)
        self._statistics = self._gathered()

    def forget(self) -> None:
        """Hold everything for changed until it is kept once more."""
        self._statistics = None

    def _gathered(self) -> np.ndarray:
        """All statistics, and eps behind those of each norm: a copy."""
        if not self._norms:
            return _NOTHING
        arrays = [each for norm in self._norms for each in (*norm.state.values(), [norm.eps])]
        return np.concatenate(arrays, axis=None)


def _count(norm: Any) -> int:
    """The numbers that are gathered of a norm."""
    return 1 + sum(int(array.size) for array in norm.state.values())


def _stretches(params: FlatParams, arrays: Iterable[np.ndarray]) -> list[tuple[int, int]]:
    """Where in the buffer these parameters are; those with a mere gap between them together."""
    spans = list[tuple[int, int]]()
    for start, size in sorted((_place(array, params), array.size) for array in arrays):
        if spans and start - spans[-1][1] < ALIGN:
            spans[-1] = spans[-1][0], start + size
        else:
            spans.append((start, start + size))
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
            # No kernel keeps the weights of a fully connected layer in another form.
            prepared = node.names and type(node.layer) is not Affine
            if norms or (prepared and number not in gone):
                names = [name for each in (node, *norms) for name in each.names.values()]
                self._taken[number] = Taken(names, [norm.layer for norm in norms])
        self._called = {number: folding[number].name for number in self._taken}
        self.nodes, self.outputs = _without(gone, folding, outputs)
        self.folds = bool(self._folded)
        self._watch: Watch | None = None
        self._versions: dict[str, int] = {}

    def follow(self, params: FlatParams) -> Mapping[str, int]:
        """Take up the network's parameters and the statistics as they are now.

        Returns
        -------
        A number for each node of which kernels take something up, by the node's name, which is
        another one whenever that has changed
        """
        if self._watch is None:
            self._watch = Watch(params, list(self._taken.values()))
        numbers = list(self._taken)
        if changed := [numbers[k] for k in self._watch.changed()]:
            for name in (self._called[number] for number in changed):
                self._versions[name] = self._versions.get(name, 0) + 1
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
