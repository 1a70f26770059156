"""Words as vectors: the worked example, one-hot rows, repeats, and numbers that are no word's."""

import numpy as np
import pytest

from tolerances import EX, P10, assert_near
from xpnet import Affine, Embedding
from xpnet.arrays import to_numpy
from xpnet.errors import ArgumentError


def seq(shape, k):
    """Numbers that can be typed again."""
    return 0.1 * ((k * np.arange(np.prod(shape)) % 11) - 5.0).reshape(shape)


def placed(device, W):
    layer = Embedding(*W.shape)
    layer.params = {"W": device.asarray(W)}
    return layer


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float64"])
def test_worked_example(device, dtype):
    layer = placed(device, seq((4, 3), 3))
    ids = device.asarray(np.array([[0, 2, 2], [1, 3, 0]]).astype(dtype))
    y, backward = layer.forward(ids)
    want = [-0.5, -0.2, 0.1, 0.2, 0.5, -0.3, 0.2, 0.5, -0.3,
            0.4, -0.4, -0.1, 0, 0.3, -0.5, -0.5, -0.2, 0.1]  # fmt: skip
    assert_near(y, np.reshape(want, (2, 3, 3)), P10)
    dx, grads = backward(device.asarray(seq((2, 3, 3), 5)))
    want = [-0.1, -0.2, 0.8, -0.4, 0.1, -0.5, 0.2, 0.1, 0, 0, 0.5, -0.1]
    assert dx is None
    assert_near(grads["W"], np.reshape(want, (4, 3)), P10)
    assert backward(device.asarray(seq((2, 3, 3), 5)), need_grads=False) == (None, {})


def test_it_is_affine_of_one_hot_rows(device):
    W, ids = seq((7, 3), 3), np.array([3, 3, 0, 6, 3, 1])
    affine = Affine(7, 3, bias=False)
    affine.params = {"W": device.asarray(W)}
    y, backward = affine.forward(device.asarray(np.eye(7)[ids]))
    got, back = placed(device, W).forward(device.asarray(ids))
    assert_near(got, to_numpy(y), EX)
    dy = device.asarray(seq((6, 3), 5))
    assert_near(back(dy)[1]["W"], to_numpy(backward(dy)[1]["W"]), P10)


@pytest.mark.parametrize("wrong", [[0, 4, 1], [0, -1, 1], [0, 1.5, 1], [0, np.nan, 1]])
def test_what_is_no_word(device, wrong):
    """It is an error on the host; on a device nothing is read back, and its vector is NaN."""
    layer, ids = placed(device, seq((4, 3), 3)), device.asarray(np.array(wrong))
    if device.is_host:
        with pytest.raises(
            ArgumentError, match=r"must be whole and from 0 to 3, got (4|-1|1\.5|n)"
        ):
            layer.forward(ids)
        return
    y, _ = layer.forward(ids)
    assert np.isnan(to_numpy(y)).all(axis=1).tolist() == [False, True, False]


def test_nothing_is_read_back(strict_device, unread):
    layer = placed(strict_device, seq((4, 3), 3))
    ids, dy = strict_device.asarray([[1, 2], [3, 3]]), strict_device.asarray(seq((2, 2, 3), 5))
    with unread():
        layer.forward(ids)[1](dy)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: Embedding(0, 3),
            "Embedding needs from one to 16777216 words and at least one num",
        ),
        (lambda: Embedding(2**24 + 1, 3), "got n_words=16777217, n_out=3"),
        (
            lambda: Embedding(3, 2).forward(np.array([True])),
            "takes numbers of words, whole ones, g",
        ),
        (
            lambda: Embedding(3, 2).forward(np.array([1 / 255])),
            "got 0.00392157; a network takes uint8 for pixels and divides them by 255, so",
        ),
    ],
)
def test_what_is_refused(wrong, message):
    with pytest.raises(ArgumentError) as error:
        wrong()
    assert message in str(error.value)
