"""Training a network, as the book does it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from xpnet.arguments import checked
from xpnet.data.batches import Augment, Batches
from xpnet.engine import Engine
from xpnet.errors import ArgumentError
from xpnet.layers.loss import ignored_by
from xpnet.models.accuracy import evaluation_batch
from xpnet.models.network import Network
from xpnet.optim import Optimizer
from xpnet.optim.penalties import Constraint
from xpnet.optim.schedules import Schedule
from xpnet.report.metrics import EpochMetrics, Metric
from xpnet.train.callbacks import Callback
from xpnet.train.early_stopping import EarlyStopping
from xpnet.train.learner import Learner
from xpnet.train.loop import Loop
from xpnet.train.supervised import Supervised

T = TypeVar("T")


class _Of(Generic[T]):
    """An attribute of the `Supervised` that a trainer trains."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, trainer: "Trainer", owner: type | None = None) -> T:
        found: T = self if trainer is None else getattr(trainer.supervised, self._name)
        return found

    def __set__(self, trainer: "Trainer", value: T) -> None:
        setattr(trainer.supervised, self._name, value)


class Trainer(Loop):
    """Trains a network on batches and measures it after each epoch.

    The arguments up to `verbose` are those of Deep Learning from Scratch. Unlike there, every
    sample is used once an epoch; `sampling="choice"` draws as the book does. They make a
    `Supervised`, which is the way of learning; `Trainer.of(learner)` takes one of your own instead.
    Steps are taken whole or not at all, as `Loop` says.

    Parameters
    ----------
    network : on the device where everything happens
    x_train, t_train : NumPy arrays; uint8 images are scaled to 0..1 on the device, floats are taken
        as they are; labels (N,) or (N, H, W), or rows (N, K) of what the network's loss takes
    x_test, t_test : the same to measure on, or None for both
    epochs : passes over the training data
    mini_batch_size : samples a step
    optimizer : a name, or an Optimizer
    optimizer_param : arguments of an optimizer given by name; its own defaults if None
    evaluate_sample_num_per_epoch : samples of each set to be measured on; all if None
    verbose : show a progress bar and a line an epoch
    seed : of the shuffles
    sampling, resident : as in `Batches`
    augment : what changes the training images of every step, such as an `Augmentation`
    on_epoch : called with the metrics after every epoch
    on_step : called between steps; where steps are replayed, after every fifty. It may save
        `state`, or raise an error to stop
    callbacks : more that looks on, with the trainer at hand
    metrics : what is measured after every epoch, as in `Supervised`
    constraint, clip_norm, schedule : as in `Supervised`
    early_stopping : when to end before `epochs` are done
    engine, threads, precision, graph, skip_engine_check : what computes, as in `get_engine`; a
        GPU's engine is checked at once, by the first training samples. On a GPU whole steps are
        recorded and replayed, if the data are resident and nothing asks for more than there are
        kernels for; `describe` tells.

    Attributes
    ----------
    learner : what is trained
    train_loss_list : loss of every step so far
    train_acc_list, test_acc_list : accuracies after every epoch so far, where they are measured
    history : `EpochMetrics` of every epoch so far
    network, optimizer, engine, train_batches, ... : the learner's, if it is `Supervised`
    """

    network = _Of[Network]()
    optimizer = _Of[Optimizer]()
    engine = _Of[Engine]()
    constraint = _Of[Constraint | None]()
    clip_norm = _Of[float | None]()
    schedule = _Of[Schedule | None]()
    evaluate_samples = _Of[int | None]()

    @partial(checked, but=("optimizer", "epochs", "early_stopping"))
    def __init__(
        self,
        network: Network,
        x_train: Any,
        t_train: Any,
        x_test: Any = None,
        t_test: Any = None,
        epochs: int = 20,
        mini_batch_size: int = 100,
        optimizer: str | Optimizer = "SGD",
        optimizer_param: Mapping[str, float] | None = None,
        evaluate_sample_num_per_epoch: int | None = None,
        verbose: bool = True,
        *,
        seed: int = 0,
        sampling: Literal["shuffle", "choice"] = "shuffle",
        resident: bool | None = None,
        augment: Augment | None = None,
        on_epoch: Callable[[EpochMetrics], object] | None = None,
        on_step: Callable[[], object] | None = None,
        callbacks: Sequence[Callback] = (),
        metrics: Sequence[Metric] | None = None,
        constraint: Constraint | None = None,
        early_stopping: EarlyStopping | None = None,
        clip_norm: float | None = None,
        schedule: Schedule | None = None,
        engine: str = "auto",
        threads: int | None = None,
        precision: str | None = None,
        graph: bool = True,
        skip_engine_check: bool = False,
    ) -> None:
        if (x_test is None) != (t_test is None):
            raise ArgumentError("a test set needs x_test and t_test; give both, or neither")
        options: dict[str, Any] = {
            "device": network.device, "dtype": network.dtype, "resident": resident,
            "ignore": ignored_by(network.last_layer),
        }  # fmt: skip
        source = Batches(
            x_train,
            t_train,
            mini_batch_size,
            seed=seed,
            sampling=sampling,
            augment=augment,
            **options,
        )
        test = None
        if x_test is not None and t_test is not None:
            test = Batches(x_test, t_test, evaluation_batch(network.device), **options)
        learner = Supervised(
            network,
            source,
            test,
            optimizer,
            optimizer_param,
            metrics=metrics,
            evaluate_samples=evaluate_sample_num_per_epoch,
            constraint=constraint,
            clip_norm=clip_norm,
            schedule=schedule,
            engine=engine,
            threads=threads,
            precision=precision,
            graph=graph,
            skip_engine_check=skip_engine_check,
        )
        super().__init__(
            learner,
            epochs,
            verbose,
            callbacks=callbacks,
            on_step=on_step,
            on_epoch=on_epoch,
            early_stopping=early_stopping,
        )

    @classmethod
    def of(cls, learner: Learner, *arguments: Any, **options: Any) -> "Trainer":
        """A trainer of any `Learner`; the other arguments are those of `Loop`."""
        trainer = cls.__new__(cls)
        Loop.__init__(trainer, learner, *arguments, **options)
        return trainer

    @property
    def supervised(self) -> Supervised:
        """The learner, if it is one of samples with targets."""
        if not isinstance(self.learner, Supervised):
            raise AttributeError(
                f"a trainer of {type(self.learner).__name__} has no network and no optimizer of "
                "its own; its learner has them, by name"
            )
        return self.learner

    @property
    def train_batches(self) -> Batches:
        """The batches to train on."""
        return self.supervised.source

    @property
    def test_batches(self) -> Batches:
        """The batches to measure on besides.

        Raises
        ------
        ArgumentError
            There is no test set.
        """
        sets = self.supervised.sets
        if "test" not in sets:
            raise ArgumentError("there is no test set; give Trainer x_test and t_test")
        return sets["test"]

    @property
    def train_acc_list(self) -> list[float]:
        """Training accuracy after every epoch so far."""
        return [m.train_accuracy for m in self.history if m.train_accuracy is not None]

    @property
    def test_acc_list(self) -> list[float]:
        """Test accuracy after every epoch so far."""
        return [m.test_accuracy for m in self.history if m.test_accuracy is not None]
