"""What an engine is."""

from collections.abc import Mapping
from typing import Protocol

from xpnet.arrays import Array
from xpnet.models.network import Network


class Engine(Protocol):
    """What computes for a network."""

    name: str
    network: Network

    def loss_and_gradient(self, x: Array, t: Array) -> tuple[Array, Array, Mapping[str, Array]]:
        """As `Network.loss_and_gradient`; the gradient may be written over by the next call."""

    def predict(self, x: Array) -> Array:
        """As `Network.predict`."""

    def methods(self) -> dict[str, str]:
        """How each layer is computed, by its name."""

    def describe(self) -> dict[str, str | int]:
        """What the record of a run should say of it."""
