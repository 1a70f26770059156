"""Style transfer: its loss by hand, the gradient of a picture, two ways to paint, refusals."""

from functools import partial

import numpy as np
import pytest

from tolerances import assert_near
from xpnet import VGG, Affine, Network, Photographs, ReLU, Sequential, to_numpy
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError, DivergedError
from xpnet.functions.style import gram_matrix
from xpnet.models.efficientnet import EfficientNetLite0
from xpnet.models.taps import StyleLayers, Taps, random_features, style_layers
from xpnet.train.style import LOSSES, StyleTransfer, paint

RNG = np.random.default_rng(0)
CONTENT, STYLE = RNG.random((3, 12, 8)), RNG.random((3, 9, 13)) ** 3


@pytest.fixture(autouse=True)
def _nothing_compiled(monkeypatch):
    """Loops that numba compiles have tests of their own, and take a minute the first time."""
    monkeypatch.setattr("xpnet.train.style.get_engine", partial(get_engine, compiled=False))


def transfer(device="cpu", dtype="float64", content=CONTENT, style=STYLE, **options):
    network = random_features(rng=1, device=device, dtype=dtype)
    return StyleTransfer(network, content, style, **options)


def test_random_features_are_those_of_the_table():
    network = random_features(rng=0)
    sizes = [array.size for array in network.params.values()]
    assert sizes == [864, 9_216, 18_432, 36_864, 73_728, 147_456]
    assert network.params.count == 286_560
    assert np.std(network.params["conv5.W"]) == pytest.approx((2 / 576) ** 0.5, rel=0.02)
    assert style_layers(network) == (("relu1", "relu3", "relu5"), "relu4")
    assert list(Taps(network, ["relu5", "relu1"]).chunks) == ["relu1", "relu5"]


def test_losses_are_their_definition(device):
    """Terms by plain NumPy, of features that the layers make one by one."""
    found = transfer(device, variation_weight=0.25)
    x = RNG.random((1, 3, 12, 8))
    losses, _ = found.loss_and_gradient(device.asarray(x))

    def features(picture):
        seen, x = {}, (picture[None, ...] - 0.45) / 0.25
        for name, layer in random_features(rng=1, dtype="float64").layers.items():
            x = seen[name] = layer.forward(x)[0]
        return {name: F[0] for name, F in seen.items()}

    own, content, style = features(x[0]), features(CONTENT), features(STYLE)

    def gram(of, name):
        return gram_matrix(of[name]) / of[name][0].size

    P = content["relu4"]
    C = np.mean((own["relu4"] - P) ** 2) / np.mean(P**2)
    S = [
        np.sum((gram(own, name) - gram(style, name)) ** 2)
        / (np.sum(gram(style, name) ** 2) + np.sum(gram(content, name) ** 2))
        for name in ("relu1", "relu3", "relu5")
    ]
    V = np.mean(np.concatenate([np.diff(x, axis=axis).ravel() for axis in (2, 3)]) ** 2)
    want = C + 10 * np.mean(S) + 0.25 * V, C, np.mean(S), V
    for name, value in zip(LOSSES, want, strict=True):
        assert_near(losses[name], value, {"rtol": 1e-12, "atol": 0})


@pytest.mark.parametrize("same", [False, True], ids=["usual layers", "one layer for both"])
def test_the_gradient_by_the_picture_is_a_difference(device, same):
    layers = StyleLayers(("relu1", "relu2"), "relu2") if same else None
    found = transfer(device, layers=layers, variation_weight=0.5)
    rng, h = np.random.default_rng(2), 1e-6
    x, v = rng.random((1, 3, 12, 8)), rng.standard_normal((1, 3, 12, 8))
    up, down = (
        float(found.loss_and_gradient(device.asarray(x + step * v))[0]["loss"]) for step in (h, -h)
    )
    _, gradient = found.loss_and_gradient(device.asarray(x))
    assert np.sum(to_numpy(gradient) * v) == pytest.approx((up - down) / (2 * h), rel=2e-6)


def test_no_parameter_is_changed_or_read_back(unread, strict_device):
    found = transfer(strict_device, "float32")
    before = to_numpy(found.network.params.flat).copy()
    with unread():
        losses, gradient = found.loss_and_gradient(found.content)
    assert gradient.shape == found.content.shape
    assert float(losses["content"]) == 0
    np.testing.assert_array_equal(to_numpy(found.network.params.flat), before)


@pytest.mark.parametrize("make", [VGG.small, EfficientNetLite0], ids=["VGG", "EfficientNet"])
def test_engines_and_layers_agree_on_other_networks(make):
    network = make(input_shape=(3, 32, 32), rng=0, dtype="float64")
    network.photographs = Photographs(32, (120, 110, 100), (60, 50, 70))
    content, style = RNG.random((2, 3, 32, 32))
    found = StyleTransfer(network, content, style)
    x = RNG.random((1, 3, 32, 32))
    losses, gradient = found.loss_and_gradient(x)
    found._computing = None
    again, want = found.loss_and_gradient(x)
    assert {name: float(a) for name, a in losses.items()} == pytest.approx(
        {name: float(a) for name, a in again.items()}, rel=1e-10
    )
    np.testing.assert_allclose(gradient, want, rtol=1e-6, atol=1e-9 * np.abs(want).max())


