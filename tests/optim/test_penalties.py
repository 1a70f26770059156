"""What keeps weights small, and targets soft: penalties, MaxNorm and label smoothing."""

import numpy as np
import pytest

from tolerances import E12, assert_near
from xpnet import (
    L1,
    L2,
    SGD,
    Affine,
    BatchNorm,
    Convolution,
    MaxNorm,
    Network,
    Sigmoid,
    SoftmaxWithLoss,
    Trainer,
    gradient_check,
    softmax,
    to_numpy,
)
from xpnet.errors import ArgumentError
from xpnet.functions import losses

RNG = np.random.default_rng(0)
X, T = RNG.standard_normal((8, 1, 3, 3)), RNG.integers(3, size=8)


def small_net(device="cpu", *, rng=0, **options):
    """Both kinds of weights, and every kind of parameter that is none."""
    rng = np.random.default_rng(rng)
    layers = [Convolution(1, 2, 2, rng=rng), BatchNorm(2), Sigmoid(), Affine(8, 3, rng=rng)]
    net = Network(
        layers, input_shape=(1, 3, 3), names="book", device=device, dtype="float64", **options
    )
    for name in ("b1", "beta1", "b2"):
        net.params[name] = rng.standard_normal(net.params[name].shape)
    return net


def vector(device, *numbers, name="W1"):
    return {name: device.asarray(np.asarray(numbers, dtype=np.float64))}


def test_norms_of_3_and_minus_4(device):
    """L1 7; L2 5, of which weight decay takes half the square; Linf 4."""
    params = vector(device, 3, -4)
    assert_near(L1(1.0).value(params), 7.0)
    assert_near(L2(1.0).value(params), 12.5)
    assert np.sqrt(2 * float(L2(1.0).value(params))) == 5
    assert max(abs(to_numpy(params["W1"]))) == 4


def test_worked_gradients(device):
    params = vector(device, 3, -4, 0)
    assert_near(L2(0.1).gradient(params)["W1"], [0.3, -0.4, 0], E12)
    assert_near(L1(0.1).gradient(params)["W1"], [0.1, -0.1, 0], E12)


@pytest.mark.parametrize("penalty", [L1(0.3), L2(0.3)], ids=["L1", "L2"])
def test_a_penalty_is_in_the_loss_and_in_its_gradient(device, penalty):
    net, plain = small_net(device, penalty=penalty), small_net(device)
    assert max(gradient_check(net, X, T).values()) < 1e-9
    weights = [to_numpy(net.params[k]) for k in ("W1", "W2")]
    more = sum(np.sum(0.15 * W**2 if isinstance(penalty, L2) else 0.3 * abs(W)) for W in weights)
    for train in (True, False):
        difference = float(net.loss(X, T, train=train)) - float(plain.loss(X, T, train=train))
        assert difference == pytest.approx(more, rel=1e-12)
    placed = net.place(X), device.asarray(T)
    assert float(net.loss_and_gradient(*placed)[0]) == pytest.approx(
        float(plain.loss_and_gradient(*placed)[0]) + more, rel=1e-12
    )


@pytest.mark.parametrize("penalty", [L1(0.3), L2(0.3)], ids=["L1", "L2"])
def test_only_weights_are_penalized(device, penalty):
    net, plain = small_net(device, penalty=penalty), small_net(device)
    grads, without = net.gradient(X, T), plain.gradient(X, T)
    assert list(grads) == ["W1", "b1", "gamma1", "beta1", "W2", "b2"]
    for name, grad in grads.items():
        same = np.array_equal(to_numpy(grad), to_numpy(without[name]))
        assert same == (not name.startswith("W")), name
    assert list(penalty.gradient(net.params)) == ["W1", "W2"]
    for kind in (L1, L2):
        assert float(kind(0.3).value(vector(device, 3, -4, name="beta1"))) == 0


