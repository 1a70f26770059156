"""Pools whose last windows reach beyond the image, and pools of different steps down and across."""

import numpy as np
import pytest

from tolerances import EX, assert_near
from xpnet import AveragePool, GlobalAveragePool, MaxPool, conv_output_size, to_numpy
from xpnet.errors import ArgumentError
from xpnet.testing import check_backward

SIZES = [
    # H, F, s, p; windows that lie inside, and with one more
    (55, 3, 2, 0, 27, 27),
    (27, 3, 2, 0, 13, 13),
    (13, 3, 2, 0, 6, 6),
    (112, 3, 2, 0, 55, 56),
    (56, 3, 2, 0, 27, 28),
    (28, 3, 2, 0, 13, 14),
    (14, 3, 2, 0, 6, 7),
    (112, 3, 2, 1, 56, 57),
    (10, 2, 3, 0, 3, 4),
    (3, 1, 3, 0, 1, 1),
    (3, 2, 2, 1, 2, 2),
]
X = [
    [1.0, 5, 2, 0, 3, 1],
    [4, 2, 0, 7, 1, 2],
    [3, 3, 6, 1, 0, 4],
    [9, 1, 2, 2, 5, 0],
    [0, 2, 8, 1, 1, 3],
    [1, 4, 0, 6, 2, 2],
]


@pytest.mark.parametrize(("H", "F", "s", "p", "floor", "ceil"), SIZES)
def test_sizes(H, F, s, p, floor, ceil):
    assert conv_output_size(H, F, s, p, uneven="drop") == floor
    assert conv_output_size(H, F, s, p, uneven="ceil") == ceil
    assert MaxPool(F, stride=s, pad=p, uneven="ceil").output_shape((2, H, H)) == (2, ceil, ceil)


@pytest.mark.parametrize(
    ("uneven", "y", "places"),
    [
        ("drop", [[6, 7], [9, 8]], {(2, 2): 1, (1, 3): 2, (3, 0): 3, (4, 2): 4}),
        (
            "ceil",
            [[6, 7, 4], [9, 8, 5], [8, 8, 3]],
            {(2, 2): 1, (1, 3): 2, (2, 5): 3, (3, 0): 4, (3, 4): 6, (4, 2): 20, (4, 5): 9},
        ),
    ],
)
def test_the_worked_example(device, uneven, y, places):
    found, backward = MaxPool(3, stride=2, uneven=uneven).forward(device.asarray([[X]]))
    assert_near(found, [[y]], EX)
    size = len(y)
    dy = device.asarray(np.arange(1.0, size * size + 1).reshape(1, 1, size, size))
    dx = np.zeros((6, 6))
    for place, value in places.items():
        dx[place] = value
    assert_near(backward(dy)[0], [[dx]], EX)


def test_missing_places_never_win(device):
    x = device.asarray(np.full((1, 2, 4, 5), -3.0))
    layer = MaxPool(3, stride=2, pad=(0, 1), uneven="ceil")
    y, _ = layer.forward(x)
    assert_near(y, np.full((1, 2, 2, 3), -3.0), EX)
    assert_near(layer.places(x)[0, 0, ...], [[0, 1, 3], [10, 11, 13]], EX)


def test_pixels_are_pooled_with_padding(device):
    x = device.asarray(np.arange(16).reshape(1, 1, 4, 4), dtype="uint8")
    y, _ = MaxPool(3, stride=2, pad=1, uneven="ceil").forward(x)
    assert_near(y, [[[[5, 7, 7], [13, 15, 15], [13, 15, 15]]]], EX)


