"""Networks that branch, and an engine's contract: the CPU's engine against `Network` itself.

Errors are relative to the largest number of an array, or of all gradients: where one is 0 but for
rounding, as that of a bias in front of BatchNorm, no digit is right.
"""

import gc
import threading
import tracemalloc

import numpy as np
import pytest

from branching import by_name
from xpnet import (
    L2,
    SGD,
    Affine,
    AuxiliaryHeads,
    AveragePool,
    BatchNorm,
    Convolution,
    Dropout,
    IdentityWithLoss,
    MaxPool,
    Network,
    ReLU,
    Sequential,
    Sigmoid,
    SigmoidWithLoss,
    SoftmaxWithLoss,
)
from xpnet.engine import ReferenceEngine, get_engine
from xpnet.engine.cpu import CpuEngine
from xpnet.engine.cpu.division import FEWEST
from xpnet.engine.cpu.join import RectifiedSum
from xpnet.engine.cpu.norm import Moments, Normalize
from xpnet.engine.cpu.worker import added
from xpnet.errors import ArgumentError, EngineError
from xpnet.layers import (
    Concatenate,
    GlobalAveragePool,
    Heads,
    HeadsWithLoss,
    Identity,
    PadShortcut,
    Residual,
    Sum,
    Unpooled,
)

# float64. The worst here is 9e-15 without BatchNorm; of parts that meet, moments and sums are
# rounded in another order, and the worst is 5e-14.
EXACT = 1e-12
TRAINED = 1e-11


class Seeds:
    """Numbers for layers, so that two networks are equal and all their layers differ."""

    def __init__(self):
        self.last = 0

    def next(self):
        self.last += 1
        return self.last


