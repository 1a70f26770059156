"""Some of many candidates, chosen by draws, in arrays of fixed sizes."""

import numpy as np
import pytest

from xpnet import to_numpy
from xpnet.functions.sampling import drawn, first_of, taken


def arrays(device, *given):
    return [device.asarray(np.asarray(each)) for each in given]


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
def test_the_lowest_draws_are_chosen(device, limit):
    candidates, draws = arrays(
        device,
        [[True, True, False, True], [False] * 4, [False, False, True, False]],
        [[0.5, 0.9, 0.1, 0.2], [0.5, 0.9, 0.1, 0.2], [0.4, 0.3, 0.2, 0.1]],
    )
    order = [3, 0, 1][:limit]
    want = [[k in order for k in range(4)], [False] * 4, [False, False, True, False]]
    np.testing.assert_array_equal(to_numpy(drawn(candidates, draws, limit)), want)
    limits = device.asarray(np.array([limit, 1, 2]))
    np.testing.assert_array_equal(to_numpy(drawn(candidates, draws, limits)), want)


def test_every_candidate_is_as_likely_as_any_other():
    rng = np.random.default_rng(0)
    candidates = np.broadcast_to(np.arange(8) != 3, (20_000, 8))
    chosen = drawn(candidates, rng.random((20_000, 8)), 2)
    assert np.all(chosen.sum(axis=1) == 2)
    shares = chosen.mean(axis=0)
    np.testing.assert_allclose(np.delete(shares, 3), 2 / 7, atol=0.015)
    assert shares[3] == 0


def test_groups_come_one_behind_the_other(device):
    first, second = arrays(
        device,
        [[False, True, False, True, False], [False] * 5, [True] * 5],
        [[True, False, False, False, False], [False] * 4 + [True], [False] * 5],
    )
    places, there = map(to_numpy, first_of(first, second, count=4))
    np.testing.assert_array_equal(places[0][:3], [1, 3, 0])
    np.testing.assert_array_equal(places[1][:1], [4])
    np.testing.assert_array_equal(places[2], [0, 1, 2, 3])
    np.testing.assert_array_equal(there.sum(axis=1), [3, 1, 4])
    assert np.all(np.diff(there.astype(int), axis=1) <= 0)
    for row in places:
        assert len(set(row.tolist())) == 4


def test_entries_are_taken_from_their_own_row(device):
    x = np.arange(24.0).reshape(2, 3, 4)
    places = np.array([[2, 0], [1, 1]])
    got = taken(*arrays(device, x, places))
    np.testing.assert_array_equal(to_numpy(got), x[np.arange(2)[:, None], places])
    got = taken(*arrays(device, x[..., 0], places))
    np.testing.assert_array_equal(to_numpy(got), x[np.arange(2)[:, None], places, 0])
