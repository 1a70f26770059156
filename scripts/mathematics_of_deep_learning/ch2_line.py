"""Which line leaves the least squares? (Sections 2-12, 3-4)

    python scripts/mathematics_of_deep_learning/ch2_line.py

Seven people's heights and weights, and three pairs by hand. The book prints rounded normal
equations; solved as printed, they lead beside the line of the data.
"""

import numpy as np

from xpnet.books.wakui import fit_line
from xpnet.report.experiment import Lab, main

HEIGHT = np.array([153.3, 164.9, 168.1, 151.5, 157.8, 156.7, 161.1])
WEIGHT = np.array([45.5, 56.0, 55.0, 52.8, 55.6, 50.8, 56.4])
X, Y = np.array([7.0, 5.0, 9.0]), np.array([8.0, 4.0, 8.0])


def run(lab: Lab) -> None:
    """Fit both lines."""
    line = fit_line(HEIGHT, WEIGHT)
    lab.equal("seven pairs: p, q, C_T", line, [0.41, -12.06, 27.86], atol=0.005)
    sums = [HEIGHT.sum(), WEIGHT.sum(), HEIGHT @ HEIGHT, HEIGHT @ WEIGHT]
    lab.equal("their sums", sums, [1113.4, 372.1, 177311.70, 59274.33], atol=0.005,
              book="1113.4, 372.1, 177312, 59274")  # fmt: skip
    rounded = np.linalg.solve([[1113.4, 7], [177312, 1113.4]], [372.1, 59274])
    lab.equal("p, q by the rounded equations", rounded, [0.408, -11.73], atol=0.005,
              book="0.41, -12.06")  # fmt: skip
    lab.equal("three pairs: p, q, C_T", fit_line(X, Y), [1, -1 / 3, 4 / 3], atol=1e-12)

    panels = lab.figure(8.5, 3.8).subplots(1, 2)
    for axes, x, y, title in zip(
        panels, (HEIGHT, X), (WEIGHT, Y), ("seven pairs", "three pairs"), strict=True
    ):
        p, q, cost = fit_line(x, y)
        axes.plot(x, y, "o")
        axes.plot(x, p * x + q, label=f"{p:.2f} x {q:+.2f}, C$_T$ {cost:.2f}")
        axes.vlines(x, y, p * x + q, colors="0.6", linewidth=0.8)
        axes.set(xlabel="x", ylabel="y", title=title)
        axes.legend()


if __name__ == "__main__":
    main(run, __doc__)
