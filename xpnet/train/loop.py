"""The training loop, whatever is learned."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from xpnet.arguments import checked, whole
from xpnet.arrays import Array, to_numpy
from xpnet.errors import ArgumentError, CheckpointError, shown
from xpnet.layers import Params
from xpnet.notice import show
from xpnet.optim import Optimizer
from xpnet.report.metrics import Direction, EpochMetrics, checked_list
from xpnet.train.callbacks import Callback, Calls, Progress
from xpnet.train.early_stopping import EarlyStopping
from xpnet.train.hints import Hints
from xpnet.train.learner import Batch, Learner
from xpnet.train.record import check_state
from xpnet.train.stepping import Place, Stepping, alone
from xpnet.train.undo import Undo


class Loop(Stepping):
    """Trains a learner epoch after epoch: what a `Trainer` is, without what makes its learner.

    A step is done whole or not at all, as `Stepping` says: after an error in one `train` goes on
    from the step before, or, where there is no going back, nothing but `restore` makes this usable
    again. Ctrl-C is obeyed after the step, and a second one at once. One thread at a time may use
    it: others are refused.

    Parameters
    ----------
    learner : what is trained
    epochs : what `train` goes on to
    verbose : show a progress bar and a line an epoch
    callbacks : what looks on, besides
    on_step : called between steps; where steps are replayed, after every fifty. It may save
        `state`, or raise an error to stop
    on_epoch : called with the metrics after every epoch
    early_stopping : when to end before `epochs` are done
    """

    @partial(checked, but=("learner", "epochs", "early_stopping"))
    def __init__(
        self,
        learner: Learner,
        epochs: int = 20,
        verbose: bool = True,
        *,
        callbacks: Sequence[Callback] = (),
        on_step: Callable[[], object] | None = None,
        on_epoch: Callable[[EpochMetrics], object] | None = None,
        early_stopping: EarlyStopping | None = None,
    ) -> None:
        needed = ("networks", "optimizers", "source", "step", "losses", "metrics", "sets")
        lacks = [name for name in needed if not hasattr(learner, name)]
        if isinstance(learner, type) or lacks or not learner.networks:
            raise ArgumentError(
                f"a learner is needed, with {', '.join(needed)}, got {learner!r}; give a "
                "Supervised, or an instance of your own class with Learner as its base"
            )
        if not _is_count(epochs):
            raise ArgumentError(
                f"training needs at least one epoch, got {epochs!r}; give a whole number"
            )
        for name in learner.networks:
            if "." in name or name in ("source", "callback", "epoch"):
                raise ArgumentError(
                    f"a network cannot be called {name!r}, or a checkpoint could not be read: "
                    "'source', 'callback', 'epoch' and dots have a meaning there; rename it"
                )
        super().__init__(learner)
        self.epochs, self.verbose = epochs, verbose
        self.callbacks = checked_list("callbacks", callbacks, Callback, "EarlyStopping(3)")
        if not isinstance(early_stopping, EarlyStopping | None):
            raise ArgumentError(
                f"early_stopping is an EarlyStopping, such as EarlyStopping(3), or None, got "
                f"{early_stopping!r}"
            )
        self.early_stopping = early_stopping
        self.on_step, self.on_epoch = on_step, on_epoch
        if unknown := set(learner.optimizers) - set(learner.networks):
            raise ArgumentError(
                f"an optimizer is called as the network that it updates, {min(unknown)!r} is none "
                f"of {', '.join(learner.networks)}; rename it"
            )
        served: dict[int, str] = {}
        for name, optimizer in learner.optimizers.items():
            if not isinstance(optimizer, Optimizer):
                raise ArgumentError(
                    f"the optimizer of {name} must be an instance of Optimizer, such as SGD(0.1), "
                    f"got {optimizer!r}"
                )
            optimizer.check(learner.networks[name].params)
            other = served.setdefault(id(optimizer), name)
            if other != name and optimizer.kept:
                raise ArgumentError(
                    f"{optimizer!r} is the optimizer of {other} and of {name}, and keeps "
                    f"{', '.join(optimizer.kept)} of one network's parameters; make one for each"
                )
        if self.best[0] not in self.directions:
            raise ArgumentError(
                f"{type(learner).__name__} says that {self.best[0]} decides what is best, and "
                f"measures {', '.join(self.directions)}; choose one of them"
            )
        self.seconds = 0.0
        self.last_epoch = epochs
        self._progress, self._hints = Progress(), Hints()
        self._stop: str | None = None
        self._check_early_stopping()

    def __repr__(self) -> str:
        done = f"{len(self.history)} of {self.epochs} epochs and {self.steps} steps done"
        return f"{type(self).__name__}({self.learner!r}, {done})"

    @property
    def directions(self) -> dict[str, Direction]:
        """The names in the history of all that is measured of an epoch, and when each is best."""
        found: dict[str, Direction] = {f"train_{name}": "min" for name in self.learner.losses}
        for data in self.learner.sets:
            for metric in self.learner.metrics:
                found.setdefault(f"{data}_{metric.name}", metric.direction)
        return found

    @property
    def best(self) -> tuple[str, Direction]:
        """The name in the history by which the best epoch is known, and when that is best."""
        directions = self.directions
        name = self.learner.best or next(iter(directions))
        return name, directions.get(name, "max")

    @alone
    def train_step(self, *batch: Array) -> Array:
        """One update on one batch, x and t for instance; the loss before it, 0-d on the device.

        Ctrl-C is obeyed at once, and the step undone.
        """
        self._tell()
        values: dict[str, Array] = {}

        def take(batch: Batch) -> None:
            values.update(self._step(batch))
            self._check_names(values)

        self._take(take, batch, self._place.after(1, of_epoch=0), whole=True)
        return values["loss"]

    @alone
    def train_epoch(self) -> EpochMetrics:
        """One pass over the training data, or what is left of it, and what is measured after it.

        Callbacks are told of it, `EarlyStopping` first. Those left when one raises an error are
        told when training goes on, before anything else; Ctrl-C is obeyed when all are told.

        Losses gather on the device and are read once, at the end: a step never waits for the host.

        Raises
        ------
        DivergedError
            A loss is not finite, or a parameter; told of a step on a CPU, which is then undone, and
            on a GPU after the epoch or when its state is asked for.
        """
        self._tell()
        number = len(self.history)
        looking = [callback for callback in self._looking() if _looks_at_steps(callback)]
        try:
            with self._interrupts.heard(), self.device.guarded():
                # Compiled and recorded before the clock starts.
                whole = self.learner.steps()
                self.device.synchronize()
                start = time.perf_counter()
                for _ in self._one_by_one(number) if whole is None else self._many(number, whole):
                    self.seconds += time.perf_counter() - start
                    for callback in looking:
                        callback.on_step(self)
                    if self._interrupts.came:
                        raise KeyboardInterrupt
                    start = time.perf_counter()
                self.device.synchronize()
            if self._interrupts.came:
                raise KeyboardInterrupt
        finally:
            self._progress.close()
        self.seconds += time.perf_counter() - start
        values = self._checked_values()
        means = {f"train_{k}": float(np.mean(v, dtype=np.float64)) for k, v in values.items()}
        measured = {
            f"{data}_{name}": value
            for data, source in self.learner.sets.items()
            for name, value in self.learner.evaluate(source).items()
        }
        record = {"epoch": number + 1, **measured, **means, "seconds": self.seconds}
        metrics = EpochMetrics.of(record)
        losses = [*self.train_loss_list, *values["loss"].tolist()]
        looking = self._looking()
        self._tell(Place(self.steps, 0, [*self.history, metrics], losses, tuple(looking)))
        return metrics

    def _tell(self, place: Place | None = None) -> None:
        """Go to the place after an epoch, if given, and call on_epoch of who is still to be told.

        Each is noted as told before its call: one that raises an error is not called again.
        """
        if place is None and not self._place.untold:
            return
        with self._interrupts.heard():
            self._place = place or self._place
            while self._place.untold:
                one, *others = self._place.untold
                self._place = self._place._replace(untold=tuple(others))
                one.on_epoch(self, self.history[-1])
        if self._interrupts.came:
            raise KeyboardInterrupt

    @alone
    def state(self) -> tuple[Params, dict[str, Any]]:
        """Return what training has come to: host arrays by name, and a record that JSON can hold.

        A fresh Trainer of the same arguments that is given them by `restore` goes on bit for bit,
        also from the middle of an epoch.

        Raises
        ------
        DivergedError
            A loss or a parameter is not finite.
        """
        values, learner = self._checked_values(), self.learner
        arrays = {name: np.array(to_numpy(array)) for name, array in self.learned().items()}
        groups: dict[str, Mapping[str, Array]] = {
            f"{name}.optimizer": optimizer.state for name, optimizer in learner.optimizers.items()
        }
        groups["source"] = learner.source.state()
        groups |= {f"callback.{name}": one.state() for name, one in self._remembering().items()}
        for group, own in groups.items():
            arrays |= {f"{group}.{name}": np.array(to_numpy(a)) for name, a in own.items()}
        arrays["train_losses"] = np.asarray(self.train_loss_list, dtype=np.float64)
        arrays["epoch_losses"] = values.pop("loss").copy()
        arrays |= {f"epoch.{name}": array.copy() for name, array in values.items()}
        record = {
            "history": [metrics.record() for metrics in self.history],
            "steps": self.steps,
            "seconds": self.seconds,
            "lr": {name: optimizer.lr for name, optimizer in learner.optimizers.items()},
            "best": list(self.best),
            "untold": sum(one not in self._shown for one in self._place.untold),
        }
        return arrays, record

    @alone
    def restore(self, arrays: Any, record: Any = None) -> None:
        """Go on from what `state` gave: `restore(state)`, or arrays and record by themselves.

        Raises
        ------
        CheckpointError
            It is of other networks or optimizers, or of another dtype, or is not what `state`
            gives; the message names the first difference, and everything is as it was.
        """
        learner, device = self.learner, self.device
        if record is None and isinstance(arrays, tuple) and len(arrays) > 1:
            arrays, record = arrays[:2]  # what comes after them tells of a file
        if record is None:
            raise CheckpointError(
                "restore takes the arrays and the record that state() gives; take another"
            )
        check_state(arrays, record)
        self._check_early_stopping()
        own = self.learned()
        states: dict[str, Params] = {}
        for name, optimizer in learner.optimizers.items():
            start = f"{name}.optimizer."
            fresh = optimizer.fresh()
            if any(key.startswith(start) for key in arrays):  # not before the first step
                fresh.start({"flat": learner.networks[name].params.flat})
            states[name] = fresh.state
            own |= {f"{start}{key}": array for key, array in fresh.state.items()}
        others = ("source.", "callback.", "epoch.")
        given = {k: a for k, a in arrays.items() if "." in k and not k.startswith(others)}
        for name in sorted(own.keys() | given.keys()):
            if (here := _kind(own.get(name))) != (there := _kind(given.get(name))):
                raise CheckpointError(
                    "a checkpoint of another network or optimizer cannot be used: "
                    f"{shown(name.removeprefix('network.'))} is {there} there and {here} here; "
                    "build them as they were"
                )
            if ".params." in name and not np.isfinite(given[name]).all():
                raise CheckpointError(
                    f"a checkpoint whose {name.removeprefix('network.')} are not all finite cannot "
                    "be used; take another"
                )
        if record["lr"].keys() != learner.optimizers.keys():
            raise CheckpointError(
                "a checkpoint of other optimizers cannot be used: it has learning rates of "
                f"{shown(', '.join(record['lr'])) or 'none'}, and here are optimizers of "
                f"{', '.join(learner.optimizers) or 'none'}; build them as they were"
            )
        history = [EpochMetrics.of(metrics) for metrics in record["history"]]
        losses = arrays["train_losses"].tolist()
        values = {"loss": arrays["epoch_losses"], **_group(arrays, "epoch.")}
        on_device = {name: device.asarray(array) for name, array in values.items()}
        within, steps = len(values["loss"]), len(learner.source)
        if within > steps:
            raise CheckpointError(
                f"a checkpoint after {within} steps of an epoch cannot be used where it has "
                f"{steps}; give the same data and batch size"
            )
        looking = [one for one in self._looking() if one not in self._shown]
        untold = tuple(looking[len(looking) - min(record.get("untold", 0), len(looking)) :])
        place = Place(record["steps"], within, history, losses, untold if history else ())
        others_of = {"source": learner.source} | {
            f"callback.{name}": callback for name, callback in self._remembering().items()
        }
        before = {name: _on_host(one.state()) for name, one in others_of.items()}
        undo, attributes = Undo(learner), self.__dict__.copy()
        steps_done = learner.steps_done
        undo.keep(whole=True)
        try:
            for name, array in own.items():
                array[...] = device.asarray(given[name])
            for name, optimizer in learner.optimizers.items():
                optimizer.state, optimizer.lr = states[name], record["lr"][name]
            for name, one in others_of.items():
                one.restore(_group(arrays, f"{name}."))
            self.seconds, self._torn = record["seconds"], ""
            self._values, self._place, learner.steps_done = on_device, place, place.steps
        except BaseException:
            self._torn = "restore failed, and could not be undone; restore another state"
            undo.put_back()
            for name, one in others_of.items():
                one.restore(before[name])
            learner.steps_done = steps_done
            self.__dict__.update(attributes)
            raise

    def describe(self) -> dict[str, str | int]:
        """Tell what the record of a run should say of what computes."""
        return self.learner.describe()

    @alone
    def train(self, epochs: int | None = None) -> list[EpochMetrics]:
        """Train until `epochs` epochs are done, or stopped early; the metrics of all of them.

        Parameters
        ----------
        epochs : so many more than are done, if not None; one that was begun counts as one of them
        """
        if epochs is not None and not _is_count(epochs):
            raise ArgumentError(
                f"at least one more epoch is needed, got {epochs}; give a whole number"
            )
        self._stop = None
        self._tell()
        self.last_epoch = self.epochs if epochs is None else len(self.history) + epochs
        for callback in self._looking():
            callback.on_begin(self)
        while len(self.history) < self.last_epoch and self._stop is None:
            self.train_epoch()
        if len(self.history) < self.last_epoch:
            why = f": {self._stop}" if self._stop else ""
            self.say(f"stopped after epoch {len(self.history)}{why}")
        for callback in self._looking():
            callback.on_end(self)
        return self.history

    def stop(self, reason: str) -> None:
        """Let training end after this epoch; for callbacks. `train` begins anew."""
        self._stop = reason

    def say(self, line: str) -> None:
        """Show a line, if anything is to be shown."""
        if self.verbose:
            from tqdm import tqdm

            with tqdm.external_write_mode():  # which takes bars away meanwhile
                show(line)

    @alone
    def evaluate(self, source: Any) -> float:
        """The first of what the learner measures on a data set, such as the accuracy."""
        found = self.learner.evaluate(source)
        if not found:
            raise ArgumentError(f"{type(self.learner).__name__} measures nothing of its data")
        return next(iter(found.values()))

    def _looking(self) -> list[Callback]:
        """All callbacks, in the order in which they are called.

        Early stopping is first: it keeps parameters, which nobody must have changed before.
        """
        showing: list[Callback] = [*self._shown] if self.verbose else []
        early = [] if self.early_stopping is None else [self.early_stopping]
        short = [Calls(self.on_step, self.on_epoch)] if self.on_step or self.on_epoch else []
        found = [*early, *showing, *self.callbacks, *short]
        return sorted(found, key=lambda callback: not isinstance(callback, EarlyStopping))

    @property
    def _shown(self) -> tuple[Callback, Callback]:
        """Its own callbacks, which show how it goes and are in no checkpoint."""
        return self._progress, self._hints

    def _check_early_stopping(self) -> None:
        for callback in self._looking():
            if isinstance(callback, EarlyStopping):
                callback.check(self)

    def _remembering(self) -> dict[str, Callback]:
        """Callbacks that may have a state, by the names of their classes."""
        found: dict[str, Callback] = {}
        for callback in self._looking():
            name = type(callback).__name__
            if type(callback).state is Callback.state:
                continue
            if name in found:
                raise ArgumentError(
                    f"two callbacks are called {name}, and what they remember could not be told "
                    "apart; give one of them a class of its own"
                )
            found[name] = callback
        return found


def _is_count(number: Any) -> bool:
    """Tell whether it is a whole number from 1 on, which True is not."""
    return whole(number) and int(number) >= 1


def _looks_at_steps(callback: Callback) -> bool:
    return type(callback).on_step is not Callback.on_step


def _on_host(arrays: Mapping[str, Array]) -> dict[str, np.ndarray]:
    """Copies of arrays, on the host."""
    return {name: np.array(to_numpy(array)) for name, array in arrays.items()}


def _group(arrays: Mapping[str, np.ndarray], start: str) -> dict[str, np.ndarray]:
    """Select the arrays whose names begin so, by the rest of their names."""
    return {k.removeprefix(start): a for k, a in arrays.items() if k.startswith(start)}


def _kind(array: Array | None) -> str:
    """Dtype and shape."""
    if array is None:
        return "nothing"
    return f"{str(array.dtype).rpartition('.')[2]} of shape {tuple(array.shape)}"
