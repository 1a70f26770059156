"""The arrays of a program."""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpnet.arrays import Array
from xpnet.arrays.parameters import ALIGN
from xpnet.engine.cuda.kernel import Arrays, Kernel
from xpnet.engine.cuda.loss import COUNTING, HeadLoss
from xpnet.engine.cuda.tiles import BLOCKS
from xpnet.layers import Dropout
from xpnet.models.network import Network
from xpnet.models.nodes import INPUT


class Slots(NamedTuple):
    """Memory that values share.

    Attributes
    ----------
    of : the slot of each value
    sizes : of the slots
    """

    of: list[int]
    sizes: list[int]


def shared_slots(sizes: Sequence[int | None], ends: Sequence[int]) -> Slots:
    """A place for each value, whose memory may be used again behind the operation `ends[value]`.

    The value of an operation never lies where one lies that it reads. Of what is free the slot is
    taken that comes nearest to the size. Values without a size need none.
    """
    found, free = Slots([], []), list[int]()
    for value, size in enumerate(sizes):
        free += [
            found.of[old]
            for old in range(value)
            if ends[old] == value - 1 and sizes[old] is not None
        ]
        if size is None:
            slot = -1
        elif free:
            slot = min(free, key=lambda k: abs(found.sizes[k] - (size or 0)))
            free.remove(slot)
            found.sizes[slot] = max(found.sizes[slot], size)
        else:
            slot = len(found.sizes)
            found.sizes.append(size)
        found.of.append(slot)
    return found


