"""Ways between latent vectors: the worked example, lengths, and what is refused."""

import numpy as np
import pytest

from tolerances import P10, assert_near
from xpnet.arrays import to_numpy
from xpnet.errors import ArgumentError
from xpnet.functions.latent import lerp, slerp

Z0, Z1 = [1.0, 0.0, 2.0, -1.0], [0.5, 1.0, -1.0, 2.0]
QUARTER = [1.5319867844, 0.6315670286, 1.8008395115, 0.0469307871]
HALF = [1.6204102238, 1.0802734825, 1.0802734825, 1.0802734825]


def test_the_great_circle_of_the_worked_example(device):
    z0, z1 = device.asarray(Z0), device.asarray(Z1)
    assert_near(slerp(z0, z1, 0.25), QUARTER, P10)
    assert_near(slerp(z0, z1, 0.5), HALF, P10)
    both = slerp(device.asarray([Z0, Z0]), device.asarray([Z1, Z0]), 0.25)
    assert_near(both, [QUARTER, Z0], P10)  # of two that are the same there is nothing between
    single = slerp(device.asarray(Z0, dtype="float32"), device.asarray(Z1, dtype="float32"), 0.5)
    assert single.dtype == device.xp.float32
    assert_near(single, HALF, {"rtol": 1e-6, "atol": 0})


def test_the_straight_line(device):
    z0, z1 = device.asarray(Z0), device.asarray(Z1)
    assert_near(lerp(z0, z1, 0.25), [0.875, 0.25, 1.25, -0.25], P10)
    for way in (lerp, slerp):
        assert_near(way(z0, z1, 0.0), Z0, P10)
        assert_near(way(z0, z1, 1.0), Z1, P10)


def test_vectors_without_an_angle_are_gone_between_in_a_straight_line(device):
    z0, zero = device.asarray(Z0), device.asarray([0.0] * 4)
    for other in (zero, -z0, z0 * 3, z0):
        assert_near(slerp(z0, other, 0.25), to_numpy(lerp(z0, other, 0.25)), P10)


def test_lengths_stay_on_the_great_circle():
    rng = np.random.default_rng(0)
    z0, z1 = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in rng.standard_normal((2, 5, 9)))
    for u in (0.1, 0.5, 0.8):
        np.testing.assert_allclose(np.linalg.norm(slerp(z0, z1, u), axis=1), 1.0, rtol=1e-14)


def test_what_is_no_pair_is_refused():
    with pytest.raises(ArgumentError, match=r"^lerp needs two arrays of one shape, got .*; resh"):
        lerp(np.ones(3), np.ones(4), 0.5)
    with pytest.raises(ArgumentError, match=r"^slerp needs a finite number as the place"):
        slerp(np.ones(3), np.ones(3), float("nan"))
    with pytest.raises(ArgumentError, match=r"^slerp needs vectors, .*; use lerp$"):
        slerp(np.ones(()), np.ones(()), 0.5)
