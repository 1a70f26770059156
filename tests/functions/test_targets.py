"""What targets mean, asked before training."""

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.functions.targets import check_classes, check_labels, check_pairs, kind_of


@pytest.mark.parametrize(
    ("t", "kind"),
    [
        (np.arange(3), "labels"),
        (np.arange(3, dtype="uint8"), "labels"),
        (np.asarray([True, False]), "labels"),
        (np.asarray([0.0, 1.0]), "numbers"),
        (np.eye(3), "one-hot"),
        (np.eye(3, dtype=bool), "one-hot"),
        (np.asarray([[1, 1, 0]]), "binary"),
        (np.zeros((2, 3)), "binary"),
        (np.ones((2, 1)), "binary"),  # of one output, which is no choice
        (np.asarray([[0.5, 0.5]]), "numbers"),
        (np.asarray([[2, 0]]), "numbers"),
        (np.zeros((2, 3, 4)), "numbers"),
    ],
)
def test_the_narrowest_kind(t, kind):
    assert kind_of(t) == kind


@pytest.mark.parametrize(
    ("t", "kind"),
    [
        (np.zeros((2, 4, 5), int), "label maps"),
        (np.zeros((2, 4, 5)), "numbers"),
        (np.zeros((2, 4), int), "binary"),  # of other outputs than these
        (np.arange(2), "labels"),
        (np.eye(3)[np.zeros((2, 4, 5), int)].transpose(0, 3, 1, 2), "one-hot"),
        (np.ones((2, 3, 4, 5), bool), "binary"),
        (np.full((2, 3, 4, 5), 0.5), "numbers"),
        (np.zeros((2, 3, 4, 6)), "numbers"),
    ],
)
def test_the_narrowest_kind_for_outputs(t, kind):
    assert kind_of(t, (2, 3, 4, 5)) == kind


@pytest.mark.parametrize(
    ("t", "classes"),
    [(np.asarray([2, 0, 2]), 3), (np.zeros(0, int), 0), (np.asarray([4.0]), 0), (np.eye(3), 0)],
)
def test_classes_that_labels_need(t, classes):
    assert check_labels(t) == classes
    check_classes(classes, classes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_labels(np.asarray([3, -1])), "labels must be 0 or more, got -1"),
        (lambda: check_classes(4, 3), "3 outputs, got 3; they count from 0: .*, subtract 1; "),
        (lambda: check_classes(5, 3), "3 outputs, got 4; give the network one output for each"),
        (lambda: check_pairs(3, 2), "one target a sample is needed, got 3 and 2"),
        (lambda: check_pairs(2, 3), "one target a sample is needed, got 2 and 3"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
