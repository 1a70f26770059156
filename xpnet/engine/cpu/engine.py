"""Batches in parts, and parts on threads."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import TypeVar

import numpy as np

from xpnet.arrays import Array
from xpnet.arrays.parameters import FlatParams
from xpnet.engine.base import Engine, OneByOne
from xpnet.engine.checks import check_counts, obstacle_of, shaped
from xpnet.engine.cpu.shard import Shard, separable
from xpnet.engine.threads import blas_threads, chosen_threads
from xpnet.errors import ArgumentError
from xpnet.functions.losses import as_one_hot
from xpnet.layers import Convolution, Dropout
from xpnet.models.network import Leaf, Network
from xpnet.optim import Optimizer

IMAGES = 50
"""Samples at most in a part, where there are convolutions: matrices are then small enough for the
fast way of OpenBLAS."""
NUMBERS = 3_000_000
"""That the layers of a part may put out together: its arrays then stay in the processor's cache."""
ROWS = 1000
"""Samples in a part where there are no convolutions: large matrices make those networks fast."""
FEWEST = 10
"""Samples below which a thread is not worth having: Python's lock costs more than it gains."""
BUFFER = 1024
"""Numbers that NumPy converts at a time, such as masks to floats: they stay in the first cache."""
SIZES = 4
"""Sizes of parts that are kept compiled: two of a batch, and as many of one that is left over."""

T = TypeVar("T")

Part = tuple[int, int]
"""First sample, and the one behind the last."""


@dataclass(frozen=True)
class Division:
    """How a batch is divided.

    Attributes
    ----------
    shares : for each thread, the parts that it computes one after the other
    blas_threads : threads of each matrix product
    """

    shares: list[list[Part]]
    blas_threads: int


