"""Neural Networks and Deep Learning, chapter 1: perceptrons, sigmoid neurons, the first network.

The training runs are left to the tests of the scripts.
"""

import importlib
import sys
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from tolerances import E12, EX, assert_near
from xpnet import (
    gradient_descent,
    hold_out,
    numerical_gradient,
    perceptron,
    step_function,
    synthetic_digits,
    to_numpy,
)
from xpnet.books.nielsen import (
    Network,
    load_data,
    load_data_wrapper,
    pairs,
    sigmoid,
    sigmoid_prime,
    vectorized_result,
)
from xpnet.errors import ArgumentError, XPNetError

SCRIPTS = Path(__file__).parents[2] / "scripts" / "neural_networks_and_deep_learning"
E15 = {"rtol": 0, "atol": 1e-15}
BITS = [(0, 0), (0, 1), (1, 0), (1, 1)]
FESTIVAL = (6.0, 2.0, 2.0)  # weights of the weather, of company and of the way there


# Perceptrons


def festival(device, threshold):
    """Whether to go, for all eight cases in the order of binary numbers."""
    x = device.asarray(list(product((0.0, 1.0), repeat=3)))
    return to_numpy(perceptron(x, device.asarray(FESTIVAL), -threshold)).tolist()


def test_whether_to_go_to_the_festival(device):
    """With threshold 5 the weather decides; with 3, it or the two others together."""
    assert festival(device, 5) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert festival(device, 3) == [0, 0, 0, 1, 1, 1, 1, 1]


def test_a_lower_threshold_gives_in_to_no_fewer_inputs(device):
    decisions = np.array([festival(device, half / 2) for half in range(22, -2, -1)])
    assert np.all(np.diff(decisions, axis=0) >= 0)
    assert decisions[0].sum() == 0  # 10 is all there is
    assert decisions[-1].sum() == 8


def nand(x1, x2, neuron=perceptron, c=1.0):
    """Weights -2 and -2, bias 3; all times c."""
    xp_x = np.stack([np.asarray(x1, float), np.asarray(x2, float)], axis=-1)
    return neuron(xp_x, c * np.array([-2.0, -2.0]), c * 3.0)


def merged_nand(x, neuron=perceptron, c=1.0):
    """NAND of a bit with itself, its two edges of -2 drawn as one of -4."""
    return neuron(np.asarray(x, float)[..., np.newaxis], c * np.array([-4.0]), c * 3.0)


def added(x1, x2, neuron=perceptron, c=1.0, merged=False):
    """Sum and carry of two bits, by five NANDs."""
    first = nand(x1, x2, neuron, c)
    total = nand(nand(x1, first, neuron, c), nand(first, x2, neuron, c), neuron, c)
    carry = merged_nand(first, neuron, c) if merged else nand(first, first, neuron, c)
    return total, carry


def sigmoid_neuron(x, w, b):
    return sigmoid(np.sum(x * w, axis=-1) + b)


def test_nand_is_a_perceptron(device):
    x, w = device.asarray(BITS, dtype="float64"), device.asarray([-2.0, -2.0])
    assert_near(x @ w + 3.0, [3, 1, 1, -1])
    assert_near(perceptron(x, w, 3.0), [1, 1, 1, 0])


@pytest.mark.parametrize(("w", "b", "want"), [((1, 1), -1.5, [0, 0, 0, 1]),
                                              ((1, 1), -0.5, [0, 1, 1, 1])])  # fmt: skip
def test_and_and_or_are_perceptrons(device, w, b, want):
    x = device.asarray(BITS, dtype="float64")
    assert_near(perceptron(x, device.asarray(w, dtype="float64"), b), want)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("c", [1.0, 0.01, 0.3, 17.0, 1e6])
def test_five_nands_add_two_bits_whatever_their_weights_are_multiplied_by(merged, c):
    x1, x2 = np.array(BITS).T
    total, carry = added(x1, x2, c=c, merged=merged)
    assert_near(total, [0, 1, 1, 0])
    assert_near(carry, [0, 0, 0, 1])


