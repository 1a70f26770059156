"""Dropout's masks."""

from typing import Any

import numpy as np

from xpnet.arrays import Array
from xpnet.arrays.random import MULTIPLIERS, ROUNDS, WEYL
from xpnet.compiled import loop
from xpnet.engine.cpu.dropout import DropUnits
from xpnet.engine.cpu.kernel import instead_of

M0, M1 = map(np.uint64, MULTIPLIERS)
W0, W1 = map(np.uint32, WEYL)
HALF = np.uint64(32)


@loop
def draw(mask: Array, k0: Any, k1: Any, step: Any, start: Any, least: Any) -> None:
    """Whether words number start, start + 1, ... of a step of `random_words` are `least` or more.

    Parameters
    ----------
    mask : (n,), for so many words
    k0, k1 : the key, uint32
    step, start, least : uint64
    """
    n, done, skipped = mask.size, 0, int(start & np.uint64(3))
    block = np.uint32(start >> np.uint64(2))
    words = np.empty(4, dtype=np.uint32)
    while done < n:
        c0, c1, c2, c3 = block, np.uint32(0), np.uint32(step), np.uint32(step >> HALF)
        first, second = k0, k1
        for _ in range(ROUNDS):
            p0, p1 = M0 * np.uint64(c0), M1 * np.uint64(c2)
            c0, c2 = np.uint32(p1 >> HALF) ^ c1 ^ first, np.uint32(p0 >> HALF) ^ c3 ^ second
            c1, c3 = np.uint32(p1), np.uint32(p0)
            first, second = np.uint32(first + W0), np.uint32(second + W1)
        words[0], words[1], words[2], words[3] = c0, c1, c2, c3
        for k in range(skipped, min(4, n - done + skipped)):
            mask[done] = np.uint64(words[k]) >= least
            done += 1
        skipped, block = 0, np.uint32(block + np.uint32(1))


@instead_of(DropUnits)
class DropUnitsInLoop(DropUnits):
    """The same mask, drawn number by number."""

    def draw(self, calls: int, start: int, least: int) -> None:
        """Leave in the mask which units stay."""
        k0, k1 = map(np.uint32, self._layer.key)
        numbers = map(np.uint64, (calls, start, least))
        draw(self._mask.reshape(-1), k0, k1, *numbers)
