"""LeNet's subsampling and its squashing function."""

import numpy as np
import pytest

from test_layers import placed
from tolerances import E12, EX, P9, assert_near
from xpnet import ScaledTanh, Subsampling
from xpnet.errors import ArgumentError
from xpnet.testing import check_backward


def test_the_worked_example(device):
    layer = Subsampling(1, coef=0.1)
    layer.params["b"] = np.asarray([-1.0])
    layer = placed(layer, device)
    y, backward = layer.forward(device.asarray(np.arange(1.0, 17).reshape(1, 1, 4, 4)))
    assert_near(y, [[[[0.4, 1.2], [3.6, 4.4]]]], E12)
    squashed, _ = ScaledTanh().forward(y)
    want = [[0.4470270330, 1.139420694], [1.687887688, 1.706207569]]
    assert_near(squashed, [[want]], P9)
    dx, grads = backward(device.asarray([[[[1.0, 2], [3, 4]]]]))
    assert_near(grads["coef"], [412], E12)
    assert_near(grads["b"], [10], E12)
    assert_near(dx[0, 0, ...], np.kron([[0.1, 0.2], [0.3, 0.4]], np.ones((2, 2))), E12)
    assert layer.decays == ()
    assert layer.count == 2


def test_the_squashing_function_is_near_1_at_1(device):
    y, _ = ScaledTanh().forward(device.asarray([1.0, 0.0, -1.0]))
    assert_near(y, [0.9999972559, 0, -0.9999972559], P9)


def test_backward_is_the_derivative_of_forward(device):
    x = device.asarray(np.random.default_rng(0).standard_normal((3, 2, 4, 6)))
    layer = Subsampling(2)
    layer.params["coef"] = np.asarray([0.3, -0.7])
    check_backward(placed(layer, device), x)
    check_backward(ScaledTanh(), x)


def test_it_starts_as_means_of_pixels(device):
    x = device.asarray(np.arange(100, 116).reshape(1, 1, 4, 4), dtype="uint8")
    y, _ = placed(Subsampling(1), device).forward(x)
    assert_near(y, [[[[102.5, 104.5], [110.5, 112.5]]]], EX)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Subsampling(0), "at least one channel and a finite coef, got channels=0"),
        (lambda: Subsampling(2, coef=float("inf")), "a finite coef, got channels=2, coef=inf"),
        (lambda: Subsampling(2).output_shape((2, 3, 4)), "even height and width, got"),
        (lambda: Subsampling(2).output_shape((3, 4, 4)), "takes images of 2 channels"),
        (lambda: Subsampling(2).forward(np.ones((1, 2))), "takes images of 2 channels"),
    ],
)
def test_misuse_is_told(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