def test_layers_of_vgg_are_the_papers():
    from xpnet.functions.init import shapes_alone

    with shapes_alone():
        found = style_layers(VGG(16, input_shape=(3, 32, 32)))
        assert style_layers(VGG.small(input_shape=(3, 32, 32))).content == "features.13"
    assert found.style == tuple(f"features.{k}" for k in (1, 6, 11, 18, 25))
    assert found.content == "features.20"


def test_the_content_alone_is_reached():
    """The features of a layer that changes nothing are the picture itself."""
    pytest.importorskip("scipy", reason="SciPy is not installed")
    network = Network({"same": Sequential([ReLU()])}, input_shape=(3, 2, 2), dtype="float64")
    network.photographs = Photographs(2, 0, 255)
    target = RNG.random((3, 2, 2))
    layers = StyleLayers(("same.ReLU1",), "same.ReLU1")
    weights = {"content_weight": 1.0, "style_weight": 0.0, "variation_weight": 0.0}
    found = StyleTransfer(network, target, target, layers=layers, **weights)
    painted = paint(found, optimizer="lbfgs", start="noise")
    np.testing.assert_allclose(painted.image, target, rtol=0, atol=1e-6)  # of float32
    assert painted.history[-1]["loss"] < 1e-12
    assert len(painted.history) < 10
    assert "CONVERGENCE" in painted.reason


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_painting(optimizer):
    if optimizer == "lbfgs":
        pytest.importorskip("scipy", reason="SciPy is not installed")
    found, told = transfer(dtype="float32"), []
    painted = paint(found, optimizer=optimizer, evaluations=25, go_on=lambda n: not told.append(n))
    assert told == list(range(1, 26))
    losses = [row["loss"] for row in painted.history]
    assert len(losses) == 25
    assert min(losses) < 0.6 * losses[0]
    assert painted.image.dtype == np.float32
    assert painted.image.shape == CONTENT.shape
    assert 0 <= painted.image.min() < painted.image.max() <= 1
    kept = found.loss_and_gradient(painted.image[None, ...])[0]["loss"]
    assert float(kept) == pytest.approx(min(losses) if optimizer == "lbfgs" else losses[-1])
    if optimizer == "lbfgs":
        assert np.all(np.diff(painted.accepted) <= 0)
    again = paint(found, optimizer=optimizer, evaluations=25)
    np.testing.assert_array_equal(again.image, painted.image)
    stopped = paint(found, optimizer=optimizer, evaluations=25, go_on=lambda n: n < 7)
    assert (len(stopped.history), stopped.reason) == (7, "it was stopped")
    assert [row["loss"] for row in stopped.history] == losses[:7]


def test_adam_paints_on_every_device(device):
    """Without a gradient that is 0 up to rounding, of whose sign Adam makes a step."""
    found = transfer(device)
    painted = paint(found, optimizer="adam", evaluations=3, start="noise", seed=3)
    want = paint(transfer(), optimizer="adam", evaluations=3, start="noise", seed=3)
    np.testing.assert_allclose(painted.image, want.image, rtol=0, atol=1e-6)
    other = paint(found, optimizer="adam", evaluations=1, start="noise", seed=4)
    assert np.abs(other.image - painted.image).max() > 0.5


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.optimize", None)
    with pytest.raises(ArgumentError, match=r"needs SciPy, which is not .*xpnet\[minimise\]"):
        paint(transfer(), optimizer="lbfgs", evaluations=1)
    monkeypatch.setattr("xpnet.train.style.installed", lambda package: False)
    assert paint(transfer(), evaluations=2).reason == "2 evaluations were made"


def unseen():
    network = random_features(rng=1)
    network.photographs = None
    return network


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: transfer(content=CONTENT[:1]), r"content must be a picture of three colours"),
        (lambda: transfer(style=2 * STYLE), "style must have pixels of uint8, or floats from 0"),
        (lambda: transfer(style=STYLE * np.nan), "style must have pixels"),
        (lambda: transfer(style=STYLE[:, :3]), r"style.* too small|style.* does not fit"),
        (lambda: transfer(content=np.full((3, 8, 8), 0.45)), "show the network nothing"),
        (lambda: transfer(style_weight=-1.0), "style_weight must be a number from 0, got -1.0"),
        (
            lambda: transfer(content_weight=0, style_weight=0, variation_weight=0),
            "all weights are 0",
        ),
        (lambda: StyleTransfer(unseen(), CONTENT, STYLE), "does not say how it reads photographs"),
        (lambda: transfer(layers=StyleLayers(("relu9",), "relu1")), "got relu9"),
        (lambda: style_layers(Network([Affine(3, 2)])), "style is compared behind layers of VGG"),
        (lambda: Taps(random_features(), []), "got none"),
        (lambda: Taps(random_features(), ["relu1"]).forward(CONTENT[None])[1]({}), "got none"),
        (lambda: paint(transfer(), evaluations=0), "evaluations must be at least 1, got 0"),
        (lambda: random_features((12, 8)), "input_shape must be"),
    ],
)
def test_what_is_refused(call, told):
    with pytest.raises(ArgumentError, match=told):
        call()


def test_a_loss_that_is_no_number():
    network = random_features(rng=1)
    found = StyleTransfer(network, CONTENT, STYLE, style_weight=1e38)
    for path in found._grams:
        found._share[f"{path}, style"] = 1e30
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match="no number"):
        paint(found, optimizer="adam", evaluations=2)