def test_without_inputs_the_bias_decides(device):
    none = device.zeros(0, dtype="float64")
    assert [int(perceptron(none, none, b)) for b in (1.0, 0.0, -1.0)] == [1, 0, 0]


# Sigmoid neurons


def test_sigmoid(device):
    z = device.asarray([0.0, 1.5, 2.0, 4.0])
    want = [0.5, 0.8175744761936437, 0.8807970779778823, 0.9820137900379085]
    assert_near(sigmoid(z), want, E15)
    assert_near(sigmoid(-z), 1 - np.array(want), E15)
    assert_near(sigmoid_prime(z), np.array(want) * (1 - np.array(want)), E15)


def test_large_weights_make_sigmoids_perceptrons():
    """The adder, its weights and biases times c: outputs come as near to the bits as c is large."""
    x1, x2 = np.array(BITS).T
    want = np.array([[0, 1, 1, 0], [0, 0, 0, 1]])
    distances = [
        np.abs(np.array(added(x1, x2, sigmoid_neuron, c)) - want).max() for c in (1, 10, 100, 1000)
    ]
    assert all(far >= near for far, near in pairwise(distances))
    assert distances[0] > 0.2
    assert distances[1] < 2e-4
    assert distances[2:] == [pytest.approx(0, abs=1e-12)] * 2


def test_but_not_where_the_weighted_input_is_0(device):
    """There the sigmoid stays half-way, whatever c is; the perceptron gives 0."""
    x, w = device.asarray([[0.5, 1.0]]), device.asarray([2.0, -1.0])
    for c in (1.0, 1000.0):
        assert_near(sigmoid(x @ (c * w)), [0.5])
    assert_near(perceptron(x, w, 0.0), [0])
    assert_near(step_function(x @ w), [0])


def test_a_small_change_of_weights_is_a_small_change_of_the_output(device):
    """Equation 5, with d out / dw = s'(z) x and d out / db = s'(z)."""
    rng = np.random.default_rng(0)
    x, w, b = device.asarray(rng.random(3)), device.asarray(rng.standard_normal(3)), 0.3
    dw, db = rng.standard_normal(3) * 1e-6, 1e-6
    z = device.xp.sum(w * x) + b
    after = sigmoid(device.xp.sum((w + device.asarray(dw)) * x) + b + db)
    slope = to_numpy(sigmoid_prime(z))
    change = slope * np.sum(to_numpy(x) * dw) + slope * db
    assert_near(after - sigmoid(z), change, {"rtol": 1e-5, "atol": 0})


def test_four_neurons_turn_ten_outputs_into_bits():
    """Weight 10 where the digit has the bit, else -10; the right output is at least 0.99."""
    has = (np.arange(10) >> np.arange(4)[:, np.newaxis]) & 1
    old = np.where(np.eye(10) == 1, 0.99, 0.0099)  # at their worst: column d for digit d
    z = (20 * has - 10) @ old
    assert np.array_equal(sigmoid(z) >= 0.5, has == 1)
    assert np.abs(z).min() >= 9


# Gradient descent


def test_gradient_descent_in_one_variable():
    """Down v^2 by v <- v - 2 eta v: to the bottom for eta < 1, and up for a larger one."""

    def squared(v):
        return np.sum(v**2)

    for eta in (0.1, 0.4, 0.9):
        _, path = gradient_descent(squared, np.ones(1), eta, 50, return_path=True)
        assert_near(path[:, 0], (1 - 2 * eta) ** np.arange(51.0), {"rtol": 0, "atol": 1e-9})
    _, path = gradient_descent(squared, np.ones(1), 1.1, 10, return_path=True)
    assert np.all(np.diff(path[:, 0] ** 2) > 0)


def test_no_step_of_a_length_goes_down_faster_than_against_the_gradient():
    """To first order, which is what Cauchy and Schwarz prove."""
    rng = np.random.default_rng(0)
    gradient = rng.standard_normal(5)
    steps = rng.standard_normal((1000, 5))
    steps *= 0.01 / np.linalg.norm(steps, axis=1, keepdims=True)
    best = -0.01 * gradient / np.linalg.norm(gradient)
    assert gradient @ best == pytest.approx(-0.01 * np.linalg.norm(gradient), rel=1e-12)
    assert np.all(steps @ gradient > gradient @ best)


