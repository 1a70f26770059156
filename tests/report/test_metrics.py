"""What is measured of outputs and targets, on every array library."""

from math import isnan

import numpy as np
import pytest
from sklearn.metrics import r2_score

from xpnet import (
    R2,
    Accuracy,
    BinaryAccuracy,
    IdentityWithLoss,
    MeanAbsoluteError,
    MeanLoss,
    MeanSquaredError,
    SoftmaxWithLoss,
)
from xpnet.errors import ArgumentError
from xpnet.report.metrics import EpochMetrics, columns

RNG = np.random.default_rng(0)
Y, T = (RNG.standard_normal((23, 3)).astype("float32") for _ in range(2))
LABELS = RNG.integers(3, size=23)
BITS = (T > 0).astype("float32")


def measured(metric, y, t, device, size=5):
    """Batch after batch, of which the last is smaller."""
    for k in range(0, len(y), size):
        metric.update(device.asarray(y[k : k + size]), device.asarray(t[k : k + size]))
    return metric.value()


@pytest.mark.parametrize(
    ("metric", "t", "want"),
    [
        (Accuracy(), LABELS, np.mean(Y.argmax(1) == LABELS)),
        (Accuracy(), np.eye(3, dtype="float32")[LABELS], np.mean(Y.argmax(1) == LABELS)),
        (BinaryAccuracy(), BITS, np.mean((Y > 0) == (BITS == 1))),
        (MeanSquaredError(), T, np.mean((Y - T) ** 2)),
        (MeanAbsoluteError(), T, np.mean(abs(Y - T))),
        (MeanLoss(IdentityWithLoss()), T, np.sum((Y - T) ** 2) / 2 / 23),
        (MeanLoss(SoftmaxWithLoss()), LABELS, float(SoftmaxWithLoss().forward(Y, LABELS)[0])),
        (R2(), T, r2_score(T, Y, multioutput="variance_weighted")),
        (R2(), 1e4 + T, r2_score(1e4 + T, Y, multioutput="variance_weighted")),
    ],
)
def test_every_metric_is_its_definition(device, metric, t, want):
    """To the digits of float32; and again, after it was reset."""
    for _ in range(2):
        metric.reset()
        assert measured(metric, Y, t, device) == pytest.approx(float(want), rel=2e-6)


def test_nothing_is_read_before_the_value(strict_device, unread):
    """And then each metric reads once."""
    metrics = [Accuracy(), BinaryAccuracy(), R2(), MeanSquaredError(), MeanLoss(IdentityWithLoss())]
    y, t = strict_device.asarray(Y), strict_device.asarray(np.eye(3, dtype="float32")[LABELS])
    with unread():
        for metric in metrics:
            metric.update(y, t)
            metric.update(y, t)
    assert all(metric.samples == 46 for metric in metrics)
    assert all(metric.value() >= 0 or metric.name == "r2" for metric in metrics)


def test_r2_loses_no_digits_to_a_mean_far_from_0():
    y, t = Y.astype("float64") + 1e8, T.astype("float64") + 1e8
    metric, want = R2(), r2_score(t, y, multioutput="variance_weighted")
    metric.update(y, t)
    assert metric.value() == pytest.approx(want, rel=1e-9)


def test_r2_at_its_ends():
    """Exact, as good as the mean, and targets without variance, of which 0.1 has no exact sum."""
    host = np.float32
    for y, want in ((T, 1.0), (np.broadcast_to(T.mean(0), T.shape), 0.0)):
        metric = R2()
        metric.update(y.astype(host), T)
        assert metric.value() == pytest.approx(want, abs=1e-6)
    metric = R2()
    metric.update(Y, np.full_like(T, 0.1))
    assert isnan(metric.value())


def test_a_score_of_0_is_a_0():
    metric = BinaryAccuracy()
    metric.update(np.zeros((2, 2)), np.asarray([[0.0, 0.0], [0.0, 1.0]]))
    assert metric.value() == 0.75


def test_heads():
    outputs = {"main": Y, "other": -Y}
    for head in outputs:
        metric = Accuracy(head=head)
        metric.update(outputs, LABELS)
        assert metric.value() == np.mean(outputs[head].argmax(1) == LABELS)
        assert metric.name == f"{head}_accuracy"
    by_head = Accuracy(head="other")
    by_head.update(outputs, {"main": LABELS * 0, "other": LABELS})
    assert by_head.value() == metric.value()


def update(metric, *batch):
    metric.update(*batch)
    return metric.value()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: update(Accuracy(), Y, BITS),
            r"accuracy needs labels \(N,\) or one-hot rows \(N, K\), and 1\d of 23 rows are not "
            "one-hot; use another metric, such as R2 for numbers",
        ),
        (lambda: update(Accuracy(), Y, T), "and 23 of 23 rows are not one-hot"),
        (
            lambda: update(Accuracy(), Y[:2], np.asarray([[1, 0.5, 0], [1, 0, 0]])),
            "and 1 of 2 rows are not one-hot",
        ),
        (lambda: update(Accuracy(), Y, T[:, 0]), r"got float32 of shape \(23,\)"),
        (lambda: update(Accuracy(), Y, LABELS[1:]), r"got int64 of shape \(22,\)"),
        (lambda: update(BinaryAccuracy(), Y, T), "and 69 of 69 targets are neither"),
        (lambda: update(R2(), Y, T[:, :2]), r"^r2: targets for outputs of shape \(23, 3\)"),
        (lambda: Accuracy().value(), "accuracy needs at least one sample to be measured on, got 0"),
        (
            lambda: update(R2(), {"a": Y, "b": Y}, T),
            r"R2\(\) must be told one of the network's heads, a, b; give head='a', for instance",
        ),
        (lambda: update(R2("c"), {"a": Y}, T), r"R2\(head='c'\) must be told one of the"),
        (lambda: update(R2("a"), Y, T), r"R2\(head='a'\) needs a network with several heads"),
    ],
)
def test_what_a_metric_cannot_mean_is_an_error(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_the_record_of_an_epoch():
    """A classifier's is what it was in 0.1.0; others have what was measured."""
    one = EpochMetrics(1, 0.5, 0.9, 0.8, 2.0)
    values = {"train_loss": 0.5, "train_accuracy": 0.9, "test_accuracy": 0.8}
    old = {"epoch": 1, **values, "seconds": 2.0}
    assert one.record() == old
    assert EpochMetrics.of(old) == one
    assert columns([]) == columns([one]) == list(old)
    other = EpochMetrics.of({"epoch": 2, "train_loss": 0.5, "test_r2": 0.7, "seconds": 3.0})
    assert (other.test_accuracy, other["test_r2"], other["train_loss"]) == (None, 0.7, 0.5)
    assert columns([other]) == ["epoch", "train_loss", "test_r2", "seconds"]
    assert EpochMetrics.of(other.record()) == other
    with pytest.raises(KeyError, match="'test_accuracy' was not measured; there are train_loss"):
        other["test_accuracy"]