def conv(seeds, channels, filters, window=3, **options):
    if isinstance(window, int):
        options = {"pad": window // 2} | options
    return Convolution(channels, filters, window, rng=seeds.next(), **options)


def affine(seeds, n_in, n_out=10, **options):
    return Affine(n_in, n_out, rng=seeds.next(), **options)


def block(s, channels, filters, stride=1):
    """Of He et al., with the shortcut of option A."""
    body = [
        conv(s, channels, filters, stride=stride, bias=False, uneven="drop"),
        BatchNorm(filters),
        ReLU(),
        conv(s, filters, filters, bias=False),
        BatchNorm(filters),
    ]
    shortcut = None if channels == filters else PadShortcut(stride, filters)
    return Sequential({"body": Residual(body, shortcut), "relu": ReLU()})


def resnet(s, k, blocks=3, width=8):
    """ResNet-20 if there are 3 blocks a stage."""
    layers = [conv(s, 1, width, bias=False), BatchNorm(width), ReLU()]
    channels = width
    for stage in range(3):
        for number in range(blocks):
            filters = width << stage
            layers.append(block(s, channels, filters, 2 if stage and not number else 1))
            channels = filters
    return Network([*layers, GlobalAveragePool(), affine(s, channels)], input_shape=(1, 8, 8), **k)


def inception(s, channels, a, b, c, d):
    return Concatenate(
        [
            Sequential([conv(s, channels, a, 1), ReLU()]),
            Sequential([conv(s, channels, 3, 1), ReLU(), conv(s, 3, b), ReLU()]),
            Sequential([conv(s, channels, 2, 1), ReLU(), conv(s, 2, c, 5), ReLU()]),
            Sequential([MaxPool(3, stride=1, pad=1), conv(s, channels, d, 1), ReLU()]),
        ]
    )


def googlenet(s, k):
    return Network(
        [
            conv(s, 1, 4), ReLU(), MaxPool(2, stride=2),
            inception(s, 4, 2, 4, 3, 1), inception(s, 10, 3, 2, 1, 2), AveragePool(2, stride=2),
            Dropout(0.3, rng=1), affine(s, 8 * 9),
        ],
        input_shape=(1, 12, 12), **k,
    )  # fmt: skip


def segnet(s, k, shape=(1, 8, 12)):
    """Of which the outer windows leave nothing over, and the inner ones do."""
    inner = Unpooled([conv(s, 4, 4), BatchNorm(4), ReLU()], 3)
    return Network(
        [
            conv(s, 1, 4), ReLU(),
            Unpooled([ReLU(), conv(s, 4, 4, bias=False), inner, Sigmoid()]),
            conv(s, 4, 2, 1),
        ],
        IdentityWithLoss(), input_shape=shape, **k,
    )  # fmt: skip


def heads(s, k):
    losses = {
        "kind": SoftmaxWithLoss(0.1),
        "box.where": IdentityWithLoss(),
        "box.far": SigmoidWithLoss(),
    }
    return Network(
        [
            conv(s, 1, 4), BatchNorm(4), ReLU(), MaxPool(2, stride=2),
            Heads(
                {
                    "kind": Sequential([affine(s, 4 * 9, 7), ReLU(), affine(s, 7, 10, bias=False)]),
                    "box": Sequential(
                        [conv(s, 4, 3), ReLU(),
                         Heads({"where": affine(s, 27, 4), "far": affine(s, 27, 3)})]
                    ),
                }
            ),
        ],
        HeadsWithLoss(losses, {"box.where": 0.25, "box.far": 2.0}),
        penalty=L2(0.1), input_shape=(1, 6, 6), **k,
    )  # fmt: skip


def knots(s, k):
    """Values with many readers of all kinds, joins in joins, and a network that begins with one."""
    tangle = Sum(
        [
            Identity(),
            Sequential([ReLU(), Dropout(0.4, inverted=True, rng=2)]),
            Sequential([MaxPool(3, stride=1, pad=1), Sigmoid()]),
            Concatenate(
                [conv(s, 6, 2), Sequential([Sum([ReLU(), conv(s, 6, 6)]), conv(s, 6, 4, 1)])]
            ),
            Residual([Residual([BatchNorm(6), conv(s, 6, 6, bias=False)]), ReLU()]),
        ]
    )
    return Network(
        [
            Concatenate([Identity(), conv(s, 2, 3), Dropout(0.2, rng=3), Sum([conv(s, 2, 1)])]),
            # 8 channels
            Residual([ReLU(), conv(s, 8, 8)], conv(s, 8, 8, 1)), ReLU(), conv(s, 8, 6), tangle,
            Concatenate([MaxPool(2, stride=2), AveragePool(2, stride=2), PadShortcut(2, 7)]),
            Sum(
                [
                    Sequential([conv(s, 19, 5), ReLU()]),
                    Sequential([PadShortcut(1, 23), conv(s, 23, 5, 1, bias=False)]),
                ]
            ),
            affine(s, 5 * 9),
        ],
        input_shape=(2, 6, 6), **k,
    )  # fmt: skip


def rows(s, k):
    """No images at all; a value is read by two products, and features are joined."""
    return Network(
        [
            Residual([affine(s, 9, 9), BatchNorm(9), ReLU()]),
            Concatenate(
                [
                    affine(s, 9, 4),
                    ReLU(),
                    Sequential([affine(s, 9, 5, bias=False), Dropout(0.5, rng=4)]),
                ]
            ),
            BatchNorm(18), ReLU(), affine(s, 18),
        ],
        input_shape=(9,), **k,
    )  # fmt: skip


def unbiased(s, k):
    """Each way of convolving, without biases."""
    return Network(
        [
            conv(s, 1, 3, bias=False), ReLU(), conv(s, 3, 8, bias=False), ReLU(),
            conv(s, 8, 5, (3, 2), bias=False), GlobalAveragePool(),
            affine(s, 5, 6, bias=False), ReLU(), affine(s, 6, bias=False),
        ],
        input_shape=(1, 8, 8), **k,
    )  # fmt: skip


def row_with_heads(s, k):
    row = [
        conv(s, 1, 4), BatchNorm(4), ReLU(), conv(s, 4, 5), ReLU(), MaxPool(2, stride=2),
        affine(s, 5 * 9, 10),
    ]  # fmt: skip
    low = Sequential([conv(s, 4, 2, 1), affine(s, 72, 10)])
    losses = {"main": SoftmaxWithLoss(), "low": SoftmaxWithLoss(), "high": IdentityWithLoss()}
    return Network(
        AuxiliaryHeads(row, {"low": ("ReLU1", low), "high": ("MaxPool1", affine(s, 45, 3))}),
        HeadsWithLoss(losses, {"low": 0.3}, main="main"), input_shape=(1, 6, 6), **k,
    )  # fmt: skip


MAKE = {
    "ResNet-20": resnet,
    "Inception modules": googlenet,
    "Unpooled": segnet,
    "Unpooled of odd images": lambda s, k: segnet(s, k, (1, 9, 11)),
    "heads": heads,
    "a row that heads read": row_with_heads,
    "knots": knots,
    "rows": rows,
    "without biases": unbiased,
}  # fmt: skip
EACH = pytest.mark.parametrize("name", MAKE)
PARTS = pytest.mark.parametrize("threads", [1, 2])


def net_of(name, dtype="float64"):
    """The network, with random biases and scales."""
    net, rng = MAKE[name](Seeds(), {"dtype": dtype}), np.random.default_rng(5)
    for key, array in net.params.items():
        if not key.endswith("W"):
            net.params[key] = array + 0.3 * rng.standard_normal(array.shape)
    return net


def batch(net, n, seed=0):
    """Samples, and targets that suit the loss; one array, or one for each head."""
    rng = np.random.default_rng([n, seed])
    x = rng.standard_normal((n, *net.input_shape)).astype(net.dtype)

    def targets(loss, shape):
        if isinstance(loss, SoftmaxWithLoss):
            return rng.integers(shape[0], size=n)
        return rng.uniform(0, 1, (n, *shape)).astype(net.dtype)

    if isinstance(net.last_layer, HeadsWithLoss):
        losses = net.last_layer.losses
        return x, {key: targets(loss, net.output_shape[key]) for key, loss in losses.items()}
    return x, targets(net.last_layer, net.output_shape)


def assert_near(got, want, tol=EXACT, name="", *, least=0.0):
    assert got.shape == want.shape, name
    assert got.dtype == want.dtype, name
    limit = tol * max(least, float(np.max(np.abs(want))))
    np.testing.assert_allclose(got, want, rtol=0, atol=limit, err_msg=name)


def assert_same(got, want, tol=EXACT):
    """Outputs or targets: one array, or by name."""
    assert list(by_name(got)) == list(by_name(want))
    for key, array in by_name(want).items():
        assert_near(by_name(got)[key], array, tol, key)


def assert_same_grads(got, want, net, tol=EXACT):
    """Every gradient; 0 where nothing learns."""
    assert list(got) == list(net.params)
    least = 0.1 * max(float(np.max(np.abs(grad))) for grad in want.values())
    for key, array in got.items():
        if key in want:
            assert_near(array, want[key], tol, key, least=least)
        else:
            assert not np.any(array), key


def assert_same_state(net, other, tol=EXACT):
    assert list(net.state) == list(other.state)
    for key, array in other.state.items():
        assert_near(net.state[key], array, tol, key)


# What it computes


@pytest.mark.parametrize(
    ("threads", "compiled"), [(1, None), (2, None), (2, False)], ids=["1", "2", "2 numpy"]
)
@EACH
def test_a_network_that_branches_is_itself(name, threads, compiled):
    """Loss, outputs, gradient, state and predictions, batch after batch with the same engine."""
    net, other = net_of(name), net_of(name)
    engine = get_engine(net, threads=threads, compiled=compiled)
    assert isinstance(engine, CpuEngine)
    for n in (1, 7, 33, 120, 7):
        x, t = batch(net, n)
        loss, outputs, grads = engine.loss_and_gradient(x, t)
        want_loss, want_outputs, want = other.loss_and_gradient(x, t)
        assert_near(loss, np.asarray(want_loss), name="loss")
        assert_same(outputs, want_outputs)
        assert_same_grads(grads, want, net)
        assert_same_state(net, other)
        assert_same(engine.predict(x), other.predict(x))


@PARTS
@EACH
def test_forward_and_backward_are_the_networks(name, threads):
    """While training and not, of whatever is needed; samples and gradients stay as they are."""
    net, other = net_of(name), net_of(name)
    engine, rng = get_engine(net, threads=threads), np.random.default_rng(0)
    for n, train in ((7, True), (33, False), (33, True), (120, True)):
        x, _ = batch(net, n)
        for need_dx, need_grads in ((True, True), (False, True), (True, False), (False, False)):
            y, backward = engine.forward(x, train=train)
            want_y, want_backward = other.forward(x, train=train)
            assert_same(y, want_y)
            dy = {key: rng.standard_normal(each.shape) for key, each in by_name(want_y).items()}
            dy = dy if isinstance(want_y, dict) else dy[""]
            kept = x.copy(), {key: each.copy() for key, each in by_name(dy).items()}
            dx, grads = backward(dy, need_dx=need_dx, need_grads=need_grads)
            want_dx, want = want_backward(dy)
            if need_dx:
                assert_near(dx, want_dx, name="dx")
            else:
                assert dx is None
            if need_grads:
                assert_same_grads(grads, want, net)
            else:
                assert grads == {}
            np.testing.assert_array_equal(x, kept[0])
            for key, each in by_name(dy).items():
                np.testing.assert_array_equal(each, kept[1][key])
            assert_same_state(net, other)


@EACH
def test_training_goes_the_same_way(name):
    """Twenty steps, each from where the one before has led."""
    net, other = net_of(name), net_of(name)
    engine, ours, theirs = get_engine(net, threads=2), SGD(0.01), SGD(0.01)
    for k in range(20):
        x, t = batch(net, 33, k)
        ours.update(net.params, engine.loss_and_gradient(x, t)[2])
        theirs.update(other.params, other.loss_and_gradient(x, t)[2])
    for key, want in other.params.items():
        assert_near(net.params[key], want, TRAINED, key)
    assert_same_state(net, other, TRAINED)


@PARTS
@EACH
def test_results_repeat_bit_for_bit(name, threads):
    """However threads come to their meetings."""
    found = []
    for _ in range(2):
        net = net_of(name, "float32")
        engine, optimizer = get_engine(net, threads=threads), SGD(0.01)
        for k in range(4):
            optimizer.update(net.params, engine.loss_and_gradient(*batch(net, 70, k))[2])
        found.append([net.params.flat, *net.state.values()])
    for one, again in zip(*found, strict=True):
        np.testing.assert_array_equal(one, again)


def test_one_target_array_serves_all_heads():
    losses = {"a": SoftmaxWithLoss(), "b": SoftmaxWithLoss()}
    net, other = (
        Network([Heads({key: Affine(4, 3, rng=5) for key in losses})], HeadsWithLoss(losses),
                input_shape=(4,), dtype="float64")
        for _ in range(2)
    )  # fmt: skip
    x, t = np.random.default_rng(0).standard_normal((6, 4)), np.arange(6) % 3
    loss, _, grads = get_engine(net).loss_and_gradient(x, t)
    want_loss, _, want = other.loss_and_gradient(x, t)
    assert_near(loss, np.asarray(want_loss))
    assert_same_grads(grads, want, net)


def test_a_loss_of_somebody_else_may_take_several_outputs():
    class Apart:
        def forward(self, x, t):
            d = x["a"] - x["b"]
            return 0.5 * np.sum(d**2), lambda dout=1.0: {"a": dout * d, "b": -dout * d}

    net, other = (
        Network([conv(s := Seeds(), 1, 2), Heads({"a": affine(s, 50, 3), "b": affine(s, 50, 3)})],
                Apart(), input_shape=(1, 5, 5), dtype="float64")
        for _ in range(2)
    )  # fmt: skip
    engine = get_engine(net, threads=2)
    x, t = np.random.default_rng(0).standard_normal((60, 1, 5, 5)), np.zeros(60)
    assert len(engine.division(60).shares) == 1
    loss, _, grads = engine.loss_and_gradient(x, t)
    want_loss, _, want = other.loss_and_gradient(x, t)
    assert_near(loss, np.asarray(want_loss))
    assert_same_grads(grads, want, net)


def test_values_live_with_those_that_read_them():
    """Of two branches that are joined, ReLU writes where the join is read."""
    net = net_of("Inception modules")
    engine = get_engine(net, threads=1)
    engine.loss_and_gradient(*batch(net, 8))
    (program,) = engine._workers[0]._programs
    join = next(k for k in program._kernels if isinstance(k.op.layer, Concatenate))
    assert all(np.shares_memory(x, join.y) for x in join.inputs)
    assert join.number in program._buffers.homes.values()


def test_values_share_memory_that_is_as_large_as_the_largest_needs():
    """None is left in a piece that was too small for a later one, and has been replaced."""
    net = net_of("ResNet-20")
    engine = get_engine(net, threads=1)
    engine.loss_and_gradient(*batch(net, 8))
    (program,) = engine._workers[0]._programs
    pieces = list(program._buffers._memory._buffers.values())
    homes = program._buffers.homes
    values = [
        y for k, y in program._y.items()
        if k not in homes and k >= 0 and not program._kernels[k].owns_y
    ]  # fmt: skip
    assert len(values) > 9
    assert all(any(np.shares_memory(y, piece) for piece in pieces) for y in values)


@pytest.mark.parametrize("compiled", [False, None])
def test_one_branch_of_a_sum_has_the_gradient_of_the_sum_itself(compiled):
    """The other one gets it as a copy, or as a summand."""
    engine = get_engine(net_of("ResNet-20"), threads=1, compiled=compiled)
    engine.loss_and_gradient(*batch(engine.network, 10))
    (program,) = engine._workers[0]._programs
    sums = [k for k in program._kernels if isinstance(k, RectifiedSum)]
    assert len(sums) == 9
    for kernel in sums:
        assert [dx is kernel.dy for dx in kernel.gradients] == [True, False]


def test_what_is_fused_is_told():
    methods = get_engine(net_of("ResNet-20")).methods()
    own = {name: how for name, how in methods.items() if name.startswith("Sequential4.")}
    assert own == {
        "Sequential4.body.Convolution1": "shift-GEMM",
        "Sequential4.body.BatchNorm1": "moments, then scale, shift and ReLU",
        "Sequential4.body.ReLU1": "in Sequential4.body.BatchNorm1",
        "Sequential4.body.Convolution2": "Winograd F(4x4,3x3)",
        "Sequential4.body.BatchNorm2": "moments, then scale and shift",
        "Sequential4.body.downsample": "pixels and zeros",
        "Sequential4.body": "sum with ReLU",
        "Sequential4.relu": "in Sequential4.body",
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("threads", [1, 2])
def test_on_even_ground_an_unpooling_puts_values_where_the_layers_do(dtype, threads):
    """Where windows tie exactly; Winograd's rounding would part them."""
    net = Network(
        [
            Convolution(2, 4, 3, pad=1, rng=0), ReLU(),
            Unpooled([Convolution(4, 4, 3, pad=1, rng=1), ReLU()]),
            Convolution(4, 2, 3, pad=1, rng=2), Affine(512, 3, rng=3),
        ],
        input_shape=(2, 16, 16), dtype=dtype,
    )  # fmt: skip
    net.params["Convolution1.b"][...] = 0.1
    x = np.zeros((8, 2, 16, 16))
    x[:, :, 5:11, 6:9] = np.random.default_rng(0).random((8, 2, 6, 3))
    engine = CpuEngine(net, threads)
    limit = (EXACT if dtype == "float64" else 1e-5) * np.max(np.abs(net.predict(x)))
    np.testing.assert_allclose(engine.predict(x), net.predict(x), rtol=0, atol=limit)
    methods = engine.methods()
    assert methods["Convolution1"] == "shift-GEMM"
    assert methods["Convolution2"].startswith("Winograd")


class OfTheBatch(IdentityWithLoss):
    """A loss of one's own, for which the batch stays whole: the square of the mean error's half."""

    def forward(self, y, t):
        loss, backward = super().forward(y, t)
        return loss**2, lambda: 2 * loss * backward()


def test_another_loss_is_taken_up():
    """Between batches, with all that depends on it: whether the batch is divided, for one."""

    def net():
        layers = [Convolution(1, 2, 3, rng=0), ReLU(), Affine(72, 3, rng=1)]
        return Network(layers, input_shape=(1, 8, 8), dtype="float64")

    n = 4 * FEWEST
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((n, 1, 8, 8)), rng.random((n, 3))
    t /= t.sum(axis=1, keepdims=True)
    net, reference = net(), net()
    engine, losses = CpuEngine(net, 2), [SoftmaxWithLoss(), IdentityWithLoss(), OfTheBatch()]
    for loss in [*losses, SoftmaxWithLoss(0.5)]:
        net.last_layer = reference.last_layer = loss
        got, _, grads = engine.loss_and_gradient(x, t)
        want, _, want_grads = reference.loss_and_gradient(x, t)
        assert_near(got, want, EXACT)
        for name, grad in want_grads.items():
            assert_near(grads[name], grad, EXACT, name)
        workers = engine._workers
        engine.loss_and_gradient(x, t)
        assert engine._workers is workers  # nothing is compiled anew without a reason


class Scale:
    """A layer of one's own, y = g x, which answers as it is told to."""

    def __init__(self, **answers):
        self.params = {"g": np.ones(1), "h": np.ones(2)}
        self.answers = answers

    def forward(self, x, *, train=False):
        def backward(dy, need_dx=True, need_grads=True):
            grads = {"g": np.sum(dy * x).reshape(1), "h": np.zeros(2)}
            return self.answers.get("dx", self.params["g"] * dy), self.answers.get("grads", grads)

        return self.answers.get("y", self.params["g"] * x), backward

    def output_shape(self, shape):
        return shape


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"grads": {}}, "backward must give the gradients of g, h, got none; give one for each of"),
        ({"grads": {"g": np.ones(1)}}, "backward must give the gradients of g, h, got g; give one"),
        ({"grads": {"g": 7.0, "h": np.ones(2)}}, r"the gradient of g must have shape \(1,\), got"),
        ({"grads": {"g": np.ones(1), "h": np.ones(3)}}, r"h must have shape \(2,\), got \(3,\);"),
        ({"dx": np.ones((1, 4))}, r"dx must have shape \(5, 4\), got \(1, 4\); see its forward"),
        ({"dx": None}, r"dx must have shape \(5, 4\), got None; see"),
        ({"y": np.ones((5, 3))}, r"the output must have shape \(5, 4\), got \(5, 3\); see"),
        ({"y": np.ones((5, 1))}, r"the output must have shape \(5, 4\), got \(5, 1\); see"),
    ],
)
def test_what_a_layer_of_ones_own_answers_must_fit(answers, told):
    """What it leaves out would else be what it gave for the batch before."""
    layer = Scale()
    net = Network([Affine(4, 4, rng=0), layer, Affine(4, 3, rng=1)], input_shape=(4,))
    x, t = np.ones((5, 4), dtype=net.dtype), np.zeros(5, dtype=int)
    engine = CpuEngine(net, 1)
    engine.loss_and_gradient(x, t)
    layer.answers = answers
    with pytest.raises(ArgumentError, match=f"^layer Scale1: .*{told}"):
        engine.loss_and_gradient(x, t)
    layer.answers = {}
    engine.loss_and_gradient(x, t)


