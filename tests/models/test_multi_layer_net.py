"""The networks of chapter 6: what they are made of, their gradients and their files."""

import json

import numpy as np
import pytest

from xpnet import (
    L2,
    BatchNorm,
    Dropout,
    MultiLayerNet,
    MultiLayerNetExtend,
    Trainer,
    gradient_check,
    load_network,
    to_numpy,
)
from xpnet.errors import ArgumentError, WeightsError
from xpnet.files.weights import load_weights, save_weights
from xpnet.models import MODELS, build_network

RNG = np.random.default_rng(0)
X, T = RNG.standard_normal((12, 6)), RNG.integers(3, size=12)
SIZES = {"input_size": 6, "hidden_size_list": [5, 4], "output_size": 3}
EVERYTHING = SIZES | {
    "activation": "tanh",
    "weight_init_std": "glorot",
    "weight_decay_lambda": 0.1,
    "use_dropout": True,
    "dropout_ratio": 0.3,
    "use_batchnorm": True,
}
MODEL = "multi-layer-net-extend"


def full_net(device="cpu", dtype="float64", **options):
    return MultiLayerNetExtend(**(EVERYTHING | options), rng=0, device=device, dtype=dtype)


def values(arrays):
    return {name: to_numpy(array).copy() for name, array in arrays.items()}


def test_order_of_layers_names_and_shapes():
    net = full_net()
    assert list(net.layers) == [
        "Affine1", "BatchNorm1", "Tanh1", "Dropout1",
        "Affine2", "BatchNorm2", "Tanh2", "Dropout2", "Affine3",
    ]  # fmt: skip
    assert {name: array.shape for name, array in net.params.items()} == {
        "W1": (6, 5), "b1": (5,), "gamma1": (5,), "beta1": (5,),
        "W2": (5, 4), "b2": (4,), "gamma2": (4,), "beta2": (4,),
        "W3": (4, 3), "b3": (3,),
    }  # fmt: skip
    assert net.layers["Dropout2"].dropout_ratio == 0.3


@pytest.mark.parametrize(
    ("options", "between"),
    [
        ({}, ["Relu"]),
        ({"activation": "sigmoid"}, ["Sigmoid"]),
        ({"use_dropout": True}, ["Relu", "Dropout"]),
        ({"use_batchnorm": True}, ["BatchNorm", "Relu"]),
    ],
)
def test_layers_are_there_if_asked_for(options, between):
    net = MultiLayerNetExtend(**SIZES, **options, rng=0)
    kinds = [name.rstrip("0123456789") for name in net.layers]
    assert kinds == ["Affine", *between] * 2 + ["Affine"]


def test_the_plain_network_is_the_extended_one_without_its_options():
    net, same = MultiLayerNet(**SIZES, rng=0), MultiLayerNetExtend(**SIZES, rng=0)
    assert list(net.layers) == ["Affine1", "Relu1", "Affine2", "Relu2", "Affine3"]
    np.testing.assert_array_equal(net.params.flat, same.params.flat)
    assert net.state == {}
    positional = MultiLayerNet(6, [5, 4], 3, "tanh", 0.5, 0.2, rng=0)
    named = MultiLayerNet(**SIZES, activation="tanh", weight_init_std=0.5,
                          weight_decay_lambda=0.2, rng=0)  # fmt: skip
    assert positional.penalty.strength == named.penalty.strength == 0.2
    np.testing.assert_array_equal(positional.predict(X), named.predict(X))


def test_no_hidden_layer_at_all():
    assert list(MultiLayerNet(6, [], 3, rng=0).params) == ["W1", "b1"]


def test_options_leave_the_initial_weights_alone():
    """So that two networks of a seed differ in the option alone."""
    plain, full = MultiLayerNet(**SIZES, weight_init_std="glorot", rng=0), full_net()
    for name in plain.params:
        np.testing.assert_array_equal(plain.params[name], np.float32(full.params[name]))


@pytest.mark.parametrize(
    ("rule", "numerator"), [("relu", 2), ("he", 2), ("sigmoid", 1), ("xavier", 1)]
)
def test_initial_weights_follow_each_layers_inputs(rule, numerator):
    net = MultiLayerNet(900, [400, 100], 300, weight_init_std=rule, rng=0)
    for k, n_in in enumerate((900, 400, 100), start=1):
        assert np.std(net.params[f"W{k}"]) == pytest.approx(np.sqrt(numerator / n_in), rel=0.02)
        assert not np.any(net.params[f"b{k}"])
    assert np.std(MultiLayerNet(900, [99], 9, weight_init_std=0.01).params["W1"]) < 0.011


def test_training_pass_is_its_definition(device):
    """tanh((a - mean) / sd) for a = x W + b, the variance over N; gamma is 1, beta 0."""
    net = full_net(device, use_dropout=False)
    p, h = values(net.params), X
    for k in (1, 2):
        a = h @ p[f"W{k}"] + p[f"b{k}"]
        h = np.tanh((a - np.mean(a, axis=0)) / np.sqrt(np.var(a, axis=0) + 1e-6))
    scores, _ = net.forward(net.place(X), train=True)
    np.testing.assert_allclose(to_numpy(scores), h @ p["W3"] + p["b3"], rtol=1e-10, atol=1e-12)


def test_gradient_with_every_option_is_the_numerical_one(device):
    assert max(gradient_check(full_net(device), X, T).values()) < 1e-8


def test_the_train_flag_reaches_batch_norm_and_dropout():
    net = full_net()
    scores = [net.forward(X, train=True)[0] for _ in range(2)]
    assert np.any(scores[0] != scores[1])  # another mask
    before = values(net.state)
    assert before["Dropout1.calls"] == before["Dropout2.calls"] == 2
    assert np.all(before["BatchNorm2.running_mean"] != 0)
    np.testing.assert_array_equal(net.predict(X), net.predict(X))
    for name, array in net.state.items():
        np.testing.assert_array_equal(array, before[name])


