"""The arrays of a program: which of them share memory, and when it is free again."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.lower import Lowered
from xpnet.functions.im2col import inner, outer
from xpnet.layers import Shape
from xpnet.models.nodes import INPUT

APART = 16
"""Numbers between the rows of prepared parameters."""

LINE = 64
"""Bytes of a line of the processor's cache, the same as of its widest vectors."""

Span = tuple[int, int]
"""The times of an array's first write and last read. Forward, operation k of K is at time k + 1,
and backward at 2 K - k; what enters is at 0, and its gradient is read at 2 K + 1."""


class Habits(Protocol):
    """The attributes of a kernel's class that tell what arrays it works on; see `Kernel`."""

    owns_x: bool
    owns_y: bool
    keeps_x: bool
    keeps_y: bool
    holds_inputs: bool
    passes_dy: bool


def zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that begin with a line of the cache.

    Where arrays begin as NumPy has them, most vectors reach into two lines, and what streams from
    one array to another takes up to twice the time.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    memory = np.zeros(size + LINE, dtype=np.uint8)
    first = -memory.ctypes.data % LINE
    array: np.ndarray = memory[first : first + size].view(dtype).reshape(shape)
    return array


class Scratch:
    """Buffers by name, each as large as the largest array that was ever asked for.

    What a kernel leaves there is used up before another writes, so that a few buffers that stay in
    the processor's cache serve all layers, and all programs of a thread. A buffer that grows is a
    new one: arrays handed out before keep the old.

    Attributes
    ----------
    prepared : by kernel, parameters in the form in which it uses them, for all programs of a thread
    taken_up : by kernel, the version of the parameters that it took up, if that is known
    versions : by which all have been taken up, if that is known
    """

    def __init__(self) -> None:
        self._buffers: dict[Any, np.ndarray] = {}
        self.prepared: dict[Any, np.ndarray] = {}
        self.taken_up: dict[Any, int] = {}
        self.versions: Any = None

    def get(self, name: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array in the buffer of that name; its values are arbitrary."""
        size = prod(shape) * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = zeros((size,), np.uint8)
        array: np.ndarray = buffer[:size].view(dtype).reshape(shape)
        return array


class Buffers:
    """Memory for the values of a program, for n samples, and for their gradients.

    Images are in memory as (H, W, n, C), rows as (n, features).

    A value with one reader lives in the memory of that reader, where this has an array of its own
    for it, such as an image with a border of zeros; so it is never copied to be padded. The arrays
    of other values share memory with those that are not in use at the same time.

    Parameters
    ----------
    lowered, kinds : the operations, and the class of each one's kernel
    n, dtype : number of samples, type of the numbers
    scratch : what kernels need only while they are at work

    Attributes
    ----------
    homes : the operation in whose memory a value lives, if it is not the one that puts it out
    lent : the operation whose dy is the gradient of a value, too
    """

    def __init__(
        self, lowered: Lowered, kinds: Sequence[Habits], n: int, dtype: Any, scratch: Scratch
    ) -> None:
        self.n, self.dtype, self._scratch = n, dtype, scratch
        self._lowered = lowered
        self.homes: dict[int, int] = _homes(lowered, kinds)
        self.lent: dict[int, int] = _lent(lowered, kinds, self.homes)
        self._values, self._gradients = _spans(lowered, kinds, self.homes, self.lent)
        self._memory = Scratch()
        self.begin()

    def begin(self) -> None:
        """Hand everything out once more, in memory that is as large as it had to be before."""
        self._taken: list[list[Span]] = []

    def shape(self, shape: Shape) -> tuple[int, ...]:
        """Return the shape in memory of an array for n samples of this shape."""
        features, *image = shape
        return (*image, self.n, features)

    def kept(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        """An array that nothing else shares, for what is kept from pass to pass."""
        return zeros(shape, self.dtype if dtype is None else dtype)

    def scratch(self, name: str, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        """An array for what is used up before the kernel has done."""
        return self._scratch.get(name, shape, self.dtype if dtype is None else dtype)

    def prepared(self, kernel: Any, rows: int, columns: int) -> np.ndarray:
        """A matrix for parameters in the form in which a kernel uses them, whatever `n` is.

        Filters of large networks take more room than the values of a sample. The rows lie a little
        apart: a power of 2 between them would have them share a few places of the cache.
        """
        found, name = self._scratch.prepared, _name(kernel)
        if name not in found:
            found[name] = zeros((rows, columns + APART), self.dtype)[:, :columns]
        return found[name]

    def is_prepared(self, kernel: Any, version: int) -> bool:
        """Tell whether a kernel has taken up this version of the parameters; else forget which."""
        if self._scratch.taken_up.get(_name(kernel)) == version:
            return True
        self._scratch.taken_up.pop(_name(kernel), None)
        return False

    def remember_prepared(self, kernel: Any, version: int) -> None:
        """Note that a kernel has taken up this version of the parameters."""
        self._scratch.taken_up[_name(kernel)] = version

    def forget_prepared(self) -> None:
        """Note that what is prepared may be of no known version."""
        self._scratch.taken_up.clear()
        self._scratch.versions = None

    def has_taken_up(self, versions: Any) -> bool:
        """Tell whether all has been prepared by these versions, which are not looked into."""
        return self._scratch.versions is versions

    def note_taken_up(self, versions: Any) -> None:
        """Note that all has been prepared by these versions."""
        self._scratch.versions = versions

    def value(self, value: int, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """The array of a value; of another shape than its samples' where a kernel needs that."""
        return self._array(self._natural(value) if shape is None else shape, self._values[value])

    def gradient(self, value: int, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """The array of a value's gradient."""
        shape = self._natural(value) if shape is None else shape
        return self._array(shape, self._gradients[value])

    def passed(self, number: int, shape: tuple[int, ...]) -> np.ndarray:
        """The array for dx of an operation that has its own for it."""
        (value,) = self._lowered.ops[number].inputs
        at = _back(number, len(self._lowered.ops))
        lives_here = self.homes.get(value) == number
        return self._array(shape, (at, self._gradients[value][1] if lives_here else at))

    def meanwhile(self, number: int, shape: tuple[int, ...]) -> np.ndarray:
        """An array for the time of an operation's way back, in which other parts may be at work."""
        at = _back(number, len(self._lowered.ops))
        return self._array(shape, (at, at))

    def _natural(self, value: int) -> tuple[int, ...]:
        return self.shape(shape_of(self._lowered, value))

    def _array(self, shape: tuple[int, ...], span: Span) -> np.ndarray:
        """Return an array in the first piece of memory that is free in this time."""
        number = 0
        while number < len(self._taken) and any(
            begin <= span[1] and span[0] <= end for begin, end in self._taken[number]
        ):
            number += 1
        if number == len(self._taken):
            self._taken.append([])
        self._taken[number].append(span)
        return self._memory.get(number, shape, self.dtype)


def shape_of(lowered: Lowered, value: int) -> Shape:
    """The shape of a value's samples."""
    if value != INPUT:
        return lowered.ops[value].output_shape
    return next(
        shape
        for op in lowered.ops
        for number, shape in zip(op.inputs, op.input_shapes, strict=True)
        if number == INPUT
    )


def _homes(lowered: Lowered, kinds: Sequence[Habits]) -> dict[int, int]:
    """Values that live with the only one that reads them."""
    readers = _readers(lowered)
    found = {}
    for value, numbers in readers.items():
        owned = value != INPUT and kinds[value].owns_y
        if len(numbers) != 1 or owned:
            continue
        (number,) = numbers
        if kinds[number].owns_x or kinds[number].holds_inputs:
            found[value] = number
    return found


def _lent(lowered: Lowered, kinds: Sequence[Habits], homes: Mapping[int, int]) -> dict[int, int]:
    """Values whose gradient is that of the only one that reads them; of its inputs, the first."""
    readers, found = _readers(lowered), {}
    for number, op in enumerate(lowered.ops):
        if not kinds[number].passes_dy:
            continue
        for value, need in zip(op.inputs, op.need_dx, strict=True):
            own = value == INPUT or kinds[value].owns_y or value in lowered.output_numbers
            if need and not own and value not in homes and readers[value] == [number]:
                found[value] = number
                break
    return found


def _spans(
    lowered: Lowered,
    kinds: Sequence[Habits],
    homes: Mapping[int, int],
    lent: Mapping[int, int],
) -> tuple[dict[int, Span], dict[int, Span]]:
    """Find when each value is in use, and when its gradient; with those that live in it."""
    count, readers = len(lowered.ops), _readers(lowered)
    values: dict[int, Span] = {}
    gradients: dict[int, Span] = {}
    for value in range(INPUT, count):
        written, numbers = value + 1, readers.get(value, [])
        kept = value != INPUT and kinds[value].keeps_y and lowered.ops[value].need_dy
        kept = kept or value in lowered.output_numbers
        last = _back(value, count) if kept else written
        for k in numbers:
            kept = kinds[k].keeps_x and lowered.ops[k].need_dy
            last = max(last, _back(k, count) if kept else k + 1)
        # What the network puts out has no readers: the loss leaves its gradient.
        left = min([_back(k, count) for k in numbers], default=count + 1)
        done = _back(value, count)
        for other, number in homes.items():
            if number == value and not kinds[value].owns_x:
                written, last = min(written, values[other][0]), max(last, values[other][1])
                done = max(done, gradients[other][1])
        for other, number in lent.items():
            if number == value:
                done = max(done, gradients[other][1])
        values[value], gradients[value] = (written, last), (left, done)
    return values, gradients


def _readers(lowered: Lowered) -> dict[int, list[int]]:
    """The operations that read each value, once for each input."""
    readers: dict[int, list[int]] = {}
    for number, op in enumerate(lowered.ops):
        for value in op.inputs:
            readers.setdefault(value, []).append(number)
    return readers


def _name(kernel: Any) -> tuple[type, str]:
    """What tells kernels apart, in whatever program they are."""
    return type(kernel), kernel.op.name


def _back(value: int, count: int) -> int:
    """The time at which an operation goes backward."""
    return 2 * count - value


def in_book_order(x: Array) -> Array:
    """Images (H, W, n, C) seen as (n, C, H, W); rows as they are, and so is None."""
    return x if x is None or x.ndim != 4 else inner(x)


def in_memory_order(x: np.ndarray) -> np.ndarray:
    """Images (n, C, H, W) seen as (H, W, n, C); rows as they are."""
    return outer(x) if x.ndim == 4 else x


def by_groups(rows: np.ndarray, groups: int) -> np.ndarray:
    """Rows of channels, (..., rows, C), of each group by itself, if there are several: a view."""
    if groups == 1:
        return rows
    return rows.reshape(*rows.shape[:-1], groups, -1).swapaxes(-3, -2)
