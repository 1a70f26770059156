"""Layers that belong to a network: to one at a time, and with parameters in its buffer."""

import copy
import gc
import pickle

import numpy as np
import pytest

from xpnet import SGD, Trainer, TwoLayerNet, load_network, to_numpy
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.layers import (
    Affine,
    BatchNorm,
    Dropout,
    Heads,
    HeadsWithLoss,
    IdentityWithLoss,
    ReLU,
    Residual,
    Sequential,
    SoftmaxWithLoss,
    Tanh,
    leaves,
)
from xpnet.models import Network


def affine():
    return Affine(3, 3, rng=0)


class Bare:
    """A layer that can be neither hashed nor referenced weakly."""

    __slots__ = ("params",)
    __hash__ = None

    def __init__(self):
        self.params = {"a": np.ones(3)}

    def output_shape(self, shape):
        return shape

    def forward(self, x, *, train=False):
        def backward(dy, need_dx=True, need_grads=True):
            return dy * self.params["a"], {"a": (dy * x).sum(axis=0)} if need_grads else {}

        return x * self.params["a"], backward


@pytest.mark.parametrize(
    ("layer", "within", "name"),
    [
        (affine, lambda layer: [layer, ReLU()], "Affine1"),
        (affine, lambda layer: {"block": Residual({"fc": layer})}, "block.fc"),
        (Bare, lambda layer: [layer], "Bare1"),
        (Dropout, lambda layer: [affine(), layer], "Dropout1"),
    ],
)
def test_a_layer_of_another_network_is_refused(layer, within, name):
    layer = layer()
    first = Network([layer], input_shape=(3,))
    with pytest.raises(ArgumentError, match=rf"layer {name}, .* another network .* copy\.deepcopy"):
        Network(within(layer), input_shape=(3,))
    assert all(np.shares_memory(array, first.params.flat) for array in layer.params.values())


def test_a_layer_without_arrays_can_be_in_several_networks():
    relu = ReLU()
    assert Network([affine(), relu]).layers["ReLU1"] is Network([affine(), relu]).layers["ReLU1"]


def test_a_network_that_is_gone_does_not_count():
    layer = affine()
    for loop in (False, True):
        network = Network([layer])
        if loop:
            network.itself = network
            gc.disable()
        try:
            del network
            second = Network([layer])
        finally:
            gc.enable()
        assert second.layers["Affine1"] is layer
        del second


def test_a_network_that_was_refused_holds_nothing():
    layer, other = affine(), Affine(4, 3)
    with pytest.raises(ArgumentError):
        Network([layer, other])
    assert Network([layer]).params.count == 12


def test_copies_are_networks_of_their_own(tmp_path):
    net = Network([affine(), Bare()], input_shape=(3,))
    for other in (copy.deepcopy(net), Network([copy.deepcopy(net.layers["Affine1"])])):
        before = to_numpy(net.params["Affine1.W"]).copy()
        other.params["Affine1.W"] = np.zeros((3, 3))
        assert not to_numpy(other.layers["Affine1"].params["W"]).any()
        np.testing.assert_array_equal(net.params["Affine1.W"], before)
    library = Network([affine(), Dropout(), affine()])
    library.save_params(tmp_path / "w.safetensors")
    for other in (pickle.loads(pickle.dumps(library)), load_network(tmp_path / "w.safetensors")):
        other.layers["Affine1"].params["W"] = np.zeros((3, 3))
        assert not to_numpy(other.params["Affine1.W"]).any()
    assert to_numpy(library.params["Affine1.W"]).any()


@pytest.mark.parametrize(
    "view",
    [
        lambda: Network([affine(), ReLU()]).layers,
        lambda: Sequential([affine()]).layers,
        lambda: HeadsWithLoss({"a": SoftmaxWithLoss()}).losses,
        lambda: HeadsWithLoss({"a": SoftmaxWithLoss()}).weights,
    ],
)
def test_what_is_compiled_can_only_be_read(view):
    view = view()
    name, was = next(iter(view.items()))
    with pytest.raises(TypeError, match="does not support item assignment"):
        view[name] = Tanh()
    assert view[name] is was


def test_losses_of_heads_are_copied_and_pickled():
    loss = HeadsWithLoss({"a": SoftmaxWithLoss(0.1), "b": IdentityWithLoss()}, {"b": 2.0})
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert repr(other) == repr(loss)
        assert (list(other.losses), other.weights["b"]) == (["a", "b"], 2.0)


def whole(net):
    return {name: np.full(p.shape, 2.0) for name, p in net.params.items()}


