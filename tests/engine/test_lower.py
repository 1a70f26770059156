"""The operations of engines: what is fused, what is needed and added, when memory is free."""

import pytest

from branching import BRANCHING, heads, inception, resnet, unpooled
from xpnet.engine.lower import Pattern, lower
from xpnet.layers import (
    Affine,
    BatchNorm,
    Concatenate,
    Convolution,
    Dropout,
    Identity,
    MaxPool,
    ReLU,
    Residual,
    Sigmoid,
    Sum,
    Unpooled,
)
from xpnet.models import Network
from xpnet.models.nodes import INPUT

PATTERNS = [
    Pattern(((Convolution, Affine, BatchNorm), (ReLU, Sigmoid))),
    Pattern(((Convolution, Affine), (ReLU, Sigmoid), (Dropout,))),
    Pattern(((Residual, Sum), (ReLU,))),
]


def ops_of(network, patterns=PATTERNS, **needs):
    return {op.name: op for op in lowered(network, patterns, **needs).ops}


def lowered(network, patterns=PATTERNS, **needs):
    return lower(network.nodes(), network.outputs, patterns, **needs)


def row(*layers):
    return Network(list(layers), input_shape=(4,))


def fused(network, patterns=PATTERNS):
    return [[type(n.layer).__name__ for n in op.nodes] for op in lowered(network, patterns).ops]


def test_the_longest_pattern_is_taken():
    net = row(Affine(4, 4), ReLU(), Dropout(), Affine(4, 4), Sigmoid(), Affine(4, 4), Dropout())
    assert fused(net) == [
        ["Affine", "ReLU", "Dropout"], ["Affine", "Sigmoid"], ["Affine"], ["Dropout"],
    ]  # fmt: skip
    assert fused(net, []) == [[type(n.layer).__name__] for n in net.nodes()]


def test_classes_are_exact_and_fits_is_asked():
    class Leaky(ReLU):
        pass

    assert fused(row(Affine(4, 4), Leaky())) == [["Affine"], ["Leaky"]]
    never = [Pattern(((Affine,), (ReLU,)), fits=lambda nodes: False)]
    assert fused(row(Affine(4, 4), ReLU()), never) == [["Affine"], ["ReLU"]]


def test_what_others_read_is_not_fused_away():
    """The first ReLU would hide the Affine's value from the sum; the second, nobody else reads."""
    net = row(Affine(4, 4), Residual([ReLU(), Affine(4, 4), ReLU()]))
    assert fused(net) == [["Affine"], ["ReLU"], ["Affine", "ReLU"], ["Residual"]]
    net = Network([Affine(4, 4, rng=0), Concatenate([ReLU(), Identity()])])
    assert fused(net) == [["Affine"], ["ReLU"], ["Identity"], ["Concatenate"]]


def test_what_reads_several_is_not_fused_into_one_of_them():
    net = row(Sum([Affine(4, 4), Affine(4, 4)]))
    assert fused(net, [Pattern(((Affine,), (Sum,)))]) == [["Affine"], ["Affine"], ["Sum"]]


def test_sums_are_fused_with_what_follows():
    ops = ops_of(resnet((2, 3), 1))
    assert [n.name for n in ops["layer1.0"].nodes] == ["layer1.0", "layer1.relu0"]
    assert ops["layer1.0"].output_shape == (2, 14, 14)
    assert ops["bn1"].readers == 2


@pytest.mark.parametrize("name", BRANCHING)
@pytest.mark.parametrize("patterns", [[], PATTERNS], ids=["alone", "fused"])
def test_every_gradient_is_left_once_before_it_is_read(name, patterns):
    """Backwards, as an engine goes: no sum begins in memory that holds something else."""
    low = lowered(BRANCHING[name](), patterns)
    left = dict.fromkeys(low.output_numbers, 1)  # by the loss
    for number, op in reversed(list(enumerate(low.ops))):
        assert op.need_dy == (number in left), op.name
        for value, need, adds in zip(op.inputs, op.need_dx, op.adds, strict=True):
            assert value < number
            assert adds == (need and value in left), op.name
            if need:
                left[value] = left.get(value, 0) + 1
    for number, op in enumerate(low.ops):
        assert op.need_grads == any(node.names for node in op.nodes), op.name
        assert op.readers == sum(other.inputs.count(number) for other in low.ops)
    assert INPUT not in left


