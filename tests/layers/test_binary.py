"""Binarized layers: the specification's values, and weights that stay within their bounds."""

import copy
import pickle

import numpy as np
import pytest

from test_layers import placed
from xpnet import (
    SGD,
    AdamW,
    Affine,
    Batches,
    BatchNorm,
    BinaryAffine,
    BinaryConvolution,
    Convolution,
    MaxPool,
    Network,
    Rescale,
    Sign,
    Trainer,
    load_network,
    synthetic_digits,
    to_numpy,
)
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.testing import check_backward


def test_signs_and_the_gradient_that_goes_straight_through(device):
    """Values of 1.12: the ends of -1 ... 1 are in, and 0 is positive."""
    x = device.asarray([-2, -1, -0.3, 0, 0.4, 1, 1.5], dtype="float64")
    y, backward = Sign().forward(x)
    dx, grads = backward(device.asarray([1, 2, 3, 4, 5, 6, 7], dtype="float64"))
    assert to_numpy(y).tolist() == [-1, -1, -1, 1, 1, 1, 1]
    assert to_numpy(dx).tolist() == [0, 2, 3, 4, 5, 6, 0]
    assert grads == {}
    assert np.isnan(to_numpy(Sign().forward(device.asarray([np.nan]))[0])).all()


WINDOWS = [
    {"filter_size": 3, "pad": 1},
    {"filter_size": (2, 3), "stride": 2, "uneven": "drop"},
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("window", [None, *WINDOWS])
def test_layers_compute_with_the_signs_of_their_weights(device, window, dtype):
    """As the layers of real weights do with those; the gradient of the signs is that of W."""
    rng = np.random.default_rng(0)
    if window is None:
        layer, real, shape = BinaryAffine(6, 3, rng=1), Affine(6, 3, bias=False), (4, 6)
    else:
        layer = BinaryConvolution(2, 3, rng=1, **window)
        real, shape = Convolution(2, 3, bias=False, **window), (4, 2, 5, 5)
    W = layer.params["W"]
    W[0, ...] = 0.0  # which counts as positive
    real.params = {"W": np.where(W >= 0, 1.0, -1.0)}
    x = device.asarray(rng.standard_normal(shape), dtype=dtype)
    (y, backward), (want, real_backward) = (
        placed(each, device, dtype).forward(x) for each in (layer, real)
    )
    dy = device.asarray(rng.standard_normal(tuple(y.shape)), dtype=dtype)
    (dx, grads), (real_dx, real_grads) = backward(dy), real_backward(dy)
    for got, expected in ((y, want), (dx, real_dx), (grads["W"], real_grads["W"])):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(to_numpy(got), to_numpy(expected))
    assert list(grads) == ["W"]
    assert layer.output_shape(shape[1:]) == tuple(y.shape[1:])
    for needed in ({"need_dx": False}, {"need_grads": False}):
        some = backward(dy, **needed)
        assert (some[0] is None, some[1] == {}) == ("need_dx" in needed, "need_grads" in needed)


def test_initial_weights_lie_within_the_bounds_and_one_seed_is_one_layer():
    for make in (
        lambda **k: BinaryAffine(2, 400, **k),
        lambda **k: BinaryConvolution(2, 99, 1, **k),
    ):
        W = make(rng=3).params["W"]
        assert abs(W).max() == 1  # sqrt(1/2) is drawn, and cut off
        np.testing.assert_array_equal(W, make(rng=3).params["W"])
        assert 0.5 < W.std() < 0.7


def test_rescale_is_what_it_says(device):
    x = device.asarray(np.random.default_rng(0).random((3, 4)))
    np.testing.assert_allclose(to_numpy(Rescale(2, -1).forward(x)[0]), 2 * to_numpy(x) - 1)
    check_backward(Rescale(-3, 0.5), x)
    with pytest.raises(ArgumentError, match="Rescale needs finite numbers, got scale=inf"):
        Rescale(float("inf"), 0)


def small(device="cpu", dtype="float32") -> Network:
    layers = {
        "conv": BinaryConvolution(1, 4, 3, pad=1, rng=0),
        "pool": MaxPool(7, stride=7),
        "bn": BatchNorm(4),
        "sign": Sign(),
        "fc": BinaryAffine(64, 10, rng=1),
        "out": BatchNorm(10),
    }
    return Network(layers, input_shape=(1, 28, 28), device=device, dtype=dtype)


def digits(n=40):
    x, t = synthetic_digits(n, seed=0)
    return x.reshape(-1, 1, 28, 28), t


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("optimizer", [SGD(900.0), AdamW(0.7)])
def test_training_keeps_weights_within_their_bounds(engine, optimizer):
    """Steps as long as these would take them out at once."""
    network = small()
    x, t = digits()
    trainer = Trainer(
        network, x, t, epochs=2, mini_batch_size=20, optimizer=optimizer.fresh(),
        engine=engine, verbose=False,
    )  # fmt: skip
    trainer.train()
    for name in ("conv.W", "fc.W"):
        assert abs(network.params[name]).max() == 1, name
    assert abs(network.params["bn.gamma"]).max() > 1  # what has no bounds has none


def stepped(network: Network, rate: float = 900.0) -> float:
    x, t = digits()
    SGD(rate).update(network.params, network.gradient(x, t))
    return float(np.max(np.abs(to_numpy(network.params["fc.W"]))))


def test_bounds_hold_in_copies_pickles_and_files_and_while_rates_change(tmp_path):
    network = small()
    network.save_params(tmp_path / "w.safetensors")
    others = [
        copy.deepcopy(network),
        pickle.loads(pickle.dumps(network)),
        load_network(tmp_path / "w.safetensors"),
    ]
    for other in others:
        x, _ = digits()
        np.testing.assert_array_equal(other.predict(x), network.predict(x))
        assert stepped(other) == 1
    network.scale_rate(5.0, "fc")
    assert stepped(network) == 1
    network.freeze("fc")
    before = network.params["fc.W"].copy()
    stepped(network)
    np.testing.assert_array_equal(network.params["fc.W"], before)


def test_bounds_hold_on_other_devices(device):
    assert stepped(small(device, "float64")) == 1


def test_weight_decay_and_penalties_leave_binary_weights_alone():
    network = small()
    assert not network.params.learning("fc.W").decays
    before = network.params["fc.W"].copy()
    AdamW(0.1, weight_decay=5.0).update(network.params, network.params.like())
    np.testing.assert_array_equal(network.params["fc.W"], before)


@pytest.mark.parametrize(
    "bounds", [{"V": (-1, 1)}, {"W": 1}, {"W": (0.5, 1)}, {"W": (1, -1)}, {"W": ("a", 1)}, [1, 2]]
)
def test_bounds_that_are_none_are_refused(bounds):
    layer = Affine(2, 2)
    layer.bounds = bounds
    with pytest.raises(
        ArgumentError, match="layer Affine1: bounds of a layer are pairs of numbers"
    ):
        Network([layer])


def test_a_layer_of_the_users_own_may_have_bounds():
    layer = Affine(784, 10, rng=0)
    layer.bounds = {"W": (-0.01, 0.02), "b": (-1, 1)}
    network = Network([layer])
    x, t = digits()
    batches = Batches(x.reshape(-1, 784), t, 10)
    for images, labels in batches.epoch(0):
        SGD(0.5).update(network.params, network.gradient(images, labels))
    W = network.params["Affine1.W"]
    assert W.min() == np.float32(-0.01)
    assert W.max() == np.float32(0.02)


def test_the_engines_compute_what_the_layers_do():
    network = small()
    x, t = digits()
    for train in (True, False):
        engine = get_engine(copy.deepcopy(network), "cpu")
        got, want = (
            engine.forward(x, train=train)[0],
            network.forward(network.place(x), train=train),
        )
        np.testing.assert_allclose(got, want[0], atol=1e-4)
    (_, _, grads), (_, _, want) = (
        each.loss_and_gradient(network.place(x), t)
        for each in (get_engine(copy.deepcopy(network), "cpu"), copy.deepcopy(network))
    )
    for name in want:
        np.testing.assert_allclose(grads[name], want[name], atol=1e-4, err_msg=name)