def test_a_small_step_lowers_the_cost_by_eta_times_the_squared_gradient():
    net, data = Network([3, 4, 2], rng=0), samples([3, 4, 2], 5)
    x, y = (np.concatenate(part, axis=1) for part in zip(*data, strict=True))
    squared = sum(np.sum(g**2) for part in net.backprop(x, y) for g in part)
    before = net.total_cost(data, 0.0)
    net.update_mini_batch(data, 1e-5)
    assert net.total_cost(data, 0.0) - before == pytest.approx(-1e-5 * squared, rel=1e-4)


# The network


def samples(sizes, number, seed=0):
    """Random pairs of columns."""
    rng = np.random.default_rng(seed)
    return [(rng.random((sizes[0], 1)), rng.random((sizes[-1], 1))) for _ in range(number)]


def test_shapes():
    net = Network([2, 3, 1])
    assert (net.num_layers, net.sizes) == (3, [2, 3, 1])
    assert [b.shape for b in net.biases] == [(3, 1), (1, 1)]
    assert [w.shape for w in net.weights] == [(3, 2), (1, 3)]


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ([2, 3, 1], 13),
        ([784, 30, 10], 23860),
        ([784, 100, 10], 79510),
        ([784, 10], 7850),
        ([784, 15, 10], 11935),
        ([4096, 20, 1], 81961),
    ],
)
def test_numbers_of_parameters(sizes, count):
    net = Network(sizes)
    assert sum(array.size for array in (*net.biases, *net.weights)) == count
    assert net.network.params.count == count


def test_initial_biases_and_weights_are_standard_normal_biases_first():
    net, rng = Network([784, 100, 10], rng=7), np.random.default_rng(7)
    for array in (*net.biases, *net.weights):
        assert_near(array, rng.standard_normal(array.shape))
    assert np.std(net.weights[0]) == pytest.approx(1, abs=0.01)


def test_feedforward_is_neuron_by_neuron():
    net = Network([4, 5, 3], rng=0)
    (x, _), = samples(net.sizes, 1)  # fmt: skip
    a = x[:, 0]
    for w, b in zip(net.weights, net.biases, strict=True):
        a = [
            1 / (1 + np.exp(-(sum(w[j, k] * a[k] for k in range(w.shape[1])) + b[j, 0])))
            for j in range(w.shape[0])
        ]
    assert_near(net.feedforward(x), np.reshape(a, (3, 1)), E12)


def test_feedforward_takes_columns_side_by_side_and_whole_numbers():
    net, data = Network([4, 5, 3], rng=0), samples([4, 5, 3], 6)
    x = np.concatenate([x for x, _ in data], axis=1)
    one_by_one = np.concatenate([net.feedforward(x) for x, _ in data], axis=1)
    assert_near(net.feedforward(x), one_by_one, E12)
    bits = np.eye(4, dtype=int)
    assert_near(net.feedforward(bits), net.feedforward(bits.astype(float)))


def test_weights_connect_to_the_layer_below():
    """weights[1][1, 3]: from neuron 4 of the second layer to neuron 2 of the third."""
    net, (x, _) = Network([2, 4, 3], rng=0), samples([2, 4, 3], 1)[0]
    hidden = sigmoid(net.weights[0] @ x + net.biases[0])
    z = net.weights[1] @ hidden + net.biases[1]
    net.weights[1][1, 3] += 0.5
    z[1] += 0.5 * hidden[3]
    assert_near(net.feedforward(x), sigmoid(z), E12)


def test_assigned_weights_and_biases_are_the_networks():
    net = Network([2, 3, 1], rng=0)
    net.weights = [np.full((3, 2), 2.0), np.full((1, 3), 3.0)]
    net.biases[1] = [[4.0]]
    assert_near(net.network.params["W1"], np.full((2, 3), 2.0))
    assert_near(net.weights[1], np.full((1, 3), 3.0))
    assert_near(net.network.params["b2"], [4.0])


