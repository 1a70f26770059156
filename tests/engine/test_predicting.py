"""What the CPU's engine computes for predictions."""

import numpy as np
import pytest

from xpnet.engine import get_engine
from xpnet.engine.cpu.predicting import Predicting
from xpnet.layers import (
    Affine,
    BatchNorm,
    Convolution,
    Dropout,
    Heads,
    Identity,
    MaxPool,
    ReLU,
    Residual,
    Sequential,
)
from xpnet.models import GoogLeNet, Network

FORMS = pytest.mark.parametrize("compiled", [False, None], ids=["numpy", "as it comes"])


def net_of(dtype="float64"):
    """Convolutions and a row with norms that can be folded, and two with norms that cannot."""
    shared = Convolution(4, 4, 3, pad=1, rng=1)
    layers = [
        Convolution(2, 4, 3, pad=1, bias=False, rng=0), Identity(), BatchNorm(4), ReLU(),
        Residual([shared, BatchNorm(4), BatchNorm(4)]), BatchNorm(4), ReLU(),
        MaxPool(2, stride=2), Affine(36, 5, rng=2), Dropout(0.5, inverted=True, rng=0),
        BatchNorm(5),
    ]  # fmt: skip
    net = Network(layers, input_shape=(2, 6, 6), dtype=dtype)
    vary(net)
    return net


def vary(net, seed=0):
    """Other statistics and parameters, in place."""
    rng = np.random.default_rng(seed)
    for arrays in (net.params, net.state):
        for name, array in arrays.items():
            if array.dtype.kind == "f":
                array[...] = rng.random(array.shape) + (0.5 if "var" in name else -0.5)


@FORMS
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_norms_are_folded_and_follow_what_changes(compiled, dtype):
    net, rng = net_of(dtype), np.random.default_rng(1)
    engine, tol = get_engine(net, threads=2, compiled=compiled), {"float64": 1e-12, "float32": 2e-5}
    for seed in range(3):
        for n in (1, 40):
            x = rng.standard_normal((n, 2, 6, 6)).astype(dtype)
            want = net.predict(x)
            got = engine.predict(x)
            np.testing.assert_allclose(got, want, atol=tol[dtype] * np.abs(want).max())
        vary(net, seed)
        engine.loss_and_gradient(x, np.arange(40) % 5)  # which moves the statistics
    kinds = [type(node.layer) for node in engine._predicting().nodes]
    assert kinds.count(BatchNorm) == 1  # behind the sum
    assert Identity not in kinds
    assert Dropout not in kinds
    assert engine._predicting().folds


@FORMS
@pytest.mark.parametrize("n", [1, 30])
def test_images_come_out_as_the_layers_have_them(compiled, n):
    """Also several by name, one of which is what the others read."""
    x = np.random.default_rng(3).standard_normal((n, 2, 6, 7))
    maps = {"features": Identity(), "one": Sequential([Convolution(4, 3, 1, rng=1), ReLU()])}
    for last in (Convolution(4, 3, 1, rng=2), Heads(maps)):
        net = Network(
            [Convolution(2, 4, 3, pad=1, rng=0), BatchNorm(4), ReLU(), last],
            input_shape=(2, 6, 7), dtype="float64",
        )  # fmt: skip
        vary(net)
        got, want = get_engine(net, threads=2, compiled=compiled).predict(x), net.predict(x)
        got, want = (y if isinstance(y, dict) else {"": y} for y in (got, want))
        assert got.keys() == want.keys()
        for name, y in want.items():
            np.testing.assert_allclose(got[name], y, atol=1e-12, err_msg=name)


