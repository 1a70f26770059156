"""Deep Learning from Scratch, chapter 5: graphs of small nodes, layers, the gradient check.

Each example runs through `xpnet.books.saitoh`, whose nodes are the book's, and `xpnet.layers`.
The training run is left to the tests of the scripts.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from tolerances import E12, IN_BOTH, assert_near
from xpnet import TwoLayerNet, gradient_check, layers, load_mnist, softmax, to_numpy
from xpnet.books import saitoh


class Kept:
    """A layer of `xpnet.layers` used as the book uses its own: forward, then backward."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, *inputs):
        out, self._backward = self.layer.forward(*inputs)
        return out

    def backward(self, dout):
        got = self._backward(dout)
        if isinstance(got, tuple):  # a loss has no parameters and gives dx alone
            got, self.grads = got
        return got


class KeptAffine(Kept):
    """`Kept` with the attributes of the book's Affine."""

    def __init__(self, W, b):
        super().__init__(layers.Affine(*W.shape))
        self.layer.params = {"W": W, "b": b}

    def backward(self, dout):
        dx = super().backward(dout)
        self.dW, self.db = self.grads["W"], self.grads["b"]
        return dx


@pytest.fixture(params=["book", "layers"])
def nodes(request):
    """The book's nodes, in its own form or over `xpnet.layers`."""
    if request.param == "book":
        return SimpleNamespace(
            Mul=saitoh.MulLayer,
            Add=saitoh.AddLayer,
            Relu=saitoh.Relu,
            Sigmoid=saitoh.Sigmoid,
            Affine=saitoh.Affine,
            SoftmaxWithLoss=saitoh.SoftmaxWithLoss,
        )
    return SimpleNamespace(
        Mul=lambda: Kept(layers.Mul()),
        Add=lambda: Kept(layers.Add()),
        Relu=lambda: Kept(layers.ReLU()),
        Sigmoid=lambda: Kept(layers.Sigmoid()),
        Affine=KeptAffine,
        SoftmaxWithLoss=lambda: Kept(layers.SoftmaxWithLoss()),
    )


@pytest.mark.parametrize(
    ("kind", "x", "y", "dout", "want"),
    [
        ("Add", 4000.0, 200.0, 1.0, (4200.0, 1.0, 1.0)),
        ("Add", 10.0, 5.0, 1.3, (15.0, 1.3, 1.3)),
        ("Mul", 10.0, 5.0, 1.3, (50.0, 6.5, 13.0)),
    ],
)
@IN_BOTH
def test_one_node(device, nodes, kind, x, y, dout, want, dtype, tol):
    node = getattr(nodes, kind)()
    x, y, dout = (device.asarray(v, dtype=dtype) for v in (x, y, dout))
    out = node.forward(x, y)
    for got, value in zip((out, *node.backward(dout)), want, strict=True):
        assert_near(got, value, tol)


@IN_BOTH
def test_two_apples(device, nodes, dtype, tol):
    """ch05/buy_apple.py: 2 apples at 100, tax 1.1."""
    apple, number, tax, one = (device.asarray(v, dtype=dtype) for v in (100.0, 2.0, 1.1, 1.0))
    times_number, times_tax = nodes.Mul(), nodes.Mul()

    cost = times_number.forward(apple, number)
    price = times_tax.forward(cost, tax)
    dcost, dtax = times_tax.backward(one)
    dapple, dnumber = times_number.backward(dcost)

    got = [cost, price, dcost, dapple, dnumber, dtax]
    for value, want in zip(got, [200, 220, 1.1, 2.2, 110, 200], strict=True):
        assert_near(value, want, tol)