def test_an_epoch_uses_every_sample_once_and_leaves_the_list_alone():
    """Steps of 3, 3 and 1 samples, each divided by its own number: an order of them explains it."""
    data = samples([2, 2], 4)
    kept = list(data)
    net = Network([2, 2], rng=0)
    start = [w.copy() for w in net.weights], [b.copy() for b in net.biases]
    net.SGD(data, 1, 3, 2.0, verbose=False)
    assert all(now is before for now, before in zip(data, kept, strict=True))
    ends = []
    for last in range(4):  # of the first three the order does not matter
        other = Network([2, 2])
        other.weights, other.biases = start
        other.update_mini_batch([pair for k, pair in enumerate(data) if k != last], 2.0)
        other.update_mini_batch([data[last]], 2.0)
        ends.append(other.weights[0])
    assert sum(np.allclose(end, net.weights[0], rtol=1e-12, atol=0) for end in ends) == 1
    assert np.abs(ends[0] - ends[1]).max() > 1e-6


def test_a_step_is_eta_over_m_times_the_sum_of_the_gradients():
    net, data = Network([4, 5, 3], rng=0), samples([4, 5, 3], 3)
    before = [array.copy() for array in (*net.biases, *net.weights)]
    nabla = [net.backprop(x, y) for x, y in data]
    sums = [sum(parts) for parts in zip(*([*b, *w] for b, w in nabla), strict=True)]
    net.update_mini_batch(data, 0.6)
    for after, was, total in zip((*net.biases, *net.weights), before, sums, strict=True):
        assert_near(after, was - 0.6 / 3 * total, {"rtol": 1e-12, "atol": 1e-15})


def test_the_same_seed_is_the_same_training():
    data = samples([3, 4, 2], 20)
    ends = []
    for seed in (1, 1, 2):
        net = Network([3, 4, 2], rng=seed)
        net.SGD(data, 2, 5, 1.0, verbose=False)
        ends.append(net.weights[0].copy())
    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])


def test_what_is_printed(capsys):
    net, data = Network([3, 4, 2], rng=0), samples([3, 4, 2], 7)
    test = [(x, int(y.argmax())) for x, y in data]
    assert net.SGD(data, 1, 3, 1.0) == ([], [], [], [])
    net.SGD(data, 2, 100, 1e-9, test_data=test)
    right = sum(int(net.feedforward(x).argmax() == digit) for x, digit in test)
    assert net.evaluate(test) == right
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 0 complete", f"Epoch 0: {right} / 7", f"Epoch 1: {right} / 7",
    ]  # fmt: skip


def test_cost_derivative():
    net, (_, y) = Network([3, 2]), samples([3, 2], 1)[0]
    a = np.array([[0.3], [0.9]])
    want = numerical_gradient(lambda a: 0.5 * np.sum((y - a) ** 2), a)
    assert_near(net.cost_derivative(a, y), want, {"rtol": 0, "atol": 1e-9})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda net: net.feedforward(np.zeros(3)),
            "an input must be a column (3, 1), or several side by side (3, m), got the shape (3,); "
            "use x.reshape(-1, 1)",
        ),
        (lambda net: net.feedforward(np.zeros((1, 3))), "got the shape (1, 3)"),
        (
            lambda net: net.update_mini_batch([(np.zeros(3), np.zeros(2))], 1.0),
            "a sample must be a column (3, 1), and a column (2, 1) or the number of a class, got "
            "the shapes (3,) and (2,); use x.reshape(-1, 1)",
        ),
        (lambda net: net.evaluate([]), "at least one sample is needed, got an empty list"),
        (lambda net: Network([3]), "needs a layer of inputs and one of outputs, got the sizes [3]"),
        (
            lambda net: net.biases.__setitem__(0, np.zeros(4)),
            "entry 0 has the shape (4, 1), got (4,); biases are columns (units, 1), weights "
            "(units, units below)",
        ),
        (
            lambda net: setattr(net, "weights", [np.zeros((4, 3))]),
            "2 arrays are needed, one a layer, got 1",
        ),
        (
            lambda net: net.SGD(samples([3, 2], 1), 1, 1, 1.0, monitor_evaluation_cost=True),
            "monitoring an evaluation needs evaluation_data, got none",
        ),
    ],
)
def test_misuse_is_told(call, message):
    with pytest.raises(ArgumentError) as error:
        call(Network([3, 4, 2], rng=0))
    assert message in str(error.value)


