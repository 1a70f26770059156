"""Losses of label maps by the GPU's engine, in passes and in whole steps."""

import numpy as np
import pytest

from test_label_maps import LOSSES, K, data, network
from xpnet import (
    SGD,
    Affine,
    Batches,
    Convolution,
    Dropout,
    Network,
    ReLU,
    SoftmaxWithLoss,
    Trainer,
    to_numpy,
)
from xpnet.engine.cuda.engine import CudaEngine
from xpnet.engine.cuda.selfcheck import compare
from xpnet.errors import ArgumentError
from xpnet.layers import Heads, HeadsWithLoss
from xpnet.models.fcn import FCN
from xpnet.models.segnet import SegNet

TOL = {"float64": 1e-12, "float32": 1e-5}


def agree(got, want, net, dtype="float64"):
    tol = TOL[dtype]
    assert float(got[0]) == pytest.approx(float(want[0]), rel=tol, abs=tol)
    for name in net.params:
        grad = want[2][name]
        np.testing.assert_allclose(to_numpy(got[2][name]), grad, rtol=tol, atol=tol, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_a_pass_is_the_layers(stand_in, name):
    """Labels of every kind, labels one a row, and rows of probabilities."""
    loss = LOSSES[name]
    net, twin = (network(loss, layers=[Convolution(2, K, 1, rng=0)]) for _ in range(2))
    engine = stand_in.engine(net)
    for n in (5, 1):
        x, t = data(n, loss, size=(5, 7))
        kinds = [t.astype("int16"), t, t[:, None]]
        kinds += [t.astype("uint8"), t.astype("uint64")] if name == "all" else []
        rows = np.random.default_rng(0).dirichlet(np.ones(K), (n, 5, 7)).transpose(0, 3, 1, 2)
        for given in (*kinds, rows):
            agree(engine.loss_and_gradient(x, given), twin.loss_and_gradient(x, given), net)
    left = np.full_like(t, loss.ignore or 0)
    if loss.ignore is not None:
        value, _, grads = engine.loss_and_gradient(x, left)
        assert float(value) == 0
        assert not to_numpy(grads.flat).any()


@pytest.mark.slow
def test_scores_of_places_come_and_go_back(stand_in):
    net, twin = network(LOSSES["all"]), network(LOSSES["all"])
    engine, (x, _) = stand_in.engine(net), data(5, LOSSES["all"])
    y, backward = engine.forward(x, train=True)
    want, back = twin.forward(x, train=True)
    np.testing.assert_allclose(to_numpy(y), want, atol=1e-12)
    np.testing.assert_allclose(to_numpy(backward(want)[0]), back(want)[0], atol=1e-12)
    np.testing.assert_allclose(to_numpy(engine.predict(x)), twin.predict(x), atol=1e-12)


@pytest.mark.slow
def test_more_places_than_a_block_has_and_what_follows_the_scores(stand_in):
    """Blocks of 256 places, of which none is whole; dropout is drawn again on the way back."""

    def made():
        layers = [Convolution(2, K, 3, pad=1, rng=0), ReLU(), Dropout(0.3, rng=1)]
        return Network(layers, LOSSES["all"], input_shape=(2, 19, 17), dtype="float32")

    net, twin = made(), made()
    engine = stand_in.engine(net)
    for n in (5, 70):
        x, t = data(n, LOSSES["all"], size=(19, 17))
        x = x.astype("float32")
        agree(engine.loss_and_gradient(x, t), twin.loss_and_gradient(x, t), net, "float32")


@pytest.mark.slow
def test_heads_of_maps_and_of_samples(stand_in):
    def made():
        losses = {"map": LOSSES["all"], "class": LOSSES["below 0"]}
        heads = Heads({"map": Convolution(3, K, 1, rng=1), "class": Affine(3 * 35, K, rng=2)})
        return Network(
            [Convolution(2, 3, 3, pad=1, rng=0), heads], HeadsWithLoss(losses, {"class": 0.5}),
            input_shape=(2, 5, 7), dtype="float64",
        )  # fmt: skip

    net, twin = made(), made()
    engine = stand_in.engine(net)
    x, maps = data(7, LOSSES["all"])
    t = {"map": maps, "class": np.array([0, -1, 3, -1, -1, 1, -1])}
    agree(engine.loss_and_gradient(x, t), twin.loss_and_gradient(x, t), net)
    with pytest.raises(ArgumentError, match="targets for outputs of shape"):
        engine.steps(x, maps, 5, SGD())


SEGMENTERS = {
    "fcn": lambda **k: FCN.small(**k),
    "fcn without skips": lambda **k: FCN.small(skips=False, **k),
    "segnet": lambda **k: SegNet.small(**k),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SEGMENTERS)
def test_networks_that_segment_take_whole_steps(stand_in, name):
    """Two steps of an epoch, the second of a smaller batch."""
    net, twin = (
        SEGMENTERS[name](
            input_shape=(3, 16, 8), class_weights=[1, 2, 3, 4, 5, 6], rng=0, dtype="float64"
        )
        for _ in range(2)
    )
    rng = np.random.default_rng(0)
    x, t = rng.random((5, 3, 16, 8)), rng.integers(0, 6, (5, 16, 8)).astype("uint8")
    t[rng.random(t.shape) < 0.2] = 255
    losses = to_numpy(stand_in.engine(net).steps(x, t, 3, SGD()).epoch(np.arange(5), [0.1] * 2))
    rule = SGD(0.1)
    for step, part in enumerate((slice(0, 3), slice(3, 5))):
        want, _, grads = twin.loss_and_gradient(x[part], t[part])
        rule.update(twin.params, grads)
        assert losses[step] == pytest.approx(float(want), rel=1e-9)
    np.testing.assert_allclose(to_numpy(net.params.flat), twin.params.flat, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"), [("all", "uint8"), ("below 0", "int64"), ("weighed", "int32")]
)
def test_whole_steps_gather_maps(stand_in, name, dtype):
    """Steps of an epoch in an order of its own, beside steps of the layers."""
    loss = LOSSES[name]
    net, twin = network(loss), network(loss)
    x, t = data(11, loss, dtype)
    engine = stand_in.engine(net)
    steps = engine.steps(x, t, 4, SGD())
    order = np.random.default_rng(1).permutation(11)
    losses = to_numpy(steps.epoch(order, [0.5] * 3))
    rule = SGD(0.5)
    for step in range(3):
        part = order[4 * step : 4 * step + 4]
        want, _, grads = twin.loss_and_gradient(x[part], t[part])
        rule.update(twin.params, grads)
        assert losses[step] == pytest.approx(float(want), rel=1e-12)
    np.testing.assert_allclose(to_numpy(net.params.flat), twin.params.flat, atol=1e-12)
    rows = np.eye(K)[np.where(t == (loss.ignore or -9), 0, t) % K].transpose(0, 3, 1, 2)
    found = to_numpy(
        stand_in.engine(network(loss)).steps(x, rows, 4, SGD()).epoch(order, [0.1] * 3)
    )
    assert found[0] == pytest.approx(
        float(network(loss).loss(x[order[:4]], rows[order[:4]], train=True)), rel=1e-12
    )


@pytest.mark.slow
def test_what_is_no_class_is_told_or_is_no_number(stand_in):
    """Labels that lie on the device are not read; those of whole steps are, once."""
    loss = LOSSES["all"]
    engine = stand_in.engine(network(loss))
    x, t = data(5, SoftmaxWithLoss())
    for label in (4, -1, 2**40, 2**32 + 255):
        wrong = t.copy()
        wrong[3, 4, 2] = label
        with pytest.raises(ArgumentError, match=rf"or 255, .* got {label} at \[3, 4, 2\]"):
            engine.steps(x, wrong, 4, SGD())
        assert np.isnan(float(engine.loss_and_gradient(x, wrong)[0]))
    with pytest.raises(ArgumentError, match="targets for outputs of shape"):
        engine.steps(x, t[:, 0, 0], 4, SGD())
    with pytest.raises(ArgumentError, match="targets for outputs of shape"):
        engine.loss_and_gradient(x, t[:, 1:])


@pytest.mark.slow
def test_the_engine_checks_itself_by_maps(stand_in):
    for name in ("all", "plain"):
        loss = LOSSES[name]
        x, t = data(9, loss)
        for dtype in ("float32", "float64"):
            engine = stand_in.engine(network(loss, dtype))
            assert compare(engine, x.astype(dtype), t, SGD()).startswith("passed on")


@pytest.mark.slow
def test_a_trainer_takes_whole_steps_of_masks(stand_in):
    """As it is on a GPU: the same history as of the CPU's engine."""
    loss = LOSSES["ignored"]
    x, t = data(24, loss, "uint8")
    trainer = Trainer(network(loss), x, t, x, t, 2, 10, verbose=False, engine="reference")
    trainer.train()
    net = network(loss)
    other = Trainer(net, x, t, x, t, 2, 10, verbose=False, engine="reference")
    other.learner.engine = CudaEngine(net, driver=stand_in.driver())
    assert other.learner.steps() is not None
    other.train()
    for got, want in zip(other.history, trainer.history, strict=True):
        for name, value in want.values.items():
            assert got[name] == pytest.approx(value, rel=1e-9), name


def test_what_has_no_kernel_is_an_obstacle():
    class Own(SoftmaxWithLoss):
        pass

    assert CudaEngine.obstacle(network(Own())) == "there is no kernel for Own"
    assert CudaEngine.obstacle(network(LOSSES["all"])) is None
    source = Batches(np.zeros((3, 2, 5, 7)), np.zeros((3, 5, 7), int), 2)
    assert source.target_kind == "numbers"
