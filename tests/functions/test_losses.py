"""Losses beyond the book's printed numbers: exactness, extremes, targets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xpnet import (
    cross_entropy_error,
    log_softmax,
    one_hot,
    sigmoid,
    softmax,
    softmax_cross_entropy,
    to_numpy,
)

scores = arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-50, 50)
)


@given(scores, st.data())
def test_the_training_loss_is_the_exact_cross_entropy_of_softmax(z, data):
    t = np.asarray(
        data.draw(st.lists(st.integers(0, z.shape[1] - 1), min_size=len(z), max_size=len(z)))
    )
    loss, dz = softmax_cross_entropy(z, t)
    np.testing.assert_allclose(loss, cross_entropy_error(softmax(z), t, eps=0.0), atol=1e-11)
    np.testing.assert_allclose(dz, (softmax(z) - np.eye(z.shape[1])[t]) / len(z), atol=1e-15)
    assert loss >= 0


def test_labels_and_one_hot_rows_agree(device):
    rng = np.random.default_rng(0)
    z, t = device.asarray(rng.standard_normal((6, 4))), rng.integers(4, size=6)
    hot = one_hot(device.asarray(t.astype(np.uint8)), 4, dtype=device.xp.float64)
    np.testing.assert_array_equal(to_numpy(hot), np.eye(4)[t])
    for targets in (hot, device.asarray(np.eye(4, dtype=np.int32)[t])):
        by_label, by_row = (softmax_cross_entropy(z, u) for u in (device.asarray(t), targets))
        assert float(by_label[0]) == float(by_row[0])
        np.testing.assert_array_equal(to_numpy(by_label[1]), to_numpy(by_row[1]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_scores_neither_overflow_nor_lose_the_loss(device, dtype):
    z = device.asarray([[1000.0, 0.0, -1000.0]], dtype=dtype)
    loss, dz = softmax_cross_entropy(z, device.asarray([2]))
    assert float(loss) == 2000.0
    np.testing.assert_array_equal(to_numpy(dz), [[1.0, 0.0, -1.0]])
    np.testing.assert_array_equal(to_numpy(log_softmax(z)), [[0.0, -1000.0, -2000.0]])
    edges = sigmoid(device.asarray([-1000.0, 1000.0], dtype=dtype))
    np.testing.assert_array_equal(to_numpy(edges), [0.0, 1.0])


def test_sigmoid_is_right_to_the_last_digits_on_both_sides(device):
    """Reference values from 40-digit arithmetic."""
    x = device.asarray([-30.0, -1.0, 1.0, 30.0])
    want = [9.3576229688392989e-14, 0.26894142136999512, 0.73105857863000488, 0.99999999999990642]
    np.testing.assert_allclose(to_numpy(sigmoid(x)), want, rtol=4e-16)


def test_dtypes_are_kept(device):
    for dtype in ("float32", "float64"):
        z, t = device.asarray([[1.0, 2.0]], dtype=dtype), device.asarray([1])
        loss, dz = softmax_cross_entropy(z, t)
        kind = device.dtype(dtype)
        for array in (loss, dz, softmax(z), log_softmax(z), sigmoid(z), cross_entropy_error(z, t)):
            assert array.dtype == kind
