"""Which slopes can be learned from, and which are measured? (Figures 4-4, 4-5; 4.2.5, 4.3.1)

    python scripts/deep_learning_from_scratch/ch04_tangents.py

The step function is flat wherever it has a slope, the sigmoid nowhere. A difference over a finite h
is the slope of a secant: forward it leans, central it is nearly the tangent, and with h = 1e-49
rounding leaves nothing of it. Figure 4-5's function is ours: the sigmoid, with an h one can see.
"""

import numpy as np

from xpnet import numerical_diff, sigmoid, step_function
from xpnet.layers import Sigmoid
from xpnet.report.experiment import Lab, main

POINTS = (-2.0, 1.0, 3.0)
AT, WIDE, TINY = 1.0, 1.5, 1e-49


def function_1(x: float) -> float:
    """Compute eq. 4.5."""
    return 0.01 * x**2 + 0.1 * x


def run(lab: Lab) -> None:
    """Draw tangents and secants."""
    x = np.linspace(-4, 4, 401)
    step, smooth, secants = lab.figure(11, 3.5).subplots(1, 3)
    for axes, function, title in (
        (step, step_function, "4-4: step"), (smooth, sigmoid, "4-4: sigmoid")
    ):  # fmt: skip
        slopes = [numerical_diff(function, at) for at in POINTS]
        axes.plot(x, function(x), "0.6")
        for at, slope in zip(POINTS, slopes, strict=True):
            near = at + np.array([-0.9, 0.9])
            label = f"slope at {at:g}: {slope:.2f}"
            axes.plot(near, function(at) + slope * (near - at), label=label)
        axes.set(xlabel="x", ylabel="h(x)", title=title, ylim=(-0.1, 1.1))
        axes.legend(loc="lower right", fontsize="small")
        if function is step_function:
            lab.equal("slopes of the step at -2, 1, 3", slopes, [0, 0, 0])
        else:
            exact = Sigmoid().forward(np.array(POINTS))[1](np.ones(3))[0]
            lab.equal("slopes of the sigmoid at -2, 1, 3", slopes, exact, atol=1e-8)
            lab.check("the smallest of them", min(slopes), 1e-3, book="never 0")

    bad = (function_1(5 + TINY) - function_1(5)) / TINY
    lab.equal("forward difference at 5, h = 1e-49", bad, 0, book="a rounding error")
    lab.equal("1e-50 in float32", np.float32(1e-50), 0)

    tangent = numerical_diff(sigmoid, AT)
    forward = (sigmoid(AT + WIDE) - sigmoid(AT)) / WIDE
    central = (sigmoid(AT + WIDE) - sigmoid(AT - WIDE)) / (2 * WIDE)
    errors = abs(forward - tangent), abs(central - tangent)
    numbers = f"{errors[0]:.4f}, {errors[1]:.4f}"
    lab.holds("central errs less than forward", errors[1] < errors[0], numbers, book="it does")
    secants.plot(x, sigmoid(x), "0.6")
    for slope, start, style, name in (
        (tangent, AT, "-", "tangent"),
        (forward, AT, "--", "forward difference"),
        (central, AT - WIDE, ":", "central difference"),
    ):
        secants.plot(x, sigmoid(start) + slope * (x - start), style, label=name)
    seen = np.array([AT - WIDE, AT, AT + WIDE])
    secants.plot(seen, sigmoid(seen), "k.")
    secants.set(title="4-5: tangent and secants", xlim=(-2, 4), ylim=(0, 1.3))
    secants.set(xticks=seen, xticklabels=("x - h", "x", "x + h"), ylabel="f")
    secants.legend(loc="upper left", fontsize="small")


if __name__ == "__main__":
    main(run, __doc__)
