"""How near are numerical slopes to the true ones? (Figures 4-6, 4-7; section 4.3)

    python scripts/deep_learning_from_scratch/ch04_gradient_1d.py

The tangents of 0.01 x^2 + 0.1 x at 5 and 10, drawn with central differences.
"""

import numpy as np

from xpnet import numerical_diff
from xpnet.report.experiment import Lab, main


def function_1(x: float) -> float:
    """Compute eq. 4.5; the derivative is 0.02 x + 0.1."""
    return 0.01 * x**2 + 0.1 * x


def run(lab: Lab) -> None:
    """Draw the curve and two tangents."""
    x = np.arange(0.0, 20.0, 0.1)
    axes = lab.figure().subplots()
    axes.plot(x, [function_1(value) for value in x], label="0.01 x$^2$ + 0.1 x")
    for at, printed in ((5, 0.1999999999990898), (10, 0.2999999999986347)):
        slope = numerical_diff(function_1, at)
        lab.equal(f"slope at {at}", slope, printed, atol=1e-10)
        axes.plot(x, function_1(at) + slope * (x - at), "--", label=f"tangent at {at}")
    axes.set(xlabel="x", ylabel="f(x)")
    axes.legend()


if __name__ == "__main__":
    main(run, __doc__)
