"""Layers side by side: worked examples, gradients, and what does not fit together."""

import numpy as np
import pytest

from branching import BRANCHING, batch, block, inception_module
from tolerances import E12, EX, assert_near
from xpnet import to_numpy
from xpnet.errors import ArgumentError
from xpnet.layers import (
    Affine,
    AveragePool,
    Concatenate,
    Convolution,
    GlobalAveragePool,
    Heads,
    HeadsWithLoss,
    Identity,
    IdentityWithLoss,
    MaxPool,
    PadShortcut,
    ReLU,
    Residual,
    Sequential,
    SoftmaxWithLoss,
    Sum,
    Unpooled,
)
from xpnet.models import Network
from xpnet.testing import check_backward


class Twice:
    """y = 2 x."""

    def __init__(self):
        self.params = {}

    def forward(self, x, *, train=False):
        return 2 * x, lambda dy, need_dx=True: (2 * dy, {})

    def output_shape(self, shape):
        return shape


def placed(layer, device):
    """The layer's parameters and state, on the device and float64."""
    layer.params = {key: device.asarray(p, dtype="float64") for key, p in layer.params.items()}
    for leaf in layer.leaves().values() if hasattr(layer, "leaves") else ():
        if hasattr(leaf, "state"):
            leaf.state = {key: device.asarray(a) for key, a in leaf.state.items()}
    return layer


def weights(device, *numbers):
    """1 x 1 matrices without biases."""
    made = []
    for number in numbers:
        layer = Affine(1, 1, bias=False)
        layer.params = {"W": device.asarray([[float(number)]])}
        made.append(layer)
    return made


def test_concatenated_and_summed_by_hand(device):
    """Branches x and 2x of x = (1, 2)."""
    x = device.asarray([[1.0, 2.0]])
    y, backward = Concatenate([Identity(), Twice()]).forward(x)
    assert_near(y, [[1, 2, 2, 4]], EX)
    assert_near(backward(device.asarray([[1.0, 2.0, 3.0, 4.0]]))[0], [[7, 10]], EX)
    y, backward = Sum([Identity(), Twice()]).forward(x)
    assert_near(y, [[3, 6]], EX)
    assert_near(backward(device.asarray([[1.0, 2.0]]))[0], [[3, 6]], EX)


def test_the_features_of_one_sample_are_joined(device):
    y, backward = Concatenate([Identity(), Twice()]).forward(device.asarray([1.0, 2.0]))
    assert_near(y, [1, 2, 2, 4], EX)
    assert_near(backward(device.asarray([1.0, 2.0, 3.0, 4.0]))[0], [7, 10], EX)


def test_a_residual_block_by_hand(device):
    """y = relu(w2 relu(w1 x) + x) of x = 1, -2, 3 with w1 = 0.5, w2 = 2."""
    first, second = weights(device, 0.5, 2.0)
    net = Sequential([Residual({"a": first, "relu": ReLU(), "b": second}), ReLU()])
    x, d = device.asarray([[1.0], [-2.0], [3.0]]), device.asarray([[1.0], [2.0], [3.0]])
    y, backward = net.forward(x)
    dx, grads = backward(d)
    assert_near(y, [[2], [0], [6]], EX)
    assert_near(dx, [[2], [0], [6]], EX)
    assert_near(grads["Residual1.a.W"], [[20]], EX)
    assert_near(grads["Residual1.b.W"], [[5]], EX)


def test_a_body_of_zeros_passes_everything_unchanged(device):
    x = device.asarray(np.random.default_rng(0).standard_normal((4, 1)))
    y, backward = Residual(weights(device, 0.0)).forward(x)
    assert_near(y, to_numpy(x), EX)
    assert_near(backward(x)[0], to_numpy(x), EX)


def test_global_average_pool_by_hand(device):
    x = device.asarray([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 12.0]]]])
    y, backward = GlobalAveragePool().forward(x)
    assert_near(y, [[2.5, 7.5]], EX)
    dx, _ = backward(device.asarray([[4.0, 8.0]]))
    assert_near(dx, [[np.full((2, 2), 1.0), np.full((2, 2), 2.0)]], EX)


@pytest.mark.parametrize(("channels", "before"), [(5, 1), (4, 1), (2, 0)])
def test_pad_shortcut_takes_every_second_pixel(device, channels, before):
    x = np.arange(30.0).reshape(1, 2, 3, 5)
    layer = PadShortcut(2, channels)
    y, backward = layer.forward(device.asarray(x))
    want = np.zeros((1, channels, 2, 3))
    want[:, before : before + 2] = x[:, :, ::2, ::2]
    assert_near(y, want, EX)
    assert layer.output_shape((2, 3, 5)) == (channels, 2, 3)
    dx, _ = backward(y)
    assert np.sum(to_numpy(dx)) == np.sum(want)


