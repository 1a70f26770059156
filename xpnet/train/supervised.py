"""Learning from samples with targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite

from xpnet.arguments import checked
from xpnet.arrays import Array
from xpnet.arrays.values import kind_of_numbers
from xpnet.data.augment import Augmentation
from xpnet.data.batches import Batches
from xpnet.engine import Steps, get_engine
from xpnet.engine.base import CHECKED, Uncopied
from xpnet.engine.threads import TakesTurns, in_turn
from xpnet.errors import ArgumentError
from xpnet.functions.losses import check_choice, check_probabilities, check_weights
from xpnet.functions.targets import TargetKind, values_of
from xpnet.layers import (
    HeadsWithLoss,
    IdentityWithLoss,
    Loss,
    SigmoidWithLoss,
    SoftmaxWithLoss,
)
from xpnet.layers.loss import check_outputs, ignored_by, main_loss, predicted
from xpnet.models.accuracy import check_finite, evaluation_batch
from xpnet.models.network import Network
from xpnet.optim import OPTIMIZERS, SGD, Optimizer
from xpnet.optim.checks import checked_rate
from xpnet.optim.clipping import checked_limit, clip_by_norm
from xpnet.optim.penalties import Constraint
from xpnet.optim.schedules import Schedule
from xpnet.report.metrics import R2, Accuracy, BinaryAccuracy, MeanLoss, Metric, checked_list
from xpnet.report.segmentation import MeanIoU, PixelAccuracy
from xpnet.train.learner import Batch, Learner, WholeSteps

_KNOWN = frozenset(OPTIMIZERS.values())


class Supervised(TakesTurns, Uncopied, Learner):
    """Samples, their targets, and a loss that says how far a network is from them.

    Classes or numbers, one output or many: what the network's loss takes can be learned. A step, or
    an evaluation, is one thread's at a time; others wait.

    Parameters
    ----------
    network : on the device where everything happens
    source : what to train on
    test : what to measure on besides; nothing if None
    optimizer : a name, or an Optimizer
    optimizer_param : arguments of an optimizer given by name; its own defaults if None
    metrics : what is measured after every epoch, of which the first decides what is best. If None,
        by the targets: of labels and one-hot rows `Accuracy`, of label maps `MeanIoU` and
        `PixelAccuracy`, for each head if there are several; of other rows the loss, and with
        `IdentityWithLoss` `R2`, with `SigmoidWithLoss` and rows of 0 and 1 `BinaryAccuracy`.
    evaluate_samples : of each set, to be measured on; all if None
    constraint : what the parameters are brought to after every update, such as `MaxNorm(3)`
    clip_norm : gradients are together made no longer than this before every update
    schedule : learning rate by number of steps done, set before every update, such as
        `Cosine(0.1, steps=6000)`; the optimizer's own is then not used
    engine, threads, precision, graph, skip_engine_check : what computes, as in `get_engine`; it is
        checked at once, by the first samples to train on

    Attributes
    ----------
    engine : what computes for the network

    Raises
    ------
    ArgumentError
        Targets are labels that the network has no outputs for, two metrics have one name, or what
        the optimizer, `clip_norm` or the engine is given cannot be had.
    """

    remedy = "make another, for a copy of the network"
    source: Batches
    metrics: Sequence[Metric]
    sets: Mapping[str, Batches]

    @partial(checked, but=("optimizer",))
    def __init__(
        self,
        network: Network,
        source: Batches,
        test: Batches | None = None,
        optimizer: str | Optimizer = "SGD",
        optimizer_param: Mapping[str, float] | None = None,
        *,
        metrics: Sequence[Metric] | None = None,
        evaluate_samples: int | None = None,
        constraint: Constraint | None = None,
        clip_norm: float | None = None,
        schedule: Schedule | None = None,
        engine: str = "auto",
        threads: int | None = None,
        precision: str | None = None,
        graph: bool = True,
        skip_engine_check: bool = False,
    ) -> None:
        if evaluate_samples is not None and evaluate_samples < 1:
            raise ArgumentError(
                f"accuracy needs at least one sample to be measured on, got {evaluate_samples}; "
                "use None for all"
            )
        self.sets = {"train": source}
        if test is not None:
            self.sets = {"train": source, "test": test}
        for batches in self.sets.values():
            batches.meet(network.output_shape, ignored_by(network.last_layer))
            _check_targets(network, batches)
        self.source, self.networks = source, {"network": network}
        own = _optimizer(optimizer, optimizer_param)
        if schedule is not None and type(own) is SGD:  # which may serve others, at its own rate
            own = own.fresh()
        self.optimizers = {"network": own}
        self.metrics = (
            _default_metrics(network, self.sets)
            if metrics is None
            else checked_list("metrics", metrics, Metric, "Accuracy(), R2()")
        )
        names = [metric.name for metric in self.metrics]
        if not names or len(set(names)) < len(names):
            raise ArgumentError(
                "at least one metric is needed, and each needs a name of its own, got "
                f"{names}; two of one kind need different heads"
            )
        self.best = f"{'train' if test is None else 'test'}_{names[0]}"
        self.evaluate_samples, self.constraint = evaluate_samples, constraint
        self.clip_norm = None if clip_norm is None else checked_limit(clip_norm)
        self.schedule = schedule
        self._begin_turns()
        self.engine = get_engine(
            network,
            engine,
            threads,
            precision=precision,
            graph=graph,
            skip_engine_check=skip_engine_check,
        )
        self._steps: Steps | None = None
        # Of the engine's steps, those that it will take.
        rule = self.optimizer if self.steps_obstacle() is None else None
        self.engine = self.engine.check(*source.first(CHECKED), rule, self.clip_norm)

    def __repr__(self) -> str:
        return f"Supervised({self.network!r}, {self.optimizer!r}, {self.metrics})"

    @property
    def network(self) -> Network:
        """The network that learns."""
        return self.networks["network"]

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer that updates it."""
        return self.optimizers["network"]

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer) -> None:
        self.optimizers["network"] = _optimizer(optimizer, None)

    def step(self, batch: Batch) -> dict[str, Array]:
        """One update on inputs and targets; the loss before it."""
        with self._turn:
            x, t = batch
            self.gradient = None  # or the next one would need room beside it
            loss, _, grads = self.engine.loss_and_gradient(x, t)
            self.gradient = grads
            # With another loss the Trainer ends: it is looked at where that does not cost a wait.
            if not self.source.device.is_host or isfinite(loss):
                self._update(grads)
            return {"loss": loss}

    def _update(self, grads: Mapping[str, Array]) -> None:
        network, optimizer = self.network, self.optimizer
        if self.clip_norm is not None:
            grads = clip_by_norm(grads, self.clip_norm)
        if self.schedule is not None:
            optimizer.lr = self.schedule(self.steps_done)
        self.updating = True
        optimizer.update(network.params, grads)
        if self.constraint is not None:
            self.constraint.apply(network.params)

    @property
    def tells_updates(self) -> bool:  # type: ignore[override]
        """True, unless something foreign has a part in an update, which may fail in it."""
        return type(self.optimizer) in _KNOWN and self.constraint is None

    @in_turn
    def evaluate(self, source: Batches) -> dict[str, float]:
        """Every metric of a data set, or of its first `evaluate_samples`; read once, at the end."""
        for metric in self.metrics:
            metric.reset()
        device = self.network.device
        with device.guarded():
            size = evaluation_batch(device)
            xp, finite = device.xp, device.xp.asarray(True, device=device.native)
            for x, t in source.in_order(size, limit=self.evaluate_samples):
                outputs = self.engine.predict(x)
                for metric in self.metrics:
                    metric.update(outputs, predicted(self.network.last_layer, t))
                for given in (x, *values_of(t)):
                    if kind_of_numbers(given) == "floats":
                        finite = finite & xp.all(xp.isfinite(given))
            if not finite:
                self._tell_not_finite(source, size)
            return {metric.name: metric.value() for metric in self.metrics}

    def _tell_not_finite(self, source: Batches, size: int) -> None:
        name = next((name for name, own in self.sets.items() if own is source), "evaluation")
        for k, (x, t) in enumerate(source.in_order(size, limit=self.evaluate_samples)):
            check_finite(x, k * size, f"inputs of the {name} data")
            for each in values_of(t):
                check_finite(each, k * size, f"targets of the {name} data")

    def steps(self) -> WholeSteps | None:
        """The engine's steps, compiled for the optimizer as it is now; None if it takes none."""
        if self.steps_obstacle() is not None:
            return None
        if self._steps is None or not self._steps.fits(self.optimizer, self.clip_norm):
            source = self.source
            self._steps = self.engine.steps(
                source.x, source.t, source.batch_size, self.optimizer, clip_norm=self.clip_norm
            )
        self._steps.prepare()
        return _OfEngine(self, self._steps)

    def steps_obstacle(self) -> str | None:
        """Say why the engine cannot take whole steps; None if it can."""
        if not self.source.resident:
            return "the data are not resident on the device"
        if isinstance(self.source.t, Mapping):
            return "every head has targets of its own"
        if self.source.augment is not None:
            return "there is no kernel for augmentation"
        if self.constraint is not None:
            return f"there is no kernel for {type(self.constraint).__name__}"
        return self.engine.steps_obstacle(self.optimizer)

    def describe(self) -> dict[str, str | int]:
        """Tell what the record of a run should say of what computes."""
        about = self.engine.describe()
        if "steps" in about and (obstacle := self.steps_obstacle()) is not None:
            about["steps"] = f"launched one by one: {obstacle}"
        return about


