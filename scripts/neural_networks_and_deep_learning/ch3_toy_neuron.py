"""How fast does a neuron unlearn a bad beginning? (Chapter 3)

    python scripts/neural_networks_and_deep_learning/ch3_toy_neuron.py

One input, which is 1, and one sigmoid neuron that should give 0; 300 updates, from w, b = 0.6, 0.9
and from 2, 2, with the quadratic cost and with cross-entropy. Where it is badly wrong, it hardly
moves at first with the quadratic cost. With cross-entropy and the book's eta of 0.005 it falls from
the start on but does not come near 0 in 300 updates, as the book's pictures have it; so orderings
are judged, and a third pair of runs has the same eta as the quadratic cost.
"""

from typing import NamedTuple

import numpy as np

from xpnet import to_numpy
from xpnet.books.nielsen import Cost, CrossEntropyCost, Network, QuadraticCost
from xpnet.report.experiment import Lab, main


class Setup(NamedTuple):
    """A run, its outputs at updates 0, 50, ..., 300, and what the book says of it."""

    cost: type[Cost]
    start: tuple[float, float]
    eta: float
    outputs: tuple[float, ...]
    book: str = ""


EASY, HARD = (0.6, 0.9), (2.0, 2.0)
RUNS = {
    "T1a": Setup(
        QuadraticCost, EASY, 0.15,
        (0.8176, 0.3870, 0.2110, 0.1527, 0.1237, 0.1061, 0.0940), "from 0.82 to about 0.09",
    ),
    "T1b": Setup(
        QuadraticCost, HARD, 0.15,
        (0.9820, 0.9759, 0.9641, 0.9334, 0.7887, 0.3572, 0.2028), "from 0.98; slow for 150",
    ),
    "T1c": Setup(
        CrossEntropyCost, EASY, 0.005,
        (0.8176, 0.7516, 0.6789, 0.6053, 0.5355, 0.4726, 0.4177), "learns well",
    ),
    "T1d": Setup(
        CrossEntropyCost, HARD, 0.005,
        (0.9820, 0.9710, 0.9539, 0.9282, 0.8912, 0.8415, 0.7796), "steeper start",
    ),
    "T1e": Setup(
        CrossEntropyCost, HARD, 0.15,
        (0.9820, 0.0985, 0.0411, 0.0257, 0.0186, 0.0146, 0.0120),
    ),
    "T1f": Setup(
        CrossEntropyCost, EASY, 0.15,
        (0.8176, 0.0792, 0.0371, 0.0241, 0.0178, 0.0141, 0.0116),
    ),
}  # fmt: skip
X, Y, UPDATES = np.ones((1, 1)), np.zeros((1, 1)), 300


def outputs(lab: Lab, setup: Setup) -> tuple[np.ndarray, float]:
    """Compute the output before each update and after the last; dC/dw at the start."""
    network = Network([1, 1], setup.cost, device=lab.device)
    network.weights, network.biases = ([[[number]]] for number in setup.start)
    x = lab.device.asarray(X)
    slope = float(network.backprop(x, lab.device.asarray(Y))[1][0][0, 0])
    found = [network.feedforward(x)]
    for _ in range(UPDATES):
        network.update_mini_batch([(X, Y)], setup.eta)
        found.append(network.feedforward(x))
    return np.array([to_numpy(a)[0, 0] for a in found]), slope


def run(lab: Lab) -> None:
    """Train the six and draw them."""
    panels = dict(zip((EASY, HARD), lab.figure(9.5, 3.6).subplots(1, 2, sharey=True), strict=True))
    slopes, curves = {}, {}
    for name, setup in RUNS.items():
        curve, slopes[name] = outputs(lab, setup)
        curves[name] = curve
        kind = "quadratic" if setup.cost is QuadraticCost else "cross-entropy"
        what = f"{name}: {kind}, w, b = {setup.start}, eta {setup.eta}"
        lab.equal(what, curve[::50], setup.outputs, atol=1e-4, book=setup.book)
        panels[setup.start].plot(curve, label=f"{name}: {kind}, eta {setup.eta}")
    for start, axes in panels.items():
        axes.set(xlabel="update", ylabel="output", ylim=(0, 1), title=f"w, b = {start}")
        axes.legend()

    lab.holds(
        "the larger the error, the steeper cross-entropy",
        slopes["T1d"] > slopes["T1c"],
        f"{slopes['T1c']:.6f}, {slopes['T1d']:.6f}",
    )
    lab.holds(
        "the larger the error, the flatter the quadratic cost",
        slopes["T1b"] < slopes["T1a"],
        f"{slopes['T1a']:.6f}, {slopes['T1b']:.6f}",
    )
    lab.check("ratio of the slopes at 2, 2", slopes["T1e"] / slopes["T1b"], 56.55, 56.65)
    halves = {name: int(np.argmax(curves[name] < 0.5)) for name in ("T1b", "T1e")}
    lab.holds(
        "at equal eta cross-entropy is below 0.5 long before",
        halves["T1e"] < halves["T1b"] / 5,
        f"after {halves['T1e']} updates and {halves['T1b']}",
    )


if __name__ == "__main__":
    main(run, __doc__)
