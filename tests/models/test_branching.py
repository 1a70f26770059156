"""Networks that branch: nodes, names, files, copies, what learns, and training on every library."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from branching import BRANCHING, batch, heads, resnet, resnet20
from xpnet import SGD, Adam, AdamW, Momentum, load_network, to_numpy
from xpnet.errors import ArgumentError, WeightsError
from xpnet.files.weights import save_weights
from xpnet.layers import (
    Affine,
    BatchNorm,
    Concatenate,
    Convolution,
    Dropout,
    IdentityWithLoss,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SigmoidWithLoss,
    SoftmaxWithLoss,
    Tanh,
    Unpooled,
)
from xpnet.models import MultiLayerNet, Network, SimpleConvNet, TwoLayerNet, build_network
from xpnet.models.nodes import INPUT
from xpnet.models.saved import copied
from xpnet.optim.penalties import L2

DATA = Path(__file__).parent / "data"
AFTER_100_STEPS = 1e-12  # float64, of the norm: some hundred times what was measured


def small(**options):
    return resnet((2, 3), 1, classes=4, size=6, projected=True, **options)


BOOK = {
    "two-layer-net": {"input_size": 6, "hidden_size": 5, "output_size": 3},
    "multi-layer-net": {"input_size": 6, "hidden_size_list": [5, 4], "output_size": 3},
    "multi-layer-net-extend": {
        "input_size": 6, "hidden_size_list": [5, 4], "output_size": 3, "use_dropout": True,
        "use_batchnorm": True, "weight_decay_lambda": 0.1,
    },
    "simple-convnet": {
        "input_dim": [1, 12, 12], "conv_param": {"filter_num": 2}, "hidden_size": 4,
    },
    "deep-convnet": {"input_dim": [1, 12, 12], "hidden_size": 4},
}  # fmt: skip

EVERY = {
    **BRANCHING,
    **{name: lambda name=name, **o: build_network(name, BOOK[name], rng=0, **o) for name in BOOK},
    "dropout": lambda **o: Network([Affine(6, 5, rng=0), Dropout(0.3, rng=1), Affine(5, 3)], **o),
    "another shortcut": lambda **o: Network(
        [Residual([Affine(6, 3, rng=0)], Affine(6, 3, rng=1), shortcut_name="side")],
        input_shape=(6,), **o,
    ),
    "unpooled by 3": lambda **o: Network(
        [Unpooled([Convolution(1, 1, 1, rng=0)], 3), Affine(36, 3, rng=1)], input_shape=(1, 6, 6),
        **o,
    ),
}  # fmt: skip


def stepped(net, steps=3, optimizer=None):
    """The network after some steps, so that its statistics and counters have moved."""
    optimizer = optimizer or SGD(0.05)
    for k in range(steps):
        x, t = batch(net, 6, k)
        optimizer.update(net.params, net.gradient(x, t))
    return net


def same(a, b):
    """Whether outputs are equal bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    return np.array_equal(to_numpy(a), to_numpy(b))


def test_nodes_tell_what_reads_what():
    net = small()
    nodes = {node.name: node for node in net.nodes()}
    number = {node.name: k for k, node in enumerate(net.nodes())}
    assert nodes["conv1"].inputs == (INPUT,)
    assert nodes["layer1.0"].inputs == (number["layer1.0.bn2"], number["relu"])
    assert nodes["layer2.0"].inputs == (number["layer2.0.bn2"], number["layer2.0.downsample.1"])
    assert nodes["layer2.0.downsample.0"].inputs == nodes["layer2.0.conv1"].inputs
    assert nodes["layer2.0.conv1"].names == {"W": "layer2.0.conv1.W"}
    assert nodes["layer2.0"].names == {}  # which those of its layers have
    assert nodes["layer2.0"].output_shape == (3, 3, 3)
    assert all(value < k for k, node in enumerate(net.nodes()) for value in node.inputs)
    assert net.outputs == len(net.nodes()) - 1
    net = heads()
    assert {name: net.nodes()[k].name for name, k in net.outputs.items()} == {
        "digit": "heads.digit.fc", "parts": "heads.parts.fc2",
    }  # fmt: skip


