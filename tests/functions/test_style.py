"""Gram matrices, and the losses of style transfer: the worked examples, slopes, what is refused."""

import numpy as np
import pytest

from tolerances import P10, assert_near
from xpnet.arrays import to_numpy
from xpnet.errors import ArgumentError
from xpnet.functions.style import content_loss, gram_matrix, style_loss, total_variation


def seq(shape, k):
    return 0.1 * (k * np.arange(np.prod(shape)) % 11 - 5.0).reshape(shape)


F, P, A = seq((2, 2, 3), 3), seq((2, 2, 3), 4), np.array([[-0.5, 0], [0, 0.5]])
OF_STYLE = [
    -0.0043402778, -0.0026111111, 0.0014097222, 0.0031388889, -0.0037638889, 0.0002569444,
    0.0013472222, 0.0011805556, -0.0006666667, -0.0008333333, 0.0012916667, -0.0005555556,
]  # fmt: skip
OF_CONTENT = [0, -0.1, -0.2, 0.8, -0.4, -0.5, 0.5, 0.4, -0.8, 0.2, 0.1, 0]
OF_VARIATION = [-2.4, 0.4, 1, 3.8, -4.4, 0.6, -1, 4, -2]


def test_the_worked_examples(device):
    f, p, a = map(device.asarray, (F, P, A))
    assert_near(gram_matrix(f), [[0.63, -0.3], [-0.3, 0.72]], P10)
    E, dF = style_loss(f, a)
    assert_near(E, 0.002613368056, P10)
    assert_near(dF, np.reshape(OF_STYLE, F.shape), P10)
    L, dF = content_loss(f, p)
    assert_near(L, 1.1, P10)
    assert_near(dF, np.reshape(OF_CONTENT, F.shape), P10)
    V, dx = total_variation(device.asarray(seq((1, 3, 3), 3)))
    assert_near(V, 3.42, P10)
    assert_near(dx, np.reshape(OF_VARIATION, (1, 3, 3)), P10)
    for found in (E, dF, L, V, dx):
        assert found.dtype == device.xp.float64


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_several_pictures_are_added_up(device, dtype):
    f = device.asarray(np.stack([F, P]), dtype=dtype)
    a = device.asarray(np.stack([A, A]), dtype=dtype)
    E, dF = style_loss(f, a)
    alone = [style_loss(each, A) for each in (F, P)]
    tol = {"rtol": 1e-6 if dtype == "float32" else 1e-14, "atol": 1e-8}
    assert_near(E, sum(float(e) for e, _ in alone), tol)
    assert_near(dF, np.stack([d for _, d in alone]), tol)
    assert dF.dtype == E.dtype == getattr(device.xp, dtype)


@pytest.mark.parametrize(
    "loss",
    [lambda x: style_loss(x, A), lambda x: content_loss(x, P), total_variation],
    ids=["style", "content", "variation"],
)
def test_slopes_are_differences(loss):
    rng, h = np.random.default_rng(0), 1e-6
    x, v = F + 0.0, rng.standard_normal(F.shape)
    numerical = (loss(x + h * v)[0] - loss(x - h * v)[0]) / (2 * h)
    assert np.sum(loss(x)[1] * v) == pytest.approx(numerical, rel=1e-7)
    np.testing.assert_array_equal(x, F)


def test_whole_numbers_do_not_wrap_around():
    pixels = np.array([[[0, 255], [255, 0]]], dtype="uint8")
    assert_near(gram_matrix(pixels), [[2 * 255.0**2]])
    assert to_numpy(total_variation(pixels)[0]) == 4 * 255.0**2
    assert content_loss(pixels, pixels[:, ::-1])[0] == 2 * 255.0**2


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: gram_matrix(A), r"is of features \(..., C, H, W\), .* \(2, 2\); give"),
        (lambda: style_loss(F, A[0]), r"needs two arrays of one shape, got \(2, 2\) and \(2,\)"),
        (lambda: content_loss(F, P[0]), r"one shape, got \(2, 2, 3\) and \(2, 3\)"),
        (lambda: total_variation(A[0]), r"takes pictures, \(..., H, W\), got .* \(2,\)"),
    ],
)
def test_what_is_refused(call, told):
    with pytest.raises(ArgumentError, match=told):
        call()
