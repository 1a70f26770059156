"""What does softmax do to scores, and what does its temperature? (Chapter 3)

    python scripts/neural_networks_and_deep_learning/ch3_softmax.py

Outputs for the scores 2.5, -1, 3.2, 0.5, as the last of them goes from -5 to 5, and as all are
multiplied by c: for a large c the largest score takes all.
"""

import numpy as np

from xpnet import sigmoid, softmax
from xpnet.report.experiment import Lab, main

Z = np.array([2.5, -1.0, 3.2, 0.5])
TEMPERATURES = {
    0.1: (0.278092, 0.195968, 0.298256, 0.227683),
    1.0: (0.314536, 0.009498, 0.633398, 0.042568),
    5.0: (0.029312, 0.0, 0.970686, 0.000001),
    100.0: (0.0, 0.0, 1.0, 0.0),
}


def run(lab: Lab) -> None:
    """Check and draw."""
    for c, want in TEMPERATURES.items():
        lab.equal(f"softmax of {c:g} z", softmax(c * Z), want, atol=1e-6)
    likelihoods = (1.156656, 4.656656, 0.456656, 3.156656)
    lab.equal("log-likelihood costs", -np.log(softmax(Z)), likelihoods, atol=1e-6)
    lab.equal("of two equal maxima, c = 1000", softmax(1000 * np.array([3, 1, 3])), [0.5, 0, 0.5])

    fourth = np.linspace(-5, 5, 101)
    a = softmax(np.concatenate([np.tile(Z[:3], (101, 1)), fourth[:, np.newaxis]], axis=1))
    lab.check("farthest sum from 1", np.abs(a.sum(axis=1) - 1).max(), high=1e-12, book="always 1")
    up, down = np.all(np.diff(a[:, 3]) > 0), np.all(np.diff(a[:, :3], axis=0) < 0)
    lab.holds("as a score rises, so does its output, and the others fall", up and down)
    lab.equal("sum of the sigmoids of four zeros", sigmoid(np.zeros(4)).sum(), 2.0, book="not 1")

    left, right = lab.figure(9.5, 3.4).subplots(1, 2)
    for k in range(4):
        left.plot(fourth, a[:, k], label=f"a$_{k + 1}$")
    left.set(xlabel="z$_4$", ylabel="output")
    left.legend()
    cs = np.geomspace(0.1, 100, 101)
    right.semilogx(cs, softmax(cs[:, np.newaxis] * Z))
    right.set(xlabel="c", ylabel="output")


if __name__ == "__main__":
    main(run, __doc__)
