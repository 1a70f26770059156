"""Neural Networks and Deep Learning, chapter 2: backpropagation, held beside its equations."""

from itertools import product

import numpy as np
import pytest

from tolerances import E12, assert_near
from xpnet import (
    Affine,
    IdentityWithLoss,
    ReLU,
    Sigmoid,
    Tanh,
    gradient_check,
    numerical_gradient,
    to_numpy,
)
from xpnet import Network as Layers
from xpnet.books.nielsen import (
    CrossEntropyCost,
    LogLikelihoodCost,
    Network,
    QuadraticCost,
    sigmoid,
    sigmoid_prime,
    softmax,
)

D9 = {"rtol": 0, "atol": 1e-9}
FD = {"rtol": 1e-6, "atol": 1e-9}
SUMS = {"rtol": 1e-12, "atol": 1e-15}  # the same terms, added in another order
COSTS = pytest.mark.parametrize("cost", [QuadraticCost, CrossEntropyCost, LogLikelihoodCost])

X, Y = np.array([[0.5], [-1.0]]), np.array([[1.0]])


@pytest.fixture
def gold():
    """The network of the worked numbers."""
    net = Network([2, 3, 1])
    net.weights = [[[0.1, 0.2], [0.3, -0.4], [-0.5, 0.6]], [[0.7, -0.8, 0.9]]]
    net.biases = [[[0.1], [-0.2], [0.3]], [[-0.1]]]
    return net


def forward(net, x):
    """Weighted inputs and activations of every layer, from equations 23 and 25."""
    zs, activations = [], [x]
    for w, b in zip(net.weights, net.biases, strict=True):
        zs.append(w @ activations[-1] + b)
        activations.append(sigmoid(zs[-1]))
    if net.cost is LogLikelihoodCost:
        activations[-1] = softmax(zs[-1].T).T
    return zs, activations


def random_net(cost=QuadraticCost, sizes=(4, 5, 3), seed=0, **options):
    """A network, an input and a target of one sample."""
    rng = np.random.default_rng(seed)
    net = Network(list(sizes), cost, rng=rng, **options)
    net.large_weight_initializer()
    return net, rng.random((sizes[0], 1)), np.eye(sizes[-1])[:, [1]]


def test_functions_go_element_by_element(device):
    assert_near(device.asarray([2.0, 3.0]) ** 2, [4, 9])
    assert_near(device.asarray([1.0, 2.0]) * device.asarray([3.0, 4.0]), [3, 8])


def test_gold_forward(gold):
    zs, activations = forward(gold, X)
    assert_near(zs[0], [[-0.05], [0.35], [-0.55]], D9)
    assert_near(activations[1], [[0.4875026035], [0.5866175789], [0.3658644090]], D9)
    assert_near(zs[1], [[0.1012357274]], D9)
    assert_near(gold.feedforward(X), [[0.5252873387]], D9)
    assert gold.total_cost([(X, Y)], 0.0) == pytest.approx(0.1126760554, abs=1e-9)
    assert QuadraticCost.fn(activations[-1], Y) == pytest.approx(0.1126760554, abs=1e-9)


def test_gold_backward(gold):
    """Biases first; and by central differences, in a way that shares no code."""
    nabla_b, nabla_w = gold.backprop(X, Y)
    assert_near(nabla_b[1], [[-0.1183746105]], D9)
    assert_near(nabla_w[1], [[-0.0577079308, -0.0694406274, -0.0433090569]], D9)
    assert_near(nabla_b[0], [[-0.0207026150], [0.0229644278], [-0.0247174330]], D9)
    want = [[-0.0103513075, 0.0207026150], [0.0114822139, -0.0229644278],
            [-0.0123587165, 0.0247174330]]  # fmt: skip
    assert_near(nabla_w[0], want, D9)

    for place, gradient in zip((*gold.biases, *gold.weights), (*nabla_b, *nabla_w), strict=True):
        numerical = numerical_gradient(lambda _: gold.total_cost([(X, Y)], 0.0), place)
        assert_near(gradient, numerical, {"rtol": 0, "atol": 1e-9})


@COSTS
def test_the_four_equations(cost):
    """BP1 with the cost's own delta, BP2, BP3 and BP4, for a network of four layers."""
    net, x, y = random_net(cost, (4, 5, 6, 3))
    zs, activations = forward(net, x)
    delta = cost.delta(zs[-1], activations[-1], y)
    nabla_b, nabla_w = net.backprop(x, y)
    for layer in (-1, -2, -3):
        if layer < -1:
            delta = (net.weights[layer + 1].T @ delta) * sigmoid_prime(zs[layer])
        assert_near(nabla_b[layer], delta, SUMS)
        assert_near(nabla_w[layer], delta @ activations[layer - 1].T, SUMS)


@pytest.mark.parametrize("seed", range(3))
def test_the_matrix_form(seed):
    """Diagonal matrices of slopes, multiplied from the output down, in place of the products."""
    net, x, y = random_net(sizes=(4, 5, 6, 3), seed=seed)
    zs, activations = forward(net, x)
    nabla_b, _ = net.backprop(x, y)
    product_so_far = np.diag(sigmoid_prime(zs[-1])[:, 0])
    delta_out = product_so_far @ net.cost_derivative(activations[-1], y)
    assert_near(nabla_b[-1], delta_out, SUMS)
    for layer in (-2, -3):
        slopes = np.diag(sigmoid_prime(zs[layer])[:, 0])
        product_so_far = slopes @ net.weights[layer + 1].T @ product_so_far
        delta = product_so_far @ net.cost_derivative(activations[-1], y)
        assert_near(nabla_b[layer], delta, SUMS)