def networks():
    return [
        Network({"block": Residual([affine(), BatchNorm(3)]), "own": Bare()}, input_shape=(3,)),
        TwoLayerNet(3, 3, 2, rng=0),
    ]


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_what_a_layer_is_given_whole_is_the_networks(engine):
    """Also what a layer of one's own is given, whose class does not know."""
    net, want = networks()[0], networks()[0]
    computing, x = get_engine(net, engine, 1), np.ones((2, 3), "float32")
    computing.predict(x)
    inner = net.layers["block"].children()
    inner["Affine1"].params = {"W": np.full((3, 3), 2.0), "b": np.full(3, 2.0)}
    inner["BatchNorm1"].state = {"running_mean": np.full(3, 3.0), "running_var": np.full(3, 4.0)}
    net.layers["own"].params = {"a": np.full(3, 5.0)}
    want.params["block.Affine1.W"], want.params["block.Affine1.b"] = 2 * np.ones((3, 3)), [2, 2, 2]
    want.params["own.a"] = [5.0, 5, 5]
    for name, value in (("mean", 3), ("var", 4)):
        want.state[f"block.BatchNorm1.running_{name}"][...] = value
    np.testing.assert_array_equal(computing.predict(x), want.predict(x))
    np.testing.assert_array_equal(net.params.flat, want.params.flat)
    for layer in leaves(net._body):
        for array in layer[1].params.values():
            assert np.shares_memory(array, net.params.flat)
    before = net.layers["own"].params["a"].copy()
    SGD(0.1).update(net.params, computing.loss_and_gradient(x, np.array([0, 1]))[2])
    assert np.all(net.layers["own"].params["a"] != before)


@pytest.mark.parametrize(
    "assign",
    [
        lambda net: setattr(net, "params", whole(net)),
        lambda net: setattr(net.params, "flat", np.full(net.params.flat.shape, 2.0)),
        lambda net: (
            setattr(net.layers["Affine2"], "params", net.layers["Affine1"].params)
            or setattr(net, "params", whole(net))
        ),
    ],
)
def test_what_a_network_is_given_whole_is_its_layers(assign):
    net, x = Network([affine(), affine()]), np.ones((2, 3))
    buffer = net.params.flat
    assign(net)
    assert net.params.flat is buffer
    net.params.flat -= 0.0
    assert np.shares_memory(net.layers["Affine1"].params["W"], net.layers["Affine1"].params["W"])
    assert not np.shares_memory(*(layer.params["W"] for layer in net.layers.values()))
    np.testing.assert_array_equal(net.predict(x), np.full((2, 3), 2 * 3 * (2 * 3 + 2) + 2.0))


def test_states_are_assigned_to_network_and_layer():
    net = networks()[0]
    layer = net.layers["block"].children()["BatchNorm1"]
    layer.state["running_mean"] = [1.0, 2.0, 3.0]
    assert net.state["block.BatchNorm1.running_mean"].tolist() == [1, 2, 3]
    net.state["block.BatchNorm1.running_var"] = np.ones(3) * 7
    assert layer.state["running_var"].tolist() == [7, 7, 7]
    net.state = {name: 0 * array for name, array in net.state.items()}
    assert not any(array.any() for array in layer.state.values())


@pytest.mark.parametrize(
    ("assign", "message"),
    [
        (
            lambda net: setattr(net, "params", {"W1": 1}),
            "values for W1, b1, W2, b2 are needed, got W1",
        ),
        (lambda net: setattr(net, "params", None), "W1, b1, W2, b2 are needed, got NoneType"),
        (
            lambda net: setattr(net.layers["Affine1"], "params", {"W": np.ones((3, 3)), "b": 1.0}),
            r"parameter b has shape \(3,\), got \(\)",
        ),
        (
            lambda net: setattr(net.params, "flat", np.ones(3)),
            r"flat has shape \(\d+,\), got \(3,\)",
        ),
        (
            lambda net: setattr(net, "params", whole(net) | {"b2": np.ones(3)}),
            r"parameter b2 has shape \(2,\), got \(3,\)",
        ),
    ],
)
def test_what_does_not_fit_whole_changes_nothing(assign, message):
    net = networks()[1]
    before = net.params.flat.copy()
    with pytest.raises(ArgumentError, match=message):
        assign(net)
    np.testing.assert_array_equal(net.params.flat, before)


def test_layers_of_ones_own_that_were_given_what_does_not_fit_are_told():
    net = networks()[0]
    net.layers["own"].params = {"a": np.ones(2)}
    with pytest.raises(ArgumentError, match=r"parameter a has shape \(3,\), got \(2,\)"):
        net.predict(np.ones((1, 3)))


