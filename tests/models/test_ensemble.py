"""Networks that answer together."""

import numpy as np
import pytest

from xpnet import SGD, SimpleConvNet, Trainer, TwoLayerNet, synthetic_digits, to_numpy
from xpnet.errors import ArgumentError
from xpnet.models.ensemble import Ensemble

X, T = synthetic_digits(900, seed=5)
FLOATS = (X / 255).astype(np.float32)


def networks(device="cpu", n=3):
    return [TwoLayerNet(784, 8, 10, weight_init_std=0.1, rng=i, device=device) for i in range(n)]


@pytest.fixture(scope="module")
def members():
    """Three networks that read their digits differently, and none of them well."""
    nets = networks()
    for seed, net in enumerate(nets):
        Trainer(
            net, X[:400], T[:400], X[400:], T[400:], 10, 20, SGD(0.1), verbose=False, seed=seed
        ).train()
    return nets


def test_probabilities_are_the_mean_of_the_members(device):
    nets, x = networks(device), FLOATS[:7]
    want = np.mean([to_numpy(net.probabilities(x)) for net in nets], axis=0)
    for y in (Ensemble(nets).probabilities(x), Ensemble(nets).predict(device.asarray(x))):
        assert y.dtype == device.xp.float32
        np.testing.assert_allclose(to_numpy(y), want, rtol=1e-6)
    np.testing.assert_allclose(np.sum(want, axis=1), 1, rtol=1e-6)


def test_accuracy_counts_the_highest(device):
    """Over batches of which the last is smaller, for labels and one-hot rows."""
    ensemble = Ensemble(networks(device))
    best = np.argmax(to_numpy(ensemble.predict(FLOATS[:45])), axis=1)
    t = np.where(np.arange(45) < 36, best, (best + 1) % 10)
    assert ensemble.accuracy(FLOATS[:45], t, batch_size=20) == 36 / 45
    assert ensemble.accuracy(device.asarray(FLOATS[:45]), device.asarray(np.eye(10)[t])) == 36 / 45


def test_one_network_is_itself(members):
    one = Ensemble(members[:1])
    np.testing.assert_array_equal(one.predict(FLOATS), members[0].probabilities(FLOATS))
    assert one.accuracy(FLOATS, T) == members[0].accuracy(FLOATS, T)


def test_together_they_read_better(members):
    """On digits they have not seen; of the loss that is a theorem."""
    x, t = FLOATS[400:], T[400:]
    alone = [net.accuracy(x, t) for net in members]
    assert min(alone) > 0.6
    assert max(alone) < 0.99
    assert Ensemble(members).accuracy(x, t) > np.mean(alone)
    right = np.arange(len(t)), t

    def loss(probabilities):
        return -np.mean(np.log(probabilities[right]))

    losses = [loss(net.probabilities(x)) for net in members]
    assert loss(Ensemble(members).probabilities(x)) < np.mean(losses)


def test_an_image_network_and_a_flat_one(members):
    param = {"filter_num": 2, "filter_size": 5, "pad": 0, "stride": 1}
    conv = SimpleConvNet((1, 28, 28), param, 10, 10, rng=0)
    y = Ensemble([members[0], conv]).predict(FLOATS[:3])
    want = (members[0].probabilities(FLOATS[:3]) + conv.probabilities(FLOATS[:3])) / 2
    np.testing.assert_allclose(y, want, rtol=1e-6)


def test_networks_that_do_not_fit_are_refused():
    net = networks(n=1)[0]
    with pytest.raises(ArgumentError, match="needs at least one network, got none"):
        Ensemble([])
    for other, message in [
        (TwoLayerNet(784, 8, 10, rng=0, dtype="float64"), "dtype, got float32 and, in network 2"),
        (TwoLayerNet(783, 8, 10, rng=0), "values of a sample, got 784 and, in network 2, 783"),
        (TwoLayerNet(784, 8, 9, rng=0), "number of classes, got 10 and, in network 2, 9"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            Ensemble([net, other])


def test_networks_on_two_devices_are_refused():
    strict = pytest.importorskip("array_api_strict", reason="array_api_strict is not installed")
    from xpnet.arrays import Device

    there = Device("device1", strict, strict.Device("device1"))
    with pytest.raises(ArgumentError, match="device, got cpu and, in network 2, device1"):
        Ensemble([networks()[0], networks(there)[0]])


def test_accuracy_needs_a_target_a_sample(members):
    for x, t in ((FLOATS[:3], T[:2]), (FLOATS[:0], T[:0])):
        with pytest.raises(ArgumentError, match=f"one target a sample, got {len(t)} for {len(x)}"):
            Ensemble(members).accuracy(x, t)
