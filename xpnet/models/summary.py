"""A network as a table: a row for each layer."""

from collections.abc import Iterator, Mapping
from math import prod
from typing import NamedTuple

from xpnet.layers import Container, Heads, Layer, Shape
from xpnet.layers.base import Shapes


class LayerRow(NamedTuple):
    """A line of a network's summary."""

    name: str
    kind: str
    output_shape: Shapes
    parameters: int
    depth: int = 0
    """The number of containers that the layer is in."""


def rows(
    box: Container,
    shapes: Mapping[str, Shape],
    output: Shapes,
    path: str = "",
    depth: int = 0,
) -> Iterator[LayerRow]:
    """List the layers in a container, and after each container those in it.

    Parameters
    ----------
    shapes : output shapes of the nodes, by path
    output : shape of the network's output, which is that of `Heads`
    """
    for name, layer in box.children().items():
        own = f"{path}{name}"
        count = sum(prod(array.shape) for array in layer.params.values())
        kind = type(layer).__name__
        yield LayerRow(own, kind, _shape(own, layer, shapes, output), count, depth)
        if isinstance(layer, Container):
            yield from rows(layer, shapes, output, f"{own}.", depth + 1)


def _shape(path: str, layer: Layer, shapes: Mapping[str, Shape], output: Shapes) -> Shapes:
    """Return the output shape of a layer or container in its place."""
    if path in shapes:
        return shapes[path]
    assert isinstance(layer, Container)
    if isinstance(layer, Heads):
        return output
    name, last = list(layer.children().items())[-1]
    return _shape(f"{path}.{name}", last, shapes, output)
