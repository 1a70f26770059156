"""The base of what does one operation of a network: its kernels, and their launches."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from xpnet.arrays import Array
from xpnet.engine.cuda.chain import Below, Chain
from xpnet.engine.cuda.driver import NULL, Argument, Grid
from xpnet.engine.cuda.function import (
    POINTWISE,
    Call,
    Function,
    Parameter,
    Parameters,
    blocks,
    counts,
    reads,
    writes,
)
from xpnet.engine.lower import Op, Pattern
from xpnet.layers import Dropout, Layer


def counter_of(dropout: Dropout) -> Array:
    """The number of training passes that a Dropout has seen."""
    counter: Array = dropout.state["calls"]
    return counter


class Way(NamedTuple):
    """The kind of a backward pass, and its purpose.

    Whole training steps, and `loss_and_gradient`, go one way alone; `backward` goes the others.
    """

    train: bool = True
    """True if the forward pass was one of training."""
    need_dx: bool = False
    need_grads: bool = True
    from_loss: bool = True
    """True if it begins with the loss, which takes its gradient back through the last chain."""


class Arrays(NamedTuple):
    """The arrays that the launches of an operation read and write; a `function.Place`.

    Attributes
    ----------
    n : samples
    real : the type of the network's numbers
    inputs, y : what it reads and what it puts out
    dxs : gradients by its inputs; None where nobody reads one
    dy : the gradient by what it puts out; None where nothing is learned
    parts : of the gradient of its parameters, one after the other
    kept : what its forward pass leaves to the backward pass, by name
    kept_by : the same of the operations that it reads
    scratch, tickets : of products that are divided
    calls : gives the number of training passes that a Dropout has seen
    """

    n: int
    real: type[np.generic]
    inputs: tuple[Array, ...]
    y: Array
    dxs: tuple[Array | None, ...] = (None,)
    dy: Array | None = None
    parts: Array | None = None
    kept: dict[str, Array] = {}  # noqa: RUF012
    kept_by: tuple[dict[str, Array], ...] = ()
    scratch: Array | None = None
    tickets: Array | None = None
    calls: Callable[[Dropout], Array] = counter_of

    @property
    def x(self) -> Array:
        """Its first input."""
        return self.inputs[0]

    @property
    def d(self) -> Argument:
        """The gradient by what it puts out."""
        assert self.dy is not None
        return self.dy

    @property
    def dx(self) -> Argument:
        """The gradient by its first input; nothing where nobody reads it."""
        return NULL if self.dxs[0] is None else self.dxs[0]


KERNELS: dict[type[Layer], type["Kernel"]] = {}
"""Classes by the layer that an operation begins with."""

PATTERNS: list[Pattern] = []
"""Layers that one kernel does."""

Kind = TypeVar("Kind", bound=type["Kernel"])


def does(*layers: type[Layer], patterns: Iterable[Pattern]) -> Callable[[Kind], Kind]:
    """Have a class do layers, and what these patterns have behind them."""

    def registered(kernel: Kind) -> Kind:
        KERNELS.update(dict.fromkeys(layers, kernel))
        PATTERNS.extend(patterns)
        return kernel

    return registered


class Kernel(ABC):
    """An operation: a layer, and the chain that follows it.

    Attributes
    ----------
    number : of the operation
    name : what the names of its functions begin with
    kind : how it computes, in words
    op, way : what it does in which backward pass
    sources : what puts out its inputs; None for the network's input
    chain : what follows the layer
    """

    kind: ClassVar[str]

    def __init__(self, number: int, op: Op, sources: Sequence["Kernel | None"], way: Way) -> None:
        self.number, self.name, self.op, self.way = number, f"op{number + 1}", op, way
        self.sources = tuple(sources)
        self.layer: Any = op.layer
        self.chain = Chain.of([node.layer for node in op.nodes[self.before_chain :]])
        self.input_shape, self.output_shape = op.input_shapes[0], op.output_shape

    before_chain: ClassVar[int] = 1
    """Number of layers before the chain."""

    @classmethod
    def for_layer(cls, layer: Any) -> type["Kernel"]:
        """Return the class that does this one of its layers: itself, if it does all in one way."""
        return cls

    @abstractmethod
    def forward_function(self, *, train: bool) -> Function:
        """The kernel that computes y from the inputs."""

    def forward_functions(self, *, train: bool) -> list[Function]:
        """All kernels of a forward pass, in order."""
        return [self.forward_function(train=train)]

    @abstractmethod
    def backward_functions(self) -> list[Function]:
        """The kernels that compute what is needed of dxs and of the gradient's parts from dy."""

    def forward(self, arrays: Arrays, *, train: bool) -> list[Call]:
        """A thread for each number put out, if the subclass does not say otherwise."""
        total = arrays.n * prod(self.output_shape)
        return [self.forward_function(train=train).call(arrays, blocks(total))]

    @abstractmethod
    def backward(self, arrays: Arrays) -> list[Call]:
        """Launches of the backward functions."""

    @property
    def is_alias(self) -> bool:
        """True if y is the input itself, and nothing has to be done for it."""
        return False

    def shares(self, place: int) -> bool:
        """Tell whether dy itself serves as the gradient by this input."""
        return False

    @property
    def reader_takes_slope(self) -> bool:
        """True if its one reader, or the loss, takes gradients back through its chain."""
        if self.op.readers == 0:
            return self.way.from_loss
        return self.op.readers == 1 and not self.op.is_output

    def below(self, place: int = 0, *, which: str = "") -> Below:
        """Say how the gradient by an input is left."""
        source = self.sources[place]
        chain = source.chain if source is not None and source.reader_takes_slope else Chain()
        return Below(chain, self.op.adds[place], self.way.train, which)

    @property
    def slope_functions(self) -> list[Function]:
        """Takes dy back through the chain, where its readers do not, once all have left theirs."""
        if not self.op.need_dy or self.chain == Chain() or self.reader_takes_slope:
            return []
        below = Below(self.chain, train=self.way.train)
        size = prod(self.output_shape)
        parameters = (*reads("y"), *writes("d"), *counts(total=lambda a: a.n * size))
        body = f"pointwise_backward(y, d, d, total, {below.value});"
        return [Function(f"{self.name}_slope", POINTWISE, parameters + below.parameters, body)]

    def all_backward_functions(self) -> list[Function]:
        """The functions of the chain, where they are needed, and the layer's."""
        return [*self.slope_functions, *(self.backward_functions() if self.op.need_dy else ())]

    def all_backward(self, arrays: Arrays) -> list[Call]:
        """Launches of all of them, where the gradient of the value is needed."""
        grid = blocks(arrays.n * prod(self.output_shape))
        slopes = [function.call(arrays, grid) for function in self.slope_functions]
        return slopes + self.backward(arrays)

    def parts(self, n: int) -> int:
        """Count the parts in which the gradient of the layer's parameters comes, for n samples."""
        return 1

    @property
    def parameters(self) -> list[tuple[str, Array]]:
        """The layer's parameters in the order of their gradients in a part."""
        return [(name, self.layer.params[key]) for key, name in self.op.names.items()]

    def own(self, *names: str, kind: str = "const real*") -> Parameters:
        """The layer's arrays of these names."""
        layer = self.layer
        arrays = {**layer.params, **getattr(layer, "state", {})}

        def parameter(name: str) -> Parameter:
            return Parameter(kind, name, lambda a: arrays[name])

        return tuple(map(parameter, names))

    @property
    def part_size(self) -> int:
        """Numbers in a part; none where nothing is learned."""
        if not self.op.need_grads:
            return 0
        return sum(prod(array.shape) for _, array in self.parameters)

    @property
    def scratch(self) -> int:
        """Numbers that products need where they are divided."""
        return 0

    def keeps(self, samples: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype of what the forward pass leaves to others; "real" for the network's."""
        return {}


class Weighted(Kernel):
    """An operation with weights W, and with biases b or without."""

    @property
    def has_bias(self) -> bool:
        """True if there is a b."""
        return "b" in self.layer.params

    @property
    def weights(self) -> Parameter:
        """W."""
        return Parameter("const real*", "w", lambda a: self.layer.params["W"])

    @property
    def bias(self) -> Parameter:
        """b, or nothing."""
        return Parameter("const real*", "bias", lambda a: self.layer.params.get("b", NULL))


class EachNumber(Kernel):
    """An operation with a thread for each number that it writes."""

    kind = "one thread a number"

    @property
    @abstractmethod
    def begins(self) -> tuple[str, str]:
        """The beginnings of the calls in C++ that compute forward and backward: "pooled<3>(x"."""

    @property
    def besides(self) -> tuple[Parameters, Parameters]:
        """The parameters of forward and backward besides x, y and their gradients."""
        return (), ()

    def forward_function(self, *, train: bool) -> Function:
        """A thread for each number put out."""
        chain, size = self.chain, prod(self.output_shape)
        parameters = (*reads("x"), *self.besides[0], *writes("y"))
        parameters += counts(total=lambda a: a.n * size)
        return Function(
            forward_name(self, train=train),
            POINTWISE,
            parameters + chain.parameters(train=train),
            f"{self.begins[0]}, y, total, {chain.value(train=train)});",
        )

    def backward_functions(self) -> list[Function]:
        """A thread for each number taken in."""
        if not self.op.need_dx[0]:
            return []
        below, size = self.below(), prod(self.input_shape)
        parameters = (*reads("x", "d"), *self.besides[1], *writes("dx"))
        parameters += counts(total=lambda a: a.n * size)
        return [
            Function(
                f"{self.name}_backward",
                POINTWISE,
                parameters + below.parameters,
                f"{self.begins[1]}, d, dx, total, {below.value});",
            )
        ]

    def backward(self, arrays: Arrays) -> list[Call]:
        """A thread for each number taken in."""
        grid = blocks(arrays.n * prod(self.input_shape))
        return [function.call(arrays, grid) for function in self.backward_functions()]


class EachNumberAndSums(EachNumber):
    """An operation as that, with parameters, for whose gradient blocks add up a sum each."""

    @property
    @abstractmethod
    def sums(self) -> tuple[str, Grid]:
        """The beginning of the call in C++, as in `begins`, and the blocks of its launch."""

    def backward_functions(self) -> list[Function]:
        """The sums, and a thread for each number taken in."""
        if not self.op.need_grads:
            return super().backward_functions()
        parameters = (*reads("x", "d"), *writes("parts"), *counts(samples=lambda a: a.n))
        body = f"{self.sums[0]}, d, parts, samples);"
        gradient = Function(f"{self.name}_gradient", POINTWISE, parameters, body)
        return [gradient, *super().backward_functions()]

    def backward(self, arrays: Arrays) -> list[Call]:
        """Nothing waits for the parameters' before their update."""
        functions, calls = self.backward_functions(), []
        if self.op.need_grads:
            calls.append(functions.pop(0).call(arrays, self.sums[1], aside=True))
        grid = blocks(arrays.n * prod(self.input_shape))
        return calls + [function.call(arrays, grid) for function in functions]


def forward_name(kernel: Kernel, *, train: bool) -> str:
    """Name the function of a forward pass."""
    return f"{kernel.name}_{'forward' if train else 'infer'}"
