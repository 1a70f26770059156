"""Dropout's masks by a compiled loop, against the words that define them."""

import numpy as np
import pytest

from xpnet import get_device
from xpnet.arrays.random import random_words

pytest.importorskip("numba", reason="numba is not installed")
from xpnet.engine.cpu.fast.dropout import draw
from xpnet.engine.cpu.philox import Philox

KEY = (0x9ABCDEF0, 0x12345678)
LEAST = round(0.3 * 2**32)


def drawn(n, step, start):
    mask = np.empty(n, dtype=bool)
    draw(mask, *map(np.uint32, KEY), *map(np.uint64, (step, start, LEAST)))
    return mask


@pytest.mark.parametrize("step", [0, 1, 2**33 + 5])
def test_a_mask_is_of_the_words_of_its_step(step):
    words = random_words(50, key=KEY, step=np.array([step]), device=get_device("cpu"))
    for n, start in ((1, 0), (5, 3), (13, 8), (40, 10), (48, 2)):
        got = drawn(n, step, start)
        np.testing.assert_array_equal(got, words[start : start + n] >= LEAST)
        assert n < 10 or 0 < got.sum() < n


@pytest.mark.parametrize("start", [2**34 - 5, 2**34, 2**35 + 2])
def test_words_begin_again_where_their_number_ends(start):
    """As they do for NumPy's kernel."""
    want = Philox(KEY, 11).words(1, start) >= LEAST
    np.testing.assert_array_equal(drawn(11, 1, start), want)
