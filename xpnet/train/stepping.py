"""Steps that are taken whole, or not at all, and where they have led."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import wraps
from math import isfinite
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from xpnet.arrays import Array, to_numpy
from xpnet.data.batches import Batches
from xpnet.engine.base import Uncopied
from xpnet.engine.threads import TakesTurns, taken
from xpnet.errors import ArgumentError, DivergedError, TrainingError
from xpnet.layers import Params
from xpnet.report.metrics import EpochMetrics
from xpnet.train.callbacks import Callback
from xpnet.train.inputs import not_finite, too_large
from xpnet.train.learner import Batch, Learner, WholeSteps
from xpnet.train.signals import Interrupts
from xpnet.train.undo import Undo

P = ParamSpec("P")
T = TypeVar("T")


def alone(method: Callable[P, T]) -> Callable[P, T]:
    """Have a method refused while another thread is in one of the same object's.

    Training may take hours, for which nobody would want to wait.
    """

    @wraps(method)
    def called(*arguments: P.args, **options: P.kwargs) -> T:
        who: Any = arguments[0]
        if taken(who._turn):
            raise TrainingError(
                f"a {type(who).__name__} is used by one thread at a time, and another one is at "
                "work in this; wait until it has done, or make one with a network of its own"
            )
        with who._turn:
            return method(*arguments, **options)

    return called


class _NotANumberError(Exception):
    """A step gave what is no number to go on from; the message says what."""


class Place(NamedTuple):
    """The progress of training; all of it changes in one go, when a step or an epoch is done."""

    steps: int
    """Updates so far."""
    of_epoch: int
    """Updates of an epoch that is not done and measured."""
    history: list[EpochMetrics]
    """Metrics of the epochs that are."""
    losses: list[float]
    """Losses of their steps."""
    untold: tuple[Callback, ...] = ()
    """Callbacks that are still to be told of the last epoch; there are none while steps go on."""

    def after(self, count: int, of_epoch: int | None = None) -> "Place":
        """The place `count` updates later, `of_epoch` of them in this epoch, or all."""
        more = count if of_epoch is None else of_epoch
        return Place(self.steps + count, self.of_epoch + more, self.history, self.losses)


class Stepping(TakesTurns, Uncopied):
    """Takes the steps of a learner's epochs, each whole or not at all, and keeps what they gave.

    An error within a step leaves steps, losses, parameters and states as the step before left them.
    Where a GPU replays steps, this holds for so many as are recorded as one. If a GPU fails, or an
    update itself is broken off, there is no going back.

    Parameters
    ----------
    learner : what is trained

    Attributes
    ----------
    device : where its networks are
    """

    remedy = (
        "make another of the same arguments with copies of the networks, and give it this one's "
        "state() by restore()"
    )

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self._needed = {"loss", *learner.losses}
        network = next(iter(learner.networks.values()))
        self.device, self._dtype = network.device, network.dtype
        self._place, self._undo = Place(0, 0, [], []), Undo(learner)
        self._torn, self._interrupts = "", Interrupts()
        self._begin_turns()
        # What the steps of an epoch so far gave, by name
        self._values: dict[str, Array] = {}

    def _torn_by_fork(self) -> None:
        """Refuse to go on in a child that was forked while another thread was training."""
        self._torn = (
            "this process was forked while another thread was at work in this trainer; give it a "
            "state to go on from, by restore"
        )

    @property
    def history(self) -> list[EpochMetrics]:
        """The metrics of every epoch so far."""
        return self._place.history

    @property
    def train_loss_list(self) -> list[float]:
        """Loss of every step of these epochs."""
        return self._place.losses

    @property
    def steps(self) -> int:
        """Number of updates so far."""
        return self._place.steps

    @property
    def steps_of_epoch(self) -> int:
        """Number of updates so far of an epoch that is not done and measured."""
        return self._place.of_epoch

    def learned(self) -> Params:
        """Parameters and states of all networks, by names that begin with the network's."""
        return {
            f"{name}.{kind}.{key}": array
            for name, network in self.learner.networks.items()
            for kind, group in (("params", network.params), ("state", network.state))
            for key, array in group.items()
        }

    @property
    def _done(self) -> int:
        return self._place.of_epoch

    def _step(self, batch: Batch) -> Mapping[str, Array]:
        """One step of the learner, which on a CPU must give numbers."""
        learner = self.learner
        learner.steps_done = self._place.steps
        values = learner.step(batch)
        try:
            items = values.items()
        except AttributeError:
            raise ArgumentError(
                f"a step of {type(learner).__name__} must give numbers by their names, got "
                f'{type(values).__name__}; let it return {{"loss": loss}}'
            ) from None
        if self.device.is_host:
            for name, value in items:
                try:
                    finite = isfinite(value)
                except TypeError:
                    shape = getattr(value, "shape", None)
                    raise ArgumentError(
                        f"a step of {type(learner).__name__} must give one number as {name}, got "
                        f"{type(value).__name__}{f' of shape {shape}' if shape else ''}"
                    ) from None
                if not finite:
                    raise _NotANumberError(self._of_step(name, self._done, float(value)))
        return values

    def _take(
        self, take: Callable[[Any], object], what: Any, after: Place, *, whole: bool = False
    ) -> None:
        """Do what leads to another place, or leave everything as it is: all steps are taken here.

        If `whole`, nothing is relied on that the learner tells of its updates.

        Errors may come from anywhere within, interrupts at any time. Where training is then is told
        by the place alone, which changes in one go.
        """
        if self._torn:
            raise TrainingError(self._torn)
        self._undo.keep(whole=whole or not self.learner.tells_updates)
        try:
            take(what)
            self._place = after
        except BaseException as error:
            if self._place is not after:
                self._torn = (
                    f"a step was broken off ({str(error) or type(error).__name__}) in its update, "
                    "or could not be undone; give the trainer a state to go on from, by restore"
                )
                with suppress(Exception):  # such as of a GPU that has failed
                    if self._undo.put_back():
                        self._torn = ""
            if isinstance(error, _NotANumberError):
                # Of `train_step` it is a batch of the caller's own.
                step = self._done if after.of_epoch > self._done else None
                source = self.learner.source
                if blame := not_finite(what, source, len(self.history), step):
                    raise DivergedError(f"training cannot go on: {error}, {blame}") from None
                raise self._diverged(str(error), self.learner.gradient) from None
            raise

    def _many(self, number: int, whole: WholeSteps) -> Iterator[None]:
        """Take the steps left of epoch `number`, so many at a time as are recorded as one."""
        total, kept, first = len(self.learner.source), self._values, self._done
        self.learner.steps_done = self.steps
        self._values = dict(whole.begin(number, first))
        for name, values in self._values.items() if first else ():
            values[:first] = kept[name][:first]
        while (done := self._done) < total:
            count = min(whole.unroll, total - done)
            self._take(whole.advance, count, self._place.after(count), whole=True)
            yield

    def _one_by_one(self, number: int) -> Iterator[None]:
        """Take the steps left of epoch `number`, batch after batch."""
        if not self._done:
            self._values = {}
        total = len(self.learner.source)
        for name, kept in self._values.items():
            if kept.shape[0] < total:  # of a state that was restored
                self._values[name] = self.device.zeros(total, dtype=self._dtype)
                self._values[name][: self._done] = kept[: self._done]
        batches = self.learner.source.epoch(number, first=self._done)
        for at, batch in enumerate(batches, self._done):
            if at >= total:
                raise ArgumentError(
                    f"{type(self.learner.source).__name__} has more batches in epoch {number + 1} "
                    f"than its len, {total}; make them agree"
                )
            self._take(self._noted_step, batch, self._place.after(1))
            yield
        if self._done < total:
            raise ArgumentError(
                f"{type(self.learner.source).__name__} has fewer batches in epoch {number + 1} "
                f"than its len, {total}: {self._done}; make them agree"
            )

    def _noted_step(self, batch: Batch) -> None:
        """One step of the epoch; what it gave is written down."""
        values = self._step(batch)
        at = self._done
        if not at or values.keys() != self._values.keys():
            self._name_values(values, at)
        for name, value in values.items():
            self._values[name][at] = value

    def _check_names(self, values: Mapping[str, Array]) -> None:
        """Refuse what a step gives if something is missing that a learner has to tell."""
        if missing := self._needed - values.keys():
            raise ArgumentError(
                f"a step of {type(self.learner).__name__} must give {', '.join(sorted(missing))}, "
                f"got {', '.join(values) or 'nothing'}"
            )

    def _name_values(self, values: Mapping[str, Array], at: int) -> None:
        """Make room for what the first step of an epoch gives; all others must give the same."""
        who = f"a step of {type(self.learner).__name__}"
        self._check_names(values)
        if at:
            raise ArgumentError(
                f"{who} must give the same names all through an epoch: step {at + 1} gave "
                f"{', '.join(values)}, and those before it {', '.join(self._values)}; give "
                f"{', '.join(sorted(values.keys() ^ self._values.keys()))} at every step, or never"
            )
        total = len(self.learner.source)
        self._values = {name: self.device.zeros(total, dtype=self._dtype) for name in values}

    def _checked_values(self) -> dict[str, np.ndarray]:
        """Read the epoch's values so far, if they and the parameters are numbers to go on from."""
        if self._torn:
            raise TrainingError(self._torn)
        found = {name: to_numpy(values)[: self._done] for name, values in self._values.items()}
        for name, values in found.items():
            if len(bad := np.flatnonzero(~np.isfinite(values))):
                what, source = self._of_step(name, int(bad[0]), values[bad[0]]), self.learner.source
                if isinstance(source, Batches):  # which can be had again
                    epoch, step = len(self.history), int(bad[0])
                    batch = next(source.epoch(epoch, first=step))
                    if blame := not_finite(batch, source, epoch, step):
                        raise DivergedError(f"training cannot go on: {what}, {blame}")
                raise self._diverged(what)
        xp = self.device.xp
        for network in self.learner.networks.values():
            if not xp.all(xp.isfinite(network.params.flat)):
                raise self._diverged(f"after {self.steps} steps not all parameters are finite")
        return {"loss": np.zeros(0, dtype=self._dtype)} | found

    def _of_step(self, name: str, step: int, value: float) -> str:
        return f"the {name} of step {step + 1} of epoch {len(self.history) + 1} is {value:.3g}"

    def _diverged(self, what: str, grads: Mapping[str, Array] | None = None) -> DivergedError:
        networks = self.learner.networks
        several = len(networks) > 1
        parameters = {
            f"{name}.{key}" if several else key: array
            for name, network in networks.items()
            for key, array in network.params.items()
        }
        gradient = "" if grads is None else f", of the gradient {_largest(grads)}"
        large = too_large(self.learner.source, targets=True)
        rates = sorted({optimizer.lr for optimizer in self.learner.optimizers.values()})
        return DivergedError(
            f"training cannot go on: {what}; the largest number of the parameters is "
            f"{_largest(parameters)}{gradient}; use a smaller learning rate than "
            f"{' and '.join(f'{rate:g}' for rate in rates)}, or clip_norm"
            f"{large and f'; {large}'}"
        )


def _largest(arrays: Mapping[str, Array]) -> str:
    """The largest number and whose it is; what is no number counts as larger."""
    sizes = {name: float(np.max(np.abs(to_numpy(array)))) for name, array in arrays.items()}
    name = max(sizes, key=lambda name: (not isfinite(sizes[name]), sizes[name]))
    return f"{sizes[name]:.3g} in {name}"