@FORMS
def test_one_number_that_changes_is_noticed(compiled):
    """Of every parameter and every running statistic."""
    net = net_of()
    engine = get_engine(net, threads=1, compiled=compiled)
    x = np.random.default_rng(2).standard_normal((1, 2, 6, 6))
    for name, array in [*net.params.items(), *net.state.items()]:
        before, again = engine.predict(x), engine.predict(x)
        np.testing.assert_array_equal(again, before)
        array.reshape(-1)[-1] += 0.25
        want, got = net.predict(x), engine.predict(x)
        np.testing.assert_allclose(got, want, atol=1e-12 * np.abs(want).max(), err_msg=name)
    norms = [node.layer for node in net.nodes() if type(node.layer) is BatchNorm]
    norms[0].eps = 0.5
    want = net.predict(x)
    np.testing.assert_allclose(engine.predict(x), want, atol=1e-12 * np.abs(want).max())


def test_nothing_is_taken_up_again_that_is_as_it_was():
    """Also what is no number, which is not even equal to itself; a zero of another sign is not."""
    net = net_of()
    watched = get_engine(net, threads=1)._predicting()
    for array, value in (
        (net.params["Convolution1.W"], np.nan),
        (net.state["BatchNorm1.running_mean"], np.nan),
        (net.params["Convolution1.W"], 0.0),
        (net.params["Convolution1.W"], -0.0),
    ):
        before = watched.follow(net.params)
        assert watched.follow(net.params) is before
        array.reshape(-1)[-1] = value
        assert watched.follow(net.params) != before


def test_each_share_notices_what_changed_while_it_was_idle():
    net = Network([Convolution(1, 2, 3, rng=0), BatchNorm(2)], input_shape=(1, 8, 8))
    vary(net)
    engine = get_engine(net, threads=2)
    many = np.random.default_rng(3).random((600, 1, 8, 8), dtype=np.float32)
    engine.predict(many)
    vary(net, 1)
    for x in (many[:1], many, many[:1]):  # first without the second thread
        want = net.predict(x)
        np.testing.assert_allclose(engine.predict(x), want, atol=1e-5 * np.abs(want).max())
        engine.loss_and_gradient(many[:1], np.zeros((1, 2, 6, 6), dtype=np.float32))


def test_what_others_read_too_is_not_folded():
    """The convolution's output goes round the norm as well, though not by itself."""
    body = Sequential([BatchNorm(3)])
    net = Network(
        [Convolution(1, 3, 3, rng=0), Identity(), Residual([body])], input_shape=(1, 5, 5)
    )
    assert not Predicting(net.nodes(), net.outputs).folds


def test_only_the_main_head_is_predicted():
    net = GoogLeNet.small(auxiliary=True, rng=0)
    engine = get_engine(net, threads=1)
    x = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
    want = net.predict(x)
    np.testing.assert_allclose(engine.predict(x), want, atol=1e-5 * np.abs(want).max())
    assert not any("aux" in node.name for node in engine._predicting().nodes)
    assert any("aux" in node.name for node in net.nodes())


def test_a_result_that_is_not_finite_is_the_networks():
    """Folded filters may overflow where the network's do not."""
    net = Network([Affine(2, 2, rng=0), BatchNorm(2)])
    net.params["Affine1.W"][...] = 1e30
    net.params["BatchNorm1.gamma"][...] = 1e10
    net.state["BatchNorm1.running_var"][...] = 1e-18
    engine = get_engine(net, threads=1)
    x = np.array([[1e-30, -1e-30]], dtype=np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(engine.predict(x), net.predict(x))


def test_parts_that_need_not_meet_stay_in_the_cache():
    """Of large images; those of small ones are as large as all others."""
    for norms, size, learned, predicted in (
        ([], 28, 25, 25),
        ([BatchNorm(16)], 28, 50, 25),
        ([], 8, 50, 50),
    ):
        layers = [Convolution(16, 16, 3, pad=1, rng=0), *norms]
        net = Network(layers, input_shape=(16, size, size))
        engine = get_engine(net, threads=1)
        for train, most in ((True, learned), (False, predicted)):
            (share,) = engine.division(100, train=train).shares
            assert {end - first for first, end in share} == {most}
