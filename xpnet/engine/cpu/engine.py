"""The engine for CPUs: batches in parts, and parts on threads."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import cache, partial
from importlib import import_module
from math import isfinite, prod
from threading import BrokenBarrierError, get_ident
from typing import Any, TypeVar

import numpy as np

from xpnet.arrays import Array
from xpnet.arrays.parameters import FlatParams
from xpnet.compiled import checked_choice, description
from xpnet.engine.base import OneByOne, Uncopied
from xpnet.engine.checks import check_counts, obstacle_of
from xpnet.engine.cpu.buffers import Scratch
from xpnet.engine.cpu.division import (
    CACHED,
    FEWEST,
    FOR_A_THREAD,
    FOR_A_WEIGHT,
    IMAGES,
    LEAST,
    NUMBERS,
    ROWS,
    Division,
    Part,
    divided,
)
from xpnet.engine.cpu.kernel import KERNELS, kernel_of, patterns
from xpnet.engine.cpu.loss import counted, separable
from xpnet.engine.cpu.predicting import Predicting
from xpnet.engine.cpu.program import LEARNING, PREDICTING, Needs, Program
from xpnet.engine.cpu.transposed import SubpixelGemm
from xpnet.engine.cpu.winograd import Winograd
from xpnet.engine.cpu.worker import Meetings, Reduce, Worker, added
from xpnet.engine.lower import Lowered, lower
from xpnet.engine.threads import (
    TakesTurns,
    blas_threads,
    chosen_threads,
    described_threads,
    in_turn,
)
from xpnet.errors import ArgumentError, EngineError
from xpnet.functions.losses import as_one_hot
from xpnet.functions.targets import as_labels, by_head, label_shape, values_of
from xpnet.layers import Backward, Convolution, HeadsWithLoss, TransposedConvolution
from xpnet.layers.loss import check_outputs, ignored_by, predicted
from xpnet.models.network import Network
from xpnet.models.placing import check_labels_of

T = TypeVar("T")


class CpuEngine(TakesTurns, OneByOne, Uncopied):
    """Computes what `Network` computes, up to rounding, in less time.

    Each thread takes an equal share of a batch, goes through it in small parts, and adds up their
    gradients; those of the threads are added last. Where a network has no convolutions, the threads
    are left to the matrix products instead; where a layer or a loss of your own must see the whole
    batch, it is not divided. BatchNorm has the parts meet while training. All this depends on the
    batch and on `threads` alone, so that results repeat bit for bit.

    One call at a time: they share their arrays, and who calls from another thread waits. What one
    thread was given is not written over by the calls of another.

    Parameters
    ----------
    network : one that has no `obstacle`
    threads : how many to use, at most one for each core; one for each that is free if None
    reduce : makes one of what the parts of a batch bring to a meeting, in their order: things that
        can be added
    compiled : whether loops compiled by numba are used, by which sums may round otherwise; if None
        where it is installed

    Raises
    ------
    ArgumentError
        The network has an obstacle, or numba is asked for and not installed.
    """

    name = "cpu"

    def __init__(
        self,
        network: Network,
        threads: int | None = None,
        *,
        reduce: Reduce = added,
        compiled: bool | None = None,
    ) -> None:
        if (problem := self.obstacle(network)) is not None:
            raise ArgumentError(f"the engine cannot run this network: {problem}")
        self.network, self.compiled = network, checked_choice(compiled, "compiled=True")
        if self.compiled:
            import_module("xpnet.engine.cpu.fast")  # its kernels enter themselves
        self.threads, self._asked, self._reduce = chosen_threads(threads), threads, reduce
        self._nodes, self._dtype = network.nodes(), np.dtype(network.dtype)
        self._output_shapes = by_head(lambda k: self._nodes[k].output_shape, network.outputs)
        layers = [node.layer for node in self._nodes]
        self._by_samples = all(type(layer) in KERNELS for layer in layers)
        convolutions = [
            layer for layer in layers if isinstance(layer, Convolution | TransposedConvolution)
        ]
        self._convolves = bool(convolutions)
        weights = sum(layer.params["W"].size for layer in convolutions)
        numbers = sum(prod(node.output_shape) for node in self._nodes)
        limit = max(NUMBERS, FOR_A_WEIGHT * weights) // numbers
        self._most = max(1, min(IMAGES, limit))
        self._fewest = max(1, min(FEWEST, FOR_A_THREAD // numbers))
        self._calls = 0
        self._caller = get_ident()
        self._compile()
        self._open_pool()
        self._begin_turns()

    def _open_pool(self) -> None:
        """Make the pool of threads, none of which starts before there is work for it."""
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="xpnet")

    def after_fork(self) -> None:
        """Make threads anew, and what a thread that the child does not have was at work on."""
        self._open_pool()
        super().after_fork()

    def _torn_by_fork(self) -> None:
        self._compile()

    @staticmethod
    def obstacle(network: Network) -> str | None:
        """Say why this engine cannot run the network; None if it can."""
        if network.device.name != "cpu":
            return f"it lives on {network.device.name}"
        if (problem := obstacle_of(network)) is not None:
            return problem
        for node in network.nodes():
            if len(node.inputs) > 1 and type(node.layer) not in KERNELS:
                return f"{type(node.layer).__name__} joins values in a way of its own"
        return None

    def __repr__(self) -> str:
        return f"CpuEngine({self.network!r}, threads={self.threads}, compiled={self.compiled})"

    def division(self, n: int, *, train: bool = True) -> Division:
        """Divide a batch of n samples."""
        if not self._separable[train]:
            return divided(n, n, 1, self.threads)
        if not self._convolves:
            return divided(n, ROWS, 1, self.threads)
        workers = max(1, min(self.threads, n // self._fewest))
        # Meetings of more parts cost more than the cache saves.
        most = self._most if train and self._meets else self._most_cached
        return divided(n, most, workers, 1)

    def methods(self) -> dict[str, str]:
        """Say how each layer is computed, by its name."""
        network = self.network
        lower, grads = self._lowering(), network.params.like()
        loss, compiled = network.last_layer, self.compiled
        return Program(lower, LEARNING, loss, 1, grads, Scratch(), compiled=compiled).methods

    def describe(self) -> dict[str, str | int]:
        """Name, threads, and the compiler of loops if there is one."""
        loops = {"loops": description()} if self.compiled else {}
        return {"engine": self.name, **described_threads(self._asked, self.threads), **loops}

    @in_turn
    def loss_and_gradient(self, x: Array, t: Any) -> tuple[Array, Any, FlatParams]:
        """Compute as `Network.loss_and_gradient`; the next call writes over the gradient.

        It is 0 where layers are frozen.
        """
        network = self.network
        x = network.place(x, single=False)
        n = len(x)
        scores = self._scores(n)
        self._begin(gives=True)
        if type(t) is not np.ndarray:  # by name, or nothing that a small step is given
            t = network.place_targets(t)
        self._check_targets(t, scores)
        try:
            losses = self._losses(x, t, scores)
        except ArgumentError:  # of a part, which knows the places of its own labels alone
            check_labels_of(t, self._output_shapes, ignored_by(network.last_layer))
            raise
        loss = sum(losses)
        if self._transforms and not isfinite(loss):
            return self._by_layers(x, t)
        self._workers[0].commit()
        grads = self._total(len(losses))
        if network.penalty is not None:
            loss += float(network.penalty.value(network.params))
            for name, more in network.penalty.gradient(network.params).items():
                if name in self._learning:
                    grads[name] += more
        return np.asarray(loss, self._dtype), scores, grads

    def _losses(self, x: np.ndarray, t: Any, scores: Any) -> list[float]:
        """What each share of a batch adds to its mean loss; leaves scores and gradients."""
        total = counted(self.network.last_layer, t, self._output_shapes)
        division = self.division(len(x))
        if (meetings := self._meetings(division, train=True)) is None:
            return self._run(
                division, None, lambda worker, parts: worker.train(parts, x, t, scores, total)
            )
        return self._run(
            division,
            meetings,
            lambda worker, parts: worker.train_together(parts, x, t, scores, total, meetings),
        )

    @in_turn
    def forward(self, x: Array, *, train: bool = False) -> tuple[Any, Backward]:
        """The scores, by name if the network ends in `Heads`, and the function of their gradient.

        `backward(dy, need_dx=True, need_grads=True)` gives (dx, grads) once, before the next call
        of this engine; dx is None and grads are empty where they are not needed. The gradient is
        written over by the next call, too, and is 0 where layers are frozen.
        """
        shape, x = np.shape(x), self.network.place(x, single=False)
        n, scores = len(x), self._scores(len(x))
        check_counts(n, n)
        self._begin(gives=True)
        division = self.division(n, train=train)
        meetings = self._meetings(division, train=train)
        self._run(
            division,
            meetings,
            lambda worker, parts: worker.forward(
                parts, x, scores, meetings, needs=Needs(dx=True), train=train
            ),
        )
        if self._transforms and not _all_finite(scores):
            y, back = self.network.forward(x, train=train)

            def shaped(dy: Any, need_dx: bool = True, need_grads: bool = True) -> tuple[Any, Any]:
                dx, grads = back(self._checked(dy, y), need_dx, need_grads)
                return None if dx is None else dx.reshape(shape), grads

            return y, shaped
        if train:
            self._workers[0].commit()
        calls, workers = self._calls, self._workers

        def backward(dy: Any, need_dx: bool = True, need_grads: bool = True) -> tuple[Any, Any]:
            with self._turn:
                if calls != self._calls or workers is not self._workers:
                    raise EngineError(
                        "a backward of an engine can be called once, and before the next call of "
                        "that engine, which writes over its arrays; call forward again"
                    )
                given = self._checked(dy, scores)
                self._calls += 1
                needs = Needs(need_dx, need_grads)
                dx = np.empty(x.shape, dtype=self.network.dtype) if need_dx else None
                if need_dx or need_grads:
                    meetings = self._meetings(division, train=train)
                    self._run(
                        division,
                        meetings,
                        lambda worker, _: worker.backward(given, needs, dx, meetings, train=train),
                    )
                    dx = None if dx is None else dx.reshape(shape)
                return dx, self._total(len(division.shares)) if need_grads else {}

        return scores, backward

    @in_turn
    def predict(self, x: Array) -> Any:
        """Predict as `Network.predict`, in memory that does not grow with the samples.

        But for layers of your own, which see the whole batch.
        """
        x = self.network.place(x)
        if x.shape == self.network.input_shape and x.ndim == 1:
            found = self.predict(x[np.newaxis])
            return {k: y[0] for k, y in found.items()} if isinstance(found, dict) else found[0]
        scores = predicted(self.network.last_layer, self._scores(len(x)))
        if len(x) == 0:
            return scores
        self._begin()
        predicting, division = self._predicting(), self.division(len(x), train=False)
        versions = predicting.follow(self.network.params)
        self._run(division, None, lambda worker, parts: worker.predict(parts, x, scores, versions))
        if (self._transforms or predicting.folds) and not _all_finite(scores):
            return self.network.predict(x)
        return scores

    def _by_layers(self, x: np.ndarray, t: Any) -> tuple[Array, Any, FlatParams]:
        """A training pass by the layers, which have numbers where transformed sums have none."""
        loss, scores, found = self.network.loss_and_gradient(x, t)
        grads = self._workers[0].grads
        for name, grad in grads.items():
            grad[...] = found.get(name, 0)
        return loss, scores, grads

    def _lowering(self) -> Callable[[Needs], Lowered]:
        """The network's operations, for what is needed of them."""
        of_all, predicting = (self._nodes, self.network.outputs), self._predicting
        compiled, found = self.compiled, dict[Needs, Lowered]()

        def lowered(needs: Needs) -> Lowered:
            if needs not in found:
                nodes, outputs = of_all
                if needs == PREDICTING:
                    nodes, outputs = predicting().nodes, predicting().outputs
                fusible = patterns(nodes, compiled=compiled)
                found[needs] = lower(
                    nodes, outputs, fusible, need_dx=needs.dx, need_grads=needs.grads
                )
            return found[needs]

        return lowered

    def _compile(self) -> None:
        """Begin anew, for the layers that learn now, and the loss that there is now."""
        self._changes, self._loss = self.network.params.changes, self.network.last_layer
        together = self._by_samples and separable(self._loss)
        self._separable = {False: self._by_samples, True: together}
        # Made for the first prediction, for it holds folded filters.
        outputs = predicted(self._loss, self.network.outputs)
        self._predicting = cache(partial(Predicting, self._nodes, outputs))
        self._lower = self._lowering()
        ops = self._lower(LEARNING).ops
        self._meets = any(op.meets for op in ops)
        # Sums of pixels that a convolution itself would not add up, or would not multiply by 0.
        kinds = [kernel_of(op, compiled=self.compiled) for op in ops]
        numbers = [
            sum(map(prod, (*op.input_shapes, op.output_shape)))
            for op, kind in zip(ops, kinds, strict=True)
            if issubclass(kind, Winograd)
        ]
        self._transforms = any(issubclass(kind, Winograd | SubpixelGemm) for kind in kinds)
        self._most_cached = min(self._most, max(LEAST, CACHED // max(numbers, default=1)))
        learning = {name for op in ops if op.need_grads for name in op.names.values()}
        params = self.network.params
        # Of a layer that learns otherwise.
        self._frozen = [name for name in learning if params.learning(name).frozen]
        self._learning = learning.difference(self._frozen)
        self._workers: list[Worker] = []

    def _begin(self, *, gives: bool = False) -> None:
        """Begin a call, after which no earlier backward holds.

        If it gives a gradient that the next call writes over, another thread has its own arrays.
        """
        self._calls += 1
        network = self.network
        if network.params.masks:  # the kernels read what is not connected, too
            network.params.apply_masks()
        if gives and self._caller != (caller := get_ident()):
            self._caller = caller
            self._compile()
        elif network.params.changes != self._changes or network.last_layer is not self._loss:
            self._compile()

    def _meetings(self, division: Division, *, train: bool) -> Meetings | None:
        """Make the meetings of the parts of a batch; None if they need none."""
        if not (train and self._meets):
            return None
        return Meetings(len(division.shares), self._reduce)

    def _scores(self, n: int) -> Any:
        """Arrays for the scores of n samples; by name if the network ends in `Heads`."""
        shapes, dtype = self._output_shapes, self._dtype
        if type(shapes) is dict:
            return {name: np.empty((n, *shape), dtype) for name, shape in shapes.items()}
        return np.empty((n, *shapes), dtype)

    def _check_targets(self, t: Any, scores: Any) -> None:
        """Refuse what does not fit the scores, of the whole batch."""
        loss = self.network.last_layer
        if type(scores) is not dict and type(loss) is not HeadsWithLoss:
            self._check_target(t, scores)
            return
        check_outputs(loss, scores)
        by_name = isinstance(t, Mapping)
        if by_name and t.keys() != scores.keys():
            loss.forward(scores, t)  # says what is wrong
        for name, y in scores.items():
            self._check_target(t[name] if by_name else t, y)

    def _check_target(self, t: Any, y: np.ndarray) -> None:
        """Refuse targets of one output that do not fit it."""
        check_counts(len(y), len(t) if t.ndim else 0)
        labels = t.dtype.kind in "iub" and t.ndim == 1 and y.ndim == 2
        if not labels and self._separable[True] and t.shape != y.shape:
            if t.dtype.kind in "iub" and as_labels(t, y.shape).shape == label_shape(y.shape):
                return
            as_one_hot(t, y)  # says what is wrong

    def _checked(self, dy: Any, scores: Any) -> Any:
        """A gradient that fits the scores."""
        pairs = [("the output", dy, scores)]
        if isinstance(scores, dict):
            if not isinstance(dy, Mapping) or dy.keys() != scores.keys():
                got = ", ".join(dy) if isinstance(dy, Mapping) else "one array"
                raise ArgumentError(
                    f"a gradient for each of {', '.join(scores)} is needed, got {got}"
                )
            pairs = [(name, dy[name], y) for name, y in scores.items()]
        for name, given, y in pairs:
            if given.shape != y.shape:
                raise ArgumentError(
                    f"the gradient of {name} must have its shape, {y.shape}, got {given.shape}"
                )
        return dy

    def _total(self, count: int) -> FlatParams:
        """The gradients of that many workers, added up."""
        grads = self._workers[0].grads
        for worker in self._workers[1:count]:
            grads.flat += worker.grads.flat
        for name in self._frozen:
            grads[name][...] = 0
        return grads

    def _run(
        self,
        division: Division,
        meetings: Meetings | None,
        work: Callable[[Worker, Sequence[Part]], T],
    ) -> list[T]:
        """Results of all shares of a batch: the first in this thread, the others in the pool."""
        while len(self._workers) < len(division.shares):
            self._workers.append(
                Worker(len(self._workers), self.network, self._lower, compiled=self.compiled)
            )

        # A smaller batch leaves workers idle. Each has a context of its own: it begins with this
        # thread's settings of NumPy, and what it changes is forgotten.
        first, share = self._workers[0], division.shares[0]
        with blas_threads(division.blas_threads):
            if len(division.shares) == 1:  # without what a small step would notice
                return [copy_context().run(work, first, share)]
            others = zip(self._workers[1:], division.shares[1:], strict=False)

            def worked(worker: Worker, its_share: Sequence[Part]) -> T:
                try:
                    return work(worker, its_share)
                except BaseException:
                    if meetings is not None:
                        meetings.give_up()
                    raise

            futures: list[Future[T]] = []
            try:
                for worker, its_share in others:
                    run = copy_context().run
                    futures.append(self._pool.submit(run, worked, worker, its_share))
                results = [copy_context().run(worked, first, share)]
            except BrokenBarrierError:  # because another thread has failed
                wait(futures)
                for future in futures:
                    if not isinstance(future.exception(), BrokenBarrierError | None):
                        future.result()
                raise
            except BaseException:
                if meetings is not None:  # whoever has begun already
                    meetings.give_up()
                raise
            finally:
                wait(futures)  # before an error goes on its way, too: they use the same arrays
            return results + [future.result() for future in futures]


def _all_finite(scores: Any) -> bool:
    """Tell whether all scores are numbers, also if they come by name."""
    return all(bool(np.isfinite(each).all()) for each in values_of(scores))