# Parts that meet


def test_while_training_nothing_goes_by_running_statistics(monkeypatch):
    def failing(self):
        pytest.fail("a training pass reads running statistics")

    monkeypatch.setattr(Normalize, "forward", failing)
    net = net_of("ResNet-20")
    get_engine(net, threads=2, compiled=False).loss_and_gradient(*batch(net, 40))


@pytest.mark.parametrize("name", ["ResNet-20", "heads"])
def test_batches_are_divided_though_batch_norm_sees_all(name):
    division = get_engine(net_of(name), threads=2).division(120)
    assert [[end - first for first, end in share] for share in division.shares] == [
        [30, 30], [30, 30]
    ]  # fmt: skip


def test_moments_of_parts_are_those_of_all():
    """Of numbers whose mean is large beside what they differ by."""
    x = np.random.default_rng(0).standard_normal((50, 3)) + 1e4

    def moments(x):
        return Moments(len(x), x.mean(axis=0), ((x - x.mean(axis=0)) ** 2).sum(axis=0))

    total = added([moments(x[:7]), moments(x[7:8]), moments(x[8:])])
    assert total.count == 50
    np.testing.assert_allclose(total.mean, x.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(total.squares, 50 * x.var(axis=0), rtol=1e-11)


def test_one_function_sees_what_all_parts_bring():
    """In the order of the parts, forward and backward, once for each BatchNorm."""
    seen = []

    def counting(parts):
        seen.append([part.count if isinstance(part, Moments) else part.shape for part in parts])
        return added(parts)

    net = net_of("ResNet-20")
    engine = CpuEngine(net, 2, reduce=counting)
    engine.loss_and_gradient(*batch(net, 2 * FEWEST + 1))
    counts = [640, 704]  # 8 x 8 pixels of 10 and of 11 samples
    norms = sum(isinstance(node.layer, BatchNorm) for node in net.nodes())
    assert seen[0] == counts
    assert seen[norms] == [(2, 32)] * 2
    assert len(seen) == 2 * norms


def test_two_engines_with_half_a_batch_each_are_one_with_the_whole():
    """As two devices would be, whose function exchanges what each of them has added up."""
    net, twin, other = (net_of("ResNet-20") for _ in range(3))
    x, t = batch(net, 40)
    barrier, brought, grads = threading.Barrier(2), {}, {}

    def compute(number, net):
        def reduce(parts):
            brought[number] = added(parts)
            barrier.wait()
            total = added([brought[0], brought[1]])
            barrier.wait()
            return total

        half = slice(20 * number, 20 * number + 20)
        engine = CpuEngine(net, 2, reduce=reduce)
        grads[number] = engine.loss_and_gradient(x[half], t[half])[2]

    threads = [threading.Thread(target=compute, args=each) for each in enumerate((net, twin))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    # The loss of each is a mean over its half, and so are all gradients, also those that met.
    got = {key: (grads[0][key] + grads[1][key]) / 2 for key in net.params}
    _, _, want = other.loss_and_gradient(x, t)
    assert_same_grads(got, want, net)
    assert_same_state(net, other)
    assert_same_state(twin, other)


@pytest.mark.parametrize("where", ["main thread", "other thread"])
def test_an_error_in_a_part_that_others_wait_for_reaches_the_caller(where, monkeypatch):
    """Nobody waits for ever, running statistics stay, and afterwards the engine works."""
    net, other = net_of("ResNet-20"), net_of("ResNet-20")
    engine, x = get_engine(net, threads=2, compiled=False), batch(net, 40)
    bring, calls = Normalize.bring_back, []

    def failing(self):
        calls.append(1)
        main = threading.current_thread() is threading.main_thread()
        if len(calls) > 6 and main == (where == "main thread"):
            raise RuntimeError("no power")
        return bring(self)

    monkeypatch.setattr(Normalize, "bring_back", failing)
    with pytest.raises(RuntimeError, match=r"^no power$"):
        engine.loss_and_gradient(*x)
    monkeypatch.undo()
    assert_same_state(net, other)
    _, _, grads = engine.loss_and_gradient(*x)
    assert_same_grads(grads, other.loss_and_gradient(*x)[2], net)


@pytest.mark.parametrize(("train", "need_dx"), [(False, True), (True, False)])
def test_what_parts_brought_to_a_step_that_failed_is_forgotten(train, need_dx, monkeypatch):
    """Where the next way back has no meeting: it is not training, or nothing below is needed."""
    net, other = (
        Network([BatchNorm(4), Affine(4, 3, rng=0)], input_shape=(4,), dtype="float64")
        for _ in range(2)
    )
    engine, rng = get_engine(net, threads=1, compiled=False), np.random.default_rng(0)
    dy = rng.standard_normal((8, 3))

    def failing(self, need_dx, need_grads):
        raise RuntimeError("no power")

    with monkeypatch.context() as patch:
        patch.setattr(Normalize, "backward", failing)
        _, backward = engine.forward(rng.standard_normal((8, 4)), train=True)
        with pytest.raises(RuntimeError, match="no power"):
            backward(dy)
    other.restore_state(net.copied_state())
    x = rng.standard_normal((8, 4))
    dx, grads = engine.forward(x, train=train)[1](dy, need_dx=need_dx)
    want_dx, want = other.forward(x, train=train)[1](dy)
    assert_same_grads(grads, want, net)
    if need_dx:
        assert_near(dx, want_dx, name="dx")


def test_a_batch_of_which_there_is_no_variance_is_refused_as_by_the_layer():
    net, other = (
        Network([Affine(4, 3, rng=0), BatchNorm(3, ddof=1)], dtype="float64") for _ in range(2)
    )
    x, t = np.zeros((1, 4)), np.zeros(1, int)
    with pytest.raises(ArgumentError) as want:
        other.loss_and_gradient(x, t)
    with pytest.raises(ArgumentError) as got:
        get_engine(net).loss_and_gradient(x, t)
    assert str(got.value) == str(want.value)
    x, t = np.random.default_rng(0).standard_normal((5, 4)), np.zeros(5, int)
    _, _, grads = get_engine(net).loss_and_gradient(x, t)
    assert_same_grads(grads, other.loss_and_gradient(x, t)[2], net)
    assert_same_state(net, other)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_network_that_ends_in_a_norm_is_itself(threads):
    """While not training by its running statistics, though parts would meet at the very end."""
    net, other = (Network([Affine(4, 6, rng=0), BatchNorm(6)], dtype="float64") for _ in range(2))
    engine, rng = get_engine(net, threads=threads), np.random.default_rng(0)
    x, t = rng.standard_normal((40, 4)), np.arange(40) % 6
    _, _, grads = engine.loss_and_gradient(x, t)
    assert_same_grads(grads, other.loss_and_gradient(x, t)[2], net)
    assert_same_state(net, other)
    assert_same(engine.predict(x), other.predict(x))
    for train in (False, True):
        y, backward = engine.forward(x, train=train)
        want_y, want_backward = other.forward(x, train=train)
        assert_same(y, want_y)
        dy = rng.standard_normal(y.shape)
        dx, grads = backward(dy)
        want_dx, want = want_backward(dy)
        assert_near(dx, want_dx, name="dx")
        assert_same_grads(grads, want, net)


# What is frozen


@PARTS
@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        ("ResNet-20", ["Convolution1", "BatchNorm1", "Sequential1", "Sequential2", "Sequential5"]),
        ("Inception modules", ["Concatenate1.branch2", "Concatenate2.branch1.Convolution1"]),
        ("heads", ["Convolution1", "BatchNorm1", "Heads1.box"]),
        ("Unpooled", ["Convolution1", "Unpooled1"]),
        ("rows", ["Affine1"]),
        ("rows", ["Affine1.b"]),
        ("ResNet-20", ["Convolution1", "BatchNorm1.gamma", "Affine1.W"]),
    ],
)
def test_frozen_layers_have_no_gradient(name, frozen, threads):
    """Not even while others around them learn; frozen and thawed under the same engine."""
    net, other = net_of(name), net_of(name)
    engine = get_engine(net, threads=threads)
    x, t = batch(net, 33)
    for act in ("freeze", "thaw", "freeze"):
        for each in (net, other):
            getattr(each, act)(*frozen)
        _, _, grads = engine.loss_and_gradient(x, t)
        want = other.loss_and_gradient(x, t)[2]
        assert (len(want) < len(net.params)) == (act == "freeze")
        assert_same_grads(grads, want, net)
        y, backward = engine.forward(x, train=True)
        want_y, want_backward = other.forward(x, train=True)
        assert_same(y, want_y)
        dx, grads = backward(y)
        want_dx, want = want_backward(want_y)
        assert_near(dx, want_dx, name="dx")
        assert_same_grads(grads, want, net)
        assert_same_state(net, other)


