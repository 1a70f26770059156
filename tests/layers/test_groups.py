"""Convolutions in groups, by a table, with pairs of strides and uneven padding."""

import numpy as np
import pytest

from test_layers import placed
from tolerances import EX, assert_near
from xpnet import Convolution, to_numpy
from xpnet.errors import ArgumentError
from xpnet.testing import check_backward


def test_the_worked_example_of_two_groups(device):
    layer = Convolution(2, 2, 2, pad=1, groups=2, bias=False)
    layer.params["W"] = np.asarray([[[[1.0, 2], [0, 1]]], [[[1, 0], [2, 1]]]])
    x = device.asarray(np.arange(1.0, 9).reshape(1, 2, 2, 2))
    y, backward = placed(layer, device).forward(x)
    dx, grads = backward(device.asarray(np.arange(1.0, 19).reshape(1, 2, 3, 3)))
    want = [[1, 2, 0], [5, 9, 2], [6, 11, 4]], [[5, 16, 12], [7, 27, 22], [0, 7, 8]]
    assert_near(y, [want], EX)
    dW = np.reshape([77, 67, 47, 37, 423, 397, 345, 319], (2, 1, 2, 2))
    assert_near(grads["W"], dW, EX)
    assert_near(dx, np.reshape([14, 18, 26, 30, 46, 50, 58, 62], (1, 2, 2, 2)), EX)
    assert list(grads) == ["W"]


GEOMETRY = [
    # channels, filters, groups, window, stride, pad
    (4, 6, 2, 3, 1, 1),
    (3, 3, 3, (3, 2), 2, 0),
    (3, 6, 3, 1, 2, 0),
    (6, 3, 3, (1, 3), (2, 1), (0, 1)),
    (2, 3, 1, 3, (1, 3), (2, 0, 1, 3)),
    (2, 4, 2, (2, 4), (3, 2), (0, 1, 2, 0)),
]


@pytest.mark.parametrize("geometry", GEOMETRY, ids=str)
def test_backward_is_the_derivative_of_forward(device, geometry):
    channels, filters, groups, window, stride, pad = geometry
    layer = Convolution(
        channels, filters, window, stride=stride, pad=pad, groups=groups, uneven="drop", rng=0
    )
    x = device.asarray(np.random.default_rng(1).standard_normal((3, channels, 5, 6)))
    check_backward(placed(layer, device), x, rng=np.random.default_rng(0))


def test_a_group_is_a_convolution_of_its_own():
    layer = Convolution(6, 4, 3, groups=2, pad=1, rng=0)
    x = np.random.default_rng(1).standard_normal((2, 6, 5, 5))
    y, _ = layer.forward(x)
    for group in (0, 1):
        own, seen = slice(2 * group, 2 * group + 2), slice(3 * group, 3 * group + 3)
        alone = Convolution(3, 2, 3, pad=1)
        alone.params = {name: p[own] for name, p in layer.params.items()}
        np.testing.assert_allclose(alone.forward(x[:, seen])[0], y[:, own], rtol=1e-13)


TABLE = [(0, 1), (2,), (0, 2), (0, 1, 2)]