PLACES = np.asarray([[1, 2, 1, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 4, 0, 1]], dtype="float64")


def test_pooling_with_places_by_hand(device):
    x = device.asarray(PLACES[None, None])
    pool = MaxPool(2, stride=2)
    assert_near(pool.forward(x)[0], [[[[2, 3], [4, 2]]]], EX)
    places = pool.places(x)
    assert places.dtype == device.xp.int64
    assert_near(places, [[[[1, 7], [13, 11]]]], EX)


@pytest.mark.parametrize("ties", ["first", "all"])
def test_of_equals_the_first_has_the_place(device, ties):
    """Also where the gradient goes to all of them."""
    x = device.asarray([[[[1.0, 2.0], [2.0, 2.0]]]])
    assert_near(MaxPool(2, ties=ties).places(x), [[[[1]]]], EX)


def test_places_are_those_of_pytorch(device):
    """With padding, overlap, ties and images whose ends fill no window."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = np.random.default_rng(0).integers(0, 4, size=(2, 3, 7, 8)).astype("float64")
    for window, stride, pad in ((2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)):
        got = MaxPool(window, stride=stride, pad=pad, uneven="drop").places(device.asarray(x))
        want = torch.nn.functional.max_pool2d(
            torch.tensor(x), window, stride, pad, return_indices=True
        )[1]
        assert_near(got, want.numpy(), EX)


def test_unpooled_by_hand(device):
    """Values 10 times the maxima, at the places of the maxima."""

    class Tens(Twice):
        def forward(self, x, *, train=False):
            return x * 0 + device.asarray([[[[10.0, 20.0], [30.0, 40.0]]]]), lambda dy, **_: (
                seen.append(dy) or dy, {}
            )  # fmt: skip

    seen = []
    y, backward = Unpooled([Tens()]).forward(device.asarray(PLACES[None, None]))
    want = np.zeros(16)
    want[[1, 7, 13, 11]] = [10, 20, 30, 40]
    assert_near(y, want.reshape(1, 1, 4, 4), EX)
    dx, _ = backward(device.asarray(np.arange(1.0, 17.0).reshape(1, 1, 4, 4)))
    assert_near(seen[0], [[[[2, 8], [14, 12]]]], EX)
    want[[1, 7, 13, 11]] = [2, 8, 14, 12]
    assert_near(dx, want.reshape(1, 1, 4, 4), EX)


def test_of_equals_the_first_is_unpooled(device):
    x = device.asarray([[[[1.0, 2.0], [2.0, 2.0]]]])
    y, backward = Unpooled([Identity()]).forward(x)
    assert_near(y, [[[[0, 2], [0, 0]]]], EX)
    assert_near(backward(x)[0], [[[[0, 2], [0, 0]]]], EX)


def rng():
    return np.random.default_rng(0)


COMBINED = {
    "residual": (lambda: block(3, 3, 1, rng=rng(), projected=False), (3, 6, 6)),
    "residual, padded": (lambda: block(3, 4, 2, rng=rng(), projected=False), (3, 7, 5)),
    "residual, projected": (lambda: block(3, 4, 2, rng=rng(), projected=True), (3, 7, 5)),
    "inception": (lambda: inception_module(3, rng()), (3, 5, 5)),
    "unpooled": (lambda: Unpooled([Convolution(3, 3, 3, pad=1, rng=0)]), (3, 7, 5)),
    "unpooled by 3": (lambda: Unpooled([Convolution(2, 2, 1, rng=0)], 3), (2, 7, 6)),
    "sum of three": (lambda: Sum([Affine(4, 3, rng=k) for k in range(3)]), (4,)),
    "nested": (
        lambda: Residual([Concatenate([Affine(4, 1, rng=0), Residual([Affine(4, 4, rng=1)]),
                                       Affine(4, 2, bias=False, rng=2)]), Affine(7, 4, rng=3)]),
        (4,),
    ),
    "without bias": (lambda: Convolution(2, 3, 3, bias=False, rng=0), (2, 5, 6)),
    "global average": (GlobalAveragePool, (3, 4, 5)),
    "padded shortcut": (lambda: PadShortcut(2, 5), (2, 5, 4)),
}  # fmt: skip


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", COMBINED)
def test_backward_is_the_derivative_of_forward(device, name, train):
    make, shape = COMBINED[name]
    x = device.asarray(rng().standard_normal((4, *shape)))
    check_backward(placed(make(), device), x, rng=rng(), train=train, rtol=1e-6)


@pytest.mark.parametrize("name", COMBINED)
def test_what_is_not_needed_is_left_out_and_changes_nothing_else(name):
    make, shape = COMBINED[name]
    layer, x = make(), rng().standard_normal((3, *shape))
    y, backward = layer.forward(x)
    dx, grads = backward(y)
    for need_dx in (False, True):
        alone, none = backward(y, need_dx=need_dx, **({"need_grads": False} if grads else {}))
        assert none == {}
        if need_dx:
            np.testing.assert_array_equal(alone, dx)
    if grads:
        assert backward(y, need_dx=False)[0] is None


AROUND = {
    "Sequential": lambda layers: Sequential(layers),
    "Sum": lambda layers: Sum(layers),
    "Residual": lambda layers: Residual(layers[:1], Sequential(layers[1:])),
    "Concatenate": lambda layers: Concatenate(layers),
    "Heads": lambda layers: Heads(layers),
    "Unpooled": lambda layers: Unpooled(layers, 1),
}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", AROUND)
def test_layers_within_know_whether_the_network_is_training(name, train):
    seen = []

    class Noting(Twice):
        def forward(self, x, *, train=False):
            seen.append(train)
            return super().forward(x)

    AROUND[name]([Noting(), Noting()]).forward(np.ones((2, 3, 4, 4)), train=train)
    assert seen == [train, train]


def told(layer, asked):
    """The layer, which tells what its backward is asked for."""
    forward = layer.forward

    def telling(x, *, train=False):
        y, backward = forward(x, train=train)

        def asking(dy, **needs):
            asked.append((type(layer).__name__, *needs.values()))
            return backward(dy, **needs)

        return y, asking

    layer.forward = telling
    return layer


@pytest.mark.parametrize(
    ("name", "need_dx", "need_grads", "want"),
    [
        ("Sum", True, True, [("Convolution", True), ("ReLU", True)]),
        ("Sum", False, True, [("Convolution", False)]),
        ("Sum", True, False, [("Convolution", True, False), ("ReLU", True)]),
        ("Sequential", True, True, [("ReLU", True), ("Convolution", True)]),
        ("Sequential", False, True, [("ReLU", True), ("Convolution", False)]),
        ("Sequential", True, False, [("ReLU", True), ("Convolution", True, False)]),
        ("Sequential", False, False, []),
        ("Unpooled", False, True, [("ReLU", True), ("Convolution", False)]),
        ("Unpooled", True, False, [("ReLU", True), ("Convolution", True, False)]),
    ],
)
def test_layers_within_are_asked_for_what_is_needed(name, need_dx, need_grads, want):
    asked = []
    layers = [told(Convolution(3, 3, 1, rng=0), asked), told(ReLU(), asked)]
    layer = AROUND[name](layers)
    y, backward = layer.forward(np.ones((2, 3, 4, 4)))
    dx, grads = backward(y, need_dx=need_dx, need_grads=need_grads)
    assert asked == want
    assert (dx is not None) == need_dx
    assert bool(grads) == need_grads


def test_the_output_shape_is_that_of_the_output():
    for make, shape in COMBINED.values():
        layer = make()
        y, _ = layer.forward(rng().standard_normal((2, *shape)))
        assert y.shape[1:] == layer.output_shape(shape)


def test_heads_give_and_take_by_name(device):
    layer = Heads({"a": Affine(3, 2, rng=0), "b": Heads([Affine(3, 1, rng=1), Identity()])})
    placed(layer, device)
    x = device.asarray(rng().standard_normal((4, 3)))
    y, backward = layer.forward(x)
    assert {name: tuple(each.shape[1:]) for name, each in y.items()} == layer.output_shape((3,))
    assert list(y) == ["a", "b.head1", "b.head2"]
    dx, grads = backward(y)
    want = sum(
        np.asarray(each) for each in (
            to_numpy(y["a"]) @ to_numpy(layer.params["a.W"]).T,
            to_numpy(y["b.head1"]) @ to_numpy(layer.params["b.head1.W"]).T,
            to_numpy(x),
        )
    )  # fmt: skip
    assert_near(dx, want, E12)
    assert list(grads) == list(layer.params)
    for other in ({"a": y["a"]}, y | {"c": y["a"]}):
        message = f"for each of a, b.head1, b.head2 is needed, got {', '.join(other)}"
        with pytest.raises(ArgumentError, match=message):
            backward(other)


def test_the_loss_of_heads_is_their_weighted_sum(device):
    loss = HeadsWithLoss({"a": SoftmaxWithLoss(), "b": IdentityWithLoss()}, {"b": 0.25})
    x = {name: device.asarray(rng().standard_normal((3, 2))) for name in "ab"}
    t = {"a": device.asarray([0, 1, 1]), "b": device.asarray(np.ones((3, 2)))}
    total, backward = loss.forward(x, t)
    parts = {name: each.forward(x[name], t[name]) for name, each in loss.losses.items()}
    assert_near(total, to_numpy(parts["a"][0] + 0.25 * parts["b"][0]), E12)
    dx = backward()
    assert_near(dx["a"], to_numpy(parts["a"][1]()), E12)
    assert_near(dx["b"], 0.25 * to_numpy(parts["b"][1]()), E12)
    for name, twice in backward(2.0).items():
        assert_near(twice, 2 * to_numpy(dx[name]), E12)


def test_a_head_of_no_weight_adds_nothing():
    loss = HeadsWithLoss({"a": SoftmaxWithLoss(), "b": IdentityWithLoss()}, {"b": 0})
    x, t = {name: rng().standard_normal((3, 2)) for name in "ab"}, np.eye(3, 2)
    total, backward = loss.forward(x, t)
    assert total == loss.losses["a"].forward(x["a"], t)[0]
    assert not np.any(backward()["b"])


def test_a_loss_may_take_the_same_targets_for_every_head():
    loss = HeadsWithLoss({"a": SoftmaxWithLoss(), "b": SoftmaxWithLoss()})
    x, t = {name: rng().standard_normal((3, 2)) for name in "ab"}, np.array([0, 1, 1])
    assert loss.forward(x, t)[0] == loss.forward(x, {"a": t, "b": t})[0]


REFUSED = [
    (
        lambda: Sum([Affine(2, 3), Affine(2, 4)]).output_shape((2,)),
        "the branches of Sum must put out one shape, got (3,) from branch1 and (4,) from branch2",
    ),
    (
        lambda: Network({"x": Sequential({"1": Affine(2, 2), "2": Residual([Affine(2, 3)])})}),
        "layer x.2: the body of Residual puts out (3,) and its input is (2,); give a shortcut that "
        "brings (2,) to (3,)",
    ),
    (
        lambda: Network({"x": Residual([Affine(2, 3)], Affine(2, 2))}, input_shape=(2,)),
        "layer x: the branches of Residual must put out one shape, got (3,) from body and (2,) "
        "from downsample",
    ),
    (
        lambda: Concatenate([Convolution(1, 2, 1), AveragePool(2, stride=2)]).output_shape(
            (1, 4, 4)
        ),
        "must put out one shape but for the first axis, got (2, 4, 4) from branch1 and (1, 2, 2) "
        "from branch2",
    ),
    (
        lambda: Unpooled([Convolution(1, 2, 1)]).output_shape((1, 4, 4)),
        "the layers in Unpooled must keep the pooled shape, (1, 2, 2), got (2, 2, 2)",
    ),
    (
        lambda: Network([Heads([Affine(2, 3), Affine(2, 1)]), ReLU()]),
        "layer ReLU1 follows several heads, which must come last",
    ),
    (
        lambda: Network({"a": Heads([Affine(2, 3)]), "b": Sequential({"c": ReLU()})}),
        "layer b follows several heads, which must come last",
    ),
    (
        lambda: Network({"a": Heads([Affine(2, 3)]), "b": Unpooled([ReLU()])}),
        "layer b follows several heads, which must come last",
    ),
    (
        lambda: Sum([Heads([Affine(2, 3)]), Affine(2, 3)]).output_shape((2,)),
        "branch branch1 ends in several heads, which must come last",
    ),
    (
        lambda: Network([Affine(2, 2), Residual([Heads([Affine(2, 2)])])]),
        "follows several heads, which must come last",
    ),
    (
        lambda: Residual({"downsample": ReLU()}, Identity()),
        "a layer of the body is called 'downsample', as the shortcut is",
    ),
    (
        lambda: Sum([Affine(2, 3), Affine(4, 3)]).output_shape((2,)),
        "layer branch2: Affine takes 4 numbers a sample, got the shape (2,)",
    ),
    (
        lambda: Sequential([Affine(2, 3), Affine(4, 3)]).output_shape((2,)),
        "layer Affine2: Affine takes 4 numbers a sample, got the shape (3,)",
    ),
    (
        lambda: Sequential([Heads([Affine(2, 3)]), ReLU()]).output_shape((2,)),
        "layer ReLU1 follows several heads, which must come last",
    ),
    (lambda: Sum([]), "Sum needs at least one branch, got none"),
    (
        lambda: Sequential({"a.b": ReLU()}),
        "a layer's name must be text without a dot, got 'a.b'",
    ),
    (
        lambda: Sum(Affine(2, 3)),
        "layers by name, or a list of layers, are needed, got Affine",
    ),
    (lambda: Sequential({"a": Affine}), "layer 'a' must have forward(x, train=...)"),
    (lambda: Unpooled({"pool": ReLU()}), "a layer in Unpooled is called 'pool'"),
    (
        lambda: Unpooled([ReLU()], (2, 3)),
        "the windows of Unpooled lie side by side and must be square, got (2, 3)",
    ),
    (
        lambda: Unpooled([GlobalAveragePool(), Affine(1, 1)]).forward(np.ones((1, 1, 2, 2))),
        "the layers in Unpooled must keep the pooled shape, (1, 1, 1), got (1,)",
    ),
    (
        lambda: Unpooled([Convolution(1, 2, 1)]).forward(np.ones((1, 1, 4, 4))),
        "the layers in Unpooled must keep the pooled shape, (1, 2, 2), got (2, 2, 2)",
    ),
    (
        lambda: GlobalAveragePool().forward(np.ones((2, 3))),
        "GlobalAveragePool takes images, (C, H, W), got (3,)",
    ),
    (
        lambda: PadShortcut(0, 2),
        "PadShortcut needs a stride and channels of at least 1, got stride=0, channels=2",
    ),
    (
        lambda: PadShortcut(2, 0),
        "PadShortcut needs a stride and channels of at least 1, got stride=2, channels=0",
    ),
    (
        lambda: PadShortcut(1, 2).output_shape((3, 4, 4)),
        "PadShortcut takes images of up to 2 channels, (C, H, W), got (3, 4, 4)",
    ),
    (
        lambda: HeadsWithLoss({"a": SoftmaxWithLoss()}).forward(np.ones((2, 2)), np.zeros(2)),
        "HeadsWithLoss has losses for a, got one output",
    ),
    (
        lambda: HeadsWithLoss({"a": SoftmaxWithLoss()}, {"c": 1.0}),
        "there is no head 'c' to weigh; the heads are a",
    ),
    (
        lambda: HeadsWithLoss({"a": SoftmaxWithLoss()}, {"a": -1}),
        "the weight of a must be a number from 0, got -1",
    ),
    (
        lambda: HeadsWithLoss({"a": SoftmaxWithLoss()}, {"a": np.inf}),
        "the weight of a must be a number from 0, got inf",
    ),
    (
        lambda: HeadsWithLoss({"a": SoftmaxWithLoss()}).forward(
            {name: np.ones((2, 2)) for name in "ab"}, np.zeros(2, int)
        ),
        "HeadsWithLoss has losses for a, got a, b",
    ),
    (
        lambda: HeadsWithLoss({"a": SoftmaxWithLoss()}).forward(
            {"a": np.ones((2, 2))}, {name: np.zeros(2, int) for name in "ab"}
        ),
        "targets for a are needed, got a, b",
    ),
]


@pytest.mark.parametrize(("refused", "message"), REFUSED)
def test_what_does_not_fit_is_refused(refused, message):
    with pytest.raises(ArgumentError) as told:
        refused()
    assert message in str(told.value)


@pytest.mark.parametrize("name", BRANCHING)
def test_networks_that_branch_pass_the_gradient_check(device, name):
    """The derivative along one random direction of all parameters at once."""
    net = BRANCHING[name](device=device, dtype="float64")
    for key, p in net.params.items():
        if key.endswith(".b"):  # at 0, rectifiers of blank ground would stand on their edge
            net.params[key] = rng().standard_normal(p.shape)
    x, t = batch(net, 3)
    state = net.copied_state()
    grads = net.gradient(x, t)
    directions = {key: rng().standard_normal(p.shape) for key, p in net.params.items()}

    def loss(h):
        net.restore_state(state)
        for key, v in directions.items():
            net.params[key] = to_numpy(kept[key]) + h * v
        return float(net.loss(x, t, train=True))

    kept = {key: np.array(to_numpy(p)) for key, p in net.params.items()}
    # Small enough that few of the rectifiers and maxima change places.
    h = 1e-7
    numerical = (loss(h) - loss(-h)) / (2 * h)
    terms = [np.sum(to_numpy(grads[key]) * v) for key, v in directions.items()]
    assert abs(numerical - sum(terms)) < 2e-6 * sum(map(abs, terms))
