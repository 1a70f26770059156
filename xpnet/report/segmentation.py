"""Segmentation: how well every place of images is told its class, by one matrix of counts."""

from math import prod
from typing import Any

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace, to_numpy
from xpnet.arrays.values import as_array
from xpnet.errors import ArgumentError
from xpnet.functions.targets import (
    check_classes,
    class_axis,
    classes_of,
)
from xpnet.models.accuracy import check_counted, truth_of
from xpnet.report.evaluate import confusion
from xpnet.report.metrics import DIRECTIONS, Accuracy

__all__ = [
    "FrequencyWeightedIoU",
    "MeanClassAccuracy",
    "MeanIoU",
    "PixelAccuracy",
    "class_iou",
    "confusion",
    "frequency_weighted_iou",
    "mean_class_accuracy",
    "mean_iou",
    "median_frequency_weights",
    "pixel_accuracy",
]

EXACT = 2**24
"""Places of an image below which float32 counts them exactly."""


def pixel_accuracy(matrix: np.ndarray) -> float:
    """Share of places that are told right: sum n_ii / sum n.

    Parameters
    ----------
    matrix : (K, K) counts n_ij of places of class i that are told j, as `confusion` gives them;
        a further column counts those that are told no class
    """
    return float(np.trace(matrix) / _places(matrix))


