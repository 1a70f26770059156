"""The published networks: parameters and multiplications of their tables, exactly.

Nothing is drawn or laid out for it: the networks are made for their shapes alone.
"""

import pickle

import numpy as np
import pytest

from slow_cases import slow_except
from xpnet import (
    FCN,
    LRN,
    VGG,
    AlexNet,
    AnConvNet,
    BatchNorm,
    CifarResNet,
    GoogLeNet,
    LeNet,
    ResNet,
    SegNet,
    load_network,
    to_numpy,
)
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.functions.init import shapes_alone
from xpnet.models.alexnet import FORMS
from xpnet.models.saved import copied

SMALL = {"classes": 10, "input_shape": (1, 28, 28)}


def shapes_of(make):
    """A network made for its shapes alone."""
    with shapes_alone():
        return make()


COUNTS = {
    "LeNet": (LeNet, 60_850, 416_520),
    "LeNet modern": (LeNet.modern, 61_706, 416_520),
    "AlexNet": (AlexNet, 60_965_224, 724_406_816),
    "AlexNet without groups": (lambda: AlexNet(groups=1), 62_378_344, 1_135_256_096),
    "AlexNet of torchvision": (lambda: AlexNet("torchvision"), 61_100_840, 714_188_480),
    "AlexNet small": (AlexNet.small, 461_962, 20_361_216),
    "GoogLeNet": (GoogLeNet, 6_998_552, 1_582_671_872),
    "GoogLeNet with heads": (
        lambda: GoogLeNet(auxiliary=True),
        6_998_552 + 3_188_840 + 3_190_888,
        None,
    ),
    "GoogLeNet of torchvision": (
        lambda: GoogLeNet(batch_norm=True, five=3),
        6_624_904,
        1_498_376_192,
    ),
    "GoogLeNet of torchvision with heads": (
        lambda: GoogLeNet(batch_norm=True, five=3, auxiliary=True),
        13_004_888,
        None,
    ),
    "GoogLeNet small": (GoogLeNet.small, 38_482, 3_163_616),
    "An 3 x 3": (AnConvNet, 1_124_180, 173_383_808),
    "An 5 x 5": (lambda: AnConvNet(5), 1_128_180, None),
    "An 7 x 7": (lambda: AnConvNet(7), 2_291_972, None),
    "VGG-11": (lambda: VGG(11), 132_863_336, 7_609_090_048),
    "VGG-13": (lambda: VGG(13), 133_047_848, 11_308_466_176),
    "VGG-16": (lambda: VGG(16), 138_357_544, 15_470_264_320),
    "VGG-19": (lambda: VGG(19), 143_667_240, 19_632_062_464),
    "VGG-16 with BatchNorm": (lambda: VGG(16, batch_norm=True), 138_365_992, 15_470_264_320),
    "VGG small": (VGG.small, 146_938, 7_413_248),
    "ResNet-18": (lambda: ResNet(18), 11_689_512, 1_814_073_344),
    "ResNet-34": (lambda: ResNet(34), 21_797_672, 3_663_761_408),
    "ResNet-50": (lambda: ResNet(50), 25_557_032, 4_089_184_256),
    "ResNet-50 of the paper": (lambda: ResNet(50, v1_5=False), 25_557_032, 3_857_973_248),
    "ResNet-101": (lambda: ResNet(101), 44_549_160, 7_801_405_440),
    "ResNet-152": (lambda: ResNet(152), 60_192_808, 11_513_626_624),
    "ResNet-20": (lambda: CifarResNet(20), 269_722, 40_551_040),
    "ResNet-20 B": (lambda: CifarResNet(20, shortcut="B"), 272_474, None),
    "ResNet-32": (lambda: CifarResNet(32), 464_154, 68_862_592),
    "ResNet-56": (lambda: CifarResNet(56), 853_018, 125_485_696),
    "ResNet-110": (lambda: CifarResNet(110), 1_727_962, 252_887_680),
    "plain-20": (lambda: CifarResNet(20, shortcut=None), 269_722, 40_551_040),
    "ResNet-20 of digits": (lambda: CifarResNet(20, **SMALL), 269_434, 30_821_248),
    "ResNet-20 of width 8": (lambda: CifarResNet(20, width=8, **SMALL), 67_906, None),
    "ResNet-56 of width 8": (lambda: CifarResNet(56, width=8, **SMALL), 214_402, None),
    "FCN small": (FCN.small, 111_714, None),
    "FCN small without skips": (lambda: FCN.small(skips=False), 118_902, None),
    "FCN-32s": (lambda: FCN(32), 134_346_581 + 1_806_336, None),
    "FCN-16s": (lambda: FCN(16), 134_346_581 + 10_773 + 7_056 + 451_584, None),
    "FCN-8s": (lambda: FCN(8), 134_346_581 + 10_773 + 5_397 + 2 * 7_056 + 112_896, None),
    "SegNet small": (SegNet.small, 144_918, 60_604_416),
    "SegNet": (SegNet, 29_449_932, None),
}
"""How each is made, its parameters, and its multiplications where the papers' tables say them."""


