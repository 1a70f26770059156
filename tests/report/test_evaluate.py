"""Predictions of a network, and how they differ from the labels."""

from dataclasses import replace

import numpy as np
import pytest

from xpnet import SimpleConvNet, get_device, to_numpy
from xpnet.errors import ArgumentError
from xpnet.models.accuracy import evaluation_batch
from xpnet.report.evaluate import confusion, predictions


def test_predictions_are_the_highest_scores(device):
    """Over a last batch that is smaller, for pixels as for floats."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (evaluation_batch(device) + 3, 1, 6, 6), dtype=np.uint8)
    x[rng.random(x.shape) < 0.9] = 0  # dense noise looks all alike
    param = {"filter_num": 2, "filter_size": 3}
    network = SimpleConvNet((1, 6, 6), param, 20, 10, 1.0, rng=0, device=device)
    floats = x / np.float32(255)
    labels = predictions(network, x)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, to_numpy(network.predict(floats)).argmax(axis=1))
    np.testing.assert_array_equal(labels, predictions(network, floats))
    assert len(set(labels.tolist())) > 2
    assert predictions(network, x[:0]).shape == (0,)


def test_a_gpu_is_given_enough_at_a_time():
    assert evaluation_batch(get_device("cpu")) == 200
    assert evaluation_batch(replace(get_device("cpu"), name="cuda:0")) >= 1000


def test_confusion_counts_pairs():
    labels = np.array([0, 0, 1, 2, 2, 2], dtype=np.uint8)
    read = np.array([0, 1, 1, 0, 2, 2])
    matrix = confusion(labels, read, 4)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]])


def test_confusion_of_many_classes_does_not_wrap_around():
    """uint8 labels times the number of classes exceed a byte."""
    matrix = confusion(np.full(3, 200, np.uint8), np.full(3, 7, np.uint8), 201)
    assert matrix[200, 7] == matrix.sum() == 3


@pytest.mark.parametrize(
    ("labels", "read", "message"),
    [
        ([0, 1], [0], r"got \(2,\) and \(1,\)"),
        ([0, 3], [0, 0], "labels must be integers from 0 to 2"),
        ([0, 0], [0, -1], "predictions must be integers from 0 to 2"),
        ([0.0, 1.0], [0, 1], "labels must be integers"),
    ],
)
def test_confusion_refuses(labels, read, message):
    with pytest.raises(ArgumentError, match=message):
        confusion(np.array(labels), np.array(read), 3)