def test_what_learns_decides_what_is_needed():
    net = resnet((2, 3), 1)
    net.freeze("conv1", "bn1", "layer1")
    ops = ops_of(net)
    assert not ops["layer1.0"].need_dy
    assert ops["layer2.0.conv1"].need_dx == (False,)
    assert ops["layer2.0.conv1"].need_grads
    assert ops["layer2.0.bn1"].need_dx == (True,)
    ops = ops_of(net, need_dx=True)
    assert ops["conv1"].need_dx == (True,)
    assert not ops["conv1"].need_grads
    ops = ops_of(net, need_dx=True, need_grads=False)
    assert not any(op.need_grads for op in ops.values())
    assert all(any(op.need_dx) for op in ops.values())
    assert not any(op.need_dy for op in ops_of(net, need_grads=False).values())


def test_of_its_pool_an_unpooling_takes_the_places_alone():
    ops = ops_of(unpooled())
    assert ops["scope"].need_dx == (True, False)
    assert ops["scope.pool"].readers == 2
    assert ops["scope.enc2"].adds == (False,)


def test_equal_numbers_stay_equal_above_a_pool_whose_places_are_taken():
    """Above the outer one, too: what is put back in the middle of it reaches its end alone."""
    net = Network(
        [
            Convolution(2, 4, 3, pad=1),
            Unpooled([Convolution(4, 4, 3, pad=1), Unpooled([Sigmoid()]), Convolution(4, 4, 1)]),
            MaxPool(2, stride=2),
        ],
        input_shape=(2, 8, 8),
    )
    assert [(type(op.layer).__name__, op.keeps_ties) for op in lowered(net).ops] == [
        ("Convolution", True), ("MaxPool", True), ("Convolution", True), ("MaxPool", True),
        ("Sigmoid", False), ("Unpooled", False), ("Convolution", False), ("Unpooled", False),
        ("MaxPool", False),
    ]  # fmt: skip
    branches = Residual([Convolution(2, 2, 3, pad=1), ReLU()], Convolution(2, 2, 1))
    net = Network([branches, Unpooled([Identity()])], input_shape=(2, 8, 8))
    *above, pool, identity, back = lowered(net).ops
    assert all(op.keeps_ties for op in (*above, pool))
    assert not identity.keeps_ties
    assert not back.keeps_ties


def test_heads_are_outputs_whose_gradients_the_loss_leaves():
    low = lowered(heads())
    assert {name: low.ops[k].name for name, k in low.outputs.items()} == {
        "digit": "heads.digit.fc", "parts": "heads.parts.fc2",
    }  # fmt: skip
    assert [op.name for op in low.ops if op.is_output] == ["heads.digit.fc", "heads.parts.fc2"]


def test_memory_is_free_behind_the_last_reader():
    low = lowered(inception())
    names = [op.name for op in low.ops]
    assert low.last_reader(names.index("conv")) == names.index("3a.branch4.pool")
    assert low.last_reader(INPUT) == 0
    assert low.last_reader(len(low.ops) - 1) == len(low.ops)


def test_segments_end_where_the_parts_of_a_batch_meet():
    low = lowered(resnet((2, 3), 1))
    segments = low.segments()
    assert [k for segment in segments for k in segment] == list(range(len(low.ops)))
    for segment in segments[:-1]:
        assert [low.ops[k].meets for k in segment] == [False] * (len(segment) - 1) + [True]
    assert not any(low.ops[k].meets for k in segments[-1])
    assert len(lowered(inception()).segments()) == 1
    behind = [Pattern(((Convolution,), (BatchNorm,)))]
    assert len(lowered(resnet((2, 3), 1), behind).segments()) == len(segments)
