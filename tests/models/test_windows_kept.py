"""Networks of grouped, tabled and uneven windows: files, copies, descriptions, and tables kept."""

import copy
import json
import pickle

import numpy as np
import pytest
import safetensors.numpy

from xpnet import (
    LRN,
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Affine,
    BatchNorm,
    Convolution,
    MaxPool,
    Momentum,
    Nesterov,
    Network,
    ReLU,
    RMSprop,
    ScaledTanh,
    Sequential,
    Subsampling,
    gradient_check,
    load_network,
    load_torch,
    save_torch,
    to_numpy,
)
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError, WeightsError
from xpnet.models.saved import copied

TABLE = ((0, 1), (2,), (0, 3), (1, 2, 3), (0, 1, 2, 3))


def network(**options):
    """Every argument that windows and their neighbours have, in one network."""
    rng = np.random.default_rng(0)
    layers = {
        "stem": Convolution(2, 4, (3, 2), stride=(1, 2), pad=(1, 0, 1, 1), uneven="drop", rng=rng),
        "bn": BatchNorm(4, running_ddof=1),
        "lrn": LRN(size=3, alpha=0.2, beta=0.5, k=1.5),
        "grouped": Convolution(4, 4, 3, groups=2, pad=(1, 1), bias=False, rng=rng),
        "relu": ReLU(),
        "pool": MaxPool((2, 3), stride=(1, 2), pad=(1, 0), uneven="ceil"),
        "box": Sequential({"c3": Convolution(4, 5, 3, table=TABLE, rng=rng), "s4": Subsampling(5)}),
        "squash": ScaledTanh(),
        "fc": Affine(10, 3, rng=rng),
    }
    return Network(layers, input_shape=(2, 5, 16), **options)


X = np.random.default_rng(1).standard_normal((6, 2, 5, 16))
T = np.arange(6) % 3
ZERO = np.broadcast_to(network().layers["box"].children()["c3"].mask == 0, (5, 4, 3, 3))


def table_of(net):
    return net.params["box.c3.W"]


def by_file(net, tmp_path):
    net.save_params(tmp_path / "net.safetensors")
    return load_network(tmp_path / "net.safetensors")


AGAIN = {
    "deepcopy": lambda net, _: copy.deepcopy(net),
    "pickle": lambda net, _: pickle.loads(pickle.dumps(net)),
    "file": by_file,
    "copied": lambda net, _: copied(net, device="cpu", dtype=net.dtype),
}


@pytest.mark.parametrize("again", AGAIN)
def test_another_of_the_same_kind_computes_the_same(again, tmp_path):
    net = network()
    net.loss_and_gradient(X, T)  # so that there are statistics
    other = AGAIN[again](net, tmp_path)
    assert other.description() == net.description()
    assert repr(other.layers["grouped"]) == repr(net.layers["grouped"])
    np.testing.assert_array_equal(other.predict(X), net.predict(X))
    for name, want in net.gradient(X, T).items():
        np.testing.assert_array_equal(other.gradient(X, T)[name], want, err_msg=name)
    table_of(other)[...] = 1.0
    other.params["box.c3.W"] = table_of(other)
    assert np.all(table_of(other)[ZERO] == 0)
    assert np.all(table_of(other)[~ZERO] == 1)


def test_the_description_tells_what_is_not_as_usual():
    layers = json.loads(network().description())["arguments"]["layers"]
    assert layers["stem"]["arguments"]["pad"] == [1, 0, 1, 1]
    assert layers["stem"]["arguments"]["stride"] == [1, 2]
    assert layers["grouped"]["arguments"]["groups"] == 2
    assert layers["pool"]["arguments"]["uneven"] == "ceil"
    assert layers["bn"]["arguments"]["running_ddof"] == 1
    assert "groups" not in layers["stem"]["arguments"]  # so that older versions can read it
    assert repr(Convolution(2, 2, 3, stride=(2, 2), groups=np.int64(2))) == (
        "Convolution(channels=2, filters=2, filter_size=(3, 3), stride=(2, 2), pad=0, "
        "uneven='error', bias=True, groups=2)"
    )


def test_connections_are_counted_and_not_places():
    net, whole = network(), int(np.sum(~ZERO))
    rows = {row.name: row.parameters for row in net.summary()}
    assert rows["box.c3"] == whole + 5
    assert rows["box"] == whole + 5 + 10
    assert net.params.count == sum(np.prod(p.shape) for p in net.params.values()) - np.sum(ZERO)
    assert f"{net.params.count} parameters" in repr(net)


def test_lenets_third_layer_has_1516_parameters():
    seen = "012 123 234 345 045 015 0123 1234 2345 0345 0145 0125 0134 1245 0235 012345"
    table = [tuple(map(int, row)) for row in seen.split()]
    assert Convolution(6, 16, 5, table=table).count == 1516


WRITTEN = {
    "an item of the network": lambda net, W: net.params.__setitem__("box.c3.W", W),
    "an item of the layer": lambda net, W: c3(net).params.__setitem__("W", W),
    "several of the layer": lambda net, W: c3(net).params.update(W=W),
    "all of the layer": lambda net, W: setattr(c3(net), "params", {"W": W, "b": np.ones(5)}),
    "all of the network": lambda net, W: setattr(
        net, "params", {name: np.ones(p.shape) for name, p in net.params.items()}
    ),
    "the buffer": lambda net, W: setattr(net.params, "flat", np.ones(net.params.flat.shape)),
}


def c3(net):
    return net.layers["box"].children()["c3"]