def test_nothing_below_the_lowest_that_learns_is_computed():
    net = net_of("ResNet-20")
    net.freeze()
    net.thaw("Affine1", "Sequential9")
    engine = get_engine(net, threads=1)
    engine.loss_and_gradient(*batch(net, 5))
    (program,) = engine._workers[0]._programs
    for kernel in program._kernels:
        learned = kernel.op.name.startswith(("Affine1", "Sequential9", "GlobalAveragePool1"))
        assert kernel.op.need_dy == learned, kernel.op.name
        assert kernel.op.need_dx == (False,) * len(kernel.op.inputs) or learned
    steps = [step for steps in program._back.values() for step in steps]
    seen = {step.func.__self__.op.name for step in steps if hasattr(step.func, "__self__")}
    assert {name.split(".")[0] for name in seen} == {"Affine1", "GlobalAveragePool1", "Sequential9"}


# What holds, and for how long


@pytest.mark.parametrize(
    "call",
    [
        lambda engine, x, t: engine.forward(x),
        lambda engine, x, t: engine.predict(x),
        lambda engine, x, t: engine.loss_and_gradient(x, t),
        lambda engine, x, t: None,
    ],
    ids=["forward", "predict", "loss_and_gradient", "backward"],
)
def test_a_backward_holds_until_the_next_call(call):
    """The last of these is the backward itself, which uses up what it reads."""
    net = net_of("without biases")
    engine, (x, t) = get_engine(net), batch(net, 12)
    y, backward = engine.forward(x, train=True)
    if call(engine, x, t) is None:
        backward(y)
    with pytest.raises(EngineError) as error:
        backward(y)
    assert str(error.value) == (
        "a backward of an engine can be called once, and before the next call of that engine, "
        "which writes over its arrays; call forward again"
    )
    y, backward = engine.forward(x, train=True)
    backward(y)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (
            "rows",
            lambda y: y[:, 1:],
            "the gradient of the output must have its shape, (5, 10), got (5, 9)",
        ),
        (
            "heads",
            lambda y: y["kind"],
            "a gradient for each of kind, box.where, box.far is needed, got one array",
        ),
        (
            "heads",
            lambda y: {"kind": y["kind"]},
            "a gradient for each of kind, box.where, box.far is needed, got kind",
        ),
        (
            "heads",
            lambda y: y | {"box.far": y["kind"]},
            "the gradient of box.far must have its shape, (5, 3), got (5, 10)",
        ),
    ],
)
def test_gradients_that_do_not_fit_are_refused(name, given, message):
    """And the backward still holds."""
    net = net_of(name)
    y, backward = get_engine(net).forward(batch(net, 5)[0])
    with pytest.raises(ArgumentError) as error:
        backward(given(y))
    assert str(error.value) == message
    backward(y)


