"""Transposed convolution: the specification's examples, its definition, PyTorch, and its uses."""

import copy
import pickle

import numpy as np
import pytest

from test_layers import placed
from tolerances import E12, EX, assert_near
from xpnet import (
    Affine,
    BatchNorm,
    Convolution,
    Network,
    ReLU,
    TransposedConvolution,
    fold_batch_norm,
    half_precision,
    load_network,
    load_torch,
    save_torch,
    to_numpy,
)
from xpnet.errors import ArgumentError
from xpnet.functions.init import bilinear
from xpnet.models.describing import described, description
from xpnet.testing import check_backward

IMAGE = [[1.0, 2], [3, 4]]
COUNTED = [[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]


def counted(**options):
    """A layer of one channel and the weights 1 to 9."""
    layer = TransposedConvolution(1, 1, 3, stride=2, bias=False, **options)
    layer.params = {"W": np.reshape(COUNTED, (1, 1, 3, 3))}
    return layer


@pytest.mark.parametrize(
    ("options", "want"),
    [
        (
            {},
            [[1, 2, 5, 4, 6], [4, 5, 14, 10, 12], [10, 14, 36, 24, 30], [12, 15, 34, 20, 24],
             [21, 24, 55, 32, 36]],
        ),
        ({"pad": 1}, [[5, 14, 10], [14, 36, 24], [15, 34, 20]]),
        (
            {"pad": 1, "output_pad": 1},
            [[5, 14, 10, 12], [14, 36, 24, 30], [15, 34, 20, 24], [24, 55, 32, 36]],
        ),
    ],
)  # fmt: skip
def test_the_worked_examples_of_one_channel(device, options, want):
    layer = placed(counted(**options), device)
    y, _ = layer.forward(device.asarray([[IMAGE]]))
    assert_near(y, [[want]], EX)
    assert layer.output_shape((1, 2, 2)) == y.shape[1:]


def test_the_worked_example_of_the_way_back(device):
    x, dy = device.asarray([[IMAGE]]), np.arange(1.0, 17).reshape(1, 1, 4, 4)
    y, backward = placed(counted(pad=1, output_pad=1), device).forward(x)
    dx, grads = backward(device.asarray(dy))
    assert_near(dx, [[[[111, 217], [363, 573]]]], EX)
    assert_near(grads["W"], [[[[24, 43, 50], [44, 78, 88], [68, 118, 128]]]], EX)
    assert np.sum(to_numpy(y) * dy) == np.sum(to_numpy(x) * to_numpy(dx)) == 3926


def test_the_worked_example_of_two_channels_to_three(device):
    layer = TransposedConvolution(2, 3, 2)
    layer.params = {"W": np.arange(1.0, 25).reshape(2, 3, 2, 2), "b": np.asarray([1.0, 2, 3])}
    x = device.asarray([[[[1.0, 0], [0, 2]], [[0, 1], [3, 0]]]])
    y, backward = placed(layer, device).forward(x)
    assert_near(
        y,
        [[[[2, 16, 15], [43, 64, 21], [46, 55, 9]], [[7, 25, 20], [60, 93, 34], [59, 76, 18]],
          [[12, 34, 25], [77, 122, 47], [72, 97, 27]]]],
    )  # fmt: skip
    dy = np.ones((1, 3, 3, 3)) * np.reshape([1.0, 2, 3], (3, 1, 1))
    dx, grads = backward(device.asarray(dy))
    assert_near(dx, np.reshape([188.0, 476], (1, 2, 1, 1)) * np.ones((1, 2, 2, 2)))
    by_filter = np.asarray([[3.0, 6, 9], [4, 8, 12]]).reshape(2, 3, 1, 1)
    assert_near(grads["W"], by_filter * np.ones((2, 3, 2, 2)))
    assert_near(grads["b"], [9, 18, 27])


@pytest.mark.parametrize(
    ("stride", "ramp", "pad"),
    [
        (1, [1], 0), (2, [0.25, 0.75, 0.75, 0.25], 1), (3, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3], 1),
        (4, [0.125, 0.375, 0.625, 0.875, 0.875, 0.625, 0.375, 0.125], 2),
    ],
)  # fmt: skip
def test_bilinear_weights(stride, ramp, pad):
    W = bilinear(3, stride)
    want = np.zeros((3, 3, len(ramp), len(ramp)))
    for k in range(3):
        want[k, k] = np.outer(ramp, ramp)
    assert_near(W, want, {"rtol": 1e-15, "atol": 1e-16})
    layer = TransposedConvolution.bilinear(3, stride)
    np.testing.assert_array_equal(layer.params["W"], W)
    assert (layer.pad, list(layer.params)) == (pad, ["W"])
    assert layer.output_shape((3, 5, 4)) == (3, 5 * stride, 4 * stride)


