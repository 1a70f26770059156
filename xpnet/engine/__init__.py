"""Faster ways to compute what `Network` computes, and the choice among them.

An engine has a network's `loss_and_gradient` and `predict`. What it gives equals what the network
gives, up to rounding; `xpnet.layers` stays the definition.
"""

from collections.abc import Mapping
from typing import Protocol

from xpnet.backend import Array
from xpnet.engine.reference import ReferenceEngine
from xpnet.errors import ArgumentError
from xpnet.models.network import Network

__all__ = ["ENGINES", "Engine", "ReferenceEngine", "get_engine"]

ENGINES = ("auto", "reference")


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


def get_engine(network: Network, name: str = "auto", threads: int | None = None) -> Engine:
    """The engine called `name` for a network.

    Parameters
    ----------
    name : "auto" for the fastest that can run the network, "reference" for its layers as they are
    threads : of the CPU; one for each core if None

    Raises
    ------
    ArgumentError
        The name is unknown, or there is not even one thread.
    """
    if name not in ENGINES:
        raise ArgumentError(f"engine {name!r} is unknown; use {' or '.join(ENGINES)}")
    if name == "reference" or network.device.name != "cpu":
        return ReferenceEngine(network, threads)
    from xpnet.engine.cpu import CpuEngine

    obstacle = CpuEngine.obstacle(network)
    if obstacle is not None:
        return ReferenceEngine(network, threads, reason=obstacle)
    return CpuEngine(network, threads)
