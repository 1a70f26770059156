"""Numbers of 16 bits, beside NumPy's float16 and the upper half of float32's bits."""

import numpy as np
import pytest

from xpnet import rounded, to_numpy
from xpnet.errors import ArgumentError


def test_values_of_the_specification(device):
    """Values of 1.13: ties go to the even digit, and what is half a step too large to infinity."""
    given = [0.1, 2049, 65519, 65520, 1 + 2**-11, 2**-25, -65520, np.nan, -np.inf]
    want = [0.0999755859375, 2048, 65504, np.inf, 1, 0, -np.inf, np.nan, -np.inf]
    for dtype in ("float32", "float64"):
        got = rounded(device.asarray(given, dtype=dtype), "float16")
        assert str(got.dtype).endswith(dtype)
        np.testing.assert_array_equal(to_numpy(got), np.asarray(want, dtype=dtype))


def bfloat16(x: np.ndarray) -> np.ndarray:
    """float32 by its bits: the upper half, after half of the last digit was added to it."""
    bits = x.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


def neighbours(bits: np.ndarray) -> np.ndarray:
    """All numbers of a format, the middles between them, and what is just beside those."""
    numbers = np.unique(bits[np.isfinite(bits)].astype(np.float64))
    middles = ((numbers[1:] + numbers[:-1]) / 2).astype(np.float32)
    beside = (np.nextafter(middles, np.float32(end)) for end in (-np.inf, np.inf))
    return np.concatenate([numbers.astype(np.float32), middles, *beside])


@pytest.mark.parametrize("to", ["float16", "bfloat16"])
def test_all_numbers_and_all_ties_between_them(to):
    """Rounding never falls where x rises, so what holds at and beside each tie holds everywhere."""
    every = np.arange(2**16, dtype=np.uint16)
    if to == "float16":
        x = neighbours(every.view(np.float16))
        want = x.astype(np.float16).astype(np.float32)
    else:
        x = neighbours((every.astype(np.uint32) << 16).view(np.float32))
        want = bfloat16(x)
    got = rounded(x, to)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(want))
    # float64 is rounded once, not to float32 first.
    just_above = np.asarray([1 + 2.0**-9 + 2.0**-40, 1 + 2.0**-12 + 2.0**-40])
    assert rounded(just_above, "bfloat16")[0] == 1  # 1 + 2^-9 is a quarter of a step
    assert rounded(np.asarray(1 + 2.0**-8 + 2.0**-40), "bfloat16") == 1 + 2.0**-7
    assert rounded(np.asarray(1 + 2.0**-11 + 2.0**-40), "float16") == 1 + 2.0**-10


def test_what_is_taken_and_what_is_not():
    assert rounded(np.asarray([2049]), "float16").tolist() == [2048.0]
    assert (rounded(0.1, "float16"), rounded(2049, "float16")) == (0.0999755859375, 2048)
    x = np.ones(3, dtype="float32") / 3
    before = x.copy()
    rounded(x, "bfloat16")
    np.testing.assert_array_equal(x, before)
    assert rounded(np.zeros((0, 2)), "float16").shape == (0, 2)
    with pytest.raises(
        ArgumentError, match="rounded's to must be 'float16' or 'bfloat16', got 'f8'"
    ):
        rounded(x, "f8")
