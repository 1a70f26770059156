"""Compiled loops invent no number where the layers have none."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed")

from xpnet.engine import get_engine
from xpnet.layers import LRN, Affine, BatchNorm, Convolution, MaxPool, ReLU
from xpnet.models import Network

POOL = MaxPool(2, stride=2)


@pytest.mark.parametrize(
    ("layers", "channels", "need_dx"),
    [
        ([Convolution(1, 2, 3, pad=1, rng=0), ReLU()], 1, False),
        ([Convolution(1, 2, 3, pad=1, rng=0), ReLU(), POOL], 1, False),
        ([Convolution(8, 2, 5, pad=2, rng=0), ReLU()], 8, True),
        ([Convolution(8, 2, 5, pad=2, rng=0), ReLU(), POOL], 8, True),
        ([Convolution(8, 2, 3, pad=1, rng=0), ReLU()], 8, True),
        ([Convolution(8, 2, 3, pad=1, rng=0), ReLU(), POOL], 8, True),
        ([Convolution(8, 2, 1, rng=0), ReLU()], 8, True),
        ([Convolution(8, 2, 1, rng=0), LRN(), ReLU()], 8, True),
        ([Convolution(8, 2, 1, rng=0), LRN(), ReLU(), POOL], 8, True),
        ([ReLU(), Affine(8 * 64, 3, rng=0), ReLU()], 8, True),
    ],
)
def test_a_gradient_that_is_no_number_stays_none_where_relu_is_closed(layers, channels, need_dx):
    """What the layers multiply by 0, which NaN survives."""
    network = Network([*layers], input_shape=(channels, 8, 8), dtype="float64")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, channels, 8, 8))
    y, backward = network.forward(x)
    dy = np.where(y == 0, np.nan, 0.0)
    assert 0 < np.isnan(dy).sum() < dy.size
    dx, grads = backward(dy)
    got, back = get_engine(network, "cpu", 1, compiled=True).forward(x)
    np.testing.assert_allclose(got, y, atol=1e-12)
    found_dx, found = back(dy, need_dx=need_dx)
    for name, grad in grads.items():
        assert not np.any(np.isnan(grad) & ~np.isnan(found[name])), name
    if need_dx:
        assert not np.any(np.isnan(dx) & ~np.isnan(found_dx))


def test_running_statistics_that_are_no_numbers_leave_none():
    network = Network([BatchNorm(2), ReLU()], input_shape=(2, 3, 3), dtype="float64")
    network.state["BatchNorm1.running_var"][0] = np.nan
    x = np.random.default_rng(0).standard_normal((4, 2, 3, 3))
    y, backward = network.forward(x)
    dx, _ = backward(np.ones_like(y))
    got, back = get_engine(network, "cpu", 1, compiled=True).forward(x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(y))
    found, _ = back(np.ones_like(y))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(dx))
    assert 0 < np.isnan(dx).sum() < dx.size
