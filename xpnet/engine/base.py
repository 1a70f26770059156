"""The interface of all engines."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol, Self, SupportsIndex

import numpy as np

from xpnet.arrays import Array
from xpnet.errors import ArgumentError
from xpnet.models.network import Network
from xpnet.optim import Optimizer

CHECKED = 16
"""Samples that `Engine.check` looks at, at most: more need not be brought to it."""


class Engine(Protocol):
    """Computes what a network computes, in its own way."""

    name: str
    network: Network

    def forward(
        self, x: Array, *, train: bool = False
    ) -> tuple[Any, Callable[..., tuple[Any, Mapping[str, Array]]]]:
        """Compute as `Network.forward`; the backward holds until this engine's next call."""

    def loss_and_gradient(self, x: Array, t: Array) -> tuple[Array, Array, Mapping[str, Array]]:
        """Compute as `Network.loss_and_gradient`; the next call may write over the gradient."""

    def predict(self, x: Array) -> Array:
        """Predict as `Network.predict`."""

    def check(
        self,
        x: Array,
        t: Array | None = None,
        optimizer: Optimizer | None = None,
        clip_norm: float | None = None,
    ) -> "Engine":
        """Find out by a batch whether this engine is to be trusted; what computes from now on.

        That is this engine, unless it found itself wrong and has another one to be used instead.

        Parameters
        ----------
        x, t : samples, and their targets if there will be training
        optimizer, clip_norm : what whole steps will be updated by, if there will be any
        """

    def steps_obstacle(self, optimizer: Optimizer) -> str | None:
        """Say why `steps` cannot be had with this optimizer; None if they can."""

    def steps(
        self,
        x: Array,
        t: Array,
        batch_size: int,
        optimizer: Optimizer,
        *,
        clip_norm: float | None = None,
    ) -> "Steps":
        """Whole training steps, with their updates, on data of the device.

        Raises
        ------
        ArgumentError
            They cannot be had: see `steps_obstacle`.
        """

    def methods(self) -> dict[str, str]:
        """Say how each layer is computed, by its name."""

    def describe(self) -> dict[str, str | int]:
        """Tell what the record of a run should say of it; "steps" if it can take whole ones."""


class Steps(Protocol):
    """Training steps that an engine takes by itself, many at a call.

    Attributes
    ----------
    losses : of an epoch's steps so far, each before its update; on the device, and written over in
        the next epoch
    """

    losses: Array

    @property
    def unroll(self) -> int:
        """Steps that are best asked for together: so many are recorded as one."""

    def fits(self, optimizer: Optimizer, clip_norm: float | None) -> bool:
        """Tell whether these are what the steps were compiled for."""

    def prepare(self) -> None:
        """Do once what would otherwise be part of the first epoch's time."""

    def begin(
        self, order: np.ndarray, rates: Sequence[float] | np.ndarray, *, first: int = 0
    ) -> None:
        """Prepare an epoch, which `advance` then goes through from step number `first` on.

        Parameters
        ----------
        order : numbers of the samples, (N,), as they come into the batches
        rates : learning rate of every step
        """

    def advance(self, count: int) -> None:
        """Take the next `count` steps of the epoch; nothing is waited for."""


class Uncopied:
    """Base of what computes or trains, with threads or a device of its own."""

    remedy = "make another by get_engine, for a copy of the network"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise ArgumentError(f"a {type(self).__name__} cannot be copied or pickled; {self.remedy}")


class OneByOne:
    """Base of engines that take no whole steps, and need no check: no compiler, no driver."""

    def check(
        self,
        x: Array,
        t: Array | None = None,
        optimizer: Optimizer | None = None,
        clip_norm: float | None = None,
    ) -> Self:
        """Return this engine: there is nothing in it that could fail a check."""
        return self

    def steps_obstacle(self, optimizer: Optimizer) -> str | None:
        """There is no way to have them."""
        return "only the GPU's engine takes whole steps"

    def steps(
        self,
        x: Array,
        t: Array,
        batch_size: int,
        optimizer: Optimizer,
        *,
        clip_norm: float | None = None,
    ) -> Steps:
        """Raise ArgumentError."""
        raise ArgumentError(f"whole steps cannot be compiled: {self.steps_obstacle(optimizer)}")
