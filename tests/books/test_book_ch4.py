"""Deep Learning from Scratch, chapter 4: losses, numerical gradients, descent, TwoLayerNet.

Left out: speed as 2 km in 10 minutes, which is Python's division, and the training runs.
"""

import numpy as np
import pytest

from tolerances import CE, CE_EXACT, E12, IN_BOTH, ND, P8, assert_near
from xpnet import (
    Batches,
    TwoLayerNet,
    cross_entropy_error,
    gradient_descent,
    load_mnist,
    mean_squared_error,
    numerical_diff,
    numerical_gradient,
    sigmoid,
    softmax,
    step_function,
    to_numpy,
)
from xpnet.errors import ArgumentError

T = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
Y1 = [0.1, 0.05, 0.6, 0, 0.05, 0.1, 0, 0.1, 0, 0]
Y2 = [0.1, 0.05, 0.1, 0, 0.05, 0.1, 0, 0.6, 0, 0]


def function_1(x):
    return 0.01 * x**2 + 0.1 * x


def function_2(x):
    return x[0] ** 2 + x[1] ** 2


@pytest.mark.parametrize(
    ("y", "t", "want"),
    [
        (Y1, T, 0.097500000000000031),
        (Y2, T, 0.59750000000000003),
        ([Y1, Y2], [T, T], 0.695),  # a sum over the batch, not its mean
    ],
)
@IN_BOTH
def test_mean_squared_error(device, y, t, want, dtype, tol):
    y, t = device.asarray(y, dtype=dtype), device.asarray(t, dtype=dtype)
    assert_near(mean_squared_error(y, t), want, tol)


@pytest.mark.parametrize(
    ("y", "one_hot", "labels", "want"),
    [
        (Y1, T, 2, 0.51082545709933802),
        (Y2, T, 2, 2.3025840929945458),
        ([Y1, Y2], [T, T], [2, 2], 1.406704775046942),  # the mean of the two
    ],
)
@IN_BOTH
def test_cross_entropy_error(device, y, one_hot, labels, want, dtype, tol):
    y = device.asarray(y, dtype=dtype)
    for t in (one_hot, labels):
        assert_near(cross_entropy_error(y, device.asarray(t)), want, tol)


@pytest.mark.parametrize(("y", "want"), [(Y1, 0.5108256237659907), (Y2, 2.3025850929940455)])
def test_cross_entropy_without_epsilon(device, y, want):
    """-ln 0.6 and -ln 0.1, which the book rounds to 0.51 and 2.30; the zeros in y do no harm."""
    y, t = device.asarray(y, dtype="float64"), device.asarray(T, dtype="float64")
    assert_near(cross_entropy_error(y, t, eps=0), want, E12)
    assert_near(cross_entropy_error(y, t, eps=0), round(want, 2), {"rtol": 0, "atol": 0.005})


def test_labels_pick_one_output_a_row(device):
    """t = (2, 7, 0, 9, 4) picks y[0, 2], y[1, 7], y[2, 0], y[3, 9] and y[4, 4]."""
    y, t = np.random.default_rng(0).uniform(0.1, 1.0, (5, 10)), [2, 7, 0, 9, 4]
    got = cross_entropy_error(device.asarray(y), device.asarray(t), eps=0)
    assert_near(got, -np.mean(np.log([y[0, 2], y[1, 7], y[2, 0], y[3, 9], y[4, 4]])), E12)


def test_mnist_one_hot(mnist_dir):
    (x, t), _ = load_mnist(normalize=True, one_hot_label=True, data_dir=mnist_dir)
    assert (x.shape, t.shape) == ((60000, 784), (60000, 10))
    assert np.all(t.sum(axis=1) == 1)
    assert t[0].argmax() == 5


def test_an_epoch_of_10000_images_is_100_batches_of_100():
    batches = Batches(np.zeros((10000, 1)), np.zeros(10000, dtype="uint8"), 100)
    assert len(batches) == len(list(batches.epoch(0))) == 100


def test_a_mini_batch_is_drawn_with_replacement(device):
    """Ten of 60,000, as np.random.choice draws them; then 60,000, among which some come twice."""
    t = np.arange(60000)
    batches = Batches(t.astype("float64"), t, 10, device=device, sampling="choice", dtype="float64")
    x, drawn = next(batches.epoch(0))
    assert_near(x, to_numpy(drawn))
    assert drawn.shape == (10,)
    assert 0 <= to_numpy(drawn).min() < to_numpy(drawn).max() < 60000
    assert 30000 < len(np.unique(batches.order(0))) < 45000  # 1 - 1/e of them is 37928


