"""Networks as engines compile them: operations on values, fused where they fit one kernel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from xpnet.layers import BatchNorm, Layer, Shape, Unpooled, learns
from xpnet.models.nodes import INPUT, Node

Fits: TypeAlias = Callable[[Sequence[Node]], bool]


@dataclass(frozen=True)
class Pattern:
    """Layers that one kernel can do, one reading the other.

    Attributes
    ----------
    kinds : for each place the classes that may stand there; subclasses may not
    fits : whether these nodes can be done by one kernel, beyond their classes
    """

    kinds: tuple[tuple[type[Layer], ...], ...]
    fits: Fits = lambda nodes: True

    def matches(self, nodes: Sequence[Node]) -> bool:
        """Tell whether the nodes are such layers."""
        return (
            len(nodes) == len(self.kinds)
            and all(type(n.layer) in kinds for n, kinds in zip(nodes, self.kinds, strict=True))
            and self.fits(nodes)
        )


@dataclass(frozen=True)
class Op:
    """One operation: it reads values, and puts one out, which has the number of the operation.

    Attributes
    ----------
    nodes : the layer that it does, and those that are fused with it, in order
    inputs : the numbers of the values that it reads, or INPUT
    need_dx : for each input, whether its gradient is needed: something below learns
    adds : for each input, whether its gradient is added to what another reader has left there;
        operations leave gradients in the reverse of their order
    need_grads : whether anything of it learns
    readers : how many inputs of operations read its value
    is_output : whether the network puts its value out, so that the loss leaves the first gradient
    meets : whether the parts of a batch must meet in it while training
    keeps_ties : whether its value reaches, through whatever, the pool of an `Unpooled`: equal
        numbers must then stay equal, for the places of maxima decide where values are put
    """

    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    need_dx: tuple[bool, ...]
    adds: tuple[bool, ...]
    need_grads: bool
    readers: int
    is_output: bool
    meets: bool
    keeps_ties: bool

    @property
    def layer(self) -> Layer:
        """The layer that it begins with."""
        return self.nodes[0].layer

    @property
    def name(self) -> str:
        """The path of the layer that it begins with."""
        return self.nodes[0].name

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The shapes of what it reads."""
        return self.nodes[0].input_shapes

    @property
    def output_shape(self) -> Shape:
        """The shape of what it puts out."""
        return self.nodes[-1].output_shape

    @property
    def names(self) -> dict[str, str]:
        """The network's names of the parameters of the layer that it begins with."""
        return self.nodes[0].names

    @property
    def need_dy(self) -> bool:
        """True if the gradient of its value is needed."""
        return self.need_grads or any(self.need_dx)


@dataclass(frozen=True)
class Lowered:
    """All operations of a network.

    Attributes
    ----------
    ops : in an order in which each comes after those that it reads
    outputs : the number of the value that the network puts out; by name if it ends in several heads
    """

    ops: tuple[Op, ...]
    outputs: int | dict[str, int]

    @property
    def output_numbers(self) -> tuple[int, ...]:
        """The numbers of all values that the network puts out."""
        return tuple(self.outputs.values()) if isinstance(self.outputs, dict) else (self.outputs,)

    def last_reader(self, value: int) -> int:
        """The last operation that reads a value, behind which its memory may be used again.

        The number of operations, which none has, for what the network puts out.
        """
        if value in self.output_numbers:
            return len(self.ops)
        return max((k for k, op in enumerate(self.ops) if value in op.inputs), default=value)

    def segments(self) -> list[range]:
        """The operations between the meetings of a training pass.

        The operation that a segment ends with meets: each part of the batch brings its sums there,
        and the next segment begins with what it makes of all of them. Backward they meet in reverse
        order.
        """
        ends = [k + 1 for k, op in enumerate(self.ops) if op.meets]
        bounds = [0, *ends, len(self.ops)]
        return [range(a, b) for a, b in pairwise(bounds) if a < b]


