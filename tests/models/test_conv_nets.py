"""The book's convolutional networks: gradients, files, and the same training on every library.

Tolerances: float32 evaluations of these networks on NumPy and PyTorch differ by at most 2e-6 in the
first gradient and 1e-6 in the weights after 20 steps, over six seeds. SimpleConvNet's initial
weights are larger than the book's 0.01: with those, hidden units and gradients are so near 0 that
differences step over kinks of ReLU and pooling, and that Adam, which divides by as little as 1e-7,
enlarges the rounding of gradients to 2e-4 of the weights.
"""

import pickle

import numpy as np
import pytest

from test_cli import Run
from xpnet import (
    SGD,
    Adam,
    Affine,
    AveragePool,
    Convolution,
    DeepConvNet,
    Dropout,
    MaxPool,
    Network,
    ReLU,
    SimpleConvNet,
    to_numpy,
)
from xpnet.errors import ArgumentError, WeightsError
from xpnet.models import load_network

FIRST_GRADIENT = 1e-5  # of the largest element
AFTER_20_STEPS = 1e-5  # of the norm

X = np.random.default_rng(0).random((20, 1, 12, 12), dtype=np.float32)
T = np.random.default_rng(1).integers(10, size=20)
SMALL = {
    "simple-convnet": {
        "input_dim": [1, 12, 12],
        "conv_param": {"filter_num": 4, "filter_size": 5},
        "hidden_size": 12,
        "weight_init_std": 0.3,
    },
    "deep-convnet": {
        "input_dim": [1, 12, 12],
        **{f"conv_param_{k}": {"filter_num": 4} for k in range(1, 7)},
        "hidden_size": 12,
    },
}
NETS = {"simple-convnet": SimpleConvNet, "deep-convnet": DeepConvNet}
OPTIMIZERS = {"sgd": lambda: SGD(0.1), "adam": lambda: Adam(0.001)}

both = pytest.mark.parametrize("model", NETS)


def small_net(model, device="cpu", dtype="float32"):
    return NETS[model](**SMALL[model], rng=3, device=device, dtype=dtype)


def assert_same_params(net, params):
    assert list(net.params) == list(params)
    for name, want in params.items():
        np.testing.assert_array_equal(to_numpy(net.params[name]), to_numpy(want), err_msg=name)


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        ("simple-convnet", [(30, 1, 5, 5), (4320, 100), (100, 10)]),
        (
            "deep-convnet",
            [(16, 1, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3),
             (64, 64, 3, 3), (1024, 50), (50, 10)],
        ),
    ],
)  # fmt: skip
def test_parameters_have_the_books_names_and_shapes(model, shapes):
    got = [(name, p.shape) for name, p in NETS[model]().params.items()]
    want = []
    for k, W in enumerate(shapes, start=1):
        want += [(f"W{k}", W), (f"b{k}", W[:1] if len(W) == 4 else W[1:])]
    assert got == want


@both
def test_gradient_is_the_numerical_one(model, device):
    """Along one random direction of all parameters, with the same units left out."""
    net = small_net(model, device, "float64")
    x, t, h = net.place(X), device.asarray(T), 1e-5
    state = net.copied_state()
    grads = net.gradient(x, t)
    rng = np.random.default_rng(0)
    v = {name: rng.standard_normal(p.shape) for name, p in net.params.items()}
    for name in v:
        net.params[name] += h * device.asarray(v[name])

    def loss_after(step):
        for name in v:
            net.params[name] += step * device.asarray(v[name])
        net.restore_state(state)
        return float(net.loss(x, t, train=True))

    numerical = (loss_after(0.0) - loss_after(-2 * h)) / (2 * h)
    assert all(np.any(to_numpy(grad)) for grad in grads.values())
    terms = [np.sum(to_numpy(grads[name]) * v[name]) for name in v]
    assert numerical == pytest.approx(sum(terms), rel=0, abs=1e-7 * sum(map(abs, terms)))


@both
def test_first_gradient_is_the_same_on_every_library(model, device):
    want = small_net(model).gradient(X, T)
    for name, got in small_net(model, device).gradient(X, T).items():
        limit = FIRST_GRADIENT * np.max(np.abs(want[name]))
        np.testing.assert_allclose(to_numpy(got), want[name], rtol=0, atol=limit, err_msg=name)