def test_counts_of_the_specification():
    assert resnet20(classes=10, size=28).params.count == 67_906
    assert resnet((8, 16, 32), 9, size=28).params.count == 214_402
    assert resnet((16, 32, 64), 3, channels=3, size=32).params.count == 269_722
    assert resnet((16, 32, 64), 3, channels=3, size=32, projected=True).params.count == 272_474


def test_the_summary_is_as_deep_as_the_network():
    rows = small().summary()
    depths = {row.name: row.depth for row in rows}
    assert depths["layer2"] == 0
    assert depths["layer2.0"] == 1
    assert depths["layer2.0.downsample.1"] == 3
    assert sum(row.parameters for row in rows if row.depth == 0) == small().params.count
    found = {row.name: (row.kind, row.output_shape) for row in rows}
    assert found["layer2"] == ("Sequential", (3, 3, 3))
    assert found["layer2.0"] == ("Residual", (3, 3, 3))
    joined = Concatenate([ReLU(), Affine(2, 4)])
    net = Network({"a": Sequential([Affine(3, 5), Affine(5, 2)]), "b": joined})
    assert [row.output_shape for row in net.summary() if row.depth == 0] == [(2,), (6,)]
    (row,) = (row for row in heads().summary() if row.name == "heads")
    assert row.output_shape == {"digit": (10,), "parts": (3,)}


def test_paths_are_the_names_and_the_books_names_are_on_demand():
    layers = [Affine(3, 2), ReLU(), Affine(2, 2)]
    assert list(Network(layers).params) == ["Affine1.W", "Affine1.b", "Affine2.W", "Affine2.b"]
    layers = [Affine(3, 2), BatchNorm(2), Affine(2, 2, bias=False)]
    net = Network(layers, names="book")
    assert list(net.params) == ["W1", "b1", "gamma1", "beta1", "W2"]
    assert net.paths()["BatchNorm1.gamma"] == "gamma1"
    net = Network([Sequential([Affine(3, 2)]), Affine(2, 2)], names="book")
    assert list(net.params) == ["W1", "b1", "W2", "b2"]
    with pytest.raises(ArgumentError, match=r"names must be 'paths' or 'book', got 'short'"):
        Network([Affine(3, 2)], names="short")
    with pytest.raises(ArgumentError, match=r"would share a name: .*; use names='paths'"):
        Network([Affine(3, 2), BatchNorm(2), BatchNorm(2)], names="book")


@pytest.mark.parametrize("kind", ["leaf", "container", "without parameters", "in two depths"])
def test_a_layer_in_two_places_is_refused(kind):
    shared = {
        "leaf": Affine(3, 3),
        "container": Residual([Affine(3, 3)]),
        "without parameters": ReLU(),
        "in two depths": Affine(3, 3),
    }[kind]
    layers = {"a": shared, "b": Affine(3, 3), "c": shared}
    if kind == "in two depths":
        layers["c"] = Sequential({"d": Residual({"e": shared})})
    path = "c.d.e" if kind == "in two depths" else "c"
    message = rf"^one \w+ is both a and {path}; each place needs a layer of its own"
    with pytest.raises(ArgumentError, match=message):
        Network(layers, input_shape=(3,))