@IN_BOTH
def test_two_apples_and_three_oranges(device, nodes, dtype, tol):
    """ch05/buy_apple_orange.py and figure 5-15: oranges at 150, tax 1.1."""
    apple, apples, orange, oranges, tax, one = (
        device.asarray(v, dtype=dtype) for v in (100.0, 2.0, 150.0, 3.0, 1.1, 1.0)
    )
    times_apples, times_oranges, plus, times_tax = (
        nodes.Mul(),
        nodes.Mul(),
        nodes.Add(),
        nodes.Mul(),
    )

    cost_apple = times_apples.forward(apple, apples)
    cost_orange = times_oranges.forward(orange, oranges)
    cost = plus.forward(cost_apple, cost_orange)
    price = times_tax.forward(cost, tax)
    dcost, dtax = times_tax.backward(one)
    dcost_apple, dcost_orange = plus.backward(dcost)
    dapple, dapples = times_apples.backward(dcost_apple)
    dorange, doranges = times_oranges.backward(dcost_orange)

    got = [cost_apple, cost_orange, cost, price, dapples, dapple, dorange, doranges, dtax]
    for value, want in zip(got, [200, 450, 650, 715, 110, 2.2, 3.3, 165, 650], strict=True):
        assert_near(value, want, tol)


def test_a_value_used_twice_sums_its_branches(device, nodes):
    """z = t^2 with t = x + y, as t times t: dz/dx = dz/dy = 2 (x + y)."""
    x, y, one = (device.asarray(v, dtype="float64") for v in (3.0, 4.5, 1.0))
    plus, times = nodes.Add(), nodes.Mul()
    t = plus.forward(x, y)
    assert_near(times.forward(t, t), 56.25, E12)
    first, second = times.backward(one)
    for got in plus.backward(first + second):
        assert_near(got, 15.0, E12)


@IN_BOTH
def test_relu(device, nodes, dtype, tol):
    """0 is off. The book's backward overwrites the gradient it is given; this one must not."""
    node = nodes.Relu()
    x = device.asarray([[1.0, -0.5, 0.0], [-2.0, 3.0, 0.0]], dtype=dtype)
    dout = device.asarray([[5.0, 6.0, 7.0], [8.0, 9.0, 10.0]], dtype=dtype)
    assert_near(x <= 0, [[False, True, True], [True, False, True]])
    assert_near(node.forward(x), [[1, 0, 0], [0, 3, 0]])
    assert_near(node.backward(dout), [[5, 0, 0], [0, 9, 0]])
    assert_near(x, [[1, -0.5, 0], [-2, 3, 0]])
    assert_near(dout, [[5, 6, 7], [8, 9, 10]])


@IN_BOTH
def test_sigmoid_is_its_graph_of_four_nodes(device, nodes, dtype, tol):
    """Times -1, exp, plus 1, reciprocal; and dx = dout y^2 exp(-x) = dout y (1 - y)."""
    xp, rng = device.xp, np.random.default_rng(0)
    x, dout = (device.asarray(rng.standard_normal((3, 4)), dtype=dtype) for _ in range(2))
    times, plus, fused = nodes.Mul(), nodes.Add(), nodes.Sigmoid()

    e = xp.exp(times.forward(x, xp.full_like(x, -1.0)))
    y = 1 / plus.forward(e, xp.ones_like(x))
    dsum, _ = plus.backward(-dout * y**2)
    dx, _ = times.backward(dsum * e)

    assert_near(fused.forward(x), to_numpy(y), tol)
    got = fused.backward(dout)
    assert_near(got, to_numpy(dx), tol)
    assert_near(got, to_numpy(dout * y**2 * xp.exp(-x)), tol)
    assert_near(got, to_numpy(dout * y * (1 - y)), tol)


@pytest.mark.parametrize(
    ("x_shape", "y_shape"),
    [((2,), (3,)), ((1, 2), (1, 3)), ((5, 2), (5, 3)), ((5, 1, 2, 1), (5, 3))],
)
def test_affine_shapes(device, nodes, x_shape, y_shape):
    """W is (2, 3) and B (3,); every gradient has the shape of what it belongs to."""
    node = nodes.Affine(device.asarray(np.ones((2, 3))), device.asarray(np.ones(3)))
    y = node.forward(device.asarray(np.ones(x_shape)))
    dx = node.backward(device.asarray(np.ones(y_shape)))
    shapes = [tuple(a.shape) for a in (y, dx, node.dW, node.db)]
    assert shapes == [y_shape, x_shape, (2, 3), (3,)]


