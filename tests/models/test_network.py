"""Networks, their parameters, and the files that keep them."""

import json
import pickle
from itertools import pairwise

import numpy as np
import pytest

from xpnet import (
    SGD,
    Affine,
    Ensemble,
    IdentityWithLoss,
    Network,
    ReLU,
    Sigmoid,
    SigmoidWithLoss,
    TwoLayerNet,
    gradient_check,
    sigmoid,
    softmax,
    to_numpy,
)
from xpnet.arrays.parameters import FlatParams
from xpnet.errors import ArgumentError, WeightsError
from xpnet.files.weights import save_weights
from xpnet.models import load_network

RNG = np.random.default_rng(0)
X, T = RNG.standard_normal((8, 6)), RNG.integers(3, size=8)
ARGUMENTS = {"input_size": 6, "hidden_size": 5, "output_size": 3, "weight_init_std": 0.5}


def small_net(device="cpu", **options):
    return TwoLayerNet(**ARGUMENTS, rng=0, device=device, dtype="float64", **options)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_gradient_is_the_numerical_one(device, activation):
    errors = gradient_check(small_net(device, activation=activation), X, T)
    assert list(errors) == ["W1", "b1", "W2", "b2"]
    assert max(errors.values()) < 1e-9


def test_regression_gradient_is_the_numerical_one(device):
    net = Network([Affine(6, 4, rng=0), Sigmoid(), Affine(4, 2, rng=1)], IdentityWithLoss(),
                  device=device, dtype="float64")  # fmt: skip
    assert max(gradient_check(net, X, RNG.standard_normal((8, 2))).values()) < 1e-9


def test_parameters_are_views_of_one_buffer(device):
    net = small_net(device)
    assert all(to_numpy(net.params[k]).shape == s for k, s in
               {"W1": (6, 5), "b1": (5,), "W2": (5, 3), "b2": (3,)}.items())  # fmt: skip
    assert net.params.count == 53
    net.params.flat[...] = 0.0
    assert not np.any(to_numpy(net.params["W1"]))
    before = float(net.loss(X, T))
    net.params["b2"] = np.asarray([5.0, 0.0, 0.0])
    assert float(net.loss(X, T)) != before  # the layers see it
    np.testing.assert_array_equal(to_numpy(net.layers["Affine2"].params["b"]), [5.0, 0.0, 0.0])


def test_the_books_update_loop_works(device):
    """`params[key] -= lr * grads[key]` changes the network in place."""
    net, same = small_net(device), small_net(device)
    grads = net.gradient(X, T)
    for key in ("W1", "b1", "W2", "b2"):
        net.params[key] -= 0.1 * grads[key]
    SGD(0.1).update(same.params, same.gradient(X, T))
    np.testing.assert_array_equal(to_numpy(net.params.flat), to_numpy(same.params.flat))
    assert float(net.loss(X, T)) < float(small_net(device).loss(X, T))


def test_flat_arrays_start_aligned_and_gaps_stay_zero(device):
    params = FlatParams({"a": (3,), "b": (2, 2)}, device, "float32")
    params["a"], params["b"] = np.ones(3), np.ones((2, 2))
    flat = to_numpy(params.flat)
    assert flat.shape == (128,)
    np.testing.assert_array_equal(np.flatnonzero(flat), [0, 1, 2, 64, 65, 66, 67])


def test_one_seed_is_one_network_on_every_library(device):
    for name, array in small_net(device).params.items():
        np.testing.assert_array_equal(to_numpy(array), small_net().params[name])


def test_accuracy_and_probabilities(device):
    net = small_net(device)
    scores = to_numpy(net.predict(X))
    assert net.accuracy(X, T) == np.mean(np.argmax(scores, axis=1) == T)
    assert net.accuracy(X, np.eye(3)[T]) == net.accuracy(X, T)
    np.testing.assert_allclose(to_numpy(net.probabilities(X)), softmax(scores), rtol=1e-14)
    np.testing.assert_allclose(to_numpy(net.predict(X[0])), scores[0], rtol=1e-14)


