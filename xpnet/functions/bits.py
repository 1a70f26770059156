"""Rows of -1 and 1 as bits, and their products (section 8.3.4).

With a bit for each number, 1 for 1 and 0 for -1, two of n numbers have the product

    a . w = n - 2 popcount(a xor w),

since each pair that differs makes it smaller by 2. Rastegari et al. 2016, "XNOR-Net",
arXiv:1603.05279; Hubara et al. 2016, arXiv:1602.02830, section 1.5.
"""

from typing import Any

import numpy as np

from xpnet.arrays import Array, array_namespace
from xpnet.arrays.values import in_parts

WORD = 8
"""Bytes that are compared at a time where the library counts bits itself."""

TEMPORARY = 2**20
"""Pairs of rows at most that are compared at a time."""


def packed_bits(rows: Array) -> Array:
    """Rows of numbers, or of True and False, as bits: (M, K) to uint8 (M, ceil(K / 8)).

    A bit is 1 where a number is above 0. The first number is the highest bit of the first byte;
    bits that are left over are 0.
    """
    xp, (M, K) = array_namespace(rows), rows.shape
    above = rows if xp.isdtype(rows.dtype, "bool") else rows > 0
    bits = xp.astype(above, xp.uint8)
    size = -(-K // 8)
    if K % 8:
        more = xp.zeros((M, size * 8 - K), dtype=xp.uint8, device=rows.device)
        bits = xp.concat([bits, more], axis=1)
    if hasattr(xp, "packbits"):  # NumPy and CuPy
        return xp.reshape(xp.packbits(xp.reshape(bits, (-1,))), (M, size))
    values = xp.asarray([128, 64, 32, 16, 8, 4, 2, 1], dtype=xp.uint8, device=rows.device)
    return xp.sum(xp.reshape(bits, (M, size, 8)) * values, axis=-1, dtype=xp.uint8)


def unpacked_signs(bits: Array, K: int, dtype: Any) -> Array:
    """The rows again, (M, K) of -1 and 1."""
    xp = array_namespace(bits)
    places = xp.asarray([7, 6, 5, 4, 3, 2, 1, 0], dtype=xp.uint8, device=bits.device)
    ones = xp.bitwise_and(xp.bitwise_right_shift(xp.expand_dims(bits, axis=-1), places), 1)
    rows = xp.reshape(ones, (bits.shape[0], -1))[:, :K]
    return 2 * xp.astype(rows, dtype) - 1


def differing_bits(a: Array, w: Array) -> Array:
    """Count for each row of a (M, B), and each of w (F, B), the bits that differ: (M, F), int32."""
    xp, (M, _), (F, _) = array_namespace(a), a.shape, w.shape
    a, w, counted = _countable(a, w)
    found = xp.zeros((M, F), dtype=xp.int32, device=a.device)
    step = max(1, TEMPORARY // max(1, F))
    for part in in_parts(M, step):
        for k in range(a.shape[1]):
            different = xp.bitwise_xor(a[part, k][:, None], w[:, k][None, :])
            found[part, :] += counted(different)
    return found


def _countable(a: Array, w: Array) -> tuple[Array, Array, Any]:
    """The rows in words whose bits can be counted, and the function that counts them."""
    xp = array_namespace(a)
    if isinstance(a, np.ndarray):
        return _words(a), _words(w), np.bitwise_count
    table = xp.asarray([byte.bit_count() for byte in range(256)], dtype=xp.int32, device=a.device)

    def counted(x: Array) -> Array:
        places = xp.astype(xp.reshape(x, (-1,)), xp.int64)
        return xp.reshape(xp.take(table, places, axis=0), x.shape)

    return a, w, counted


def _words(rows: np.ndarray) -> np.ndarray:
    """Bytes as words, with zeros to fill the last one."""
    more = -rows.shape[1] % WORD
    return np.pad(rows, ((0, 0), (0, more))).view(np.uint64)
