"""A network as a list of what reads what."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from xpnet.errors import ArgumentError
from xpnet.layers import Container, Layer, Shape
from xpnet.layers.base import located

INPUT = -1
"""The number of a network's input among the values that nodes read."""


class Node(NamedTuple):
    """A layer in its place within a network.

    A layer that is no container is a node, and so is each place where values meet: the sum of a
    `Sum` or a `Residual`, the joined channels of a `Concatenate`. An `Unpooled` is two nodes, its
    pool and, behind the layers in it, itself, which reads their output and the pool.
    """

    name: str
    """The path of the layer."""
    layer: Layer
    inputs: tuple[int, ...]
    """The numbers of the nodes that it reads, or INPUT."""
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    names: dict[str, str]
    """The network's names of its parameters: {"W": "conv1.W"}, or {"W": "W1"}."""

    @property
    def input_shape(self) -> Shape:
        """The shape of the first value that it reads."""
        return self.input_shapes[0]


class Trace:
    """The nodes of layers that read a value of some shape.

    Parameters
    ----------
    body : the layers
    input_shape : of a sample
    names : what the network calls each parameter, by its path

    Attributes
    ----------
    nodes : in an order in which each comes after those that it reads
    outputs : the number of the node that the network puts out; numbers by name if it ends in
        several heads
    """

    def __init__(self, body: Container, input_shape: Shape, names: dict[str, str]) -> None:
        self.nodes: list[Node] = []
        self._input_shape, self._names = tuple(input_shape), names
        self.outputs: int | dict[str, int] = body.trace(self, "", INPUT)

    def shape(self, value: int) -> Shape:
        """The shape of a value."""
        return self._input_shape if value == INPUT else self.nodes[value].output_shape

    def layer(self, path: str, layer: Layer, value: Any) -> Any:
        """A layer and what is in it; the number of its output, or numbers by name."""
        if isinstance(value, dict):
            raise ArgumentError(f"layer {path} follows several heads, which must come last")
        if not isinstance(layer, Container):
            return self.node(path, layer, [value], lambda: layer.output_shape(self.shape(value)))
        return layer.trace(self, f"{path}.", value)

    def node(
        self, path: str, layer: Layer, values: Sequence[Any], shape: Callable[[], Shape]
    ) -> int:
        """A layer that reads values and puts out a shape."""
        if any(isinstance(value, dict) for value in values):
            raise ArgumentError(f"layer {path} follows several heads, which must come last")
        try:
            output_shape = shape()
        except ArgumentError as error:
            raise located(path, error) from None
        params = {} if isinstance(layer, Container) else layer.params
        names = {key: self._names[f"{path}.{key}"] for key in params}
        shapes = tuple(self.shape(value) for value in values)
        self.nodes.append(Node(path, layer, tuple(values), shapes, output_shape, names))
        return len(self.nodes) - 1
