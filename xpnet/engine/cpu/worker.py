"""What a thread does of a batch, and where threads meet."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from threading import Barrier
from typing import Any, TypeAlias

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cpu.buffers import Scratch
from xpnet.engine.cpu.division import Part
from xpnet.engine.cpu.program import Lower, Needs, Program
from xpnet.models.network import Network

BUFFER = 1024
"""Numbers that NumPy converts at a time, such as masks to floats: they stay in the first cache."""
SIZES = 4
"""Sizes of parts that are kept compiled: two of a batch, and as many of one that is left over."""

Reduce: TypeAlias = Callable[[Sequence[Any]], Any]
"""From what each part of a batch brings to a meeting, in their order, to what all of them say."""


def added(parts: Sequence[Any]) -> Any:
    """All of them added up, from the first to the last."""
    return reduce(add, parts)


class Meetings:
    """Where the parts of a batch bring their sums, and get what all of them add up to.

    Parameters
    ----------
    threads : how many come; each brings the sums of its parts, which follow those of the one before
    reduce : makes one of all
    """

    def __init__(self, threads: int, reduce: Reduce) -> None:
        self._reduce, self._total = reduce, None
        self._brought: list[Sequence[Any]] = [()] * threads
        self._barrier = Barrier(threads, self._meet)

    def meet(self, thread: int, sums: Sequence[Any]) -> Any:
        """What all parts say, when all threads have come."""
        self._brought[thread] = sums
        self._barrier.wait()
        # Nobody changes it before all threads have come once more.
        return self._total

    def give_up(self) -> None:
        """Let nobody wait for a thread that has failed: BrokenBarrierError for all others."""
        self._barrier.abort()

    def _meet(self) -> None:
        self._total = self._reduce([each for sums in self._brought for each in sums])


class Worker:
    """What one thread needs for its share: compiled parts, and room for gradients.

    Parameters
    ----------
    number : of the thread, whose share follows that of the one before
    network, lower : the network, and its operations

    Attributes
    ----------
    grads : of the last share
    """

    def __init__(self, number: int, network: Network, lower: Lower) -> None:
        self._number, self._lower, self._loss = number, lower, network.last_layer
        self._scratch = Scratch()
        self._compiled: OrderedDict[tuple[int, Needs], list[Program]] = OrderedDict()
        self._segments_of: dict[tuple[Needs, bool], Sequence[range]] = {}
        self._part, self._sum = network.params.like(), network.params.like()
        self.grads = self._part
        # Of the last pass that a way back may follow.
        self._parts: Sequence[Part] = ()
        self._programs: list[Program] = []

    def train(
        self, parts: Sequence[Part], x: np.ndarray, t: Any, scores: Any, meetings: Meetings | None
    ) -> float:
        """The share's part of the batch's mean loss; leaves its part of the gradient.

        Parts are computed one after the other, or side by side where they have to meet.
        """
        loss, needs, prepared = 0.0, Needs(), set[int]()
        groups = [[part] for part in parts] if meetings is None else [parts]
        for group in groups:
            self.forward(group, x, scores, meetings, train=True, needs=needs, prepared=prepared)
            for (first, end), program in zip(group, self._programs, strict=True):
                loss += program.loss(rows(t, first, end), (end - first) / len(x))
            self._go_back(needs, meetings, add_to=len(parts) > 1, begun=group is not groups[0])
        self._finish(parts)
        return loss

    def predict(self, parts: Sequence[Part], x: np.ndarray, scores: Any) -> None:
        """Fill in the scores of the share."""
        prepared = set[int]()
        for part in parts:
            self.forward([part], x, scores, None, needs=Needs(), prepared=prepared, keep=False)

    def forward(
        self,
        parts: Sequence[Part],
        x: np.ndarray,
        scores: Any,
        meetings: Meetings | None,
        *,
        needs: Needs,
        train: bool = False,
        keep: bool = True,
        prepared: set[int] | None = None,
    ) -> None:
        """Fill in the scores of parts, each of which is computed by a program of its own.

        `prepared` holds the ids of programs that have the parameters as they are.
        """
        np.setbufsize(BUFFER)
        prepared = set() if prepared is None else prepared
        self._parts, self._programs = parts, self._of(parts, needs)
        for (first, end), program in zip(parts, self._programs, strict=True):
            if id(program) not in prepared:
                program.prepare()
                prepared.add(id(program))
            program.start(x[first:end], train=train, keep=keep, first=first)
        for segment in self._segments(needs, train=train):
            sums = [program.forward(segment) for program in self._programs]
            if sums[0] is not None:
                total = self._meet(meetings, sums)
                for program in self._programs:
                    program.settle(segment, total)
        for (first, end), program in zip(parts, self._programs, strict=True):
            if isinstance(scores, Mapping):
                for name, array in scores.items():
                    array[first:end] = program.scores[name]
            else:
                scores[first:end] = program.scores

    def backward(
        self, dy: Any, needs: Needs, dx: Array, meetings: Meetings | None, *, train: bool
    ) -> None:
        """Bring a gradient by the scores back to the parameters, and to dx, if that is no None."""
        np.setbufsize(BUFFER)
        for (first, end), program in zip(self._parts, self._programs, strict=True):
            program.leave(rows(dy, first, end))
        self._go_back(needs, meetings, add_to=len(self._parts) > 1, train=train)
        self._finish(self._parts)
        if dx is not None:
            for (first, end), program in zip(self._parts, self._programs, strict=True):
                dx[first:end] = program.dx

    def commit(self) -> None:
        """Have the layers' state follow the training pass of the whole batch."""
        self._programs[0].commit()

    def _go_back(
        self,
        needs: Needs,
        meetings: Meetings | None,
        *,
        add_to: bool,
        begun: bool = False,
        train: bool = True,
    ) -> None:
        """From the gradients by the scores to those of the parameters.

        Where there are several parts these are added up, to what is there already if it has begun.
        """
        ops = self._lower(needs).ops
        for segment in reversed(self._segments(needs, train=train)):
            sums = [program.bring_back(segment, needs) for program in self._programs]
            if sums[0] is not None:
                total = self._meet(meetings, sums)
                for program in self._programs:
                    program.settle_back(segment, total)
            for k, program in enumerate(self._programs):
                program.backward(segment, needs)
                if not add_to:
                    continue
                for name in (
                    name for j in segment if ops[j].need_grads for name in ops[j].names.values()
                ):
                    before = self._sum[name] if k or begun else 0.0
                    np.add(self._part[name], before, out=self._sum[name])

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

    def _of(self, parts: Sequence[Part], needs: Needs) -> list[Program]:
        """A program for each part: new ones, or some of the last few sizes."""
        found, used = [], dict[int, int]()
        for first, end in parts:
            n = end - first
            programs = self._compiled.pop((n, needs), [])
            self._compiled[n, needs] = programs
            number = used[n] = used.get(n, -1) + 1
            if number == len(programs):
                programs.append(
                    Program(self._lower, needs, self._loss, n, self._part, self._scratch)
                )
            found.append(programs[number])
        while len(self._compiled) > SIZES:
            self._compiled.popitem(last=False)
        return found


def rows(of: Any, first: int, end: int) -> Any:
    """Some of the samples, of each array if they come by name."""
    if isinstance(of, Mapping):
        return {name: array[first:end] for name, array in of.items()}
    return of[first:end]
