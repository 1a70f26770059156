"""Which gates can a perceptron be, and what does XOR need? (Figures 2-6, 2-7, 2-8; chapter 2)

    python scripts/deep_learning_from_scratch/ch02_gates.py

OR's zeros and ones lie on two sides of a line. XOR's do not: of all weights and biases on a grid
none gets more than three of its four points right. Two layers do it, and so does one perceptron
that also sees (x1 - x2)^2: its boundary in the plane is a parabola.
"""

import numpy as np

from xpnet import AND, NAND, OR, XOR, perceptron
from xpnet.report.experiment import Lab, main

POINTS = np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
TABLES = {AND: [0, 0, 0, 1], NAND: [1, 1, 1, 0], OR: [0, 1, 1, 1], XOR: [0, 1, 1, 0]}


def bent(x: np.ndarray) -> np.ndarray:
    """Compute x1, x2 and (x1 - x2)^2."""
    return np.concatenate([x, (x[..., :1] - x[..., 1:]) ** 2], axis=-1)


def run(lab: Lab) -> None:
    """Check the truth tables and draw the regions."""
    for gate, table in TABLES.items():
        lab.equal(f"{gate.__name__} of 00, 10, 01, 11", [gate(*x) for x in POINTS], table)

    for w, theta in (((0.5, 0.5), 0.7), ((0.5, 0.5), 0.8), ((1.0, 1.0), 1.0)):
        y = perceptron(POINTS, np.array(w), -theta)
        lab.equal(f"AND from w1, w2, theta = {w[0]}, {w[1]}, {theta}", y, TABLES[AND])

    steps = np.linspace(-2, 2, lab.few(41, 11))
    w1, w2, b = (values.reshape(-1, 1) for values in np.meshgrid(steps, steps, steps))
    y = perceptron(POINTS, np.stack([w1, w2], axis=-1), b)
    right = np.sum(y == TABLES[XOR], axis=-1)
    text = "no line does"
    lab.equal(f"most XOR points right, of {len(b)} perceptrons", right.max(), 3, book=text)

    or_w, or_b = np.array([1.0, 1.0]), -0.5
    xor_w, xor_b = np.array([-1.0, -1.0, 2.0]), -0.3
    lab.equal("OR from b, w1, w2 = -0.5, 1, 1", perceptron(POINTS, or_w, or_b), TABLES[OR])
    y = perceptron(bent(POINTS), xor_w, xor_b)
    lab.equal("XOR from x1, x2, (x1 - x2)^2", y, TABLES[XOR], book="a curve can")

    side = np.linspace(-0.5, 1.5, 401)
    plane = np.stack(np.meshgrid(side, side), axis=-1)
    titles = ("2-6: OR, a line", "2-7: XOR, no line", "2-8: XOR, a curve")
    regions = (perceptron(plane, or_w, or_b), None, perceptron(bent(plane), xor_w, xor_b))
    tables = (TABLES[OR], TABLES[XOR], TABLES[XOR])
    panels = lab.figure(9.5, 3.4).subplots(1, 3)
    for axes, title, region, table in zip(panels, titles, regions, tables, strict=True):
        if region is not None:
            axes.contourf(side, side, region, [-0.5, 0.5], colors=["0.85"])
            axes.contour(side, side, region, [0.5], colors="black", linewidths=1)
        for value, marker in enumerate("o^"):
            of = POINTS[np.array(table) == value]
            axes.plot(*of.T, marker, markersize=10, label=f"output {value}")
        axes.set(xlabel="x$_1$", ylabel="x$_2$", title=title, aspect="equal")
        axes.set(xlim=(-0.5, 1.5), ylim=(-0.5, 1.5), xticks=(0, 1), yticks=(0, 1))
    panels[1].legend(loc="center")


if __name__ == "__main__":
    main(run, __doc__)