@pytest.mark.parametrize("name", EVERY)
def test_what_is_saved_loaded_copied_and_pickled_scores_alike(device, tmp_path, name):
    """Bit for bit, and each with parameters of its own."""
    net = stepped(EVERY[name](device=device, dtype="float32"))
    x, t = batch(net, 5, 9)
    path = tmp_path / "net.safetensors"
    net.save_params(path)
    others = [load_network(path, device=device), copied(net, device=device, dtype="float32")]
    if device.name != "array_api_strict on device1":  # whose arrays cannot be pickled
        others += [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    before = net.predict(x)
    for other in others:
        assert type(other) is type(net)
        assert list(other.params) == list(net.params)
        assert list(other.state) == list(net.state)
        assert same(other.predict(x), before)
        assert other.description() == net.description()
    for other in others[1:]:  # counters of random draws are not in a weight file
        got, want = other.gradient(x, t), copied(net, device=device, dtype="float32").gradient(x, t)
        assert same(got, want)
    for other in others:
        stepped(other, 1)
        assert not same(other.predict(x), before)
    assert same(net.predict(x), before)


@pytest.mark.parametrize(
    "net",
    [
        lambda: Network([Affine(6, 4, rng=0), Tanh(), Affine(4, 1, rng=1)], IdentityWithLoss()),
        lambda: Network([Affine(6, 4, rng=0), Sigmoid(), Affine(4, 2)], SigmoidWithLoss()),
        lambda: Network([Affine(6, 4, bias=False), ReLU(), Affine(4, 3)], SoftmaxWithLoss(0.1)),
        lambda: TwoLayerNet(6, 4, 3, activation="sigmoid"),
        lambda: MultiLayerNet(6, [4, 4], 3, activation="tanh", weight_decay_lambda=0.1),
        lambda: Network([Affine(6, 4), Tanh(), Affine(4, 4), ReLU(), Affine(4, 3)], names="book"),
    ],
)
def test_activations_losses_and_penalties_come_back(tmp_path, net, capsys):
    net = net()
    net.freeze(next(iter(net.layers)))  # which is no part of the file
    net.save_params(tmp_path / "w")
    other, x = load_network(tmp_path / "w"), np.random.default_rng(0).standard_normal((5, 6))
    assert same(other.predict(x), net.predict(x))
    assert other.description() == net.description()
    assert type(other.last_layer) is type(net.last_layer)
    assert not any(other.params.learning(name).frozen for name in other.params)
    assert capsys.readouterr().err == ""


def test_numbers_of_numpy_are_described_as_numbers():
    net = Network([Affine(np.int64(6), 4, rng=0), Dropout(np.float32(0.25)), Affine(4, 3, rng=1)])
    other = copied(net, device="cpu", dtype="float32")
    assert same(other.predict(np.ones((2, 6))), net.predict(np.ones((2, 6))))


def test_counters_are_copied_whole():
    """Floats of another dtype have other digits; a counter has all of its own."""
    net = EVERY["dropout"](dtype="float32")
    for array in net.state.values():
        array[...] = 2**24 + 1
    other = copied(net, device="cpu", dtype="float32")
    assert net.state
    for name, array in net.state.items():
        assert other.state[name].dtype == array.dtype
        assert np.all(other.state[name] == 2**24 + 1)


def test_a_copys_layers_are_views_of_its_own_buffer():
    net = small(dtype="float64")
    net.freeze("conv1")
    net.scale_rate(0.1, "layer1")
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        other.params.flat[...] = 1.0
        assert np.all(other.layers["fc"].params["W"] == 1.0)
        assert np.any(net.layers["fc"].params["W"] != 1.0)
        for name in net.params:
            assert other.params.learning(name) == net.params.learning(name)
        assert other.layers["conv1"].frozen
    with pytest.raises(ArgumentError, match=r"use copy.deepcopy"):
        copy.copy(net)
    with pytest.raises(ArgumentError, match=r"use copy.deepcopy"):
        copy.copy(net.params)


@pytest.mark.parametrize("kind", [SGD, Momentum, Adam, AdamW])
def test_optimizers_can_be_copied_and_pickled(kind):
    net, optimizer = small(dtype="float64"), kind(0.01)
    stepped(net, 2, optimizer)
    for made in (copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))):
        twin, other = copy.deepcopy(net), made(optimizer)
        stepped(twin, 2, other)
        again = copy.deepcopy(net)
        stepped(again, 2, copy.deepcopy(optimizer))
        np.testing.assert_array_equal(twin.params.flat, again.params.flat)
        assert repr(other) == repr(optimizer)


class Scale:
    """A layer of one's own."""

    def __init__(self):
        self.params = {"a": np.ones(1)}

    def output_shape(self, shape):
        return shape

    def forward(self, x, *, train=False):
        a = self.params["a"]

        def backward(dy, need_dx=True):
            return dy * a, {"a": np.sum(dy * x, keepdims=True).reshape(1)}

        return x * a, backward


class Doubled(Network):
    """A network of one's own."""

    def forward(self, x, *, train=False):
        return super().forward(2 * x, train=train)


def own_layers():
    return Network([Affine(6, 4, rng=0), Scale(), Residual([Scale()]), Affine(4, 3, rng=1)])


