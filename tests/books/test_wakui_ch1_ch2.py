"""The Mathematics of Deep Learning, chapters 1 and 2: neurons, and the mathematics they need.

Left out: Taylor's expansion beyond first order, which the book quotes and does not use.
"""

from math import e, log, pi, sqrt
from statistics import NormalDist

import numpy as np
import pytest

import xpnet
from tolerances import assert_near
from wakui_book import P2, D, X
from xpnet import numerical_diff, numerical_gradient, perceptron, sigmoid, step_function, to_numpy
from xpnet.books.wakui import (
    demons,
    fit_line,
    gradient_descent,
    iterate,
    neuron,
    similarity,
    step,
    unit,
)
from xpnet.data.tiny import parse_images
from xpnet.errors import ArgumentError
from xpnet.functions.init import normal

CENTRAL = {"rtol": 0, "atol": 1e-6}  # of central differences
POINTS = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


def array(device, values):
    return device.asarray(values, dtype="float64")


# Chapter 1


def test_neuron_fires_from_its_threshold_on(device):
    """Section 1-2, example 1: weights 5 and 3, threshold 4."""
    x, w = array(device, POINTS), array(device, [5, 3])
    assert_near(unit(x, w, 0.0, lambda z: z), [0, 3, 5, 8], X)
    assert_near(neuron(x, w, 4.0), [0, 0, 1, 1])


def test_at_the_threshold_itself_texts_differ(device):
    x, w = array(device, POINTS), array(device, [5, 3])
    assert_near(neuron(x, w, 5.0), [0, 0, 1, 1])
    assert_near(unit(x, w, -5.0, step), [0, 0, 1, 1])
    assert_near(unit(x, w, -5.0, step_function), [0, 0, 0, 1])
    assert_near(perceptron(x, w, -5.0), [0, 0, 0, 1])


def test_unit_step(device):
    assert_near(step(array(device, [-1, 0, 1])), [0, 1, 1])


@pytest.mark.parametrize(
    ("x", "z", "printed", "with_27", "exact", "tol"),
    [
        ((0.2, 0.1), -0.3, 0.43, 0.426052, 0.425557, 0.005),
        ((0.6, 0.5), 1.7, 0.84, 0.844030, 0.845535, 0.01),
    ],
)
def test_unit_with_a_sigmoid(device, x, z, printed, with_27, exact, tol):
    """Section 1-3: the book takes e as 2.7, which shows in the second decimal."""
    x, w = array(device, x), array(device, [2, 3])
    assert_near(unit(x, w, -1.0, lambda z: z), z, X)
    assert_near(unit(x, w, -1.0, sigmoid), exact, D)
    assert_near(unit(x, w, -1.0, sigmoid), printed, {"rtol": 0, "atol": tol})
    assert_near(unit(x, w, -1.0, lambda z: sigmoid(z * log(2.7))), with_27, D)
    # The bias is the weight of an input that is always 1.
    extended = array(device, [*to_numpy(x), 1]), array(device, [2, 3, -1])
    assert_near(unit(*extended, 0.0, sigmoid), exact, D)


@pytest.mark.parametrize(
    ("image", "hidden", "output"),
    [
        ("000/101/101/000", [1, 0, 1], [1, 0]),
        ("000/010/010/000", [0, 1, 0], [0, 1]),
        ("000/100/100/000", [1, 0, 0], [1, 0]),
        ("111/111/000/111", [0, 0, 0], [0, 0]),
    ],
)
def test_demons_read_a_0_and_a_1(device, image, hidden, output):
    """Section 1-5: the pixels 4, 6, 7, 9 and 5, 8. One demon is enough for a 0, one pixel not."""
    excited, digits = demons(array(device, parse_images(image)))
    assert_near(excited, hidden)
    assert_near(digits, output)


# Functions, section 2-1


def test_sigmoid(device):
    z = array(device, [-1, 0, 1])
    assert_near(sigmoid(z), [0.268941, 0.5, 0.731059], D)
    for base in (e, 2.7):
        assert_near(np.round(to_numpy(sigmoid(z * log(base))), 2), [0.27, 0.5, 0.73])


def test_line_and_parabola():
    def parabola(x):
        return (x - 1) ** 2 + 2

    assert parabola(1.0) == 2
    assert min(parabola(x) for x in np.linspace(-3, 5, 81)) == 2
    assert_near(numerical_diff(lambda x: 2 * x + 1, 0.7), 2, CENTRAL)