def test_weight_decay_adds_half_lambda_times_the_squares(device):
    net, plain = full_net(device), full_net(device, weight_decay_lambda=0)
    assert isinstance(net.penalty, L2)
    assert plain.penalty is None
    squares = sum(np.sum(to_numpy(net.params[k]) ** 2) for k in ("W1", "W2", "W3"))
    more = float(net.loss(X, T)) - float(plain.loss(X, T))
    assert more == pytest.approx(0.5 * 0.1 * squares, rel=1e-12)
    grads, without = net.gradient(X, T), plain.gradient(X, T)
    for name, array in net.params.items():
        decay = 0.1 * to_numpy(array) if name.startswith("W") else 0
        np.testing.assert_allclose(to_numpy(grads[name]), to_numpy(without[name]) + decay,
                                   rtol=1e-9, atol=1e-14)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trained_network_comes_back_with_its_statistics(device, dtype, tmp_path):
    path, net = tmp_path / "m.safetensors", full_net(device, dtype)
    Trainer(net, X, T, X, T, 3, 4, verbose=False).train()
    net.save_params(path)
    statistics = [f"BatchNorm{k}.running_{of}" for k in (1, 2) for of in ("mean", "var")]
    assert set(load_weights(path).params) == {*net.params, *statistics}  # no counters
    back = load_network(path, device=device)
    assert isinstance(back, MultiLayerNetExtend)
    assert back.dtype == dtype
    for name in statistics:
        assert back.state[name].dtype == net.state[name].dtype
        np.testing.assert_array_equal(to_numpy(back.state[name]), to_numpy(net.state[name]))
    np.testing.assert_array_equal(to_numpy(back.predict(X)), to_numpy(net.predict(X)))
    assert back.penalty.strength == 0.1
    assert isinstance(back.layers["BatchNorm1"], BatchNorm)
    assert back.layers["BatchNorm1"].state["running_mean"] is back.state["BatchNorm1.running_mean"]


def test_parameters_alone_come_back_with_their_statistics(tmp_path):
    net, other = full_net(), full_net()
    net.gradient(X, T)
    net.save_params(tmp_path / "p.safetensors")
    assert np.any(net.predict(X) != other.predict(X))
    other.load_params(tmp_path / "p.safetensors")
    np.testing.assert_array_equal(other.predict(X), net.predict(X))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"BatchNorm2.running_var": None},
         "lacks BatchNorm2.running_var, without which the network cannot classify; use a file"),
        ({"BatchNorm1.running_mean": np.zeros(6)}, r"mean must have shape \(5,\), got \(6,\)"),
        ({"BatchNorm1.running_var": np.full(5, np.inf)}, "running_var must hold finite floats"),
        ({"gamma2": None}, r"gamma2 must have shape \(4,\), got none"),
        ({"BatchNorm3.running_var": np.ones(3)}, "more than the network: 'BatchNorm3.running_var'"),
        ({"Dropout1.calls": np.ones(1, int)}, "holds more than the network: 'Dropout1.calls'"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused(changed, message, tmp_path):
    path = tmp_path / "m.safetensors"
    full_net().save_params(path)
    weights = load_weights(path)
    arrays = {k: a for k, a in (weights.params | changed).items() if a is not None}
    save_weights(path, arrays, weights.metadata)
    with pytest.raises(WeightsError, match=message):
        load_network(path)
    net = full_net()
    before = values({**net.params, **net.state})
    with pytest.raises(WeightsError, match=message):
        net.load_params(path)
    for name, array in {**net.params, **net.state}.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("hidden", [[5, 10**12], [5] * 10**4])
def test_a_file_cannot_ask_for_more_memory_than_it_is_worth(hidden, tmp_path):
    path = tmp_path / "m.safetensors"
    arguments = {"model": MODEL, "arguments": json.dumps(EVERYTHING | {"hidden_size_list": hidden})}
    save_weights(path, values(full_net().file_arrays()), arguments | {"dtype": "float64"})
    with pytest.raises(WeightsError, match="holds no such array"):
        load_network(path)


@pytest.mark.parametrize("model", ["multi-layer-net", MODEL])
def test_they_are_built_by_name(model):
    net = build_network(model, SIZES, rng=0)
    assert type(net) is MODELS[model].build
    assert MODELS[model][1:4] == ("sgd", 0.01, 20)
    np.testing.assert_array_equal(net.params.flat, MultiLayerNet(**SIZES, rng=0).params.flat)


def test_dropout_is_drawn_from_the_seed():
    keys = [full_net().layers[f"Dropout{k}"].key for k in (1, 2, 1)]
    assert keys[0] == keys[2] != keys[1]
    assert isinstance(full_net().layers["Dropout1"], Dropout)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "step"}, "activation 'step' is unknown; use relu, sigmoid, tanh"),
        ({"weight_init_std": "best"}, "initial weights 'best' are unknown; use a number or relu"),
        ({"weight_decay_lambda": -1}, "strength must be a number from 0, got -1"),
        ({"hidden_size_list": [5, 0]}, "at least one input and one output, got n_in=5, n_out=0"),
    ],
)
def test_misuse_is_told(options, message):
    for kind in (MultiLayerNet, MultiLayerNetExtend):
        with pytest.raises(ArgumentError, match=message):
            kind(**(SIZES | options))
    with pytest.raises(ArgumentError, match="dropout_ratio must be from 0 to below 1, got 1"):
        full_net(dropout_ratio=1)