class Buffers:
    """The arrays of passes of up to `samples` samples, which each pass uses again.

    Where a pass goes back, every value has memory of its own, since it is read on the way back, and
    so has every gradient: what learns reads it beside all that follows. A sum passes its own
    gradient on to those of its inputs that nobody else reads. Where none goes back, memory is used
    again as soon as its value has been read for the last time.

    Parameters
    ----------
    keeps : whether passes go back

    Attributes
    ----------
    x : (samples, ...), the batch
    values : by number
    kept : what each operation leaves to its backward pass, by name
    labels, rows : targets of each loss, (samples, ...) int32 or (samples, K, ...)
    losses, places : of every sample for each loss, and of every place of its image
    class_weights, counted : for each loss, and what the labels of one count, by blocks
    parts : of the gradient of all parameters; an operation's begin at its offset
    penalties, squares : of every chunk of the parameters
    """

    def __init__(
        self,
        network: Network,
        kernels: Sequence[Kernel],
        losses: Sequence[HeadLoss],
        outputs: Sequence[int],
        samples: int,
        *,
        keeps: bool,
    ) -> None:
        self._network, self._kernels, self.samples = network, kernels, samples
        self._shapes = {INPUT: network.input_shape}
        self._shapes |= {kernel.number: kernel.output_shape for kernel in kernels}
        self.x = self._zeros(samples, *network.input_shape)
        self.values = self._own_values() if keeps else self._shared_values(outputs)
        self.kept: list[dict[str, Array]] = [
            {
                name: self._zeros(*shape, dtype=network.dtype if dtype == "real" else dtype)
                for name, (shape, dtype) in kernel.keeps(samples).items()
            }
            for kernel in kernels
        ]
        self.scratch = self._zeros(max([1, *(kernel.scratch for kernel in kernels)]))
        self.tickets = self._zeros(BLOCKS, dtype="int32")
        if keeps:
            self._make_gradients(losses)

    def _zeros(self, *shape: int, dtype: str | None = None) -> Array:
        return self._network.device.zeros(shape, dtype=dtype or self._network.dtype)

    def _make_gradients(self, losses: Sequence[HeadLoss]) -> None:
        """All that only passes with a way back have."""
        samples, kernels = self.samples, self._kernels
        self.offsets, end = [], 0
        for kernel in kernels:
            self.offsets.append(end)
            end += kernel.parts(samples) * kernel.part_size
        chunks = int(self._network.params.flat.shape[0]) // ALIGN
        self.parts = self._zeros(end)
        self.penalties, self.squares = (self._zeros(chunks) for _ in range(2))
        shapes = [loss.source.output_shape for loss in losses]
        self.labels = [self._zeros(samples, *shape[1:], dtype="int32") for shape in shapes]
        self.rows = [self._zeros(samples, *shape) for shape in shapes]
        self.places = [
            self._zeros(samples * loss.places if loss.places > 1 else 1) for loss in losses
        ]
        self.class_weights = [self._weights(loss) for loss in losses]
        self.counted = self._zeros(COUNTING)
        self.losses = self._zeros(max(1, len(losses)), samples)
        self._gradients: dict[int, Array] = {}
        self._counters: dict[int, Array] = {}
        self._passed_on = {
            value: kernel.number
            for kernel in kernels
            for place, value in enumerate(kernel.op.inputs)
            if kernel.shares(place)
        }

    def _weights(self, loss: HeadLoss) -> Array:
        """What the classes of a loss count; 1 where nothing is said of it."""
        network, given = self._network, getattr(loss.loss, "class_weights", None)
        weights = np.ones(loss.classes) if given is None else np.asarray(given)
        return network.device.asarray(weights, dtype=network.dtype)

    def _own_values(self) -> list[Array]:
        values: list[Array] = []
        for kernel in self._kernels:
            if kernel.is_alias:
                (value,) = kernel.op.inputs
                values.append(self.x if value == INPUT else values[value])
            else:
                values.append(self._zeros(self.samples, *kernel.output_shape))
        return values

    def _shared_values(self, outputs: Sequence[int]) -> list[Array]:
        kernels, samples, xp = self._kernels, self.samples, self._network.device.xp
        ends = [kernel.number for kernel in kernels]
        for kernel in kernels:
            for value in kernel.op.inputs:
                if value != INPUT:
                    ends[value] = kernel.number
        for value in outputs:
            ends[value] = len(kernels)
        for kernel in reversed(kernels):
            if kernel.is_alias and kernel.op.inputs != (INPUT,):
                (value,) = kernel.op.inputs
                ends[value] = max(ends[value], ends[kernel.number])
        sizes = [None if kernel.is_alias else prod(kernel.output_shape) for kernel in kernels]
        slots = shared_slots(sizes, ends)
        memory = [self._zeros(samples * size) for size in slots.sizes]
        values: list[Array] = []
        for kernel, slot in zip(kernels, slots.of, strict=True):
            if slot < 0:
                (value,) = kernel.op.inputs
                values.append(self.x if value == INPUT else values[value])
            else:
                shape = (samples, *kernel.output_shape)
                values.append(xp.reshape(memory[slot][: prod(shape)], shape, copy=False))
        return values

    def value(self, number: int) -> Array:
        """Return the output of an operation, or the batch."""
        return self.x if number == INPUT else self.values[number]

    def gradient(self, number: int) -> Array:
        """Return the gradient by a value, made when it is first asked for."""
        while number in self._passed_on:
            number = self._passed_on[number]
        if number not in self._gradients:
            self._gradients[number] = self._zeros(self.samples, *self._shapes[number])
        return self._gradients[number]

    def counter(self, dropout: Dropout) -> Array:
        """The number of passes that a Dropout had seen before the last one, for its way back."""
        if id(dropout) not in self._counters:
            self._counters[id(dropout)] = self._zeros(1, dtype="int64")
        return self._counters[id(dropout)]

    def arrays(self, kernel: Kernel, n: int, **more: Any) -> Arrays:
        """Return what the forward pass of an operation works on, for the first n samples."""
        inputs = kernel.op.inputs
        return Arrays(
            n,
            self.values[kernel.number].dtype.type,
            tuple(self.value(number) for number in inputs),
            self.values[kernel.number],
            kept=self.kept[kernel.number],
            kept_by=tuple({} if number == INPUT else self.kept[number] for number in inputs),
            scratch=self.scratch,
            tickets=self.tickets,
            **more,
        )

    def backward_arrays(self, kernel: Kernel, n: int, **more: Any) -> Arrays:
        """Return what its backward pass works on."""
        pairs = zip(kernel.op.inputs, kernel.op.need_dx, strict=True)
        return self.arrays(
            kernel,
            n,
            dxs=tuple(self.gradient(number) if need else None for number, need in pairs),
            dy=self.gradient(kernel.number),
            parts=self.parts[self.offsets[kernel.number] :],
            **more,
        )
