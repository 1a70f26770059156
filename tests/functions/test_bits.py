"""Products of -1 and 1 by counting bits."""

import numpy as np
import pytest

from xpnet import to_numpy
from xpnet.functions.bits import differing_bits, packed_bits, unpacked_signs


def test_a_product_of_signs_is_a_count_of_bits(device):
    """The value of 1.12: (1, -1, 1, 1) . (1, 1, -1, 1) = 4 - 2 * 2 = 0."""
    a, w = (device.asarray([row]) for row in ([1.0, -1, 1, 1], [1.0, 1, -1, 1]))
    assert to_numpy(packed_bits(a)).tolist() == [[0b10110000]]
    assert to_numpy(differing_bits(packed_bits(a), packed_bits(w))).tolist() == [[2]]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 200])
def test_products_of_any_length_equal_those_of_floats(device, count):
    rng = np.random.default_rng(count)
    a, w = (rng.choice([-1.0, 1.0], (n, count)) for n in (5, 3))
    packed = [packed_bits(device.asarray(each)) for each in (a, w)]
    assert tuple(packed[0].shape) == (5, -(-count // 8))
    np.testing.assert_array_equal(count - 2 * to_numpy(differing_bits(*packed)), a @ w.T)
    np.testing.assert_array_equal(
        to_numpy(unpacked_signs(packed[0], count, device.xp.float32)), a.astype("float32")
    )


def test_rows_are_compared_in_parts_of_bounded_size(monkeypatch):
    monkeypatch.setattr("xpnet.functions.bits.TEMPORARY", 6)
    rng = np.random.default_rng(0)
    a, w = (rng.choice([-1.0, 1.0], (n, 20)) for n in (7, 3))
    found = differing_bits(packed_bits(a), packed_bits(w))
    np.testing.assert_array_equal(20 - 2 * found, a @ w.T)