def test_the_layers_of_a_network_are_copied():
    for net in networks():
        for made in (copy.deepcopy, copy_by_pickle):
            layers = made(net.layers)
            other = Network(layers, input_shape=(3,))
            x = np.ones((2, 3))
            np.testing.assert_array_equal(other.predict(x), net.predict(x))
            other.params.flat[...] = 0
            assert net.params.flat.any()


def copy_by_pickle(what):
    return pickle.loads(pickle.dumps(what))


def test_a_copy_of_the_parameters_keeps_the_best():
    """The commonest use: to train on, and to put back."""
    net, optimizer = TwoLayerNet(3, 4, 2, rng=0), SGD(0.5)
    x, t = np.random.default_rng(0).random((8, 3)), np.arange(8) % 2
    twin, best = copy.deepcopy(net), copy.deepcopy(net.params)
    first, before = float(net.loss(x, t)), net.predict(x)
    for _ in range(30):
        SGD(0.5).update(twin.params, twin.gradient(x, t))
    assert float(twin.loss(x, t)) < first
    assert not np.array_equal(twin.predict(x), before)
    np.testing.assert_array_equal(net.predict(x), before)
    for layer in twin.layers.values():
        assert all(np.shares_memory(p, twin.params.flat) for p in layer.params.values())
    optimizer.update(net.params, net.gradient(x, t))
    assert not np.array_equal(net.predict(x), before)
    net.params = best
    np.testing.assert_array_equal(net.predict(x), before)
    optimizer.update(net.params, net.gradient(x, t))
    assert not np.array_equal(net.predict(x), before)


@pytest.mark.parametrize("made", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_computes_is_not_copied(made):
    x, t = np.ones((4, 3), "float32"), np.arange(4) % 2
    net = TwoLayerNet(3, 4, 2, rng=0)
    trainer = Trainer(net, x, t, epochs=1, mini_batch_size=2, verbose=False, engine="cpu")
    for what, remedy in {
        trainer: r"a Trainer cannot be copied or pickled; .* state\(\) by restore",
        trainer.supervised: "a Supervised cannot be copied or pickled; make another, for a copy",
        trainer.engine: "a CpuEngine cannot be copied or pickled; make another by get_engine",
    }.items():
        with pytest.raises(ArgumentError, match=remedy):
            made(what)


@pytest.mark.parametrize(
    "assign",
    [
        lambda params, value: params.__setitem__("W", value),
        lambda params, value: params.update(W=value),
        lambda params, value: params.update({"W": value}),
        lambda params, value: params.__ior__({"W": value}),
    ],
)
def test_parameters_of_a_layer_are_assigned_to_the_network(device, assign):
    net = Network({"block": Residual([affine()])}, input_shape=(3,), device=device)
    layer = net.layers["block"].children()["Affine1"]
    assign(layer.params, np.arange(9.0).reshape(3, 3))
    np.testing.assert_array_equal(
        to_numpy(net.params["block.Affine1.W"]), np.arange(9.0).reshape(3, 3)
    )
    layer.params["W"] -= layer.params["W"]
    assert not to_numpy(net.params["block.Affine1.W"]).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda params: params.update(w=0), "no parameter is called 'w'; there are W, b"),
        (lambda params: params.setdefault("w", 0), "no parameter is called 'w'; there are W, b"),
        (lambda params: params.update(b=np.ones(2)), "parameter b has shape (3,), got (2,)"),
        (lambda params: params.pop("b"), "parameters W, b are a network's and cannot be taken"),
        (lambda params: params.popitem(), "parameters W, b are a network's and cannot be taken"),
        (lambda params: params.clear(), "parameters W, b are a network's and cannot be taken"),
        (lambda params: params.__delitem__("b"), "are a network's and cannot be taken away"),
    ],
)
def test_parameters_of_a_layer_stay_those_of_the_network(change, message):
    net = Network([affine()])
    with pytest.raises(ArgumentError) as told:
        change(net.layers["Affine1"].params)
    assert message in str(told.value)
    assert list(net.layers["Affine1"].params) == ["W", "b"]


def test_a_copy_of_a_layers_parameters_is_a_plain_dictionary():
    params = Network([affine()]).layers["Affine1"].params
    for other in (copy.copy(params), copy.deepcopy(params), pickle.loads(pickle.dumps(params))):
        assert type(other) is dict
        np.testing.assert_array_equal(other["W"], params["W"])
    assert copy.deepcopy(params)["W"] is not params["W"]


def test_several_heads_have_their_own_layers():
    net = Network([affine(), Heads({"a": affine(), "b": affine()})])
    net.layers["Heads1"].children()["b"].params["W"] = np.zeros((3, 3))
    assert to_numpy(net.params["Heads1.a.W"]).any()
    assert not to_numpy(net.params["Heads1.b.W"]).any()