@IN_BOTH
def test_affine_values(device, nodes, dtype, tol):
    """X W = ((0, 0, 0), (10, 10, 10)) with B = (1, 2, 3), and the gradients of (5.13)."""
    x, W, b, dy = (
        device.asarray(v, dtype=dtype)
        for v in ([[0, 0], [1, 3]], [[1, 4, 7], [3, 2, 1]], [1, 2, 3], [[1, 2, 3], [4, 5, 6]])
    )
    node = nodes.Affine(W, b)
    assert_near(node.forward(x), [[1, 2, 3], [11, 12, 13]])
    assert_near(node.backward(dy), [[30, 10], [66, 28]])  # dY W^T
    assert_near(node.dW, [[4, 5, 6], [12, 15, 18]])  # X^T dY
    assert_near(node.db, [5, 7, 9])


SCORES = [  # y, and scores that give it; softmax of -1000 is an exact 0
    ([0.3, 0.2, 0.5], [*np.log([0.3, 0.2, 0.5])], [0.3, -0.8, 0.5]),
    ([0.01, 0.99, 0.0], [*np.log([0.01, 0.99]), -1000.0], [0.01, -0.01, 0.0]),
]


@pytest.mark.parametrize(("y", "scores", "want"), SCORES)
@pytest.mark.parametrize("t", [[[0, 1, 0]], [1]], ids=["one-hot", "label"])
@IN_BOTH
def test_softmax_with_loss_goes_back_with_y_minus_t(device, nodes, y, scores, want, t, dtype, tol):
    node, scores = nodes.SoftmaxWithLoss(), device.asarray([scores], dtype=dtype)
    assert_near(softmax(scores), [y], tol)
    assert_near(node.forward(scores, device.asarray(t)), -np.log(y[1]), tol)
    assert_near(node.backward(1.0), [want], tol)


def test_softmax_with_loss_averages_the_batch_and_heeds_dout(device, nodes):
    """Two equal rows give half the gradient each; the printed backward ignores dout."""
    node = nodes.SoftmaxWithLoss()
    scores, t = np.log([[0.3, 0.2, 0.5]] * 2), [1, 1]
    assert_near(node.forward(device.asarray(scores), device.asarray(t)), -np.log(0.2), E12)
    assert_near(node.backward(1.0), [[0.15, -0.4, 0.25]] * 2, E12)
    assert_near(node.backward(2.0), [[0.3, -0.8, 0.5]] * 2, E12)


def test_softmax_with_loss_step_by_step(device, nodes):
    """Appendix A: six nodes from -t/y back to y - t."""
    xp = device.xp
    a, t = device.asarray([0.3, 2.9, 4.0], dtype="float64"), device.asarray([0.0, 1.0, 0.0])
    e = xp.exp(a)
    s = xp.sum(e)
    y = e * (1 / s)

    dy = -t / y  # the cross-entropy hands this to the softmax
    dreciprocal, de = xp.sum(dy * e), dy * (1 / s)  # the product node, summed over its branches
    assert_near(dreciprocal, to_numpy(-s), E12)  # -S (t1 + t2 + t3)
    assert_near(de, to_numpy(-t / e), E12)
    ds = dreciprocal * -1 / s**2
    assert_near(ds, to_numpy(1 / s), E12)
    da = (ds + de) * e
    assert_near(da, to_numpy(y - t), E12)

    node = nodes.SoftmaxWithLoss()
    assert_near(node.forward(a, t), to_numpy(-xp.sum(t * xp.log(y))), E12)
    assert_near(node.backward(1.0), to_numpy(da), E12)


