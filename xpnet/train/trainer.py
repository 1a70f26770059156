"""The training loop."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any

import numpy as np

from xpnet.arrays import Array, to_numpy
from xpnet.data.batches import Augment, Batches
from xpnet.engine import get_engine
from xpnet.engine.cuda import SAMPLES, UNROLL, CudaEngine, Training
from xpnet.errors import ArgumentError, CheckpointError, DivergedError
from xpnet.layers import Params
from xpnet.models.network import Network, evaluation_batch
from xpnet.optim import OPTIMIZERS, Optimizer
from xpnet.optim.clipping import clip_by_norm
from xpnet.optim.penalties import Constraint
from xpnet.optim.schedules import Schedule
from xpnet.report.metrics import EpochMetrics
from xpnet.train.early_stopping import EarlyStopping
from xpnet.train.hints import hints


class Trainer:
    """Trains a network on batches and measures its accuracy after each epoch.

    The arguments up to `verbose` are those of Deep Learning from Scratch. Unlike there, every
    sample is used once an epoch; `sampling="choice"` draws as the book does.

    Parameters
    ----------
    network : on the device where everything happens
    x_train, t_train, x_test, t_test : NumPy arrays; uint8 images are scaled to 0..1 on the device,
        floats are taken as they are
    epochs : passes over the training data
    mini_batch_size : samples a step
    optimizer : a name, or an Optimizer
    optimizer_param : arguments of an optimizer given by name
    evaluate_sample_num_per_epoch : samples of each set to measure accuracy on; all if None
    verbose : show a progress bar and a line an epoch
    seed : of the shuffles
    sampling, resident : as in `Batches`
    augment : what changes the training images of every step, such as an `Augmentation`
    on_epoch : called with the metrics after every epoch
    on_step : called between steps; where steps are replayed, after every fifty. It may save
        `state`, or raise an error to stop
    constraint : what the parameters are brought to after every update, such as `MaxNorm(3)`
    early_stopping : when to end before `epochs` are done, by the test accuracies
    clip_norm : gradients are together made no longer than this before every update
    schedule : learning rate by number of steps done, set before every update, such as
        `Cosine(0.1, steps=6000)`; the optimizer's own is then not used
    engine, threads, precision, skip_engine_check : what computes, as in `get_engine`; a GPU's
        engine is checked at once, by the first training samples. On a GPU whole steps are
        recorded and replayed, if the data are resident and nothing asks for more than there are
        kernels for; `describe` tells.

    Attributes
    ----------
    train_loss_list : loss of every step so far
    train_acc_list, test_acc_list : accuracies after every epoch so far
    history : `EpochMetrics` of every epoch so far
    steps : number of updates so far
    engine : what computes for the network
    """

    def __init__(
        self,
        network: Network,
        x_train: np.ndarray,
        t_train: np.ndarray,
        x_test: np.ndarray,
        t_test: np.ndarray,
        epochs: int = 20,
        mini_batch_size: int = 100,
        optimizer: str | Optimizer = "SGD",
        optimizer_param: Mapping[str, float] | None = None,
        evaluate_sample_num_per_epoch: int | None = None,
        verbose: bool = True,
        *,
        seed: int = 0,
        sampling: str = "shuffle",
        resident: bool | None = None,
        augment: Augment | None = None,
        on_epoch: Callable[[EpochMetrics], None] | None = None,
        on_step: Callable[[], None] | None = None,
        constraint: Constraint | None = None,
        early_stopping: EarlyStopping | None = None,
        clip_norm: float | None = None,
        schedule: Schedule | None = None,
        engine: str = "auto",
        threads: int | None = None,
        precision: str | None = None,
        skip_engine_check: bool = False,
    ) -> None:
        if epochs < 1:
            raise ArgumentError(f"training needs at least one epoch, got {epochs}")
        if evaluate_sample_num_per_epoch is not None and evaluate_sample_num_per_epoch < 1:
            raise ArgumentError(
                "accuracy needs at least one sample to be measured on, got "
                f"{evaluate_sample_num_per_epoch}; use None for all"
            )
        for t in (t_train, t_test):
            _check_labels(t, network)
        self.network, self.epochs, self.verbose = network, epochs, verbose
        self.optimizer = _optimizer(optimizer, optimizer_param)
        self.evaluate_samples = evaluate_sample_num_per_epoch
        self.on_epoch, self.on_step = on_epoch, on_step
        self.constraint, self.early_stopping = constraint, early_stopping
        self.clip_norm, self.schedule = clip_norm, schedule
        self.engine = get_engine(
            network,
            engine,
            threads,
            precision=precision,
            skip_engine_check=skip_engine_check,
        )
        self._training: Training | None = None
        self.train_batches = Batches(
            x_train,
            t_train,
            mini_batch_size,
            device=network.device,
            seed=seed,
            dtype=network.dtype,
            sampling=sampling,
            resident=resident,
            augment=augment,
        )
        self.test_batches = Batches(
            x_test,
            t_test,
            min(evaluation_batch(network.device), len(x_test)),
            device=network.device,
            dtype=network.dtype,
            resident=resident,
        )
        if isinstance(self.engine, CudaEngine):
            x, t = self.train_batches.x[:SAMPLES], self.train_batches.t[:SAMPLES]
            rule = self.optimizer if self._steps_obstacle() is None else None
            self.engine = self.engine.check(x, t, rule, self.clip_norm)
        self.history: list[EpochMetrics] = []
        self.train_loss_list: list[float] = []
        self.steps = 0
        self.seconds = 0.0
        # Batches done of an epoch that is not, and the losses of an epoch so far
        self._done, self._losses = 0, network.device.zeros(0, dtype=network.dtype)

    @property
    def train_acc_list(self) -> list[float]:
        """Training accuracy after every epoch so far."""
        return [metrics.train_accuracy for metrics in self.history]

    @property
    def test_acc_list(self) -> list[float]:
        """Test accuracy after every epoch so far."""
        return [metrics.test_accuracy for metrics in self.history]

    def train_step(self, x: Array, t: Array) -> Array:
        """One update on one batch; the loss before it, 0-d on the device."""
        loss, _, grads = self.engine.loss_and_gradient(x, t)
        self._update(grads)
        return loss

    def _update(self, grads: Mapping[str, Array]) -> None:
        if self.clip_norm is not None:
            grads = clip_by_norm(grads, self.clip_norm)
        if self.schedule is not None:
            self.optimizer.lr = self.schedule(self.steps)
        self.optimizer.update(self.network.params, grads)
        self.steps += 1
        if self.constraint is not None:
            self.constraint.apply(self.network.params)

    def train_epoch(self) -> EpochMetrics:
        """One pass over the training data, or what is left of it, and the accuracies after it.

        Losses gather on the device and are read once, at the end: a step never waits for the host.

        Raises
        ------
        DivergedError
            A loss is not finite, or a parameter; told before the update on a CPU, and on a GPU
            after the epoch or when its state is asked for.
        """
        device, number = self.network.device, len(self.history)
        with device.guarded(), self._progress(number) as bar:
            # Compiled and recorded before the clock starts.
            training = self._whole_steps() if self._steps_obstacle() is None else None
            if training is not None:
                training.prepare()
            device.synchronize()
            bar.update(self._done)
            start = time.perf_counter()
            for count in self._steps(number, training):
                bar.update(count)
                if self.on_step is not None:
                    self.seconds += time.perf_counter() - start
                    self.on_step()
                    start = time.perf_counter()
            device.synchronize()
        self.seconds += time.perf_counter() - start
        epoch_losses = self._checked_losses()
        self.train_loss_list += epoch_losses.tolist()
        metrics = EpochMetrics(
            number + 1,
            float(np.mean(epoch_losses, dtype=np.float64)),
            self.evaluate(self.train_batches),
            self.evaluate(self.test_batches),
            self.seconds,
        )
        self.history.append(metrics)
        self._done = 0
        return metrics

    def _steps(self, number: int, training: Training | None) -> Iterator[int]:
        """Go through what is left of epoch `number`; gives how many steps it just took."""
        batches, first, kept = self.train_batches, self._done, self._losses
        if training is not None:
            training.begin(batches.order(number), self._rates(), first=first)
            self._losses = training.losses
        else:
            self._losses = self.network.device.zeros(len(batches), dtype=self.network.dtype)
        if first:
            self._losses[:first] = kept[:first]
        yield from self._one_by_one(number) if training is None else self._recorded(training)

    def _recorded(self, training: Training) -> Iterator[int]:
        """All at once, or so many as are recorded as one where somebody looks on."""
        total = len(self.train_batches)
        while self._done < total:
            count = min(total if self.on_step is None else UNROLL, total - self._done)
            training.advance(count)
            self._done += count
            self.steps += count
            yield count

    def _one_by_one(self, number: int) -> Iterator[int]:
        """Batch after batch."""
        on_host = self.network.device.is_host
        for x, t in self.train_batches.epoch(number, first=self._done):
            loss, _, grads = self.engine.loss_and_gradient(x, t)
            if on_host and not isfinite(loss):
                raise self._diverged(self._loss_of(self._done, float(loss)), grads)
            self._update(grads)
            self._losses[self._done] = loss
            self._done += 1
            yield 1

    def _checked_losses(self) -> np.ndarray:
        """Of the epoch's steps so far, if they and the parameters are numbers to go on from."""
        losses = to_numpy(self._losses)[: self._done]
        if len(bad := np.flatnonzero(~np.isfinite(losses))):
            raise self._diverged(self._loss_of(int(bad[0]), losses[bad[0]]))
        xp = self.network.device.xp
        if not xp.all(xp.isfinite(self.network.params.flat)):
            raise self._diverged(f"after {self.steps} steps not all parameters are finite")
        return losses

    def _loss_of(self, step: int, loss: float) -> str:
        return f"the loss of step {step + 1} of epoch {len(self.history) + 1} is {loss:.3g}"

    def _diverged(self, what: str, grads: Mapping[str, Array] | None = None) -> DivergedError:
        gradient = "" if grads is None else f", of the gradient {_largest(grads)}"
        return DivergedError(
            f"training cannot go on: {what}; the largest number of the parameters is "
            f"{_largest(self.network.params)}{gradient}; use a smaller learning rate than "
            f"{self.optimizer.lr:g}, or clip_norm"
        )

    def state(self) -> tuple[Params, dict[str, Any]]:
        """What training has come to: host arrays by name, and a record that JSON can hold.

        A fresh Trainer of the same arguments that is given them by `restore` goes on bit for bit,
        also from the middle of an epoch.

        Raises
        ------
        DivergedError
            A loss or a parameter is not finite.
        """
        losses = self._checked_losses()
        arrays = {
            f"{kind}.{name}": np.array(to_numpy(array))
            for kind, group in (
                ("params", self.network.params),
                ("state", self.network.state),
                ("optimizer", self.optimizer.state),
            )
            for name, array in group.items()
        }
        arrays["train_losses"] = np.asarray(self.train_loss_list, dtype=np.float64)
        arrays["epoch_losses"] = losses.copy()
        record = {
            "history": [asdict(metrics) for metrics in self.history],
            "steps": self.steps,
            "seconds": self.seconds,
            "lr": self.optimizer.lr,
        }
        return arrays, record

    def restore(self, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises
        ------
        CheckpointError
            It is of another network or optimizer, or of another dtype; the message names the first
            difference, and the network is as it was.
        """
        network, optimizer = self.network, self.optimizer
        optimizer.state = {}
        if any(name.startswith("optimizer.") for name in arrays):  # not before the first step
            optimizer.start({"flat": network.params.flat})
        groups = {"params": network.params, "state": network.state, "optimizer": optimizer.state}
        own = {f"{kind}.{name}": array for kind in groups for name, array in groups[kind].items()}
        given = {name: array for name, array in arrays.items() if "." in name}
        for name in sorted(own.keys() | given.keys()):
            if (here := _kind(own.get(name))) != (there := _kind(given.get(name))):
                raise CheckpointError(
                    f"a checkpoint of another network or optimizer cannot be used: {name} is "
                    f"{there} there and {here} here; build them as they were"
                )
        for name, array in own.items():
            array[...] = network.device.asarray(given[name])
        optimizer.lr = record["lr"]
        self.history = [EpochMetrics(**metrics) for metrics in record["history"]]
        self.train_loss_list = arrays["train_losses"].tolist()
        self.steps, self.seconds = record["steps"], record["seconds"]
        self._done = len(arrays["epoch_losses"])
        self._losses = network.device.asarray(arrays["epoch_losses"])

    def describe(self) -> dict[str, str | int]:
        """What the record of a run should say of what computes."""
        obstacle = self._steps_obstacle()
        if obstacle is None or not isinstance(self.engine, CudaEngine):
            return self.engine.describe()
        return self.engine.describe() | {"steps": f"launched one by one: {obstacle}"}

    def _steps_obstacle(self) -> str | None:
        """Why an epoch cannot be given to the engine as a whole, or None if it can."""
        if not isinstance(self.engine, CudaEngine):
            return "only the GPU's engine takes whole steps"
        if self.engine.instead is not None:
            return "the engine failed its check"
        if not self.train_batches.resident:
            return "the data are not resident on the device"
        if self.train_batches.augment is not None:
            return "there is no kernel for augmentation"
        if self.constraint is not None:
            return f"there is no kernel for {type(self.constraint).__name__}"
        return Training.obstacle(self.optimizer)

    def _whole_steps(self) -> Training:
        """The engine's steps, compiled for the optimizer as it is now."""
        assert isinstance(self.engine, CudaEngine)
        if self._training is None or not self._training.fits(self.optimizer, self.clip_norm):
            batches = self.train_batches
            self._training = self.engine.training(
                batches.x, batches.t, batches.batch_size, self.optimizer, clip_norm=self.clip_norm
            )
        return self._training

    def _rates(self) -> list[float]:
        """Learning rates of an epoch's steps; the optimizer is left with the last."""
        first = self.steps - self._done
        steps = range(first, first + len(self.train_batches))
        if self.schedule is None:
            return [self.optimizer.lr] * len(steps)
        rates = [self.schedule(step) for step in steps]
        self.optimizer.lr = rates[-1]
        return rates

    def train(self) -> list[EpochMetrics]:
        """Train until `epochs` epochs are done, or stopped early; the metrics of all of them."""
        while len(self.history) < self.epochs and not self._stopped():
            metrics = self.train_epoch()
            self._say(
                f"epoch {metrics.epoch:3d}   loss {metrics.train_loss:.4f}   "
                f"train {metrics.train_accuracy:.4f}   test {metrics.test_accuracy:.4f}"
            )
            classes = _classes(self.network)
            for hint in hints(self.history, self.train_loss_list, classes, self.optimizer.lr):
                self._say(f"hint: {hint}")
            if self.on_epoch is not None:
                self.on_epoch(metrics)
        return self.history

    def _stopped(self) -> bool:
        """Whether early stopping ends the run here."""
        if self.early_stopping is None or not self.early_stopping.is_over(self.test_acc_list):
            return False
        best = self.early_stopping.best_epoch(self.test_acc_list)
        self._say(
            f"stopped after epoch {len(self.history)}: the test accuracy has not risen since "
            f"epoch {best}, {self.test_acc_list[best - 1]:.4f}"
        )
        return True

    def _say(self, line: str) -> None:
        if self.verbose:
            from tqdm import tqdm

            tqdm.write(line)

    def evaluate(self, batches: Batches) -> float:
        """Accuracy on a data set, or on its first `evaluate_samples`; read once, at the end."""
        xp, correct = self.network.device.xp, self.network.device.zeros((), dtype="int64")
        size = evaluation_batch(self.network.device)
        with self.network.device.guarded():
            for x, t in batches.in_order(size, limit=self.evaluate_samples):
                labels = t if t.ndim == 1 else xp.argmax(t, axis=-1)
                hits = xp.argmax(self.engine.predict(x), axis=-1) == labels
                correct = correct + xp.sum(xp.astype(hits, xp.int64))
            right = int(correct)
        return right / min(batches.n_samples, self.evaluate_samples or batches.n_samples)

    def _progress(self, number: int) -> Any:
        from tqdm import tqdm

        return tqdm(
            total=len(self.train_batches),
            desc=f"epoch {number + 1}/{self.epochs}",
            unit="step",
            leave=False,
            # None shows the bar on a terminal only, so that logs stay readable.
            disable=None if self.verbose else True,
            mininterval=0.2,
        )


def _kind(array: Array | None) -> str:
    """Dtype and shape."""
    if array is None:
        return "nothing"
    return f"{str(array.dtype).rpartition('.')[2]} of shape {tuple(array.shape)}"


def _largest(arrays: Mapping[str, Array]) -> str:
    """The largest number and whose it is; what is no number counts as larger."""
    sizes = {name: float(np.max(np.abs(to_numpy(array)))) for name, array in arrays.items()}
    name = max(sizes, key=lambda name: (not isfinite(sizes[name]), sizes[name]))
    return f"{sizes[name]:.3g} in {name}"


def _classes(network: Network) -> int:
    return list(network.output_shapes.values())[-1][0]


def _check_labels(t: np.ndarray, network: Network) -> None:
    """Refuse labels without a class: on the device they would be no class at all, unnoticed."""
    classes = _classes(network)
    if t.ndim == 1 and t.dtype.kind in "iu" and len(t) and t.max() >= classes:
        raise ArgumentError(
            f"labels must be below the network's {classes} outputs, got {t.max()}; "
            "give the network one output for each class"
        )


def _optimizer(optimizer: str | Optimizer, arguments: Mapping[str, float] | None) -> Optimizer:
    if not isinstance(optimizer, str):
        return optimizer
    kind = OPTIMIZERS.get(optimizer.lower())
    if kind is None:
        raise ArgumentError(f"optimizer {optimizer!r} is unknown; use {', '.join(OPTIMIZERS)}")
    return kind(**(arguments or {"lr": 0.01}))
