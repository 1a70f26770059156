"""Pooling with places and its undoing: the worked example, PyTorch, onnxruntime, bad input."""

import numpy as np
import pytest

from onnx_operator import onnx_operator
from tolerances import EX, assert_near
from xpnet.arrays import to_numpy
from xpnet.errors import ArgumentError
from xpnet.functions.pooling import max_pool, unpool
from xpnet.testing import check_backward

X = np.asarray([[1.0, 2, 1, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 4, 0, 1]])[None, None]
TENS = np.asarray([[10.0, 20], [30, 40]])[None, None]


def test_the_worked_example(device):
    y, places = max_pool(device.asarray(X), 2)
    assert_near(y, [[[[2, 3], [4, 2]]]], EX)
    assert places.index.dtype == device.xp.int64
    assert_near(places.index, [[[[1, 7], [13, 11]]]], EX)
    x, backward = unpool(device.asarray(TENS), places)
    want = np.zeros(16)
    want[[1, 7, 13, 11]] = [10, 20, 30, 40]
    assert_near(x, want.reshape(1, 1, 4, 4), EX)
    dv = backward(device.asarray(np.arange(1.0, 17).reshape(1, 1, 4, 4)))
    assert_near(dv, [[[[2, 8], [14, 12]]]], EX)


WINDOWS = [
    (2, None, 0, "drop"),
    ((3, 2), None, (1, 0), "drop"),
    (3, 4, 1, "ceil"),
    ((1, 3), (2, 3), 0, "ceil"),
    (1, None, 0, "error"),
]


@pytest.mark.parametrize("size", [(7, 9), (6, 6), (3, 4)])
@pytest.mark.parametrize(("window", "stride", "pad", "uneven"), WINDOWS)
def test_values_places_and_gradients_are_pytorchs(device, window, stride, pad, uneven, size):
    """Of ties and odd sizes, too."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    tensor, torch = torch.tensor, torch.nn.functional
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, size=(2, 3, *size)).astype("float64")
    want, index = torch.max_pool2d(
        tensor(x), window, stride, pad, ceil_mode=uneven == "ceil", return_indices=True
    )
    y, places = max_pool(device.asarray(x), window, stride, pad, uneven=uneven)
    assert_near(y, want.numpy(), EX)
    assert_near(places.index, index.numpy(), EX)
    v, dy = rng.standard_normal(want.shape), rng.standard_normal(x.shape)
    value = tensor(v, requires_grad=True)
    there = torch.max_unpool2d(value, index, window, stride, pad, output_size=size)
    there.backward(tensor(dy))
    image, backward = unpool(device.asarray(v), places)
    assert_near(image, there.detach().numpy(), EX)
    assert_near(backward(device.asarray(dy)), value.grad.numpy(), EX)


class Unpool:
    """A function of values, as a layer, for places that are given."""

    def __init__(self, places):
        self.params, self.places = {}, places

    def forward(self, v, *, train=False):
        y, backward = unpool(v, self.places)
        return y, lambda dy, need_dx=True: (backward(dy) if need_dx else None, {})


@pytest.mark.parametrize("shape", [(2, 3, 7, 5), (1, 1, 2, 2), (0, 2, 4, 4)])
def test_backward_is_the_derivative_of_forward(device, shape):
    y, places = max_pool(device.asarray(np.random.default_rng(0).random(shape)), 2, uneven="drop")
    if shape[0]:
        check_backward(Unpool(places), y)
    image, backward = unpool(y, places)
    assert image.shape == shape
    assert_near(backward(image), to_numpy(y), EX)


def test_nothing_is_read(strict_device, unread):
    x, tens = strict_device.asarray(X), strict_device.asarray(TENS)
    with unread():
        _, places = max_pool(x, 2)
        y, backward = unpool(tens, places)
        index, dv = places.index, backward(y)
    assert_near(index, [[[[1, 7], [13, 11]]]], EX)
    assert_near(dv, TENS, EX)


def test_dtypes_are_kept_and_other_values_are_not_touched(device):
    y, places = max_pool(device.asarray(X.astype("uint8")), 2)
    assert y.dtype == device.xp.uint8
    v = TENS.astype("float32")
    v[0, 0, 0, 0], v[0, 0, 1, 1] = np.nan, np.inf
    image, backward = unpool(device.asarray(v), places)
    dv = backward(image)
    assert image.dtype == dv.dtype == device.xp.float32
    assert_near(dv, v, EX)
    assert np.count_nonzero(to_numpy(image)) == 4


def test_unpooling_is_onnxruntimes():
    """Whose places count all images on; in float32, which is all it has."""
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 8)).astype("float32")
    y, index = onnx_operator("MaxPool", {"X": x}, 2, kernel_shape=[2, 2], strides=[2, 2])
    got, places = max_pool(x, 2)
    first = 48 * np.arange(6).reshape(2, 3, 1, 1)
    assert_near(got, y, EX)
    assert_near(places.index + first, index, EX)
    back = onnx_operator("MaxUnpool", {"X": y, "I": index}, kernel_shape=[2, 2], strides=[2, 2])
    assert_near(unpool(y, places)[0], back, EX)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: max_pool(X[0], 2), r"max_pool needs images \(N, C, H, W\), .*\(1, 4, 4\) and the"),
        (lambda: max_pool(X, (2, 2, 2)), r"the window \(2, 2, 2\)"),
        (lambda: max_pool(X, 2, pad=2), "padding of max_pool must be narrower than the window"),
        (lambda: max_pool(X, 3), "3 with stride 3 does not end at the edge of 4 pixels"),
        (lambda: max_pool(X, 5), "a window of 5 needs an image of at least 5 pixels"),
        (lambda: max_pool(X, 2, "2"), "stride of max_pool must be a whole number"),
        (
            lambda: unpool(np.ones((1, 1, 3, 3)), max_pool(X, 2, 1)[1]),
            r"unpool needs windows that lie side by side, .* windows of \(2, 2\) with stride "
            r"\(1, 1\); pool with stride=None",
        ),
        (
            lambda: unpool(np.ones((1, 1, 2, 3)), max_pool(X, 2)[1]),
            r"the shape that was pooled, \(1, 1, 2, 2\), got \(1, 1, 2, 3\)",
        ),
    ],
)
def test_what_fits_not_is_an_error(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
