"""The Mathematics of Deep Learning, chapters 3 and 4: M1, by a minimiser and by backpropagation."""

import sys

import numpy as np
import pytest

from tolerances import E12, assert_near
from wakui_book import (
    IMAGE_1,
    IMAGE_2,
    IMAGE_3,
    IMAGE_64,
    IN_BOTH,
    ONE,
    P3,
    P3_SUM,
    P3_UPDATE,
    ZERO,
    D,
    assert_params,
    images_of_the_book,
)
from xpnet import SGD, to_numpy
from xpnet.arrays import Device
from xpnet.books.wakui import (
    M1,
    M1_SOLVER,
    SquaredError,
    m1_parameters,
    minimise,
    train,
    worksheet,
)
from xpnet.data.tiny import draw_tiny_images, parse_images
from xpnet.errors import ArgumentError
from xpnet.functions.losses import sigmoid_cross_entropy

SMALL = np.concatenate([IMAGE_1, IMAGE_2, IMAGE_3, IMAGE_64]), np.array([*3 * ZERO, *ONE])


def test_an_image_is_a_row_of_twelve():
    """Section 3-1, examples 4 and 5: z_1 adds the weights of the pixels that are ink."""
    x = parse_images("110/010/010/010")
    assert_near(x.reshape(12), [1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0])
    net = M1()
    w, b = net.params["W1"][:, 0], net.params["b1"][0]
    z = worksheet(net, x, ONE).outputs["z2"][0, 0]
    assert_near(z, w[0] + w[1] + w[4] + w[7] + w[10] + b, E12)


def test_m1_has_47_parameters(device):
    assert M1(device=device).params.count == 47


@pytest.mark.parametrize(
    ("image", "target", "printed", "derived"),
    [
        (
            IMAGE_1,
            ZERO,
            {"z2": (-2.979, 1.828, 0.121), "a2": (0.048, 0.862, 0.530), "a3": (0.747, 0.168)},
            {
                "z2": (-2.978, 1.828, 0.120),
                "a2": (0.048430, 0.861523, 0.529964),
                "z3": (1.081973, -1.596853),
                "a3": (0.746867, 0.168422),
                "C": 0.046221,
            },
        ),
        (
            IMAGE_2,
            ZERO,
            {"z2": (-6.193, 5.872, 1.833)},
            {
                "z2": (-6.192, 5.872, 1.832),
                "a2": (0.002042, 0.997191, 0.862000),
                "z3": (3.732302, -2.287870),
                "a3": (0.976622, 0.092133),
                "C": 0.004517,
            },
        ),
        (
            IMAGE_64,
            ONE,
            {"z2": (-4.069, 4.562, -0.797)},
            {
                "z2": (-4.069, 4.562, -0.797),
                "a2": (0.016807, 0.989667, 0.310668),
                "z3": (0.522215, -0.443712),
                "a3": (0.627666, 0.390857),
                "C": 0.382510,
            },
        ),
    ],
)
@IN_BOTH
def test_forward_from_the_minimisers_start(device, image, target, printed, derived, dtype, tol):
    """Section 3-5."""
    net = M1(M1_SOLVER, device=device, dtype=dtype)
    got = worksheet(net, image, target)
    values = got.outputs | {"C": got.cost[None]}
    for table, of_table in ((printed, P3), (derived, tol)):
        for name, want in table.items():
            assert_near(values[name][0, ...], want, of_table)


@pytest.mark.parametrize(
    ("image", "target", "c"), [(IMAGE_1, ZERO, 1.271894), (IMAGE_64, ONE, 2.413931)]
)
def test_cross_entropy(device, image, target, c):
    """Section 3-3, memo: its mean over the examples."""
    net = M1(device=device)
    for copies in (1, 3):
        x, t = np.repeat(image, copies, axis=0), np.repeat(target, copies, axis=0)
        z = worksheet(net, x, t).outputs["z3"]
        assert_near(sigmoid_cross_entropy(z, device.asarray(t, dtype="float64"))[0], c, D)


