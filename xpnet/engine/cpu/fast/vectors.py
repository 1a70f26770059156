"""What the loops over images have in common: how they are compiled, and how they see memory."""

from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.lib.stride_tricks import as_strided

from xpnet.compiled import loop
from xpnet.engine.cpu.buffers import Buffers
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

    Attributes
    ----------
    flat : what loops read and write
    """

    def __init__(self, images: np.ndarray, buffers: Buffers, name: str) -> None:
        self._images = images
        self._copy: np.ndarray | None = None
        flat = Flat.of(images)
        if flat is None:
            self._copy = buffers.scratch(name, images.shape)
            flat = Flat.of(self._copy)
        assert flat is not None
        self.flat = flat

    def fetched(self) -> Flat:
        """What is in the array now."""
        if self._copy is not None:
            np.copyto(self._copy, self._images)
        return self.flat

    def deliver(self) -> None:
        """Have the array hold what a loop has written."""
        if self._copy is not None:
            np.copyto(self._images, self._copy)


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
