"""Metrics: numbers that are measured of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import nan
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace, to_numpy
from xpnet.arrays.values import as_array, floating
from xpnet.errors import ArgumentError
from xpnet.functions.losses import as_one_hot
from xpnet.functions.targets import by_head
from xpnet.layers import HeadsWithLoss, Loss, SoftmaxWithLoss
from xpnet.layers.loss import main_loss, predicted
from xpnet.models.accuracy import counted, share_of

T = TypeVar("T")
Direction: TypeAlias = Literal["max", "min"]
"""The better of two values: the larger or the smaller."""


def checked_list(what: str, given: Any, kind: type[T], such: str) -> list[T]:
    """The list of `given`, if all in it are instances of `kind`, such as these."""
    found = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    wrong = [one for one in found if not isinstance(one, kind)]
    if wrong or not isinstance(given, Sequence):
        raise ArgumentError(
            f"{what} must be a list of instances of {kind.__name__}, got "
            f"{wrong[0] if wrong else given!r}; give {what}=[{such}], for instance"
        )
    return found


class Measured(Protocol):
    """A number that is known after an epoch, and when it is good."""

    @property
    def name(self) -> str:
        """Its name in a history, after the name of its data: "accuracy"."""

    @property
    def direction(self) -> Direction:
        """Either "max", where the largest value is best, or "min", where the smallest is."""


class Metric:
    """A number that outputs and targets have together, over any number of batches.

    Its sums stay on the device; `value` reads them, once. One of your own has a `name`, a
    `direction`, and `_sums`, what a batch adds; `_value` makes the number of them.

    Parameters
    ----------
    head : whose outputs are meant, where a network ends in several
    """

    kind: ClassVar[str]
    direction: Direction

    @checked
    def __init__(self, head: str | None = None) -> None:
        self.head = head
        self.reset()

    @property
    def name(self) -> str:
        """Its kind, after the name of its head if it has one."""
        return self.kind if self.head is None else f"{self.head}_{self.kind}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.head is None else f'head={self.head!r}'})"

    def reset(self) -> None:
        """Begin anew, with no samples."""
        self.samples = 0
        self._total: Array | None = None

    def update(self, outputs: Array | Mapping[str, Array], targets: Any) -> None:
        """Take in a batch; nothing is read back from the device.

        Parameters
        ----------
        outputs : of the network, (N, ...), or such by the names of its heads
        targets : labels (N,) or (N, 1), maps of them (N, ...), or an array in the shape of the
            outputs, or such by name

        Raises
        ------
        ArgumentError
            There is no such head, or the targets do not fit the outputs.
        """
        y, t = by_head(as_array, self._of_head(outputs)), by_head(as_array, targets)
        t = self._of_head(t) if isinstance(t, Mapping) else t
        sums = self._sums(y, t)
        self._total = sums if self._total is None else self._total + sums
        self.samples += _samples(t)

    def value(self) -> float:
        """The number, of all samples since `reset`.

        Raises
        ------
        ArgumentError
            There were none, or targets that have no such number.
        """
        if self._total is None or not self.samples:
            raise ArgumentError(f"{self.name} needs at least one sample to be measured on, got 0")
        return self._value(*to_numpy(self._total).tolist())

    def _of_head(self, outputs: Array | Mapping[str, Array]) -> Array:
        if not isinstance(outputs, Mapping):
            if self.head is None:
                return outputs
            raise ArgumentError(
                f"{self!r} needs a network with several heads, and this one has one; leave the "
                "head out"
            )
        if self.head is None or self.head not in outputs:
            raise ArgumentError(
                f"{self!r} must be told one of the network's heads, {', '.join(outputs)}; give "
                f"head={next(iter(outputs))!r}, for instance"
            )
        return outputs[self.head]

    def _sums(self, y: Array, t: Array) -> Array:
        """Compute what a batch adds to the sums, (k,), on the device."""
        raise NotImplementedError

    def _value(self, *sums: Any) -> float:
        """The number, of the sums as they are on the host."""
        raise NotImplementedError


class Accuracy(Metric):
    """Share of samples whose highest output is at the target, a label or a one-hot row.

    Of label maps it is the share of all their places. The first of equal outputs is the highest;
    outputs with NaN among them are never right, and a line on standard error tells of them. Rows
    that are not one-hot and labels without an output name no class, and are an error.

    Parameters
    ----------
    head : as in `Metric`
    ignore : the label of what is left out; None if there is none
    """

    kind, direction = "accuracy", "max"

    @checked
    def __init__(self, head: str | None = None, *, ignore: int | None = None) -> None:
        super().__init__(head)
        self.ignore = ignore

    def __repr__(self) -> str:
        given = {"head": self.head, "ignore": self.ignore}
        told = (f"{name}={value!r}" for name, value in given.items() if value is not None)
        return f"{type(self).__name__}({', '.join(told)})"

    def _sums(self, y: Array, t: Array) -> Array:
        return counted(y, t, self.ignore)

    def _value(self, *sums: Any) -> float:
        return share_of(*sums)


class BinaryAccuracy(Metric):
    """Share of outputs that are on the right side, each a sigmoid's score: above 0 for a 1.

    For outputs that may be 1 together. Targets are rows of 0 and 1; others are an error.
    """

    kind, direction = "binary_accuracy", "max"

    def _sums(self, y: Array, t: Array) -> Array:
        xp = array_namespace(y)
        target = _same_shape(self, y, t)
        clear = (target == 0) | (target == 1)
        right = ((y > 0) == (target == 1)) & ~xp.isnan(y)
        counts = [xp.sum(xp.astype(found, xp.int64)) for found in (right, ~clear)]
        return xp.stack([*counts, xp.sum(xp.ones_like(right, dtype=xp.int64))])

    def _value(self, *sums: Any) -> float:
        right, unclear, outputs = sums
        if unclear:
            raise ArgumentError(
                f"binary_accuracy needs rows of 0 and 1, and {unclear} of {outputs} targets are "
                "neither; use another metric, such as R2 for numbers"
            )
        return float(right / outputs)


class MeanLoss(Metric):
    """Mean of a loss over samples, without what a penalty adds to it.

    Losses of batches count by their samples, those of a `SoftmaxWithLoss` that weighs classes or
    leaves some out by what their labels count: right for every loss that is a mean. Of several
    heads with a main one, it is the loss of that one.

    Parameters
    ----------
    loss : such as a network's `last_layer`, which is given outputs and targets as they are
    """

    kind, direction = "loss", "min"

    @checked
    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def __repr__(self) -> str:
        return f"MeanLoss({type(self.loss).__name__})"

    def _of_head(self, outputs: Array | Mapping[str, Array]) -> Any:
        return outputs

    def _sums(self, y: Array, t: Array) -> Array:
        y, t = predicted(self.loss, y), predicted(self.loss, t)
        found: list[Array] = []
        for loss, weight, of, targets in _terms(main_loss(self.loss), y, t):
            value = loss.forward(of, targets)[0]
            xp = array_namespace(value)
            counts: Any = _samples(targets)
            if type(loss) is SoftmaxWithLoss and not loss.is_mean:
                counts = xp.astype(loss.weighed(targets, floating(of)).total, xp.float64)
            samples = counts * xp.ones_like(value, dtype=xp.float64)
            found += [weight * xp.astype(value, xp.float64) * samples, samples]
        return xp.stack(found)

    def _value(self, *sums: Any) -> float:
        pairs = zip(sums[::2], sums[1::2], strict=True)
        return float(sum(total / samples if samples else 0.0 for total, samples in pairs))


def _terms(loss: Loss, y: Any, t: Any) -> list[tuple[Loss, float, Any, Any]]:
    """The losses of several heads with their weights, outputs and targets; one loss as it is."""
    if type(loss) is not HeadsWithLoss:
        return [(loss, 1.0, y, t)]
    if not isinstance(y, Mapping) or (isinstance(t, Mapping) and t.keys() != loss.losses.keys()):
        loss.forward(y, t)  # which says what is wrong
    return [
        (each, loss.weights[name], y[name], t[name] if isinstance(t, Mapping) else t)
        for name, each in loss.losses.items()
    ]


class _OfErrors(Metric):
    """A mean over all outputs of what the errors y - t are."""

    def _sums(self, y: Array, t: Array) -> Array:
        xp = array_namespace(y)
        errors = xp.astype(y, xp.float64) - xp.astype(_same_shape(self, y, t), xp.float64)
        counted = xp.sum(xp.ones_like(errors))
        return xp.stack([xp.sum(self._size(errors)), counted])

    def _size(self, errors: Array) -> Array:
        raise NotImplementedError

    def _value(self, *sums: Any) -> float:
        return float(sums[0] / sums[1])


class MeanSquaredError(_OfErrors):
    """1/(NK) sum (y - t)^2, over all outputs of all samples."""

    kind, direction = "mean_squared_error", "min"

    def _size(self, errors: Array) -> Array:
        return errors * errors


class MeanAbsoluteError(_OfErrors):
    """1/(NK) sum |y - t|, over all outputs of all samples."""

    kind, direction = "mean_absolute_error", "min"

    def _size(self, errors: Array) -> Array:
        return array_namespace(errors).abs(errors)


class R2(Metric):
    """Coefficient of determination: the share of the targets' variance that outputs explain.

        R2 = 1 - sum (y - t)^2 / sum (t - mean t)^2

    Both sums are over all samples and outputs; each output has a mean of its own. 1 is exact, 0 no
    better than the means, and it can be below. It is scikit-learn's `r2_score` with
    `multioutput="variance_weighted"`, except that targets which are all the same, and so have no
    variance to be explained, give NaN, which no early stopping takes for an improvement.
    """

    kind, direction = "r2", "max"

    def reset(self) -> None:
        """Begin anew, with no samples."""
        super().reset()
        self._first: Array | None = None

    def _sums(self, y: Array, t: Array) -> Array:
        xp = array_namespace(y)
        t = xp.astype(_same_shape(self, y, t), xp.float64)
        errors = xp.astype(y, xp.float64) - t
        if self._first is None:  # less which, squares lose no digits to a mean far from 0
            self._first = xp.asarray(t[:1, ...], copy=True)
        t = xp.reshape(t - self._first, (t.shape[0], -1))
        return xp.stack(
            [
                xp.sum(xp.reshape(errors * errors, t.shape), axis=0),
                xp.sum(t, axis=0),
                xp.sum(t * t, axis=0),
            ]
        )

    def _value(self, *sums: Any) -> float:
        residual, first, second = sums
        total = sum(q - s * s / self.samples for s, q in zip(first, second, strict=True))
        return 1 - sum(residual) / total if total > 0 else nan


def _samples(t: Any) -> int:
    """Count the samples of targets, which may be by the names of heads."""
    first = next(iter(t.values())) if isinstance(t, Mapping) else t
    return int(first.shape[0])


def _same_shape(metric: Metric, y: Array, t: Array) -> Array:
    """Targets in the shape of the outputs: labels become one-hot, as the losses take them."""
    try:
        return as_one_hot(t, y)
    except ArgumentError as error:
        raise ArgumentError(f"{metric.name}: {error}") from error


DIRECTIONS: dict[str, Direction] = {
    kind.kind: kind.direction
    for kind in (Accuracy, BinaryAccuracy, MeanLoss, R2, MeanSquaredError, MeanAbsoluteError)
}
"""Directions of the library's metrics, by name."""


