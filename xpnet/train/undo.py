"""Steps that are taken whole, or not at all."""

from xpnet.arrays import Array, array_namespace
from xpnet.train.learner import Learner


class Undo:
    """A copy of all that a step changes: parameters, states of layers, and those of optimizers.

    Copying takes as much memory as they do, and nearly as much time as an update. So there is only
    one of the layers' states, such as running means, where a learner tells when it updates.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._copies: dict[str, Array] = {}
        self._pairs: list[tuple[Array, Array]] = []
        self._optimizers: dict[str, tuple[dict[str, Array], float]] = {}
        self._whole = True

    def __repr__(self) -> str:
        return f"Undo({self._learner!r}, {len(self._pairs)} arrays)"

    def keep(self, *, whole: bool) -> None:
        """Copy everything as it is now, or only what a step changes before its updates."""
        learner, self._whole = self._learner, whole
        learner.updating = False
        self._pairs = []
        for name, network in learner.networks.items():
            for key, array in network.state.items():
                self._keep(f"{name}.state.{key}", array)
            if whole:
                self._keep(f"{name}.params", network.params.flat)
        for name, optimizer in learner.optimizers.items() if whole else ():
            for key, array in optimizer.state.items():
                self._keep(f"{name}.optimizer.{key}", array)
        self._optimizers = {  # of the states, which arrays there were
            name: (optimizer.state.copy(), optimizer.lr)
            for name, optimizer in learner.optimizers.items()
        }

    def put_back(self) -> bool:
        """Let everything be as it was, and tell whether that is possible.

        What runs on the device comes first, and is undone, too.
        """
        if self._learner.updating and not self._whole:
            return False
        for array, copy in self._pairs:
            array[...] = copy
        for name, (state, lr) in self._optimizers.items():
            optimizer = self._learner.optimizers[name]
            optimizer.state, optimizer.lr = dict(state), lr
        return True

    def _keep(self, name: str, array: Array) -> None:
        """Note an array and what it is now, in the place where that was before if there is one."""
        copy = self._copies.get(name)
        if copy is None or copy.shape != array.shape or copy.dtype != array.dtype:
            copy = self._copies[name] = array_namespace(array).asarray(array, copy=True)
        else:
            copy[...] = array
        self._pairs.append((array, copy))
