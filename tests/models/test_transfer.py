"""One network goes on from another: arrays by path, features, what else belongs to weights."""

import copy
import pickle

import numpy as np
import pytest

from xpnet import SGD, Photographs, get_device, load_network, to_numpy
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError, WeightsError
from xpnet.layers import (
    Affine,
    BatchNorm,
    Convolution,
    Dropout,
    GlobalAveragePool,
    ReLU,
    Residual,
    Sequential,
)
from xpnet.models import Network
from xpnet.models.folding import fold_batch_norm
from xpnet.models.saved import copied


def network(classes=4, rng=0, width=3, dtype="float32", head="fc", device="cpu"):
    conv = Convolution(1, width, 3, pad=1, bias=False, rng=rng)
    block = Residual([Convolution(width, width, 1, rng=rng)])
    layers = {
        "conv": conv, "bn": BatchNorm(width), "relu": ReLU(), "deep": Sequential({"0": block}),
        "pool": GlobalAveragePool(), "drop": Dropout(0.5, rng=rng),
        head: Affine(width, classes, rng=rng),
    }  # fmt: skip
    return Network(layers, input_shape=(1, 5, 4), dtype=dtype, device=device)


def trained(**how):
    net, rng = network(**how), np.random.default_rng(5)
    x, t = rng.standard_normal((8, 1, 5, 4)), np.arange(8) % how.get("classes", 4)
    _, _, grads = net.loss_and_gradient(net.place(x), t)
    SGD(lr=0.5).update(net.params, grads)
    return net


X = np.random.default_rng(1).standard_normal((7, 1, 5, 4)).astype("float32")


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32")])
def test_all_but_the_head_is_copied(dtypes):
    other, net = trained(dtype=dtypes[0]), network(2, 7, dtype=dtypes[1])
    head = to_numpy(net.params["fc.W"]).copy()
    taken, left = net.take(other, except_=("fc",))
    assert left == ("fc.W", "fc.b")
    assert taken == (
        "conv.W", "bn.gamma", "bn.beta", "deep.0.Convolution1.W", "deep.0.Convolution1.b",
        "bn.running_mean", "bn.running_var",
    )  # fmt: skip
    np.testing.assert_array_equal(net.params["fc.W"], head)
    for name in taken:
        got, want = {**net.params, **net.state}[name], {**other.params, **other.state}[name]
        np.testing.assert_array_equal(got, to_numpy(want).astype(dtypes[1]))
    assert not np.shares_memory(net.params.flat, other.params.flat)


def test_everything_is_copied_if_all_fits_and_engines_see_it():
    other, net = trained(), network(rng=3)
    engine = get_engine(net, "cpu")
    engine.predict(X)
    assert net.take(other).left == ()
    np.testing.assert_array_equal(net.predict(X), other.predict(X))
    np.testing.assert_allclose(engine.predict(X), other.predict(X), atol=1e-5)
    assert net.take(net, except_="deep.0").left == (
        "deep.0.Convolution1.W", "deep.0.Convolution1.b",
    )  # fmt: skip


def test_arrays_of_any_library_are_taken_and_give_features(device):
    other, net = trained(), network(2, 7, device=device)
    net.take(other, except_="fc")
    for x in (X, device.asarray(X)):
        got = net.features(x, batch_size=4)
        assert device.holds(got)
        np.testing.assert_allclose(to_numpy(got), other.features(X), rtol=1e-5, atol=1e-6)
    back = network(2, 3)
    assert back.take(net).left == ()
    np.testing.assert_array_equal(back.params["fc.W"], to_numpy(net.params["fc.W"]))


def test_paths_count_and_not_the_names_of_the_book():
    layers = {"a": Affine(3, 4, rng=0), "b": Affine(4, 2, rng=0)}
    other = Network({"a": Affine(3, 4, rng=1), "b": Affine(4, 2, rng=1)})
    net = Network(layers, names="book")
    assert net.take(other, except_="b").taken == ("a.W", "a.b")
    assert net.take(other, except_=["W2", "b2"]).left == ("b.W", "b.b")
    np.testing.assert_array_equal(net.params["W1"], other.params["a.W"])