def test_layers_of_ones_own_are_copied_pickled_and_saved(tmp_path):
    net = stepped(own_layers())
    x, _ = batch(net, 4)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert same(other.predict(x), net.predict(x))
        other.params["Scale1.a"] = [7.0]
        assert not same(other.predict(x), net.predict(x))
    path = tmp_path / "own.safetensors"
    net.save_params(path)
    message = r"holds a network with .*Scale, which is not one of xpnet's; .* with load_params"
    with pytest.raises(WeightsError, match=message):
        load_network(path)
    other = own_layers()
    other.load_params(path)
    assert same(other.predict(x), net.predict(x))


@pytest.mark.parametrize("name", ["Doubled", "Network"])
def test_a_network_with_a_method_of_its_own_is_not_taken_for_another(tmp_path, name):
    """Not even if it is called as one of the library's."""
    path = tmp_path / "own.safetensors"
    type(name, (Doubled,), {})([Affine(3, 2)]).save_params(path)
    message = rf"with {__name__}\.{name}, which is not one of xpnet's"
    with pytest.raises(WeightsError, match=message):
        load_network(path)


def test_a_layer_whose_forward_was_replaced_is_not_taken_for_what_it_was(tmp_path):
    path, net = tmp_path / "own.safetensors", Network([Affine(3, 2), ReLU(), Affine(2, 2)])
    net.layers["ReLU1"].forward = lambda x, *, train=False: (x, lambda dy, **_: (dy, {}))
    net.save_params(path)
    with pytest.raises(WeightsError, match=r"with ReLU with a forward of its own, .* load_params"):
        load_network(path)


def test_a_layer_that_is_called_as_one_of_the_librarys_is_not_taken_for_it(tmp_path):
    path = tmp_path / "own.safetensors"
    own = type("ReLU", (Scale,), {})
    Network([Affine(3, 2), own(), Affine(2, 2)]).save_params(path)
    with pytest.raises(WeightsError, match=rf"with {__name__}\.ReLU, which is not one of xpnet"):
        load_network(path)


def test_a_file_of_another_network_is_refused_though_two_would_share_the_books_names(tmp_path):
    path = tmp_path / "other.safetensors"
    Network([Affine(3, 2)]).save_params(path)
    net = Network([Affine(3, 2), BatchNorm(2), BatchNorm(2)])
    with pytest.raises(WeightsError, match=r"lacks|must have shape"):
        net.load_params(path)


def test_a_file_that_says_its_activation_is_not_told_another(tmp_path):
    path = tmp_path / "net.safetensors"
    Network([Affine(3, 2)]).save_params(path)
    with pytest.raises(ArgumentError, match="says itself what its activation is; leave out"):
        load_network(path, activation="relu")


@pytest.mark.parametrize("name", ["two-layer-net", "params"])
def test_weight_files_of_the_first_version_load(name, capsys):
    scores = json.loads((DATA / "v0.1.0-scores.json").read_text())
    path, x = DATA / f"v0.1.0-{name}.safetensors", np.asarray(scores["x"], dtype="float32")
    if name == "params":
        layers = [Affine(6, 5), BatchNorm(5), ReLU(), Affine(5, 3)]
        for names in ("paths", "book"):
            net = Network(copy.deepcopy(layers), names=names)
            net.load_params(path)
            np.testing.assert_allclose(net.predict(x), scores["params"], rtol=1e-6)
        return
    net = load_network(path)
    assert type(net).__name__ == "TwoLayerNet"
    np.testing.assert_allclose(net.predict(x), scores["two"], rtol=1e-6)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weight_files_of_the_first_version_keep_their_digits(tmp_path, dtype):
    net, path = build_network("two-layer-net", BOOK["two-layer-net"], dtype=dtype), tmp_path / "old"
    arguments = json.dumps(BOOK["two-layer-net"])
    save_weights(
        path, dict(net.params), {"model": "two-layer-net", "arguments": arguments, "dtype": dtype}
    )
    other = load_network(path)
    assert other.dtype == dtype
    np.testing.assert_array_equal(other.params.flat, net.params.flat)


def test_what_is_assumed_of_a_file_is_told(tmp_path, capsys):
    path = tmp_path / "matrices.safetensors"
    save_weights(path, {"W1": np.ones((2, 3)), "b1": np.ones(3)}, {})
    load_network(path)
    assert "does not tell the activation between its layers; sigmoid is" in capsys.readouterr().err
    load_network(path, activation="relu")
    assert capsys.readouterr().err == ""