def test_bilinear_weights_of_two_steps():
    layer = TransposedConvolution.bilinear(2, (3, 4), bias=True)
    rows, columns = bilinear(1, 3)[0, 0, 2], bilinear(1, 4)[0, 0, 3] / 0.875
    np.testing.assert_allclose(layer.params["W"][1, 1], np.outer(rows, columns), rtol=1e-15)
    assert (layer.pad, layer.stride, layer.output_shape((2, 5, 6))) == ((1, 2), (3, 4), (2, 15, 24))
    assert not np.any(layer.params["b"])


def test_the_worked_example_of_interpolation(device):
    layer = placed(TransposedConvolution.bilinear(1, 2), device)
    want = [[0.5625, 0.9375, 1.3125, 1.125], [1.125, 1.75, 2.25, 1.875],
            [1.875, 2.75, 3.25, 2.625], [1.6875, 2.4375, 2.8125, 2.25]]  # fmt: skip
    assert_near(layer.forward(device.asarray([[IMAGE]]))[0], [[want]], EX)


@pytest.mark.parametrize("stride", [2, 3, 4, 5])
def test_away_from_the_border_it_interpolates_between_centres_of_pixels(stride):
    x = np.random.default_rng(0).standard_normal((4, 4))
    y, _ = TransposedConvolution.bilinear(1, stride).forward(x[np.newaxis, np.newaxis])
    at = (np.arange(4 * stride) + 0.5) / stride - 0.5
    inside = slice(stride, -stride)
    rows = np.stack([np.interp(at, range(4), column) for column in x.T], axis=1)
    want = np.stack([np.interp(at, range(4), row) for row in rows])
    np.testing.assert_allclose(y[0, 0][inside, inside], want[inside, inside], atol=2e-14)


GEOMETRY = [
    # channels, filters, window, stride, pad, output_pad, size
    (2, 3, 3, 2, 1, 1, (5, 4)),
    (3, 2, (3, 2), 1, 0, 0, (4, 5)),
    (1, 4, 1, 3, 0, 2, (3, 2)),
    (4, 1, (2, 5), (3, 1), (0, 2), (2, 0), (1, 4)),
    (2, 2, (4, 3), (2, 3), (1, 0, 2, 1), (1, 2), (3, 3)),
    (2, 2, 2, 2, (3, 0, 0, 2), 0, (4, 4)),
]


def of(geometry, **options):
    channels, filters, window, stride, pad, output_pad, size = geometry
    layer = TransposedConvolution(
        channels, filters, window, stride=stride, pad=pad, output_pad=output_pad, rng=0, **options
    )
    for name in layer.params:
        layer.params[name] = np.random.default_rng(3).standard_normal(layer.params[name].shape)
    return layer, np.random.default_rng(1).standard_normal((3, channels, *size))


@pytest.mark.parametrize("geometry", GEOMETRY, ids=str)
def test_backward_is_the_derivative_of_forward(device, geometry):
    layer, x = of(geometry)
    check_backward(placed(layer, device), device.asarray(x), rng=np.random.default_rng(0))