@pytest.mark.parametrize("way", WRITTEN)
def test_what_is_assigned_where_the_table_has_nothing_is_0(device, way):
    net = network(device=device)
    WRITTEN[way](net, np.ones((5, 4, 3, 3)))
    np.testing.assert_array_equal(to_numpy(table_of(net)), 1.0 * ~ZERO)


def test_weights_of_a_full_convolution_lose_what_the_table_has_not(tmp_path):
    net = network()
    net.save_params(tmp_path / "own.safetensors")
    save_torch(net, tmp_path / "torch.safetensors")
    for name, key, take in (
        ("own", "box.c3.W", net.load_params),
        ("torch", "box.c3.weight", lambda path: load_torch(net, path)),
    ):
        arrays = safetensors.numpy.load_file(tmp_path / f"{name}.safetensors")
        arrays[key] = np.full((5, 4, 3, 3), 2, "float32")
        safetensors.numpy.save_file(arrays, tmp_path / "full.safetensors")
        take(tmp_path / "full.safetensors")
        np.testing.assert_array_equal(table_of(net), 2.0 * ~ZERO)
        table_of(net)[...] = 0


def test_a_layer_given_a_full_filter_enters_a_network_without_it():
    layer = Convolution(4, 5, 3, table=TABLE)
    layer.params["W"] = np.ones((5, 4, 3, 3))
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 5))
    before, _ = layer.forward(x)
    net = Network([layer], input_shape=(4, 5, 5), dtype="float64")
    np.testing.assert_array_equal(layer.params["W"], 1.0 * ~ZERO)
    np.testing.assert_array_equal(net.predict(x), before)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("rule", [SGD, Momentum, Nesterov, AdaGrad, RMSprop, Adam, AdamW])
def test_no_rule_moves_what_the_table_has_not(rule, engine):
    net, optimizer = network(), rule(0.01)
    computes = get_engine(net, engine, 1)
    for _ in range(3):
        optimizer.update(net.params, computes.loss_and_gradient(X, T)[2])
    W = table_of(net)
    assert np.all(W[ZERO] == 0)
    assert np.all(W[~ZERO] != 0)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_what_is_written_in_place_where_the_table_has_nothing_is_not_read(engine):
    """Convolutions of one, of few and of many channels, and of windows of 3 x 3."""
    rng = np.random.default_rng(0)
    for channels, size in ((1, 2), (2, 2), (6, 2), (6, 3)):
        table = [(k % channels,) for k in range(6)]
        layers = [Convolution(channels, channels, 1, rng=rng)] if channels > 2 else []
        layers += [Convolution(channels, 6, size, table=table, rng=rng), ReLU()]
        layers += [Affine(6 * (13 - size) ** 2, 3, rng=rng)]
        net = Network(layers, input_shape=(channels, 12, 12), dtype="float64")
        computes = get_engine(net, engine, 1)
        x = rng.standard_normal((20, channels, 12, 12))
        computes.predict(x)
        name = f"Convolution{2 if channels > 2 else 1}.W"
        net.params[name][...] += 1.0
        want = copy.deepcopy(net)  # which does not have it
        np.testing.assert_allclose(computes.predict(x), want.predict(x), rtol=1e-9, atol=1e-9)
        _, scores, _ = computes.loss_and_gradient(x, rng.integers(3, size=20))
        np.testing.assert_allclose(scores, want.predict(x), rtol=1e-9, atol=1e-9)


def test_the_gradient_check_passes():
    """A place without a connection has no slope, however it is found."""
    layers = [Convolution(2, 3, 2, table=((0,), (0, 1), (1,)), rng=0), ScaledTanh()]
    layers += [Affine(12, 2, rng=1)]
    net = Network(layers, input_shape=(2, 3, 3), dtype="float64")
    x = np.random.default_rng(2).standard_normal((3, 2, 3, 3))
    assert max(gradient_check(net, x, [0, 1, 1]).values()) < 1e-9


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a["layers"]["grouped"]["arguments"].update(groups=3),
        lambda a: a["layers"]["grouped"]["arguments"].update(groups=0),
        lambda a: a["layers"]["grouped"]["arguments"].update(groups="x"),
        lambda a: a["layers"]["stem"]["arguments"].update(pad=[1, 2, 3]),
        lambda a: a["layers"]["stem"]["arguments"].update(stride=[10**9, 0]),
        lambda a: a["layers"]["box"]["arguments"]["layers"]["c3"]["arguments"].update(table=[[9]]),
        lambda a: a["layers"]["box"]["arguments"]["layers"]["c3"]["arguments"].update(table=5),
        lambda a: a["layers"]["lrn"]["arguments"].update(size=2),
        lambda a: a["layers"]["bn"]["arguments"].update(running_ddof=7),
        lambda a: a["layers"]["box"]["arguments"]["layers"]["s4"]["arguments"].update(channels=-1),
    ],
)
def test_damaged_descriptions_are_one_clear_error(tmp_path, change):
    net = network()
    net.save_params(tmp_path / "net.safetensors")
    arrays = safetensors.numpy.load_file(tmp_path / "net.safetensors")
    described = json.loads(net.description())
    change(described["arguments"])
    metadata = {"network": json.dumps(described)}
    safetensors.numpy.save_file(arrays, tmp_path / "bad.safetensors", metadata)
    with pytest.raises(WeightsError, match="describes a network that this version cannot build"):
        load_network(tmp_path / "bad.safetensors")


def test_books_names_are_refused_where_two_would_be_one():
    with pytest.raises(ArgumentError, match="two parameters would share a name"):
        Network([Convolution(1, 2, 3), Subsampling(2)], input_shape=(1, 6, 6), names="book")
