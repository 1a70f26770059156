"""Random words in few calls: for small numbers of them, calls are what costs time."""

import sys

import numpy as np

from xpnet.arrays.random import MULTIPLIERS, ROUNDS, WEYL, WORD

LOW, HIGH = (0, 1) if sys.byteorder == "little" else (1, 0)
"""Places in memory of the halves of a 64-bit number."""


class Philox:
    """Any n consecutive words of a step of `xpnet.arrays.random.random_words`.

    The words of a counter that are multiplied, 0 and 2, are the rows of one array, and 1 and 3
    those of another. The upper and lower halves of the products are views, so that a round takes
    three operations instead of fourteen.
    """

    def __init__(self, key: tuple[int, int], n: int) -> None:
        self._n, blocks = n, n // 4 + 2
        self._factors = np.asarray(MULTIPLIERS, dtype=np.uint64)[:, np.newaxis]
        self._count = np.arange(blocks, dtype=np.uint32)
        self._even, self._odd = np.empty((2, 2, blocks), dtype=np.uint32)
        self._words = np.empty((blocks, 4), dtype=np.uint32)
        # A product, its upper halves, the words 1 and 3 that these meet, and the key of each round;
        # two arrays by turns, since the lower halves of one product are the next round's words.
        products = np.empty((2, 2, blocks), dtype=np.uint64)
        self._rounds: list[tuple[np.ndarray, ...]] = []
        self._last = self._odd
        for k in range(ROUNDS):
            product = products[k % 2]
            halves = product[::-1].view(np.uint32).reshape(2, blocks, 2)
            keys = [[(start + k * step) & WORD] for start, step in zip(key, WEYL, strict=True)]
            keys_of_round = np.asarray(keys, dtype=np.uint32)
            self._rounds.append((product, halves[..., HIGH], self._last, keys_of_round))
            self._last = halves[..., LOW]

    def words(self, step: int, start: int) -> np.ndarray:
        """Words number start ... start + n - 1, uint32; written over by the next call."""
        even, odd, words = self._even, self._odd, self._words
        np.add(self._count, np.uint32(start // 4 & WORD), out=even[0])
        even[1], odd[0], odd[1] = step & WORD, 0, step >> 32 & WORD
        for product, upper, lower, key in self._rounds:
            np.multiply(even, self._factors, out=product)
            np.bitwise_xor(upper, lower, out=even)
            np.bitwise_xor(even, key, out=even)
        words[:, 0::2], words[:, 1::2] = even.T, self._last.T
        return words.reshape(-1)[start % 4 : start % 4 + self._n]