def test_what_is_assumed_of_filters_is_told(tmp_path, capsys):
    net, path = SimpleConvNet((1, 28, 28), {"filter_num": 2}, 4, 3, rng=0), tmp_path / "w"
    save_weights(path, {name: to_numpy(p) for name, p in net.params.items()}, {})
    assert same(
        load_network(path).predict(np.ones((1, 1, 28, 28))), net.predict(np.ones((1, 1, 28, 28)))
    )
    told = capsys.readouterr().err
    assert "does not tell the activation between its layers; ReLU is assumed" in told


def test_a_layer_may_be_called_as_descriptions_call_kinds(tmp_path):
    net = Network({"$kind": Affine(3, 3, rng=0), "b": Residual({"$kind": Affine(3, 3, rng=1)})})
    net.save_params(tmp_path / "w")
    assert same(load_network(tmp_path / "w").predict(np.eye(3)), net.predict(np.eye(3)))


def test_a_matrix_of_nothing_is_none(tmp_path):
    path = tmp_path / "matrices.safetensors"
    save_weights(path, {"W1": np.ones((0, 3)), "b1": np.ones(3)}, {})
    with pytest.raises(WeightsError, match=r"W1 must be a matrix, got shape \(0, 3\)"):
        load_network(path, activation="relu")


def test_frozen_parameters_stay_and_cost_nothing():
    net, all_learn = (small(dtype="float64") for _ in range(2))
    net.freeze("conv1", "bn1", "layer1", "fc.b")
    x, t = batch(net, 4)
    grads, want = net.gradient(x, t), all_learn.gradient(x, t)
    frozen = {name for name in net.params if not name.startswith(("layer2", "fc"))} | {"fc.b"}
    assert grads.keys() == net.params.keys() - frozen
    for name, gradient in grads.items():
        np.testing.assert_array_equal(gradient, want[name])
    before = {name: np.array(p) for name, p in net.params.items()}
    optimizer = AdamW(0.01)
    optimizer.update(net.params, grads)
    for name, p in net.params.items():
        assert np.array_equal(p, before[name]) == (name in frozen), name
    net.thaw()
    assert net.gradient(x, t).keys() == net.params.keys()


def test_nothing_is_computed_below_the_lowest_layer_that_learns():
    class Told(Affine):
        def forward(self, x, *, train=False):
            y, backward = super().forward(x, train=train)

            def told(dy, need_dx=True, need_grads=True):
                asked.append((need_dx, need_grads))
                return backward(dy, need_dx, need_grads)

            return y, told

    net, asked = Network([Told(3, 3, rng=k) for k in range(3)]), []
    x, t = batch(net, 2)
    net.gradient(x, t)
    assert asked == [(True, True), (True, True), (False, True)]
    asked.clear()
    net.freeze("Told1", "Told2")
    net.gradient(x, t)
    assert asked == [(False, True)]
    asked.clear()
    net.thaw("Told1")
    net.gradient(x, t)
    assert asked == [(True, True), (True, False), (False, True)]
    asked.clear()
    y, backward = net.forward(x)
    dx, grads = backward(y, need_grads=False)
    assert (dx.shape, grads, asked) == (x.shape, {}, [(True, False)] * 3)


def test_a_copy_elsewhere_learns_in_the_same_way():
    net = small()
    net.freeze("conv1", "fc.b")
    net.scale_rate(0.1, "layer1")
    twin = copied(net, device="cpu", dtype="float64")
    for name in net.params:
        assert twin.params.learning(name) == net.params.learning(name), name
    assert twin.layers["conv1"].frozen


