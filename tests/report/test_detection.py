"""Average precision and what is found of objects: the worked example, plain loops, COCO's files."""

import json

import numpy as np
import pytest

from tolerances import EX, P10, assert_near
from xpnet.errors import ArgumentError
from xpnet.functions.boxes import iou
from xpnet.models.detections import Detections, Objects
from xpnet.report.detection import (
    DetectionScores,
    MeanAveragePrecision,
    Recall,
    average_precision,
    coco_results,
    coco_truth,
)
from xpnet.report.metrics import DIRECTIONS

BOX = np.asarray([0.0, 0, 10, 10])
RULES = ("area", "11-point")


def found(*each):
    """Detections of box, score and label."""
    boxes, scores, labels = (list(part) for part in zip(*each, strict=True)) if each else ([],) * 3
    return Detections(
        np.reshape(boxes, (-1, 4)), np.asarray(scores, float), np.asarray(labels, int)
    )


def there(*each):
    boxes, labels = (list(part) for part in zip(*each, strict=True)) if each else ([], [])
    return Objects(np.reshape(boxes, (-1, 4)), np.asarray(labels, int))


def test_the_worked_example():
    """Three objects, and five finds of which the first, third and fifth are right."""
    scores = DetectionScores(1)
    finds = [found((BOX + 20 * (k % 2), 0.9 - k / 10, 0)) for k in range(5)]
    objects = [there((BOX, 0)) if k % 2 == 0 else there() for k in range(5)]
    scores.update(finds[:2], objects[:2])
    scores.update(finds[2:], objects[2:])
    curve = scores.curve(0)
    assert_near(curve.precision, [1, 0.5, 2 / 3, 0.5, 0.6], P10)
    assert_near(curve.recall, [1 / 3, 1 / 3, 2 / 3, 2 / 3, 1], EX)
    assert_near(curve.scores, [0.9, 0.8, 0.7, 0.6, 0.5], P10)
    assert curve.objects == 3
    for rule, want in zip(RULES, (0.7555555556, 0.7636363636), strict=True):
        assert average_precision(curve.precision, curve.recall, rule) == pytest.approx(want, 1e-9)
        assert scores.mean_average_precision(rule=rule) == pytest.approx(want, 1e-9)
    assert scores.recall() == 1


def test_a_recall_of_six_tenths_is_one():
    """Which 6 times 0.1 is not, in floats."""
    assert average_precision([1.0, 1.0, 1.0], np.asarray([1, 2, 3]) / 5, "11-point") == 7 / 11
    assert average_precision([1.0] * 7, np.arange(1, 8) / 10, "11-point") == 8 / 11


@pytest.mark.parametrize("rule", RULES)
def test_the_ends_of_average_precision(rule):
    assert average_precision([], [], rule) == 0
    assert average_precision([0.0, 0.0], [0.0, 0.0], rule) == 0
    assert average_precision([1.0], [1.0], rule) == 1


def judged_by_a_loop(pictures, label, overlap):
    """Average precision of the area, and how many are found, as the definition says it."""
    finds = [
        (score, n, box)
        for n, (given, _, _) in enumerate(pictures)
        for box, score, own in zip(*given, strict=True)
        if own == label
    ]
    taken, hits, wrong, area, curve = set(), 0, 0, 0.0, []
    objects = sum(
        own == label and not hard
        for _, (_, labels), marks in pictures
        for own, hard in zip(labels, marks, strict=True)
    )
    for _, n, box in sorted(finds, key=lambda find: -find[0]):
        _, (boxes, labels), marks = pictures[n]
        overlaps = iou(box[None], boxes)[0]
        own = [m for m in range(len(labels)) if labels[m] == label]
        best = max(own, key=lambda m: overlaps[m], default=None)  # the first of equals
        if best is None or overlaps[best] < overlap:
            wrong += 1
        elif marks[best]:
            continue
        elif (n, best) in taken:
            wrong += 1
        else:
            taken.add((n, best))
            hits += 1
        curve.append((hits / objects if objects else 0, hits / (hits + wrong)))
    last = 0.0
    for i, (r, _) in enumerate(curve):
        area += (r - last) * max(p for _, p in curve[i:])
        last = r
    return area, hits, objects