# What the worksheets of section 4-4 show at iteration 1, printed and derived.
WORKSHEETS = [
    (
        IMAGE_1,
        ZERO,
        {
            "z2": (-5.465, 1.997, -1.552),
            "a2": (0.004, 0.881, 0.175),
            "z3": (-0.724, -1.804),
            "a3": (0.327, 0.141),
            "C": 0.2368,
            "da3": (-0.673, 0.141),
            "dz3": (-0.148, 0.017),
            "da2": (-0.057, -0.133, 0.022),
            "dz2": (0.000, -0.014, 0.003),
            "W3": ((-0.001, -0.13, -0.026), (0.000, 0.015, 0.003)),
            "b3": (-0.148, 0.017),
            "a'(z2)": (0.004, 0.105, 0.144),
            "a'(z3)": (0.220, 0.121),
        },
        {
            "z2": (-5.467, 1.998, -1.554),
            "a2": (0.004206, 0.880587, 0.174509),
            "z3": (-0.724196, -1.803546),
            "a3": (0.326470, 0.141420),
            "C": 0.236821,
            "dz3": (-0.148101, 0.017171),
            "dz2": (-0.000239, -0.013932, 0.003223),
            "W3": ((-0.000623, -0.130416, -0.025845), (0.000072, 0.015121, 0.002997)),
        },
    ),
    (
        IMAGE_64,
        ONE,
        {
            "z2": (-0.090, 2.483, -1.392),
            "a2": (0.477, 0.923, 0.199),
            "z3": (-0.505, -1.788),
            "a3": (0.376, 0.143),
            "C": 0.4377,
            "da3": (0.376, -0.857),
            "dz3": (0.088, -0.105),
            "da2": (0.032, 0.154, -0.161),
            "dz2": (0.008, 0.011, -0.026),
            "W3": ((0.042, 0.081, 0.018), (-0.050, -0.097, -0.021)),
            "b3": (0.088, -0.105),
            "a'(z2)": (0.249, 0.071, 0.159),
            "a'(z3)": (0.235, 0.123),
        },
        {
            "z2": (-0.092, 2.484, -1.393),
            "a2": (0.477016, 0.923013, 0.198929),
            "z3": (-0.505970, -1.787317),
            "a3": (0.376139, 0.143402),
            "C": 0.437620,
            "dz3": (0.088264, -0.105223),
            "dz2": (0.007887, 0.010943, -0.025633),
            "W3": ((0.042103, 0.081469, 0.017558), (-0.050193, -0.097122, -0.020932)),
        },
    ),
]


@pytest.mark.parametrize(("image", "target", "printed", "derived"), WORKSHEETS)
@IN_BOTH
def test_worksheet_of_an_image(device, image, target, printed, derived, dtype, tol):
    net = M1(device=device, dtype=dtype)
    got = worksheet(net, image, target)
    grads = net.gradient(image, device.asarray(target, dtype=dtype))
    rows = {name: values[0, ...] for name, values in got.outputs.items()}
    values = {
        **rows,
        **{f"d{name}": values[0, ...] for name, values in got.errors.items()},
        "C": got.cost,
        "W3": grads["W2"].T,
        "b3": grads["b2"],
        "a'(z2)": rows["a2"] * (1 - rows["a2"]),
        "a'(z3)": rows["a3"] * (1 - rows["a3"]),
    }
    for table, of_table in ((printed, P3), (derived, tol)):
        for name, want in table.items():
            assert_near(values[name], want, of_table)
    # The derivative by a hidden unit's weights is its delta times the picture.
    picture = np.outer(image.reshape(12), to_numpy(values["dz2"]))
    assert_near(grads["W1"], picture, {"rtol": 1e-6, "atol": 0})
    assert_near(grads["b1"], to_numpy(values["dz2"]), {"rtol": 1e-6, "atol": 0})


def test_errors_in_matrix_form():
    """delta3 = dC/da3 * a'(z3) and delta2 = (W3^T delta3) * a'(z2), with W3 (2, 3)."""
    net = M1()
    _, outputs, errors = worksheet(net, *SMALL)
    a2, a3, W3 = outputs["a2"], outputs["a3"], net.params["W2"].T
    delta3 = (a3 - SMALL[1]) * a3 * (1 - a3)
    assert_near(errors["z3"], delta3, E12)
    assert_near(errors["z2"], (W3.T @ delta3.T).T * a2 * (1 - a2), E12)


def test_a_single_image_needs_no_batch(device):
    net = M1(device=device)
    x, t = (device.asarray(values) for values in (IMAGE_1.reshape(12), np.array([1.0, 0.0])))
    assert_near(net.loss(x, t), float(net.loss(IMAGE_1, np.array(ZERO))), E12)
    assert_params(
        net.gradient(x, t),
        {k: to_numpy(g) for k, g in net.gradient(IMAGE_1, np.array(ZERO)).items()},
        E12,
    )


@pytest.mark.parametrize("start", ["M1_BACKPROP", "M1_SOLVER"])
def test_gradient_against_central_differences(start):
    net = M1(M1_SOLVER) if start == "M1_SOLVER" else M1()
    want = net.numerical_gradient(*SMALL)
    assert_params(net.gradient(*SMALL), want, {"rtol": 0, "atol": 1e-8})


