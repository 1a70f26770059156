"""Batch normalization folded into the layers before it."""

import copy

import numpy as np
import pytest

from branching import BRANCHING, by_name
from xpnet import (
    L2,
    SGD,
    Affine,
    AuxiliaryHeads,
    BatchNorm,
    BinaryAffine,
    Concatenate,
    Convolution,
    Dropout,
    GlobalAveragePool,
    Heads,
    Identity,
    MaxPool,
    MultiLayerNetExtend,
    Network,
    ReLU,
    Residual,
    Sequential,
    Sign,
    Sum,
    Unpooled,
    fold_batch_norm,
    load_network,
    to_numpy,
)
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.models import build_network

TOL = {"float32": 1e-5, "float64": 1e-12}


def lived_in(network: Network) -> Network:
    """With statistics and parameters as training leaves them."""
    rng = np.random.default_rng(5)
    for arrays in (network.params, network.state):
        for name, array in arrays.items():
            if str(array.dtype).rpartition(".")[2] not in TOL:
                continue
            shape = tuple(array.shape)
            spread = rng.uniform(0.5, 1.5, shape) if "var" in name else rng.normal(0, 0.3, shape)
            if name.rpartition(".")[2] != "W" and not name.startswith("W"):
                array[...] = network.device.asarray(spread, dtype=network.dtype)
    return network


def kinds(network: Network) -> list[str]:
    return [type(node.layer).__name__ for node in network.nodes()]


def assert_equal(network: Network, folded: Network, n: int = 3) -> None:
    """Predictions of both, over the largest."""
    x = np.random.default_rng(1).standard_normal((n, *network.input_shape))
    x = network.device.asarray(x, dtype=network.dtype)
    got, want = by_name(folded.predict(x)), by_name(network.predict(x))
    for name in want:
        y, scores = to_numpy(got[name]), to_numpy(want[name])
        error = abs(y - scores).max() / abs(scores).max()
        assert error < TOL[network.dtype], (name, error)


def conv(*sizes, **options):
    return Convolution(*sizes, 3, pad=1, rng=0, **options)


def every_place(dtype="float64", device="cpu"):
    """A network with a BatchNorm in each kind of container, and where it must stay."""
    body = {"conv": conv(4, 4, bias=False), "bn": BatchNorm(4), "relu": ReLU(), "bn2": BatchNorm(4)}
    layers = {
        "conv": conv(2, 4, groups=2),
        "bn": BatchNorm(4, eps=1e-3),
        "again": BatchNorm(4),
        "sum": Sum({"a": Sequential([conv(4, 4), BatchNorm(4)]), "b": BatchNorm(4)}),
        "table": conv(4, 4, table=[(0,), (1, 2), (3,), (0, 3)], bias=False),
        "bn3": BatchNorm(4),
        "residual": Residual(body, Sequential([conv(4, 4), BatchNorm(4)])),
        "unpooled": Unpooled([conv(4, 4), BatchNorm(4)]),
        "both": Concatenate([Sequential([conv(4, 2), BatchNorm(2)]), Identity()]),
        "read": Concatenate({"a": BatchNorm(6), "b": Identity()}),
        "pool": GlobalAveragePool(),
        "fc": Affine(12, 5, bias=False, rng=0),
        "drop": Dropout(0.0, rng=0),
        "bn4": BatchNorm(5),
        "heads": Heads(
            {
                "one": Sequential([Affine(5, 3, bias=False, rng=0), BatchNorm(3)]),
                "two": Sequential([BatchNorm(5), Affine(5, 2, rng=0)]),
            }
        ),
    }
    return lived_in(Network(layers, input_shape=(2, 6, 6), dtype=dtype, device=device))


@pytest.mark.parametrize("dtype", TOL)
def test_a_folded_network_predicts_the_same(device, dtype):
    network = every_place(dtype, device)
    folded = fold_batch_norm(network)
    assert_equal(network, folded)
    stay = ["sum.b", "residual.bn2", "read.a", "bn4", "heads.two.BatchNorm1"]
    assert [n.name for n in folded.nodes() if type(n.layer) is BatchNorm] == stay
    # The others keep their names; a bias is new where there was none.
    new = set(folded.params) - set(network.params)
    assert new == {"table.b", "residual.conv.b", "heads.one.Affine1.b"}
    gone = set(network.params) - set(folded.params)
    assert all(name.rpartition(".")[2] in ("gamma", "beta") for name in gone)
    assert len(gone) == 18