def test_probabilities_are_what_the_loss_makes_of_scores(device):
    """A sigmoid takes each output by itself; of numbers there are none, rather than a softmax."""
    net = small_net(device)
    net.last_layer = SigmoidWithLoss()
    want = sigmoid(to_numpy(net.predict(X)))
    for given in (net, Ensemble([net])):
        np.testing.assert_allclose(to_numpy(given.probabilities(X)), want, rtol=1e-14)
    net.last_layer = IdentityWithLoss()
    for given in (net, Ensemble([net])):
        with pytest.raises(ArgumentError, match=r"a loss of probabilities.* has IdentityWith"):
            given.probabilities(X)


def test_accuracy_needs_no_more_memory_for_more_images(monkeypatch):
    net, sizes = small_net(), []
    predict = net.predict
    monkeypatch.setattr(net, "predict", lambda x: sizes.append(len(x)) or predict(x))
    assert net.accuracy(X, T, batch_size=3) == small_net().accuracy(X, T)
    assert sizes == [3, 3, 2]


def test_hidden_units_with_equal_weights_stay_equal():
    net = Network(
        [Affine(6, 4, std=0.0), Sigmoid(), Affine(4, 3, std=0.0)], names="book", dtype="float64"
    )
    for _ in range(5):
        SGD(0.5).update(net.params, net.gradient(X, T))
    W1 = net.params["W1"]
    assert np.any(W1)
    np.testing.assert_array_equal(W1, np.broadcast_to(W1[:, :1], W1.shape))


def test_a_network_comes_back_from_its_file(tmp_path, device):
    net = small_net(device)
    net.save_params(tmp_path / "m.safetensors")
    back = load_network(tmp_path / "m.safetensors", device=device)
    assert back.dtype == "float64"
    np.testing.assert_array_equal(to_numpy(back.predict(X)), to_numpy(net.predict(X)))