def test_initial_weights_are_normal_random_numbers():
    """By the density's shape, and by the book's way: the inverse of the distribution function."""
    density = NormalDist(mu=0.5, sigma=2.0)
    assert density.pdf(1.5) == pytest.approx(np.exp(-1 / 8) / (sqrt(2 * pi) * 2))
    inverted = [density.inv_cdf(u) for u in np.random.default_rng(0).uniform(size=5000)]
    for drawn in (0.5 + normal((5000,), 2.0, 0), np.array(inverted)):
        for at in (-2.0, 0.5, 1.0, 3.0):
            assert np.mean(drawn < at) == pytest.approx(density.cdf(at), abs=0.03)


# Recurrences and sums, sections 2-2 and 2-3


@pytest.mark.parametrize(
    ("f", "start", "terms"),
    [
        (lambda a: a + 2, 1, [1, 3, 5, 7, 9, 11]),
        (lambda a: 2 * a, 3, [3, 6, 12, 24]),
        (lambda a: a + 2, 2, [2, 4, 6, 8, 10]),
        (lambda s: (s[0] + 1, (s[0] + 1) * s[1]), (1, 1), [(1, 1), (2, 2), (3, 6), (4, 24)]),
        (
            lambda s: (s[0] + 2 * s[1] + 2, 2 * s[0] + 3 * s[1] + 1),
            (1, 1),
            [(1, 1), (5, 6), (19, 29)],
        ),
        (lambda s: (3 * s[0] + s[1], s[0] + 3 * s[1]), (2, 1), [(2, 1), (7, 5), (26, 22)]),
    ],
)
def test_recurrences(f, start, terms):
    assert iterate(f, start, len(terms)) == terms


def test_a_recurrence_of_no_terms():
    assert iterate(lambda a: a, 1, 0) == []


def test_a_formula_and_its_recurrence():
    assert iterate(lambda a: a + 2, 2, 6) == [2 * n for n in range(1, 7)]
    assert iterate(lambda a: a + 2, 1, 6) == [2 * n - 1 for n in range(1, 7)]


def test_sums_are_linear(device):
    xp = device.xp
    k = xp.arange(1, 8, dtype=xp.float64)
    ones = xp.ones_like(k)
    assert_near(xp.sum(2 * k + 1), float(2 * xp.sum(k) + xp.sum(ones)), X)
    assert_near(xp.sum(k**2 - 3 * k + 2), float(xp.sum(k**2) - 3 * xp.sum(k) + xp.sum(2 * ones)), X)
    assert_near(xp.sum(k**2), 140, X)


# Vectors and matrices, sections 2-4 and 2-5


@pytest.mark.parametrize(
    ("a", "length"),
    [((3, 4), 5), ((1, 2, 2), 3), ((2, 1), sqrt(5)), ((3, -1), sqrt(10))],
)
def test_lengths(device, a, length):
    a = array(device, a)
    assert_near(device.xp.sqrt(similarity(a, a)), length, X)


A, D_, E_ = np.eye(3) * 3  # edges of a cube: AB, AD, AE
T1, T2 = np.array([2, 0, 0]), np.array([1, sqrt(3), 0])  # edges of a regular tetrahedron


@pytest.mark.parametrize(
    ("a", "b", "product"),
    [
        ((2, 3), (5, 1), 13),
        ((2, 3), (2, 3), 13),
        ((5, 1), (5, 1), 26),
        ((2, 3, 2), (5, 1, -1), 11),
        ((2, 3, 2), (2, 3, 2), 17),
        ((2 * sqrt(3), 2), (1, sqrt(3)), 4 * sqrt(3)),
        ((-3, 2, 1), (1, -3, 2), -7),
        ((1, 0), (1, 0), 1),
        ((1, 0), (0, 1), 0),
        ((1, 0), (1, 1), 1),
        ((0, 1), (1, 1), 1),
        (D_, D_, 9),
        (D_, A + E_, 0),
        (A + E_, D_ + E_, 9),
        (T1, T2, 2),
    ],
)
def test_inner_products(device, a, b, product):
    """With Cauchy and Schwarz's inequality, which is an equality for parallel vectors."""
    a, b = array(device, a), array(device, b)
    assert_near(similarity(a, b), product, X)
    bound = sqrt(similarity(a, a) * similarity(b, b))
    assert -bound - 1e-12 <= product <= bound + 1e-12
    assert_near(similarity(a, -2 * a), -2 * float(similarity(a, a)), X)


