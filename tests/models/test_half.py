"""Networks that compute with numbers of 16 bits, and learning with them."""

import copy
import pickle

import numpy as np
import pytest

from branching import BRANCHING, batch, by_name
from xpnet import (
    SGD,
    Affine,
    Batches,
    Dropout,
    HalfStorage,
    LossScale,
    Network,
    Residual,
    SimpleConvNet,
    Trainer,
    TwoLayerNet,
    half_precision,
    rounded,
    synthetic_digits,
    to_numpy,
)
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError, DivergedError

FORMATS = ["float16", "bfloat16"]


def two_layers(device="cpu", dtype="float32"):
    return TwoLayerNet(6, 5, 4, weight_init_std=0.7, rng=0, device=device, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("to", FORMATS)
def test_input_parameters_and_outputs_are_rounded_and_so_are_gradients(device, to, dtype):
    """Line by line, as the definition has it."""
    network = two_layers(device, dtype)
    half = half_precision(network, to)
    x, d = (
        device.asarray(np.random.default_rng(0).standard_normal(shape), dtype=dtype)
        for shape in ((3, 6), (3, 4))
    )

    def r(array):
        return rounded(array, to)

    W1, b1, W2, b2 = (r(half.params[name]) for name in ("W1", "b1", "W2", "b2"))
    a = r(r(x) @ W1 + b1)
    h = device.xp.maximum(a, 0.0)
    y, backward = half.forward(x)
    np.testing.assert_array_equal(to_numpy(y), to_numpy(r(h @ W2 + b2)))
    np.testing.assert_array_equal(to_numpy(half.predict(x)), to_numpy(y))

    dx, grads = backward(d)
    dh = r(r(d) @ W2.T)
    da = r(dh * device.xp.astype(h > 0, h.dtype))
    want = {"W2": h.T @ r(d), "W1": r(x).T @ da}
    for name in ("W1", "W2"):
        np.testing.assert_array_equal(to_numpy(grads[name]), to_numpy(r(want[name])), name)
    np.testing.assert_array_equal(to_numpy(dx), to_numpy(da @ W1.T))
    # The parameters themselves are the masters.
    for name, array in network.params.items():
        np.testing.assert_array_equal(to_numpy(half.params[name]), to_numpy(array))


@pytest.mark.parametrize("name", BRANCHING)
def test_networks_that_branch_stay_near_and_are_of_16_bits(name):
    network = BRANCHING[name](dtype="float32")
    x = network.place(batch(network, 4)[0])
    half = half_precision(network, "float16")
    got, want = by_name(half.predict(x)), by_name(network.predict(x))
    for key in want:
        assert 0 < abs(got[key] - want[key]).max() < 0.02 * abs(want[key]).max()
        np.testing.assert_array_equal(got[key], rounded(got[key], "float16"))
    assert [node.name for node in half.nodes()] == [node.name for node in network.nodes()]


def test_the_sum_of_a_residual_is_rounded():
    layers = [Residual([Affine(2, 2, std=1.0, bias=False, rng=0)])]
    half = half_precision(Network(layers, input_shape=(2,)), "bfloat16")
    half.params.flat[...] = 1.0
    x = np.asarray([[256.0, 1.0]])
    assert half.predict(x).tolist() == [[512, 256]]  # 257 is 256 in bfloat16, 257 + 1 then, too


def test_copies_pickles_and_engines_compute_alike():
    half = half_precision(SimpleConvNet(rng=0), "bfloat16")
    x = np.random.default_rng(0).random((3, 1, 28, 28)).astype("float32")
    want = half.predict(x)
    for other in (copy.deepcopy(half), pickle.loads(pickle.dumps(half))):
        np.testing.assert_array_equal(other.predict(x), want)
        other.params["W1"][...] = 0.0  # of this one alone
        assert abs(other.predict(x) - want).max() > 0
    np.testing.assert_array_equal(half.predict(x), want)
    engine = get_engine(half)
    assert engine.describe()["engine_reason"] == "Conv1, Convolution, has a forward of its own"
    np.testing.assert_array_equal(engine.predict(x), want)


def test_freezing_and_dropout_go_on_as_in_the_network():
    network = Network([Affine(4, 3, rng=0), Dropout(0.5, rng=0), Affine(3, 2, rng=0)])
    network.freeze("Affine1")
    half = half_precision(network)
    x, t = np.ones((5, 4), dtype="float32"), np.zeros(5, int)
    assert sorted(half.gradient(x, t)) == ["Affine2.W", "Affine2.b"]
    assert half.state["Dropout1.calls"] == 1
    assert network.state["Dropout1.calls"] == 0


class Slotted:
    """A layer with no place for a forward of its own."""

    __slots__ = ("params",)

    def __init__(self):
        self.params = {}

    def output_shape(self, shape):
        return shape

    def forward(self, x, *, train=False):
        return x, lambda dy, need_dx=True: (dy, {})


def test_what_cannot_be_is_told():
    half = half_precision(two_layers())
    with pytest.raises(ArgumentError, match="Affine1, Affine, has a forward of its own"):
        half_precision(half)
    with pytest.raises(ArgumentError, match="layer Slotted1, Slotted, has no place"):
        half_precision(Network([Affine(2, 2), Slotted()]))
    with pytest.raises(ArgumentError, match="to must be 'float16' or 'bfloat16', got 'float8'"):
        half_precision(two_layers(), "float8")


def scaled_step(half, optimizer, loss_scale, x, t):
    scores, backward = half.forward(x, train=True)
    _, loss_backward = half.last_layer.forward(scores, t)
    _, grads = backward(loss_scale.scaled(loss_backward()), need_dx=False)
    return loss_scale.update(optimizer, half.params, grads)


def test_small_gradients_survive_with_a_loss_scale_alone(device):
    """Gradients near 2^-27 are 0 in float16, and are not if the loss is scaled by 2^15."""
    network = two_layers(device)
    network.params["b1"] = np.ones(5)  # so that no unit hangs on how the small inputs are rounded
    t = device.asarray([0, 1, 2], dtype="int64")
    x = device.asarray(np.full((3, 6), 2.0**-24), dtype="float32")
    wanted = network.gradient(x, t)["W1"]
    for scale, kept in ((1.0, False), (2.0**15, True)):
        half = half_precision(network, "float16")
        before = to_numpy(half.params["W1"]).copy()
        assert scaled_step(half, SGD(2.0**20), LossScale(scale), x, t)
        moved = (before - to_numpy(half.params["W1"])) / 2.0**20
        error = abs(moved - to_numpy(wanted)).max() / abs(to_numpy(wanted)).max()
        assert (error < 5e-3) == kept


def test_updates_too_small_for_16_bits_need_a_master_copy():
    """lr g = 2^-13 is less than half of the last digit of 1, and 2^-11 of a constraint's."""
    for constraint, moved in ((None, 8 * 2.0**-13), (HalfStorage("float16"), 0.0)):
        params = {"W": np.ones(3, dtype="float32")}
        for _ in range(8):
            SGD(1.0).update(params, {"W": np.full(3, 2.0**-13, dtype="float32")})
            if constraint is not None:
                constraint.apply(params)
        np.testing.assert_array_equal(params["W"], 1 - moved)


def test_a_trainer_keeps_parameters_in_16_bits():
    x, t = synthetic_digits(60, seed=0)
    network = TwoLayerNet(784, 5, 10, rng=0)
    trainer = Trainer(network, x, t, epochs=1, mini_batch_size=20, verbose=False,
                      optimizer=SGD(0.1), constraint=HalfStorage("bfloat16"))  # fmt: skip
    trainer.train()
    flat = network.params.flat
    np.testing.assert_array_equal(flat, rounded(flat, "bfloat16"))
    assert repr(HalfStorage("bfloat16")) == "HalfStorage(to='bfloat16')"


def test_half_precision_trains_by_the_library_s_own_loop():
    x, t = synthetic_digits(300, seed=0)
    half = half_precision(TwoLayerNet(784, 20, 10, rng=0), "bfloat16")
    trainer = Trainer(half, x, t, epochs=3, mini_batch_size=20, optimizer=SGD(1.0), verbose=False)
    trainer.train()
    losses = trainer.train_loss_list
    assert sum(losses[-5:]) < sum(losses[:5])


def test_the_scale_follows_the_gradients():
    """Halved on infinity and NaN, without an update; doubled after so many updates in a row."""
    params, optimizer = {"W": np.zeros(2)}, SGD(1.0)
    scale = LossScale(8.0, patience=3)
    good, bad = {"W": np.asarray([8.0, 16.0])}, {"W": np.asarray([1.0, np.inf])}
    assert scale.scaled({"a": np.ones(2)})["a"].tolist() == [8, 8]
    assert scale.update(optimizer, params, good)
    np.testing.assert_array_equal(params["W"], [-1, -2])
    assert not scale.update(optimizer, params, bad)
    assert not scale.update(optimizer, params, {"W": np.asarray([np.nan, 0])})
    np.testing.assert_array_equal(params["W"], [-1, -2])
    assert (scale.scale, scale.good, scale.skipped) == (2, 0, 2)
    found = [scale.update(optimizer, params, good) and scale.scale for _ in range(6)]
    assert found == [2, 2, 4, 4, 4, 8]
    assert (LossScale().scale, LossScale().patience) == (2**15, 2000)
    with pytest.raises(DivergedError, match="gradients are not finite, with a loss scale of"):
        any(scale.update(optimizer, params, bad) for _ in range(100))
    for wrong in ({"scale": 0.0}, {"scale": np.inf}, {"patience": 0}):
        with pytest.raises(ArgumentError, match="LossScale needs a positive scale"):
            LossScale(**wrong)


def test_a_loss_scale_that_is_too_large_finds_its_way_down():
    x, t = synthetic_digits(200, seed=0)
    half = half_precision(TwoLayerNet(784, 20, 10, rng=0), "float16")
    batches, scale = Batches(x, t, 20), LossScale(2.0**24)
    taken = [
        scaled_step(half, SGD(0.1), scale, *batch)
        for epoch in range(3)
        for batch in batches.epoch(epoch)
    ]
    assert not taken[0]
    assert all(taken[-10:])
    assert scale.skipped == taken.count(False)