@pytest.mark.parametrize("name", BRANCHING)
def test_networks_that_branch(name):
    network = lived_in(BRANCHING[name](dtype="float32"))
    folded = fold_batch_norm(network)
    assert_equal(network, folded)
    if "cpu" in folded.device.name:
        x = np.random.default_rng(0).standard_normal((4, *network.input_shape)).astype("float32")
        got, want = by_name(get_engine(folded, "cpu").predict(x)), by_name(folded.predict(x))
        for key in want:
            np.testing.assert_allclose(got[key], want[key], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", ["", "body."])
def test_heads_beside_a_row_read_what_they_read(path):
    row = {"conv": conv(1, 4), "bn": BatchNorm(4), "last": conv(4, 3), "bn2": BatchNorm(3)}
    heads = {"aux": ("bn", Sequential([conv(4, 2), BatchNorm(2)])), "raw": ("last", ReLU())}
    layers = AuxiliaryHeads(row, heads)
    layers = {"body": layers} if path else layers
    network = Network(layers, input_shape=(1, 4, 4), dtype="float64")
    folded = fold_batch_norm(lived_in(network))
    norms = [node.name for node in folded.nodes() if type(node.layer) is BatchNorm]
    assert norms == [f"{path}bn2"]  # whose convolution "raw" reads, too
    assert_equal(network, folded)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["googlenet-torchvision-heads", "vgg-11-bn", "resnet-20", "efficientnet-lite0"]
)
def test_published_networks(model):
    """At their own size, or nearly."""
    shape = (1, 28, 28) if model == "resnet-20" else (3, 96, 96)
    network = lived_in(build_network(model, {"input_shape": shape}, rng=0))
    folded = fold_batch_norm(network)
    assert "BatchNorm" not in kinds(folded)
    assert_equal(network, folded, 2)


def test_books_names_stay():
    network = lived_in(MultiLayerNetExtend(9, [8, 7], 4, use_batchnorm=True, rng=0))
    folded = fold_batch_norm(network)
    assert list(folded.params) == ["W1", "b1", "W2", "b2", "W3", "b3"]
    assert "BatchNorm" not in " ".join(kinds(folded))
    assert_equal(network, folded)


def test_what_is_put_out_or_read_by_others_too_stays():
    """Where the convolution's own output is needed, it cannot be another."""
    body = Residual([BatchNorm(4)])
    network = lived_in(Network({"conv": conv(1, 4), "body": body}, input_shape=(1, 4, 4)))
    assert kinds(fold_batch_norm(network)) == kinds(network)
    alone = lived_in(Network({"conv": conv(1, 4), "bn": Sequential([BatchNorm(4)])},
                             input_shape=(1, 4, 4)))  # fmt: skip
    assert kinds(fold_batch_norm(alone)) == ["Convolution", "Identity"]
    assert_equal(alone, fold_batch_norm(alone))


def test_what_is_no_convolution_or_affine_layer_stays():
    layers = [BinaryAffine(6, 4, rng=0), BatchNorm(4), Sign(), Affine(4, 3, rng=0), ReLU(),
              BatchNorm(3)]  # fmt: skip
    network = lived_in(Network(layers))
    folded = fold_batch_norm(network)
    assert kinds(folded) == kinds(network)
    assert_equal(network, folded)


def test_the_copy_shares_nothing_and_learns_as_the_network_does(tmp_path):
    network = every_place("float32")
    network.penalty = L2(0.1)
    network.freeze("conv", "bn", "again")
    network.scale_rate(0.5, "residual")
    before = {name: array.copy() for name, array in network.params.items()}
    folded = fold_batch_norm(network)
    assert folded.params.learning("conv.W").frozen
    assert folded.params.learning("conv.b").frozen
    assert folded.params.learning("residual.conv.b").rate == 0.5
    assert not folded.params.learning("fc.W").frozen
    x = np.random.default_rng(0).standard_normal((4, 2, 6, 6)).astype("float32")
    scores, backward = folded.forward(x, train=True)
    _, grads = backward({key: y / y.size for key, y in scores.items()}, need_dx=False)
    kept = folded.params["conv.W"].copy()
    SGD(0.1).update(folded.params, grads)
    np.testing.assert_array_equal(folded.params["conv.W"], kept)
    assert abs(folded.params["fc.W"] - before["fc.W"]).max() > 0
    for name, array in network.params.items():
        np.testing.assert_array_equal(array, before[name])
    folded.thaw("conv")
    assert "conv.W" in folded.forward(x, train=True)[1](scores)[1]
    folded.save_params(tmp_path / "folded.safetensors")
    assert_equal(folded, load_network(tmp_path / "folded.safetensors"))
    assert_equal(folded, copy.deepcopy(folded))
    assert kinds(fold_batch_norm(folded)) == kinds(folded)


class Doubled(ReLU):
    """A layer of somebody else."""

    def forward(self, x, *, train=False):
        y, backward = super().forward(x)
        return 2 * y, lambda dy, need_dx=True: (2 * backward(dy)[0], {})


def test_layers_of_the_users_own_stay_and_what_computes_otherwise_is_refused():
    layers = [conv(1, 4), BatchNorm(4), Doubled(), MaxPool(2, stride=2)]
    network = lived_in(Network(layers, input_shape=(1, 4, 4)))
    folded = fold_batch_norm(network)
    assert kinds(folded) == ["Convolution", "Doubled", "MaxPool"]
    assert_equal(network, folded)

    class Other(Network):
        def predict(self, x):
            return -super().predict(x)

    with pytest.raises(ArgumentError, match="Other has a predict of its own"):
        fold_batch_norm(Other([Affine(2, 2), BatchNorm(2)]))
    with pytest.raises(ArgumentError, match="network of fold_batch_norm must be"):
        fold_batch_norm(layers)
