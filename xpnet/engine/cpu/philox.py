"""Random words in few calls: for small numbers of them, calls are what costs time."""

import numpy as np

from xpnet.random import MULTIPLIERS, ROUNDS, WEYL, WORD


class Philox:
    """Any n consecutive words of a step of `xpnet.random.random_words`.

    The words of a counter that are multiplied, 0 and 2, are the rows of one array, and 1 and 3
    those of another; a round then takes five operations instead of fourteen.
    """

    def __init__(self, key: tuple[int, int], n: int) -> None:
        self._n = n
        blocks = n // 4 + 2
        keys = [(key[0] + k * WEYL[0], key[1] + k * WEYL[1]) for k in range(ROUNDS)]
        self._keys = np.asarray(keys, dtype=np.uint64)[:, :, np.newaxis] & np.uint64(WORD)
        self._factors = np.asarray(MULTIPLIERS, dtype=np.uint64)[:, np.newaxis]
        self._half, self._word = np.uint64(32), np.uint64(WORD)
        self._even, self._odd, self._product, self._high = np.empty((4, 2, blocks), dtype=np.uint64)
        self._count = np.arange(blocks, dtype=np.uint64)
        self._words = np.empty((blocks, 4), dtype=np.uint64)

    def words(self, step: int, start: int) -> np.ndarray:
        """Words number start ... start + n - 1, uint64; written over by the next call."""
        even, odd, product, high = self._even, self._odd, self._product, self._high
        np.add(self._count, np.uint64(start // 4), out=even[0])
        even[1], odd[0], odd[1] = step & WORD, 0, step >> 32
        for key in self._keys:
            np.multiply(even, self._factors, out=product)
            np.right_shift(product, self._half, out=high)
            np.bitwise_xor(high[::-1], odd, out=even)
            np.bitwise_xor(even, key, out=even)
            np.bitwise_and(product[::-1], self._word, out=odd)
        self._words[:, 0::2], self._words[:, 1::2] = even.T, odd.T
        return self._words.reshape(-1)[start % 4 : start % 4 + self._n]
