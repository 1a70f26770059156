"""Whole training steps, batch, passes and update, that need nothing from the host."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod

import numpy as np

from xpnet.arrays import Array
from xpnet.arrays.parameters import ALIGN
from xpnet.engine.cuda.driver import NULL, Argument, Recording
from xpnet.engine.cuda.passes import Passes
from xpnet.engine.cuda.plan import (
    LANES,
    ONE_BLOCK,
    finish_source,
    penalty_settings,
    penalty_source,
)
from xpnet.engine.cuda.program import Launch, Program, run, source
from xpnet.engine.cuda.stages import (
    POINTWISE,
    Call,
    Setting,
    Settings,
    blocks,
    declared,
    given,
    kernel,
    number,
)
from xpnet.errors import ArgumentError
from xpnet.functions.losses import as_one_hot
from xpnet.optim import EPS, SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop
from xpnet.optim.clipping import checked_limit

UNROLL = 50
"""Steps of a recording: launching it costs the host as much as a step or two take."""

INPUTS = {"uint8": "unsigned char", "float32": "float", "float64": "double"}
LABELS = {
    "bool": "bool", "int8": "signed char", "uint8": "unsigned char", "int16": "short",
    "uint16": "unsigned short", "int32": "int", "uint32": "unsigned", "int64": "long long",
    "uint64": "unsigned long long",
}  # fmt: skip


def rule_of(optimizer: Optimizer) -> tuple[str, Settings] | None:
    """An optimizer as a value of C++ and the settings it is made of; None without a kernel."""
    o = optimizer
    match o:
        case SGD():
            value, settings = "SGD{}", {}
        case Momentum():
            ahead = str(type(o) is Nesterov).lower()
            value, settings = f"Momentum{{momentum, {ahead}}}", {"momentum": o.momentum}
        case AdaGrad():
            value, settings = f"AdaGrad{{1, 1, (real){EPS!r}}}", {}
        case RMSprop():
            value = f"AdaGrad{{decay_rate, share, (real){EPS!r}}}"
            settings = {"decay_rate": o.decay_rate, "share": 1.0 - o.decay_rate}
        case Adam():
            paper = str(o.form == "paper").lower()
            value = f"Adam{{beta1, beta2, eps, weight_decay, {paper}, power1, power2, 0, 0}}"
            settings = {"beta1": o.beta1, "beta2": o.beta2, "eps": o.eps}
            settings["weight_decay"] = o.weight_decay if isinstance(o, AdamW) else 0.0
    if type(o) not in (SGD, Momentum, Nesterov, AdaGrad, RMSprop, Adam, AdamW):
        return None
    # Powers of Adam's decays need more digits than float32 has.
    kind = "double" if isinstance(o, Adam) else "real"
    return value, tuple(Setting(kind, name, number) for name, number in settings.items())


class Training:
    """Updates of a network on data of its device.

    What changes from step to step is in the device's memory: the order of the samples, the number
    of the batch, the learning rates, the losses, the counters of Dropout, the powers of Adam's
    decay. So a step is always the same launches, and many steps can be recorded and replayed as
    one. The last batch of an epoch is launched as it is where it is smaller.

    Parameters
    ----------
    x, t : the data: uint8 pixels, which are divided by 255, or floats; labels (N,) or rows (N, K)
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
        engine: Passes,
        x: Array,
        t: Array,
        batch_size: int,
        optimizer: Optimizer,
        *,
        clip_norm: float | None = None,
    ) -> None:
        if (problem := self.obstacle(optimizer)) is not None:
            raise ArgumentError(f"whole steps cannot be compiled: {problem}")
        n, device = x.shape[0], engine.network.device
        if not 1 <= batch_size <= n or t.shape[0] != n:
            raise ArgumentError(
                f"a batch of 1 to {n} samples and {n} targets are needed, got {batch_size} and "
                f"{t.shape[0]}"
            )
        self._engine, self._optimizer, self._clip_norm = engine, optimizer, clip_norm
        self._limit: Settings = ()
        if clip_norm is not None:
            self._limit = (Setting("real", "limit", checked_limit(clip_norm)),)
        self._x, self._t, self._batch_size = x, t, batch_size
        self._plan = engine.plan(batch_size, train=True)
        self._labels = t.ndim == 1 and device.xp.isdtype(t.dtype, ("integral", "bool"))
        if not self._labels:
            as_one_hot(t[:batch_size, ...], self._plan.scores)  # or it says what is wrong
        self.steps = -(-n // batch_size)
        self._order = device.zeros(n, dtype="int32")
        self._rates = device.zeros(self.steps, dtype="float64")
        self.losses = device.zeros(self.steps, dtype=engine.network.dtype)
        self._cursor = device.zeros(1, dtype="int32")
        self._factor = device.zeros(1, dtype=engine.network.dtype)
        found = rule_of(optimizer)
        assert found is not None
        self._rule, self._settings = found
        self._program = Program(engine.driver, self._source())
        self._next, self._ready = 0, False
        self._state: list[Array] = []
        self._launches: dict[int, list[Launch]] = {}
        self._recordings: dict[int, Recording] = {}

    @staticmethod
    def obstacle(optimizer: Optimizer) -> str | None:
        """Why steps cannot be compiled, or None if they can."""
        if rule_of(optimizer) is None:
            return f"there is no kernel for {type(optimizer).__name__}"
        return None

    @property
    def unroll(self) -> int:
        """Steps of a recording."""
        return UNROLL

    def fits(self, optimizer: Optimizer, clip_norm: float | None) -> bool:
        """Whether these are what the steps were compiled for."""
        same = optimizer is self._optimizer and clip_norm == self._clip_norm
        return same and rule_of(optimizer) == (self._rule, self._settings)

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
        self._engine.check_source()
        self.prepare()
        self._order[...] = device.asarray(np.asarray(order, dtype=np.int32))
        self._rates[...] = device.asarray(np.asarray(rates, dtype=np.float64))
        self.rewind(first)

    def advance(self, count: int) -> None:
        """The next `count` steps of the epoch."""
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
        """So many steps as one."""

        def steps() -> None:
            for _ in range(length):
                self._step(self._batch_size)

        if length not in self._recordings:
            self._recordings[length] = self._engine.driver.record(steps)
        return self._recordings[length]

    def _take_up_state(self) -> None:
        """Bind the launches to the optimizer's state, which may have been set anew."""
        params, optimizer = self._engine.network.params, self._optimizer
        if not optimizer.state:
            optimizer.start({"flat": params.flat})
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
        engine, plan, clipped = self._engine, self._plan, self._clip_norm is not None
        features, targets = prod(self._x.shape[1:]), plan.labels if self._labels else plan.rows
        size = number(self._batch_size)
        gather = (self._x, self._t, self._order, self._cursor, plan.x, targets, size, number(n))
        launches = self._program.bind(
            [Call("gather", blocks(n * max(features, prod(targets.shape[1:]))), POINTWISE, gather)]
        )
        launches += plan.forward(n, train=True)
        launches += plan.train(n, "labels" if self._labels else "rows")
        if clipped:
            launches += engine.gradient(plan, n, squares=True)
        launches += self._program.bind(self._update(n))
        *_, power1, power2 = self._powers()
        return launches + engine.finish(
            self._program,
            "finish_step",
            plan,
            n,
            self.losses,
            self._cursor,
            power1,
            power2,
            settings=self._decays,
        )

    @property
    def _decays(self) -> Settings:
        """What the powers of Adam's decays are multiplied by after a step."""
        return self._settings[:2] if isinstance(self._optimizer, Adam) else ()

    def _powers(self) -> tuple[Argument, Argument]:
        if not isinstance(self._optimizer, Adam):
            return NULL, NULL
        return self._state[-2], self._state[-1]

    def _update(self, n: int) -> list[Call]:
        engine, plan = self._engine, self._plan
        params, chunks = engine.network.params.flat, plan.chunks(n)
        kept: list[Argument] = [*self._state[: len(self._optimizer.kept)], NULL, NULL][:2]
        rule = given(self._settings, params)
        more = (*kept, self._rates, self._cursor, *self._powers(), *rule)
        grid = (plan.chunk_count, 1, 1)
        if self._clip_norm is None:
            arguments = (chunks, plan.parts, params, plan.penalties, *more)
            arguments += given(penalty_settings(engine.network.penalty), params)
            return [Call("update", grid, LANES * ALIGN, arguments, joins=True)]
        clip = (plan.squares, number(plan.chunk_count), self._factor)
        clip += given(self._limit, params)
        clipped = (chunks, engine.grads.flat, self._factor, params, *more)
        return [
            Call("clip", (1, 1, 1), ONE_BLOCK, clip),
            Call("update", grid, ALIGN, clipped),
        ]

    def _source(self) -> str:
        """The kernels around the passes."""
        engine, optimizer = self._engine, self._optimizer
        dtype, penalty = engine.network.dtype, engine.network.penalty
        x_type, t_type = _of(INPUTS, self._x, "data"), _of(LABELS | INPUTS, self._t, "targets")
        kept = "int" if self._labels else "real"
        widths = f"{prod(self._x.shape[1:])}, {prod(self._t.shape[1:])}"
        powers = ""
        if isinstance(optimizer, Adam):
            powers = "*power1 *= beta1; *power2 *= beta2; "
        state = "real* s0, real* s1, const double* rates, const int* cursor, "
        state += "const double* power1, const double* power2" + declared(self._settings)
        kernels = [
            kernel(
                "gather",
                POINTWISE,
                f"const {x_type}* x, const {t_type}* t, const int* order, const int* cursor, "
                f"real* batch, {kept}* targets, int batch_size, int samples",
                f"gather_batch<{widths}>(x, t, order, cursor, batch, targets, batch_size, "
                "samples);",
            ),
            finish_source(
                "finish_step",
                penalty,
                len(engine.dropouts),
                f"out[*cursor] = loss; ++*cursor; {powers}",
                self._decays,
            ),
        ]
        if self._clip_norm is None:
            kernels.append(
                kernel(
                    "update",
                    LANES * ALIGN,
                    "const long long* chunks, const real* parts, real* p, real* penalties, "
                    f"{state}{declared(penalty_settings(penalty))}",
                    f"update_chunk<{LANES}>(chunks, parts, p, penalties, s0, s1, rates, cursor, "
                    f"{penalty_source(penalty)}, {self._rule});",
                )
            )
        else:
            kernels += [
                kernel(
                    "clip",
                    ONE_BLOCK,
                    "const real* squares, int chunks, real* factor" + declared(self._limit),
                    f"clip_factor<{ONE_BLOCK}>(squares, chunks, limit, factor);",
                ),
                kernel(
                    "update",
                    ALIGN,
                    f"const long long* chunks, const real* g, const real* factor, real* p, {state}",
                    f"update_clipped_chunk(chunks, g, factor, p, s0, s1, rates, cursor, "
                    f"{self._rule});",
                ),
            ]
        return source(dtype, kernels)


def _of(types: dict[str, str], array: Array, what: str) -> str:
    """The C++ type of an array's numbers."""
    name = str(array.dtype).rpartition(".")[2]
    if name not in types:
        raise ArgumentError(f"{what} must be {', '.join(types)}, got {name}")
    return types[name]
