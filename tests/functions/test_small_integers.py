"""The books' formulas of whole numbers: what would wrap around in bytes is computed in floats.

Of two arrays the shapes must be those that a formula is for: broadcasting would make more pairs.
"""

import numpy as np
import pytest

from xpnet import (
    col2im,
    cross_entropy_error,
    gradient_descent,
    im2col,
    log_softmax,
    mean_squared_error,
    numerical_gradient,
    relu,
    sigmoid,
    softmax,
    softmax_cross_entropy,
    tanh,
    to_numpy,
)
from xpnet.books import nielsen, saitoh, wakui
from xpnet.errors import ArgumentError
from xpnet.functions.losses import sigmoid_cross_entropy
from xpnet.functions.perceptron import perceptron
from xpnet.layers import IdentityWithLoss, SoftmaxWithLoss

BYTES = np.array([[250, 3, 7], [5, 251, 0]], np.uint8)
SIGNED = np.array([[-128, 3, 127], [5, -7, 0]], np.int8)
W, ROW = np.array([[2, 3], [200, 1], [5, 9]], np.uint8), np.array([2, 200, 3], np.uint8)


def remembered(layer, *inputs):
    return layer.forward(*inputs), layer.backward(1.0)


OF_ONE = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "sigmoid_prime": nielsen.sigmoid_prime,
    "softmax_cross_entropy": lambda x: softmax_cross_entropy(x, np.array([0, 2]))[1],
    "sigmoid_cross_entropy": lambda x: sigmoid_cross_entropy(x, np.eye(3)[:2])[0],
    "cross_entropy_error": lambda x: cross_entropy_error(np.abs(x + 0.0), np.array([0, 2])),
    "SoftmaxWithLoss": lambda x: SoftmaxWithLoss(0.1).forward(x, np.array([0, 2]))[1](),
    "IdentityWithLoss": lambda x: IdentityWithLoss().forward(x, x[::-1])[1](),
    "SquaredError": lambda x: wakui.SquaredError().forward(x, x[::-1])[1](),
    "MulLayer": lambda x: saitoh.MulLayer().forward(x, x),
    "AddLayer": lambda x: saitoh.AddLayer().forward(x, x),
    "Affine": lambda x: saitoh.Affine(W, np.array([200, 1], np.uint8)).forward(x),
    "BatchNormalization": lambda x: saitoh.BatchNormalization(ROW, ROW).forward(x),
    "Convolution": lambda x: saitoh.Convolution(W[:2, :1].reshape(2, 1, 1, 1), ROW[:2]).forward(
        x.reshape(1, 1, 2, 3)
    ),
    "Sigmoid": lambda x: saitoh.Sigmoid().forward(x),
    "perceptron": lambda x: perceptron(x, ROW, -1000.0),
    "unit": lambda x: wakui.unit(x, ROW, 1.0, lambda z: z),
    "similarity": lambda x: wakui.similarity(x, x),
    "feature_map": lambda x: wakui.feature_map(x.reshape(1, 1, 2, 3), W[:2], 0.5),
    "l2_pool": lambda x: wakui.l2_pool(x[:, :2].reshape(1, 1, 2, 2)),
    "col2im": lambda x: col2im(np.tile(x[:, :2].reshape(1, 4), (4, 1)), (1, 1, 3, 3), 2, 2),
    "QuadraticCost.delta": lambda x: nielsen.QuadraticCost.delta(x, x, x[::-1]),
    "QuadraticCost.fn": lambda x: nielsen.QuadraticCost.fn(x, x[::-1]),
    "CrossEntropyCost.delta": lambda x: nielsen.CrossEntropyCost.delta(x, x, x[::-1]),
    "cost_derivative": lambda x: nielsen.Network([2, 1]).cost_derivative(x, x[::-1]),
    "wakui.gradient_descent": lambda x: wakui.gradient_descent(lambda z: 2 * z, x, 0.1, 3),
}


@pytest.mark.parametrize("name", OF_ONE)
@pytest.mark.parametrize("x", [BYTES, SIGNED], ids=["uint8", "int8"])
def test_whole_numbers_do_not_wrap_around(name, x):
    got, want = OF_ONE[name](x), OF_ONE[name](x.astype(np.float64))
    np.testing.assert_allclose(got, want, rtol=1e-14)


