"""Deep Learning from Scratch, chapter 2: perceptrons as gates, and what one alone cannot do."""

import itertools

import numpy as np
import pytest

from tolerances import E12, assert_near
from xpnet import AND, NAND, OR, XOR, perceptron, to_numpy

INPUTS = [(0, 0), (1, 0), (0, 1), (1, 1)]
TABLE = {"AND": [0, 0, 0, 1], "NAND": [1, 1, 1, 0], "OR": [0, 1, 1, 1], "XOR": [0, 1, 1, 0]}


@pytest.mark.parametrize(("gate", "want"), [(g, TABLE[g.__name__]) for g in (AND, NAND, OR, XOR)])
def test_truth_table(gate, want):
    assert [int(gate(x1, x2)) for x1, x2 in INPUTS] == want


def test_xor_is_and_of_nand_and_or():
    """The book's two layers; the notes name the first of them "NOT and NAND", which is wrong."""
    s1, s2 = ([int(gate(*x)) for x in INPUTS] for gate in (NAND, OR))
    assert (s1, s2) == (TABLE["NAND"], TABLE["OR"])
    assert [int(AND(a, b)) for a, b in zip(s1, s2, strict=True)] == TABLE["XOR"]


def test_the_weighted_sum_step_by_step(device):
    x, w, b = device.asarray([0.0, 1.0]), device.asarray([0.5, 0.5]), -0.7
    assert_near(w * x, [0, 0.5])
    assert_near(device.xp.sum(w * x), 0.5)
    assert_near(device.xp.sum(w * x) + b, -0.19999999999999996, E12)
    assert_near(perceptron(x, w, b), 0)


@pytest.mark.parametrize(
    ("gate", "w1", "w2", "theta"),
    [
        ("AND", 0.5, 0.5, 0.7),
        ("AND", 0.5, 0.5, 0.8),
        ("AND", 1.0, 1.0, 1.0),  # for (1, 0) the sum is theta itself, which gives 0
        ("NAND", -0.5, -0.5, -0.7),
        ("OR", 0.5, 0.5, 0.2),
        ("OR", 1.0, 1.0, 0.5),  # figure 2-6
    ],
)
def test_bias_form_agrees_with_threshold_form(device, gate, w1, w2, theta):
    w = device.asarray([w1, w2])
    got = [int(perceptron(device.asarray(x, dtype="float64"), w, -theta)) for x in INPUTS]
    assert got == [int(w1 * x1 + w2 * x2 > theta) for x1, x2 in INPUTS] == TABLE[gate]


@pytest.mark.parametrize(
    ("x", "b", "want"),
    [
        (0.1, -0.1, 0),
        (0.11, -0.1, 1),
        (20.0, -20.0, 0),
        (20.1, -20.0, 1),
        (0.0, 0.0, 0),
        (0.0, 0.1, 1),
    ],
)
def test_the_bias_is_how_easily_it_fires(device, x, b, want):
    """The boundary gives 0, and without input the bias alone decides."""
    assert int(perceptron(device.asarray([x]), device.asarray([1.0]), b)) == want


def test_no_single_perceptron_is_xor(device):
    """On the grid of w1, w2 and b from -2 to 2 by 0.5, which does hold the other three gates."""
    x, found = device.asarray(INPUTS, dtype="float64"), set()
    for w1, w2, b in itertools.product(np.linspace(-2, 2, 9), repeat=3):
        found.add(tuple(to_numpy(perceptron(x, device.asarray([w1, w2]), float(b))).tolist()))
    assert {tuple(TABLE[gate]) for gate in ("AND", "NAND", "OR")} <= found
    assert tuple(TABLE["XOR"]) not in found