@pytest.mark.parametrize(
    ("a", "t", "c"), [([1, 0], [0, 1], 1), ([0, 1, 1], [1, 0, 0], 1.5), ([1, 0], [1, 0], 0)]
)
def test_the_largest_cost_of_an_image(device, a, t, c):
    """1 for M1 and 3/2 for M2."""
    a, t = (device.asarray([values, values], dtype="float64") for values in (a, t))
    cost, backward = SquaredError().forward(a, t)
    assert_near(cost, 2 * c)
    assert_near(backward(), to_numpy(a - t))
    assert_near(backward(3.0), 3 * to_numpy(a - t))


def test_costs_and_gradients_are_sums_over_examples(device):
    net = M1(device=device)
    x, t = SMALL
    each = [worksheet(net, x[i : i + 1], t[i : i + 1]) for i in range(4)]
    costs = [float(sheet.cost) for sheet in each]
    assert_near(np.array(costs), [0.236821, 0.242554, 0.254284, 0.437620], D)
    assert_near(net.loss(x, t), sum(costs), E12)
    grads = [net.gradient(x[i : i + 1], t[i : i + 1]) for i in range(4)]
    for name, whole in net.gradient(x, t).items():
        assert_near(whole, sum(to_numpy(g[name]) for g in grads), {"rtol": 0, "atol": 1e-14})


@IN_BOTH
def test_four_images(device, dtype, tol):
    x, t = SMALL
    net = M1(device=device, dtype=dtype)
    grads = net.gradient(x, t)
    assert_near(grads["b1"], (0.007281, -0.047542, -0.019602), tol)
    want = ((0.040524, -0.278193, -0.031354), (-0.050020, -0.058053, -0.015532))
    assert_near(grads["W2"].T, want, tol)
    assert_near(grads["b2"], (-0.354658, -0.057229), tol)
    costs = np.array(train(net, x, t))
    want = (1.171280, 1.122511, 1.075359, 0.850095, 0.713875, 0.575157)
    assert_near(costs[[0, 1, 2, 9, 24, 49]], want, tol)


def test_training_leaves_the_parameters_of_the_last_iteration():
    x, t = SMALL
    net, other = M1(), M1()
    costs = train(net, x, t, eta=0.3, n_iter=3)
    assert float(net.loss(x, t)) == costs[-1]
    for _ in range(2):
        SGD(lr=0.3).update(other.params, other.gradient(x, t))
    assert_params(net.params, dict(other.params), E12)
    assert train(net, x, t, n_iter=0) == []


# Iteration 1 of section 4-4 over the 64 images, and the parameters and gradient of iteration 2.
GRADIENT_1 = m1_parameters(
    """
     0.040  0.068 -0.022 -0.015  0.103 -0.013 -0.014  0.093 -0.022  0.000  0.080 -0.011  0.082
    -0.019  0.193 -0.295 -0.481  0.589 -0.394 -0.534  0.645 -0.413 -0.287  0.187 -0.396  0.121
    -0.491 -0.794  0.037  0.016 -0.959 -0.086  0.016 -0.922 -0.129 -0.117 -0.889 -0.163 -0.932
    """,
    """
     0.542 -1.939 -0.135 -2.491
    -1.158 -2.106 -1.028 -3.263
    """,
)
PARAMETERS_2 = m1_parameters(
    """
    0.482  0.335 0.077 0.840 -0.091 -3.614 -0.533 -0.041 -1.713 -1.456 -0.572  0.855 -0.201
    0.446 -0.575 1.067 1.168 -0.851  0.902 -0.346 -0.143  0.055 -0.369  1.838 -2.226  0.501
    0.753 -1.230 1.239 0.054  0.009 -0.726 -0.464  0.516  0.475 -1.273  1.746 -0.438 -0.982
    """,
    """
    0.280  1.191 0.056 -0.940
    0.257 -0.369 1.759 -0.727
    """,
)
GRADIENT_2 = m1_parameters(
    """
     0.010 -0.004 -0.003 -0.003  0.006 -0.003 -0.004  0.005 -0.003 -0.016  0.009 -0.014  0.001
     0.009  0.321 -0.317 -0.554  0.751 -0.443 -0.645  0.847 -0.499 -0.308  0.340 -0.533  0.222
    -0.074 -0.625  0.562  0.615 -1.078  0.401  0.549 -1.019  0.483  0.113 -0.620  0.291 -0.538
    """,
    """
     0.928 -0.494  0.773 -0.136
    -0.971 -0.336 -0.883 -1.314
    """,
)