AN = (32, 48, 64, 80, 96, 112, 128, 144, 160, 176)
"""Filters of the network of 3 x 3 windows."""
DEEP = ("ResNet-101", "ResNet-152", "ResNet-110")


@pytest.mark.parametrize("name", slow_except(COUNTS, COUNTS.keys() - DEEP))
def test_parameters_and_multiplications_are_the_tables(name):
    make, parameters, macs = COUNTS[name]
    net = shapes_of(make)
    assert net.params.count == parameters
    assert macs in (None, net.macs)
    rows = [row for row in net.summary() if row.depth == 0]
    assert sum(row.parameters for row in rows) == parameters
    assert sum(row.macs for row in rows) == net.macs


def test_vgg16_layer_by_layer():
    counts = [row.parameters for row in shapes_of(lambda: VGG(16)).summary() if row.depth]
    assert [count for count in counts if count] == [
        1_792, 36_928, 73_856, 147_584, 295_168, 590_080, 590_080, 1_180_160, *[2_359_808] * 5,
        102_764_544, 16_781_312, 4_097_000,
    ]  # fmt: skip


def test_an_layer_by_layer():
    rows = shapes_of(AnConvNet).summary()
    shapes = [row.output_shape for row in rows if row.kind == "Convolution"]
    assert shapes == [(filters, 26 - 2 * k, 26 - 2 * k) for k, filters in enumerate(AN)]
    assert [row.kind for row in rows if row.kind == "ReLU" or row.name.startswith("fc")] == [
        *["ReLU"] * 10, "Affine", "BatchNorm",
    ]  # fmt: skip


def test_lenet_layer_by_layer():
    rows = {row.name: (row.parameters, row.output_shape) for row in shapes_of(LeNet).summary()}
    assert [rows[name] for name in ("C1", "S2", "C3", "S4", "C5", "F6", "output")] == [
        (156, (6, 28, 28)),
        (12, (6, 14, 14)),
        (1_516, (16, 10, 10)),
        (32, (16, 5, 5)),
        (48_120, (120, 1, 1)),
        (10_164, (84,)),
        (850, (10,)),
    ]
    assert shapes_of(LeNet.modern).summary()[3].parameters == 2_416


def test_lenet_squashes_where_it_is_told_to():
    def squashes(**options):
        names = shapes_of(lambda: LeNet(**options)).layers
        return [name.partition("-")[0] for name in names if name.endswith("-activation")]

    assert squashes() == ["C1", "S2", "C3", "S4", "C5", "F6"]
    assert squashes(squash_convolutions=False) == ["S2", "S4", "C5", "F6"]
    assert squashes(activation="relu", pool="max") == ["C1", "C3", "C5", "F6"]


def test_alexnet_layer_by_layer():
    def convolutions(net):
        return [row.parameters for row in net.summary() if row.kind == "Convolution"]

    paper, torchvision = shapes_of(AlexNet), shapes_of(lambda: AlexNet("torchvision"))
    assert convolutions(paper) == [34_944, 307_456, 885_120, 663_936, 442_624]
    assert convolutions(torchvision) == [23_296, 307_392, 663_936, 884_992, 590_080]
    for net in (paper, torchvision):
        affine = [row.parameters for row in net.summary() if row.kind == "Affine"]
        assert affine == [37_752_832, 16_781_312, 4_097_000]
    pools = {row.name: row.output_shape for row in paper.summary() if row.kind == "MaxPool"}
    assert pools == {"pool1": (96, 27, 27), "pool2": (256, 13, 13), "pool5": (256, 6, 6)}
    small = shapes_of(AlexNet.small)
    pools = [row.output_shape[1] for row in small.summary() if row.kind == "MaxPool"]
    assert pools == [14, 7, 3]


