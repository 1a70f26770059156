"""A network's passes for a number of samples: the launches that use its buffers."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np

from xpnet.arrays import Array
from xpnet.arrays.parameters import FlatParams
from xpnet.engine.cuda.buffers import Buffers
from xpnet.engine.cuda.driver import NULL
from xpnet.engine.cuda.function import Call, Function
from xpnet.engine.cuda.kernel import Kernel, Way
from xpnet.engine.cuda.loss import HeadLoss, Outcome
from xpnet.engine.cuda.module import Launch, Module
from xpnet.engine.cuda.update import GRADIENT_ALONE, Surroundings, chunk_rows
from xpnet.layers import Dropout
from xpnet.models.network import Network


class Compiled(Protocol):
    """The network that a program is of, as `CompiledNetwork` has compiled it."""

    network: Network
    kernels: list[Kernel]
    losses: list[HeadLoss]
    outputs: int | dict[str, int]
    module: Module
    dropouts: list[Dropout]
    terms: Array
    grads: FlatParams
    loss: Array

    @property
    def output_numbers(self) -> tuple[int, ...]:
        """The numbers of all values that the network puts out."""

    @property
    def gradient_function(self) -> Function:
        """The function that makes `grads` of the parts of a pass."""

    @property
    def finish_function(self) -> Function:
        """The function that ends a pass with a loss."""

    def way_back(self, way: Way) -> tuple[list[Kernel], Module]:
        """Return the kernels of a way back that no training step goes, and their module."""


class Program:
    """Passes of up to `samples` samples.

    Parameters
    ----------
    compiled : the network's kernels
    keeps : whether there is a way back

    Attributes
    ----------
    buffers : its arrays
    x : (samples, ...), the batch
    """

    def __init__(self, compiled: Compiled, samples: int, *, keeps: bool) -> None:
        self._compiled = compiled
        self._network = compiled.network
        numbers = compiled.output_numbers
        self.buffers = Buffers(
            compiled.network, compiled.kernels, compiled.losses, numbers, samples, keeps=keeps
        )
        self.x = self.buffers.x
        self._bound: dict[tuple[object, ...], list[Launch]] = {}
        self._tables: dict[int, Array] = {}

    @property
    def outputs(self) -> Array | dict[str, Array]:
        """The network's output, for as many samples as there is room for."""
        values, numbers = self.buffers.value, self._compiled.outputs
        if isinstance(numbers, Mapping):
            return {name: values(number) for name, number in numbers.items()}
        return values(numbers)

    def forward(self, n: int, *, train: bool) -> list[Launch]:
        """Launches from `x` to `outputs`, for the first n samples."""

        def calls() -> list[Call]:
            return [
                call
                for kernel in self._compiled.kernels
                for call in kernel.forward(self.buffers.arrays(kernel, n), train=train)
            ]

        return self._kept(("forward", train, n), self._compiled.module, calls)

    def train(self, n: int, targets: str | Sequence[str]) -> list[Launch]:
        """Loss and backward, from `outputs` and the targets to `parts`.

        Parameters
        ----------
        targets : "labels" or "rows" for each loss; or once for all, which then read the first's
        """
        losses, buffers = self._compiled.losses, self.buffers
        single = isinstance(targets, str)
        forms: list[Any] = [targets] * len(losses) if single else list(targets)

        def calls() -> list[Call]:
            found = []
            for k, (loss, form) in enumerate(zip(losses, forms, strict=True)):
                number, place = loss.source.number, 0 if single else k
                given = (buffers.labels if form == "labels" else buffers.rows)[place]
                outcome = Outcome(
                    n,
                    buffers.x.dtype.type,
                    buffers.value(number),
                    buffers.gradient(number),
                    given,
                    buffers.losses[k, ...],
                    buffers.places[k],
                    buffers.class_weights[k],
                    buffers.counted,
                )
                found += loss.calls(form, outcome)
            return found + self._backward(self._compiled.kernels, n)

        return self._kept(("train", single, *forms, n), self._compiled.module, calls)

    def backward(self, n: int, way: Way) -> list[Launch]:
        """Launches from the gradients by the outputs to those of the parameters, and by `x`."""
        kernels, module = self._compiled.way_back(way)
        calls = self.buffers.counter if way.train else None

        def made() -> list[Call]:
            more = {} if calls is None else {"calls": calls}
            found = self._backward(kernels, n, **more)
            if way.need_grads:
                found.append(self._of_all_chunks(GRADIENT_ALONE, n))
            return found

        return self._kept(("backward", way, n), module, made)

    def _backward(self, kernels: Sequence[Kernel], n: int, **more: Any) -> list[Call]:
        return [
            call
            for kernel in reversed(kernels)
            if kernel.op.need_dy
            for call in kernel.all_backward(self.buffers.backward_arrays(kernel, n, **more))
        ]

    def finish(self, n: int) -> list[Launch]:
        """Launches that end a pass with a loss: from `parts` to the gradient, and the mean loss."""
        compiled = self._compiled

        def calls() -> list[Call]:
            place = self.surroundings(n, compiled.loss)
            gradient = self._of_all_chunks(compiled.gradient_function, n)
            return [gradient, compiled.finish_function.call(place, (1, 1, 1))]

        return self._kept(("finish", n), compiled.module, calls)

    def _of_all_chunks(self, function: Function, n: int) -> Call:
        place = self.surroundings(n, self._compiled.loss)
        return function.call(place, place.grid, joins=True)

    def _kept(
        self, key: tuple[object, ...], module: Module, calls: Callable[[], list[Call]]
    ) -> list[Launch]:
        """Launches, made up once."""
        if key not in self._bound:
            self._bound[key] = module.bind(calls())
        return self._bound[key]

    def count_passes(self) -> None:
        """Count a training pass that ends without a loss; its way back needs the number before."""
        for dropout in self._compiled.dropouts:
            self.buffers.counter(dropout)[...] = dropout.state["calls"]
            dropout.state["calls"] += 1

    def chunks(self, n: int) -> Array:
        """The table for step.cuh of every chunk of the parameters, for a batch of n."""
        if n not in self._tables:
            places = {}
            pairs = zip(self._compiled.kernels, self.buffers.offsets, strict=True)
            for kernel, start in pairs:
                for name, array in kernel.parameters if kernel.op.need_grads else ():
                    places[name] = start, kernel.part_size, kernel.parts(n)
                    start += prod(array.shape)
            rows = chunk_rows(self._network.params, places)
            self._tables[n] = self._network.device.asarray(np.asarray(rows))
        return self._tables[n]

    def surroundings(
        self, n: int, out: Array, *, squares: bool = False, **more: Any
    ) -> Surroundings:
        """Arrays for the kernels around a pass of n samples; the loss goes to `out`."""
        buffers, compiled = self.buffers, self._compiled
        return Surroundings(
            n,
            buffers.samples,
            len(compiled.losses),
            buffers.x.dtype.type,
            losses=buffers.losses,
            out=out,
            chunks=self.chunks(n),
            terms=compiled.terms,
            parts=buffers.parts,
            p=self._network.params.flat,
            g=compiled.grads.flat,
            penalties=buffers.penalties,
            squares=buffers.squares if squares else NULL,
            **more,
        )