def trained(model, optimizer, device="cpu"):
    """After 20 steps of 10 images each."""
    net, optimizer = small_net(model, device), OPTIMIZERS[optimizer]()
    for k in range(20):
        batch = slice(10 * (k % 2), 10 * (k % 2) + 10)
        optimizer.update(net.params, net.gradient(X[batch], T[batch]))
    return {name: to_numpy(p) for name, p in net.params.items()}


@pytest.fixture(scope="module")
def reference():
    """On NumPy."""
    return {(model, name): trained(model, name) for model in NETS for name in OPTIMIZERS}


@both
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weights_after_20_steps(model, optimizer, device, reference):
    """Dropout included: with one other mask, these would be far apart."""
    got = trained(model, optimizer, device)
    for name, want in reference[model, optimizer].items():
        distance = np.linalg.norm(got[name] - want) / np.linalg.norm(want)
        assert distance <= AFTER_20_STEPS, name


@both
def test_training_repeats_bit_for_bit(model, device):
    first, second = (trained(model, "adam", device) for _ in range(2))
    for name, want in first.items():
        np.testing.assert_array_equal(second[name], want, err_msg=name)


def test_dropout_counts_training_passes_only(device):
    net = small_net("deep-convnet", device)
    for use in (net.gradient, net.loss, net.accuracy, net.gradient):
        use(X, T)
    calls = {name: int(to_numpy(array)[0]) for name, array in net.state.items()}
    assert calls == {"Dropout1.calls": 2, "Dropout2.calls": 2}


