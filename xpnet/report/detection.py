"""Detection: how many objects are found, and how many of the finds are objects."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from xpnet.arguments import check_word, checked, real
from xpnet.arrays import to_numpy
from xpnet.arrays.values import as_array
from xpnet.errors import ArgumentError
from xpnet.functions.boxes import iou
from xpnet.models.detections import Detections, Objects
from xpnet.report.metrics import DIRECTIONS, Direction

Rule: TypeAlias = Literal["area", "11-point"]
"""What an average precision is of a curve, see `average_precision`."""


class PrecisionRecall(NamedTuple):
    """What share of finds are objects, and what share of objects are found, by how many are taken.

    Finds are taken by falling score; each row is what the first ones have together.

    Attributes
    ----------
    precision, recall : (D,), after each of the finds
    scores : (D,), of the finds, falling
    objects : how many there are
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    scores: NDArray[np.float64]
    objects: int


def average_precision(precision: Any, recall: Any, rule: Rule = "area") -> float:
    """One number of a curve of precision and recall; without any finds it is 0.

        area      sum over i of (r_i - r_(i-1)) max_(j >= i) p_j,   r_0 = 0
        11-point  mean over r = 0, 0.1 ... 1 of the highest precision at a recall of r or more

    The first is the rule of the PASCAL VOC challenge from 2010 on, the second that of 2007:
    Everingham et al. 2010, "The PASCAL visual object classes (VOC) challenge", section 4.2.

    Parameters
    ----------
    precision, recall : (D,), recall not falling, as `PrecisionRecall` has them

    Raises
    ------
    ArgumentError
        They are of different lengths, or recall falls.
    """
    check_word("rule", "average_precision", rule, *get_args(Rule))
    p, r = (np.asarray(to_numpy(as_array(each)), float) for each in (precision, recall))
    if p.ndim != 1 or p.shape != r.shape or np.any(np.diff(r) < 0):
        raise ArgumentError(
            "average_precision needs as many precisions as recalls, which do not fall, got "
            f"shapes {p.shape} and {r.shape}"
        )
    best = np.maximum.accumulate(p[::-1])[::-1]
    if rule == "area":
        return float(np.sum(np.diff(r, prepend=0.0) * best))
    # k / 10 is the same float as any equal share.
    at = np.searchsorted(r, np.arange(11) / 10, side="left")
    return float(np.mean(np.append(best, 0.0)[at]))