def test_max_norm_shortens_what_is_too_long(device):
    """Columns of a matrix, filters of a convolution: longer ones to the limit, others not."""
    matrix = np.asarray([[3.0, 0.3, 0.0], [-4.0, 0.4, 0.0]])
    filters = np.stack([np.full((2, 3, 3), 2.0), np.full((2, 3, 3), 0.1)])
    arrays = {"W1": filters, "b1": matrix[0], "W2": matrix, "gamma1": matrix[0]}
    params = {name: device.asarray(array.copy()) for name, array in arrays.items()}
    views = dict(params)
    MaxNorm(1.0).apply(params)
    assert all(params[name] is views[name] for name in views)  # changed in place
    assert_near(params["W2"], [[0.6, 0.3, 0.0], [-0.8, 0.4, 0.0]], E12)
    assert_near(params["W1"][0, ...], np.full((2, 3, 3), 1 / np.sqrt(18)), E12)
    np.testing.assert_array_equal(to_numpy(params["W1"])[1], filters[1])
    for name in ("b1", "gamma1"):
        np.testing.assert_array_equal(to_numpy(params[name]), matrix[0])


def test_the_trainer_keeps_the_constraint(device):
    """After each update, and nothing else is changed by it."""
    data = (X, T, X, T)
    options = {"epochs": 1, "mini_batch_size": 8, "optimizer": SGD(0.5), "verbose": False}
    runs = [Trainer(small_net(device), *data, **options, constraint=constraint)
            for constraint in (None, MaxNorm(0.5))]  # fmt: skip
    for run in runs:
        run.train()
    free, bound = ({k: to_numpy(a) for k, a in run.network.params.items()} for run in runs)
    for name, axes in (("W1", (1, 2, 3)), ("W2", 0)):
        length = np.sqrt(np.sum(free[name] ** 2, axis=axes, keepdims=True))
        assert np.any(length > 0.5)
        np.testing.assert_allclose(bound[name], free[name] * np.minimum(1, 0.5 / length), rtol=1e-9)
    for name in ("b1", "gamma1", "beta1", "b2"):
        np.testing.assert_allclose(bound[name], free[name], rtol=1e-9)


def test_smoothed_targets(device):
    hot = device.asarray(np.eye(4)[[2]])
    assert_near(losses.smoothed(hot, 0.1), [[0.025, 0.025, 0.925, 0.025]], E12)
    assert losses.smoothed(hot, 0.0) is hot


def test_smoothing_against_pytorch():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    z, t = RNG.standard_normal((5, 4)), RNG.integers(4, size=5)
    tensor = torch.tensor(z, requires_grad=True)
    want = torch.nn.functional.cross_entropy(tensor, torch.tensor(t), label_smoothing=0.2)
    want.backward()
    for targets in (t, np.eye(4)[t]):
        loss, backward = SoftmaxWithLoss(0.2).forward(z, targets)
        assert float(loss) == pytest.approx(want.item(), rel=1e-12)
        np.testing.assert_allclose(backward(), tensor.grad.numpy(), rtol=1e-10, atol=1e-15)


def test_smoothing_in_a_network(device):
    net = small_net(device, loss=SoftmaxWithLoss(smoothing=0.2))
    assert max(gradient_check(net, X, T).values()) < 1e-9
    y, target = softmax(to_numpy(net.predict(X))), 0.8 * np.eye(3)[T] + 0.2 / 3
    want = -np.mean(np.sum(target * np.log(y), axis=1))
    assert float(net.loss(X, T)) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: L2(-0.1), "strength must be a number from 0, got -0.1; try 0.1"),
        (lambda: L1(float("nan")), "strength must be a number from 0, got nan; try 0.1"),
        (lambda: MaxNorm(0), "limit must be above 0, or every weight is 0; try 3"),
        (lambda: MaxNorm(-1), "limit must be a number from 0, got -1; try 0.1"),
        (lambda: SoftmaxWithLoss(1.0), "smoothing must be from 0 to below 1, got 1.0; try 0.1"),
        (lambda: SoftmaxWithLoss(-0.1), "smoothing must be from 0 to below 1, got -0.1; try 0.1"),
    ],
)
def test_misuse_is_told(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
