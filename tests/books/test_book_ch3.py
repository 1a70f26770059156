"""Deep Learning from Scratch, chapter 3: activations, matrix products, softmax, inference on MNIST.

Left out: the accuracy 0.9352, which belongs to the book's weight file, and the wording of NumPy's
shape error.
"""

import numpy as np
import pytest

from tolerances import D12, E12, EX, F32, P8, P9, P10, assert_near
from xpnet import (
    TwoLayerNet,
    identity_function,
    load_mnist,
    relu,
    sigmoid,
    softmax,
    step_function,
    to_numpy,
)


@pytest.mark.parametrize(
    ("f", "x", "want", "tol"),
    [
        (sigmoid, 1.0, 0.7310585786300049, E12),
        (sigmoid, 2.0, 0.8807970779778823, E12),
        (sigmoid, [-1.0, 1.0, 2.0], [0.26894142, 0.73105858, 0.88079708], P8),
        (step_function, [-1.0, 1.0, 2.0], [0, 1, 1], EX),
        (step_function, 0.0, 0, EX),
        (relu, [-1.0, 0.0, 2.0], [0, 0, 2], EX),
        (identity_function, [-1.0, 0.0, 2.0], [-1, 0, 2], EX),
        (softmax, [0.3, 2.9, 4.0], [0.01821127, 0.24519181, 0.73659691], P8),
        (softmax, [1010.0, 1000.0, 990.0], [9.99954600e-01, 4.53978686e-05, 2.06106005e-09], P9),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_function_values(device, f, x, want, tol, dtype):
    assert_near(f(device.asarray(x, dtype=dtype)), want, tol if dtype == "float64" else F32)


def test_step_function_gives_integers(device):
    """On arange(-5, 5, 0.1) too, whose middle is not 0 but -1.776e-14: 49 ones, not 50."""
    y = step_function(device.asarray(np.arange(-5.0, 5.0, 0.1)))
    assert device.xp.isdtype(y.dtype, "integral")
    assert_near(y, [0] * 51 + [1] * 49)


def test_a_comparison_is_a_boolean_array(device):
    assert_near(device.asarray([-1.0, 1.0, 2.0]) > 0, [False, True, True])


def test_a_number_meets_every_element(device):
    t = device.asarray([1.0, 2.0, 3.0], dtype="float64")
    assert_near(1 + t, [2, 3, 4])
    assert_near(1 / t, [1.0, 0.5, 0.33333333], P8)


@pytest.mark.parametrize(("x", "shape"), [([1, 2, 3, 4], (4,)), ([[1, 2], [3, 4], [5, 6]], (3, 2))])
def test_ndim_and_shape(device, x, shape):
    a = device.asarray(x)
    assert (a.ndim, tuple(a.shape)) == (len(shape), shape)


@pytest.mark.parametrize(
    ("a", "b", "want"),
    [
        ([[1, 2], [3, 4]], [[5, 6], [7, 8]], [[19, 22], [43, 50]]),
        ([[5, 6], [7, 8]], [[1, 2], [3, 4]], [[23, 34], [31, 46]]),
        ([[1, 2, 3], [4, 5, 6]], [[1, 2], [3, 4], [5, 6]], [[22, 28], [49, 64]]),
        ([[1, 2], [3, 4], [5, 6]], [7, 8], [23, 53, 83]),
        ([1, 2], [[1, 3, 5], [2, 4, 6]], [5, 11, 17]),
        (np.ones((3, 2)), np.ones((2, 4)), np.full((3, 4), 2.0)),
    ],
)
def test_matrix_product(device, a, b, want):
    assert_near(device.asarray(a, dtype="float64") @ device.asarray(b, dtype="float64"), want)


def test_matrix_product_of_shapes_that_do_not_meet_is_an_error(device):
    a, b = device.asarray(np.ones((2, 3))), device.asarray(np.ones((2, 2)))
    with pytest.raises((ValueError, RuntimeError), match=r"mismatch|cannot be multiplied"):
        a @ b


NETWORK = [  # W, b and activation of each layer
    ([[0.1, 0.3, 0.5], [0.2, 0.4, 0.6]], [0.1, 0.2, 0.3], sigmoid),
    ([[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]], [0.1, 0.2], sigmoid),
    ([[0.1, 0.3], [0.2, 0.4]], [0.1, 0.2], identity_function),
]
FORWARD = [  # a and z of each layer for x = (1, 0.5)
    ([0.3, 0.7, 1.1], E12),
    ([0.57444252, 0.66818777, 0.75026011], P8),
    ([0.516159837793, 1.214026956166], D12),
    ([0.626249370399, 0.771010696856], D12),
    ([0.316827076411, 0.696279089862], D12),
    ([0.31682708, 0.69627909], P8),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_forward_through_three_layers(device, dtype):
    z, got = device.asarray([1.0, 0.5], dtype=dtype), []
    for W, b, h in NETWORK:
        a = z @ device.asarray(W, dtype=dtype) + device.asarray(b, dtype=dtype)
        z = h(a)
        got += [a, z]
    assert z.dtype == device.dtype(dtype)
    for value, (want, tol) in zip(got, FORWARD, strict=True):
        assert_near(value, want, tol if dtype == "float64" else F32)


def test_without_a_non_linearity_three_layers_are_one(device):
    """h(x) = c x gives h(h(h(x))) = c^3 x, and x W1 W2 W3 = x W; a sigmoid between breaks it."""
    x = device.asarray([1.0, 0.5], dtype="float64")
    assert_near(3 * (3 * (3 * x)), to_numpy(27 * x))
    w1, w2, w3 = (device.asarray(W, dtype="float64") for W, _, _ in NETWORK)
    collapsed = to_numpy(x @ (w1 @ w2 @ w3))
    assert_near(identity_function(identity_function(x @ w1) @ w2) @ w3, collapsed, E12)
    bent = to_numpy(sigmoid(sigmoid(x @ w1) @ w2) @ w3)
    assert np.all(np.abs(bent - collapsed) > 1e-3)


def test_softmax_step_by_step(device):
    xp, a = device.xp, device.asarray([0.3, 2.9, 4.0], dtype="float64")
    assert_near(xp.exp(a), [1.34985881, 18.17414537, 54.59815003], P8)
    assert_near(xp.sum(xp.exp(a)), 74.1221542102, P10)
    assert_near(xp.sum(softmax(a)), 1.0, E12)
    assert_near(xp.argmax(softmax(a)), 2)


def test_the_exponential_overflows_and_the_stable_softmax_does_not(device):
    """The naive softmax of (1010, 1000, 990) is three NaN; less its maximum, it is the table's."""
    xp = device.xp
    big, a = (
        device.asarray(x, dtype="float64") for x in ([10.0, 100.0, 1000.0], [1010.0, 1000.0, 990.0])
    )
    with np.errstate(over="ignore", invalid="ignore"):
        assert_near(xp.exp(big), [22026.4658, 2.688e43, np.inf], {"rtol": 2e-4})
        assert_near(xp.exp(a) / xp.sum(xp.exp(a)), [np.nan] * 3)
    assert_near(a - xp.max(a), [0, -10, -20])
    assert bool(xp.all(xp.isfinite(softmax(a))))


@pytest.mark.parametrize("shift", [-1000.0, 0.5, 1000.0])
def test_softmax_is_shift_invariant(device, shift):
    a = device.asarray([0.3, 2.9, 4.0], dtype="float64")
    assert_near(softmax(a + shift), to_numpy(softmax(a)), E12)


def test_softmax_works_per_row(device):
    """The printed one sums over the whole batch, and a row 745 below the others comes out as 0."""
    rows = np.array([[0.3, 2.9, 4.0], [0.3, 2.9, 4.0], [1000.3, 1002.9, 1004.0]])
    y = to_numpy(softmax(device.asarray(rows)))
    one = to_numpy(softmax(device.asarray(rows[0])))
    assert_near(y, np.stack([one] * 3), E12)


def test_softmax_keeps_the_order(device):
    """So that inference may drop it."""
    a = np.random.default_rng(0).standard_normal((20, 10))
    assert_near(device.xp.argsort(softmax(device.asarray(a)), axis=1), np.argsort(a, axis=1))


@pytest.mark.parametrize(("args", "want"), [((0, 10), list(range(10))), ((0, 10, 3), [0, 3, 6, 9])])
def test_range(device, args, want):
    assert_near(device.xp.arange(*args), want)


def test_predictions_are_counted_by_argmax(device):
    xp = device.xp
    y = device.asarray([[0.1, 0.8, 0.1], [0.3, 0.1, 0.6], [0.2, 0.5, 0.3], [0.8, 0.1, 0.1]])
    assert_near(xp.argmax(y, axis=1), [1, 2, 1, 0])
    right = device.asarray([1, 2, 1, 0]) == device.asarray([1, 2, 0, 0])
    assert_near(right, [True, True, False, True])
    assert_near(xp.sum(xp.astype(right, xp.int64)), 3)


def test_mnist_flat_and_raw(mnist_dir):
    (x, t), (x_test, t_test) = load_mnist(normalize=False, flatten=True, data_dir=mnist_dir)
    assert (x.shape, t.shape) == ((60000, 784), (60000,))
    assert (x_test.shape, t_test.shape) == ((10000, 784), (10000,))
    assert t[0] == 5
    assert x[0].reshape(28, 28).shape == (28, 28)
    assert (x.min(), x.max()) == (0, 255)
    assert (t.min(), t.max()) == (0, 9)


def test_mnist_as_normalised_pictures(mnist_dir):
    (x, _), (x_test, _) = load_mnist(flatten=False, data_dir=mnist_dir)
    assert (x.shape, x_test.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert (x.min(), x.max()) == (0.0, 1.0)


def test_accuracy_in_batches_is_accuracy_image_by_image(device):
    rng = np.random.default_rng(0)
    net = TwoLayerNet(20, 10, 5, weight_init_std=1.0, rng=rng, device=device, dtype="float64")
    x, t = device.asarray(rng.random((30, 20))), device.asarray(rng.integers(0, 5, 30))
    whole = round(30 * net.accuracy(x, t))
    batches = sum(
        round(10 * net.accuracy(x[i : i + 10, :], t[i : i + 10])) for i in range(0, 30, 10)
    )
    single = sum(round(net.accuracy(x[i : i + 1, :], t[i : i + 1])) for i in range(30))
    assert whole == batches == single
    assert 0 < whole < 30
