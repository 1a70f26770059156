"""Convolution and pooling: against their definitions, their differences, and PyTorch."""

from functools import partial
from itertools import product

import numpy as np
import pytest

from test_layers import placed
from xpnet import im2col, layers, to_numpy
from xpnet.arrays import array_namespace
from xpnet.errors import ArgumentError
from xpnet.testing import check_backward

RNG = np.random.default_rng(0)


# Channels below and above the number from which windows are no longer laid out.
CHANNELS = (1, 3, 9)
GEOMETRY = [
    # H, W, window, stride, pad
    (5, 5, (3, 3), 1, 0),
    (5, 4, (3, 2), 1, 1),
    (7, 5, (3, 3), 2, 0),
    (6, 7, (2, 3), 3, 1),
    (4, 4, (1, 1), 1, 0),
    (4, 4, (4, 4), 1, 2),
]


@pytest.mark.parametrize(("C", "geometry"), list(product(CHANNELS, GEOMETRY)))
def test_convolution_is_one_product_over_im2col(device, C, geometry):
    """The book's form: col W^T + b, with rows in the order n, oh, ow."""
    H, W, (FH, FW), stride, pad = geometry
    layer = layers.Convolution(C, 4, (FH, FW), stride=stride, pad=pad, rng=0, uneven="drop")
    layer.params["b"] = RNG.standard_normal(4)
    w, b = layer.params["W"], layer.params["b"]
    x = RNG.standard_normal((3, C, H, W))
    y, _ = placed(layer, device).forward(device.asarray(x))
    col = im2col(x, FH, FW, stride, pad, uneven="drop")
    _, OH, OW = layer.output_shape((C, H, W))
    want = (col @ w.reshape(4, -1).T + b).reshape(3, OH, OW, 4).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(to_numpy(y), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("C", "geometry"), list(product(CHANNELS, GEOMETRY)))
def test_convolution_backward_is_the_derivative_of_forward(device, C, geometry):
    H, W, window, stride, pad = geometry
    layer = layers.Convolution(C, 4, window, stride=stride, pad=pad, rng=0, uneven="drop")
    x = device.asarray(RNG.standard_normal((3, C, H, W)))
    check_backward(placed(layer, device), x, rng=np.random.default_rng(0))


POOLS = {
    "max": layers.MaxPool,
    "max of all": partial(layers.MaxPool, ties="all"),
    "average": layers.AveragePool,
}
WINDOWS = [(4, 4, 2, 2, 2, 0), (5, 5, 3, 3, 1, 0), (5, 7, 2, 3, 2, 1), (6, 6, 3, 2, 3, 1)]


@pytest.mark.parametrize(("kind", "window"), list(product(POOLS, WINDOWS)))
def test_pooling_backward_is_the_derivative_of_forward(device, kind, window):
    H, W, height, width, stride, pad = window
    # The same in whatever order tests run: where two are nearly the largest is no derivative.
    x = device.asarray(np.random.default_rng(0).standard_normal((2, 3, H, W)))
    layer = POOLS[kind]((height, width), stride=stride, pad=pad, uneven="drop")
    check_backward(layer, x, rng=np.random.default_rng(0))


TORCH_GRID = [
    (C, H, W, F, S, P)
    for C, (H, W), F, S, P in product(
        (1, 2, 9), ((6, 6), (7, 5)), (1, 2, 3, 5), (1, 2, 3), (0, 1, 2)
    )
    if min(H, W) + 2 * P >= F
]