@pytest.mark.parametrize(
    ("other", "except_", "message"),
    [
        (lambda: network(5), (), r"^fc.W \(and 1 more\) must have shape \(3, 4\), got \(3, 5\)"),
        (lambda: network(5), ("fc.W",), r"^fc.b must have shape \(4,\), got \(5,\) in the other n"),
        (lambda: network(head="top"), (), r"^the other network has no fc.W \(and 1 more\); na"),
        (
            lambda: network(head="top"), "fc", r"^the other network has top.W \(and 1 more\), a",
        ),
        (
            network, ("conv", "bn", "deep", "fc"), "^take has nothing to copy: all is excepted",
        ),
        (network, ("fc", "fcc"), "^neither network has an array 'fcc', or one below it$"),
        (network, 3, r"^except_ must be names, such as \('fc',\), got 3$"),
        (network, ("fc", 3), r"^except_ must be names, such as \('fc',\), got \('fc', 3\)$"),
        (lambda: "w.safetensors", (), "^take needs a network, got str; load_network and l"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_and_nothing_is_taken(other, except_, message):
    net, other = network(), other()
    before = to_numpy(net.params.flat).copy()
    with pytest.raises(ArgumentError, match=message):
        net.take(other, except_=except_)
    np.testing.assert_array_equal(net.params.flat, before)


def test_numbers_that_are_none_are_not_taken():
    other, net = network(dtype="float64"), network()
    other.params["fc.b"][0] = 1e300
    before = to_numpy(net.params.flat).copy()
    with pytest.raises(WeightsError, match=r"^the other network: fc.b has numbers in float64 that"):
        net.take(other)
    other.params["fc.b"][0] = np.nan
    with pytest.raises(WeightsError, match=r"^the other network: fc.b must hold finite floats"):
        net.take(other)
    np.testing.assert_array_equal(net.params.flat, before)


def test_heads_of_other_names_are_left_on_both_sides():
    assert network().take(network(head="top"), except_=["fc", "top"]).left == ("fc.W", "fc.b")


@pytest.mark.parametrize("size", [None, 3, 7])
def test_features_are_what_the_head_reads(size):
    net = trained()
    got = net.features(X, batch_size=size)
    assert got.shape == (7, 3)
    y = got / 2 @ net.params["fc.W"] + net.params["fc.b"]  # the book's Dropout, in inference
    np.testing.assert_allclose(y, net.predict(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(net.features(X, upto="pool"), got)
    np.testing.assert_array_equal(net.features(X, upto="deep.0"), net.features(X, upto="deep"))
    assert net.features(X, upto="relu").shape == (7, 3, 5, 4)
    pixels = np.arange(20, dtype="uint8").reshape(1, 1, 5, 4)
    np.testing.assert_array_equal(net.features(pixels), net.features(pixels / 255))


def test_a_head_on_features_learns_as_one_on_a_frozen_body():
    """The same gradients, with the body computed once."""
    net, t = trained(), np.arange(7) % 4
    net.freeze("conv", "bn", "deep")
    net.freeze_statistics()
    features = net.features(X)
    head = Network({"drop": copy.deepcopy(net.layers["drop"]), "fc": Affine(3, 4)})
    head.take(net, except_=["conv", "bn", "deep"])
    want, got = net.gradient(X, t), head.gradient(features, t)
    assert got.keys() == want.keys() == {"fc.W", "fc.b"}
    for name in got:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("upto", "message"),
    [
        ("fcc", "there is no layer 'fcc'; there are conv, bn, relu, deep, pool, drop, fc"),
        ("deep.1", r"^there is no layer 'deep.1'; there are deep.0$"),
        ("deep.", r"^there is no layer 'deep.'; there are deep.0$"),
        (
            "deep.0.Convolution1",
            r"^deep.0 is a Residual, and features are of .* got 'deep.0.Con.*; give upto='deep.0'$",
        ),
        ("conv.W", r"^conv is a Convolution, .* got 'conv.W'; give upto='conv'$"),
    ],
)
def test_features_of_no_layer_in_a_row_are_refused(upto, message):
    with pytest.raises(ArgumentError, match=message):
        network().features(X, upto=upto)
    with pytest.raises(ArgumentError, match="features needs inputs"):
        network().features(X[:0])
    with pytest.raises(ArgumentError, match="there is no layer before the last one with"):
        Network([Affine(3, 2)]).features(np.ones((2, 3)))


SEEN = Photographs(5, 127, (1, 2, 3), crop=0.5, classes=("cat", "dog"))


def test_how_photographs_are_read_belongs_to_the_weights(tmp_path):
    net = network(2)
    assert net.photographs is None
    net.photographs = SEEN
    net.save_params(tmp_path / "w.safetensors")
    others = [
        load_network(tmp_path / "w.safetensors"), copy.deepcopy(net), fold_batch_norm(net),
        pickle.loads(pickle.dumps(net)), copied(net, device=get_device("cpu"), dtype="float64"),
    ]  # fmt: skip
    assert [other.photographs for other in others] == [SEEN] * 5
    new, same = network(4), network(2)
    new.take(net, except_="fc")
    same.take(net)
    assert (new.photographs.classes, new.photographs.crop) == (None, 0.5)
    assert same.photographs == Photographs(4, 127, (1, 2, 3), crop=0.5, classes=("cat", "dog"))
