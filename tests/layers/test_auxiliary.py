"""Heads that read layers in the middle of a row, and losses of which one head is the main one."""

import numpy as np
import pytest

from branching import auxiliary, batch
from xpnet import (
    Affine,
    AuxiliaryHeads,
    Ensemble,
    HeadsWithLoss,
    MeanLoss,
    Network,
    ReLU,
    SigmoidWithLoss,
    SoftmaxWithLoss,
    Trainer,
    fold_batch_norm,
    load_network,
    to_numpy,
)
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError

SHAPE = {"main": (10,), "low": (10,), "high": (10,)}


def test_the_outputs_are_the_row_s_and_the_heads(device):
    net = auxiliary(device=device, dtype="float64")
    x, _ = batch(net, 3)
    x = net.place(x)
    y, _ = net.forward(x)
    row = {name: net.layers[name] for name in ("conv1", "relu1", "conv2", "norm", "relu2", "fc")}
    values, at = {}, x
    for name, layer in row.items():
        values[name] = at = layer.forward(at)[0]
    want = {
        "main": at,
        "low": net.layers["low"].forward(values["relu1"])[0],
        "high": net.layers["high"].forward(values["relu2"])[0],
    }
    assert net.output_shape == SHAPE == {name: tuple(each.shape[1:]) for name, each in y.items()}
    assert y.keys() == want.keys()
    for name, each in want.items():
        np.testing.assert_array_equal(to_numpy(y[name]), to_numpy(each))


def test_the_gradient_is_the_loss_s():
    """Along one random direction for each parameter."""
    net, rng = auxiliary(dtype="float64"), np.random.default_rng(2)
    x, t = batch(net, 3)
    state, grads = net.copied_state(), net.gradient(x, t)
    assert list(grads) == list(net.params)
    for name, parameter in net.params.items():
        step = rng.standard_normal(parameter.shape)
        losses = []
        for size in (1e-6, -2e-6, 1e-6):
            parameter += size * step
            net.restore_state(state)
            losses.append(float(net.loss(x, t, train=True)))
        found = (losses[0] - losses[1]) / 2e-6
        assert float(np.sum(grads[name] * step)) == pytest.approx(found, abs=1e-6), name


@pytest.mark.parametrize(
    "frozen",
    [("conv1",), ("conv1", "conv2", "norm", "fc"), ("low", "high"), ("conv1", "low", "conv2")],
)
def test_what_is_frozen_gets_no_gradient(frozen):
    net = auxiliary(dtype="float64")
    x, t = batch(net, 3)
    want = net.gradient(x, t)
    net.freeze(*frozen)
    for computing in (net, get_engine(net, "cpu")):
        grads = computing.loss_and_gradient(net.place(x), net.place_targets(t))[2]
        for name, grad in want.items():
            learns = name.partition(".")[0] not in frozen
            got = grads.get(name, np.zeros(grad.shape))
            np.testing.assert_allclose(got, grad if learns else 0 * grad, atol=1e-12, err_msg=name)


def test_dx_is_the_sum_over_all_that_read(device):
    net = auxiliary(device=device, dtype="float64")
    x, _ = batch(net, 2)
    rng, x = np.random.default_rng(0), net.place(x)
    y, backward = net.forward(x)
    dy = {name: net.device.asarray(rng.standard_normal((2, 10))) for name in y}
    dx, _ = backward(dy)
    step = 1e-6 * rng.standard_normal(x.shape)

    def product(of):
        scores, _ = net.forward(net.device.asarray(of))
        return sum(float(np.sum(to_numpy(scores[n]) * to_numpy(dy[n]))) for n in scores)

    host = to_numpy(x)
    found = (product(host + step) - product(host - step)) / 2
    assert float(np.sum(to_numpy(dx) * step)) == pytest.approx(found, rel=1e-6)
    assert backward(dy, need_dx=False)[0] is None
    with pytest.raises(ArgumentError, match="a gradient for each of main, low, high is needed"):
        backward({"main": dy["main"]})


def test_a_network_predicts_by_the_main_head(tmp_path):
    net = auxiliary()
    x, t = (each.astype("float32") if each.dtype == float else each for each in batch(net, 6))
    want = net.forward(net.place(x))[0]["main"]
    net.save_params(tmp_path / "net.safetensors")
    others = [load_network(tmp_path / "net.safetensors"), fold_batch_norm(net)]
    for other in (net, get_engine(net, "cpu"), *others):
        np.testing.assert_allclose(other.predict(x), want, atol=1e-6)
    assert net.probabilities(x).sum(axis=1) == pytest.approx(np.ones(6))
    both = Ensemble([net, others[0]]).probabilities(x)
    np.testing.assert_allclose(both, net.probabilities(x), atol=1e-6)
    assert net.accuracy(x, t) == np.mean(want.argmax(axis=1) == t)
    assert net.features(x).shape == (6, 5, 4, 4)
    with pytest.raises(ArgumentError, match="there is no layer 'low'; there are conv1, relu1"):
        net.features(x, "low")


def test_it_is_measured_by_the_main_head():
    net = auxiliary()
    x, t = batch(net, 20)
    for targets in (t, dict.fromkeys(SHAPE, t)):
        trainer = Trainer(auxiliary(), x.astype("float32"), targets, epochs=1, verbose=False)
        assert trainer.train()[-1].values.keys() == {"train_loss", "train_accuracy"}
    metric = MeanLoss(net.last_layer)
    metric.update(net.predict(x), t)
    assert metric.value() == pytest.approx(float(SoftmaxWithLoss().forward(net.predict(x), t)[0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AuxiliaryHeads([ReLU()], {"a": ("there", ReLU())}), "head 'a' must read one of"),
        (lambda: AuxiliaryHeads({"a": ReLU()}, {"a": ("a", ReLU())}), "cannot be called 'a'"),
        (lambda: AuxiliaryHeads({"a": ReLU()}, {"main": ("a", ReLU())}), "cannot be called 'main'"),
        (
            lambda: AuxiliaryHeads([ReLU()], {"a": ReLU()}),
            "each with the name of the layer that it reads",
        ),
        (lambda: AuxiliaryHeads([ReLU()], [ReLU()]), "heads must be by name, .* got "),
        (
            lambda: Network(AuxiliaryHeads([Affine(4, 3)], {"a": ("Affine1", Affine(4, 2))})),
            "a: Affine takes 4 numbers a sample, got the shape",
        ),
        (
            lambda: Network([AuxiliaryHeads([Affine(4, 3)], {"a": ("Affine1", ReLU())}), ReLU()]),
            "follows several heads, which must come last",
        ),
        (
            lambda: HeadsWithLoss({"a": SoftmaxWithLoss()}, main="b"),
            "main must be one of the heads",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_probabilities_are_those_of_the_main_loss():
    loss = HeadsWithLoss({"main": SigmoidWithLoss(), "a": SoftmaxWithLoss()}, main="main")
    net = Network(AuxiliaryHeads([Affine(2, 3)], {"a": ("Affine1", Affine(3, 2))}), loss)
    x = np.ones((4, 2), "float32")
    scores = net.predict(x)
    assert scores.shape == (4, 3)
    np.testing.assert_allclose(net.probabilities(x), 1 / (1 + np.exp(-scores)), rtol=1e-6)
