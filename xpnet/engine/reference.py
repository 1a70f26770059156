"""The network itself as an engine."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from xpnet.arrays import Array
from xpnet.engine.base import OneByOne
from xpnet.engine.threads import blas_threads, chosen_threads, described_threads
from xpnet.layers import Backward, Params, State
from xpnet.layers.recurrent import BackwardInTime
from xpnet.models.network import Network


class ReferenceEngine(OneByOne):
    """The layers as they are written, one after the other, on any device.

    Parameters
    ----------
    threads : of matrix products on the CPU; as many as cores are free if None
    reason : why it is not the engine that was asked for
    checked : what the check of that engine found, where it was made
    """

    name = "reference"

    def __init__(
        self,
        network: Network,
        threads: int | None = None,
        *,
        reason: str | None = None,
        checked: str | None = None,
    ) -> None:
        self.network, self.reason, self.checked = network, reason, checked
        self.threads, self._asked = chosen_threads(threads), threads

    def __repr__(self) -> str:
        return f"ReferenceEngine({self.network!r}, threads={self.threads})"

    def forward(self, x: Array, *, train: bool = False) -> tuple[Any, Backward]:
        """The network's."""
        with self._limited():
            y, backward = self.network.forward(x, train=train)

        def limited(dy: Any, need_dx: bool = True, need_grads: bool = True) -> tuple[Any, Params]:
            with self._limited():
                dx, grads = backward(dy, need_dx, need_grads)
            return dx, grads

        return y, limited

    def unroll(
        self, x: Array, state: Mapping[str, State] | None = None, *, train: bool = False
    ) -> tuple[Any, dict[str, State], BackwardInTime]:
        """The network's, of sequences that go on from a state."""
        with self._limited():
            y, last, backward = self.network.unroll(x, state, train=train)

        def limited(
            dy: Any, d_last: Any = None, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array | None, Params, Any]:
            with self._limited():
                return backward(dy, d_last, need_dx, need_grads)

        return y, last, limited

    def loss_and_gradient(self, x: Array, t: Array) -> tuple[Array, Array, Params]:
        """The network's."""
        with self._limited():
            return self.network.loss_and_gradient(x, t)

    def predict(self, x: Array) -> Array:
        """The network's."""
        with self._limited():
            return self.network.predict(x)

    def methods(self) -> dict[str, str]:
        """The same for each layer."""
        return dict.fromkeys((leaf.name for leaf in self.network.nodes()), "reference")

    def describe(self) -> dict[str, str | int]:
        """Name, threads, and why it is this one."""
        about: dict[str, str | int] = {"engine": self.name}
        if self.network.device.name == "cpu":
            about |= described_threads(self._asked, self.threads)
        more = {"engine_reason": self.reason, "engine_check": self.checked}
        return about | {what: text for what, text in more.items() if text is not None}

    def _limited(self) -> AbstractContextManager[Any]:
        on_cpu = self.network.device.name == "cpu"
        return blas_threads(self.threads) if on_cpu else nullcontext()
