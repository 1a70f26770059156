"""Arrays as rows of numbers that lie side by side, which is what compiled loops go through."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.engine.cpu.buffers import Buffers

LANES = 1024
"""Numbers at most of a row that vectors are repeated for, so that these stay in the first cache."""

Pair = tuple[np.ndarray, np.ndarray]
"""A stretch of memory, and where in it each row begins."""


class Rows:
    """Arrays of one shape, seen as equally many rows of equal length in each of them.

    Rows are as long as the numbers of all arrays lie side by side: the whole of arrays without a
    border. LLVM makes good use of them, and the checks of a few addresses that it puts before each
    loop cost nothing. An array whose last axis is not in one piece in memory, such as what a fully
    connected layer has for images, is copied: `fetch` comes before the loop, `leave` behind it.

    Parameters
    ----------
    buffers : where the copies are
    reads, updates, writes : what the loop reads, what it changes, and what it writes anew
    period : numbers after which vectors repeat themselves, the channels; rows are then whole
        multiples of it, and no longer than `LANES` where that can be

    Attributes
    ----------
    length : of each row
    args : for each array in that order a stretch of memory, and the beginnings of the rows
    """

    def __init__(
        self,
        buffers: Buffers,
        reads: Sequence[np.ndarray],
        *,
        updates: Sequence[np.ndarray] = (),
        writes: Sequence[np.ndarray] = (),
        period: int | None = None,
    ) -> None:
        self._fetched: list[tuple[np.ndarray, np.ndarray]] = []
        self._left: list[tuple[np.ndarray, np.ndarray]] = []
        arrays = []
        for number, array in enumerate([*reads, *updates, *writes]):
            if _straight(array):
                arrays.append(array)
                continue
            copy = buffers.scratch(f"straight {number}", array.shape, array.dtype)
            arrays.append(copy)
            if number < len(reads) + len(updates):
                self._fetched.append((copy, array))
            if number >= len(reads):
                self._left.append((array, copy))
        self.length, pairs = rows_of(arrays, period)
        self.args: list[Any] = [each for pair in pairs for each in pair]

    def fetch(self) -> None:
        """Copy what the loop reads from arrays that are not straight."""
        for copy, array in self._fetched:
            np.copyto(copy, array)

    def leave(self) -> None:
        """Copy what the loop has left to arrays that are not straight."""
        for array, copy in self._left:
            np.copyto(array, copy)


def rows_of(arrays: Sequence[np.ndarray], period: int | None = None) -> tuple[int, list[Pair]]:
    """The length of the rows of arrays of one shape, and for each array where they are.

    Parameters
    ----------
    arrays : with the numbers of the last axis side by side
    period : as in `Rows`
    """
    shape, run, axis = arrays[0].shape, 1, arrays[0].ndim
    while axis and all(
        shape[axis - 1] == 1 or array.strides[axis - 1] == run * array.itemsize for array in arrays
    ):
        axis -= 1
        run *= shape[axis]
    length = run if period is None else _cut(run, period)
    pairs = []
    for array in arrays:
        at = np.arange(run // length) * length
        for size, stride in zip(
            reversed(shape[:axis]), reversed(array.strides[:axis]), strict=True
        ):
            at = (np.arange(size) * (stride // array.itemsize))[:, np.newaxis] + at
            at = at.reshape(-1)
        span = int(at.max()) + length
        memory = np.lib.stride_tricks.as_strided(array, (span,), (array.itemsize,))
        pairs.append((memory, at.astype(np.int64)))
    return length, pairs


def _cut(run: int, period: int) -> int:
    """The length of equal pieces of a run."""
    count = run // period
    fits = [k for k in range(1, count + 1) if count % k == 0 and k * period <= LANES]
    return max(fits, default=1) * period


def _straight(array: np.ndarray) -> bool:
    """Tell whether the numbers of the last axis lie side by side."""
    return array.shape[-1] == 1 or array.strides[-1] == array.itemsize
