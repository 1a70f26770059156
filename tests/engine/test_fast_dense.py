"""Fully connected networks whose loops numba compiles, against the layers."""

import numpy as np
import pytest

from tolerances import assert_near
from xpnet import Network
from xpnet.engine import get_engine
from xpnet.layers import Affine, ReLU, Sigmoid

pytest.importorskip("numba", reason="numba is not installed")
TOL = {"float64": {"rtol": 1e-12, "atol": 1e-14}, "float32": {"rtol": 1e-4, "atol": 1e-6}}


def made(dtype="float64", shape=(12,)):
    layers = [
        Affine(12, 7, rng=0), ReLU(), Affine(7, 5, rng=1, bias=False), ReLU(), Sigmoid(),
        Affine(5, 4, rng=2),
    ]  # fmt: skip
    return Network(layers, input_shape=shape, names="book", dtype=dtype)


def samples(network, n):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, *network.input_shape)).astype(network.dtype)
    return x, rng.integers(0, 4, n)


@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("shape", [(12,), (3, 2, 2)], ids=["rows", "images"])
@pytest.mark.parametrize("dtype", TOL)
def test_a_pass_is_that_of_the_layers(dtype, shape, n):
    network = made(dtype, shape)
    network.params["b1"] = np.linspace(-1, 1, 7)
    engine, (x, t) = get_engine(network, "cpu", 1, compiled=True), samples(network, n)
    assert engine.methods()["Affine1"] == "GEMM with ReLU"
    assert engine.methods()["ReLU1"] == "in Affine1"
    for _ in range(2):
        loss, scores, grads = engine.loss_and_gradient(x, t)
        want_loss, want_scores, want = network.loss_and_gradient(x, t)
        assert_near(loss, want_loss, TOL[dtype])
        assert_near(scores, want_scores, TOL[dtype])
        assert grads.keys() == want.keys()
        for name, grad in want.items():
            assert_near(grads[name], grad, TOL[dtype])
        scores, backward = engine.forward(x)
        dx, _ = backward(np.ones_like(scores))
        assert_near(dx, network.forward(x)[1](np.ones_like(scores))[0], TOL[dtype])
        np.testing.assert_array_equal(engine.predict(x), scores)


def test_what_is_frozen_has_no_gradient():
    network = made()
    network.params.set_learning(["W1", "b1"], frozen=True)
    x, t = samples(network, 5)
    grads = get_engine(network, "cpu", 1, compiled=True).loss_and_gradient(x, t)[2]
    assert not grads["W1"].any()
    assert not grads["b1"].any()
    assert_near(grads["W2"], network.loss_and_gradient(x, t)[2]["W2"], TOL["float64"])


def test_what_is_not_a_number_stays_so():
    network = made()
    x, _ = samples(network, 3)
    x[1, 0] = np.nan
    engine = get_engine(network, "cpu", 1, compiled=True)
    assert np.isnan(engine.predict(x)).all(axis=1).tolist() == [False, True, False]
    scores, backward = engine.forward(x)
    dy = np.zeros_like(scores)
    dy[2, 0] = np.inf
    with np.errstate(invalid="ignore"):
        dx, grads = backward(dy)
        want_dx, want = network.forward(x)[1](dy)
    np.testing.assert_array_equal(np.isnan(dx), np.isnan(want_dx))
    for name, grad in want.items():
        np.testing.assert_array_equal(np.isnan(grads[name]), np.isnan(grad), err_msg=name)
