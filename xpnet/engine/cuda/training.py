"""Whole training steps, batch, passes and update, that need nothing from the host."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod

import numpy as np

from xpnet.arrays import Array
from xpnet.arrays.parameters import FlatParams
from xpnet.engine.cuda.compiled import CompiledNetwork, how_all_learn
from xpnet.engine.cuda.driver import NULL, Argument, Recording
from xpnet.engine.cuda.function import Function, Parameters, blocks, writes
from xpnet.engine.cuda.module import Launch, Module, run, source
from xpnet.engine.cuda.update import (
    Surroundings,
    clip_function,
    finish_function,
    gather_function,
    rule_of,
    update_function,
)
from xpnet.errors import ArgumentError
from xpnet.functions.losses import as_one_hot
from xpnet.functions.targets import as_labels, check_fit, fits_as_labels
from xpnet.layers.loss import check_outputs
from xpnet.optim import Adam, Optimizer
from xpnet.optim.clipping import checked_limit

UNROLL = 50
"""Steps of a recording: launching it costs the host as much as a step or two take."""

INPUTS = {"uint8": "unsigned char", "float32": "float", "float64": "double"}
LABELS = {
    "bool": "bool", "int8": "signed char", "uint8": "unsigned char", "int16": "short",
    "uint16": "unsigned short", "int32": "int", "uint32": "unsigned", "int64": "long long",
    "uint64": "unsigned long long",
}  # fmt: skip


class Training:
    """Updates of a network on data of its device.

    What changes from step to step is in the device's memory: the order of the samples, the number
    of the batch, the learning rates, the losses, the counters of Dropout, the powers of Adam's
    decay. So a step is always the same launches, and many steps can be recorded and replayed as
    one. The last batch of an epoch is launched as it is where it is smaller.

    Parameters
    ----------
    x, t : the data: uint8 pixels, which are divided by 255, or floats; labels (N,) or (N, H, W), or
        rows (N, K) or (N, K, H, W)
    batch_size : samples of a step
    optimizer : one that has no `obstacle`
    clip_norm : gradients are made no longer than this

    Attributes
    ----------
    steps : of an epoch
    losses : of the epoch's steps so far, (steps,)
    """

    def __init__(
        self,
        engine: CompiledNetwork,
        x: Array,
        t: Array,
        batch_size: int,
        optimizer: Optimizer,
        *,
        clip_norm: float | None = None,
    ) -> None:
        if (problem := self.obstacle(optimizer, engine.network.params)) is not None:
            raise ArgumentError(f"whole steps cannot be compiled: {problem}")
        n, device = x.shape[0], engine.network.device
        if not 1 <= batch_size <= n or t.shape[0] != n:
            raise ArgumentError(
                f"a batch of 1 to {n} samples and {n} targets are needed, got {batch_size} and "
                f"{t.shape[0]}"
            )
        for loss in engine.losses:  # looked at once, as it lies there already
            t = as_labels(t, outputs := (n, *loss.source.output_shape))
            check_fit(t, outputs, loss.ignore)
        self._engine, self._optimizer, self._clip_norm = engine, optimizer, clip_norm
        if clip_norm is not None:
            checked_limit(clip_norm)
        self._x, self._t, self._batch_size = x, t, batch_size
        self._program = engine.program(batch_size, keeps=True)
        self._learning = engine.learning
        if not engine.losses:
            check_outputs(engine.network.last_layer, engine.outputs)
        fits = [fits_as_labels(t, (n, *loss.source.output_shape)) for loss in engine.losses]
        self._labels = all(fits)
        for loss, fit in zip(engine.losses, fits, strict=True):
            if not fit:  # or it says what is wrong
                as_one_hot(t[:batch_size, ...], self._program.buffers.value(loss.source.number))
        self.steps = -(-n // batch_size)
        self._order = device.zeros(n, dtype="int32")
        self._rates = device.zeros(self.steps, dtype="float64")
        self.losses = device.zeros(self.steps, dtype=engine.network.dtype)
        self._cursor = device.zeros(1, dtype="int32")
        self._factor = device.zeros(1, dtype=engine.network.dtype)
        found = rule_of(optimizer)
        assert found is not None
        self._rule = found
        self._module = Module(engine.driver, source(engine.network.dtype, self._functions()))
        self._next, self._ready = 0, False
        self._state: list[Array] = []
        self._launches: dict[int, list[Launch]] = {}
        self._recordings: dict[int, Recording] = {}

    def __repr__(self) -> str:
        about = f"{self.steps} steps of {self._batch_size}, clip_norm={self._clip_norm}"
        return f"Training({self._engine.network!r}, {self._optimizer!r}, {about})"

    @staticmethod
    def obstacle(optimizer: Optimizer, params: FlatParams) -> str | None:
        """Say why steps that update these cannot be compiled; None if they can."""
        if rule_of(optimizer) is None:
            return f"there is no kernel for {type(optimizer).__name__}"
        return None

    @property
    def unroll(self) -> int:
        """Steps of a recording."""
        return UNROLL

    def fits(self, optimizer: Optimizer, clip_norm: float | None) -> bool:
        """Tell whether these are what the steps were compiled for."""
        same = optimizer is self._optimizer and clip_norm == self._clip_norm
        learning = how_all_learn(self._engine.network) == self._learning
        return same and learning and rule_of(optimizer) == self._rule

    def epoch(self, order: np.ndarray, rates: Sequence[float] | np.ndarray) -> Array:
        """One pass over the data; the losses of all steps, (steps,), each before its update.

        Nothing is waited for: the losses are there when the device is done. The next epoch writes
        over them.

        Parameters
        ----------
        order : numbers of the samples, (N,), as they come into the batches
        rates : learning rate of every step
        """
        self.begin(order, rates)
        self.advance(self.steps)
        return self.losses

    def prepare(self) -> None:
        """Do once what would otherwise be part of the first epoch's time.

        The optimizer's state is begun. A step is taken and undone in place, which has the kernels
        loaded, and steps are recorded. `begin` does it where it has not been done before.
        """
        self._take_up_state()
        if self._ready:
            return
        whole, rest = divmod(self._x.shape[0], self._batch_size)
        with self._undone():
            self.rewind()
            self._step(self._batch_size)
        if rest:
            self.launches(rest)
        if self._engine.graph:
            for length in (UNROLL, 1):
                if length <= whole:
                    self._recorded(length)
        self._ready = True

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """All that a step changes and the next one reads is afterwards as it was."""
        network = self._engine.network
        copied = partial(network.device.xp.asarray, copy=True)
        arrays = [network.params.flat, *self._state, *network.state.values(), self.losses]
        kept = [copied(array) for array in arrays]
        try:
            yield
        finally:
            for array, before in zip(arrays, kept, strict=True):
                array[...] = before

    def begin(
        self, order: np.ndarray, rates: Sequence[float] | np.ndarray, *, first: int = 0
    ) -> None:
        """Prepare an epoch, which `advance` then goes through from step number `first` on."""
        n, device = self._x.shape[0], self._engine.network.device
        if len(order) != n or len(rates) != self.steps:
            raise ArgumentError(
                f"an epoch needs {n} numbers of samples and {self.steps} rates, got {len(order)} "
                f"and {len(rates)}"
            )
        if np.min(order) < 0 or np.max(order) >= n:
            raise ArgumentError(
                f"numbers of samples must be from 0 to {n - 1}, got {np.min(order)} to "
                f"{np.max(order)}"
            )
        if how_all_learn(self._engine.network) != self._learning:
            raise ArgumentError(
                "what learns, or how fast, has changed since the steps were compiled; ask the "
                "engine for its steps anew"
            )
        self._engine.check_source()
        self._engine.network.params.apply_masks()
        self.prepare()
        self._order[...] = device.asarray(np.asarray(order, dtype=np.int32))
        self._rates[...] = device.asarray(np.asarray(rates, dtype=np.float64))
        self.rewind(first)

    def advance(self, count: int) -> None:
        """The next `count` steps of the epoch."""
        self._engine.passes += 1
        first, self._next = self._next, min(self._next + count, self.steps)
        whole = max(0, min(self._next, self._x.shape[0] // self._batch_size) - first)
        if self._engine.graph:
            self._replay(whole)
        else:
            for _ in range(whole):
                self._step(self._batch_size)
        if self._next - first > whole:
            self._step(self._x.shape[0] % self._batch_size)

    def rewind(self, step: int = 0) -> None:
        """Let the epoch go on at this step."""
        self._cursor[...] = self._next = step

    def _replay(self, steps: int) -> None:
        for length in (UNROLL, 1):
            for _ in range(steps // length):
                self._recorded(length).launch()
            steps %= length

    def _recorded(self, length: int) -> Recording:
        """Record `length` steps as one."""

        def steps() -> None:
            for _ in range(length):
                self._step(self._batch_size)

        if length not in self._recordings:
            self._recordings[length] = self._engine.driver.record(steps)
        return self._recordings[length]

    def _take_up_state(self) -> None:
        """Bind the launches to the optimizer's state, which may have been set anew."""
        params, optimizer = self._engine.network.params, self._optimizer
        optimizer.serve(params)
        state = [optimizer.state[f"{kind}.flat"] for kind in optimizer.kept]
        if isinstance(optimizer, Adam):
            state += [optimizer.state["beta1^t"], optimizer.state["beta2^t"]]
        if [id(array) for array in state] != [id(array) for array in self._state]:
            self._engine.network.device.synchronize()  # what is replayed now is let go
            self._state, self._launches, self._recordings = state, {}, {}
            self._ready = False

    def _step(self, n: int) -> None:
        run(self._engine.driver, self.launches(n))

    def launches(self, n: int) -> list[Launch]:
        """A step on n samples, in an epoch that has begun."""
        if n not in self._launches:
            self._launches[n] = self._made(n)
        return self._launches[n]

    def _made(self, n: int) -> list[Launch]:
        program, clipped = self._program, self._clip_norm is not None
        place, bind = self._surroundings(n), self._module.bind
        numbers = max(prod(self._x.shape[1:]), prod(self._targets.shape[1:]))
        launches = bind([self._gather.call(place, blocks(n * numbers))])
        launches += program.forward(n, train=True)
        launches += program.train(n, "labels" if self._labels else "rows")
        if clipped:
            gradient = self._engine.gradient_function.call(place, place.grid, joins=True)
            launches += self._engine.module.bind([gradient])
            launches += bind([clip_function(self._limit).call(place, (1, 1, 1))])
        launches += bind([self._update.call(place, place.grid, joins=not clipped)])
        return launches + bind([self._finish.call(place, (1, 1, 1))])

    @property
    def _limit(self) -> float:
        """The longest that a gradient may be."""
        assert self._clip_norm is not None
        return self._clip_norm

    @property
    def _targets(self) -> Array:
        """The array where all losses read their targets."""
        buffers = self._program.buffers
        return (buffers.labels if self._labels else buffers.rows)[0]

    def _surroundings(self, n: int) -> Surroundings:
        """The arrays for the kernels around the passes."""
        powers: list[Argument] = [NULL, NULL]
        if isinstance(self._optimizer, Adam):
            powers = [*self._state[-2:]]
        state: list[Argument] = [*self._state[: len(self._optimizer.kept)], NULL, NULL]
        return self._program.surroundings(
            n,
            self.losses,
            squares=self._clip_norm is not None,
            x=self._x,
            t=self._t,
            order=self._order,
            cursor=self._cursor,
            batch=self._program.x,
            targets=self._targets,
            batch_size=self._batch_size,
            rates=self._rates,
            clip=self._factor,
            s0=state[0],
            s1=state[1],
            power1=powers[0],
            power2=powers[1],
        )

    @property
    def _gather(self) -> Function:
        """The next batch."""
        x_type, t_type = _of(INPUTS, self._x, "data"), _of(LABELS | INPUTS, self._t, "targets")
        kept = "int" if self._labels else "real"
        widths = prod(self._x.shape[1:]), prod(self._t.shape[1:])
        return gather_function(x_type, t_type, kept, *widths)

    @property
    def _update(self) -> Function:
        """The optimizer's step."""
        penalty = self._engine.network.penalty
        return update_function(self._rule, penalty, clipped=self._clip_norm is not None)

    @property
    def _finish(self) -> Function:
        """The loss, and whatever counts steps."""
        engine, counted = self._engine, "out[*cursor] = loss; ++*cursor; "
        more: Parameters = writes("cursor", kind="int")
        if isinstance(self._optimizer, Adam):
            counted += "*power1 *= beta1; *power2 *= beta2; "
            more += (*writes("power1", "power2", kind="double"), *self._rule[1][:2])
        return finish_function(
            "finish_step", engine.network.penalty, engine.dropouts, counted, more
        )

    def _functions(self) -> list[Function]:
        """The kernels around the passes."""
        clip = [] if self._clip_norm is None else [clip_function(self._limit)]
        return [self._gather, self._finish, *clip, self._update]


def _of(types: dict[str, str], array: Array, what: str) -> str:
    """The C++ type of an array's numbers."""
    name = str(array.dtype).rpartition(".")[2]
    if name not in types:
        raise ArgumentError(f"{what} must be {', '.join(types)}, got {name}")
    return types[name]