@pytest.mark.parametrize("geometry", GEOMETRY, ids=str)
def test_it_is_the_transpose_of_a_convolution(geometry):
    layer, x = of(geometry, bias=False)
    channels, filters, window, stride, pad, *_ = geometry
    conv = Convolution(filters, channels, window, stride=stride, pad=pad, bias=False, uneven="drop")
    conv.params = layer.params
    y, backward = layer.forward(x)
    d = np.random.default_rng(2).standard_normal(y.shape)
    convolved, conv_backward = conv.forward(d)
    assert np.sum(convolved * x) == pytest.approx(np.sum(d * y), rel=1e-12)
    # Its way back is the convolution, and that one's is it.
    dx, grads = backward(d)
    np.testing.assert_allclose(dx, convolved, rtol=1e-12, atol=1e-13)
    back, of_conv = conv_backward(x)
    np.testing.assert_allclose(y, back, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(grads["W"], of_conv["W"], rtol=1e-12, atol=1e-13)


def test_agrees_with_pytorch():
    """Values and gradients of windows drawn at random, with sides of their own."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng, seen = np.random.default_rng(0), 0
    while seen < 60:
        N, C, F, H, W = map(int, rng.integers(1, [4, 4, 4, 7, 7]))
        window = FH, FW = tuple(map(int, rng.integers(1, 6, 2)))
        stride = down, across = tuple(map(int, rng.integers(1, 5, 2)))
        pad = tuple(map(int, rng.integers(0, 3, 2)))
        more = int(rng.integers(0, down)), int(rng.integers(0, across))
        if min((H - 1) * down + FH + more[0] - 2 * pad[0],
               (W - 1) * across + FW + more[1] - 2 * pad[1]) < 1:  # fmt: skip
            continue
        geometry = (C, F, window, stride, pad, more, (H, W))
        layer, x = of(geometry, bias=bool(seen % 3))
        x = x[:N]
        y, backward = layer.forward(x)
        dy = rng.standard_normal(y.shape)
        dx, grads = backward(dy)
        there, w, *b = (torch.tensor(a, requires_grad=True) for a in (x, *layer.params.values()))
        want = torch.nn.functional.conv_transpose2d(
            there, w, *b, stride=stride, padding=pad, output_padding=more
        )
        want.backward(torch.tensor(dy))
        expected = (want.detach(), there.grad, w.grad, *(each.grad for each in b))
        for got, other in zip((y, dx, *grads.values()), expected, strict=True):
            assert got.shape == tuple(other.shape), geometry
            limit = 1e-12 * max(1.0, float(abs(other).max()))
            np.testing.assert_allclose(got, other.numpy(), rtol=0, atol=limit)
        seen += 1


def test_what_is_not_needed_is_not_computed():
    layer, x = of(GEOMETRY[0])
    y, backward = layer.forward(x)
    dx, grads = backward(y)
    nothing, alone = backward(y, need_dx=False)
    assert nothing is None
    for name, grad in alone.items():
        np.testing.assert_array_equal(grad, grads[name])
    same, none = backward(y, need_grads=False)
    np.testing.assert_array_equal(same, dx)
    assert none == {}
    assert list(grads) == ["W", "b"]
    assert list(backward(y)[1]) == ["W", "b"]


def test_arrays_are_only_read():
    layer, x = of(GEOMETRY[4])
    for array in (x, *layer.params.values()):
        array.flags.writeable = False
    y, backward = layer.forward(x)
    y.flags.writeable = False
    backward(y)


def test_a_batch_that_is_gone_through_in_parts(monkeypatch):
    layer, x = of(GEOMETRY[0])
    x = np.concatenate([x, 2 * x, x])[:7]
    y, backward = layer.forward(x)
    dx, grads = backward(y)
    monkeypatch.setattr("xpnet.layers.conv.COLUMNS", 2 * 20 * 27 * 8)  # two images
    parts, backward = layer.forward(x)
    other, others = backward(y)
    for got, want in ((parts, y), (other, dx), *((others[k], grads[k]) for k in grads)):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_batches_of_no_and_of_one_sample(device):
    layer, _ = of(GEOMETRY[0])
    for n in (0, 1):
        y, backward = placed(layer, device).forward(device.asarray(np.ones((n, 2, 5, 4))))
        dx, grads = backward(y)
        assert tuple(y.shape) == (n, 3, 10, 8)
        assert tuple(dx.shape) == (n, 2, 5, 4)
        assert grads["W"].shape == layer.params["W"].shape
        assert n == 1 or not np.any(to_numpy(grads["W"]))


def test_float32_stays_float32_and_pixels_do_not_wrap_around(device):
    x = device.asarray(np.full((1, 1, 2, 2), 200), dtype="uint8")
    y, _ = placed(counted(), device).forward(x)
    assert float(to_numpy(y)[0, 0, 2, 2]) == 200 * (1 + 3 + 7 + 9)
    x = device.asarray(np.ones((1, 1, 2, 2)), dtype="float32")
    y, backward = placed(counted(), device, "float32").forward(x)
    dx, grads = backward(y)
    assert y.dtype == dx.dtype == grads["W"].dtype == device.xp.float32


def test_filters_start_as_wide_as_what_makes_up_an_output():
    for options, want in (
        ({"stride": 2}, np.sqrt(2 / (40 * 16 / 4))), ({"stride": (1, 4)}, np.sqrt(2 / (40 * 4))),
        ({"std": 0.5}, 0.5), ({"std": "glorot"}, np.sqrt(2 / (40 * 16 + 30 * 16))),
    ):  # fmt: skip
        layer = TransposedConvolution(40, 30, 4, rng=0, **options)
        assert np.std(layer.params["W"]) == pytest.approx(want, rel=0.03)
    same = np.random.default_rng(7).standard_normal((2, 3, 2, 2)) * np.sqrt(2 / 8)
    np.testing.assert_array_equal(TransposedConvolution(2, 3, 2, rng=7).params["W"], same)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"output_pad": 2},
            r"output_pad .* from 0 to below its stride, got output_pad=2, stride=2",
        ),
        ({"output_pad": -1}, "output_pad .* from 0 to below its stride"),
        ({"output_pad": (1, 2)}, r"got output_pad=\(1, 2\), stride=2"),
        ({"output_pad": 0.5}, r"output_pad .* such as \(1, 0\), got 0.5"),
        ({"output_pad": (1, 0, 0)}, r"output_pad .* or two .* got \(1, 0, 0\)"),
        ({"stride": 0}, "needs at least one channel, filter, pixel and step, got channels=3"),
        ({"stride": (1, 2, 3)}, "stride of TransposedConvolution must be a whole number"),
        ({"pad": -1}, "needs at least one channel"),
        ({"pad": (1, 2, 3)}, r"pad of TransposedConvolution must be .* got \(1, 2, 3\)"),
        ({"filter_size": (3, 0)}, r"filter_size=\(3, 0\)"),
        ({"filter_size": "3"}, "filter_size of TransposedConvolution must be"),
        ({"channels": 0}, "at least one channel"),
        ({"filters": 2.0}, "filters of TransposedConvolution must be a whole number"),
        ({"std": "wide"}, "initial weights 'wide' are unknown"),
        (
            {"std": "bilinear"},
            r"as many filters as channels and, for stride=2, filter_size=\(4, 4\), got channels=3",
        ),
        (
            {"std": "bilinear", "filters": 3},
            r"filter_size=\(3, 3\); see TransposedConvolution.bili",
        ),
    ],
)
def test_misuse_is_told(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        TransposedConvolution(
            **({"channels": 3, "filters": 2, "filter_size": 3, "stride": 2} | arguments)
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: counted().output_shape((2, 4, 4)), r"images of 1 channels, \(1, H, W\), got \(2,"),
        (lambda: counted().output_shape((1, 0, 4)), r"got \(1, 0, 4\)"),
        (lambda: counted().forward(np.ones((2, 9))), r"\(1, H, W\), got \(9,\)"),
        (lambda: counted().forward([[1.0]]), "an array is needed, got list"),
        (lambda: counted(pad=3).output_shape((1, 2, 4)), r"leaves nothing of images \(1, 2, 4\): "
         "-1 rows and 3 columns; use less padding"),
        (lambda: bilinear(0, 2), "at least one channel and step, got channels=0"),
        (lambda: bilinear(2, 0), "at least one channel and step"),
        (lambda: bilinear(2, 1.5), "stride of bilinear must be a whole number"),
        (lambda: bilinear("2", 2), "channels of bilinear must be a whole number"),
        (lambda: TransposedConvolution.bilinear(2, 0), "at least one channel"),
        (lambda: TransposedConvolution.bilinear(2, "2"), "stride of TransposedConvolution must"),
    ],
)  # fmt: skip
def test_misuse_of_what_it_is_given_is_told(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def network(dtype="float64", **options):
    """A network that goes down and up again, with a norm behind the way up."""
    layers = {
        "down": Convolution(2, 4, 3, stride=2, pad=1, uneven="drop", rng=0),
        "relu": ReLU(),
        "up": TransposedConvolution(4, 3, (4, 3), stride=2, pad=1, output_pad=(0, 1), rng=1),
        "bn": BatchNorm(3),
        "bilinear": TransposedConvolution.bilinear(3, 2),
        "fc": Affine(3 * 12 * 12, 3, rng=2),
    }
    return Network(layers, input_shape=(2, 6, 6), dtype=dtype, **options)


def ready():
    net, rng = network(), np.random.default_rng(0)
    net.params["bn.gamma"][...] = rng.uniform(0.5, 1.5, 3)
    net.state["bn.running_mean"][...] = rng.standard_normal(3)
    net.state["bn.running_var"][...] = rng.uniform(0.5, 1.5, 3)
    return net, rng.standard_normal((5, 2, 6, 6))


def test_its_multiplications_are_counted_and_told():
    layer = TransposedConvolution(4, 3, (4, 3), stride=2)
    assert layer.macs((4, 5, 6)) == 5 * 6 * 4 * 3 * 12
    (row,) = (row for row in network().summary() if row.name == "up")
    told = (row.kind, row.output_shape, row.parameters, row.macs)
    assert told == ("TransposedConvolution", (3, 6, 6), 4 * 3 * 12 + 3, 9 * 4 * 3 * 12)
    with pytest.raises(ArgumentError, match="images of 4 channels"):
        layer.macs((3, 5, 6))


def test_it_is_described_copied_and_saved(tmp_path):
    net, x = ready()
    kind, found = described(description("Network", net.arguments()))
    assert kind == "Network"
    assert found["layers"]["up"].arguments() == net.layers["up"].arguments()
    assert found["layers"]["up"].output_pad == (0, 1)
    want = net.predict(x)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other.predict(x), want)
    net.save_params(tmp_path / "net.safetensors")
    other = load_network(tmp_path / "net.safetensors")
    np.testing.assert_allclose(other.predict(x), want, rtol=1e-5, atol=1e-5)


def test_its_weights_are_named_and_shaped_as_pytorch_has_them(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    (net, x), path = ready(), tmp_path / "weights.safetensors"
    save_torch(net, path)
    other = network()
    assert load_torch(other, path) == []
    np.testing.assert_allclose(other.predict(x), net.predict(x), rtol=1e-6)
    module = torch.nn.ConvTranspose2d(4, 3, (4, 3), 2, 1, (0, 1)).double()
    names = {name: array.shape for name, array in module.state_dict().items()}
    assert names == {"weight": net.params["up.W"].shape, "bias": net.params["up.b"].shape}


def test_a_norm_behind_it_is_folded_into_it():
    net, x = ready()
    folded = fold_batch_norm(net)
    assert list(folded.layers) == ["down", "relu", "up", "bilinear", "fc"]
    np.testing.assert_allclose(folded.predict(x), net.predict(x), rtol=1e-12)


def test_half_precision_rounds_before_and_behind_it():
    net, x = ready()
    half = half_precision(net)
    np.testing.assert_allclose(half.predict(x), net.predict(x), atol=0.02)
    assert not np.array_equal(half.predict(x), net.predict(x))


def test_frozen_it_has_no_gradient_and_passes_one_on():
    net, x = ready()
    t = np.asarray([0, 1, 2, 0, 1])
    want = net.gradient(x, t)
    net.freeze("up")
    got = net.gradient(x, t)
    np.testing.assert_allclose(got["down.W"], want["down.W"], **E12)
    assert not any(np.any(got[name]) for name in got if name.startswith("up."))


def test_weight_decay_concerns_its_filters_alone():
    assert TransposedConvolution.decays == ("W",)