M, N = [[2, 7], [1, 8]], [[2, 8], [1, 3]]
P, Q = [[1, 4, 1], [4, 2, 1]], [[2, 7, 1], [8, 2, 8]]


@pytest.mark.parametrize(
    ("f", "a", "b", "want"),
    [
        (lambda a, b: a + b, M, N, [[4, 15], [2, 11]]),
        (lambda a, b: a - b, M, N, [[0, -1], [0, 5]]),
        (lambda a, b: 3 * a, M, N, [[6, 21], [3, 24]]),
        (lambda a, b: a @ b, M, N, [[11, 37], [10, 32]]),
        (lambda a, b: b @ a, M, N, [[12, 78], [5, 31]]),
        (lambda a, b: a * b, M, N, [[4, 56], [1, 24]]),
        (lambda a, b: a.T, M, N, [[2, 1], [7, 8]]),
        (lambda a, b: a @ b, M, np.eye(2), M),
        (lambda a, b: b @ a, M, np.eye(2), M),
        (lambda a, b: a.T, [[1], [2]], N, [[1, 2]]),
        (lambda a, b: a + b, P, Q, [[3, 11, 2], [12, 4, 9]]),
        (lambda a, b: a.T @ b, P, Q, [[34, 15, 33], [24, 32, 20], [10, 9, 9]]),
        (lambda a, b: a * b, P, Q, [[2, 28, 1], [32, 4, 8]]),
    ],
)
def test_matrices(device, f, a, b, want):
    assert_near(f(array(device, a), array(device, b)), want, X)


# Derivatives, sections 2-6 to 2-9


