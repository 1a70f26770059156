"""What is measured of label maps, on every array library."""

import numpy as np
import pytest

from xpnet import MeanLoss, SoftmaxWithLoss
from xpnet.errors import ArgumentError
from xpnet.report.metrics import Accuracy
from xpnet.report.segmentation import (
    FrequencyWeightedIoU,
    MeanClassAccuracy,
    MeanIoU,
    PixelAccuracy,
    class_iou,
    confusion,
    frequency_weighted_iou,
    mean_class_accuracy,
    mean_iou,
    median_frequency_weights,
    pixel_accuracy,
)

MATRIX = np.array([[3, 1, 0], [1, 2, 1], [0, 0, 2]])
TRUTH, TOLD = (np.repeat(axis.ravel(), MATRIX.ravel()) for axis in np.indices((3, 3)))

RNG = np.random.default_rng(0)
Y = RNG.standard_normal((7, 3, 4, 5)).astype("float32")
T = RNG.integers(0, 3, (7, 4, 5)).astype("uint8")
T[RNG.random(T.shape) < 0.3] = 255
T[2] = 255


def test_the_worked_example():
    """`shared/spec/architectures.md`, 1.15."""
    np.testing.assert_array_equal(confusion(TRUTH, TOLD, 3), MATRIX)
    assert pixel_accuracy(MATRIX) == 0.7
    assert mean_class_accuracy(MATRIX) == 0.75
    np.testing.assert_allclose(class_iou(MATRIX), [0.6, 0.4, 0.6666666667], rtol=1e-9)
    assert mean_iou(MATRIX) == pytest.approx(0.5555555556, rel=1e-9)
    assert frequency_weighted_iou(MATRIX) == pytest.approx(0.5333333333, rel=1e-9)


