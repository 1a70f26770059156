"""Which is the better model of ten noisy points, a line or a polynomial of degree 9? (Chapter 3)

    python scripts/neural_networks_and_deep_learning/ch3_polynomial.py

The points are those of y = 2 x with noise; the book draws its own and prints no coordinates. The
polynomial goes through all of them, and away from them it goes wherever its x^9 takes it.
"""

import numpy as np
from numpy.polynomial import Polynomial

from xpnet.report.experiment import Lab, main

NOISE = 0.5


def run(lab: Lab) -> None:
    """Fit both, compare and draw."""
    rng = lab.rng
    x = np.linspace(0, 5, 10)
    y = 2 * x + NOISE * rng.standard_normal(10)
    line, wild = Polynomial.fit(x, y, 1), Polynomial.fit(x, y, 9)
    residual = {name: np.abs(p(x) - y).max() for name, p in (("line", line), ("wild", wild))}
    lab.check("degree 9: farthest from a point", residual["wild"], high=1e-6, book="exact")
    lab.check("line: farthest from a point", residual["line"], NOISE / 5, 5 * NOISE, book="noise")
    far = 10.0
    lab.check("line at x = 10, from 20", abs(line(far) - 2 * far), high=8 * NOISE, book="near 2 x")
    lab.check("degree 9 at x = 10, from 20", abs(wild(far) - 2 * far), 1000, book="far away")
    leading = wild.convert().coef[9]
    share = leading * 1000.0**9 / wild(1000.0)
    lab.check("share of x^9 in it at x = 1000", share, 0.9, 1.1, book="dominates")

    axes = lab.figure(5.5, 3.6).subplots()
    grid = np.linspace(-0.3, 5.6, 401)
    axes.plot(x, y, "ko", label="points")
    axes.plot(grid, line(grid), label="line")
    axes.plot(grid, wild(grid), label="degree 9")
    axes.set(xlabel="x", ylabel="y", ylim=(-2, 14))
    axes.legend()


if __name__ == "__main__":
    main(run, __doc__)