def test_scores_of_a_digit(device):
    """5.3 and 10.1 become 0.8 % and 99.1 %; the other eight, not given, share the rest."""
    rest = np.exp(10.1) * (1 / 0.991 - 1) - np.exp(5.3)
    y = softmax(device.asarray([5.3, 10.1, *[np.log(rest / 8)] * 8]))
    assert_near(y[:2], [0.008, 0.991], {"rtol": 0, "atol": 5e-4})


@pytest.mark.parametrize("n", [1, 2])
def test_identity_with_half_squared_error_goes_back_with_y_minus_t(device, n):
    """Over N, like the loss itself."""
    y, t = device.asarray([[0.3, 0.2, 0.5]] * n), device.asarray([[0.0, 1.0, 0.0]] * n)
    loss, backward = layers.IdentityWithLoss().forward(y, t)
    assert_near(loss, 0.49, E12)
    assert_near(backward(1.0), np.array([[0.3, -0.8, 0.5]] * n) / n, E12)


@pytest.fixture
def small_net(device):
    """A network of the section in small, with images and labels."""
    rng = np.random.default_rng(0)
    net = TwoLayerNet(6, 5, 3, weight_init_std=1.0, rng=rng, device=device, dtype="float64")
    return net, device.asarray(rng.standard_normal((8, 6))), rng.integers(0, 3, 8)


def test_two_layer_net_takes_labels_and_one_hot_rows(device, small_net):
    net, x, labels = small_net
    label, hot = device.asarray(labels), device.asarray(np.eye(3)[labels])
    assert_near(net.loss(x, label), to_numpy(net.loss(x, hot)), E12)
    assert net.accuracy(x, label) == net.accuracy(x, hot) > 0
    by_label, by_hot = net.gradient(x, label), net.gradient(x, hot)
    for name, grad in by_label.items():
        assert_near(grad, to_numpy(by_hot[name]), E12)


def test_two_layer_net_is_its_layers_in_order(device, small_net):
    """Affine1, Relu1, Affine2; predict gives scores, and an update is seen at once."""
    net, x, _ = small_net
    assert list(net.layers) == ["Affine1", "Relu1", "Affine2"]
    assert list(net.params) == ["W1", "b1", "W2", "b2"]
    net.params["b2"] = device.asarray([1.0, 2.0, 3.0])
    p = {name: to_numpy(value) for name, value in net.params.items()}
    hidden = np.maximum(to_numpy(x) @ p["W1"] + p["b1"], 0)
    scores = hidden @ p["W2"] + [1.0, 2.0, 3.0]
    tol = {"rtol": 1e-12, "atol": 1e-12}  # sums in another order
    assert_near(net.predict(x), scores, tol)
    assert_near(net.probabilities(x), to_numpy(softmax(device.asarray(scores))), tol)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_two_layer_net_gradient_is_the_numerical_one(device, activation):
    rng = np.random.default_rng(0)
    net = TwoLayerNet(
        6, 5, 3, weight_init_std=1.0, activation=activation, rng=rng, device=device, dtype="float64"
    )
    x, t = device.asarray(rng.standard_normal((8, 6))), device.asarray(rng.integers(0, 3, 8))
    errors = gradient_check(net, x, t)
    assert list(errors) == ["W1", "b1", "W2", "b2"]
    assert max(errors.values()) < 1e-9


@pytest.mark.slow
def test_gradient_check_on_mnist(mnist_dir):
    """ch05/gradient_check.py; the bounds are those of a cross-entropy without 1e-7."""
    (x, t), _ = load_mnist(one_hot_label=True, data_dir=mnist_dir)
    net = TwoLayerNet(784, 50, 10, rng=np.random.default_rng(0), dtype="float64")
    errors = gradient_check(net, x[:3], t[:3])
    bounds = {"W1": 1e-11, "b1": 1e-11, "W2": 1e-11, "b2": 1e-9}
    assert errors.keys() == bounds.keys()
    assert {k: e for k, e in errors.items() if not e < bounds[k]} == {}