def test_whole_numbers_are_inputs_and_no_pixels():
    """Bits as integers, as a reader writes them, train as the same bits in floats."""
    bits = [(np.array([[a], [b]]), a ^ b) for a, b in BITS]
    ends = []
    for data in (bits, [(x.astype(float), t) for x, t in bits]):
        net = Network([2, 3, 2], rng=0)
        net.SGD(data, 3, 2, 1.0, verbose=False)
        ends.append(net.weights[0])
    assert_near(ends[0], ends[1])


# Digits


def test_the_target_of_6():
    want = np.zeros((10, 1))
    want[6] = 1.0
    assert_near(vectorized_result(6), want)


def test_hold_out_keeps_the_last_ones_in_order():
    x, t = np.arange(14).reshape(7, 2), np.arange(7)
    (x_train, t_train), (x_aside, t_aside) = hold_out(x, t, 2)
    assert_near(t_train, [0, 1, 2, 3, 4])
    assert_near(t_aside, [5, 6])
    assert_near(x_train, x[:5])
    assert_near(x_aside, x[5:])
    for count in (0, 7, -1):
        with pytest.raises(ArgumentError, match=f"of 7 samples 1 to 6 can be .* got {count}; "):
            hold_out(x, t, count)
    with pytest.raises(ArgumentError, match="one target a sample is needed, got 7 and 6"):
        hold_out(x, t[1:], 2)


def test_mnist_in_three_parts(mnist_dir):
    """Target columns to train on; digits in the other two."""
    rows = load_data(mnist_dir)
    lists = load_data_wrapper(mnist_dir)
    assert [x.shape for x, _ in rows] == [(50000, 784), (10000, 784), (10000, 784)]
    for (images, digits), part in zip(rows, lists, strict=True):
        assert (images.min(), images.max(), len(digits)) == (0.0, 1.0, len(part))
        x, y = part[-1]
        assert_near(x[:, 0], images[-1], EX)
        if part is lists[0]:
            assert_near(y, vectorized_result(digits[-1]))
        else:
            assert type(y) is int
            assert y == digits[-1]


@pytest.fixture
def baselines(monkeypatch):
    """The script of that name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("ch1_baselines")


def test_nearest_darkness_reads_2225_of_mnist(mnist_dir, baselines):
    """Of 50,000 training images; from all 60,000 it would be 2230."""
    by_darkness = baselines.by_darkness
    (x, t), (x_more, t_more), (x_test, t_test) = load_data(mnist_dir)
    assert np.sum(by_darkness(x, t, x_test) == t_test) == 2225
    x, t = np.concatenate([x, x_more]), np.concatenate([t, t_more])
    assert np.sum(by_darkness(x, t, x_test) == t_test) == 2230


def test_the_support_vector_machine_needs_scikit_learn(baselines, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    x, t = np.eye(4), np.arange(4)
    with pytest.raises(XPNetError, match=r"needs scikit-learn, .*'xpnet\[baselines\]'"):
        baselines.by_svm(x, t, x)


def test_digits_are_learned_and_at_eta_100_they_are_not():
    """On drawn digits, for where MNIST is not."""
    x, t = synthetic_digits(2200, seed=0)
    rows = x.reshape(len(x), -1).astype(np.float32) / 255
    training, test = pairs(rows[:2000], t[:2000], vectors=True), pairs(rows[2000:], t[2000:])
    right = {}
    for eta in (3.0, 100.0):
        net = Network([784, 30, 10], rng=0, dtype="float32")
        net.SGD(training, 5, 10, eta, verbose=False)
        right[eta] = net.evaluate(test) / len(test)
    assert right[3.0] > 0.6
    assert right[100.0] < 0.25