def test_the_gradient_of_samples_has_their_shape():
    """Also of images for a network of rows."""
    net, other = net_of("rows"), net_of("rows")
    x = batch(net, 4)[0].reshape(4, 1, 3, 3)
    y, backward = get_engine(net).forward(x)
    dx, _ = backward(y)
    want_y, want_backward = other.forward(x.reshape(4, 9))
    assert_same(y, want_y)
    assert_near(dx, want_backward(want_y)[0].reshape(x.shape))


def test_forward_refuses_what_is_no_batch():
    engine = get_engine(net_of("rows"))
    for shape, message in (
        ((0, 9), "at least one sample and one target for each are needed, got 0 and 0"),
        ((3, 8), "a batch of shape (N, 9) is needed, got (3, 8)"),
    ):
        with pytest.raises(ArgumentError) as error:
            engine.forward(np.zeros(shape))
        assert str(error.value) == message


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {"kind": t["kind"]},
        lambda t: t | {"box.far": t["box.far"][:, 1:]},
        lambda t: t["box.where"],
    ],
)
def test_targets_of_heads_that_do_not_fit_are_told_as_by_the_network(change):
    """Of the whole batch; and that step has not been."""
    net, other = net_of("heads"), net_of("heads")
    engine, (x, t) = get_engine(net, threads=2), batch(net, 40)
    with pytest.raises(ArgumentError) as want:
        net_of("heads").loss_and_gradient(x, change(t))
    with pytest.raises(ArgumentError) as got:
        engine.loss_and_gradient(x, change(t))
    assert str(got.value) == str(want.value)
    assert_same_state(net, other)