def test_values_that_users_reported(device):
    x = device.asarray(np.arange(4, dtype=np.uint8))
    np.testing.assert_allclose(to_numpy(sigmoid(x)), [0.5, 0.7311, 0.8808, 0.9526], atol=5e-5)
    pair = (device.asarray(np.array(a, np.uint8)) for a in ([250, 3], [5, 250]))
    assert float(mean_squared_error(*pair)) == 60517


COLUMN, FLAT = np.ones((4, 1)), np.arange(4.0)
SHAPES = r"needs two arrays of one shape, got \(4, 1\) and \(4,\)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_squared_error(COLUMN, FLAT), f"mean_squared_error {SHAPES}"),
        (lambda: mean_squared_error(COLUMN, 1.0), r"one shape, got \(4, 1\) and \(\)"),
        (lambda: nielsen.QuadraticCost.fn(COLUMN, FLAT), SHAPES),
        (lambda: nielsen.QuadraticCost.delta(COLUMN, COLUMN, FLAT), SHAPES),
        (lambda: nielsen.QuadraticCost.delta(COLUMN, FLAT, FLAT), SHAPES),
        (lambda: nielsen.CrossEntropyCost.fn(COLUMN, FLAT), SHAPES),
        (lambda: nielsen.CrossEntropyCost.delta(COLUMN, COLUMN, FLAT), SHAPES),
        (lambda: nielsen.LogLikelihoodCost.delta(COLUMN, COLUMN, FLAT), SHAPES),
        (
            lambda: nielsen.LogLikelihoodCost.fn(COLUMN, FLAT[:3]),
            "LogLikelihoodCost.fn needs two",
        ),
        (
            lambda: nielsen.LogLikelihoodCost.fn(COLUMN, COLUMN.T),
            "LogLikelihoodCost.fn needs two",
        ),
        (lambda: im2col(COLUMN, 2, 2), r"images of shape \(N, C, H, W\) are needed"),
        (lambda: col2im(COLUMN, (4, 1), 2, 2), r"images of shape \(N, C, H, W\) are needed"),
        (lambda: col2im(COLUMN, (1, 1, 4, 4), 2, 2), r"rows of shape \(9, 4\), got \(4, 1\)"),
        (lambda: numerical_gradient(lambda x: x, FLAT), r"one number, .* of shape \(4,\)"),
        (lambda: nielsen.Network([2, 1]).cost_derivative(COLUMN, FLAT), SHAPES),
        (lambda: wakui.similarity(COLUMN, FLAT), SHAPES),
        (lambda: saitoh.MulLayer().forward(COLUMN, FLAT), SHAPES),
        (lambda: saitoh.AddLayer().forward(COLUMN, FLAT), SHAPES),
        (lambda: perceptron(COLUMN, FLAT, 0.0), r"inputs of shape \(4, 1\) and weights of shape"),
        (lambda: wakui.unit(np.ones((2, 3)), np.ones((2, 3)), 0.0, relu), "one of the others 1"),
        (lambda: cross_entropy_error(COLUMN, FLAT), r"targets for outputs of shape \(4, 1\)"),
        (lambda: softmax_cross_entropy(np.ones((4, 2)), FLAT), "must be integer labels of shape"),
    ],
)
def test_other_shapes_are_told(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_the_pairs_of_the_books_stay():
    y, t = np.array([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0]), np.eye(10)[2]
    assert float(mean_squared_error(y, t)) == pytest.approx(0.0975)
    for target in (t, 2, np.int64(2), np.array([2]), t.astype(int)):
        assert float(cross_entropy_error(y, target)) == pytest.approx(0.510825457099338)
    assert saitoh.MulLayer().forward(100, 1.1) == pytest.approx(110.0)
    assert mean_squared_error(0.5, 1.5) == 0.5
    units = wakui.unit(np.array([1, 2, 3]), W.T, 0.0, lambda z: z)
    np.testing.assert_array_equal(units, [417, 32])
    each = wakui.unit(np.ones((4, 3)), np.ones((2, 1, 3)), 0.0, lambda z: z)
    assert each.shape == (2, 4)
    assert gradient_descent(lambda x: (x**2).sum(), np.array([1.0]), 0.1, 1)[0] == (
        pytest.approx(0.8)
    )
