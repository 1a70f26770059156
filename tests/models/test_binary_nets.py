"""Binarized networks, and what they predict by bits."""

import copy
import pickle

import numpy as np
import pytest

from xpnet import (
    Adam,
    Affine,
    Batches,
    BatchNorm,
    BinaryAffine,
    BinaryConvNet,
    BinaryConvolution,
    BinaryMLP,
    Concatenate,
    Dropout,
    Network,
    PackedNetwork,
    ReLU,
    Sign,
    TwoLayerNet,
    load_network,
    synthetic_digits,
    to_numpy,
)
from xpnet.errors import ArgumentError


def convnet(**options):
    options = {"filters": (4, 8), "hidden_size": 20, "input_shape": (1, 12, 12), "rng": 0} | options
    return BinaryConvNet(**options)


def mlp(**options):
    return BinaryMLP(**{"input_shape": (1, 12, 12), "hidden_sizes": (40, 30), "rng": 0} | options)


VALUES = {
    "gamma": lambda rng, shape: rng.choice([-1, 0, 1], shape) * rng.uniform(0.1, 2, shape),
    "beta": lambda rng, shape: rng.normal(0, 0.5, shape),
    "running_mean": lambda rng, shape: rng.integers(-4, 5, shape).astype(float),
    "running_var": lambda rng, shape: rng.uniform(1, 40, shape),
}


def unlike(network: Network) -> Network:
    """With statistics and factors of all kinds: positive and negative gamma, and 0."""
    rng = np.random.default_rng(1)
    for name, array in {**network.params, **network.state}.items():
        kind = name.rpartition(".")[2]
        if kind in VALUES:
            values = VALUES[kind](rng, tuple(array.shape))
            array[...] = network.device.asarray(values, dtype=network.dtype)
    return network


def images(count=30, size=12):
    return np.random.default_rng(2).random((count, 1, size, size))


def test_the_sizes_of_the_specification():
    """3.10: 784-512-512-512-10, and 1.12: its weights as bits and as float32."""
    network = BinaryMLP(rng=0)
    weights = [p for name, p in network.params.items() if name.endswith("W")]
    assert [W.shape for W in weights] == [(784, 512), (512, 512), (512, 512), (512, 10)]
    assert sum(W.nbytes for W in weights) == 3_723_264
    packed = PackedNetwork(network)
    assert packed.nbytes == sum(bits.nbytes for bits in packed.bits.values()) == 116_352
    assert network.macs == 930_816
    assert [type(layer).__name__ for layer in network.layers.values()][-3:] == [
        "Sign", "BinaryAffine", "BatchNorm",
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [mlp, convnet])
def test_packed_scores_are_those_of_the_network_bit_for_bit(device, make, dtype):
    network = unlike(make(device=device, dtype=dtype))
    x = device.asarray(images(), dtype=dtype)
    packed = PackedNetwork(network)
    want = to_numpy(network.predict(x))
    for each in (packed, copy.deepcopy(packed)):
        got = each.predict(x)
        assert str(got.dtype).endswith(dtype)
        np.testing.assert_array_equal(to_numpy(got), want)
    assert len(np.unique(want, axis=0)) > 10  # or there would be little to see


def test_thresholds_fall_where_rounding_falls():
    """Every whole number that a product can be, with statistics that are not far from ties."""
    rng, features, n = np.random.default_rng(0), 400, 24
    first = BinaryAffine(n, features, rng=0)
    norm = BatchNorm(features, eps=1e-6)
    network = Network([Sign(), first, norm, Sign()], input_shape=(n,))
    mean = network.state["BatchNorm1.running_mean"]
    mean[...] = rng.integers(-n, n + 1, features) * np.float32(1 + 2**-23)
    network.params["BatchNorm1.gamma"] = rng.choice([-1, 1], features) * np.float32(1e-20)
    network.params["BatchNorm1.beta"] = rng.choice([0, 1e-27, -1e-27, -0.0], features)
    W = np.sign(network.params["BinaryAffine1.W"]) + 0.0
    packed = PackedNetwork(network)
    for same in range(n + 1):  # this many of the factors agree with each feature's weights
        for k in (0, 7, 99):
            x = np.where(np.arange(n) < same, W[:, k], -W[:, k])[None, :]
            np.testing.assert_array_equal(packed.predict(x), network.predict(x))


