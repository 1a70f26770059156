"""Neural Networks and Deep Learning, chapter 3: costs that learn, and weights that stay small.

The training runs on MNIST are left to the tests of the scripts.
"""

import json
from itertools import pairwise

import numpy as np
import pytest

from tolerances import E12, assert_near
from xpnet import (
    Affine,
    IdentityWithLoss,
    SigmoidWithLoss,
    log_softmax,
    numerical_gradient,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    synthetic_digits,
    to_numpy,
)
from xpnet import Network as Layers
from xpnet.books import nielsen
from xpnet.books.nielsen import (
    CrossEntropyCost,
    LogLikelihoodCost,
    Network,
    QuadraticCost,
    load,
    pairs,
    sigmoid,
    sigmoid_prime,
    softmax,
)
from xpnet.errors import ArgumentError, OutputError, WeightsError
from xpnet.optim import SGD
from xpnet.optim.penalties import L2

D4 = {"rtol": 0, "atol": 1e-4}
D6 = {"rtol": 0, "atol": 1e-6}
FD = {"rtol": 1e-6, "atol": 1e-9}
SUMS = {"rtol": 1e-12, "atol": 1e-15}
Z = [2.5, -1.0, 3.2, 0.5]


# The toy neuron: input 1, target 0


def toy(cost, w, b):
    net = Network([1, 1], cost)
    net.weights, net.biases = [[[w]]], [[[b]]]
    return net


