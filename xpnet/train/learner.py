"""The interface of all that a Trainer can train."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from xpnet.arrays import Array
from xpnet.models.network import Network
from xpnet.optim import Optimizer
from xpnet.report.metrics import Measured

Batch: TypeAlias = tuple[Array, ...]
"""Arrays of equal first axis, the samples."""


class Source(Protocol):
    """The source of batches, epoch by epoch; it says itself what an epoch is.

    An epoch's batches depend on its number and on `state` alone, and not on how often they were
    asked for: a step that was broken off is taken again, with the same batch. So what is drawn is
    drawn from the number of the step, as `xpnet.arrays.random` does, and not from a generator that
    goes on by itself.
    """

    def __len__(self) -> int:
        """Steps of an epoch."""

    def epoch(self, number: int, *, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `first` on, on the device."""

    def state(self) -> Mapping[str, Array]:
        """Return what it has come to besides, such as a memory of games that were played."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up what `state` gave, as host arrays."""


class Learner(Protocol):
    """One way of learning: networks, what updates them, and what a step is.

    A class of your own that names this one as its base need not write down what follows `step`.

    Attributes
    ----------
    networks : by name, all on one device
    optimizers : by the names of the networks that they update
    source : of the batches
    losses : the names of what `step` gives
    metrics : names and directions of what `evaluate` gives
    sets : what is evaluated after every epoch, by name; "test" has its accuracy called
        "test_accuracy" in the history
    best : the name in the history by which the best epoch is known, such as "test_accuracy"; the
        first of `losses` in training if it is ""
    steps_done : updates so far, which schedules go by. The Trainer counts, and tells it here.
    gradient : of the last step, for what is told when it went wrong; None if nobody keeps it
    tells_updates : whether `updating` can be relied on. If not, all that a step changes is copied
        before every step, so that an error in it can be undone.
    updating : set to False before every step, and by the step to True when it begins to change
        parameters or optimizers. An error before that leaves these as they are; an error after it
        leaves what cannot be gone on from.
    """

    networks: Mapping[str, Network]
    optimizers: Mapping[str, Optimizer]
    source: Source

    def step(self, batch: Batch) -> Mapping[str, Array]:
        """One update on one batch; what is to be known of it, 0-d on the device, "loss" at least.

        Nothing is read back from the device. All that it changes is in the parameters and states of
        `networks`, in the states of `optimizers` and in the source: so it can be undone.
        What it adds to its source is not undone: it must be such that the same step, taken again,
        writes the same, as into a memory that is indexed by the step's number.
        """

    losses: Sequence[str] = ("loss",)
    metrics: Sequence[Measured] = ()
    sets: Mapping[str, Any] = {}
    best: str = ""
    steps_done: int = 0
    gradient: Mapping[str, Array] | None = None
    tells_updates: bool = False
    updating: bool = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.networks)})"

    def evaluate(self, source: Any) -> Mapping[str, float]:
        """Measure `metrics` on one of `sets`."""
        return {}

    def steps(self) -> "WholeSteps | None":
        """Many steps at a call, compiled and ready, where there is something that takes them."""
        return None

    def describe(self) -> dict[str, str | int]:
        """Tell what the record of a run should say of what computes."""
        return {}


class WholeSteps(Protocol):
    """Steps of a learner that something takes by itself, many at a call."""

    @property
    def unroll(self) -> int:
        """Steps that are best asked for together."""

    def begin(self, epoch: int, first: int) -> Mapping[str, Array]:
        """Prepare an epoch from step number `first` on; where its losses will be, (steps,) each."""

    def advance(self, count: int) -> None:
        """Take the next `count` steps of the epoch."""