@pytest.mark.parametrize("kind", [SGD, Momentum, Adam, AdamW])
def test_a_part_of_the_rate_is_that_rate(kind):
    """As if each part had an optimizer of its own."""
    net, mixed = (small(dtype="float64") for _ in range(2))
    net.scale_rate(0.1, "layer1", "fc.b")
    slow = {name for name in net.params if name.startswith("layer1") or name == "fc.b"}
    assert len(net.params.runs()) == 4  # before, in and behind layer1, and the last bias
    rule, parts = kind(0.01), [(kind(0.01), set(net.params) - slow), (kind(0.001), slow)]
    for k in range(3):
        grads = net.gradient(*batch(net, 4, k))
        rule.update(net.params, grads)
        for optimizer, chosen in parts:
            arrays = {name: mixed.params[name] for name in chosen}
            optimizer.update(arrays, {name: grads[name] for name in chosen})
    for name, want in net.params.items():
        np.testing.assert_allclose(mixed.params[name], want, rtol=1e-12, err_msg=name)


def test_layers_say_which_parameters_decay():
    class Own(Scale):
        decays = ("a",)

    class Silent(Scale):
        def __init__(self):
            self.params = {"W": np.ones(1), "matrix": np.ones((1, 1))}

    net = Network([Affine(3, 3), BatchNorm(3), Own(), Silent()], input_shape=(3,))
    decaying = [name for name in net.params if net.params.learning(name).decays]
    assert decaying == ["Affine1.W", "Own1.a", "Silent1.matrix"]
    assert list(L2(0.1).gradient(net.params)) == decaying


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: net.freeze("layer9"), "no layer or parameter 'layer9' with anything to learn"),
        (lambda net: net.freeze("relu"), "no layer or parameter 'relu' with anything to learn"),
        (lambda net: net.scale_rate(0, "fc"), "must be a positive number, got 0; use freeze"),
    ],
)
def test_what_cannot_learn_otherwise_is_told(call, message):
    with pytest.raises(ArgumentError) as told:
        call(small())
    assert message in str(told.value)
    assert len(str(told.value)) < 250  # however many parameters there are


def test_an_accuracy_of_several_heads_is_refused():
    net = heads()
    x, t = batch(net, 3)
    with pytest.raises(ArgumentError, match=r"several outputs, digit, parts, and accuracy is of"):
        net.accuracy(x, t["digit"])


def trained(device, steps=100):
    """A residual network with batch normalization after some steps."""
    net, optimizer = small(device=device, dtype="float64"), Momentum(0.02)
    for k in range(steps):
        x, t = batch(net, 8, k)
        optimizer.update(net.params, net.gradient(x, t))
    return net


@pytest.fixture(scope="module")
def on_numpy():
    return trained("cpu")


def test_a_hundred_steps_agree_on_every_library(device, on_numpy):
    net = trained(device)
    for group, others in ((net.params, on_numpy.params), (net.state, on_numpy.state)):
        for name, want in others.items():
            error = np.linalg.norm(to_numpy(group[name]) - want)
            assert error <= AFTER_100_STEPS * np.linalg.norm(want), name


def test_batch_norm_may_stand_between_affine_layers():
    net = Network([Affine(4, 5, rng=0), BatchNorm(5), ReLU(), Affine(5, 3, rng=1)])
    x, t = batch(net, 32)
    before = float(net.loss(x, t))
    stepped(net, 50)
    assert float(net.loss(x, t)) < before


def test_regression_is_a_network_with_another_loss():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (200, 1))
    net = Network(
        [Affine(1, 20, std=1.0, rng=1), Tanh(), Affine(20, 1, rng=2)], IdentityWithLoss(),
        dtype="float64",
    )  # fmt: skip
    optimizer = Adam(0.02)
    for _ in range(500):
        optimizer.update(net.params, net.gradient(x, np.sin(x)))
    assert float(net.loss(x, np.sin(x))) < 1e-3


def test_reprs_say_what_things_are():
    assert repr(Convolution(1, 2, 3, bias=False)) == (
        "Convolution(channels=1, filters=2, filter_size=(3, 3), stride=1, pad=0, uneven='error', "
        "bias=False)"
    )
    assert repr(Residual({"a": ReLU()})) == (
        "Residual(layers={'a': ReLU()}, shortcut=None, shortcut_name='downsample')"
    )
    assert repr(Network([Affine(3, 2)])) == ("Network((3,) -> (2,), 8 parameters, float32 on cpu)")
    assert repr(Momentum(0.1)) == "Momentum(lr=0.1, momentum=0.9)"
    assert repr(Network([Affine(3, 2)]).params) == (
        "FlatParams(Affine1.W (3, 2), Affine1.b (2,); float32 on cpu)"
    )
