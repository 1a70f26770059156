"""Steps that are taken whole, or not at all."""

from xpnet.arrays import Array, array_namespace
from xpnet.train.learner import Learner


class Undo:
    """A copy of all that a step changes: parameters, states of layers, and those of optimizers.

    It takes as much memory as they do, once, and a few hundredths of the time of a small network's
    step on a CPU: 15 of 480 microseconds for 784-50-10 with Adam.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._copies: dict[str, Array] = {}
        self._pairs: list[tuple[Array, Array]] = []
        self._optimizers: dict[str, tuple[dict[str, Array], float]] = {}

    def keep(self) -> None:
        """Copy everything as it is now."""
        learner, pairs = self._learner, []
        for name, network in learner.networks.items():
            pairs.append(self._kept(f"{name}.params", network.params.flat))
            for key, array in network.state.items():
                pairs.append(self._kept(f"{name}.state.{key}", array))
        for name, optimizer in learner.optimizers.items():
            for key, array in optimizer.state.items():
                pairs.append(self._kept(f"{name}.optimizer.{key}", array))
        self._pairs = pairs
        self._optimizers = {
            name: (dict(optimizer.state), optimizer.lr)
            for name, optimizer in learner.optimizers.items()
        }

    def put_back(self) -> None:
        """Let everything be as it was; what runs on the device comes first, and is undone, too."""
        for array, copy in self._pairs:
            array[...] = copy
        for name, (state, lr) in self._optimizers.items():
            optimizer = self._learner.optimizers[name]
            optimizer.state, optimizer.lr = dict(state), lr

    def _kept(self, name: str, array: Array) -> tuple[Array, Array]:
        """An array, and what it is now, in the place where that was before if there is one."""
        copy = self._copies.get(name)
        if copy is None or copy.shape != array.shape or copy.dtype != array.dtype:
            copy = self._copies[name] = array_namespace(array).asarray(array, copy=True)
        else:
            copy[...] = array
        return array, copy