def mean_class_accuracy(matrix: np.ndarray) -> float:
    """Mean of n_ii / sum_j n_ij over the classes that there are; of a matrix as above."""
    _places(matrix)
    rows = matrix.sum(axis=1)
    return float(np.mean(_diagonal(matrix)[rows > 0] / rows[rows > 0]))


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, n_ii / (sum_j n_ij + sum_j n_ji - n_ii), (K,).

    NaN for classes that are neither there nor told; of a matrix as above.
    """
    right, rows = _diagonal(matrix), matrix.sum(axis=1)
    union = rows + matrix[:, : len(matrix)].sum(axis=0) - right
    return np.where(union > 0, right / np.maximum(union, 1), np.nan)


def mean_iou(matrix: np.ndarray) -> float:
    """Mean intersection over union of the classes that are there or told; of a matrix as above.

    Long et al. 2015, "Fully convolutional networks for semantic segmentation", arXiv:1411.4038,
    section 5.
    """
    _places(matrix)
    return float(np.nanmean(class_iou(matrix)))


def frequency_weighted_iou(matrix: np.ndarray) -> float:
    """Mean intersection over union of the classes, by their places; of a matrix as above."""
    rows = matrix.sum(axis=1)
    return float(np.nansum(rows * class_iou(matrix)) / _places(matrix))


def _diagonal(matrix: np.ndarray) -> np.ndarray:
    """What is told right, class by class."""
    return np.diagonal(matrix).astype(np.float64)


def _places(matrix: np.ndarray) -> int:
    """All places of a matrix of counts, of which there must be one."""
    if not (total := int(matrix.sum())):
        raise ArgumentError("a place at least is needed to be judged by, got none")
    return total


@checked
def median_frequency_weights(
    labels: np.ndarray, n_classes: int, ignore: int | None = None
) -> np.ndarray:
    """Weights by which rare classes count as much as frequent ones, median(f) / f_c, (K,) float64.

    f_c is the number of places of class c, of all places of the images that have any of it. Classes
    that no image has count 1, as one of the median would; what is ignored is no place at all.
    Badrinarayanan et al. 2015, "SegNet", arXiv:1511.00561, section 3.1.

    Parameters
    ----------
    labels : (N, ...), such as the masks of the images to train on
    ignore : the label of what is left out

    Raises
    ------
    ArgumentError
        A label is no class, or nothing counts.
    """
    labels = to_numpy(as_array(labels, "labels"))
    if labels.ndim < 2 or labels.dtype.kind not in "iub":
        raise ArgumentError(
            f"label maps (N, H, W) of whole numbers are needed, got {labels.dtype} of shape "
            f"{labels.shape}"
        )
    check_classes(classes_of(labels, ignore), n_classes, labels, ignore)
    found = [
        np.bincount(each[each != ignore].astype(np.int64), minlength=n_classes)[:n_classes]
        for each in labels
    ]
    counts = np.stack(found) if found else np.zeros((0, n_classes), np.int64)
    own = counts.sum(axis=0)
    if not own.any():
        raise ArgumentError("no label is of a class, of which weights could be made")
    around = np.where(counts > 0, counts.sum(axis=1, keepdims=True), 0).sum(axis=0)
    frequency = own[own > 0] / around[own > 0]
    weights = np.ones(n_classes)
    weights[own > 0] = np.median(frequency) / frequency
    return weights


class PixelAccuracy(Accuracy):
    """Share of places whose highest output is at the target: `Accuracy`, of label maps by name.

    Parameters
    ----------
    head, ignore : as in `Accuracy`
    """

    kind, direction = "pixel_accuracy", "max"


class _OfPixels(Accuracy):
    """A number of the matrix of counts, which is added up on the device, and read once."""

    @property
    def matrix(self) -> np.ndarray:
        """How many places of class i were told j, so far; a last column for scores with NaN.

        Returns
        -------
        (K, K + 1), int64

        Raises
        ------
        ArgumentError
            Targets named no class, or there were none.
        """
        if self._total is None:
            raise ArgumentError(f"{self.name} needs at least one sample to be measured on, got 0")
        return self._matrix(to_numpy(self._total))

    def _sums(self, y: Array, t: Array) -> Array:
        return counted_pairs(y, t, self.ignore)

    def _matrix(self, sums: np.ndarray) -> np.ndarray:
        *counts, foreign = (int(each) for each in sums)
        classes = int(np.sqrt(len(counts)))
        matrix = np.asarray(counts, dtype=np.int64).reshape(classes, classes + 1)
        check_counted(foreign, int(matrix[:, -1].sum()), int(matrix.sum()) + foreign)
        return matrix

    def _value(self, *sums: Any) -> float:
        return self._of(self._matrix(np.asarray(sums)))

    def _of(self, matrix: np.ndarray) -> float:
        raise NotImplementedError


class MeanIoU(_OfPixels):
    """Mean intersection over union of the classes: `mean_iou` of all places.

    Parameters
    ----------
    head, ignore : as in `Accuracy`
    """

    kind, direction = "mean_iou", "max"

    def _of(self, matrix: np.ndarray) -> float:
        return mean_iou(matrix)


class MeanClassAccuracy(_OfPixels):
    """Mean accuracy of the classes: `mean_class_accuracy` of all places.

    Parameters
    ----------
    head, ignore : as in `Accuracy`
    """

    kind, direction = "mean_class_accuracy", "max"

    def _of(self, matrix: np.ndarray) -> float:
        return mean_class_accuracy(matrix)


class FrequencyWeightedIoU(_OfPixels):
    """Intersection over union of the classes by their places: `frequency_weighted_iou`.

    Parameters
    ----------
    head, ignore : as in `Accuracy`
    """

    kind, direction = "frequency_weighted_iou", "max"

    def _of(self, matrix: np.ndarray) -> float:
        return frequency_weighted_iou(matrix)


DIRECTIONS.update(
    {
        kind.kind: kind.direction
        for kind in (PixelAccuracy, MeanIoU, MeanClassAccuracy, FrequencyWeightedIoU)
    }
)


def counted_pairs(y: Array, t: Array, ignore: int | None = None) -> Array:
    """Count how many places of class i have their highest score at j, on the device.

        n_ij = sum over places [t = i] [argmax y = j]

    as a product of one-hot targets and answers, image by image, whose sums float32 holds exactly.
    Nothing is read back from a device with memory of its own.

    Parameters
    ----------
    y : scores (N, K, ...); those with NaN among them are told as class K, which is none
    t : labels (N, ...) or (N, 1, ...), or one-hot in the shape of y
    ignore : a label whose places are left out

    Returns
    -------
    (K (K + 1) + 1,) int64 : the counts row by row; behind them, targets that name no class

    Raises
    ------
    ArgumentError
        There is one output alone; the targets have none of these shapes; or, on the host, a label
        is no class.
    """
    xp, axis = array_namespace(y), class_axis(y.shape)
    classes, n = y.shape[axis], y.shape[0]
    labels, unclear, foreign, left = truth_of(y, t, ignore)
    none = unclear | foreign
    if left is not None:
        labels, none = xp.where(left, -1, labels), none & ~left
    lost = xp.any(xp.isnan(y), axis=axis)
    told = xp.where(lost, classes, xp.argmax(y, axis=axis))
    places = prod(y.shape[2:])
    dtype = xp.float32 if places < EXACT else xp.float64

    def hot_of(each: Array, count: int) -> Array:
        numbers = xp.arange(count, dtype=xp.int64, device=y.device)
        found = xp.reshape(each, (n, 1, places)) == xp.reshape(numbers, (1, count, 1))
        return xp.astype(found, dtype)

    truth = hot_of(xp.where(none, -1, labels), classes)
    answers = xp.permute_dims(hot_of(told, classes + 1), (0, 2, 1))
    pairs = xp.sum(xp.astype(xp.matmul(truth, answers), xp.int64), axis=0)
    unnamed = xp.reshape(xp.sum(xp.astype(none, xp.int64)), (1,))
    return xp.concat([xp.reshape(pairs, (-1,)), unnamed])