def test_a_step_of_1e_50_is_no_step(device):
    """float32(1e-50) is 0, and the forward difference with h = 10e-50 sees no slope at all."""
    assert_near(device.asarray(1e-50, dtype="float32"), 0.0)
    for x in (5.0, 10.0):
        x, h = device.asarray(x, dtype="float64"), 10e-50
        assert_near((function_1(x + h) - function_1(x)) / h, 0.0)


@pytest.mark.parametrize(
    ("f", "x", "want"),
    [
        (lambda x: x**2, 2.0, 4.0),
        (function_1, 5.0, 0.1999999999990898),
        (function_1, 10.0, 0.2999999999986347),
        (lambda x: x**2 + 4.0**2, 3.0, 6.00000000000378),
        (lambda x: 3.0**2 + x**2, 4.0, 7.999999999999119),
    ],
)
def test_numerical_diff(device, f, x, want):
    assert_near(numerical_diff(f, device.asarray(x, dtype="float64")), want, ND)


@pytest.mark.parametrize(
    ("x", "f", "slope", "intercept"), [(5.0, 0.75, 0.2, -0.25), (10.0, 2.0, 0.3, -1.0)]
)
def test_tangents_of_function_1(device, x, f, slope, intercept):
    """Figure 4-7."""
    x, tol = device.asarray(x, dtype="float64"), {"rtol": 0, "atol": 1e-9}
    y, d = function_1(x), numerical_diff(function_1, x)
    assert_near(y, f, E12)
    assert_near(d, slope, tol)
    assert_near(y - d * x, intercept, tol)


@pytest.mark.parametrize("x", [-2.0, -0.5, 0.5, 2.0])
def test_a_step_has_no_slope_where_a_sigmoid_has_one(device, x):
    """Figure 4-4: why networks learn with a sigmoid and not with a step."""
    xp, x = device.xp, device.asarray(x, dtype="float64")
    assert_near(numerical_diff(lambda a: xp.astype(step_function(a), xp.float64), x), 0.0)
    assert numerical_diff(sigmoid, x) > 0.1


@pytest.mark.parametrize(
    ("x", "want"),
    [
        ([3.0, 4.0], [6.0000000000037801, 7.9999999999991189]),
        ([0.0, 2.0], [0.0, 4.000000000004]),
        ([3.0, 0.0], [6.000000000012662, 0.0]),
    ],
)
def test_numerical_gradient(device, x, want):
    assert_near(numerical_gradient(function_2, device.asarray(x, dtype="float64")), want, ND)


def test_numerical_gradient_restores_x_and_calls_twice_an_element(device):
    calls, x = [], np.random.default_rng(0).standard_normal((2, 3))
    there = device.asarray(x)

    def f(a):
        calls.append(to_numpy(a).copy())
        return device.xp.sum(a * a)

    assert_near(numerical_gradient(f, there), 2 * x, {"rtol": 0, "atol": 1e-8})
    assert_near(there, x)
    assert len(calls) == 2 * x.size
    assert all(np.count_nonzero(a != x) == 1 for a in calls)


@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_numerical_gradient_refuses_what_it_cannot_do(device, dtype):
    """The book's gives [25000, 35000] for the integers 3 and 4, and 5.989 for 6 in float32."""
    with pytest.raises(ArgumentError, match="float64"):
        numerical_gradient(function_2, device.asarray([3, 4], dtype=dtype))


@pytest.mark.parametrize(
    ("lr", "want", "tol"),
    [
        (0.1, [-6.11110793e-10, 8.14814391e-10], {"rtol": 1e-8, "atol": 0}),
        (0.01, [-0.39785867, 0.53047822], CE_EXACT),
        (1e-10, [-2.99999994, 3.99999992], P8),
    ],
)
def test_gradient_descent(device, lr, want, tol):
    x = device.asarray([-3.0, 4.0], dtype="float64")
    assert_near(gradient_descent(function_2, x, lr=lr, step_num=100), want, tol)
    assert_near(x, [-3.0, 4.0])  # the book's overwrites its start


def test_gradient_descent_defaults_and_path(device):
    """100 steps of 0.01; each scales x by 0.98."""
    x, path = gradient_descent(
        function_2, device.asarray([-3.0, 4.0], dtype="float64"), return_path=True
    )
    assert_near(path, np.outer(0.98 ** np.arange(101), [-3, 4]), CE_EXACT)
    assert_near(x, to_numpy(path)[-1])


def test_gradient_descent_with_far_too_large_a_step(device):
    """The book's numbers are frozen rounding: from step 10 or so the difference is exactly 0.

    An exact gradient would give 19^100 (-3, 4). The very digits hold on NumPy alone.
    """
    x = gradient_descent(function_2, device.asarray([-3.0, 4.0], dtype="float64"), lr=10.0)
    assert 1e12 < np.max(np.abs(to_numpy(x))) < 1e20
    if isinstance(x, np.ndarray):
        assert_near(x, [-2.58983747e13, -1.29524862e12], {"rtol": 5e-9, "atol": 0})


