"""FCN and SegNet: their parts, what they are saved as, and what they learn from masks."""

import numpy as np
import pytest

from slow_cases import slow_except
from xpnet import FCN, VGG, Affine, SegNet, Trainer, load_network, to_numpy
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.functions.init import shapes_alone
from xpnet.layers import Convolution, TransposedConvolution, leaves
from xpnet.models.fcn import as_convolution

TINY = {"input_shape": (1, 8, 16), "classes": 3}
SMALL = {
    "with skips": FCN.small,
    "without": lambda **options: FCN.small(skips=False, **options),
    "SegNet": SegNet.small,
}


@pytest.mark.parametrize("shape", [(2, 3, 3), (3, 2, 4), (1, 1, 1), (4, 5, 1)])
def test_a_convolution_is_its_affine_layer_slid_over_the_image(xp, shape):
    rng = np.random.default_rng(0)
    channels, height, width = shape
    affine = Affine(channels * height * width, 5, rng=rng)
    device = xp.empty(0).device
    affine.params = {
        "W": xp.asarray(affine.params["W"], device=device),
        "b": xp.asarray(rng.standard_normal(5), device=device),
    }
    conv = as_convolution(affine, shape)
    x = rng.standard_normal((2, channels, height + 2, width + 1))
    y = to_numpy(conv.forward(xp.asarray(x, device=device))[0])
    assert y.shape == (2, 5, 3, 2)
    for row in range(3):
        for column in range(2):
            part = x[:, :, row : row + height, column : column + width].reshape(2, -1)
            want = affine.forward(xp.asarray(part, device=device))[0]
            np.testing.assert_allclose(y[:, :, row, column], to_numpy(want), atol=1e-13)
    assert conv.params["W"] is not affine.params["W"]
    affine.params["b"][...] = 0.0
    assert to_numpy(conv.params["b"]).all()  # a copy


def test_what_is_no_affine_layer_over_such_images_is_refused():
    with pytest.raises(ArgumentError, match=r"of 12 inputs takes images \(C, H, W\) of as many"):
        as_convolution(Affine(12, 2, rng=0), (3, 2, 3))
    with pytest.raises(ArgumentError, match="of as many numbers"):
        as_convolution(Affine(12, 2, rng=0), (3, 4))
    assert "b" in as_convolution(Affine(12, 2, rng=0), (3, 2, 2)).params


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
def test_the_engine_computes_what_the_layers_say(make):
    rng = np.random.default_rng(1)
    x, t = rng.random((5, 1, 8, 16)), rng.integers(0, 3, (5, 8, 16))
    t[:, :2] = 255
    nets = [make(rng=0, dtype="float64", **TINY) for _ in range(2)]
    engines = [get_engine(net, name) for net, name in zip(nets, ("cpu", "reference"), strict=True)]
    (loss, scores, grads), (want_loss, want_scores, want) = (
        engine.loss_and_gradient(x, t) for engine in engines
    )
    np.testing.assert_allclose(loss, want_loss, rtol=1e-12)
    np.testing.assert_allclose(scores, want_scores, rtol=1e-9, atol=1e-9)
    for name, grad in want.items():
        np.testing.assert_allclose(grads[name], grad, rtol=1e-9, atol=1e-9, err_msg=name)
    seen, wanted = (engine.predict(x) for engine in engines)
    np.testing.assert_allclose(seen, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
def test_files_tell_the_whole_network(tmp_path, make):
    net = make(rng=0, **TINY)
    net.save_params(tmp_path / "w.safetensors")
    same = load_network(tmp_path / "w.safetensors")
    assert type(same) is type(net)
    x = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 16), dtype="uint8")
    np.testing.assert_array_equal(same.predict(x), net.predict(x))
    assert same.predict(x).shape == (2, 3, 8, 16)
    assert same.last_layer.ignore == 255


def test_pixels_are_seen_around_0():
    """The first convolution sees pixels / 255 - 1/2, and its frame is the middle grey."""
    net = FCN.small(rng=0, **TINY)
    first = next(layer for _, layer in leaves(net._body) if isinstance(layer, Convolution))
    x = np.random.default_rng(0).integers(0, 256, (1, 1, 8, 16), dtype="uint8")
    seen, _ = net.layers["rescale"].forward(net.place(x))
    np.testing.assert_allclose(seen, x / 255 - 0.5, atol=1e-6)
    grey = first.forward(np.zeros((1, 1, 8, 16), "float32"))[0]
    assert not grey.any()


def test_enlargement_begins_as_interpolation():
    net = FCN.small(skips=False, rng=0, **TINY)
    up = net.layers["up8"]
    assert isinstance(up, TransposedConvolution)
    same, _ = up.forward(np.ones((1, 3, 4, 4), "float32"))
    assert same.shape == (1, 3, 32, 32)
    np.testing.assert_allclose(same[:, :, 4:-4, 4:-4], 1, atol=1e-6)
    assert net.params["up8.W"].any()
    assert set(net.params) >= {"up8.W", "score.W", "score.b"}
    assert "up8.b" not in net.params


