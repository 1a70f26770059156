"""Losses of label maps in the CPU's engine: what the layers say, whatever the parts of a batch."""

import numpy as np
import pytest

from xpnet import Affine, BatchNorm, Convolution, Network, ReLU
from xpnet.engine import get_engine
from xpnet.engine.cpu.engine import CpuEngine
from xpnet.engine.cpu.loss import Rows, part_loss
from xpnet.errors import ArgumentError
from xpnet.layers import Heads, HeadsWithLoss, IdentityWithLoss, SoftmaxWithLoss

FORMS = pytest.mark.parametrize("compiled", [False, None], ids=["numpy", "as it comes"])

K = 4
LOSSES = {
    "plain": SoftmaxWithLoss(),
    "smoothed": SoftmaxWithLoss(0.1),
    "ignored": SoftmaxWithLoss(ignore=255),
    "below 0": SoftmaxWithLoss(ignore=-1),
    "a class": SoftmaxWithLoss(ignore=2),
    "weighed": SoftmaxWithLoss(class_weights=[1, 0.5, 3, 0]),
    "all": SoftmaxWithLoss(0.2, 255, [1, 2, 0.25, 4]),
}
TOL = {"float64": 1e-13, "float32": 2e-6}


def network(loss, dtype="float64", normed=True, size=(5, 7), layers=None):
    if layers is None:
        norm = [BatchNorm(6)] if normed else []
        layers = [Convolution(2, 6, 3, pad=1, rng=0), *norm, ReLU(), Convolution(6, K, 1, rng=1)]
    return Network(layers, loss, input_shape=(2, *size), dtype=dtype)


