"""The counter-based generator: its published answers, and the same words on every library."""

import numpy as np
import pytest

from xpnet import get_device, to_numpy
from xpnet.arrays.random import StepWords, philox, pick, random_words, uniform

ANSWERS = [  # counter, key, output: Random123's known answers of philox4x32-10
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def hexadecimal(words):
    return [int(word, 16) for word in words.split()]


def words(device, n, *, key=(1, 2), step=0):
    step = device.asarray(np.asarray([step], np.int64))
    return to_numpy(random_words(n, key=key, step=step, device=device))


@pytest.mark.parametrize(("counter", "key", "want"), ANSWERS)
def test_known_answers(device, counter, key, want):
    counter = tuple(device.asarray(np.asarray([word])) for word in hexadecimal(counter))
    got = philox(counter, tuple(hexadecimal(key)))
    assert [int(to_numpy(word)[0]) for word in got] == hexadecimal(want)


def test_words_are_blocks_in_counter_order(device):
    """Words 4k ... 4k + 3 are philox of the counter (k, 0, step, step >> 32)."""
    step, key = 5 + (7 << 32), (11, 0xFFFFFFFF)
    blocks = [philox(tuple(np.asarray([c]) for c in (k, 0, 5, 7)), key) for k in range(3)]
    np.testing.assert_array_equal(words(device, 12, key=key, step=step), np.ravel(blocks))


def test_the_same_on_every_library(device):
    want = words(get_device("cpu"), 1001, key=(0xDEADBEEF, 3), step=2**40)
    got = words(device, 1001, key=(0xDEADBEEF, 3), step=2**40)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("n", [0, 1, 4, 7, 1000])
def test_fewer_words_are_the_first_of_more(device, n):
    got = words(device, n)
    assert got.shape == (n,)
    np.testing.assert_array_equal(got, words(device, 1003)[:n])


def test_steps_and_keys_give_different_words(device):
    """Also where only the high half of the step differs. Two equal words of 384: chance 2e-5."""
    cases = [{}, {"step": 1}, {"step": 2**32}, {"key": (1, 3)}, {"key": (2, 2)}, {"key": (2, 1)}]
    drawn = [word for case in cases for word in words(device, 64, **case)]
    assert len(set(drawn)) == 64 * len(cases)


def test_words_are_even():
    """Of 2^16 words: range, mean within 4 sd, and chi-square of their first and last four bits.

    15 degrees of freedom: between 3 and 42 with probability 0.9994.
    """
    n = 2**16
    drawn = words(get_device("cpu"), n, step=9)
    assert drawn.min() >= 0
    assert drawn.max() < 2**32
    assert np.mean(drawn / 2**32) == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / n))
    for nibbles in (drawn >> 28, drawn & 15):
        counts = np.bincount(nibbles, minlength=16)
        assert 3 < np.sum((counts - n / 16) ** 2) / (n / 16) < 42


def test_uniform_numbers_are_the_words_to_24_bits(device):
    """Compared as integers: every number is the upper 24 bits of its word, not rounded."""
    step = device.asarray(np.asarray([2**33 + 1]))
    u = uniform(1001, key=(5, 6), step=step, device=device)
    assert u.dtype == device.xp.float32
    want = words(get_device("cpu"), 1001, key=(5, 6), step=2**33 + 1) >> 8
    np.testing.assert_array_equal(to_numpy(u).astype(np.float64) * 2**24, want)


def test_uniform_numbers_stay_below_1(device, monkeypatch):
    """Also the largest word's, which divided by 2^32 in float32 would be 1."""
    edges = device.asarray(np.asarray([0, 255, 256, 2**32 - 1]))
    monkeypatch.setattr("xpnet.arrays.random.random_words", lambda *_, **__: edges)
    u = to_numpy(uniform(4, key=(0, 0), step=device.asarray(np.zeros(1, np.int64)), device=device))
    np.testing.assert_array_equal(u, np.asarray([0, 0, 2.0**-24, 1 - 2.0**-24], np.float32))


def test_words_of_many_steps_at_once(device):
    """Rows of (E, n) are those of each step by itself, and so are those drawn ahead."""
    steps = device.asarray(np.array([[3], [2**40], [70]]))
    rows = random_words(6, key=(1, 2), step=steps, device=device)
    ahead = StepWords(6, key=(1, 2), device=device)
    for row, step in zip(to_numpy(rows), (3, 2**40, 70), strict=True):
        np.testing.assert_array_equal(row, words(device, 6, step=step))
        np.testing.assert_array_equal(to_numpy(ahead.of(step)), row)


def test_steps_in_rows_and_none_at_all(device):
    steps = np.asarray([[[0], [7], [2**33]], [[1], [5], [7]]], np.int64)
    rows = random_words(9, key=(3, 4), step=device.asarray(steps), device=device)
    alone = [words(device, 9, key=(3, 4), step=step) for step in steps.reshape(-1).tolist()]
    np.testing.assert_array_equal(to_numpy(rows), np.reshape(alone, (2, 3, 9)))
    none = random_words(5, key=(3, 4), step=device.asarray(steps[:, :0]), device=device)
    assert none.shape == (2, 0, 5)


def test_a_pick_has_all_numbers_alike(device):
    got = to_numpy(pick(random_words(3000, key=(5, 6), step=device.asarray(np.array([0])),
                                     device=device), 3))  # fmt: skip
    counts = np.bincount(got)
    assert len(counts) == 3
    assert np.all(np.abs(counts - 1000) < 4 * (3000 * 2 / 9) ** 0.5)
