"""Layers that belong to a network: to one at a time, and with parameters in its buffer."""

import copy
import gc
import pickle

import numpy as np
import pytest

from xpnet import load_network, to_numpy
from xpnet.errors import ArgumentError
from xpnet.layers import (
    Affine,
    Dropout,
    Heads,
    HeadsWithLoss,
    IdentityWithLoss,
    ReLU,
    Residual,
    Sequential,
    SoftmaxWithLoss,
    Tanh,
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