def test_alexnet_begins_as_the_paper_says(monkeypatch):
    monkeypatch.setitem(FORMS, "paper", FORMS["paper"]._replace(hidden=16))
    net = AlexNet(input_shape=(3, 67, 67), classes=10, rng=0)
    biases = {name: set(np.unique(net.params[name])) for name in net.params if name[-1] == "b"}
    ones = {"conv2.b", "conv4.b", "conv5.b", "fc6.b", "fc7.b"}
    assert {name for name, found in biases.items() if found == {1.0}} == ones
    assert {name for name, found in biases.items() if found == {0.0}} == biases.keys() - ones
    assert np.std(net.params["conv3.W"]) == pytest.approx(0.01, rel=0.01)
    assert net.layers["norm1"].arguments() == LRN().arguments()


def test_inception_modules_of_the_table():
    table = {
        "3a": (163_696, 155_872, (256, 28, 28)),
        "3b": (388_736, 340_224, (480, 28, 28)),
        "4a": (376_176, 364_512, (512, 14, 14)),
        "4b": (449_160, 425_232, (512, 14, 14)),
        "4c": (510_104, 486_192, (512, 14, 14)),
        "4d": (605_376, 573_312, (528, 14, 14)),
        "4e": (868_352, 803_840, (832, 14, 14)),
        "5a": (1_043_456, 978_944, (832, 7, 7)),
        "5b": (1_444_080, 1_347_040, (1024, 7, 7)),
    }
    for number, net in enumerate(
        (shapes_of(GoogLeNet), shapes_of(lambda: GoogLeNet(batch_norm=True, five=3)))
    ):
        rows = {row.name: row for row in net.summary()}
        for name, (*counts, shape) in table.items():
            row = rows[f"inception{name}"]
            assert (row.parameters, row.output_shape) == (counts[number], shape), name
    assert [rows[f"conv{k}"].parameters for k in (1, 2, 3)] == [9_536, 4_224, 110_976]


def test_auxiliary_heads_of_googlenet():
    net = shapes_of(lambda: GoogLeNet(auxiliary=True))
    rows = {row.name: row.parameters for row in net.summary()}
    assert (rows["aux1"], rows["aux2"]) == (3_188_840, 3_190_888)
    assert net.last_layer.weights == {"main": 1.0, "aux1": 0.3, "aux2": 0.3}
    nodes = net.nodes()
    read = {node.name: nodes[node.inputs[0]].name for node in nodes}
    assert read["aux1.pool"] == "inception4a"
    assert read["aux2.pool"] == "inception4d"


def test_stages_of_residual_networks():
    basic, bottleneck = shapes_of(lambda: ResNet(18)), shapes_of(lambda: ResNet(50))
    found = {
        net: [
            (row.parameters, row.output_shape)
            for row in net.summary()
            if row.name in ("layer1", "layer2", "layer3", "layer4")
        ]
        for net in (basic, bottleneck)
    }
    assert found[basic] == [
        (147_968, (64, 56, 56)),
        (525_568, (128, 28, 28)),
        (2_099_712, (256, 14, 14)),
        (8_393_728, (512, 7, 7)),
    ]
    assert found[bottleneck] == [
        (215_808, (256, 56, 56)),
        (1_219_584, (512, 28, 28)),
        (7_098_368, (1024, 14, 14)),
        (14_964_736, (2048, 7, 7)),
    ]


@pytest.mark.parametrize(
    ("make", "keys", "some"),
    [
        (lambda: VGG(11), 22, ["features.0.W", "features.18.b", "classifier.6.b"]),
        (lambda: VGG(16, batch_norm=True), 84, ["features.1.gamma", "classifier.3.W"]),
        (lambda: ResNet(18), 102, ["conv1.W", "layer2.0.downsample.1.beta", "fc.b"]),
        (lambda: ResNet(50), 267, ["layer1.0.downsample.0.W", "layer4.2.bn3.gamma"]),
        (lambda: CifarResNet(56, shortcut=None), 277, ["layer3.8.conv2.W"]),
    ],
)
def test_layers_are_called_as_in_torchvision(make, keys, some):
    """PyTorch's dictionaries have a count for each BatchNorm besides: 97, 122 and 320 keys."""
    arrays = shapes_of(make).file_arrays()
    assert len(arrays) == keys
    assert arrays.keys() >= set(some)