def test_the_sum_over_all_paths():
    """From one weight of the first layer, by every way through two hidden layers to the cost."""
    net, x, y = random_net(sizes=(2, 3, 2, 2))
    zs, (_, _, _, a) = forward(net, x)
    slopes = [sigmoid_prime(z)[:, 0] for z in zs]
    j, k = 1, 0
    total = 0.0
    for m, n in product(range(2), range(2)):
        way = x[k, 0] * slopes[0][j]
        way *= net.weights[1][m, j] * slopes[1][m]
        way *= net.weights[2][n, m] * slopes[2][n]
        total += way * (a - y)[n, 0]
    assert net.backprop(x, y)[1][0][j, k] == pytest.approx(total, rel=1e-12)


@COSTS
def test_gradients_are_the_numerical_ones(device, cost):
    net, x, y = random_net(cost, device=device)
    columns = device.asarray(x), device.asarray(y)
    nabla_b, nabla_w = net.backprop(*columns)
    numerical = net.network.numerical_gradient(columns[0].T, columns[1].T)
    for layer in (1, 2):
        assert_near(nabla_w[layer - 1].T, to_numpy(numerical[f"W{layer}"]), FD)
        assert_near(nabla_b[layer - 1][:, 0], to_numpy(numerical[f"b{layer}"]), FD)


@COSTS
def test_a_batch_of_columns_gives_the_mean_gradient(cost):
    net, _, _ = random_net(cost)
    rng = np.random.default_rng(1)
    x, y = rng.random((4, 6)), np.eye(3)[:, rng.integers(3, size=6)]
    at_once = net.backprop(x, y)
    singles = [net.backprop(x[:, [n]], y[:, [n]]) for n in range(6)]
    for kind in (0, 1):
        for layer in range(2):
            mean = sum(single[kind][layer] for single in singles) / 6
            assert_near(at_once[kind][layer], mean, SUMS)


@COSTS
def test_delta_is_the_derivative_of_the_cost_by_the_weighted_input(cost):
    """fn and delta, and the loss that the network really uses, are one cost."""
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((3, 1)), np.array([[0.0], [1.0], [0.0]])

    def activations(z):
        return softmax(z.T).T if cost is LogLikelihoodCost else sigmoid(z)

    want = numerical_gradient(lambda z: cost.fn(activations(z), y), z)
    assert_near(cost.delta(z, activations(z), y), want, FD)
    net, x, y = random_net(cost)
    assert net.total_cost([(x, y)], 0.0) == pytest.approx(cost.fn(net.feedforward(x), y), rel=1e-12)


def test_a_cost_of_ones_own():
    """Half the quadratic one: its parts are all a network needs."""

    class HalfLoss(IdentityWithLoss):
        def forward(self, x, t):
            loss, backward = super().forward(x, t)
            return loss / 2, lambda dout=1.0: backward(dout / 2)

    class HalfCost(QuadraticCost):
        loss = HalfLoss

    net, x, y = random_net(HalfCost)
    whole, _, _ = random_net(QuadraticCost)
    for half, full in zip(net.backprop(x, y), whole.backprop(x, y), strict=True):
        for a, b in zip(half, full, strict=True):
            assert_near(a, b / 2, SUMS)


@pytest.mark.parametrize("activation", [Sigmoid, Tanh, ReLU])
def test_another_activation_changes_the_slopes_alone(device, activation):
    """BP1 and BP2 with f', by differences."""
    layers = [Affine(3, 4, std=1.0, rng=0), activation(), Affine(4, 2, std=1.0, rng=1)]
    net = Layers([*layers, activation()], IdentityWithLoss(), device=device, dtype="float64")
    rng = np.random.default_rng(2)
    x, t = device.asarray(rng.random((5, 3))), device.asarray(rng.random((5, 2)))
    assert max(gradient_check(net, x, t).values()) < 1e-8  # its step is 1e-4


def test_linear_neurons_pass_the_error_on(device):
    """delta^L = a - y, delta^l = w^T delta^(l+1)."""
    net = Layers(
        [Affine(3, 4, std=1.0, rng=0), Affine(4, 2, std=1.0, rng=1)],
        IdentityWithLoss(), names="book", device=device, dtype="float64",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    x, y = rng.random((1, 3)), rng.random((1, 2))
    grads = net.gradient(device.asarray(x), device.asarray(y))
    delta = to_numpy(net.predict(device.asarray(x))) - y
    assert_near(grads["b2"], delta[0], SUMS)
    assert_near(grads["b1"], (delta @ to_numpy(net.params["W2"]).T)[0], SUMS)


def test_weights_learn_slowly_behind_a_quiet_neuron_or_under_a_saturated_one():
    net, x, y = random_net()
    x[2] = 0.0
    assert_near(net.backprop(x, y)[1][0][:, 2], np.zeros(5))

    usual = net.backprop(x, y)
    net.biases[1] = [[20.0], [-20.0], [20.0]]  # outputs near 1, 0, 1, all of them wrong
    saturated = net.backprop(x, y)
    assert max(np.abs(w).max() for w in saturated[1]) < 1e-7
    assert max(np.abs(w).max() for w in usual[1]) > 1e-3

    net, x, y = random_net()
    net.biases[0] = net.biases[0] + [[0.0], [30.0], [0.0], [0.0], [0.0]]
    nabla_w = net.backprop(x, y)[1][0]
    assert np.abs(nabla_w[1]).max() < 1e-12 < np.abs(nabla_w[0]).max()


def test_a_weights_gradient_is_its_input_times_its_neurons_error(gold):
    """Equation 32: a_in delta_out."""
    _, activations = forward(gold, X)
    nabla_b, nabla_w = gold.backprop(X, Y)
    assert_near(nabla_w[1], activations[1].T * nabla_b[1], E12)
    assert_near(nabla_w[0], X.T * nabla_b[0], E12)
