"""A network as a table: a row for each layer."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from xpnet.layers import AuxiliaryHeads, Container, Heads, Layer, leaves
from xpnet.layers.base import Shape, Shapes, parameter_count
from xpnet.models.nodes import Node


class LayerRow(NamedTuple):
    """A line of a network's summary."""

    name: str
    kind: str
    output_shape: Shapes
    parameters: int
    depth: int = 0
    """The number of containers that the layer is in."""
    macs: int = 0
    """Multiplications, each with an addition, of convolutions and affine layers for a sample."""


def rows(
    box: Container,
    nodes: Mapping[str, Node],
    output: Shapes,
    path: str = "",
    depth: int = 0,
) -> Iterator[LayerRow]:
    """List the layers in a container, and after each container those in it.

    Parameters
    ----------
    nodes : of the network, by path
    output : shape of the network's output, which is that of `AuxiliaryHeads`
    """
    for name, layer in box.children().items():
        own = f"{path}{name}"
        within = [macs(nodes[place]) for place, _ in leaves(layer, own)]
        kind, shape = type(layer).__name__, _shape(own, layer, nodes, output)
        yield LayerRow(own, kind, shape, parameter_count(layer), depth, sum(within))
        if isinstance(layer, Container):
            yield from rows(layer, nodes, output, f"{own}.", depth + 1)


def macs(node: Node) -> int:
    """Multiplications of a layer in its place, for a sample; 0 of one that does not tell any."""
    counted = getattr(node.layer, "macs", None)
    return 0 if counted is None else counted(node.input_shape)


def _shape(path: str, layer: Layer, nodes: Mapping[str, Node], output: Shapes) -> Shapes:
    """Return the output shape of a layer or container in its place."""
    if path in nodes:
        return nodes[path].output_shape
    assert isinstance(layer, Container)
    if isinstance(layer, AuxiliaryHeads):
        return output
    if isinstance(layer, Heads):
        found: dict[str, Shape] = {}
        for name, head in layer.children().items():
            own = _shape(f"{path}.{name}", head, nodes, output)
            named = own.items() if isinstance(own, dict) else [("", own)]
            found |= {f"{name}.{inner}".rstrip("."): shape for inner, shape in named}
        return found
    name, last = list(layer.children().items())[-1]
    return _shape(f"{path}.{name}", last, nodes, output)