@dataclass(frozen=True)
class EpochMetrics:
    """The numbers that are known after an epoch.

    Also by name, as `metrics["test_r2"]`; `metrics.values` has all that was measured.
    """

    epoch: int
    """Epochs done, from 1."""
    train_loss: float
    """Mean loss of the epoch's batches, each taken just before its update."""
    train_accuracy: float | None = None
    test_accuracy: float | None = None
    """None where it was not measured, like that of training."""
    seconds: float = 0.0
    """Time spent training, from the start of the run, evaluations left out."""
    others: Mapping[str, float] = field(default_factory=dict, hash=False)
    """All else that was measured, such as "test_r2"."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "EpochMetrics":
        """Make it of a record as `record` gives it, or one with nothing but what is measured."""
        own = {f.name for f in fields(cls)} - {"others"}
        others = {name: value for name, value in record.items() if name not in own}
        return cls(**{name: value for name, value in record.items() if name in own}, others=others)

    @property
    def values(self) -> dict[str, float]:
        """All that was measured, by name."""
        known = {
            "train_loss": self.train_loss,
            "train_accuracy": self.train_accuracy,
            "test_accuracy": self.test_accuracy,
        }
        return {name: value for name, value in known.items() if value is not None} | dict(
            self.others
        )

    def __getitem__(self, name: str) -> float:
        values = self.values
        if name not in values:
            raise KeyError(f"{name!r} was not measured; there are {', '.join(values)}")
        return values[name]

    def record(self) -> dict[str, float]:
        """Everything by name, from the epoch to the seconds: what a file keeps of it."""
        return {"epoch": self.epoch, **self.values, "seconds": self.seconds}


def columns(history: Sequence[EpochMetrics]) -> list[str]:
    """The names of a table of `history`; a classifier's, while it is empty."""
    return list((history[0] if history else EpochMetrics(0, nan, nan, nan)).record())


def spoken(name: str) -> str:
    """A metric's name as people write it: "mean IoU" for mean_iou, "mAP50" for map50, "BLEU-4"."""
    for written, told in (("_", " "), ("iou", "IoU"), ("map", "mAP"), ("bleu", "BLEU-")):
        name = name.replace(written, told)
    return name