def drawn(pictures=12, classes=3, seed=0):
    """Pictures with up to 4 objects, found more or less, several times, or as another class."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(pictures):
        corner, m, n = rng.integers(0, 40, size=(4, 2)), rng.integers(0, 5), rng.integers(0, 7)
        boxes = np.concatenate([corner, corner + rng.integers(8, 20, size=(4, 2))], axis=1)[:m]
        labels = rng.integers(0, classes, size=m)
        which = rng.integers(0, max(m, 1), size=n if m else 0)
        finds = boxes[which] + rng.integers(-3, 4, size=(len(which), 4))
        own = np.where(rng.random(len(which)) < 0.8, labels[which], rng.integers(0, classes))
        given = Detections(finds.astype("float32"), rng.integers(1, 9, len(which)) / 8, own)
        result.append((given, Objects(boxes, labels), rng.random(m) < 0.3))
    return result


@pytest.mark.parametrize("overlap", [0.3, 0.5, 0.75])
def test_every_class_is_what_a_loop_says(overlap):
    pictures, scores = drawn(), DetectionScores(4)
    for part in (pictures[:5], pictures[5:]):
        scores.update(*zip(*part, strict=True))
        scores.recall(overlap)  # which is not to be kept
    want = [judged_by_a_loop(pictures, label, overlap) for label in range(4)]
    got = scores.average_precisions(overlap)
    assert got[:3] == pytest.approx([area for area, *_ in want[:3]], rel=1e-12)
    assert np.isnan(got[3])  # a class without objects, which the mean leaves out
    assert scores.mean_average_precision(overlap) == pytest.approx(np.mean(got[:3]), rel=1e-12)
    hits, objects = (sum(column) for column in list(zip(*want, strict=True))[1:])
    assert scores.recall(overlap) == pytest.approx(hits / objects, rel=1e-12)
    assert scores.curve(1, overlap).objects == want[1][2]


def test_an_object_is_found_once_by_its_surest_find():
    scores = DetectionScores(2)
    twice = found((BOX + 1, 0.5, 0), (BOX, 0.9, 0), (BOX, 0.8, 0), (BOX, 0.95, 1))
    scores.update([twice], [there((BOX, 0))])
    assert_near(scores.curve(0).precision, [1, 1 / 2, 1 / 3], EX)
    assert_near(scores.curve(1).precision, [0], EX)
    assert np.isnan(scores.average_precisions()[1])
    assert scores.mean_average_precision() == 1


def test_an_iou_of_the_overlap_is_enough():
    scores = DetectionScores(1)
    scores.update([found((BOX * [1, 1, 1, 0.5], 0.9, 0))], [there((BOX, 0))])
    assert scores.recall(0.5) == 1
    assert scores.recall(0.5000001) == 0


def test_what_is_difficult_neither_counts_nor_harms():
    scores = DetectionScores(1)
    finds, objects = found((BOX, 0.9, 0), (BOX + 20, 0.8, 0)), there((BOX, 0), (BOX + 20, 0))
    scores.update([finds], [objects], [[True, False]])
    curve = scores.curve(0)
    assert (curve.objects, curve.precision.tolist(), curve.recall.tolist()) == (1, [1.0], [1.0])


def test_pictures_without_objects_or_finds():
    scores = DetectionScores(2)
    scores.update([found((BOX, 0.9, 0)), found()], [there(), there((BOX, 0))])
    assert scores.mean_average_precision() == 0
    assert scores.recall() == 0
    assert repr(scores) == "DetectionScores(2 classes, 2 pictures)"
    scores.reset()
    scores.update([found()], [there()])
    for call in (scores.mean_average_precision, scores.recall):
        with pytest.raises(
            ArgumentError, match="at least one object to be measured on, got 0 in 1"
        ):
            call()


def test_what_is_measured_has_a_name():
    scores = DetectionScores(3)
    scores.update(*zip(*drawn(), strict=True))
    for measure, name, want in (
        (MeanAveragePrecision(), "map50", scores.mean_average_precision()),
        (MeanAveragePrecision(0.75), "map75", scores.mean_average_precision(0.75)),
        (
            MeanAveragePrecision(rule="11-point"),
            "map50_11_point",
            scores.mean_average_precision(rule="11-point"),
        ),
        (Recall(), "recall50", scores.recall()),
    ):
        assert (measure.name, measure.direction) == (name, "max") == (name, DIRECTIONS[name])
        assert measure.value(scores) == want


def test_files_of_coco():
    finds = [found((np.asarray([1.0, 2, 11, 12]), 0.5, 3)), found()]
    results = json.loads(json.dumps(coco_results(finds, [7, 8])))
    assert results == [
        {"image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 10], "score": 0.5},
    ]
    objects = [there((BOX + 1, 3), (BOX, 0)), there()]
    truth = json.loads(json.dumps(coco_truth(objects, [7, 8], [(48, 64)] * 2, "0123")))
    assert truth["images"][1] == {"id": 8, "file_name": "8", "height": 48, "width": 64}
    first = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 1, 10, 10], "area": 100}
    assert truth["annotations"][0] == first | {"iscrowd": 0}
    assert [each["id"] for each in truth["annotations"]] == [1, 2]
    assert truth["categories"][3] == {"id": 3, "name": "3"}
    named = coco_truth(objects, [7, 8], [(48, 64)] * 2, "0123", ["a.png", "b.png"])
    assert [each["file_name"] for each in named["images"]] == ["a.png", "b.png"]


def updated(*given, classes=2):
    DetectionScores(classes).update(*given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: updated([found()], []), "of the same pictures, got those of 1, 0 and 0"),
        (lambda: updated([found()], [there()], []), "got those of 1, 1 and 0"),
        (
            lambda: updated([Detections(np.zeros((1, 3)), np.zeros(1), np.zeros(1))], [there()]),
            r"boxes \(n, 4\), .*, got \[\(1, 3\), \(1,\), \(1,\), \(0, 4\), \(0,\), \(0,\)\]",
        ),
        (lambda: updated([found()], [there((BOX, 0))], [[True, True]]), r"\(1,\), \(2,\)\]"),
        (lambda: updated([found((BOX, np.nan, 0))], [there()]), "must be numbers, got NaN"),
        (lambda: updated([found((BOX, 0.5, 2))], [there()]), r"from 0 to 1, got \[2\]"),
        (lambda: updated([found()], [there((BOX, -1))]), r"from 0 to 1, got \[-1\]"),
        (lambda: DetectionScores(0), "at least one class, got 0"),
        (lambda: DetectionScores(2).curve(2), "a class from 0 to 1 is needed, got 2"),
        (lambda: DetectionScores(2).curve(0, 0.0), "a number above 0 and at most 1, got 0"),
        (lambda: MeanAveragePrecision(1.5), "at most 1, got 1.5"),
        (lambda: Recall("0.5"), "at most 1, got '0.5'"),
        (lambda: MeanAveragePrecision(0.5, "all"), "rule must be 'area' or '11-point'"),
        (lambda: average_precision([1.0], [0.5, 1.0]), r"got shapes \(1,\) and \(2,\)"),
        (lambda: average_precision([1.0, 1.0], [1.0, 0.5]), "which do not fall"),
        (lambda: average_precision([1.0], [1.0], "all"), "rule must be 'area' or '11-point'"),
    ],
)
def test_what_fits_not_is_an_error(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_what_was_found_is_given_by_name():
    with pytest.raises(ArgumentError, match="must be Detections"):
        DetectionScores(1).update([([[0, 0, 1, 1]], [0.5], [0])], [([[0, 0, 1, 1]], [0])])