SAMPLE = (np.ones((1, 1)), np.zeros((1, 1)))
RUNS = {
    "T1a": (QuadraticCost, 0.6, 0.9, 0.15,
            [0.8176, 0.3870, 0.2110, 0.1527, 0.1237, 0.1061, 0.0940], (-1.283132, -0.983132)),
    "T1b": (QuadraticCost, 2.0, 2.0, 0.15,
            [0.9820, 0.9759, 0.9641, 0.9334, 0.7887, 0.3572, 0.2028], (-0.684293, -0.684293)),
    "T1c": (CrossEntropyCost, 0.6, 0.9, 0.005,
            [0.8176, 0.7516, 0.6789, 0.6053, 0.5355, 0.4726, 0.4177], None),
    "T1d": (CrossEntropyCost, 2.0, 2.0, 0.005,
            [0.9820, 0.9710, 0.9539, 0.9282, 0.8912, 0.8415, 0.7796], None),
    "T1e": (CrossEntropyCost, 2.0, 2.0, 0.15,
            [0.9820, 0.0985, 0.0411, 0.0257, 0.0186, 0.0146, 0.0120], (-2.205020, -2.205020)),
    "T1f": (CrossEntropyCost, 0.6, 0.9, 0.15,
            [0.8176, 0.0792, 0.0371, 0.0241, 0.0178, 0.0141, 0.0116], (-2.370878, -2.070878)),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_the_toy_neuron_unlearns_its_error(name):
    cost, w, b, eta, wanted, end = RUNS[name]
    net, outputs = toy(cost, w, b), []
    for update in range(301):
        if update % 50 == 0:
            outputs.append(net.feedforward(SAMPLE[0])[0, 0])
        if update < 300:
            net.update_mini_batch([SAMPLE], eta)
    assert_near(np.array(outputs), wanted, D4)
    if end is not None:
        assert_near(np.array([net.weights[0][0, 0], net.biases[0][0, 0]]), end, D6)


@pytest.mark.parametrize(
    ("w", "b", "quadratic", "cross_entropy"),
    [(0.6, 0.9, (0.121938, 0.334214), (0.817574, 1.701413)),
     (2.0, 2.0, (0.017345, 0.482176), (0.982014, 4.018150))],
)  # fmt: skip
def test_where_the_toy_neuron_begins(w, b, quadratic, cross_entropy):
    """Slopes and costs there: with x = 1 and y = 0, a s'(z) and a, for w as for b."""
    for cost, (slope, value) in {QuadraticCost: quadratic, CrossEntropyCost: cross_entropy}.items():
        net = toy(cost, w, b)
        (nabla_b,), (nabla_w,) = net.backprop(*SAMPLE)
        assert_near(nabla_w, [[slope]], D6)
        assert_near(nabla_b, [[slope]], D6)
        assert net.total_cost([SAMPLE], 0.0) == pytest.approx(value, abs=1e-6)


def test_a_larger_error_is_learned_faster_with_cross_entropy_and_slower_without():
    slopes = {cost: [toy(cost, w, b).backprop(*SAMPLE)[1][0][0, 0] for w, b in
                     ((0.6, 0.9), (2.0, 2.0))]
              for cost in (QuadraticCost, CrossEntropyCost)}  # fmt: skip
    assert slopes[CrossEntropyCost][0] < slopes[CrossEntropyCost][1]
    assert slopes[QuadraticCost][0] > slopes[QuadraticCost][1]
    assert slopes[CrossEntropyCost][1] / slopes[QuadraticCost][1] == pytest.approx(56.6, abs=0.05)


# Cross-entropy


def cross_entropy(a, y):
    return CrossEntropyCost.fn(np.array([[a]]), np.array([[y]]))


@pytest.mark.parametrize(("y", "least"), [(0.5, 0.693147), (0.3, 0.610864)])
def test_cross_entropy_is_least_where_the_output_is_the_target(device, y, least):
    grid = np.linspace(0.01, 0.99, 99)
    values = [cross_entropy(a, y) for a in grid]
    assert grid[np.argmin(values)] == pytest.approx(y)
    assert min(values) == pytest.approx(least, abs=1e-6)
    z = device.asarray([[np.log(y / (1 - y))]])
    loss, dz = sigmoid_cross_entropy(z, device.asarray([[y]]))
    assert float(loss) == pytest.approx(least, abs=1e-6)
    assert_near(dz, [[0.0]], D6)


def test_cross_entropy_of_certain_outputs():
    """0 ln 0 is 0; a certain and wrong output costs without end, whichever way round."""
    assert cross_entropy(0.0, 0.0) == cross_entropy(1.0, 1.0) == 0.0
    assert cross_entropy(1.0, 0.0) == cross_entropy(0.0, 1.0) == np.inf
    assert cross_entropy(0.3, 0.0) == pytest.approx(-np.log(0.7))  # swapped, ln 0 would be taken
    assert cross_entropy(0.3, 1.0) == pytest.approx(-np.log(0.3))


def test_cross_entropy_is_the_average_surprise():
    a = np.array([[0.8], [0.1], [0.6]])
    y = np.array([[1.0], [0.0], [0.0]])
    assert CrossEntropyCost.fn(a, y) == pytest.approx(-np.log(0.8) - np.log(0.9) - np.log(0.4))


def test_the_cost_of_a_network_stays_finite_where_its_outputs_are_certain():
    net = toy(CrossEntropyCost, 500.0, 500.0)
    assert net.feedforward(SAMPLE[0])[0, 0] == 1.0
    assert net.total_cost([SAMPLE], 0.0) == pytest.approx(1000.0)
    assert_near(net.backprop(*SAMPLE)[0][0], [[1.0]])


def test_the_slope_of_sigmoid(device):
    """s' = s (1 - s), by differences; and its integral over s is 1/6."""
    z = np.linspace(-4, 4, 9)
    numerical = [(sigmoid(v + 1e-5) - sigmoid(v - 1e-5)) / 2e-5 for v in z]
    assert_near(sigmoid_prime(device.asarray(z)), numerical, {"rtol": 1e-6, "atol": 0})
    integral = np.polynomial.Polynomial([0, 1, -1]).integ()
    assert integral(1.0) - integral(0.0) == pytest.approx(1 / 6, abs=1e-15)


@pytest.mark.parametrize("cost", [QuadraticCost, CrossEntropyCost])
def test_gradients_of_the_last_layer(cost):
    """Equations 65 and 67 (61 and 62 for one neuron), for a mini-batch and many layers."""
    rng = np.random.default_rng(0)
    net = Network([4, 5, 6, 3], cost, rng=rng)
    x, y = rng.random((4, 7)), rng.random((3, 7))
    hidden = x
    for w, b in zip(net.weights[:-1], net.biases[:-1], strict=True):
        hidden = sigmoid(w @ hidden + b)
    z = net.weights[-1] @ hidden + net.biases[-1]
    error = sigmoid(z) - y
    if cost is QuadraticCost:
        error = error * sigmoid_prime(z)
    nabla_b, nabla_w = net.backprop(x, y)
    assert_near(nabla_w[-1], np.einsum("jn,kn->jk", error, hidden) / 7, SUMS)
    assert_near(nabla_b[-1], error.mean(axis=1, keepdims=True), SUMS)


def test_linear_outputs_with_the_quadratic_cost_have_no_slow_start(device):
    """Equations 68 to 70: delta = a - y, however wrong."""
    net = Layers(
        [Affine(2, 1, std=0.0)], IdentityWithLoss(), names="book", device=device, dtype="float64"
    )
    net.params["b1"] = np.array([100.0])
    x = np.array([[0.5, 1.0], [2.0, 0.0]])
    grads = net.gradient(device.asarray(x), device.asarray(np.zeros((2, 1))))
    assert_near(grads["b1"], [100.0], E12)
    assert_near(grads["W1"], 100.0 * x.mean(axis=0)[:, np.newaxis], E12)


def test_cross_entropy_learns_digits_faster_than_the_quadratic_cost():
    """From the same large weights, on drawn digits."""
    x, t = synthetic_digits(1200, seed=0)
    data = pairs(x.reshape(len(x), -1).astype(np.float32) / 255, t, vectors=True)
    right = {}
    for cost, eta in ((QuadraticCost, 3.0), (CrossEntropyCost, 0.5)):
        net = Network([784, 30, 10], cost, rng=0, dtype="float32")
        net.large_weight_initializer()
        net.SGD(data[:1000], 2, 10, eta, verbose=False)
        right[cost] = net.evaluate(data[1000:])
    assert right[CrossEntropyCost] > right[QuadraticCost]


# The loss as the library has it


def test_sigmoid_with_loss_is_its_formula(device):
    rng = np.random.default_rng(0)
    z, t = rng.standard_normal((5, 3)), rng.random((5, 3))
    y = 1 / (1 + np.exp(-z))
    loss, backward = SigmoidWithLoss().forward(device.asarray(z), device.asarray(t))
    want = -np.sum(t * np.log(y) + (1 - t) * np.log(1 - y)) / 5
    assert float(loss) == pytest.approx(want, rel=1e-14)
    assert_near(backward(), (y - t) / 5, SUMS)
    assert_near(backward(2.0), 2 * (y - t) / 5, SUMS)


def test_sigmoid_with_loss_takes_labels_and_one_sample(device):
    z, labels = np.array([[0.5, -1.0, 2.0], [3.0, 0.0, -2.0]]), np.array([2, 0])
    by_label = SigmoidWithLoss().forward(device.asarray(z), device.asarray(labels))
    by_row = SigmoidWithLoss().forward(device.asarray(z), device.asarray(np.eye(3)[labels]))
    assert float(by_label[0]) == float(by_row[0])
    one = [sigmoid_cross_entropy(device.asarray(row), device.asarray(hot))
           for row, hot in zip(z, np.eye(3)[labels], strict=True)]  # fmt: skip
    assert sum(float(loss) for loss, _ in one) / 2 == pytest.approx(float(by_row[0]), rel=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_with_loss_is_finite_for_all_scores(device, dtype):
    z = device.asarray([[1000.0, -1000.0, 0.0, 1000.0, -1000.0]], dtype=dtype)
    loss, dz = sigmoid_cross_entropy(z, device.asarray([[1, 0, 0, 0, 1]]))
    assert loss.dtype == dz.dtype == device.dtype(dtype)
    assert float(loss) == pytest.approx(2000 + np.log(2), rel=1e-7)
    assert_near(dz, [[0.0, 0.0, 0.5, 1.0, -1.0]])


def test_a_small_loss_keeps_its_digits(device):
    """-ln sigmoid(40) is exp(-40), where 1 - sigmoid(40) is 0 in float64."""
    loss, _ = sigmoid_cross_entropy(device.asarray([40.0]), device.asarray([1]))
    assert float(loss) == pytest.approx(np.exp(-40.0), rel=1e-12, abs=0)


# Softmax and log-likelihood


def test_softmax(device):
    z = device.asarray(Z)
    assert_near(softmax(z), [0.314536, 0.009498, 0.633398, 0.042568], D6)
    assert_near(-log_softmax(z), [1.156656, 4.656656, 0.456656, 3.156656], D6)
    for y, want in enumerate([1.156656, 4.656656, 0.456656, 3.156656]):
        loss, _ = softmax_cross_entropy(device.asarray([Z]), device.asarray([y]))
        assert float(loss) == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize(
    ("c", "want"),
    [
        (0.1, [0.278092, 0.195968, 0.298256, 0.227683]),
        (5.0, [0.029312, 0.0, 0.970686, 0.000001]),
        (100.0, [0.0, 0.0, 1.0, 0.0]),
    ],
)
def test_softmax_becomes_the_maximum(device, c, want):
    assert_near(softmax(c * device.asarray(Z)), want, D6)
    tie = softmax(c * device.asarray([1.0, 3.0, 3.0, -5.0]))
    assert float(tie[1]) == float(tie[2])
    if c == 100.0:
        assert_near(tie, [0.0, 0.5, 0.5, 0.0], E12 | {"atol": 1e-12})


def test_raising_a_score_takes_from_all_the_others(device):
    """As much as the one gains; and each output depends on all scores."""
    before, after = softmax(device.asarray(Z)), softmax(device.asarray([*Z[:3], Z[3] + 1.0]))
    change = to_numpy(after) - to_numpy(before)
    assert np.all(change[:3] < 0)
    assert change[3] == pytest.approx(-change[:3].sum(), abs=1e-12)
    assert float(device.xp.sum(after)) == pytest.approx(1.0, abs=1e-12)


def test_sigmoid_outputs_are_no_distribution(device):
    assert float(device.xp.sum(sigmoid(device.zeros(4, dtype="float64")))) == 2.0


def test_softmax_identities(device):
    tol = {"rtol": 0, "atol": 1e-12}
    a = softmax(device.asarray(Z))
    assert_near(softmax(device.xp.log(a)), to_numpy(a), tol)
    assert_near(device.xp.log(a) - device.asarray(Z), np.full(4, -np.log(np.exp(Z).sum())), tol)
    for c in (7.0, 1000.0):
        assert_near(softmax(device.asarray(Z) + c), to_numpy(a), tol)


def test_the_jacobian_of_softmax(device):
    """a_j (delta_jk - a_k): above 0 on the diagonal, and only there."""
    a = to_numpy(softmax(device.asarray(Z)))
    want = np.diag(a) - np.outer(a, a)
    for j in range(4):
        row = numerical_gradient(lambda z, j=j: softmax(z)[j], device.asarray(Z))
        assert_near(row, want[j], {"rtol": 0, "atol": 1e-8})
    assert np.array_equal(want > 0, np.eye(4) == 1)


def test_log_likelihood_of_a_seven():
    rng = np.random.default_rng(0)
    net = Network([5, 10], LogLikelihoodCost, rng=rng)
    x, y = rng.random((5, 1)), nielsen.vectorized_result(7)
    a = net.feedforward(x)
    assert a.sum() == pytest.approx(1.0, abs=1e-12)
    assert LogLikelihoodCost.fn(a, y) == pytest.approx(-np.log(a[7, 0]), rel=1e-14)
    for target in (y, 7):
        assert net.total_cost([(x, target)], 0.0) == pytest.approx(-np.log(a[7, 0]), rel=1e-12)
    (nabla_b,), (nabla_w,) = net.backprop(x, y)
    assert_near(nabla_b, a - y, SUMS)  # 81
    assert_near(nabla_w, (a - y) @ x.T, SUMS)  # 82


# Regularisation


@pytest.mark.parametrize("cost", [QuadraticCost, CrossEntropyCost, LogLikelihoodCost])
def test_a_regularised_step(cost):
    """Equations 93 and 94: decay by all the training data, gradient by the mini-batch."""
    rng = np.random.default_rng(0)
    net = Network([4, 5, 3], cost, rng=rng)
    data = [(rng.random((4, 1)), np.eye(3)[:, [k]]) for k in range(3)]
    x, y = (np.concatenate(part, axis=1) for part in zip(*data, strict=True))
    nabla_b, nabla_w = net.backprop(x, y)
    weights, biases = [w.copy() for w in net.weights], [b.copy() for b in net.biases]
    net.update_mini_batch(data, 0.5, 30.0, 200)
    for after, w, g in zip(net.weights, weights, nabla_w, strict=True):
        assert_near(after, (1 - 0.5 * 30.0 / 200) * w - 0.5 * g, SUMS)
    for after, b, g in zip(net.biases, biases, nabla_b, strict=True):
        assert_near(after, b - 0.5 * g, SUMS)


def test_the_regularised_step_descends_on_the_cost_with_its_penalty():
    """It is plain gradient descent with `L2(lmbda / n)`, and `total_cost` is what descends."""
    rng = np.random.default_rng(0)
    net, data = Network([4, 3], CrossEntropyCost, rng=rng), []
    for _ in range(6):
        data.append((rng.random((4, 1)), rng.random((3, 1))))
    x, y = (np.concatenate(part, axis=1).T for part in zip(*data, strict=True))
    layers = Layers(
        [Affine(4, 3)], SigmoidWithLoss(), penalty=L2(2.0 / 6), names="book", dtype="float64"
    )
    for name, array in net.network.params.items():
        layers.params[name] = array
    assert net.total_cost(data, 2.0) == pytest.approx(float(layers.loss(x, y)), rel=1e-12)
    squares = np.sum(net.weights[0] ** 2)
    penalty = net.total_cost(data, 2.0) - net.total_cost(data, 0.0)
    assert penalty == pytest.approx(2.0 / (2 * 6) * squares, rel=1e-12)
    SGD(0.5).update(layers.params, layers.gradient(x, y))
    net.SGD(data, 1, 6, 0.5, 2.0, verbose=False)
    assert_near(net.weights[0], layers.params["W1"].T, SUMS)


@pytest.mark.parametrize("n", [1000, 50000])
def test_decay_goes_by_the_size_of_the_training_data(n):
    """lmbda 0.1 with 1,000 images is 5.0 with 50,000: 0.99995 a step, 0.778796 in 5000 steps."""
    net = Network([1, 1], CrossEntropyCost)
    net.weights, net.biases = [[[1.0]]], [[[0.0]]]
    net.update_mini_batch([(np.zeros((1, 1)), np.array([[0.5]]))], 0.5, n / 10000, n)
    (decay,) = net.weights[0][0]
    assert decay == pytest.approx(0.99995, abs=1e-15)
    assert decay**5000 == pytest.approx(0.778796, abs=1e-6)
    assert pytest.approx(0.999999, abs=1e-12) == 1 - 0.5 * 0.1 / 50000


def test_an_epoch_decays_by_all_its_samples_in_every_step():
    """Two steps of five samples, whose inputs of 0 let nothing else happen to the weight."""
    net = Network([1, 1], CrossEntropyCost)
    net.weights = [[[1.0]]]
    data = [(np.zeros((1, 1)), np.array([[0.5]]))] * 10
    net.SGD(data, 1, 5, 0.5, 2.0, verbose=False)
    assert net.weights[0][0, 0] == pytest.approx((1 - 0.5 * 2.0 / 10) ** 2, rel=1e-12)


def test_numbers_of_the_text():
    """A rate for cross-entropy from the quadratic cost's; and how much fewer errors there are."""
    assert 3.0 / 6 == 0.5
    fewer = (3.41 - 3.18) / 3.41
    assert fewer == pytest.approx(0.067, abs=5e-4)
    assert round(1 / fewer) in (14, 15)


# The programs


def test_initial_weights_by_the_number_of_inputs():
    net = Network([784, 100, 10], CrossEntropyCost, rng=0)
    for w in net.weights:
        assert np.std(w) * np.sqrt(w.shape[1]) == pytest.approx(1, abs=0.05)
    assert np.std(net.biases[0]) == pytest.approx(1, abs=0.2)
    net.large_weight_initializer()
    for w in net.weights:
        assert np.std(w) == pytest.approx(1, abs=0.05)


def bars(number):
    """Pairs of a column of 6 and a target column of 3, which is where the largest of it is."""
    rng = np.random.default_rng(0)
    return [(x, np.eye(3)[:, [int(x.argmax()) // 2]]) for x in rng.random((number, 6, 1))]


def labels(data):
    return [(x, int(y.argmax())) for x, y in data]


def test_what_is_monitored():
    """Costs and numbers of samples, as the methods give them for the network after each epoch."""
    training, evaluation = bars(60)[:40], labels(bars(60)[40:])
    net = Network([6, 5, 3], CrossEntropyCost, rng=0)
    found = net.SGD(training, 3, 10, 0.5, 0.2, evaluation, True, True, True, True, verbose=False)
    assert [len(part) for part in found] == [3, 3, 3, 3]
    assert [part[-1] for part in found] == [
        net.total_cost(evaluation, 0.2, convert=True),
        net.accuracy(evaluation),
        net.total_cost(training, 0.2),
        net.accuracy(training, convert=True),
    ]
    assert all(type(count) is int for count in (*found[1], *found[3]))
    outputs = np.concatenate([net.feedforward(x) for x, _ in evaluation], axis=1)
    assert found[1][-1] == np.sum(outputs.argmax(axis=0) == [digit for _, digit in evaluation])
    assert net.accuracy(training) == net.accuracy(labels(training))
    assert net.total_cost(training, 0.2) == net.total_cost(labels(training), 0.2)


def test_only_what_is_asked_for_is_monitored():
    data, net = bars(20), Network([6, 3], CrossEntropyCost, rng=0)
    found = net.SGD(data, 2, 10, 0.5, evaluation_data=labels(data),
                    monitor_evaluation_accuracy=True, verbose=False)  # fmt: skip
    assert [len(part) for part in found] == [0, 2, 0, 0]


def test_the_total_cost_is_a_mean_over_all_samples_however_many():
    """More of them than are evaluated at a time."""
    net, data = Network([6, 5, 3], CrossEntropyCost, rng=0), bars(450)
    one_by_one = [CrossEntropyCost.fn(net.feedforward(x), y) for x, y in data]
    assert net.total_cost(data, 0.0) == pytest.approx(np.mean(one_by_one), rel=1e-12)


def test_training_by_digits_is_training_by_columns():
    ends = []
    for data in (bars(20), labels(bars(20))):
        net = Network([6, 3], CrossEntropyCost, rng=0)
        net.SGD(data, 2, 5, 0.5, verbose=False)
        ends.append(net.weights[0])
    assert_near(*ends)


@pytest.mark.parametrize("cost", [QuadraticCost, CrossEntropyCost, LogLikelihoodCost])
def test_a_saved_network_is_the_same_again(tmp_path, cost):
    net = Network([6, 5, 3], cost, rng=0)
    net.save(tmp_path / "net.json")
    again = load(tmp_path / "net.json")
    assert (again.sizes, again.cost) == (net.sizes, net.cost)
    x = np.concatenate([x for x, _ in bars(5)], axis=1)
    assert_near(again.feedforward(x), net.feedforward(x))
    record = json.loads((tmp_path / "net.json").read_text())
    assert np.shape(record["weights"][0]) == (5, 6)
    assert np.shape(record["biases"][0]) == (5, 1)


def saved(sizes, weights, biases):
    cost = "QuadraticCost"
    return json.dumps({"sizes": sizes, "weights": weights, "biases": biases, "cost": cost})


@pytest.mark.parametrize(
    "text",
    [
        None, "{", "[]", "{}", '{"sizes": [2, 1], "cost": "Other"}', "[" * 100_000,
        saved([2, 1], [[[1]]], [[[1]]]),
        saved([9999, 9999], [], []),
        saved([1, 1], [[[10**400]]], [[[1]]]),
        saved([1] * 1001, [[[1]]] * 1000, [[[1]]] * 1000),
    ],
)  # fmt: skip
def test_what_is_no_saved_network_is_refused(tmp_path, text):
    path = tmp_path / "net.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(WeightsError) as error:
        load(path)
    assert str(error.value).startswith(f"{path} is no network that was saved: ")
    assert "give a file of Network.save, with the cost QuadraticCost, CrossEntropyCost" in str(
        error.value
    )


def test_a_directory_that_is_not_there_is_told(tmp_path):
    with pytest.raises(OutputError):
        Network([2, 1]).save(tmp_path / "none" / "net.json")


def test_errors_shrink_with_every_epoch_of_the_toy_neuron():
    """With cross-entropy from the first update on; the quadratic cost takes longer to begin."""
    early = {}
    for cost in (QuadraticCost, CrossEntropyCost):
        net = toy(cost, 2.0, 2.0)
        outputs = []
        for _ in range(20):
            outputs.append(net.feedforward(SAMPLE[0])[0, 0])
            net.update_mini_batch([SAMPLE], 0.15)
        assert all(later < earlier for earlier, later in pairwise(outputs))
        early[cost] = outputs[0] - outputs[-1]
    assert early[CrossEntropyCost] > 50 * early[QuadraticCost]


@pytest.mark.parametrize("lmbda", [-1.0, float("nan"), float("inf")])
def test_a_decay_that_is_none(lmbda):
    data = [(np.ones((2, 1)), 1)] * 3
    for train in (
        lambda net: net.SGD(data, 1, 1, 0.1, lmbda, verbose=False),
        lambda net: net.update_mini_batch(data, 0.1, lmbda, 3),
    ):
        with pytest.raises(ArgumentError, match="lmbda must be from 0"):
            train(Network([2, 2], rng=0))
    with pytest.raises(ArgumentError, match=r"n from 1 on, got 0\.1 and 0"):
        Network([2, 2], rng=0).update_mini_batch(data, 0.1, 0.1, 0)


@pytest.mark.parametrize("cost", ["CrossEntropyCost", 30, 1j])
def test_a_cost_that_is_none(cost):
    with pytest.raises(ArgumentError, match=r"cost must be QuadraticCost, .* got"):
        Network([2, 2], cost)


def test_an_instance_of_a_cost_is_its_class(tmp_path):
    Network(np.array([2, 2]), CrossEntropyCost(), rng=0).save(tmp_path / "net.json")
    assert load(tmp_path / "net.json").cost is CrossEntropyCost


@pytest.mark.parametrize("sizes", [3, None, "784,30", [2, 2.0], np.array(3)])
def test_sizes_that_are_none(sizes):
    with pytest.raises(ArgumentError, match="sizes must be whole numbers, such as"):
        Network(sizes)


@pytest.mark.parametrize("place", [0, 1])
def test_samples_that_are_not_finite_are_not_trained_on(place):
    sample = [np.ones((2, 1)), np.ones((2, 1))]
    bad = [part * np.nan if k == place else part for k, part in enumerate(sample)]
    with pytest.raises(ArgumentError, match="those of sample 1 are not"):
        Network([2, 2]).SGD([sample, bad], 1, 1, 0.1, verbose=False)
