"""What do perceptrons decide, and what becomes of them as sigmoid neurons? (Chapter 1)

    python scripts/neural_networks_and_deep_learning/ch1_perceptrons.py

Decisions of one perceptron; five NANDs that add two bits; the same five as sigmoid neurons, whose
outputs come as near to the bits as their weights are large, unless a weighted input is 0; and four
neurons that turn ten outputs into a binary number. Exercises 1, 2 and 3 of the chapter.
"""

from collections.abc import Callable
from itertools import product

import numpy as np

from xpnet import perceptron, sigmoid, step_function
from xpnet.report.experiment import Lab, main

Neuron = Callable[[np.ndarray, np.ndarray, float], np.ndarray]

BITS = np.array(list(product((0.0, 1.0), repeat=2)))
SUM, CARRY = [0, 1, 1, 0], [0, 0, 0, 1]
CS = (1, 10, 100, 1000)


def sigmoid_neuron(x: np.ndarray, w: np.ndarray, b: float) -> np.ndarray:
    """Compute the sigmoid of w.x + b, for x of shape (..., n)."""
    return np.asarray(sigmoid(x @ w + b))


def added(neuron: Neuron, c: float, *, merged: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Sum and carry of all pairs of bits by five NANDs, all weights and biases times c.

    With `merged` the two edges from the first to the last are one with the sum of their weights.
    """

    def nand(x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
        return neuron(np.stack([x1, x2], axis=-1), c * np.array([-2.0, -2.0]), c * 3.0)

    x1, x2 = BITS.T
    first = nand(x1, x2)
    total = nand(nand(x1, first), nand(first, x2))
    if merged:
        return total, neuron(first[:, np.newaxis], c * np.array([-4.0]), c * 3.0)
    return total, nand(first, first)


def run(lab: Lab) -> None:
    """Decide, add, compare and draw."""
    cases = np.array(list(product((0.0, 1.0), repeat=3)))
    for threshold, table in ((5, [0, 0, 0, 0, 1, 1, 1, 1]), (3, [0, 0, 0, 1, 1, 1, 1, 1])):
        y = perceptron(cases, np.array([6.0, 2.0, 2.0]), -threshold)
        lab.equal(f"weights 6, 2, 2, threshold {threshold}: 000 to 111", y, table)

    lab.equal("z of NAND for 00, 01, 10, 11", BITS @ [-2.0, -2.0] + 3.0, [3, 1, 1, -1])
    for merged in (False, True):
        edge = "one edge of -4" if merged else "two edges of -2"
        lab.equal(f"sums and carries, {edge}", added(perceptron, 1, merged=merged), (SUM, CARRY))
    for c in (0.01, 17):
        what = f"sums and carries, weights and biases times {c:g}"
        lab.equal(what, added(perceptron, c), (SUM, CARRY), book="as before")

    far = [np.abs(np.array(added(sigmoid_neuron, c)) - (SUM, CARRY)).max() for c in CS]
    numbers = ", ".join(f"{distance:.2g}" for distance in far)
    closer = all(np.diff(far) <= 0) and far[1] < far[0]
    lab.holds(f"sigmoids come closer for c = {CS}", closer, numbers, book="alike as c grows")
    lab.check("farthest from a bit, c = 1000", far[-1], 0, 1e-12)
    half = sigmoid_neuron(np.array([0.5, 1.0]), 1000 * np.array([2.0, -1.0]), 0.0)
    lab.equal("sigmoid of w.x + b = 0, c = 1000", half, 0.5, book="not where w.x + b = 0")

    has = (np.arange(10) >> np.arange(4)[:, np.newaxis]) & 1
    outputs = np.where(np.eye(10) == 1, 0.99, 0.01)
    z = (20 * has - 10) @ outputs
    lab.equal("bits of 0 to 9, from ten outputs", step_function(z), has)
    lab.check("smallest |z| of a bit", np.abs(z).min(), 9)

    left, right = lab.figure(9, 3.4).subplots(1, 2)
    z = np.linspace(-5, 5, 201)
    for c in (1, 2, 10):
        left.plot(z, sigmoid(c * z), label=f"sigmoid of {c} z")
    left.plot(z, step_function(z), "k--", drawstyle="steps", label="perceptron")
    left.set(xlabel="z", ylabel="output")
    left.legend()
    right.loglog(CS, np.maximum(far, 1e-16), "o-")
    right.set(xlabel="c", ylabel="farthest from a bit", title="an adder of sigmoid neurons")


if __name__ == "__main__":
    main(run, __doc__)