@pytest.mark.parametrize(
    ("f", "derivative"),
    [
        (lambda x: 5.0 + 0 * x, lambda x: 0.0),
        (lambda x: x, lambda x: 1.0),
        (lambda x: x**2, lambda x: 2 * x),
        (lambda x: 3 * x, lambda x: 3.0),
        (lambda y: (2 - y) ** 2, lambda y: -4 + 2 * y),
        (lambda x: 2 * x**2 + 3 * x + 1, lambda x: 4 * x + 3),
        (np.exp, np.exp),
        (lambda x: np.exp(-x), lambda x: -np.exp(-x)),
        (lambda x: 1 + np.exp(-x), lambda x: -np.exp(-x)),
        (lambda x: 1 / (1 + x**2), lambda x: -2 * x / (1 + x**2) ** 2),  # (1/f)' = -f'/f^2
        (sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
        (lambda x: 3 * x**4 - 4 * x**3 - 12 * x**2 + 32, lambda x: 12 * x * (x + 1) * (x - 2)),
        (lambda x: 2 * x**2 - 4 * x + 3, lambda x: 4 * x - 4),
        (lambda x: sigmoid(1.7 * x - 0.6), lambda x: 1.7 * (y := sigmoid(1.7 * x - 0.6)) * (1 - y)),
    ],
)
@pytest.mark.parametrize("x", [-1.3, 0.0, 0.4, 1.1])
def test_derivatives(f, derivative, x):
    assert_near(numerical_diff(f, x), derivative(x), CENTRAL)


def test_a_zero_slope_is_necessary_and_not_sufficient():
    def f(x):
        return 3 * x**4 - 4 * x**3 - 12 * x**2 + 32

    assert [f(x) for x in (-1.0, 0.0, 2.0)] == [27, 32, 0]
    for x in (-1.0, 0.0, 2.0):
        assert_near(numerical_diff(f, x), 0, CENTRAL)
    near = np.linspace(-0.3, 0.3, 61)
    assert f(-1 + near).min() == 27  # a minimum, and not the lowest
    assert f(near).max() == 32
    assert f(np.linspace(-4, 4, 801)).min() == 0


def test_the_parabola_is_lowest_where_its_slope_is_zero():
    def f(x):
        return 2 * x**2 - 4 * x + 3

    assert f(1.0) == 1
    assert_near(numerical_diff(f, 1.0), 0, CENTRAL)


@pytest.mark.parametrize(
    ("f", "gradient"),
    [
        (lambda v: v[0] * v[1] + v[2], lambda w, x, b: (x, w, 1)),
        (lambda v: 3 * v[0] ** 2 + 4 * v[1] ** 2 + 0 * v[2], lambda x, y, _: (6 * x, 8 * y, 0)),
        (lambda v: 0.3 * v[0] + v[1] * 0.8 + v[2], lambda x1, w2, b: (0.3, 0.8, 1)),
        (lambda v: v[0] ** 2 + v[1] ** 2 + 0 * v[2], lambda x, y, _: (2 * x, 2 * y, 0)),
    ],
)
def test_partial_derivatives(device, f, gradient):
    point = (0.7, -1.2, 0.4)
    assert_near(numerical_gradient(f, array(device, point)), gradient(*point), CENTRAL)


def test_chain_rule_in_two_variables(device):
    """C = u^2 + v^2 with u = ax + by and v = px + qy."""
    a, b, p, q, x, y = 0.5, -1.5, 2.0, 0.25, 0.8, -0.3
    u, v = a * x + b * y, p * x + q * y
    got = numerical_gradient(
        lambda at: (a * at[0] + b * at[1]) ** 2 + (p * at[0] + q * at[1]) ** 2,
        array(device, (x, y)),
    )
    assert_near(got, [2 * a * u + 2 * p * v, 2 * b * u + 2 * q * v], CENTRAL)


def test_lagrange_multiplier(device):
    """x + y on the circle x^2 + y^2 = 1: L is level at x = y = lambda = -1/sqrt(2), and there."""
    r = 1 / sqrt(2)

    def lagrange(v):
        return v[0] + v[1] - v[2] * (v[0] ** 2 + v[1] ** 2 - 1)

    for at in (-r, r):
        assert_near(numerical_gradient(lagrange, array(device, [at] * 3)), [0, 0, 0], CENTRAL)
    angle = np.linspace(0, 2 * pi, 3601)
    assert np.min(np.cos(angle) + np.sin(angle)) == pytest.approx(-sqrt(2), abs=1e-6)


def test_first_order_approximations(device):
    """exp(x) by 1 + x and exp(x + y) by 1 + x + y, where the exponent is within 0.01."""
    x = array(device, np.linspace(-0.01, 0.01, 41))
    assert float(device.xp.max(device.xp.abs(device.xp.exp(x) - (1 + x)))) < 6e-5
    y = array(device, [0.004, -0.003])
    gradient = numerical_gradient(lambda v: device.xp.exp(v[0] + v[1]), array(device, [0, 0]))
    change = float(device.xp.exp(y[0] + y[1])) - 1
    assert change == pytest.approx(float(similarity(gradient, y)), abs=6e-5)


# Gradient descent, sections 2-10 and 2-11


def bowl(x):
    """Gradient of x^2 + y^2."""
    return 2 * x


# Columns: i, x, y, dz/dx, dz/dy, delta x, delta y, z
TABLE = np.array([
    (0, 3.00, 2.00, 6.00, 4.00, -0.60, -0.40, 13.00),
    (1, 2.40, 1.60, 4.80, 3.20, -0.48, -0.32, 8.32),
    (2, 1.92, 1.28, 3.84, 2.56, -0.38, -0.26, 5.32),
    (3, 1.54, 1.02, 3.07, 2.05, -0.31, -0.20, 3.41),
    (4, 1.23, 0.82, 2.46, 1.64, -0.25, -0.16, 2.18),
    (5, 0.98, 0.66, 1.97, 1.31, -0.20, -0.13, 1.40),
    (28, 0.01, 0.00, 0.01, 0.01, 0.00, 0.00, 0.00),
    (29, 0.00, 0.00, 0.01, 0.01, 0.00, 0.00, 0.00),
    (30, 0.00, 0.00, 0.01, 0.00, 0.00, 0.00, 0.00),
])  # fmt: skip


def test_table_of_gradient_descent(device):
    path = to_numpy(gradient_descent(bowl, array(device, (3, 2)), eta=0.1, n=31))
    z = np.sum(path**2, axis=1)
    rows = np.concatenate(
        [np.arange(31)[:, None], path[:31], bowl(path)[:31], np.diff(path, axis=0), z[:31, None]],
        axis=1,
    )
    assert_near(rows[TABLE[:, 0].astype(int)], TABLE, P2)
    i = np.arange(32)[:, None]
    assert_near(path, np.array([3, 2]) * 0.8**i, X)
    assert_near(z, 13 * 0.64 ** i[:, 0], X)
    assert np.all(np.diff(z) < 0)


def test_descent_goes_against_the_gradient(device):
    """At (1, 2) the step is -eta (2, 4)."""
    path = gradient_descent(bowl, array(device, (1, 2)), eta=0.05, n=1)
    assert_near(path[1, :] - path[0, :], [-0.1, -0.2], X)


def test_descent_in_one_variable():
    assert_near(gradient_descent(lambda x: 4 * x - 4, 0.0, eta=0.2, n=30)[-1], 1, CENTRAL)


def test_the_start_is_not_altered(device):
    start = array(device, (3, 2))
    gradient_descent(bowl, start, eta=0.1, n=2)
    assert_near(start, [3, 2])


def test_numerical_gradients_lead_the_same_way():
    """Also from a start that cannot be written to."""
    start = np.array([3.0, 2.0])
    start.flags.writeable = False
    _, path = xpnet.gradient_descent(
        lambda x: np.sum(x**2), start, lr=0.1, step_num=30, return_path=True
    )
    assert_near(path, gradient_descent(bowl, start, eta=0.1, n=30), {"rtol": 0, "atol": 1e-10})


def test_steps_of_given_length(device):
    path = to_numpy(gradient_descent(bowl, array(device, (3, 2)), 0.1, 2, normalised=True))
    assert_near(path, [[3, 2], [2.916795, 1.944530], [2.833590, 1.889060]], D)
    assert_near(np.hypot(*bowl(path).T), [7.211103, 7.011103, 6.811103], D)
    assert_near(np.hypot(*np.diff(path, axis=0).T), [0.1, 0.1], X)


def test_steps_of_given_length_stay_where_it_is_level(device):
    path = gradient_descent(bowl, array(device, (0, 0)), 0.1, 2, normalised=True)
    assert_near(path, np.zeros((3, 2)))


@pytest.mark.parametrize(("eta", "ratio"), [(0.001, 0.996004), (0.5, 0), (0.9, 0.64), (1.1, 1.44)])
def test_the_learning_rate_decides_whether_it_converges(device, eta, ratio):
    """On the bowl each step multiplies z by (1 - 2 eta)^2."""
    z = np.sum(to_numpy(gradient_descent(bowl, array(device, (3, 2)), eta, 10)) ** 2, axis=1)
    assert_near(z, 13 * ratio ** np.arange(11), {"rtol": 1e-9, "atol": 1e-12})


# Regression, section 2-12

HEIGHT = (153.3, 164.9, 168.1, 151.5, 157.8, 156.7, 161.1)
WEIGHT = (45.5, 56.0, 55.0, 52.8, 55.6, 50.8, 56.4)


def test_line_through_seven_pairs():
    line = np.array(fit_line(HEIGHT, WEIGHT))
    assert_near(line, [0.41, -12.06, 27.86], {"rtol": 0, "atol": 0.005})
    assert_near(line, [0.4100070, -12.0573932, 27.8589967], {"rtol": 0, "atol": 1e-6})
    assert_near(np.dot(HEIGHT, HEIGHT), 177311.70, {"rtol": 0, "atol": 0.005})
    assert_near(np.dot(HEIGHT, WEIGHT), 59274.33, {"rtol": 0, "atol": 0.005})


def test_line_through_three_pairs():
    x, y = np.array([7, 5, 9]), np.array([8, 4, 8])
    p, q, cost = fit_line(x, y)
    assert_near(np.array([p, q, cost]), [1, -1 / 3, 4 / 3], X)
    assert_near(np.array([155 * p + 21 * q, 21 * p + 3 * q]), [148, 20], X)


@pytest.mark.parametrize("line", [(HEIGHT, WEIGHT), ([7, 5, 9], [8, 4, 8])])
def test_the_cost_is_level_at_the_line(line):
    x, y = (np.asarray(values, dtype=float) for values in line)
    best = np.array(fit_line(x, y)[:2])
    gradient = numerical_gradient(lambda v: np.sum((y - v[0] * x - v[1]) ** 2) / 2, best)
    assert_near(gradient, [0, 0], {"rtol": 0, "atol": 1e-3})  # of costs by sums of 1e5 x^2


@pytest.mark.parametrize(
    ("x", "y"), [([1.0], [2.0]), ([1.0, 1.0], [2.0, 3.0]), ([1.0, 2.0], [1.0])]
)
def test_a_line_needs_two_data(x, y):
    with pytest.raises(ArgumentError) as caught:
        fit_line(x, y)
    assert str(caught.value) == (
        f"fit_line needs as many y as x, and at least two different x, got {x} and {y}"
    )