def test_convolution_agrees_with_pytorch():
    """Values and gradients over a grid of shapes, strides, paddings and odd sizes."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    for C, H, W, F, S, P in TORCH_GRID:
        layer = layers.Convolution(C, 3, F, stride=S, pad=P, rng=0, uneven="drop")
        layer.params["b"] = RNG.standard_normal(3)
        x = RNG.standard_normal((2, C, H, W))
        y, backward = layer.forward(x)
        dy = RNG.standard_normal(y.shape)
        dx, grads = backward(dy)
        tensors = [
            torch.from_numpy(a).requires_grad_() for a in (x, layer.params["W"], layer.params["b"])
        ]
        want = torch.nn.functional.conv2d(*tensors, stride=S, padding=P)
        want.backward(torch.from_numpy(dy))
        got = (y, dx, grads["W"], grads["b"])
        for a, b in zip(got, (want.detach(), *(t.grad for t in tensors)), strict=True):
            assert a.shape == tuple(b.shape)
            scale = float(np.max(np.abs(b.numpy())))
            np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_agrees_with_pytorch(kind):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    reference = {
        "max": torch.nn.functional.max_pool2d, "average": torch.nn.functional.avg_pool2d,
    }[kind]  # fmt: skip
    for C, H, W, F, S, P in TORCH_GRID:
        if 2 * P > F:  # PyTorch takes no more
            continue
        # Few values, so that ties are met, and negative ones, which padding must not beat.
        x = RNG.integers(-4, 0, (2, C, H, W)).astype(np.float64)
        y, backward = POOLS[kind](F, stride=S, pad=P, uneven="drop").forward(x)
        dy = RNG.standard_normal(y.shape)
        dx, _ = backward(dy)
        tensor = torch.from_numpy(x).requires_grad_()
        want = reference(tensor, F, stride=S, padding=P)
        want.backward(torch.from_numpy(dy))
        np.testing.assert_allclose(y, want.detach().numpy(), rtol=1e-12)
        np.testing.assert_allclose(dx, tensor.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_ties_go_to_the_first_or_to_all(device):
    x = device.asarray([[[[1.0, 1.0], [1.0, 0.0]]]])
    for ties, want in (("first", [[1.0, 0.0], [0.0, 0.0]]), ("all", [[1.0, 1.0], [1.0, 0.0]])):
        y, backward = layers.MaxPool(2, ties=ties).forward(x)
        dx, _ = backward(array_namespace(y).ones_like(y))
        np.testing.assert_array_equal(to_numpy(dx)[0, 0], want)


def test_padding_never_wins(device):
    x = device.asarray(np.full((1, 1, 2, 2), -5.0))
    y, _ = layers.MaxPool(2, stride=2, pad=1).forward(x)
    np.testing.assert_array_equal(to_numpy(y), np.full((1, 1, 2, 2), -5.0))


def test_float32_stays_float32_and_near_float64(device):
    """The relative error of a convolution with 144 products a number; PyTorch has about 5e-7."""
    layer = layers.Convolution(16, 8, 3, pad=1, rng=0)
    x = RNG.standard_normal((2, 16, 6, 6))
    exact, backward = placed(layer, device, "float64").forward(device.asarray(x))
    dy = RNG.standard_normal(exact.shape)
    want = [exact, *(lambda r: (r[0], *r[1].values()))(backward(device.asarray(dy)))]
    y, backward = placed(layer, device, "float32").forward(device.asarray(x, dtype="float32"))
    dx, grads = backward(device.asarray(dy, dtype="float32"))
    for got, exactly in zip([y, dx, *grads.values()], want, strict=True):
        assert got.dtype == device.xp.float32
        scale = np.max(np.abs(to_numpy(exactly)))
        np.testing.assert_allclose(to_numpy(got), to_numpy(exactly), rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.Convolution(3, 0, 3), "needs at least one channel, filter, pixel and step"),
        (
            lambda: layers.Convolution(3, 2, 3).output_shape((1, 8, 8)),
            r"takes images of 3 channels, \(3, H, W\), got \(1, 8, 8\)",
        ),
        (
            lambda: layers.Convolution(1, 2, 3).forward(np.ones((2, 81))),
            r"takes images of 1 channels, \(1, H, W\), got \(81,\)",
        ),
        (
            lambda: layers.Convolution(1, 2, 3, stride=2).output_shape((1, 8, 8)),
            "does not end at the edge of 8 pixels",
        ),
        (
            lambda: layers.MaxPool(2, stride=2).forward(np.ones((1, 1, 4, 5))),
            "does not end at the edge of 5 pixels",
        ),
        (
            lambda: layers.AveragePool(2, stride=2).forward(np.ones((1, 1, 5, 4))),
            "does not end at the edge of 5 pixels",
        ),
        (lambda: layers.MaxPool(2, pad=2), "padding narrower than the window, got window"),
        (lambda: layers.MaxPool(2, ties="last"), "ties must be 'first' or 'all', got 'last'"),
        (lambda: layers.AveragePool(2).output_shape((81,)), r"pooling takes images, .* \(81,\)"),
    ],
)
def test_misuse_is_told(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
