"""Arrays as stretches of numbers that lie side by side, which is what compiled loops go through."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpnet.engine.cpu.buffers import Buffers

LANES = 1024
"""Numbers at most of a row that vectors are repeated for, so that these stay in the first cache."""


class Straight:
    """Arrays for a loop; of those whose last axis is not in one piece in memory, copies.

    Such are the images of a fully connected layer. `fetch` comes before the loop, `leave` behind
    it; `go` does all three.

    Parameters
    ----------
    buffers : where the copies are
    reads, updates, writes : what the loop reads, what it changes, and what it writes anew

    Attributes
    ----------
    args : for each array in that order a stretch of memory, and what tells where its numbers are
    """

    args: list[Any]

    def __init__(
        self,
        buffers: Buffers,
        reads: Sequence[np.ndarray],
        updates: Sequence[np.ndarray] = (),
        writes: Sequence[np.ndarray] = (),
    ) -> None:
        self._fetched: list[tuple[np.ndarray, np.ndarray]] = []
        self._left: list[tuple[np.ndarray, np.ndarray]] = []
        self._arrays = []
        for number, array in enumerate([*reads, *updates, *writes]):
            if array.shape[-1] == 1 or array.strides[-1] == array.itemsize:
                self._arrays.append(array)
                continue
            copy = buffers.scratch(f"straight {number}", array.shape, array.dtype)
            self._arrays.append(copy)
            if number < len(reads) + len(updates):
                self._fetched.append((copy, array))
            if number >= len(reads):
                self._left.append((array, copy))

    def fetch(self) -> None:
        """Copy what the loop reads from arrays that are not straight."""
        for copy, array in self._fetched:
            np.copyto(copy, array)

    def leave(self) -> None:
        """Copy what the loop has left to arrays that are not straight."""
        for array, copy in self._left:
            np.copyto(array, copy)

    def go(self, loop: Callable[..., object], *first: Any) -> None:
        """Call a loop, which takes something first and then the arrays."""
        self.fetch()
        loop(*first, *self.args)
        self.leave()


class Rows(Straight):
    """Arrays of one shape, seen as equally many rows of equal length in each of them.

    Rows are as long as the numbers of all arrays lie side by side: the whole of arrays without a
    border. LLVM makes good use of them, and the checks of a few addresses that it puts before each
    loop cost nothing. Where the rows of an array begin is an array of numbers.

    Parameters
    ----------
    period : numbers after which vectors repeat themselves, the channels; rows are then whole
        multiples of it, and no longer than `LANES` where that can be

    Attributes
    ----------
    length : of each row
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
        super().__init__(buffers, reads, updates, writes)
        axes, run = _side_by_side(self._arrays)
        self.length = run if period is None else _cut(run, period)
        self.args = []
        for array in self._arrays:
            at = np.arange(run // self.length) * self.length
            for size, stride in reversed(list(zip(array.shape, array.strides, strict=True))[:axes]):
                step = stride // array.itemsize
                at = ((np.arange(size) * step)[:, np.newaxis] + at).reshape(-1)
            self.args += [_memory(array), at]


class Pixels(Straight):
    """Images of any sizes with equally many numbers in each pixel, for loops over pixels.

    The numbers of a pixel, (n, C), are in equal pieces, one if all arrays have them in one. Where
    those of an array are is told by its height and width, the steps from row to row, from column to
    column and from piece to piece, the number of pieces and their length.
    """

    def __init__(
        self,
        buffers: Buffers,
        reads: Sequence[np.ndarray],
        *,
        writes: Sequence[np.ndarray] = (),
    ) -> None:
        super().__init__(buffers, reads, writes=writes)
        n, C = self._arrays[0].shape[2:]
        axes, _ = _side_by_side([array[0, 0] for array in self._arrays])
        pieces = n if axes else 1
        self.args = []
        for array in self._arrays:
            steps = tuple(stride // array.itemsize for stride in array.strides[:3])
            self.args += [_memory(array), (*array.shape[:2], *steps, pieces, n * C // pieces)]


def _side_by_side(arrays: Sequence[np.ndarray]) -> tuple[int, int]:
    """How many axes lead to pieces that lie side by side in all arrays, and the length of those."""
    shape, run, axis = arrays[0].shape, 1, arrays[0].ndim
    while axis and all(
        shape[axis - 1] == 1 or array.strides[axis - 1] == run * array.itemsize for array in arrays
    ):
        axis -= 1
        run *= shape[axis]
    return axis, run


def _memory(array: np.ndarray) -> np.ndarray:
    """All of the memory from the first number of an array to its last."""
    last = sum((size - 1) * step for size, step in zip(array.shape, array.strides, strict=True))
    return as_strided(array, (last // array.itemsize + 1,), (array.itemsize,))


def _cut(run: int, period: int) -> int:
    """The length of equal pieces of a run."""
    count = run // period
    fits = [k for k in range(1, count + 1) if count % k == 0 and k * period <= LANES]
    return max(fits, default=1) * period
