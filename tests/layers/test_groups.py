"""Convolutions in groups, by a table, with pairs of strides and uneven padding."""

import numpy as np
import pytest

from tolerances import EX, assert_near
from xpnet import Convolution, to_numpy
from xpnet.errors import ArgumentError
from xpnet.testing import check_backward


def placed(layer, device, dtype="float64"):
    layer.params = {key: device.asarray(p, dtype=dtype) for key, p in layer.params.items()}
    return layer


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
