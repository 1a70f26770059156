"""How does the learning rate decide where gradient descent ends? (Figure 4-10; section 4.4.1)

    python scripts/deep_learning_from_scratch/ch04_gradient_method.py

x0^2 + x1^2 from (-3, 4). A rate of 0.1 comes to the minimum, 10 leaps away and 1e-10 stays.
"""

import numpy as np

from xpnet import gradient_descent
from xpnet.report.experiment import Lab, main

START = np.array([-3.0, 4.0])
STEPS = 20  # of the path drawn; the book does not tell its number


def function_2(x: np.ndarray) -> np.ndarray:
    """Compute eq. 4.6."""
    return np.sum(x**2)


def run(lab: Lab) -> None:
    """Check the printed ends and draw the path."""
    for lr, printed, atol in (
        (0.1, [-6.11110793e-10, 8.14814391e-10], 1e-17),
        (1e-10, [-2.99999994, 3.99999992], 5e-9),
        (0.01, [-0.39785867, 0.53047822], 1e-8),
        # Stuck, not still leaping: so far out, f(x + h) and f(x - h) round to the same number.
        (10.0, [-2.58983747e13, -1.29524862e12], 1e5),
    ):
        end = gradient_descent(function_2, START, lr=lr, step_num=100)
        lab.equal(f"after 100 steps of lr {lr:g}", end, printed, atol=atol)

    _, path = gradient_descent(function_2, START, lr=0.1, step_num=STEPS, return_path=True)
    distances = np.hypot(*path.T)
    lab.holds(
        "every step comes nearer", np.all(np.diff(distances) < 0),
        f"{distances[0]:g} to {distances[-1]:.3g} in {STEPS} steps", book="towards 0, 0",
    )  # fmt: skip

    axes = lab.figure(5, 4.6).subplots()
    side = np.linspace(-4.5, 4.5, 200)
    height = np.hypot(*np.meshgrid(side, side))
    axes.contour(side, side, height, range(1, 6), colors="0.6", linestyles="--", linewidths=1)
    axes.plot(*path.T, "o-", markersize=5, linewidth=0.8)
    axes.plot(0, 0, "k+")
    axes.set(xlabel="x$_0$", ylabel="x$_1$", aspect="equal", title=f"lr 0.1, {STEPS} steps")


if __name__ == "__main__":
    main(run, __doc__)