def test_classes_that_are_nowhere_have_no_part_in_means():
    """One that is told and not there has 0; there and not told, 0; neither, none."""
    matrix = np.array([[2, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(class_iou(matrix), [0.5, 0, 0, np.nan])
    assert mean_iou(matrix) == pytest.approx(0.5 / 3)
    assert mean_class_accuracy(matrix) == pytest.approx((2 / 3) / 2)
    assert frequency_weighted_iou(matrix) == pytest.approx(3 * 0.5 / 4)


OF_A_MATRIX = [
    (PixelAccuracy, pixel_accuracy),
    (MeanClassAccuracy, mean_class_accuracy),
    (MeanIoU, mean_iou),
    (FrequencyWeightedIoU, frequency_weighted_iou),
]


@pytest.mark.parametrize(("kind", "of"), OF_A_MATRIX)
def test_metrics_are_those_of_the_matrix(device, kind, of):
    """Batch after batch; labels, labels one a row, and one-hot maps."""
    want = of(confusion(T, Y.argmax(axis=1), 3, ignore=255))
    metric = kind(ignore=255)
    for t in (T, T[:, None]):
        metric.reset()
        for k in range(0, 7, 2):
            metric.update(device.asarray(Y[k : k + 2]), device.asarray(t[k : k + 2]))
        assert metric.value() == pytest.approx(want, rel=1e-15)
    labels = T % 3
    metric = kind()
    metric.update(device.asarray(Y), device.asarray(np.eye(3)[labels].transpose(0, 3, 1, 2)))
    assert metric.value() == pytest.approx(of(confusion(labels, Y.argmax(axis=1), 3)), rel=1e-15)
    metric.reset()  # of samples alone, too
    metric.update(device.asarray(Y[:, :, 0, 0]), device.asarray(labels[:, 0, 0]))
    want = of(confusion(labels[:, 0, 0], Y[:, :, 0, 0].argmax(axis=1), 3))
    assert metric.value() == pytest.approx(want, rel=1e-15)


def test_the_matrix_is_there_to_be_read():
    metric = MeanIoU(ignore=255)
    metric.update(Y, T)
    np.testing.assert_array_equal(metric.matrix[:, :3], confusion(T, Y.argmax(axis=1), 3, 255))
    assert repr(metric) == "MeanIoU(ignore=255)"


def test_accuracy_counts_places():
    metric = Accuracy(ignore=255)
    metric.update(Y, T)
    counts = T != 255
    assert metric.value() == np.mean(Y.argmax(axis=1)[counts] == T[counts])


def test_scores_that_are_no_numbers_are_told_wrong(capsys):
    y = np.zeros((1, 2, 1, 4))
    y[0, :, 0, 0] = np.nan
    t = np.array([[[0, 0, 1, 1]]])
    for kind, want in ((PixelAccuracy, 0.25), (MeanIoU, 0.125), (MeanClassAccuracy, 0.25)):
        metric = kind()
        metric.update(y, t)
        assert metric.value() == want
        assert "the scores of 1 of 4 samples are not numbers" in capsys.readouterr().err


def test_nothing_is_read_before_the_value(strict_device, unread):
    """And a label without a class is told then."""
    metrics = [kind(ignore=255) for kind, _ in OF_A_MATRIX]
    loss = MeanLoss(SoftmaxWithLoss(ignore=255, class_weights=[1, 2, 3]))
    y, t = strict_device.asarray(Y), strict_device.asarray(T)
    with unread():
        for metric in [*metrics, loss]:
            metric.update(y, t)
    for metric in metrics:
        assert 0 < metric.value() < 1
    wrong = PixelAccuracy(), MeanIoU()
    for metric in wrong:
        with unread():
            metric.update(y, t)
        with pytest.raises(ArgumentError, match=r"\d+ of 140 are not"):
            metric.value()


@pytest.mark.parametrize("options", [{"ignore": 255}, {"ignore": 255, "class_weights": [1, 5, 2]}])
def test_the_mean_loss_is_that_of_all_at_once(device, options):
    """Though each batch has its own number of places that count."""
    loss = SoftmaxWithLoss(**options)
    metric = MeanLoss(loss)
    for k in range(7):
        metric.update(device.asarray(Y[k : k + 1]), device.asarray(T[k : k + 1]))
    assert metric.value() == pytest.approx(float(loss.forward(Y.astype(float), T)[0]), rel=1e-6)


def test_weights_by_median_frequency():
    """Class 0 has 6 of 8 places of its images, 1 has 1 of 4, 2 has 1 of 4, and 3 is nowhere."""
    labels = np.array([[[0, 0], [0, 1]], [[0, 0], [0, 2]]])
    weights = median_frequency_weights(labels, 4)
    np.testing.assert_allclose(weights, [1 / 3, 1, 1, 1], rtol=1e-15)
    labels[0, 0, 0] = 255  # and 5 of 7, and 1 of 3
    weights = median_frequency_weights(labels.astype("uint8"), 4, ignore=255)
    np.testing.assert_allclose(weights, (1 / 3) / np.array([5 / 7, 1 / 3, 1 / 4, 1 / 3]))
    loss = SoftmaxWithLoss(ignore=255, class_weights=weights)
    assert loss.class_weights == tuple(weights)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: median_frequency_weights(T, 3), r"got 255 at \["),
        (lambda: median_frequency_weights(T[0, 0], 3), r"label maps \(N, H, W\) .* \(5,\)"),
        (lambda: median_frequency_weights(T * 0.5, 3), "of whole numbers are needed, got float"),
        (lambda: median_frequency_weights(T[2:3], 3, 255), "no label is of a class"),
        (lambda: median_frequency_weights(T[:0], 3, 255), "no label is of a class"),
        (lambda: mean_iou(np.zeros((3, 3), int)), "a place at least"),
        (lambda: MeanIoU().value(), "mean_iou needs at least one sample"),
        (lambda: MeanIoU().matrix, "mean_iou needs at least one sample"),
        (lambda: MeanIoU().update(Y, T), r"got 255 at \["),
        (lambda: MeanIoU().update(Y[:, :1], T), "a choice among outputs"),
        (lambda: MeanIoU().update(Y, T[:, 1:]), "targets for outputs of shape"),
        (lambda: MeanIoU(ignore=255).update({"a": Y}, T), "must be told one of the network's"),
        (lambda: confusion(T, T, 3), "labels must be integers from 0 to 2"),
    ],
)
def test_misuse_is_told(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_rows_of_places_that_name_no_class_are_told():
    hot = np.eye(3)[T % 3].transpose(0, 3, 1, 2)
    hot[3, 1, 2, 2] += 0.5
    for kind in (MeanIoU, FrequencyWeightedIoU):
        metric = kind()
        metric.update(Y, hot)
        with pytest.raises(ArgumentError, match="1 of 140 are not"):
            metric.value()


def test_where_all_is_left_out_nothing_is_measured():
    for kind, _ in OF_A_MATRIX:
        metric = kind(ignore=255)
        metric.update(Y[2:3], T[2:3])
        with pytest.raises(ArgumentError, match="all are left out"):
            metric.value()