@dataclass
class _OfEngine:
    """An engine's steps, with the samples and learning rates of an epoch."""

    learner: Supervised
    of_engine: Steps

    @property
    def unroll(self) -> int:
        return self.of_engine.unroll

    def begin(self, epoch: int, first: int) -> dict[str, Array]:
        order = self.learner.source.order(epoch)
        self.of_engine.begin(order, self._rates(first), first=first)
        return {"loss": self.of_engine.losses}

    def advance(self, count: int) -> None:
        self.of_engine.advance(count)

    def _rates(self, first: int) -> list[float]:
        """Learning rates of an epoch's steps; the optimizer is left with the last."""
        learner = self.learner
        start = learner.steps_done - first
        steps = range(start, start + len(learner.source))
        if learner.schedule is None:
            return [learner.optimizer.lr] * len(steps)
        rates = [checked_rate(learner.schedule(step)) for step in steps]
        learner.optimizer.lr = rates[-1]
        return rates


def classes_of(network: Network) -> int:
    """Count the outputs that a network chooses from, the fewest if there are several heads."""
    shape = network.output_shape
    return int(min(s[0] for s in shape.values()) if isinstance(shape, dict) else shape[0])


def _check_targets(network: Network, batches: Batches) -> None:
    """Refuse, once and where nothing waits for it, targets that a cross-entropy is not for.

    And a loss that is for other outputs than the network's, and images that move away from maps.
    """
    if isinstance(batches.augment, Augmentation) and "label maps" in values_of(batches.target_kind):
        raise ArgumentError(
            "an Augmentation moves images, and would leave their label maps where they are; leave "
            "it out, or give a function that moves nothing, such as of brightness"
        )
    last, shapes = network.last_layer, network.output_shape
    check_outputs(last, shapes)
    losses = last.losses if isinstance(last, HeadsWithLoss) else {"": last}
    for name, loss in losses.items():
        shape = shapes[name] if isinstance(shapes, dict) else shapes
        t = batches.t[name] if isinstance(batches.t, Mapping) else batches.t
        if type(loss) is SoftmaxWithLoss:
            check_choice(shape[0])
            check_weights(loss.class_weights, shape[0])
        if type(loss) in (SoftmaxWithLoss, SigmoidWithLoss) and t.shape[1:] == shape:
            check_probabilities(t)