class CpuEngine(OneByOne):
    """Computes what `Network` computes, up to rounding, in less time.

    Each thread takes an equal share of a batch, goes through it in small parts, and adds up their
    gradients; those of the threads are added last. Where a network has no convolutions, the threads
    are left to the matrix products instead; where a layer must see the whole batch, such as
    BatchNorm in training, the batch is not divided. All this depends on the batch and on `threads`
    alone, so that results repeat bit for bit.

    One call at a time: they share their arrays.

    Parameters
    ----------
    network : one that has no `obstacle`
    threads : how many to use; one for each core if None
    """

    name = "cpu"

    def __init__(self, network: Network, threads: int | None = None) -> None:
        if (problem := self.obstacle(network)) is not None:
            raise ArgumentError(f"the engine cannot run this network: {problem}")
        self.network = network
        self.threads = chosen_threads(threads)
        self._leaves = network.leaves()
        self._separable = {
            train: separable(self._leaves, network.last_layer, train=train)
            for train in (False, True)
        }
        self._convolves = any(isinstance(leaf.layer, Convolution) for leaf in self._leaves)
        self._dropouts = [leaf.layer for leaf in self._leaves if type(leaf.layer) is Dropout]
        self._numbers = sum(prod(leaf.output_shape) for leaf in self._leaves)
        self._workers: list[_Worker] = []
        # Which starts no thread before there is work for it.
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="xpnet")

    @staticmethod
    def obstacle(network: Network) -> str | None:
        """Why this engine cannot run the network, or None if it can."""
        if network.device.name != "cpu":
            return f"it lives on {network.device.name}"
        return obstacle_of(network)

    def __repr__(self) -> str:
        return f"CpuEngine({self.network!r}, threads={self.threads})"

    def check(
        self,
        x: Array,
        t: Array | None = None,
        optimizer: Optimizer | None = None,
        clip_norm: float | None = None,
    ) -> Engine:
        """Itself: it needs no compiler and no driver that could have failed."""
        return self

    def division(self, n: int, *, train: bool = True) -> Division:
        """How a batch of n samples is divided."""
        if not self._separable[train]:
            return _divided(n, n, 1, self.threads)
        if not self._convolves:
            return _divided(n, ROWS, 1, self.threads)
        limit = max(1, min(IMAGES, NUMBERS // self._numbers))
        return _divided(n, limit, max(1, min(self.threads, n // FEWEST)), 1)

    def methods(self) -> dict[str, str]:
        """How each layer is computed, by its name."""
        network = self.network
        return Shard(self._leaves, network.last_layer, 1, network.params.like()).methods

    def describe(self) -> dict[str, str | int]:
        """Name and threads."""
        return {"engine": self.name, "threads": self.threads}

    def loss_and_gradient(self, x: Array, t: Array) -> tuple[Array, Array, FlatParams]:
        """As `Network.loss_and_gradient`; the gradient is written over by the next call."""
        network, n = self.network, len(x)
        x, scores = shaped(network, x), self._scores(n)
        check_counts(n, len(t))
        labels = t.ndim == 1 and t.dtype.kind in "iub"
        if self._separable[True] and not labels and t.shape != scores.shape:
            as_one_hot(t, scores)  # says what is wrong, of the whole batch
        losses = self._run(
            self.division(n), lambda worker, parts: worker.train(parts, x, t, scores)
        )
        for dropout in self._dropouts:
            dropout.state["calls"] += 1
        grads = self._workers[0].grads
        for worker in self._workers[1 : len(losses)]:
            grads.flat += worker.grads.flat
        loss = sum(losses)
        if network.penalty is not None:
            loss += float(network.penalty.value(network.params))
            for name, more in network.penalty.gradient(network.params).items():
                grads[name] += more
        return np.asarray(loss, dtype=network.dtype), scores, grads

    def predict(self, x: Array) -> Array:
        """As `Network.predict`, in memory that does not grow with the number of samples.

        But for layers of your own, which see the whole batch.
        """
        x = self.network.place(x)
        if x.shape == self.network.input_shape and x.ndim == 1:
            return self.predict(x[np.newaxis])[0]
        x, scores = shaped(self.network, x), self._scores(len(x))
        if len(x) == 0:
            return scores
        division = self.division(len(x), train=False)
        self._run(division, lambda worker, parts: worker.predict(parts, x, scores))
        return scores

    def _scores(self, n: int) -> np.ndarray:
        return np.empty((n, *self._leaves[-1].output_shape), dtype=self.network.dtype)

    def _run(self, division: Division, work: Callable[["_Worker", list[Part]], T]) -> list[T]:
        """Results of all shares of a batch: the first in this thread, the others in the pool."""
        while len(self._workers) < len(division.shares):
            self._workers.append(_Worker(self._leaves, self.network))
        # A smaller batch leaves workers idle. Each has a context of its own: it begins with this
        # thread's settings of NumPy, and what it changes is forgotten.
        (first, share), *others = zip(self._workers, division.shares, strict=False)
        with blas_threads(division.blas_threads):
            if not others:  # without the pool, whose bookkeeping a small step would notice
                return [copy_context().run(work, first, share)]
            futures = [
                self._pool.submit(copy_context().run, work, worker, its_share)
                for worker, its_share in others
            ]
            try:
                results = [copy_context().run(work, first, share)]
            finally:
                wait(futures)  # before an error goes on its way, too: they use the same arrays
            return results + [future.result() for future in futures]


class _Worker:
    """What one thread needs for its share: compiled parts, and room for gradients.

    Attributes
    ----------
    grads : of the last share
    """

    def __init__(self, leaves: Sequence[Leaf], network: Network) -> None:
        self._leaves, self._loss = leaves, network.last_layer
        self._shards: OrderedDict[int, Shard] = OrderedDict()
        self._part, self._sum = network.params.like(), network.params.like()
        self.grads = self._part

    def train(self, parts: list[Part], x: np.ndarray, t: np.ndarray, scores: np.ndarray) -> float:
        """The share's part of the batch's mean loss; leaves its part of the gradient."""
        loss = 0.0
        for k, ((first, end), shard) in enumerate(self._prepared(parts)):
            shard.forward(x[first:end], train=True, first=first)
            scores[first:end] = shard.scores
            loss += shard.backward(t[first:end], (end - first) / len(x))
            if len(parts) > 1:
                np.add(self._part.flat, self._sum.flat if k else 0.0, out=self._sum.flat)
        self.grads = self._part if len(parts) == 1 else self._sum
        return loss

    def predict(self, parts: list[Part], x: np.ndarray, scores: np.ndarray) -> None:
        """Fill in the scores of the share."""
        for (first, end), shard in self._prepared(parts):
            shard.forward(x[first:end])
            scores[first:end] = shard.scores

    def _prepared(self, parts: list[Part]) -> list[tuple[Part, Shard]]:
        """Each part with its shard, which has taken up the parameters as they are."""
        np.setbufsize(BUFFER)
        shards: dict[int, Shard] = {}
        prepared = []
        for part in parts:
            n = part[1] - part[0]
            if n not in shards:
                shards[n] = self._shard(n)
                shards[n].prepare()
            prepared.append((part, shards[n]))
        return prepared

    def _shard(self, n: int) -> Shard:
        """The shard for n samples: a new one, or one of the last few."""
        shard = self._shards.pop(n, None) or Shard(self._leaves, self._loss, n, self._part)
        self._shards[n] = shard
        if len(self._shards) > SIZES:
            self._shards.popitem(last=False)
        return shard


@lru_cache(maxsize=16)
def _divided(n: int, limit: int, workers: int, blas_threads: int) -> Division:
    """Equal shares for the workers, cut into parts of at most `limit` samples."""
    shares = _cut(0, n, -(-n // workers))
    return Division([_cut(*share, limit) for share in shares], blas_threads)


def _cut(first: int, end: int, limit: int) -> list[Part]:
    """Parts of at most `limit` samples, as few as possible and of nearly equal sizes."""
    n = end - first
    count = -(-n // limit)
    bounds = [first + n * k // count for k in range(count + 1)]
    return list(pairwise(bounds))
