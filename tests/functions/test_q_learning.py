"""Q-learning's targets and loss, by worked examples on every array library."""

import numpy as np
import pytest

from xpnet import smooth_l1, to_numpy
from xpnet.errors import ArgumentError
from xpnet.functions.q_learning import discounted_returns, epsilon_at, q_loss, q_targets

Q = [[0.5, 1.5, -0.2], [2, 0.1, 0.3], [0, 0.7, 0.4]]
TARGET = [[1, 3, 2], [0.2, 0.4, 0.9], [5, 6, 7]]
ONLINE = [[2, 1, 0.5], [0.9, 0.1, 0.3], [1, 2, 0]]
DQ = [[0, -1 / 3, 0], [1 / 3, 0, 0], [0, 0, 1 / 3]]


@pytest.fixture
def example(device):
    """Q, actions, rewards, terminal, target's and online values of what comes next."""
    arrays = [np.array(a, float) for a in (Q, TARGET, ONLINE)]
    q, target, online = map(device.asarray, arrays)
    action, terminal = np.array([1, 0, 2], np.int8), np.array([False, False, True])
    reward = np.array([1, 0, -1], np.float32)
    return q, *map(device.asarray, (action, reward, terminal)), target, online


def test_targets_and_loss(example):
    q, action, reward, terminal, target, online = example
    y = q_targets(reward, terminal, target, 0.99)
    np.testing.assert_allclose(to_numpy(y), [3.97, 0.891, -1], rtol=1e-12)
    double = q_targets(reward, terminal, target, 0.99, online=online)
    np.testing.assert_allclose(to_numpy(double), [1.99, 0.198, -1], rtol=1e-12)
    loss, dq, values = q_loss(q, action, y)
    assert float(loss) == pytest.approx(1.1596666667, abs=1e-10)
    np.testing.assert_allclose(to_numpy(dq), DQ, atol=1e-12)
    np.testing.assert_array_equal(to_numpy(values), [1.5, 2, 0.4])


def test_in_float32_everything_stays_so(example):
    q, action, reward, terminal, target, online = example
    kind = reward.dtype
    q, target, online = (a.astype("float32") if isinstance(a, np.ndarray) else a
                         for a in (q, target, online))  # fmt: skip
    if q.dtype != kind:
        pytest.skip("asked of NumPy")
    y = q_targets(reward, terminal, target, 0.99, online=online)
    loss, dq, _ = q_loss(q, action, y)
    assert y.dtype == loss.dtype == dq.dtype == kind


def test_the_gradient_is_the_loss_s(example):
    """Along one direction, by central differences."""
    q, action, reward, terminal, target, _ = (to_numpy(a) for a in example)
    y = q_targets(reward, terminal, target, 0.3)
    _, dq, _ = q_loss(q, action, y)
    along = np.random.default_rng(0).standard_normal(q.shape)
    up, down = (q_loss(q + e * along, action, y)[0] for e in (1e-5, -1e-5))
    assert (up - down) / 2e-5 == pytest.approx(np.sum(dq * along), abs=1e-9)


def test_huber_is_smooth_l1(device):
    d = device.asarray(np.array([-3, -1, -0.4, 0, 0.6, 2.5]))
    loss, slope = map(to_numpy, smooth_l1(d))
    np.testing.assert_allclose(loss, [2.5, 0.5, 0.08, 0, 0.18, 2], rtol=1e-12)
    np.testing.assert_allclose(slope, [-1, -1, -0.4, 0, 0.6, 1], rtol=1e-12)


def test_values_beyond_a_terminal_move_count_nothing(device):
    """Not even infinity."""
    target = device.asarray(np.array([[np.inf, 1.0]]))
    ends, reward = device.asarray(np.array([True])), device.asarray(np.array([0.5]))
    assert to_numpy(q_targets(reward, ends, target)).tolist() == [0.5]


def test_returns():
    want = [0.1539, 0.171, 0.19, -0.9, -1]
    np.testing.assert_allclose(discounted_returns([0, 0, 1, 0, -1], 0.9), want, rtol=1e-12)
    assert discounted_returns([], 0.9) == []


def test_epsilon_falls_evenly():
    found = [epsilon_at(f, begin=10, frames=100, least=0.1) for f in (0, 9, 10, 60, 110, 999)]
    np.testing.assert_allclose(found, [1, 1, 1, 0.55, 0.1, 0.1])
    assert epsilon_at(10, begin=10, frames=0, least=0.1) == 1.0
    assert epsilon_at(11, begin=10, frames=0, least=0.1) == 0.1


def test_a_discount_is_a_share():
    with pytest.raises(ArgumentError, match=r"discount must be from 0 to 1, got 1\.5"):
        q_targets(np.zeros(1), np.zeros(1, bool), np.zeros((1, 2)), 1.5)
