"""The Mathematics of Deep Learning, chapter 5 and appendix C: M2, the convolutional network."""

from itertools import combinations

import numpy as np
import pytest

from tolerances import E12, assert_near
from wakui_book import IN_BOTH, P2, P3, P3_SUM, P3_UPDATE, D, X, assert_params, images_of_the_book
from xpnet import AveragePool, MaxPool, sigmoid, to_numpy
from xpnet.books.wakui import (
    M2,
    feature_map,
    l2_pool,
    m2_parameters,
    minimise,
    similarity,
    train,
    worksheet,
)
from xpnet.data.tiny import draw_tiny_images, parse_images

IMAGE_1 = parse_images("000100/000100/000100/000100/000100/000100")
IMAGE_96 = parse_images("001110/010011/000110/000010/010011/001110")
IMAGE_2 = parse_images("001100/010010/000010/000100/001000/011110")  # of section 5-2
ONE, TWO, THREE = np.eye(3)[:, np.newaxis]
SMALL = np.concatenate([IMAGE_1, IMAGE_96]), np.concatenate([ONE, THREE])

SLASH = [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def slash(device, image, bias=0.0):
    f = device.asarray(SLASH, dtype="float64")
    return feature_map(device.asarray(image), f, bias)


# The filter of sections 5-2 and 5-3


def test_feature_map_of_the_slash_on_a_2(device):
    want = [[2, 1, 0, 1], [0, 0, 1, 2], [0, 0, 3, 0], [0, 3, 1, 1]]
    assert_near(slash(device, IMAGE_2)[0, 0, ...], want, X)


def test_a_feature_map_is_made_of_similarities(device):
    """Appendix C: of each window the inner product, the number of pixels that are ink in both."""
    maps = to_numpy(slash(device, IMAGE_96))
    f = device.asarray(SLASH, dtype="float64")
    for i in range(4):
        for j in range(4):
            window = np.ascontiguousarray(IMAGE_96[0, 0, i : i + 3, j : j + 3])
            got = similarity(device.asarray(window), f)
            assert_near(got, maps[0, 0, i, j], X)
            assert_near(got, np.sum((window == 1) & (np.array(SLASH) == 1)), X)


def test_the_filter_is_not_turned_round(device):
    f = device.asarray([[0, 0, 1], [0, 0, 0], [0, 0, 0]], dtype="float64")
    assert_near(feature_map(device.asarray(IMAGE_96), f)[0, 0, ...], IMAGE_96[0, 0, :4, 2:], X)


def test_bias_of_minus_1(device):
    """Section 5-2: -1, not the -3 of the table of section 5-3."""
    a = sigmoid(slash(device, IMAGE_2, -1.0))
    want = [
        [0.731, 0.5, 0.269, 0.5],
        [0.269, 0.269, 0.5, 0.731],
        [0.269, 0.269, 0.881, 0.269],
        [0.269, 0.881, 0.5, 0.5],
    ]
    assert_near(a[0, 0, ...], want, {"rtol": 0, "atol": 5e-4})
    pooled, _ = MaxPool(2, stride=2).forward(a)
    assert_near(pooled[0, 0, ...], [[0.7311, 0.7311], [0.8808, 0.8808]], {"rtol": 0, "atol": 5e-5})


TABLE = [
    [0.27, 0.12, 0.05, 0.12],
    [0.05, 0.05, 0.12, 0.27],
    [0.05, 0.05, 0.50, 0.05],
    [0.05, 0.50, 0.12, 0.12],
]


def test_table_of_the_pooling_example_has_bias_minus_3(device):
    assert_near(sigmoid(slash(device, IMAGE_2, -3.0))[0, 0, ...], TABLE, P2)


@pytest.mark.parametrize(
    ("pool", "want", "tol"),
    [
        (lambda x: MaxPool(2, stride=2).forward(x)[0], [[0.27, 0.27], [0.50, 0.50]], X),
        (lambda x: AveragePool(2, stride=2).forward(x)[0], [[0.1225, 0.1400], [0.1625, 0.1975]], X),
        (l2_pool, [[0.303809, 0.322800], [0.507445, 0.530377]], D),
    ],
)
def test_kinds_of_pooling(device, pool, want, tol):
    x = device.asarray([[TABLE]], dtype="float64")
    assert_near(pool(x)[0, 0, ...], want, tol)


@pytest.mark.parametrize(
    ("image", "rows", "pooled"),
    [
        (IMAGE_1, [[0, 1, 1, 1]] * 4, 0.1192),
        (IMAGE_96, [[2, 1, 1, 2], [0, 0, 2, 2], [0, 2, 1, 1], [1, 0, 2, 2]], 0.2689),
    ],
)
def test_the_slash_on_a_1_and_a_3(device, image, rows, pooled):
    """Section 5-2, problem: neither pools to what the 2 does, 0.5."""
    assert_near(slash(device, image)[0, 0, ...], rows, X)
    got, _ = MaxPool(2, stride=2).forward(sigmoid(slash(device, image, -3.0)))
    assert_near(got[0, 0, ...], np.full((2, 2), pooled), {"rtol": 0, "atol": 5e-5})
    assert pooled < float(sigmoid(device.asarray(0.0, dtype="float64")))


# M2


def test_m2_has_69_parameters(device):
    net = M2(device=device)
    assert net.params.count == 69
    shapes = {"zF": (3, 4, 4), "aF": (3, 4, 4), "P": (3, 2, 2), "zO": (3,), "aO": (3,)}
    assert net.output_shapes == shapes


FORWARD = [
    (
        IMAGE_1,
        ONE,
        {
            "zF": [
                [(-3.363, -3.994, -5.316, -4.296)] * 4,
                [(-3.176, -4.828, -2.382, -4.823)] * 4,
                [(-1.739, -5.768, -3.109, -5.118)] * 4,
            ],
            "aF": [
                [(0.033, 0.018, 0.005, 0.013)] * 4,
                [(0.040, 0.008, 0.085, 0.008)] * 4,
                [(0.149, 0.003, 0.043, 0.006)] * 4,
            ],
            "P": [[(0.033, 0.013)] * 2, [(0.040, 0.085)] * 2, [(0.149, 0.043)] * 2],
            "zO": (1.300, -2.106, -1.841),
            "aO": (0.786, 0.109, 0.137),
            "C": 0.038,
        },
        {
            "zO": (1.300684, -2.105347, -1.841031),
            "aO": (0.785950, 0.108578, 0.136929),
            "C": 0.038178,
        },
    ),
    (
        IMAGE_96,
        THREE,
        {
            "zF": [
                [
                    (-5.403, -1.645, -4.826, -9.052),
                    (-3.817, -6.304, -6.391, -3.820),
                    (-2.464, -3.799, -4.448, -5.918),
                    (-5.085, -0.651, -3.889, -7.775),
                ],
                [
                    (-1.214, 0.213, -4.969, -6.732),
                    (-0.838, -6.504, -5.168, 0.569),
                    (-4.381, -1.897, -2.490, -5.556),
                    (-5.415, -5.631, -7.055, -5.458),
                ],
                [
                    (-5.120, -2.488, -6.916, -7.723),
                    (0.305, -6.554, -7.859, -6.109),
                    (-3.062, -2.828, -3.724, -4.771),
                    (-3.623, -4.565, -6.890, -5.853),
                ],
            ],
            "P": [
                [(0.162, 0.021), (0.343, 0.020)],
                [(0.553, 0.638), (0.130, 0.077)],
                [(0.576, 0.002), (0.056, 0.024)],
            ],
            "zO": (-1.654, -1.898, -0.081),
            "aO": (0.161, 0.130, 0.480),
            "C": 0.157,
        },
        {
            "zO": (-1.652412, -1.898176, -0.081070),
            "aO": (0.160783, 0.130315, 0.479744),
            "C": 0.156750,
        },
    ),
    (
        IMAGE_2,
        TWO,
        {},
        {
            "zO": (-3.044935, 0.641413, -1.553159),
            "aO": (0.045437, 0.655073, 0.174630),
            "C": 0.075768,
        },
    ),
]


@pytest.mark.parametrize(("image", "target", "printed", "derived"), FORWARD)
@IN_BOTH
def test_forward_of_an_image(device, image, target, printed, derived, dtype, tol):
    """Sections 5-4 and 5-6, iteration 1."""
    got = worksheet(M2(device=device, dtype=dtype), image, target)
    values = {name: array[0, ...] for name, array in got.outputs.items()} | {"C": got.cost}
    for table, of_table in ((printed, P3), (derived, tol)):
        for name, want in table.items():
            assert_near(values[name], want, of_table)


BACKWARD_1 = {
    "dzO": (-0.036, 0.011, 0.016),
    "dzF": [
        [(0, 0, 0, 0)] * 2 + [(0.002, 0, 0, 0)] * 2,
        [(0.006, 0, 0.002, 0)] * 2 + [(-0.002, 0, 0.002, 0)] * 2,
        [(0.010, 0, 0.003, 0)] * 2 + [(0.008, 0, -0.001, 0)] * 2,
    ],
}
GRADIENT_OF_1 = m2_parameters(
    """
    0 0     0 0 0     0 0 0     0 0.004
    0 0.007 0 0 0.007 0 0 0.007 0 0.016
    0 0.005 0 0 0.005 0 0 0.005 0 0.040
    """,
    """
    -0.001 0 -0.001 0 -0.001 -0.003 -0.001 -0.003 -0.005 -0.002 -0.005 -0.002 -0.036
     0     0  0     0  0      0.001  0      0.001  0.002  0      0.002  0      0.011
     0.001 0  0.001 0  0.001  0.001  0.001  0.001  0.002  0.001  0.002  0.001  0.016
    """,
)


def test_backward_of_image_1_as_printed(device):
    """Section 5-6. In this image every block of four cells has its maximum twice."""
    net = M2(device=device)
    errors = worksheet(net, IMAGE_1, ONE).errors
    for name, want in BACKWARD_1.items():
        assert_near(errors[name[1:]][0, ...], want, P3)
    assert_params(net.gradient(IMAGE_1, ONE), GRADIENT_OF_1, P3)


@IN_BOTH
def test_backward_of_image_1(device, dtype, tol):
    net = M2(device=device, dtype=dtype)
    errors, grads = worksheet(net, IMAGE_1, ONE).errors, net.gradient(IMAGE_1, ONE)
    assert_near(errors["zO"], [(-0.036010, 0.010509, 0.016182)], tol)
    filters = [[(-0.000077, 0, 0)] * 3, [(0, 0.007112, 0)] * 3, [(0, 0.005484, 0)] * 3]
    assert_near(grads["W1"][:, 0, ...], filters, tol)
    assert_near(grads["b1"], (0.004039, 0.015839, 0.040047), tol)


def test_one_maximum_a_block_gives_half(device):
    grads = M2(ties="first", device=device).gradient(IMAGE_1, ONE)
    assert_near(grads["b1"], (0.002019, 0.007920, 0.020024), D)


@IN_BOTH
def test_backward_of_image_96(device, dtype, tol):
    """Without ties."""
    net = M2(device=device, dtype=dtype)
    errors, grads = worksheet(net, IMAGE_96, THREE).errors, net.gradient(IMAGE_96, THREE)
    assert_near(errors["zO"], [(0.021695, 0.014769, -0.129851)], tol)
    assert_near(grads["b1"], (-0.089049, 0.005214, -0.041010), tol)
    filters = [
        [
            (0, 0.023328, 0.024114),
            (-0.089835, 0.000856, 0.000786),
            (0.000786, -0.111522, -0.089905),
        ],
        [
            (0, -0.026429, 0.005214),
            (-0.042603, -0.009498, 0.016174),
            (0.031643, -0.009498, -0.016932),
        ],
        [
            (0, -0.042503, 0.005153),
            (0.000095, 0.000095, 0.003565),
            (0.001493, 0.000095, 0.003565),
        ],
    ]
    assert_near(grads["W1"][:, 0, ...], filters, tol)


def test_errors_of_the_feature_maps_by_the_books_formula():
    """delta^F = (sum over n of delta^O_n w_n of its pooled cell) [maximum or not] a'(z), eq. 25."""
    net = M2()
    _, outputs, errors = worksheet(net, *SMALL)
    W = net.params["W2"].T.reshape(3, 3, 2, 2)
    a, pooled = outputs["aF"], outputs["P"]
    for i in range(4):
        for j in range(4):
            cell = i // 2, j // 2
            share = errors["zO"] @ W[:, :, *cell]
            top = a[:, :, i, j] == pooled[:, :, *cell]
            want = share * top * a[:, :, i, j] * (1 - a[:, :, i, j])
            assert_near(errors["zF"][:, :, i, j], want, E12)


def test_gradient_against_central_differences():
    """At image 96: where cells are tied the slopes of both sides differ."""
    net = M2()
    want = net.numerical_gradient(IMAGE_96, THREE)
    assert_params(net.gradient(IMAGE_96, THREE), want, {"rtol": 0, "atol": 1e-8})


def blocks(cells):
    """(..., 4, 4) as (..., block, cell)."""
    rows = cells.reshape(*cells.shape[:-2], 2, 2, 2, 2)
    return np.swapaxes(rows, -3, -2).reshape(*cells.shape[:-2], 4, 4)


@IN_BOTH
def test_equal_windows_of_a_block_have_equal_sums(device, dtype, tol):
    """To the last bit, which the rule for ties rests on."""
    x = np.concatenate([draw_tiny_images("M2").x, IMAGE_1])
    z = blocks(
        to_numpy(worksheet(M2(device=device, dtype=dtype), x, np.zeros((97, 3))).outputs["zF"])
    )
    number = 2.0 ** np.arange(9).reshape(3, 3)
    window = blocks(feature_map(x, number))
    pairs = list(combinations(range(4), 2))
    equal = np.stack([window[..., a] == window[..., b] for a, b in pairs], axis=-1)
    assert np.sum(equal) > 50
    apart = np.stack([z[..., a] != z[..., b] for a, b in pairs], axis=-1)
    assert not np.any(equal & apart)


@IN_BOTH
def test_two_images(device, dtype, tol):
    x, t = SMALL
    net = M2(device=device, dtype=dtype)
    grads = net.gradient(x, t)
    assert_near(grads["b1"], (-0.085011, 0.021053, -0.000962), tol)
    assert_near(grads["b2"], (-0.014315, 0.025278, -0.113668), tol)
    costs = np.array(train(net, x, t))
    want = (0.194928, 0.179842, 0.166038, 0.105063, 0.068172, 0.051424)
    assert_near(costs[[0, 1, 2, 9, 24, 49]], want, tol)
    first = M2(ties="first", device=device, dtype=dtype)
    assert_near(train(first, x, t, n_iter=2)[1], 0.179708, tol)


GRADIENT_1 = m2_parameters(
    """
    -0.017 -0.221 -2.303 -3.463  0.035 0.073 -1.723 -3.677 -3.091 -2.989
    -0.148 -1.660 -0.052 -1.599  0.433 0.322  0.189  0.927 -0.341 -0.805
    -0.044 -1.215 -0.024  0.031 -0.228 0.022 -0.165  0.177 -0.640 -1.156
    """,
    """
     0.057 -0.041  0.151 -0.012  0.235 -0.077 -0.051  0.038  0.178 -0.115 -0.115 -0.126 -0.580
    -0.067  0.005  0.198 -0.302 -1.515 -0.165  0.047 -0.964 -1.009 -0.321 -0.294 -0.407 -1.574
    -0.291 -0.118 -1.156  0.029 -2.006 -0.219 -0.181 -0.303 -1.241  0.004 -0.045 -0.006 -2.500
    """,
)
PARAMETERS_2 = m2_parameters(
    """
    -1.274 -0.410  0.819  1.831 -2.405 -1.679 -0.450  1.634  1.294 -2.765
    -1.245  2.670  2.312  0.969 -0.426 -2.118 -1.060 -1.390 -1.831 -3.015
    -1.860  2.287 -1.285 -1.716 -2.045 -2.950  0.234 -1.358  0.335 -1.508
    """,
    """
    -0.287  0.133 -0.992 0.720 -3.727 -0.579  0.291 -0.790 -1.511 -1.987 -1.062 -0.163  2.176
     0.024  0.659 -1.631 2.250  2.031  0.036 -0.259  2.090  0.440  1.653  2.305 -0.011 -2.432
    -1.264 -0.194  3.758 0.055  1.014  0.262 -2.094 -1.618  1.484 -0.487 -0.135 -1.233 -1.318
    """,
)


def test_first_iterations_on_the_books_images(device):
    images = images_of_the_book("M2")
    net = M2(device=device)
    assert_params(net.gradient(images.x, images.t), GRADIENT_1, P3_SUM)
    costs = train(net, images.x, images.t, n_iter=2)
    assert_near(np.array(costs), (12.544, 10.627), P3_SUM)
    assert_near(costs[0], 12.5453, {"rtol": 0, "atol": 5e-5})
    assert_params(net.params, PARAMETERS_2, P3_UPDATE)


def test_backpropagation_on_the_books_images(device):
    """Section 5-6: the published costs, their rise and fall, and image 1 at iteration 50."""
    images = images_of_the_book("M2")
    net = M2(device=device)
    costs = np.array(train(net, images.x, images.t))
    assert_near(costs[[0, 1, 24, 49]], (12.544, 10.627, 0.913, 0.497), P3_SUM)
    assert_near(costs[9], 1.921, {"rtol": 0, "atol": 0.02})
    assert np.all(np.diff(costs[1:5]) > 0)
    assert np.all(np.diff(costs[4:]) < 0)
    assert costs[9] < costs[4] / 5
    assert net.accuracy(images.x, images.t) == 1

    cost, outputs, _ = worksheet(net, IMAGE_1, ONE)
    near, nearer = {"rtol": 0, "atol": 0.02}, {"rtol": 0, "atol": 0.01}
    want = [[(0.030, 0.272)] * 2, [(0.026, 0.086)] * 2, [(0.073, 0.019)] * 2]
    assert_near(outputs["P"][0, ...], want, nearer)
    assert_near(outputs["zO"], [(3.009, -3.305, -2.836)], near)
    assert_near(outputs["aO"], [(0.953, 0.035, 0.055)], nearer)
    assert_near(cost, 0.0033, {"rtol": 0, "atol": 5e-5})
    assert_near(net.decide(np.concatenate([IMAGE_1, IMAGE_2, IMAGE_96])), [1, 2, 3])


def test_one_maximum_a_block_takes_another_way():
    images = images_of_the_book("M2")
    costs = train(M2(ties="first"), images.x, images.t)
    assert_near(costs[1], 10.846, {"rtol": 0, "atol": 5e-4})
    assert_near(costs[49], 0.504, {"rtol": 0, "atol": 5e-4})


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "CG"])
def test_minimiser_on_the_books_images(method):
    """Section 5-4."""
    pytest.importorskip("scipy", reason="scipy is not installed")
    images = images_of_the_book("M2")
    net = M2()
    costs = minimise(net, images.x, images.t, method=method)
    assert_near(costs[0], 12.544, P3_SUM)
    assert costs[-1] < 2e-5
    assert net.accuracy(images.x, images.t) == 1
    assert_near(net.decide(IMAGE_1), [1])