class DetectionScores:
    """What was found in pictures, beside what is there: precision, recall, and their averages.

    A find is right if its IoU with an object of its class is at least `overlap`, and no find with a
    higher score has been right by the same object; only the object that it overlaps most is asked.
    An object that is marked as difficult does not count, and finds of it count neither as right nor
    as wrong. Equal scores keep their order.

    Parameters
    ----------
    classes : kinds of objects, numbered from 0
    """

    @checked
    def __init__(self, classes: int) -> None:
        if classes < 1:
            raise ArgumentError(f"DetectionScores needs at least one class, got {classes}")
        self.classes = classes
        self.reset()

    def __repr__(self) -> str:
        return f"DetectionScores({self.classes} classes, {len(self._pictures)} pictures)"

    def reset(self) -> None:
        """Begin anew, with no pictures."""
        self._pictures: list[_Picture] = []
        self._known: dict[float, list[PrecisionRecall]] = {}

    def update(
        self,
        found: Sequence[Detections],
        objects: Sequence[Objects],
        difficult: Sequence[Any] | None = None,
    ) -> None:
        """Take in some pictures.

        Parameters
        ----------
        found, objects : of each of them; boxes (n, 4), labels (n,), and scores (n,) of what was
            found, in any order
        difficult : of each, (n,), True for the objects that do not count; all do if None

        Raises
        ------
        ArgumentError
            There are more of one than of the other, shapes do not fit, a score is no number, or a
            label is no class.
        """
        marks: Sequence[Any] = [None] * len(objects) if difficult is None else difficult
        if not len(found) == len(objects) == len(marks):
            raise ArgumentError(
                "what was found and what is there is needed of the same pictures, got those of "
                f"{len(found)}, {len(objects)} and {len(marks)}"
            )
        new = [self._checked(*each) for each in zip(found, objects, marks, strict=True)]
        self._pictures += new
        self._known = {}

    def _checked(self, found: Detections, objects: Objects, difficult: Any) -> "_Picture":
        if not (isinstance(found, Detections) and isinstance(objects, Objects)):
            raise ArgumentError(
                "what was found must be Detections(boxes, scores, labels), and what is there "
                f"Objects(boxes, labels), got {found!r:.60} and {objects!r:.60}"
            )
        n, m = len(found.labels), len(objects.labels)
        marks = np.zeros(m, bool) if difficult is None else np.asarray(difficult, bool)
        picture = _Picture(
            np.asarray(to_numpy(found.boxes), float),
            np.asarray(to_numpy(found.scores), float),
            np.asarray(to_numpy(found.labels)).reshape(-1),
            np.asarray(to_numpy(objects.boxes), float),
            np.asarray(to_numpy(objects.labels)).reshape(-1),
            marks,
        )
        shapes = [part.shape for part in picture]
        if shapes != [(n, 4), (n,), (n,), (m, 4), (m,), (m,)]:
            raise ArgumentError(
                "boxes (n, 4), scores (n,) and labels (n,) of what was found are needed, and boxes "
                f"(m, 4), labels (m,) and marks (m,) of what is there, got {shapes}"
            )
        if np.any(np.isnan(picture.scores)):
            raise ArgumentError("scores of what was found must be numbers, got NaN; leave it out")
        for labels in (picture.labels, picture.true):
            if labels.size and not (labels.min() >= 0 and labels.max() < self.classes):
                raise ArgumentError(
                    f"labels must be from 0 to {self.classes - 1}, got {labels.tolist()!r:.80}"
                )
        return picture

    def curve(self, label: int, overlap: float = 0.5) -> PrecisionRecall:
        """Precision and recall of one class, over all pictures."""
        if not 0 <= label < self.classes:
            raise ArgumentError(f"a class from 0 to {self.classes - 1} is needed, got {label}")
        return self._curves(overlap)[label]

    def average_precisions(self, overlap: float = 0.5, rule: Rule = "area") -> list[float]:
        """The average precision of every class; NaN of those without any object."""
        return [
            average_precision(curve.precision, curve.recall, rule) if curve.objects else np.nan
            for curve in self._curves(overlap)
        ]

    def mean_average_precision(self, overlap: float = 0.5, rule: Rule = "area") -> float:
        """The mean of the classes that there are objects of ("mAP").

        Raises
        ------
        ArgumentError
            There are no objects.
        """
        self._objects(overlap)
        return float(np.nanmean(self.average_precisions(overlap, rule)))

    def recall(self, overlap: float = 0.5) -> float:
        """The share of all objects that are found, with their class, at any score.

        Raises
        ------
        ArgumentError
            There are no objects.
        """
        found: int = sum(
            round(float(curve.recall[-1]) * curve.objects)
            for curve in self._curves(overlap)
            if len(curve.recall)
        )
        return found / self._objects(overlap)

    def _objects(self, overlap: float) -> int:
        """All that count."""
        if not (total := sum(curve.objects for curve in self._curves(overlap))):
            raise ArgumentError(
                "detection needs at least one object to be measured on, got 0 in "
                f"{len(self._pictures)} pictures"
            )
        return total

    def _curves(self, overlap: float) -> list[PrecisionRecall]:
        """Of every class."""
        _check_overlap(overlap)
        if overlap not in self._known:
            found = [_judged(picture, overlap) for picture in self._pictures]
            self._known[overlap] = [self._curve(label, found) for label in range(self.classes)]
        return self._known[overlap]

    def _curve(self, label: int, right: Sequence[NDArray[np.int8]]) -> PrecisionRecall:
        """The curve of a class, by what each find of each picture was judged to be."""
        objects, scores, judged = 0, [np.zeros(0)], [np.zeros(0, np.int8)]
        for picture, judgement in zip(self._pictures, right, strict=True):
            objects += int(np.sum((picture.true == label) & ~picture.difficult))
            own = (picture.labels == label) & (judgement != NEITHER)
            scores.append(picture.scores[own])
            judged.append(judgement[own])
        score, hits = np.concatenate(scores), np.concatenate(judged) == RIGHT
        order = np.argsort(-score, kind="stable")
        hit = np.cumsum(hits[order])
        return PrecisionRecall(
            hit / np.arange(1, len(hit) + 1), hit / max(objects, 1), score[order], objects
        )


class _Picture(NamedTuple):
    """What was found in a picture, and what is there."""

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[Any]
    there: NDArray[np.float64]
    true: NDArray[Any]
    difficult: NDArray[np.bool_]


WRONG, RIGHT, NEITHER = 0, 1, 2