@pytest.mark.parametrize("layer", [AveragePool(2, stride=2), GlobalAveragePool()])
def test_means_of_pixels_do_not_wrap_around(device, layer):
    x = device.asarray(np.asarray([[[[200, 201], [202, 207]]]]), dtype="uint8")
    y, _ = layer.forward(x)
    assert to_numpy(y).ravel().tolist() == [202.5]


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: MaxPool(3, stride=2, uneven="ceil"), (4, 6)),
        (lambda: MaxPool((2, 3), stride=(1, 2), pad=(1, 0), uneven="ceil"), (3, 6)),
        (lambda: MaxPool(3, stride=2, uneven="ceil"), (2, 2)),
        (lambda: AveragePool((2, 3), stride=(2, 3), pad=(0, 1), uneven="drop"), (5, 7)),
    ],
)
def test_backward_is_the_derivative_of_forward(device, make, shape):
    x = np.random.default_rng(0).standard_normal((2, 3, *shape))
    check_backward(make(), device.asarray(x))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AveragePool(2, uneven="ceil"), "uneven must be 'error' or 'drop', got 'ceil'"),
        (lambda: MaxPool(3, pad=(0, 1, 0, 1)).pads, None),
        (lambda: MaxPool(3, pad=(0, 0, 1, 1)), "alike on opposite sides, one number or two"),
        (lambda: MaxPool(3, pad=(0, 3)), "padding narrower than the window"),
        (lambda: MaxPool(3, stride=(2, 0)), "a stride of at least 1"),
        (lambda: MaxPool(3, stride=2, uneven="ceil").output_shape((1, 1, 4)), "at least 3 pixels"),
    ],
)
def test_misuse_is_told(call, message):
    if message is None:
        assert call() == (0, 1, 0, 1)
        return
    with pytest.raises(ArgumentError, match=message):
        call()


def test_agrees_with_pytorch():
    """Sizes, values, places and gradients of windows drawn at random; few values, so many ties."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng, refused, seen = np.random.default_rng(0), 0, 0
    for _ in range(200):
        H, W = map(int, rng.integers(1, 14, 2))
        window, stride = (tuple(map(int, rng.integers(1, 5, 2))) for _ in "ws")
        pad = tuple(int(rng.integers(0, size // 2 + 1)) for size in window)
        x = rng.integers(-4, 3, (2, 3, H, W)).astype(float)
        there = torch.tensor(x, requires_grad=True)
        layer = MaxPool(window, stride=stride, pad=pad, uneven="ceil")
        try:
            want, places = torch.nn.functional.max_pool2d(
                there, window, stride, pad, ceil_mode=True, return_indices=True
            )
        except RuntimeError:
            with pytest.raises(ArgumentError, match="needs an image of at least"):
                layer.forward(x)
            refused += 1
            continue
        y, backward = layer.forward(x)
        np.testing.assert_array_equal(y, want.detach().numpy())
        np.testing.assert_array_equal(layer.places(x), places.numpy())
        dy = rng.standard_normal(y.shape)
        want.backward(torch.tensor(dy))
        np.testing.assert_allclose(backward(dy)[0], there.grad.numpy(), rtol=0, atol=1e-12)
        seen += 1
    assert refused > 2
    assert seen > 100


def test_batches_of_no_sample(device):
    layer = MaxPool(3, stride=2, uneven="ceil")
    x = device.asarray(np.zeros((0, 2, 4, 4)))
    y, backward = layer.forward(x)
    assert tuple(y.shape) == (0, 2, 2, 2)
    assert backward(y)[0].shape == x.shape


def test_ties_beyond_the_image_are_none(device):
    """With "all" the gradient goes to each maximum, and to nothing beyond."""
    x = device.asarray([[[[1.0, 1, 2], [1, 1, 2], [3, 3, 3]]]])
    y, backward = MaxPool(2, stride=2, uneven="ceil", ties="all").forward(x)
    assert_near(y, [[[[1, 2], [3, 3]]]], EX)
    dx = backward(device.asarray([[[[1.0, 2], [3, 4]]]]))[0]
    assert_near(dx, [[[[1, 1, 2], [1, 1, 2], [3, 3, 4]]]], EX)
