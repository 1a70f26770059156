"""The same seed trains the same network on every array library.

Tolerances: two correct float32 evaluations of this network differ by 1e-7 in the first gradient and
8e-8 in the weights after 100 steps. After the first ReLU flips sign, correct trajectories part, so
that later only accuracies can be compared.
"""

import numpy as np
import pytest

from xpnet import (
    LRN,
    SGD,
    Affine,
    Batches,
    BatchNorm,
    Convolution,
    MaxPool,
    Network,
    ReLU,
    ScaledTanh,
    Subsampling,
    Trainer,
    TwoLayerNet,
    synthetic_digits,
    to_numpy,
)

FIRST_GRADIENT = 1e-5  # of the largest element
AFTER_100_STEPS = 1e-5  # of the norm: a hundred times what was measured
AFTER_AN_EPOCH = 0.003  # of accuracy


@pytest.fixture(scope="module")
def digits():
    x, t = synthetic_digits(8000, seed=1)
    return x[:6000], t[:6000], x[6000:], t[6000:]


def fresh(device="cpu"):
    return TwoLayerNet(784, 50, 10, rng=3, device=device)


def trained(device, digits, steps):
    net, optimizer = fresh(device), SGD(0.1)
    batches = Batches(*digits[:2], 100, device=device, seed=3)
    epoch = 0
    while True:
        for x, t in batches.epoch(epoch):
            if steps == 0:
                return net
            optimizer.update(net.params, net.loss_and_gradient(x, t)[2])
            steps -= 1
        epoch += 1


@pytest.fixture(scope="module")
def reference(digits):
    """On NumPy: the network after 100 steps, and the accuracy after an epoch."""
    trainer = Trainer(
        fresh(), *digits, epochs=1, optimizer_param={"lr": 0.1}, verbose=False, seed=3
    )
    return trained("cpu", digits, 100), trainer.train()[0].test_accuracy


def test_first_gradient(device, digits):
    x, t = (digits[0][:100] / 255).astype(np.float32), digits[1][:100]
    want = fresh().gradient(x, t)
    for name, got in fresh(device).gradient(x, t).items():
        limit = FIRST_GRADIENT * np.max(np.abs(want[name]))
        np.testing.assert_allclose(to_numpy(got), want[name], rtol=0, atol=limit, err_msg=name)


def test_weights_after_100_steps(device, digits, reference):
    got = trained(device, digits, 100).params
    for name, want in reference[0].params.items():
        distance = np.linalg.norm(to_numpy(got[name]) - want) / np.linalg.norm(want)
        assert distance <= AFTER_100_STEPS, name


def test_accuracy_after_an_epoch(device, digits, reference):
    trainer = Trainer(
        fresh(device), *digits, epochs=1, optimizer_param={"lr": 0.1}, verbose=False, seed=3
    )
    assert trainer.train()[0].test_accuracy == pytest.approx(reference[1], abs=AFTER_AN_EPOCH)


def test_training_repeats_bit_for_bit(device, digits):
    first, second = (trained(device, digits, 70) for _ in range(2))
    np.testing.assert_array_equal(to_numpy(first.params.flat), to_numpy(second.params.flat))


def windows(device):
    """Of LeNet and AlexNet what a two-layer network does not have, on 9 x 9 pixels."""
    rng = np.random.default_rng(3)
    layers = [
        Convolution(1, 4, 3, stride=(2, 1), pad=(0, 1), bias=False, rng=rng),
        BatchNorm(4, running_ddof=1), ReLU(), LRN(size=3, alpha=0.1),
        Convolution(4, 6, 3, groups=2, pad=(1, 0, 1, 2), rng=rng),
        MaxPool(3, stride=(1, 2), uneven="ceil"),
        Convolution(6, 3, 1, table=[(0, 1), (2, 3, 4), (5,)], rng=rng), ReLU(),
        Subsampling(3), ScaledTanh(), Affine(6, 10, rng=rng),
    ]  # fmt: skip
    return Network(layers, input_shape=(1, 9, 9), device=device)


def windows_trained(device, digits, steps):
    net = windows(device)
    x = (digits[0][: 20 * steps].reshape(-1, 1, 28, 28)[:, :, 1:28:3, 1:28:3] / 255).astype("f")
    t = digits[1][: 20 * steps]
    net.freeze_statistics()
    for k in range(steps):
        if k == steps // 2:
            net.thaw_statistics()
        part = slice(20 * k, 20 * k + 20)
        SGD(0.05).update(net.params, net.gradient(x[part], t[part]))
    return net


def test_windows_and_norms_after_8_steps(device, digits):
    got, want = (windows_trained(place, digits, 8) for place in (device, "cpu"))
    for arrays, others in ((got.params, want.params), (got.state, want.state)):
        for name, there in others.items():
            distance = np.linalg.norm(to_numpy(arrays[name]) - there) / np.linalg.norm(there)
            assert distance <= AFTER_100_STEPS, name