IMAGE = (1, 6, 6)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [Convolution(1, 2, 3), ReLU(), Affine(10, 3)],
            "layer Affine1: Affine takes 10 numbers a sample, got the shape (2, 4, 4)",
        ),
        (
            [Convolution(1, 2, 3), Convolution(3, 2, 3)],
            "layer Convolution2: Convolution takes images of 3 channels, (3, H, W), got (2, 4, 4)",
        ),
        (
            {"small": MaxPool(2, stride=2), "last": Convolution(1, 2, 5)},
            "layer last: a window of 5 needs an image of at least 5 pixels, got 3",
        ),
        (
            [Convolution(1, 2, 2), AveragePool(2, stride=2)],
            "layer AveragePool1: a window of 2 with stride 2 does not end at the edge of 5 pixels",
        ),
        (
            [Affine(36, 4), Dropout(), MaxPool(2)],
            "layer MaxPool1: pooling takes images, (C, H, W), got (4,)",
        ),
    ],
)
def test_layers_that_do_not_fit_are_refused_when_the_network_is_made(layers, message):
    with pytest.raises(ArgumentError) as error:
        Network(layers, input_shape=IMAGE)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Network([Convolution(1, 2, 3), Affine(32, 3)]),
            r"must be told the shape of a sample; give input_shape, such as \(1, 28, 28\)",
        ),
        (lambda: Network([ReLU(), MaxPool(2)]), "must be told the shape of a sample"),
        (lambda: SimpleConvNet((1, 28)), r"images of 1 channels, \(1, H, W\), got \(1, 28\)"),
        (lambda: DeepConvNet((1, 9, 9)), "does not end at the edge of 9 pixels"),
        (lambda: SimpleConvNet(conv_param={"filter_num": 0}), "filters=0"),
        (
            lambda: SimpleConvNet().predict(np.ones((2, 784))),
            r"a batch of shape \(N, 1, 28, 28\) is needed, got \(2, 784\)",
        ),
    ],
)
def test_misuse_is_told(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


@both
def test_a_network_comes_back_from_its_file(model, device, tmp_path):
    net = small_net(model, device)
    net.save_params(tmp_path / "m.safetensors")
    back = load_network(tmp_path / "m.safetensors", device=device)
    assert type(back) is NETS[model]
    assert_same_params(back, net.params)
    np.testing.assert_array_equal(to_numpy(back.predict(X)), to_numpy(net.predict(X)))


def published(path, model, **changed):
    """A pickle with names, shapes and order of the book's, and filters that no default draws."""
    rng = np.random.default_rng(1)
    params = {
        name: (rng.standard_normal(p.shape) / np.sqrt(p[0].size or 1)).astype(np.float32)
        for name, p in NETS[model]().params.items()
    } | changed
    params = {name: p for name, p in params.items() if p is not None}
    path.write_bytes(pickle.dumps(params))
    return params


@both
def test_a_published_pickle_becomes_its_network(model, device, tmp_path):
    params = published(tmp_path / "params.pkl", model)
    net = load_network(tmp_path / "params.pkl", device=device)
    assert type(net) is NETS[model]
    assert_same_params(net, params)
    same = NETS[model](device=device)
    for name, p in params.items():
        same.params[name] = p
    x = np.random.default_rng(2).random((3, 1, 28, 28), dtype=np.float32)
    scores = to_numpy(net.predict(x))
    np.testing.assert_array_equal(scores, to_numpy(same.predict(x)))
    assert np.std(scores) > 0.01


def zeros(*shape):
    return np.zeros(shape, np.float32)


NEITHER = "begins with filters, but is neither a SimpleConvNet nor a DeepConvNet for 28 x 28 images"


@pytest.mark.parametrize(
    ("model", "changed", "message"),
    [
        ("simple-convnet", {"b3": None}, r"b3 must have shape \(10,\), got none"),
        ("simple-convnet", {"W3": None, "b3": None}, rf"{NEITHER} .*have \[4, 2\] axes"),
        ("simple-convnet", {"W1": zeros(30, 1, 5, 4)}, r"must have shape \(30, 1, 5, 5\)"),
        ("simple-convnet", {"W1": zeros(30, 1, 4, 4)}, f"{NEITHER} .*the edge of 25 pixels"),
        ("simple-convnet", {"W1": zeros(0, 1, 5, 5)}, f"{NEITHER} .*filters=0"),
        ("simple-convnet", {"W2": zeros(4000, 100)}, r"\(4320, 100\)"),
        ("simple-convnet", {"W2": zeros(0, 10**12)}, r"\(4320, 1000000000000\)"),
        ("simple-convnet", {"b1": np.full(30, np.nan)}, "b1 must hold finite floats"),
        ("simple-convnet", {"b1": np.zeros(30, int)}, "b1 must hold finite floats, got int64"),
        ("simple-convnet", {"gamma1": zeros(30)}, "holds more than the network: 'gamma1'"),
        ("simple-convnet", {"": zeros(30)}, "holds more than the network: ''"),
        ("deep-convnet", {"W9": zeros(10, 10)}, f"{NEITHER} .*axes"),
        ("deep-convnet", {"W4": zeros(32, 16, 3, 3)}, r"\(32, 32, 3, 3\)"),
        ("deep-convnet", {"b8": zeros(9)}, r"b8 must have shape \(10,\), got \(9,\)"),
    ],
)  # fmt: skip
def test_pickles_that_are_no_network_are_refused(model, changed, message, tmp_path):
    published(tmp_path / "params.pkl", model, **changed)
    with pytest.raises(WeightsError, match=message) as error:
        load_network(tmp_path / "params.pkl")
    assert str(tmp_path / "params.pkl") in str(error.value)


def test_an_activation_is_not_asked_of_convolutional_networks(tmp_path):
    published(tmp_path / "params.pkl", "simple-convnet")
    with pytest.raises(ArgumentError, match="use ReLU; leave out activation"):
        load_network(tmp_path / "params.pkl", activation="relu")


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        (
            "simple-convnet",
            ["input 1 x 28 x 28", "Conv1 Convolution 30 x 24 x 24 780 432,000",
             "Pool1 MaxPool 30 x 12 x 12",
             "Affine1 Affine 100 432,100 432,000", "total 433,890 865,000"],
        ),
        (
            "deep-convnet",
            ["input 1 x 28 x 28", "Conv1 Convolution 16 x 28 x 28 160 112,896",
             "Pool1 MaxPool 16 x 14 x 14", "Conv4 Convolution 32 x 16 x 16 9,248 2,359,296",
             "Pool3 MaxPool 64 x 4 x 4", "Affine1 Affine 50 51,250 51,200",
             "Dropout2 Dropout 10", "total 123,552 8,772,340"],
        ),
    ],
)  # fmt: skip
def test_summary_on_the_command_line(model, rows, capsys, monkeypatch):
    code, out, err = Run(capsys, monkeypatch)("summary", "--model", model)
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert [row for row in rows if row not in lines] == []