def test_a_table_leaves_out_connections(device):
    layer = Convolution(3, 4, 3, table=TABLE, rng=0)
    W = layer.params["W"]
    for filter_, seen in enumerate(TABLE):
        for channel in range(3):
            assert np.all(W[filter_, channel] == 0) == (channel not in seen)
    assert layer.count == 8 * 9 + 4
    x = device.asarray(np.random.default_rng(1).standard_normal((2, 3, 5, 5)))
    check_backward(placed(layer, device), x)
    y, backward = layer.forward(x)
    _, grads = backward(y)
    zero = np.broadcast_to(layer.mask == 0, W.shape)
    assert np.all(to_numpy(grads["W"])[zero] == 0)
    assert np.all(to_numpy(grads["W"])[~zero] != 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 2}, "groups of Convolution must divide its channels and its filters, got grou"),
        ({"groups": 0}, "groups of Convolution must divide"),
        ({"groups": 3, "table": TABLE}, "takes a table or groups, got both"),
        ({"table": TABLE[:3]}, "each of the 6 filters, such as"),
        ({"table": 5}, "each of the 6 filters, such as"),
        ({"table": [(0,)] * 5 + [(3,)]}, r"filter 5 .* one of the channels 0 to 2, .* got \(3,\)"),
        ({"table": [()] * 6}, "filter 0 .* must see at least one"),
        ({"table": [(1, 1)] * 6}, r"none twice, got \(1, 1\)"),
        ({"table": [(0.5,)] * 6}, "each of the 6 filters"),
        ({"stride": (1, 2, 3)}, "stride of Convolution must be a whole number, such as 3, or two"),
        ({"stride": (0, 1)}, "needs at least one channel, filter, pixel and step"),
        ({"pad": (1, 2, 3)}, r"pad of Convolution must be .* four .* got \(1, 2, 3\)"),
        ({"pad": (0, 0, 0, -1)}, "needs at least one channel, filter, pixel and step"),
    ],
)
def test_misuse_is_told(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Convolution(3, 6, 3, **arguments)


def test_agrees_with_pytorch():
    """Values and gradients of windows drawn at random, in groups, with sides of their own."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng, seen = np.random.default_rng(0), 0
    while seen < 50:
        G, N = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        C, F = (G * int(rng.integers(1, 4)) for _ in "CF")
        H, W, FH, FW = map(int, (*rng.integers(1, 9, 2), *rng.integers(1, 5, 2)))
        stride = tuple(map(int, rng.integers(1, 4, 2)))
        top, left, bottom, right = pad = tuple(map(int, rng.integers(0, 3, 4)))
        if top + H + bottom < FH or left + W + right < FW:
            continue
        layer = Convolution(
            C, F, (FH, FW), stride=stride, pad=pad, groups=G, uneven="drop", rng=seen
        )
        layer.params["b"] = rng.standard_normal(F)
        x = rng.standard_normal((N, C, H, W))
        y, backward = layer.forward(x)
        dy = rng.standard_normal(y.shape)
        dx, grads = backward(dy)
        there, w, b = (
            torch.tensor(a, requires_grad=True) for a in (x, layer.params["W"], layer.params["b"])
        )
        wide = torch.nn.functional.pad(there, (left, right, top, bottom))
        want = torch.nn.functional.conv2d(wide, w, b, stride=stride, groups=G)
        want.backward(torch.tensor(dy))
        found, expected = (
            (y, dx, grads["W"], grads["b"]),
            (want.detach(), there.grad, w.grad, b.grad),
        )
        for got, other in zip(found, expected, strict=True):
            assert got.shape == tuple(other.shape), layer
            limit = 1e-12 * max(1.0, float(abs(other).max()))
            np.testing.assert_allclose(got, other.numpy(), rtol=0, atol=limit)
        seen += 1


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_batches_of_no_and_of_one_sample(device, groups):
    layer = placed(Convolution(4, 4, 3, stride=(1, 2), pad=1, groups=groups, uneven="drop"), device)
    for n in (0, 1):
        x = device.asarray(np.ones((n, 4, 5, 6)))
        y, backward = layer.forward(x)
        dx, grads = backward(y)
        assert tuple(y.shape) == (n, 4, 5, 3)
        assert dx.shape == x.shape
        assert grads["W"].shape == layer.params["W"].shape
        assert n == 1 or not np.any(to_numpy(grads["W"]))


def test_a_step_past_a_window_of_one_pixel(device):
    """1 x 1 with stride 2, a ResNet's shortcut: each second pixel, and 0 to the others."""
    layer = Convolution(2, 2, 1, stride=2, groups=2, uneven="drop", bias=False)
    layer.params["W"] = np.asarray([2.0, 3.0]).reshape(2, 1, 1, 1)
    x = np.arange(32.0).reshape(1, 2, 4, 4)
    y, backward = placed(layer, device).forward(device.asarray(x))
    assert_near(y[0, 1, ...], 3 * x[0, 1, ::2, ::2], EX)
    want = np.zeros((4, 4))
    want[::2, ::2] = 2
    assert_near(backward(device.asarray(np.ones((1, 2, 2, 2))))[0][0, 0, ...], want, EX)


@pytest.mark.parametrize("groups", [1, 2])
def test_pixels_do_not_wrap_around(device, groups):
    layer = Convolution(2, 2, 2, groups=groups, bias=False)
    layer.params["W"] = np.ones(layer.params["W"].shape)
    x = device.asarray(np.full((1, 2, 3, 3), 200), dtype="uint8")
    y, _ = placed(layer, device).forward(x)
    assert_near(y, np.full((1, 2, 2, 2), 800.0 if groups == 2 else 1600.0), EX)


def test_arrays_that_cannot_be_written_are_read():
    for layer in (
        Convolution(2, 4, 2, groups=2, rng=0),
        Convolution(2, 2, 2, table=[(0,), (0, 1)], rng=0),
        Convolution(2, 2, 2, stride=(1, 2), pad=(0, 1, 1, 0), uneven="drop", rng=0),
    ):
        x = np.random.default_rng(0).standard_normal((2, 2, 4, 4))
        x.flags.writeable = False
        for array in layer.params.values():
            array.flags.writeable = False
        y, backward = layer.forward(x)
        y = np.array(y)
        y.flags.writeable = False
        backward(y)


def test_a_batch_that_is_gone_through_in_parts_in_groups(monkeypatch):
    layer = Convolution(4, 4, 3, groups=2, pad=1, rng=0)
    x = np.random.default_rng(0).standard_normal((7, 4, 5, 5))
    y, backward = layer.forward(x)
    dx, grads = backward(y)
    monkeypatch.setattr("xpnet.layers.conv.COLUMNS", 2 * 25 * 36 * 8)  # two images
    parts, backward = layer.forward(x)
    for got, want in zip((parts, backward(y)[0]), (y, dx), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-13)
    for name, grad in backward(y)[1].items():
        np.testing.assert_allclose(grad, grads[name], rtol=1e-12)


def test_a_window_larger_than_the_image_is_refused():
    with pytest.raises(ArgumentError, match=r"at least 3 pixels, got 1 with pad \(1, 0\)"):
        Convolution(1, 1, 3, pad=(1, 1, 0, 1)).output_shape((1, 1, 3))


def test_filters_start_as_wide_as_what_they_see():
    """He's rule counts the channels of a group, or of a table's row."""
    grouped = Convolution(64, 64, 3, groups=8, rng=0).params["W"]
    assert np.std(grouped) == pytest.approx(np.sqrt(2 / (8 * 9)), rel=0.03)
    table = [(0,)] * 300 + [tuple(range(16))] * 30
    tabled = Convolution(16, 330, 3, table=table, rng=0).params["W"]
    assert np.std(tabled[:300, 0]) == pytest.approx(np.sqrt(2 / 9), rel=0.04)
    assert np.std(tabled[300:]) == pytest.approx(np.sqrt(2 / (16 * 9)), rel=0.04)
    for std, want in ((0.5, 0.5), ("glorot", np.sqrt(2 / ((8 + 8) * 9)))):
        W = Convolution(64, 64, 3, groups=8, std=std, rng=0).params["W"]
        assert np.std(W) == pytest.approx(want, rel=0.03)