SIMPLE_W = [[0.47355232, 0.9977393, 0.84668094], [0.85557411, 0.03563661, 0.69422093]]
SIMPLE_DW = [[0.21924763, 0.14356247, -0.36281009], [0.32887144, 0.2153437, -0.54421514]]


@pytest.fixture
def simple_net(device):
    """The book's simpleNet for one x and t: its W, its scores and its loss as functions of W."""
    x, t = (device.asarray(a, dtype="float64") for a in ([0.6, 0.9], [0, 0, 1]))

    def predict(W):
        return x @ W

    def loss(W, eps=0.0):
        return cross_entropy_error(softmax(predict(W)), t, eps=eps)

    return device.asarray(SIMPLE_W, dtype="float64"), predict, loss


def test_simple_net_predicts(device, simple_net):
    W, predict, _ = simple_net
    scores = predict(W)
    assert_near(scores, [1.05414809, 0.63071653, 1.1328074], {"rtol": 0, "atol": 2e-8})
    assert_near(device.xp.argmax(scores), 2)


@pytest.mark.parametrize(
    ("eps", "loss_value", "tol"),
    [(0.0, 0.92806853874823514, CE_EXACT), (1e-7, 0.92806828578640754, CE)],
)
def test_simple_net_loss_and_gradient(device, simple_net, eps, loss_value, tol):
    """The book's listing adds 1e-7; its printed loss and dW follow without."""
    W, predict, loss = simple_net
    assert_near(loss(W, eps), loss_value, E12)
    assert_near(loss(W, eps), 0.92806853663411326, tol)
    dW = numerical_gradient(lambda W: loss(W, eps), W)
    assert_near(dW, SIMPLE_DW, tol)
    assert_near(dW, np.outer([0.6, 0.9], to_numpy(softmax(predict(W))) - [0, 0, 1]), tol)


@pytest.mark.parametrize(("i", "j", "slope"), [(0, 0, 0.2), (1, 2, -0.5)])
def test_reading_of_the_gradient(device, simple_net, i, j, slope):
    """Raising w11 by h raises the loss by about 0.2 h; raising w23 lowers it by about 0.5 h."""
    W, _, loss = simple_net
    raised = np.array(SIMPLE_W)
    raised[i, j] += 0.01
    assert_near((loss(device.asarray(raised)) - loss(W)) / 0.01, slope, {"rtol": 0, "atol": 0.05})


@pytest.mark.parametrize(("hidden", "count"), [(100, 79510), (50, 39760)])
def test_two_layer_net_parameters(device, hidden, count):
    params = TwoLayerNet(784, hidden, 10, rng=0, device=device).params
    shapes = {k: tuple(p.shape) for k, p in params.items()}
    assert shapes == {"W1": (784, hidden), "b1": (hidden,), "W2": (hidden, 10), "b2": (10,)}
    assert sum(to_numpy(p).size for p in params.values()) == count
    for name, p in params.items():
        std = np.std(to_numpy(p))
        assert std == 0 if name.startswith("b") else 0.009 < std < 0.011


def test_two_layer_net_predicts_and_has_gradients(device):
    """With x and t drawn as the book draws them, t being no one-hot rows."""
    rng = np.random.default_rng(0)
    net = TwoLayerNet(784, 100, 10, activation="sigmoid", rng=rng, device=device, dtype="float64")
    x, t = device.asarray(rng.random((100, 784))), device.asarray(rng.random((100, 10)))
    assert tuple(net.predict(x).shape) == (100, 10)
    assert_near(device.xp.sum(net.probabilities(x), axis=1), np.ones(100), E12)
    grads = net.gradient(x, t)
    assert {k: tuple(g.shape) for k, g in grads.items()} == {
        k: tuple(p.shape) for k, p in net.params.items()
    }


def test_a_small_change_of_a_weight_moves_the_loss_and_not_the_accuracy(device):
    """Which is why networks descend the loss."""
    rng = np.random.default_rng(0)
    net = TwoLayerNet(20, 10, 5, weight_init_std=1.0, rng=rng, device=device, dtype="float64")
    x, t = device.asarray(rng.random((100, 20))), device.asarray(rng.integers(0, 5, 100))
    loss, accuracy = float(net.loss(x, t)), net.accuracy(x, t)
    W = to_numpy(net.params["W1"]).copy()
    W[0, 0] += 1e-6
    net.params["W1"] = device.asarray(W)
    assert 1e-12 < abs(float(net.loss(x, t)) - loss) < 1e-5
    assert net.accuracy(x, t) == accuracy
    assert round(100 * accuracy) in range(1, 100)
