"""Local response normalization: the worked examples, PyTorch, and what it refuses."""

import numpy as np
import pytest

from tolerances import P9, assert_near
from xpnet import LRN, to_numpy
from xpnet.errors import ArgumentError
from xpnet.testing import check_backward

SMALL = {"size": 3, "alpha": 1.0, "beta": 0.5, "k": 1.0}
RISING = np.arange(1.0, 6).reshape(1, 5, 1, 1)
EXAMPLES = [
    (
        SMALL,
        [0.4082482905, 0.5163977795, 0.5477225575, 0.5601120336, 0.7715167498],
        {
            (1, 1, 1, 1, 1): [
                0.3057803901, 0.01674825183, -0.008425392497, -0.05040980720, 0.007543173370,
            ],
            (1, 0, 0, 0, 0): [0.3402069087, -0.1360827635, 0, 0, 0],
        },
    ),
    (
        {},  # AlexNet's
        [0.5942915817, 1.187871011, 1.780140394, 2.373609292, 2.967455545],
        {
            (1, 1, 1, 1, 1): [
                0.5940249398, 0.5930471387, 0.5913815688, 0.5909157358, 0.5908276597,
            ]
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("constants", "y", "gradients"), EXAMPLES, ids=["small", "AlexNet's"])
def test_the_worked_examples(device, constants, y, gradients):
    found, backward = LRN(**constants).forward(device.asarray(RISING))
    assert_near(found, np.reshape(y, RISING.shape), P9)
    for dy, dx in gradients.items():
        got, grads = backward(device.asarray(np.reshape(dy, RISING.shape), dtype="float64"))
        assert_near(got, np.reshape(dx, RISING.shape), P9)
        assert grads == {}


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_backward_is_the_derivative_of_forward(device, channels, size):
    x = np.random.default_rng(0).standard_normal((2, channels, 2, 3))
    check_backward(LRN(size=size, alpha=0.5, beta=0.75, k=1.5), device.asarray(x))


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("channels", [1, 4, 11])
def test_agrees_with_pytorch(size, channels):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 3, channels, 4, 5))
    there = torch.tensor(x, requires_grad=True)
    want = torch.nn.functional.local_response_norm(there, size, 0.3, 0.6, 1.2)
    want.backward(torch.tensor(dy))
    for layer in (
        LRN.from_onnx(size=size, alpha=0.3, beta=0.6, bias=1.2),
        LRN(size=size, alpha=0.3 / size, beta=0.6, k=1.2),
    ):
        y, backward = layer.forward(x)
        np.testing.assert_allclose(y, want.detach().numpy(), rtol=1e-12)
        np.testing.assert_allclose(backward(dy)[0], there.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_the_constants_of_onnx_are_its_own():
    assert repr(LRN.from_onnx(size=5)) == repr(LRN(size=5, alpha=2e-5, beta=0.75, k=1.0))


def test_float32_stays_and_pixels_do_not_wrap_around(device):
    x = np.arange(0, 250, 10).reshape(1, 25, 1, 1)
    exact, _ = LRN().forward(device.asarray(x, dtype="float64"))
    pixels, _ = LRN().forward(device.asarray(x, dtype="uint8"))
    assert_near(pixels, to_numpy(exact), P9)
    y, backward = LRN().forward(device.asarray(x, dtype="float32"))
    assert y.dtype == backward(y)[0].dtype == device.xp.float32
    np.testing.assert_allclose(to_numpy(y), to_numpy(exact), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LRN(size=4), "size of LRN must be odd, .* got 4"),
        (lambda: LRN(size=0), "size of LRN must be odd, .* got 0"),
        (lambda: LRN.from_onnx(size=0), "size of LRN must be odd, .* got 0"),
        (lambda: LRN.from_onnx(size=2.0), "size of from_onnx must be a whole number"),
        (lambda: LRN(size=-3), "size of LRN must be odd"),
        (lambda: LRN(alpha=-1.0), "an alpha of 0 or more"),
        (lambda: LRN(k=0.0), "a positive k"),
        (lambda: LRN(beta=float("nan")), "a finite beta"),
        (lambda: LRN().output_shape((5,)), r"LRN takes images, \(C, H, W\), got \(5,\)"),
        (lambda: LRN().forward(np.ones((2, 5))), "LRN takes images"),
    ],
)
def test_misuse_is_told(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
