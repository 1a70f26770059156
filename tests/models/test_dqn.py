"""The networks of Deep Q-learning."""

import numpy as np
import pytest

from xpnet import DQN, load_network
from xpnet.errors import ArgumentError


@pytest.mark.parametrize(
    ("actions", "shape", "count"),
    [
        (3, (4, 10, 10), 132_179),
        (6, (4, 10, 10), 132_566),
        (4, (4, 84, 84), 1_686_180),
        (6, (4, 84, 84), 1_687_206),
        (18, (4, 84, 84), 1_693_362),
        (2, (4,), 17_410),
    ],
)
def test_parameters(actions, shape, count):
    network = DQN(actions, input_shape=shape, rng=0)
    assert network.params.count == count
    assert network.output_shape == (actions,)


def test_it_is_kept_whole(tmp_path):
    network = DQN(3, rng=0)
    network.save_params(tmp_path / "dqn.safetensors")
    again, x = load_network(tmp_path / "dqn.safetensors"), np.ones((2, 4, 10, 10), np.float32)
    np.testing.assert_array_equal(again.predict(x), network.predict(x))
    assert network.predict(x).shape == (2, 3)


def test_refused():
    with pytest.raises(ArgumentError, match="a DQN needs at least one action, got 0"):
        DQN(0)
    with pytest.raises(ArgumentError, match=r"must be \(channels, height, width\)"):
        DQN(2, input_shape=(4, 10))
    with pytest.raises(ArgumentError, match="needs images of at least 3 x 3 pixels"):
        DQN(2, input_shape=(4, 2, 2))