def test_first_iterations_on_the_books_images(device):
    images = images_of_the_book("M1")
    net = M1(device=device)
    assert_params(net.gradient(images.x, images.t), GRADIENT_1, P3_SUM)
    costs = train(net, images.x, images.t, n_iter=2)
    assert_near(np.array(costs), (20.255, 14.428), P3_SUM)
    assert_near(costs[0], 20.2545, {"rtol": 0, "atol": 5e-5})
    assert_params(net.params, PARAMETERS_2, P3_UPDATE)
    assert_params(net.gradient(images.x, images.t), GRADIENT_2, P3_SUM)


def test_backpropagation_on_the_books_images(device):
    """Section 4-4: the published costs, and the weights of iteration 50 on an unseen 1."""
    images = images_of_the_book("M1")
    net = M1(device=device)
    costs = np.array(train(net, images.x, images.t))
    published = (20.255, 14.428, 2.488, 0.810, 0.245)
    assert_near(costs[[0, 1, 9, 24, 49]], published, {"rtol": 0, "atol": 0.002})
    assert np.all(np.diff(costs) < 0)
    assert net.accuracy(images.x, images.t) == 1

    image = parse_images("011/010/010/010")
    _, outputs, _ = worksheet(net, image, ONE)
    tol = {"rtol": 0, "atol": 0.005}
    assert_near(outputs["z2"], [(1.424, -3.337, 5.782)], tol)
    assert_near(outputs["a2"], [(0.806, 0.034, 0.997)], tol)
    slope = outputs["a2"] * (1 - outputs["a2"])
    assert_near(slope, [(0.156, 0.033, 0.003)], tol)
    assert_near(outputs["z3"], [(-4.294, 4.184)], tol)
    assert_near(outputs["a3"], [(0.013, 0.985)], tol)
    assert_near(net.decide(image), [1])
    assert_near(net.decide(parse_images("010/101/101/110")), [0])


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "CG"])
def test_minimiser_on_the_books_images(method):
    """Section 3-5: 18.347, 0.000, and an unseen 0."""
    pytest.importorskip("scipy", reason="scipy is not installed")
    images = images_of_the_book("M1")
    net = M1(M1_SOLVER)
    costs = minimise(net, images.x, images.t, method=method)
    assert_near(costs[0], 18.347, P3_SUM)
    assert_near(costs[0], 18.3486, {"rtol": 0, "atol": 5e-5})
    assert costs[-1] < 1e-5
    assert len(costs) <= 51
    assert float(net.loss(images.x, images.t)) == pytest.approx(costs[-1], rel=1e-9)
    assert net.accuracy(images.x, images.t) == 1
    zero = parse_images("010/101/101/110")
    assert_near(net.predict(zero), ZERO, {"rtol": 0, "atol": 0.05})
    assert_near(net.decide(zero), [0])


def test_minimiser_on_drawn_images(strict_device: Device):
    """On a device that is not the host, with what anybody has."""
    pytest.importorskip("scipy", reason="scipy is not installed")
    images = draw_tiny_images("M1")
    net = M1(M1_SOLVER, device=strict_device)
    costs = minimise(net, images.x, images.t, method="BFGS", n_iter=15)
    assert len(costs) == 16
    assert np.all(np.diff(costs) < 0)
    assert costs[-1] < 0.1 * costs[0]
    assert net.accuracy(images.x, images.t) > 0.95


def test_the_network_gets_what_the_minimiser_found():
    """And not what it tried last."""
    optimize = pytest.importorskip("scipy.optimize", reason="scipy is not installed")

    def wanders_off(f, start, **_):
        f(start + 1.0)
        return optimize.OptimizeResult(x=start + 0.5, success=True)

    net, start = M1(), M1()
    costs = minimise(net, *SMALL, method=wanders_off)
    assert costs == [float(start.loss(*SMALL))]
    for name, values in net.params.items():
        assert_near(values, start.params[name] + 0.5, E12)


def test_minimiser_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ArgumentError) as caught:
        minimise(M1(), *SMALL)
    text = "minimise needs SciPy, which is not installed: pip install 'xpnet[minimise]'"
    assert str(caught.value) == text


def test_labels_will_do_as_targets(device):
    """The place of the digit among the outputs."""
    x, t = SMALL
    net = M1(device=device)
    assert_near(net.loss(x, np.argmax(t, axis=1)), float(net.loss(x, t)), E12)


def test_other_parameters_are_refused():
    with pytest.raises(ArgumentError) as caught:
        M1({"W1": np.zeros((12, 3)), "b3": np.zeros(3)})
    assert str(caught.value) == "M1 starts from W1, b1, W2, b2, got W1, b3; give these"
