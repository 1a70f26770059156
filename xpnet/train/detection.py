"""Learning to detect objects: the two networks of Faster R-CNN, in one step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, to_numpy
from xpnet.data.batches import Batches
from xpnet.engine import get_engine
from xpnet.engine.base import CHECKED, Uncopied
from xpnet.engine.threads import TakesTurns, in_turn
from xpnet.errors import ArgumentError, DivergedError
from xpnet.models.detections import Detections, Objects, checked_objects, table_of
from xpnet.models.faster_rcnn import AT_A_TIME, FasterRCNN
from xpnet.optim import OPTIMIZERS, Adam, Optimizer
from xpnet.optim.schedules import Schedule
from xpnet.report.detection import DetectionScores, MeanAveragePrecision, Recall
from xpnet.train.joined import draws_of, joined
from xpnet.train.learner import Batch, Learner

_KNOWN = frozenset(OPTIMIZERS.values())
TOTAL = "loss"


@dataclass(frozen=True)
class ProposalRecall(Recall):
    """The share of objects that proposals overlap, whatever class they will be of."""

    @property
    def name(self) -> str:
        """Such as "proposal_recall50", for an overlap of 0.5."""
        return f"proposal_{super().name}"

    def of(self, boxes: Sequence[np.ndarray], objects: Sequence[Objects]) -> float:
        """The number, of the boxes that were proposed of each picture, the likeliest first."""
        scores = DetectionScores(1)
        scores.update(*_of_one_class(boxes, objects))
        return self.value(scores)


class Detection(TakesTurns, Uncopied, Learner):
    """Pictures, and the boxes and classes of what is on them, for a `FasterRCNN`.

        L = rpn_objectness + rpn_boxes + class + boxes

    Of a picture, 32 anchors are drawn, at most 16 of which hold an object: they overlap one by 0.6
    or more, or are the best that an object has; the others overlap none by 0.3. Objectness has the
    cross-entropy of a sigmoid, and deltas of those with an object smooth L1 with beta 1/9. Then 16
    of the proposals and of the true boxes are drawn, at most 8 of which overlap an object by a
    half: their classes have softmax with cross-entropy, and the deltas of those 8 smooth L1 with
    beta 1. What the second network's gradient is by the features is added to the first network's;
    none goes to the boxes. `xpnet.train.joined` has the formulas.

    All draws of a step follow from `seed`, its epoch and its batch; NumPy draws on every device.
    Nothing is read back from a device in a step. On the host the loss is looked at, since that
    costs no wait, and if it is no number nothing is updated.

    Parameters
    ----------
    detector : on the device where everything happens
    x, objects : pictures to train on, (N, C, H, W), uint8 or floats from 0 to 1, and for each its
        boxes and labels, such as `Objects`; there may be none
    x_test, objects_test : the same to measure on, or None for both
    batch_size : pictures a step
    optimizer : of each network, which has its own; Adam with lr 0.002 if None
    seed : of the order of the pictures, and of what is drawn
    schedule : learning rate by number of steps done; the optimizer's own if None
    evaluate_samples : test pictures to be measured on; all if None
    resident : as in `Batches`
    engine, threads, precision, graph, skip_engine_check : what computes, as in `get_engine`

    Attributes
    ----------
    engines : what computes for each network, by its name

    Raises
    ------
    ArgumentError
        The pictures are of another shape than the detector's, there are objects for others than
        them, a box is empty or reaches beyond its picture, or a label is none of the classes.
    """

    remedy = "make another, for a copy of the detector"
    losses: Sequence[str] = (TOTAL, "rpn_objectness", "rpn_boxes", "class", "boxes")
    metrics: Sequence[MeanAveragePrecision | Recall] = (
        MeanAveragePrecision(),
        Recall(),
        ProposalRecall(),
    )
    source: Batches
    sets: Mapping[str, Batches]

    @partial(checked, but=("optimizer",))
    def __init__(
        self,
        detector: FasterRCNN,
        x: Any,
        objects: Sequence[Any],
        x_test: Any = None,
        objects_test: Sequence[Any] | None = None,
        batch_size: int = 20,
        optimizer: Optimizer | None = None,
        *,
        seed: int = 0,
        schedule: Schedule | None = None,
        evaluate_samples: int | None = None,
        resident: bool | None = None,
        engine: str = "auto",
        threads: int | None = None,
        precision: str | None = None,
        graph: bool = True,
        skip_engine_check: bool = False,
    ) -> None:
        if (x_test is None) != (objects_test is None):
            raise ArgumentError("a test set needs x_test and objects_test; give both, or neither")
        if evaluate_samples is not None and evaluate_samples < 1:
            raise ArgumentError(
                f"at least one picture is needed to be measured on, got {evaluate_samples}; use "
                "None for all"
            )
        optimizer = Adam(0.002) if optimizer is None else optimizer
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(
                "an optimizer must be an instance of Optimizer, such as Adam(0.002), got "
                f"{optimizer!r}"
            )

        def batches(pictures: Any, given: Sequence[Any], size: int) -> Batches:
            pictures = detector.checked_images(pictures)
            shape, classes = detector.input_shape, detector.classes
            truth = checked_objects(given, len(pictures), shape, classes)
            t = objects_table(truth, detector.dtype)
            place: dict[str, Any] = {"device": detector.device, "dtype": detector.dtype}
            return Batches(pictures, t, size, seed=seed, resident=resident, **place)

        self.detector, self.networks = detector, detector.networks
        self.source, self.sets = batches(x, objects, batch_size), {}
        if objects_test is not None:
            test = batches(x_test, objects_test, AT_A_TIME)
            if not any(len(labels) for _, labels in objects_test[:evaluate_samples]):
                raise ArgumentError(
                    "a test set needs at least one object to be measured on, got none; leave it "
                    "out, or measure on more of it"
                )
            self.sets = {"test": test}
        self.optimizers = {name: optimizer.fresh() for name in detector.networks}
        self.best = f"test_{self.metrics[0].name}" if self.sets else ""
        self.evaluate_samples = evaluate_samples
        self.seed, self.schedule = seed, schedule
        self._grads: dict[str, Mapping[str, Array]] | None = None
        self._begin_turns()
        options: dict[str, Any] = {
            "precision": precision, "graph": graph, "skip_engine_check": skip_engine_check
        }  # fmt: skip
        self.engines = {
            name: get_engine(network, engine, threads, **options)
            for name, network in detector.networks.items()
        }
        first = detector.networks["rpn"].place(self.source.first(CHECKED)[0])
        self.engines["rpn"] = self.engines["rpn"].check(first)

    def __repr__(self) -> str:
        return f"Detection({self.detector!r}, {self.optimizers['rpn']!r}, {self.source!r})"

    @property
    def gradient(self) -> Mapping[str, Array] | None:  # type: ignore[override]
        """Of the last step, by the names of networks and parameters."""
        if self._grads is None:
            return None
        return {f"{n}.{key}": a for n, grads in self._grads.items() for key, a in grads.items()}

    @property
    def tells_updates(self) -> bool:  # type: ignore[override]
        """True, unless an optimizer is foreign, which may fail in an update."""
        return all(type(optimizer) in _KNOWN for optimizer in self.optimizers.values())

    def step(self, batch: Batch) -> dict[str, Array]:
        """One update of both networks; the losses before it."""
        with self._turn:
            x, objects = batch
            self._grads = None  # or the next one would need room beside it
            draws = self._draws(*draws_of(self.detector, objects))
            losses, grads = joined(self.detector, self.engines, x, objects, draws)
            self._grads = grads
            # With another loss the Trainer ends: it is looked at where that does not cost a wait.
            if not self.source.device.is_host or isfinite(losses[TOTAL]):
                self._update(grads)
            return losses

    def _draws(self, *shape: int) -> Array:
        """Even numbers from 0 to 1, of this step."""
        epoch, number = divmod(self.steps_done, len(self.source))
        drawn = np.random.default_rng([self.seed, epoch, number]).random(shape)
        return self.detector.device.asarray(drawn)

    def _update(self, grads: Mapping[str, Mapping[str, Array]]) -> None:
        if self.schedule is not None:
            rate = self.schedule(self.steps_done)
            for optimizer in self.optimizers.values():
                optimizer.lr = rate
        self.updating = True
        for name, optimizer in self.optimizers.items():
            optimizer.update(self.networks[name].params, grads[name])

    @in_turn
    def evaluate(self, source: Batches) -> dict[str, float]:
        """Mean average precision and recall at an overlap of 0.5, also of the proposals alone."""
        scores, boxes = DetectionScores(self.detector.classes), list[np.ndarray]()
        objects: list[Objects] = []
        with self.detector.device.guarded():
            for x, t in source.in_order(AT_A_TIME, limit=self.evaluate_samples):
                (found, proposed), truth = self._found(x), objects_in(t)
                scores.update(found, truth)
                boxes += proposed
                objects += truth
        values = {}
        for metric in self.metrics:
            if isinstance(metric, ProposalRecall):
                values[metric.name] = metric.of(boxes, objects)
            else:
                values[metric.name] = metric.value(scores)
        return values

    def _found(self, x: Array) -> tuple[list[Detections], list[np.ndarray]]:
        """What is found in pictures, and what is proposed."""
        try:
            return self.detector.found_and_proposed(x, self.engines)
        except ArgumentError as error:  # of numbers that are none: all else was checked before
            rates = " and ".join(f"{o.lr:g}" for o in self.optimizers.values())
            raise DivergedError(
                f"training cannot go on: {error}, or use a smaller learning rate than {rates}"
            ) from error

    def describe(self) -> dict[str, str | int]:
        """Tell what the record of a run should say of what computes, for the larger network."""
        return self.engines["rpn"].describe()


def _of_one_class(
    boxes: Sequence[np.ndarray], truth: Sequence[Objects]
) -> tuple[list[Detections], list[Objects]]:
    """Proposals, the likeliest first, and objects, as if all were of the same class."""
    none = [np.zeros(len(each), dtype=np.int64) for each in boxes]
    found = [Detections(b, -np.arange(len(b)), zero) for b, zero in zip(boxes, none, strict=True)]
    return found, [Objects(each.boxes, np.zeros_like(each.labels)) for each in truth]


def objects_table(objects: Sequence[Objects], dtype: str) -> np.ndarray:
    """Objects as rows (x1, y1, x2, y2, class), (N, most, 5); the class is -1 where none is."""
    most = max((len(labels) for _, labels in objects), default=0)
    boxes, labels = table_of(objects, max(1, most))
    return np.concatenate([boxes, labels[:, :, None]], axis=2).astype(dtype)


def objects_in(table: Array) -> list[Objects]:
    """Objects again, of such a table."""
    found = []
    for rows in to_numpy(table):
        own = rows[rows[:, 4] >= 0]
        found.append(Objects(own[:, :4], own[:, 4].astype(np.int64)))
    return found