def _judged(picture: _Picture, overlap: float) -> NDArray[np.int8]:
    """Say of each find of a picture whether it is right."""
    judged = np.full(len(picture.labels), WRONG, np.int8)
    if not len(judged) or not len(picture.true):
        return judged
    overlaps = iou(picture.boxes, picture.there)
    overlaps = np.where(picture.labels[:, None] == picture.true, overlaps, -1.0)
    best, free = np.argmax(overlaps, axis=1), ~picture.difficult
    for k in np.argsort(-picture.scores, kind="stable"):
        which = best[k]
        if not overlaps[k, which] >= overlap:
            continue
        if picture.difficult[which]:
            judged[k] = NEITHER
        elif free[which]:
            judged[k], free[which] = RIGHT, False
    return judged


def _check_overlap(overlap: float) -> None:
    """Refuse what is no IoU that boxes may have to have."""
    if not (real(overlap) and 0 < overlap <= 1):
        raise ArgumentError(f"overlap must be a number above 0 and at most 1, got {overlap!r}")


@dataclass(frozen=True)
class MeanAveragePrecision:
    """The mean average precision, of what `DetectionScores` has taken in."""

    overlap: float = 0.5
    rule: Rule = "area"
    direction: ClassVar[Direction] = "max"

    def __post_init__(self) -> None:
        check_word("rule", type(self).__name__, self.rule, *get_args(Rule))
        _check_overlap(self.overlap)

    @property
    def name(self) -> str:
        """Such as "map50", for an overlap of 0.5, or "map50_11_point"."""
        return f"map{round(100 * self.overlap)}" + ("" if self.rule == "area" else "_11_point")

    def value(self, scores: DetectionScores) -> float:
        """The number."""
        return scores.mean_average_precision(self.overlap, self.rule)


@dataclass(frozen=True)
class Recall:
    """The share of objects that are found, of what `DetectionScores` has taken in."""

    overlap: float = 0.5
    direction: ClassVar[Direction] = "max"

    def __post_init__(self) -> None:
        _check_overlap(self.overlap)

    @property
    def name(self) -> str:
        """Such as "recall50", for an overlap of 0.5."""
        return f"recall{round(100 * self.overlap)}"

    def value(self, scores: DetectionScores) -> float:
        """The number."""
        return scores.recall(self.overlap)


DIRECTIONS.update(
    {
        measure.name: measure.direction
        for measure in (
            MeanAveragePrecision(),
            MeanAveragePrecision(0.75),
            MeanAveragePrecision(rule="11-point"),
            Recall(),
        )
    }
)


def coco_results(
    found: Iterable[Detections], images: Iterable[int | str]
) -> list[dict[str, int | float | str | list[float]]]:
    """What was found in pictures, as COCO's result files list it, ready for `json.dump`.

    Each has `image_id`, `category_id`, the class from 0, `bbox`, which is [x, y, width, height] in
    pixels, and `score`. Lin et al. 2014, "Microsoft COCO", arXiv:1405.0312; the format is told at
    https://cocodataset.org/#format-results.

    Parameters
    ----------
    found : of each picture
    images : of each its number, or its name
    """
    return [
        {"image_id": image, "category_id": int(label), "bbox": _bbox(box), "score": float(score)}
        for image, each in zip(images, found, strict=True)
        for box, score, label in zip(each.boxes, each.scores, each.labels, strict=True)
    ]


def coco_truth(
    objects: Iterable[Objects],
    images: Iterable[int | str],
    sizes: Iterable[tuple[int, int]],
    classes: Sequence[str],
    files: Sequence[str] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """The objects of pictures, as COCO's annotation files list them, for `coco_results`.

    Parameters
    ----------
    objects : of each picture
    images : of each its number, or its name, as in `coco_results`
    sizes : of each its height and width
    classes : the names of the classes
    files : of each its file's name; its number or name if None
    """
    rows = list(zip(images, objects, sizes, strict=True))
    names = [str(image) for image, *_ in rows] if files is None else files
    pictures = [
        {"id": image, "file_name": name, "height": int(height), "width": int(width)}
        for (image, _, (height, width)), name in zip(rows, names, strict=True)
    ]
    annotations = [
        {
            "image_id": image,
            "category_id": int(label),
            "bbox": (bbox := _bbox(box)),
            "area": bbox[2] * bbox[3],
            "iscrowd": 0,
        }
        for image, each, _ in rows
        for box, label in zip(each.boxes, each.labels, strict=True)
    ]
    # From 1, as COCO's own tools take an annotation 0 for none.
    annotations = [{"id": k} | each for k, each in enumerate(annotations, start=1)]
    categories = [{"id": k, "name": name} for k, name in enumerate(classes)]
    return {"images": pictures, "annotations": annotations, "categories": categories}


def _bbox(box: Any) -> list[float]:
    """Corner, width and height of a box."""
    x1, y1, x2, y2 = (float(corner) for corner in box)
    return [x1, y1, x2 - x1, y2 - y1]