def _default_metrics(network: Network, sets: Mapping[str, Batches]) -> list[Metric]:
    """Choose the metrics that the targets, and a network's loss, allow."""
    last = network.last_layer
    loss, heads = main_loss(last), predicted(last, network.output_shape)
    kinds = [predicted(last, batches.target_kind) for batches in sets.values()]
    if not isinstance(heads, dict):
        found = _metrics_of(loss, set(kinds), None)
    else:
        losses: Mapping[str, Loss] = {}
        weights: Mapping[str, float] = {}
        if isinstance(loss, HeadsWithLoss):
            losses, weights = loss.losses, loss.weights
        found = [
            metric
            for name in sorted(heads, key=lambda name: -weights.get(name, 1.0))
            for metric in _metrics_of(
                losses.get(name),
                {kind[name] if isinstance(kind, Mapping) else kind for kind in kinds},
                name,
            )
        ]
    metrics = [metric for metric in found if metric is not None]
    if all(isinstance(metric, Accuracy) for metric in found):
        return metrics
    return [MeanLoss(loss), *metrics]


def _metrics_of(loss: Loss | None, kinds: set[TargetKind], head: str | None) -> list[Metric | None]:
    """What there is besides the loss to be measured of one output; None if there is nothing."""
    ignore = None if loss is None else ignored_by(loss)
    if kinds == {"label maps"}:
        return [MeanIoU(head, ignore=ignore), PixelAccuracy(head, ignore=ignore)]
    if kinds <= {"labels", "one-hot"}:
        return [Accuracy(head, ignore=ignore)]
    if isinstance(loss, IdentityWithLoss):
        return [R2(head)]
    if isinstance(loss, SigmoidWithLoss) and "numbers" not in kinds:
        return [BinaryAccuracy(head)]
    return [None]


def _optimizer(optimizer: str | Optimizer, arguments: Mapping[str, float] | None) -> Optimizer:
    if isinstance(optimizer, Optimizer):
        if arguments is not None:
            raise ArgumentError(
                f"optimizer_param is of an optimizer given by name, and {optimizer!r} has its own; "
                "leave it out"
            )
        return optimizer
    if not isinstance(optimizer, str):
        raise ArgumentError(
            f"an optimizer is a name or an instance of Optimizer, got {optimizer!r}; give 'sgd' or "
            "SGD(lr=0.01), for instance"
        )
    kind = OPTIMIZERS.get(optimizer.lower())
    if kind is None:
        raise ArgumentError(f"optimizer {optimizer!r} is unknown; use {', '.join(OPTIMIZERS)}")
    known = kind().arguments()
    if not isinstance(arguments, Mapping | None):
        raise ArgumentError(
            f"optimizer_param is arguments by name, such as {{'lr': 0.1}}, got {arguments!r}"
        )
    if unknown := set(arguments or {}) - known.keys():
        raise ArgumentError(
            f"{kind.__name__} has no argument {min(unknown)!r} in optimizer_param; there are "
            f"{', '.join(known)}"
        )
    return kind(**(arguments or {}))
