"""A thread's share of a batch, and the meetings of threads."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from threading import Barrier
from typing import Any, TypeAlias

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cpu.buffers import Scratch
from xpnet.engine.cpu.division import Part
from xpnet.engine.cpu.program import LEARNING, PREDICTING, Lower, Needs, Program, Versions
from xpnet.models.network import Network

BUFFER = 1024
"""Numbers that NumPy converts at a time, such as masks to floats: they stay in the first cache."""
SIZES = 8
"""Sizes of parts that are kept compiled: two of a batch, and as many of one that is left over, to
train and to predict."""

Reduce: TypeAlias = Callable[[Sequence[Any]], Any]
"""A function that makes one result of what the parts of a batch bring to a meeting, in order."""


def added(parts: Sequence[Any]) -> Any:
    """Add up all of them, from the first to the last."""
    return reduce(add, parts)


class Meetings:
    """Meetings of the parts of a batch: each brings its sums, and gets what all add up to.

    Parameters
    ----------
    threads : how many come; each brings the sums of its parts, which follow those of the one before
    reduce : makes one of all
    """

    def __init__(self, threads: int, reduce: Reduce) -> None:
        brought: list[Sequence[Any]] = [()] * threads
        total: list[Any] = [None]

        def meet() -> None:  # which does not hold what holds it, so that nothing stays behind
            total[0] = reduce([each for sums in brought for each in sums])

        self._brought, self._total, self._barrier = brought, total, Barrier(threads, meet)

    def meet(self, thread: int, sums: Sequence[Any]) -> Any:
        """Bring the sums of a thread, and return what they make when all threads have come."""
        self._brought[thread] = sums
        self._barrier.wait()
        # Nobody changes it before all threads have come once more.
        return self._total[0]

    def give_up(self) -> None:
        """Let nobody wait for a thread that has failed: BrokenBarrierError for all others."""
        self._barrier.abort()


class Worker:
    """One thread with what its share needs: compiled parts, and room for gradients.

    Parameters
    ----------
    number : of the thread, whose share follows that of the one before
    network, lower : the network, and its operations
    compiled : whether kernels with compiled loops take the place of others

    Attributes
    ----------
    grads : of the last share
    """

    def __init__(self, number: int, network: Network, lower: Lower, *, compiled: bool) -> None:
        self._number, self._lower, self._loss = number, lower, network.last_layer
        self._compiles = compiled
        self._scratch = Scratch()
        self._compiled: OrderedDict[tuple[int, Needs], list[Program]] = OrderedDict()
        self._segments_of: dict[tuple[Needs, bool], Sequence[range]] = {}
        self._part, self._sum = network.params.like(), network.params.like()
        self.grads = self._part
        # Of the last pass that finished part by part.
        self._ready: tuple[Sequence[Part], Needs, list[tuple[int, int, Program]], list[Program]]
        self._ready = (), LEARNING, [], []
        # Of the last pass that a way back may follow.
        self._parts: Sequence[Part] = ()
        self._programs: list[Program] = []

    def train(self, parts: Sequence[Part], x: np.ndarray, t: Any, scores: Any, total: Any) -> float:
        """The share's part of the batch's mean loss; leaves its part of the gradient.

        Parts are computed one after the other, in the same arrays if they are of one size.

        Parameters
        ----------
        total : what the loss of the whole batch is divided by, as `loss.counted` gives it
        """
        loss, several = 0.0, len(parts) > 1
        for first, end, program in self._prepared(parts):
            program.start(x[first:end], train=True, keep=True, first=first)
            program.forward_whole()
            program.put_scores(scores, first, end)
            loss += program.loss(rows(t, first, end), total)
            program.backward_whole()
            if several:  # what does not learn stays 0
                begun = first > parts[0][0]
                np.add(self._part.flat, self._sum.flat if begun else 0.0, out=self._sum.flat)
        self._finish(parts)
        return loss

    def predict(
        self, parts: Sequence[Part], x: np.ndarray, scores: Any, versions: Versions
    ) -> None:
        """Fill in the scores of the share, by these versions of the parameters."""
        for first, end, program in self._prepared(parts, PREDICTING, versions):
            program.start(x[first:end])
            program.forward_whole()
            program.put_scores(scores, first, end)

    def train_together(
        self,
        parts: Sequence[Part],
        x: np.ndarray,
        t: Any,
        scores: Any,
        total: Any,
        meetings: Meetings,
    ) -> float:
        """Train as `train`, on parts that have to meet: side by side, in arrays of their own."""
        loss = 0.0
        self.forward(parts, x, scores, meetings, train=True, needs=LEARNING)
        for (first, end), program in zip(parts, self._programs, strict=True):
            loss += program.loss(rows(t, first, end), total)
        self._go_back(LEARNING, meetings, train=True)
        return loss

    def forward(
        self,
        parts: Sequence[Part],
        x: np.ndarray,
        scores: Any,
        meetings: Meetings | None,
        *,
        train: bool,
        needs: Needs,
    ) -> None:
        """Fill in the scores of the share, and keep what a way back will need."""
        np.setbufsize(BUFFER)
        self._parts, self._programs = parts, self._side_by_side(parts, needs)
        for k, ((first, end), program) in enumerate(zip(parts, self._programs, strict=True)):
            program.prepare(shared=k == 0)
            program.start(x[first:end], train=train, keep=True, first=first)
        for segment in self._segments(needs, train=train):
            sums = [program.forward(segment) for program in self._programs]
            if sums[0] is not None:
                total = self._meet(meetings, sums)
                for program in self._programs:
                    program.settle(segment, total)
        for (first, end), program in zip(parts, self._programs, strict=True):
            program.put_scores(scores, first, end)

    def backward(
        self, dy: Any, needs: Needs, dx: Array, meetings: Meetings | None, *, train: bool
    ) -> None:
        """Bring a gradient by the scores back to the parameters, and to dx, if that is no None."""
        np.setbufsize(BUFFER)
        for (first, end), program in zip(self._parts, self._programs, strict=True):
            program.leave(rows(dy, first, end))
        self._go_back(needs, meetings, train=train)
        if dx is not None:
            for (first, end), program in zip(self._parts, self._programs, strict=True):
                dx[first:end] = program.dx

    def commit(self) -> None:
        """Have the layers' state follow the training pass of the whole batch."""
        self._programs[0].commit()

    def _go_back(self, needs: Needs, meetings: Meetings | None, *, train: bool) -> None:
        """Bring the gradients by the scores to the parameters, added up over all parts."""
        for segment in reversed(self._segments(needs, train=train)):
            sums = [program.bring_back(segment, needs) for program in self._programs]
            if sums[0] is not None:
                total = self._meet(meetings, sums)
                for program in self._programs:
                    program.settle_back(segment, total)
            for k, program in enumerate(self._programs):
                program.backward(segment, needs)
                if len(self._programs) > 1:
                    self._add(segment, needs, begun=k > 0)
        self._finish(self._parts)

    def _add(self, segment: range, needs: Needs, *, begun: bool) -> None:
        """A part's gradients to those of the parts before it."""
        ops = self._lower(needs).ops
        for op in (ops[number] for number in segment if ops[number].need_grads):
            for name in op.names.values():
                total = self._sum[name]
                np.add(self._part[name], total if begun else 0.0, out=total)

    def _finish(self, parts: Sequence[Part]) -> None:
        self.grads = self._part if len(parts) == 1 else self._sum

    def _meet(self, meetings: Meetings | None, sums: Sequence[Any]) -> Any:
        assert meetings is not None
        return meetings.meet(self._number, sums)

    def _segments(self, needs: Needs, *, train: bool) -> Sequence[range]:
        found = self._segments_of.get((needs, train))
        if found is None:
            lowered = self._lower(needs)
            found = lowered.segments() if train else [range(len(lowered.ops))]
            self._segments_of[needs, train] = found
        return found

    def _prepared(
        self, parts: Sequence[Part], needs: Needs = LEARNING, versions: Versions | None = None
    ) -> list[tuple[int, int, Program]]:
        """Each part with a program that has taken up the parameters as they are."""
        np.setbufsize(BUFFER)
        if self._ready[0] is not parts or self._ready[1] != needs:
            sizes = dict.fromkeys(end - first for first, end in parts)
            programs = {n: self._of_size(n, needs, 1)[0] for n in sizes}
            found = [(first, end, programs[end - first]) for first, end in parts]
            self._ready = parts, needs, found, list(programs.values())
        _, _, found, of_sizes = self._ready
        for k, program in enumerate(of_sizes):
            program.prepare(shared=k == 0, versions=versions)
        self._programs = of_sizes
        return found

    def _side_by_side(self, parts: Sequence[Part], needs: Needs) -> list[Program]:
        """A program for each part."""
        sizes = [end - first for first, end in parts]
        waiting = {n: iter(self._of_size(n, needs, sizes.count(n))) for n in set(sizes)}
        return [next(waiting[n]) for n in sizes]

    def _of_size(self, n: int, needs: Needs, count: int) -> list[Program]:
        """Return `count` programs or more for n samples; those of the last few sizes are kept."""
        programs = self._compiled.setdefault((n, needs), [])
        self._compiled.move_to_end((n, needs))
        while len(programs) < count:
            programs.append(
                Program(
                    self._lower,
                    needs,
                    self._loss,
                    n,
                    self._part,
                    self._scratch,
                    compiled=self._compiles,
                )
            )
        if len(self._compiled) > SIZES:
            self._compiled.popitem(last=False)
        return programs


def rows(of: Any, first: int, end: int) -> Any:
    """Some of the samples, of each array if they come by name."""
    if isinstance(of, dict):
        return {name: array[first:end] for name, array in of.items()}
    return of[first:end]