def test_layers_that_are_not_binary_are_computed_as_they_are():
    layers = [
        BinaryAffine(20, 16, rng=0), BatchNorm(16), Sign(), Dropout(0.5, rng=0),
        BinaryAffine(16, 12, rng=1), Dropout(0.5, rng=1), BatchNorm(12), Sign(),
        BinaryAffine(12, 8, rng=2), ReLU(), Affine(8, 3, rng=3),
    ]  # fmt: skip
    network = unlike(Network(layers))
    x = np.random.default_rng(0).standard_normal((9, 20))
    packed = PackedNetwork(network)
    # Dropout gives -0.5 and 0.5, and halves of whole numbers.
    assert list(packed.bits) == ["BinaryAffine1", "BinaryAffine2", "BinaryAffine3"]
    np.testing.assert_array_equal(packed.predict(x), network.predict(x))
    np.testing.assert_array_equal(packed.predict(x[0]), packed.predict(x[:1])[0])
    with pytest.raises(ArgumentError, match=r"a batch of shape \(N, 20\) is needed"):
        packed.predict(x[:, 1:])


@pytest.mark.parametrize(
    "window",
    [
        {"stride": 2, "uneven": "drop"},
        {"pad": 2},
        {"stride": (1, 2), "pad": (0, 1, 2, 1), "uneven": "drop"},
        {"groups": 2, "pad": 1},
    ],
)
def test_windows_of_other_kinds(window):
    layer = BinaryConvolution(4, 6, (3, 2), rng=0, **window)
    network = Network([Sign(), layer, BatchNorm(6), Sign()], input_shape=(4, 9, 8))
    unlike(network)
    x = np.random.default_rng(0).standard_normal((4, 4, 9, 8))
    np.testing.assert_array_equal(PackedNetwork(network).predict(x), network.predict(x))


def test_images_are_gone_through_in_parts_of_bounded_size(monkeypatch):
    network = unlike(convnet())
    want = network.predict(images(7))
    monkeypatch.setattr("xpnet.models.packed.COLUMNS", 20_000)
    np.testing.assert_array_equal(PackedNetwork(network).predict(images(7)), want)


def test_what_is_nan_in_the_network_is_nan_here():
    network = unlike(mlp())
    x = images(4)
    x[1, 0, 3, 3] = np.nan
    x[2, 0, 3, 3] = np.inf
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(PackedNetwork(network).predict(x), network.predict(x))


def test_packed_networks_are_copies_and_measure_accuracy():
    network = mlp()
    x, t = images(50), np.arange(50) % 10
    packed = PackedNetwork(network)
    assert packed.accuracy(x, t) == network.accuracy(x, t)
    before = packed.predict(x)
    network.params.flat[...] = -network.params.flat
    np.testing.assert_array_equal(packed.predict(x), before)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(packed)).predict(x), before)
    assert "fc1, fc2, fc3: " in repr(packed)


def test_what_cannot_be_packed_is_told():
    with pytest.raises(ArgumentError, match="has nothing to pack"):
        PackedNetwork(TwoLayerNet(4, 3, 2))
    branches = Concatenate([BinaryAffine(4, 3), BinaryAffine(4, 3)])
    with pytest.raises(ArgumentError, match="layers in a row can be packed"):
        PackedNetwork(Network([branches, Affine(6, 2)], input_shape=(4,)))
    network = mlp()
    network.params["fc2.W"][0, 0] = np.nan
    with pytest.raises(ArgumentError, match=r"fc2.W holds NaN or infinity"):
        PackedNetwork(network)
    own = mlp()
    own.layers["sign1"].forward = ReLU().forward
    with pytest.raises(ArgumentError, match="sign1, Sign, has a forward of its own"):
        PackedNetwork(own)
    with pytest.raises(ArgumentError, match="network of PackedNetwork must be"):
        PackedNetwork(3)


@pytest.mark.parametrize("make", [mlp, convnet])
def test_they_are_saved_loaded_and_learn(make, tmp_path):
    network = make()
    network.save_params(tmp_path / "net.safetensors")
    again = load_network(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(again.predict(images()), network.predict(images()))
    again.load_params(tmp_path / "net.safetensors")
    x, t = synthetic_digits(200, seed=0)
    x = x.reshape(-1, 28, 28)[:, None, 2:26:2, 2:26:2]
    optimizer, batches, losses = Adam(0.01), Batches(x, t, 50), []
    for epoch in range(3):
        for images_, labels in batches.epoch(epoch):
            loss, _, grads = network.loss_and_gradient(network.place(images_), labels)
            optimizer.update(network.params, grads)
            losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]
    assert PackedNetwork(network).accuracy(x, t) == network.accuracy(x, t) > 0.15


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: BinaryConvNet(input_shape=(784,)), "BinaryConvNet takes images"),
        (lambda: BinaryConvNet(filters=()), "at least one pair of filters"),
        (lambda: BinaryConvNet(input_shape=(1, 3, 3)), "a window of 2 needs an image"),
        (lambda: BinaryMLP(hidden_sizes=("a",)), "hidden_sizes must be whole numbers"),
        (lambda: BinaryMLP(classes=0), "at least one input and one output"),
        (lambda: BinaryMLP(hidden_sizes=(0,)), "at least one input and one output"),
    ],
)
def test_sizes_that_make_no_network_are_told(make, told):
    with pytest.raises(ArgumentError, match=told):
        make()