def test_dropout_stands_where_the_papers_and_torchvision_have_it():
    def kinds(names, net):
        return [type(net.layers[name]).__name__ for name in names]

    alexnet = shapes_of(AlexNet)
    assert list(alexnet.layers)[-7:] == ["drop6", "fc6", "relu6", "drop7", "fc7", "relu7", "fc8"]
    torchvision = shapes_of(lambda: AlexNet("torchvision")).layers["classifier"]
    assert kinds("013", torchvision) == ["Dropout", "Affine", "Dropout"]
    assert kinds("0123456", shapes_of(lambda: VGG(11, hidden=(8, 9))).layers["classifier"]) == [
        "Affine", "ReLU", "Dropout", "Affine", "ReLU", "Dropout", "Affine",
    ]  # fmt: skip
    for options, ratio in (({}, 0.4), ({"batch_norm": True}, 0.2), ({"size": "small"}, 0.2)):
        net = shapes_of(lambda options=options: GoogLeNet(auxiliary=True, **options))
        assert net.layers["dropout"].dropout_ratio == ratio
        heads = [net.layers[name].layers["dropout"] for name in ("aux1", "aux2")]
        assert [each.dropout_ratio for each in heads] == [0.7, 0.7]
        assert all(each.inverted for each in heads)


def test_normalization_has_pytorch_s_constants():
    for make, eps in (
        (lambda: ResNet(18, width=8), 1e-5),
        (lambda: VGG(11, batch_norm=True, hidden=8), 1e-5),
        (AnConvNet, 1e-5),
        (lambda: GoogLeNet(batch_norm=True, five=3), 1e-3),
    ):
        norms = [n.layer for n in shapes_of(make).nodes() if type(n.layer) is BatchNorm]
        assert {(n.eps, n.momentum, n.ddof, n.running_ddof) for n in norms} == {(eps, 0.9, 0, 1)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LeNet", "AlexNet small", "GoogLeNet small with heads"])
def test_every_library_computes_the_same(device, name):
    """In float64: forward, and one gradient."""
    net, other = (TRAINED[name](rng=0, device=d, dtype="float64") for d in (device, "cpu"))
    x = np.random.default_rng(1).random((2, *net.input_shape))
    want = other.gradient(x, [3, 7])
    for key, grad in net.gradient(x, [3, 7]).items():
        np.testing.assert_allclose(to_numpy(grad), want[key], atol=1e-10, err_msg=key)


def test_residual_networks_begin_with_the_paper_s_spread():
    net = CifarResNet(20, rng=0)
    W = net.params["layer2.1.conv1.W"]
    assert np.std(W) == pytest.approx(np.sqrt(2 / (32 * 9)), rel=0.03)
    W = net.params["layer2.0.conv1.W"]  # 16 channels in, 32 out
    assert np.std(W) == pytest.approx(np.sqrt(2 / (32 * 9)), rel=0.03)


def test_zero_gamma_begins_with_shortcuts_alone():
    net = ResNet(18, width=4, zero_gamma=True, rng=0, **SMALL)
    gammas = {name: float(net.params[name][0]) for name in net.params if name.endswith("gamma")}
    assert {name for name, gamma in gammas.items() if gamma == 0} == {
        f"layer{k}.{block}.bn2.gamma" for k in (1, 2, 3, 4) for block in (0, 1)
    }
    assert set(gammas.values()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VGG(16, input_shape=(3, 28, 31)), r"VGG-16 needs .* 32 x 32 pixels, got 28 x 31"),
        (lambda: AnConvNet(input_shape=(1, 20, 28)), r"AnConvNet needs .* 21 x 21 .* got 20 x 28"),
        (lambda: AnConvNet(4), "AnConvNet has windows of 3, 5, 7, got size=4"),
        (lambda: VGG.small(input_shape=(1, 7, 9)), r"VGG needs .* 8 x 8 pixels, got 7 x 9"),
        (lambda: LeNet(input_shape=(1, 27, 28)), r"LeNet needs .* 28 x 28 pixels, got 27 x 28"),
        (lambda: AlexNet(input_shape=(1, 28, 28)), r"AlexNet needs .* 67 x 67 pixels, got 28 x 28"),
        (lambda: AlexNet.small(input_shape=(1, 5, 5)), r"AlexNet needs .* pixels, got 5 x 5"),
        (lambda: GoogLeNet(input_shape=(3, 4, 4)), r"GoogLeNet needs .* pixels, got 4 x 4"),
        (lambda: AlexNet("large"), "AlexNet's form must be 'paper', 'torchvision' or 'small'"),
        (lambda: GoogLeNet(five=4), "five of GoogLeNet must be odd, .* got 4"),
        (lambda: VGG(hidden=True), "hidden must be whole numbers, .* got True"),
        (lambda: VGG(12), "VGG has 11, 13, 16, 19 layers, or stages of your own.* got 12"),
        (lambda: VGG(((16, 16), 3)), r"a stage of VGG must be whole numbers.* got 3"),
        (lambda: VGG("16"), "VGG has 11, .* got '16'"),
        (lambda: ResNet(20), "ResNet has 18, 34, 50, 101, 152 layers, got 20"),
        (lambda: ResNet(18, input_shape=(784,)), r"ResNet-18 takes images: .* got \(784,\)"),
        (lambda: CifarResNet(18), r"CifarResNet has 6 n \+ 2 layers.* got 18"),
        (lambda: CifarResNet(shortcut="C"), "CifarResNet's shortcut must be 'A' or 'B', got 'C'"),
    ],
)
def test_what_cannot_be_is_one_clear_error(make, message):
    with pytest.raises(ArgumentError, match=message):
        shapes_of(make)