def test_joins_of_somebody_else_are_left_to_the_reference():
    class Larger(Sum):
        def join(self, outputs):
            a, b = outputs
            return np.maximum(a, b), lambda dy: [dy * (a >= b), dy * (a < b)]

    net = Network([Larger([Affine(4, 3, rng=0), Affine(4, 3, rng=1)])], input_shape=(4,))
    engine = get_engine(net)
    assert isinstance(engine, ReferenceEngine)
    assert engine.describe()["engine_reason"] == "Larger joins values in a way of its own"


@pytest.mark.parametrize("name", ["ResNet-20", "without biases", "rows"])
def test_steps_of_networks_that_branch_allocate_next_to_nothing(name):
    """Scores of 8 KB, sums of parts, and NumPy's buffers; a map of 100 samples has 400 KB.

    Nor does anything stay that waits for Python to look for cycles.
    """
    net = net_of(name)
    engine, (x, t) = get_engine(net, threads=2), batch(net, 100)

    def steps(count):
        """Bytes allocated at most, and kept."""
        tracemalloc.start()
        for _ in range(count):
            engine.loss_and_gradient(x, t)
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return kept, peak

    gc.disable()
    try:
        steps(2)
        kept, _ = steps(2)
        more, peak = steps(20)
    finally:
        gc.enable()
    assert peak < 160_000
    assert more - kept < 15_000
