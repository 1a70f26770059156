"""Initial weights: their spread, and what it makes of activations in depth (section 6.2)."""

from itertools import pairwise

import numpy as np
import pytest

from xpnet import Affine, Convolution, relu, sigmoid, tanh
from xpnet.errors import ArgumentError, DeviceMemoryError
from xpnet.functions import init


@pytest.mark.parametrize(
    ("rule", "want"),
    [
        ("xavier", 0.1), ("sigmoid", 0.1), ("tanh", 0.1), ("Xavier", 0.1),
        ("he", 0.1414), ("relu", 0.1414), ("ReLU", 0.1414), (None, 0.1414),
        ("glorot", np.sqrt(2 / 150)), ("standard", 1), (0.01, 0.01), (0, 0),
    ],
)  # fmt: skip
def test_spread_of_the_weights_of_100_inputs_and_50_outputs(rule, want):
    assert init.initial_std(rule, 100, 50) == pytest.approx(want, abs=5e-5)


@pytest.mark.parametrize("rule", ["xavier", "glorot", "he", "standard", 0.01])
def test_layers_draw_with_that_spread(rule):
    """Within 4 sd of the sample's; inputs and outputs are counted with the window's pixels."""
    cases = [(Affine(100, 900, std=rule, rng=0), 100, 900),
             (Convolution(40, 90, (2, 5), std=rule, rng=0), 400, 900)]  # fmt: skip
    for layer, n_in, n_out in cases:
        W, want = layer.params["W"], init.initial_std(rule, n_in, n_out)
        assert np.std(W) == pytest.approx(want, rel=4 / np.sqrt(2 * W.size))
        assert abs(np.mean(W)) < 4 * want / np.sqrt(W.size)
        assert not np.any(layer.params["b"])


def test_a_seed_is_a_network():
    """The numbers are the generator's own, one after the other, times the standard deviation."""
    rng, same = np.random.default_rng(7), np.random.default_rng(7)
    drawn = [Affine(5, 4, rng=rng), Convolution(3, 2, 2, rng=rng), Affine(3, 2, std=0.5, rng=rng)]
    for layer, std in zip(drawn, (np.sqrt(2 / 5), np.sqrt(2 / 12), 0.5), strict=True):
        want = std * same.standard_normal(layer.params["W"].shape)
        np.testing.assert_array_equal(layer.params["W"], want)


def activations(function, std):
    """Five layers of 100 units, for 1000 samples of 100 standard normal numbers."""
    rng = np.random.default_rng(0)
    a, found = init.normal((1000, 100), 1.0, rng), []
    for _ in range(5):
        a = function(a @ init.normal((100, 100), init.initial_std(std, 100, 100), rng))
        found.append(a)
    return found


def outside(a):
    return np.mean((a < 0.1) | (a > 0.9))


# Specification 6(b): means of 20 draws, and the bands a single draw keeps to.
ELSE_010 = (0.01, 0.10, 0.10, 0.10, 0.10)
SPREAD_001 = [0.0250, 0.0124, 0.0123, 0.0124, 0.0123]
RELU_001 = [0.03985, 0.002899, 0.000207, 1.46e-5, 1.05e-6]
RELU_001_SD = np.asarray([0.00020, 0.00019, 0.000018, 1.8e-6, 1.4e-7])


@pytest.mark.parametrize(
    ("function", "std", "statistic", "want", "band"),
    [
        (sigmoid, 1, outside, [0.825, 0.745, 0.745, 0.743, 0.738], ELSE_010),
        (sigmoid, 1, np.std, [0.459, 0.438, 0.438, 0.436, 0.434], 0.03),
        (sigmoid, 0.01, np.mean, [0.5] * 5, 0.006),
        (sigmoid, 0.01, np.std, SPREAD_001, 0.004),
        (sigmoid, "xavier", np.std, [0.208, 0.126, 0.122, 0.121, 0.119], 0.035),
        (tanh, "xavier", np.mean, [0.0] * 5, 0.01),
        (tanh, "xavier", np.std, [0.627, 0.485, 0.407, 0.356, 0.320], 0.025),
        (relu, 0.01, np.mean, RELU_001, 4 * RELU_001_SD),
        (relu, "xavier", np.mean, [0.398, 0.290, 0.207, 0.146, 0.105], (0.015, *[0.08] * 4)),
        (relu, "he", np.mean, [0.564, 0.580, 0.584, 0.583, 0.593], (0.02, *[0.30] * 4)),
        (relu, "he", np.std, [0.83, 0.84, 0.87, 0.86, 0.88], (0.03, *[0.35] * 4)),
    ],
)
def test_activations_in_depth(function, std, statistic, want, band):
    got = [statistic(a) for a in activations(function, std)]
    assert np.all(np.abs(np.subtract(got, want)) <= band), got


def test_he_keeps_what_smaller_weights_lose():
    """With ReLU: 0.01 shrinks tenfold a layer, Xavier by a third, He not at all."""
    small, xavier, he = (
        [np.mean(a) for a in activations(relu, std)] for std in (0.01, "xavier", "he")
    )
    assert all(after < 0.1 * before for before, after in pairwise(small))
    assert all(0.5 < after / before < 0.9 for before, after in pairwise(xavier))
    assert all(0.8 < after / before < 1.25 for before, after in pairwise(he))


@pytest.mark.parametrize("std", [-0.1, float("nan"), float("inf")])
def test_numbers_that_are_no_spread_are_refused(std):
    with pytest.raises(ArgumentError, match=f"must be 0 or more, got {std}; try 0.01"):
        Affine(3, 2, std=std)


def test_unknown_rules_are_refused():
    message = (
        "initial weights 'lecun' are unknown; "
        "use a number or relu, he, sigmoid, tanh, xavier, glorot, standard"
    )
    with pytest.raises(ArgumentError, match=message):
        Convolution(3, 2, 3, std="lecun")


@pytest.mark.parametrize("n", [2**40, 2**62, 2**70])
def test_more_weights_than_memory_are_refused(n):
    """What NumPy raises depends on how many they are."""
    with pytest.raises(DeviceMemoryError) as caught:
        init.normal((n, 2), 1.0)
    assert str(caught.value) == (
        f"there is no memory for initial weights of shape ({n}, 2); use smaller layers"
    )


def test_nothing_is_drawn_for_shapes_alone():
    with init.shapes_alone():
        assert not init.normal((2, 3), 1.0, rng="no generator").any()
    with pytest.raises(TypeError):
        init.normal((2, 3), 1.0, rng="no generator")