def published(path, sizes=(6, 5, 4, 3), **changed):
    """A pickle as the book publishes one: a dict of W1, b1, ... in float32."""
    rng, params = np.random.default_rng(1), {}
    for k, (n_in, n_out) in enumerate(pairwise(sizes), start=1):
        params[f"W{k}"] = rng.standard_normal((n_in, n_out)).astype(np.float32)
        params[f"b{k}"] = rng.standard_normal(n_out).astype(np.float32)
    path.write_bytes(pickle.dumps(params | changed, protocol=2))
    return params | changed


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_a_published_pickle_becomes_the_network_of_chapter_3(tmp_path, device, activation):
    p = published(tmp_path / "sample_weight.pkl")
    net = load_network(tmp_path / "sample_weight.pkl", activation=activation, device=device)
    h = {"sigmoid": lambda a: 1 / (1 + np.exp(-a)), "relu": lambda a: np.maximum(a, 0)}[activation]
    want = h(h(X @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]) @ p["W3"] + p["b3"]
    np.testing.assert_allclose(to_numpy(net.predict(X)), want, rtol=1e-5, atol=1e-5)
    default = load_network(tmp_path / "sample_weight.pkl", device=device)
    assert [type(layer) for layer in default.layers.values()][1] is Sigmoid


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"W2": np.ones((7, 4))}, r"W1 \(6, 5\) and W2 \(7, 4\) do not fit together"),
        ({"W2": np.ones((2, 3, 4))}, r"W2 must be a matrix, got shape \(2, 3, 4\)"),
        ({"b3": np.ones(4)}, r"b3 must have shape \(3,\), got \(4,\)"),
        ({"b3": np.asarray([1.0, np.nan, 0.0])}, "b3 must hold finite floats"),
        ({"b3": np.ones(3, dtype=int)}, "b3 must hold finite floats, got int64"),
        ({"c": np.ones(3), "d": np.ones(3)}, "must hold W1, b1, W2, b2, .* got 'W1'"),
    ],
)
def test_pickles_that_are_no_network_are_refused(tmp_path, changed, message):
    published(tmp_path / "w.pkl", **changed)
    with pytest.raises(WeightsError, match=message):
        load_network(tmp_path / "w.pkl")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"model": "three-layer-net"}, "model 'three-layer-net' is unknown"),
        ({"arguments": "[1"}, "describes a network that this version cannot build"),
        ({"arguments": '{"size": 3}'}, "describes a network that this version cannot build"),
        ({"arguments": json.dumps(ARGUMENTS | {"hidden_size": 4})}, r"W1 must have shape \(6, 4\)"),
        ({"arguments": json.dumps(ARGUMENTS | {"hidden_size": 10**12})}, "holds no such array"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, metadata, message):
    params = {name: to_numpy(array) for name, array in small_net().params.items()}
    metadata = {
        "model": "two-layer-net",
        "arguments": json.dumps(ARGUMENTS),
        "dtype": "float64",
    } | metadata
    save_weights(tmp_path / "m.safetensors", params, metadata)
    with pytest.raises(WeightsError, match=message):
        load_network(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        ("two-layer-net", "[" * 100_000),
        ("two-layer-net", '{"input_size": NaN, "hidden_size": 1e999, "output_size": 2}'),
        ("simple-convnet", '{"input_dim": []}'),
        ("simple-convnet", '{"input_dim": [1, 1e999, 8]}'),
        ("simple-convnet", '{"conv_param": [1]}'),
        ("simple-convnet", f'{{"weight_init_std": {10**400}}}'),
        ("simple-convnet", '{"conv_param": {"pad": 1000000000}}'),
        ("multi-layer-net", f'{{"input_size": 1, "hidden_size_list": {[1] * 99_999}}}'),
    ],
)
def test_a_description_of_no_network_is_refused(tmp_path, model, arguments):
    metadata = {"model": model, "arguments": arguments, "dtype": "float32"}
    params = {name: to_numpy(array) for name, array in small_net().params.items()}
    save_weights(tmp_path / "m.safetensors", params, metadata)
    with pytest.raises(WeightsError, match="describes a network that this version cannot build"):
        load_network(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: small_net().predict(np.ones((2, 6), complex)), "real ones, got complex128; give"),
        (lambda: small_net().predict(3.0), r"a batch of shape \(N, 6\) is needed, got \(\)"),
        (lambda: small_net().predict("3"), "an array of numbers is needed, got str; convert it"),
        (lambda: small_net().params.__setitem__("W3", X), "no parameter is called 'W3'"),
        (lambda: small_net().params.__setitem__("b1", X), r"b1 has shape \(5,\), got \(8, 6\)"),
        (lambda: TwoLayerNet(2, 2, 2, activation="step"), "activation 'step' is unknown"),
        (lambda: TwoLayerNet(2, 2, 2, dtype="float31"), "dtype 'float31' is not one of"),
        (lambda: TwoLayerNet(2, 2, 2).numerical_gradient(np.ones((1, 2)), np.asarray([0])),
         "needs a float64 array, got float32; .* the network with dtype=.float64."),
        (lambda: SGD(-0.1), r"must be a positive number, got -0.1; try 0.1"),
        (lambda: SGD(float("nan")), "must be a positive number, got nan"),
        (lambda: SGD().update({"W": X}, {}), "needs parameters, and one gradient for each"),
        (lambda: small_net().accuracy(X, T[:3]), "one target a sample, got 3 for 8"),
        (lambda: Network([ReLU(), Affine(2, 2), ReLU()]).gradient(np.ones((1, 3)), T[:1]),
         r"a batch of shape \(N, 2\) is needed, got \(1, 3\)"),
    ],
)  # fmt: skip
def test_misuse_is_told(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