def lower(
    nodes: Sequence[Node],
    outputs: int | dict[str, int],
    patterns: Sequence[Pattern] = (),
    *,
    need_dx: bool = False,
    need_grads: bool = True,
) -> Lowered:
    """The operations of a network.

    Layers are fused where nobody but the next one reads what one puts out. Of the patterns that
    match at a node the longest is taken, of equals the first.

    Parameters
    ----------
    nodes, outputs : of the network
    patterns : what the engine can do by one kernel
    need_dx : whether the gradient of the network's input is needed
    need_grads : whether those of the parameters are
    """
    numbers = set(outputs.values()) if isinstance(outputs, dict) else {outputs}
    groups = _fused(nodes, numbers, patterns)
    op_of = {group[-1]: number for number, group in enumerate(groups)} | {INPUT: INPUT}
    # Whose gradient is needed: of a value below which something learns.
    below = {INPUT: need_dx}
    learn = []
    for number, group in enumerate(groups):
        learn.append(need_grads and any(learns_itself(nodes[k]) for k in group))
        below[number] = learn[-1] or any(below[op_of[v]] for v in nodes[group[0]].inputs)
    tied: set[int] = set()  # those above a pool whose places an Unpooled takes
    for number, group in reversed(list(enumerate(groups))):
        first = nodes[group[0]]
        for place, value in enumerate(first.inputs):
            if number in tied or takes_places(first, place):
                tied.add(op_of[value])
    left = {op_of[number] for number in numbers}  # gradients that there are already
    reads = [op_of[value] for group in groups for value in nodes[group[0]].inputs]
    ops: list[Op] = []
    for number, group in reversed(list(enumerate(groups))):
        first = nodes[group[0]]
        inputs, adds = tuple(op_of[value] for value in first.inputs), []
        needed = tuple(
            below[value] and differentiates(first, place) for place, value in enumerate(inputs)
        )
        for value, need in zip(inputs, needed, strict=True):
            adds.append(need and value in left)
            left |= {value} if need else set()
        ops.append(
            Op(
                tuple(nodes[k] for k in group),
                inputs,
                needed,
                tuple(adds),
                learn[number],
                reads.count(number),
                number in {op_of[k] for k in numbers},
                any(meets(nodes[k].layer) for k in group),
                number in tied,
            )
        )
    found = tuple(reversed(ops))
    if isinstance(outputs, dict):
        return Lowered(found, {name: op_of[k] for name, k in outputs.items()})
    return Lowered(found, op_of[outputs])


def meets(layer: Layer) -> bool:
    """Tell whether the parts of a batch must meet in a layer while training."""
    return type(layer) is BatchNorm and not layer.statistics_frozen


def learns_itself(node: Node) -> bool:
    """Tell whether a node has parameters that learn; those of a container are other nodes'."""
    return bool(node.names) and learns(node.layer)


def differentiates(node: Node, place: int) -> bool:
    """Tell whether a node passes a gradient to this one of its inputs."""
    return not takes_places(node, place)


def takes_places(node: Node, place: int) -> bool:
    """Tell whether a node takes but the places of the maxima from this one of its inputs.

    So an Unpooled does from its pool.
    """
    return isinstance(node.layer, Unpooled) and place == 1


def _fused(
    nodes: Sequence[Node], outputs: set[int], patterns: Sequence[Pattern]
) -> list[tuple[int, ...]]:
    """Numbers of nodes in groups, in the order of their last nodes."""
    readers: dict[int, list[int]] = {}
    for number, node in enumerate(nodes):
        for value in node.inputs:
            readers.setdefault(value, []).append(number)
    longest = max((len(pattern.kinds) for pattern in patterns), default=1)
    groups, taken = [], set()
    for number in range(len(nodes)):
        if number in taken:
            continue
        chain = [number]
        while len(chain) < longest and chain[-1] not in outputs:
            following = readers.get(chain[-1], [])
            if len(following) != 1 or len(nodes[following[0]].inputs) != 1:
                break
            chain.append(following[0])
        group = chain[:1]
        for length in range(len(chain), 1, -1):
            if any(pattern.matches([nodes[k] for k in chain[:length]]) for pattern in patterns):
                group = chain[:length]
                break
        taken |= set(group)
        groups.append(tuple(group))
    return sorted(groups, key=lambda group: group[-1])
