"""What the loops over images have in common: how they are compiled, and how they see memory."""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.lib.stride_tricks import as_strided

from xpnet.compiled import loop
from xpnet.engine.cpu.buffers import Buffers
from xpnet.engine.cpu.fast.rows import Pixels
from xpnet.engine.cpu.kernel import Kernel

arithmetic = partial(loop, contract=True)
"""Compiles a loop in which a product and a sum may be rounded together, as one instruction."""


@intrinsic  # type: ignore[untyped-decorator]
def wide_vectors(typing_context: Any) -> Any:
    """Have the loop in which this is called use vectors of 64 bytes, where there are such.

    LLVM would halve them on most processors, which slows down whatever does little else than load
    and store.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # llvmlite knows but a few attributes, and refuses others.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate


class Flat(NamedTuple):
    """Images (H, W, n, C) as a loop sees them: pixels, each a run of n C numbers.

    Attributes
    ----------
    numbers : (all,), from the first pixel to the last, with what lies between them in memory
    row, column : from a pixel to the one below, and to the one on its right
    """

    numbers: np.ndarray
    row: int
    column: int

    @staticmethod
    def of(images: np.ndarray) -> "Flat | None":
        """See images so; None if the numbers of a pixel do not lie side by side."""
        H, W, n, C = images.shape
        row, column, sample, channel = (step // images.itemsize for step in images.strides)
        if (C > 1 and channel != 1) or (n > 1 and sample != C) or min(row, column) < 0:
            return None
        size = (H - 1) * row + (W - 1) * column + n * C
        return Flat(as_strided(images, (size,), (images.itemsize,)), row, column)


@arithmetic
def largest(x0: Any, x1: Any, x2: Any, x3: Any) -> Any:
    """ReLU of the largest of a 2 x 2 window, and its place, 0 to 3; 4 if it is not positive.

    Of equals the first wins, row by row, as in `MaxPool`; what is no number goes on. The place is
    of the type of the numbers: a loop that stores both is not vectorized otherwise.
    """
    kind = type(x0)
    above = x0 if (x0 >= x1) | (x0 != x0) else x1
    below = x2 if (x2 >= x3) | (x2 != x2) else x3
    most = above if (above >= below) | (above != above) else below
    place_above = kind(0) if x0 >= x1 else kind(1)
    place_below = kind(2) if x2 >= x3 else kind(3)
    place = place_above if above >= below else place_below
    return (kind(0) if most < 0 else most), (place if most > 0 else kind(4))


class Outside:
    """An array that others have made, as loops see it: through a copy where they cannot.

    Parameters
    ----------
    images : the array
    buffers, name : where the copy is
    see : how loops see images, as `Flat.of`, which is None where they cannot

    Attributes
    ----------
    flat : what loops read and write
    """

    def __init__(
        self,
        images: np.ndarray,
        buffers: Buffers,
        name: str,
        see: Callable[[np.ndarray], Flat | None] = Flat.of,
    ) -> None:
        flat = see(images)
        self._fetch: Callable[[], object] | None = None
        self._deliver: Callable[[], object] | None = None
        if flat is None:
            copy = buffers.scratch(name, images.shape)
            flat = see(copy)
            self._fetch = partial(np.copyto, copy, images)
            self._deliver = partial(np.copyto, images, copy)
            if images.strides[-1] == images.itemsize:
                x, at_x, y, at_y = Pixels(buffers, [images, copy]).args
                self._fetch = partial(copy_pixels, x, at_x, y, at_y)
                self._deliver = partial(copy_pixels, y, at_y, x, at_x)
        assert flat is not None
        self.flat = flat

    def fetched(self) -> Flat:
        """What is in the array now."""
        if self._fetch is not None:
            self._fetch()
        return self.flat

    def deliver(self) -> None:
        """Have the array hold what a loop has written."""
        if self._deliver is not None:
            self._deliver()


@loop
def copy_pixels(
    x: np.ndarray,
    at_x: tuple[int, int, int, int, int, int, int],
    y: np.ndarray,
    at_y: tuple[int, int, int, int, int, int, int],
) -> None:
    """y = x, for images as `Pixels` has them."""
    wide_vectors()
    H, W, row, column, step, pieces, length = at_x
    _, _, row_y, column_y, step_y, _, _ = at_y
    for i in range(H):
        for j in range(W):
            for piece in range(pieces):
                p = i * row + j * column + piece * step
                q = i * row_y + j * column_y + piece * step_y
                of, to = x[p : p + length], y[q : q + length]
                for k in range(length):
                    to[k] = of[k]


class WritesOutside(Kernel):
    """A kernel whose loops write y where others have made it, and read dy there."""

    owns_y = False

    @cached_property
    def outside(self) -> Outside:
        """The array y."""
        return Outside(self.y, self.buffers, "y as loops see it")

    @cached_property
    def gradient_outside(self) -> Outside:
        """The array dy."""
        return Outside(self.dy, self.buffers, "dy as loops see it")