def data(n, loss, dtype="int64", size=(5, 7), seed=0):
    """Of the first samples everything is left out, so that parts differ in what counts."""
    rng = np.random.default_rng(seed)
    t = rng.integers(0, K, (n, *size))
    if loss.ignore is not None:
        t[rng.random(t.shape) < 0.3] = loss.ignore
        t[: n // 2] = loss.ignore
    return rng.standard_normal((n, 2, *size)), t.astype(dtype)


def agree(loss, got, want, dtype="float64"):
    tol = TOL[dtype]
    assert float(got[0]) == pytest.approx(float(want[0]), rel=10 * tol, abs=tol)
    np.testing.assert_allclose(got[1], want[1], rtol=10 * tol, atol=100 * tol)
    for name, grad in want[2].items():
        np.testing.assert_allclose(got[2][name], grad, rtol=10 * tol, atol=10 * tol, err_msg=name)


@FORMS
@pytest.mark.parametrize("name", LOSSES)
def test_parts_of_a_batch_share_what_counts_in_all_of_it(name, compiled, monkeypatch):
    loss = LOSSES[name]
    for threads, normed, dtype in ((1, False, "float64"), (2, True, "float32")):
        net, twin = network(loss, dtype, normed), network(loss, dtype, normed)
        engine = CpuEngine(net, threads, compiled=compiled)
        engine._most = engine._most_cached = 3
        for n, kind in ((11, "int64"), (11, "int16"), (1, "int64")):
            x, t = data(n, loss, kind)
            x = x.astype(dtype)
            agree(loss, engine.loss_and_gradient(x, t), twin.loss_and_gradient(x, t), dtype)
        assert len(engine.division(11).shares[0]) > 1


def test_rows_of_probabilities_and_labels_one_a_row():
    rng = np.random.default_rng(0)
    for loss in (SoftmaxWithLoss(), LOSSES["weighed"], LOSSES["all"]):
        net, twin = network(loss), network(loss)
        engine = CpuEngine(net, 1)
        engine._most = engine._most_cached = 3
        x, labels = data(5, SoftmaxWithLoss())
        for t in (rng.dirichlet(np.ones(K), (5, 5, 7)).transpose(0, 3, 1, 2), labels[:, None]):
            agree(loss, engine.loss_and_gradient(x, t), twin.loss_and_gradient(x, t))


def test_heads_of_maps_of_rows_and_of_what_is_left_out():
    def made():
        heads = Heads({
            "map": Convolution(3, K, 1, rng=1),
            "class": Affine(3 * 35, K, rng=2),
            "image": Convolution(3, 1, 1, rng=3),
        })  # fmt: skip
        losses = {"map": LOSSES["all"], "class": LOSSES["below 0"], "image": IdentityWithLoss()}
        return Network(
            [Convolution(2, 3, 3, pad=1, rng=0), heads], HeadsWithLoss(losses, {"class": 0.5}),
            input_shape=(2, 5, 7), dtype="float64",
        )  # fmt: skip

    x, maps = data(7, LOSSES["all"])
    t = {"map": maps, "class": np.array([0, -1, 3, -1, -1, 1, -1]), "image": x[:, :1]}
    for compiled in (False, None):
        engine = CpuEngine(made(), 1, compiled=compiled)
        engine._most = engine._most_cached = 2
        got, want = (each.loss_and_gradient(x, t) for each in (engine, made()))
        assert float(got[0]) == pytest.approx(float(want[0]), rel=1e-13)
        for name, grad in want[2].items():
            np.testing.assert_allclose(got[2][name], grad, atol=1e-13, err_msg=name)


@FORMS
@pytest.mark.parametrize("label", [4, 200, -1, 2**40])
def test_a_label_without_a_class_is_told_with_its_place(compiled, label):
    for loss in (SoftmaxWithLoss(), LOSSES["ignored"], LOSSES["all"]):
        x, t = data(5, SoftmaxWithLoss())
        t[3, 4, 2] = label
        engine = CpuEngine(network(loss), 2, compiled=compiled)
        # Parts whose samples have other numbers than those of the batch.
        engine._most = engine._most_cached = 2
        with pytest.raises(ArgumentError, match=rf"got {label} at \[3, 4, 2\]"):
            engine.loss_and_gradient(x, t)


@FORMS
def test_nothing_is_learned_where_all_is_left_out(compiled):
    loss = LOSSES["all"]
    x, t = data(5, loss)
    value, _, grads = CpuEngine(network(loss), 1, compiled=compiled).loss_and_gradient(
        x, np.full_like(t, 255)
    )
    assert float(value) == 0
    assert not grads.flat.any()


@FORMS
def test_smoothing_may_change_and_what_counts_may_not(compiled):
    nets = network(SoftmaxWithLoss(0.1, 255)), network(SoftmaxWithLoss(0.1, 255))
    engine, (x, t) = CpuEngine(nets[0], 1, compiled=compiled), data(5, LOSSES["all"])
    for smoothing in (0.1, 0.0, 0.3):
        for net in nets:
            net.last_layer.smoothing = smoothing
        agree(nets[0].last_layer, engine.loss_and_gradient(x, t), nets[1].loss_and_gradient(x, t))
    for name in ("ignore", "class_weights"):
        with pytest.raises(AttributeError):
            setattr(nets[0].last_layer, name, None)


@FORMS
def test_scores_that_lie_apart_are_copied(compiled):
    """As where they are a part of a larger array, from which rows cannot be seen."""
    loss, rng = LOSSES["all"], np.random.default_rng(0)
    whole = rng.standard_normal((2, 3, 7, 8, 9)).astype("float32")
    scores, dscores = (a[:, :K, 1:6, 1:] for a in whole)
    assert Rows(scores).is_copy
    t = rng.integers(0, K, (3, 5, 8))
    t[0, 0] = 255
    want, backward = loss.forward(scores, t)
    assert part_loss(loss, scores, dscores, compiled=compiled)(t, 0.5) == pytest.approx(
        0.5 * float(want), rel=1e-6
    )
    np.testing.assert_allclose(dscores, 0.5 * backward(), atol=1e-7)


def test_the_engine_that_is_chosen_takes_maps_whatever_their_order():
    """Labels that lie otherwise in memory, and in the other order of bytes."""
    loss = LOSSES["ignored"]
    x, t = data(4, loss)
    engine, twin = get_engine(network(loss)), network(loss)
    assert isinstance(engine, CpuEngine)
    want = twin.loss_and_gradient(x, t)
    for given in (np.asfortranarray(t), t.astype(">i2"), t.astype("uint8"), t.tolist()):
        agree(loss, engine.loss_and_gradient(x, given), want)