TRAINED = {
    "LeNet": LeNet,
    "LeNet modern": LeNet.modern,
    "AlexNet small": AlexNet.small,
    "GoogLeNet small": GoogLeNet.small,
    "GoogLeNet small with heads": lambda **o: GoogLeNet.small(auxiliary=True, **o),
    "GoogLeNet of torchvision, small, with heads": lambda **o: GoogLeNet(
        size="small", batch_norm=True, five=3, auxiliary=True, **o
    ),
    "VGG small": VGG.small,
    "VGG with BatchNorm": lambda **o: VGG(((4,), (6, 6)), batch_norm=True, hidden=8, **SMALL, **o),
    "ResNet-18": lambda **o: ResNet(18, width=4, **SMALL, **o),
    "ResNet-50": lambda **o: ResNet(50, width=4, **SMALL, **o),
    "ResNet-20": lambda **o: CifarResNet(20, width=4, **SMALL, **o),
    "ResNet-20 B": lambda **o: CifarResNet(20, width=4, shortcut="B", **SMALL, **o),
    "plain-20": lambda **o: CifarResNet(20, width=4, shortcut=None, **SMALL, **o),
}
"""Each family, small enough for a step of training."""


QUICK = ("LeNet", "VGG small")


@pytest.mark.parametrize("name", slow_except(TRAINED, QUICK))
def test_a_file_and_a_copy_are_the_network_again(name, tmp_path):
    net = TRAINED[name](rng=0)
    x = np.random.default_rng(1).random((2, *net.input_shape), dtype=np.float32)
    grads = net.gradient(x, [3, 7])  # statistics of BatchNorm change
    assert grads.keys() == net.params.keys()
    assert all(np.isfinite(grad).all() for grad in grads.values())
    want = net.predict(x)
    net.save_params(tmp_path / "net.safetensors")
    others = [load_network(tmp_path / "net.safetensors"), pickle.loads(pickle.dumps(net))]
    others.append(copied(net, device="cpu", dtype="float32"))
    for other in others:
        assert type(other) is type(net)
        np.testing.assert_array_equal(other.predict(x), want)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_the_engine_computes_the_same(name):
    """In float64. The worst, 4e-12, is that of ResNet-50, where variances are of five numbers."""
    net, other = (TRAINED[name](rng=0, dtype="float64") for _ in range(2))
    engine, rng = get_engine(net, "cpu", 1), np.random.default_rng(1)
    x, t = rng.random((5, *net.input_shape)), rng.integers(10, size=5)
    loss, _, grads = engine.loss_and_gradient(x, t)
    wanted_loss, _, want = other.loss_and_gradient(x, t)
    assert float(loss) == pytest.approx(float(wanted_loss), rel=1e-12)
    largest = max(float(np.abs(grad).max()) for grad in want.values())
    for key, grad in want.items():
        np.testing.assert_allclose(grads[key], grad, rtol=0, atol=4e-11 * largest, err_msg=key)
    y = other.predict(x)
    np.testing.assert_allclose(engine.predict(x), y, rtol=0, atol=4e-11 * np.abs(y).max())