@pytest.mark.parametrize(
    ("make", "least"), [(FCN.small, 8), (lambda **options: FCN(32, **options), 32)]
)
def test_sizes_that_cannot_be_halved_are_refused(make, least):
    for size in ((least, least - 1), (least + 1, least), (3 * least - 2, least)):
        with pytest.raises(ArgumentError, match=rf"must be divisible by {least}, got {size[0]} x"):
            make(input_shape=(3, *size))


def test_segnet_takes_sizes_that_cannot_be_halved():
    net = SegNet.small(input_shape=(3, 13, 19), rng=0)
    assert net.output_shape == (6, 13, 19)
    with pytest.raises(ArgumentError, match="pooled1"):
        SegNet.small(input_shape=(3, 7, 19))


@pytest.mark.parametrize("stride", [4, 12, 64])
def test_there_are_three_fcns(stride):
    with pytest.raises(ArgumentError, match="FCN enlarges by 32, 16 or 8 in its last step, got"):
        FCN(stride)


def test_skips_of_the_paper():
    def sums(stride):
        with shapes_alone():
            net = FCN(stride)
        return [(node.name, node.output_shape) for node in net.nodes() if len(node.inputs) > 1]

    assert sums(32) == []
    assert sums(16) == [("with4", (21, 14, 14))]
    assert sums(8) == [("with3.deep.with4", (21, 14, 14)), ("with3", (21, 28, 28))]
    with shapes_alone():
        net = FCN(16)
    frozen = {name for name in net.params if net.params.learning(name).frozen}
    assert frozen == {"up16.W"}


@pytest.fixture
def narrow(monkeypatch):
    """VGG-16 and FCN with a tenth of the filters, or fewer."""
    widths = (2, 3, 4, 5, 6)
    for module in ("vgg", "fcn"):
        monkeypatch.setattr(f"xpnet.models.{module}.WIDTHS", widths)
    monkeypatch.setattr("xpnet.models.fcn.HIDDEN", 7)
    return VGG(16, hidden=7, classes=3, rng=0)


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_what_a_vgg_has_learned_is_taken(narrow, stride):
    fcn = FCN(stride, classes=2, rng=1, input_shape=(3, 224, 224))
    before = to_numpy(fcn.params[f"up{stride}.W"]).copy()
    fcn.take_vgg(narrow)
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype("float32")
    want = narrow.features(x, upto="features")
    hidden = dict(narrow.layers["classifier"].children())
    for name in ("0", "1", "3", "4"):
        want = hidden[name].forward(want.reshape(1, -1))[0]
    own = [layer for _, layer in leaves(fcn._body) if isinstance(layer, Convolution)]
    seen = x
    convolutions = iter(own)
    for count in (2, 2, 3, 3, 3):
        for _ in range(count):
            seen = np.maximum(next(convolutions).forward(seen)[0], 0)
        N, C, H, W = seen.shape
        seen = seen.reshape(N, C, H // 2, 2, W // 2, 2).max(axis=(3, 5))
    # fc6 is framed by 3: in the middle it sees just what the affine layer sees.
    seen = np.maximum(own[13].forward(seen)[0], 0)
    seen = np.maximum(own[14].forward(seen)[0], 0)
    np.testing.assert_allclose(seen[:, :, 3, 3], want, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(fcn.params[f"up{stride}.W"], before)


def test_another_vgg_is_refused(narrow):
    fcn = FCN(32, classes=2, rng=1)
    before = to_numpy(fcn.params.flat).copy()
    for other in (
        VGG(16, batch_norm=True, hidden=7, rng=0),
        VGG(13, hidden=7, rng=0),
        VGG(16, hidden=8, rng=0),
        VGG(16, hidden=(7,), rng=0),
    ):
        with pytest.raises(ArgumentError, match="what a VGG-16 without BatchNorm has le"):
            fcn.take_vgg(other)
    with pytest.raises(ArgumentError, match="what a VGG-16 without BatchNorm has le"):
        FCN.small(rng=0).take_vgg(narrow)
    np.testing.assert_array_equal(fcn.params.flat, before)


def bars(count, seed):
    """Pictures of bright bars on dark ground, and where the bars are; some pixels are left out."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 60, (count, 1, 16, 16)).astype("uint8")
    t = np.zeros((count, 16, 16), "uint8")
    for k, start in enumerate(rng.integers(0, 10, count)):
        part = slice(start, start + 6)
        where = (k, part) if k % 2 else (k, slice(None), part)
        t[where] = 1 + k % 2
    x[t[:, np.newaxis] > 0] += 150
    t[:, 0, :3] = 255
    return x, t


LEARNING = [(name, engine) for name in SMALL for engine in ("reference", "cpu")]


@pytest.mark.parametrize(("name", "engine"), slow_except(LEARNING, [("SegNet", "cpu")]))
def test_they_learn_masks(name, engine):
    (x, t), (x_test, t_test) = bars(40, 0), bars(20, 1)
    net = SMALL[name](rng=0, input_shape=(1, 16, 16), classes=3)
    trainer = Trainer(
        net, x, t, x_test, t_test, 5, 10, "Adam", {"lr": 0.01}, verbose=False, engine=engine
    )
    last = trainer.train()[-1]
    assert last["test_mean_iou"] > 0.6
    assert trainer.best == ("test_mean_iou", "max")
