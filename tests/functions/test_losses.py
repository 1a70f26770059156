"""Losses beyond the book's printed numbers: exactness, extremes, targets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tolerances import EX, P10, assert_near
from xpnet import (
    cross_entropy_error,
    log_softmax,
    one_hot,
    sigmoid,
    softmax,
    softmax_cross_entropy,
    to_numpy,
)
from xpnet.errors import ArgumentError
from xpnet.functions.losses import smooth_l1

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


@pytest.mark.parametrize(
    ("beta", "values", "slopes"),
    [
        (1.0, [1.5, 0.5, 0.125, 0, 0.125, 0.5, 2.5], [-1, -1, -0.5, 0, 0.5, 1, 1]),
        (
            1 / 9,
            [1.944444444, 0.9444444444, 0.4444444444, 0, 0.4444444444, 0.9444444444, 2.944444444],
            [-1, -1, -1, 0, 1, 1, 1],
        ),
    ],
)
def test_smooth_l1_of_the_worked_example(device, beta, values, slopes):
    found, slope = smooth_l1(device.asarray([-2.0, -1, -0.5, 0, 0.5, 1, 3]), beta)
    assert_near(found, values, P10 | {"rtol": 3e-10})
    assert_near(slope, slopes, EX)


def test_smooth_l1_is_pytorchs_at_every_size(device):
    """Also where squares would overflow, and of NaN, which stays."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = np.asarray([-1e300, -3.0, -0.3, -1e-9, 0.0, 0.2, 0.25, 7.0, np.inf, np.nan])
    for beta in (0.25, 1.0, 3):
        values, slope = smooth_l1(device.asarray(x), beta)
        there = torch.tensor(x, requires_grad=True)
        want = torch.nn.functional.smooth_l1_loss(
            there, 0 * there.detach(), beta=beta, reduction="none"
        )
        want[:-2].sum().backward()
        assert_near(values[:-2], want.detach().numpy()[:-2], {"rtol": 1e-14, "atol": 0})
        assert_near(slope[:-2], there.grad.numpy()[:-2], {"rtol": 1e-14, "atol": 0})
        assert_near(values[-2:], [np.inf, np.nan], EX)
        assert_near(slope[-2:], [1, np.nan], EX)
    for beta in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ArgumentError, match="smooth_l1 needs a finite beta above 0, got"):
            smooth_l1(x, beta)
