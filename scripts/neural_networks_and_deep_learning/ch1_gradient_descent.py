"""How does gradient descent go down, and when does it go up? (Chapter 1)

    python scripts/neural_networks_and_deep_learning/ch1_gradient_descent.py

In one variable, C = v^2, each step multiplies v by 1 - 2 eta: it goes straight down, or across the
valley, or up the other side. In two, no step of the same small length goes down further than the
one against the gradient. Exercises 4 and 5 of the chapter.
"""

import numpy as np

from xpnet import gradient_descent, numerical_gradient
from xpnet.report.experiment import Lab, main

ETAS = (0.1, 0.9, 1.05)


def cost(v: np.ndarray) -> float:
    """Compute v^2, for one variable or summed over several."""
    return float(np.sum(v**2))


def run(lab: Lab) -> None:
    """Descend, compare directions and draw."""
    left, right = lab.figure(9.5, 3.6).subplots(1, 2)
    grid = np.linspace(-2, 2, 101)
    left.plot(grid, grid**2, color="0.7")
    for eta in ETAS:
        _, points = gradient_descent(cost, np.ones(1), eta, 12, return_path=True)
        lab.equal(f"v after 12 steps, eta {eta}", points[-1, 0], (1 - 2 * eta) ** 12, atol=1e-9)
        falling = bool(np.all(np.diff(points[:, 0] ** 2) < 0))
        if eta < 1:
            lab.holds(f"eta {eta}: C falls", falling, book="C falls")
        else:
            lab.holds(f"eta {eta}: C grows", not falling, book="C may grow if eta is too large")
        left.plot(points[:, 0], points[:, 0] ** 2, "o-", markersize=3, label=f"eta {eta}")
    left.set(xlabel="v", ylabel="C", ylim=(-0.2, 4), title="C = v$^2$")
    left.legend()

    start, size = np.array([1.5, 0.5]), 1e-3
    gradient = numerical_gradient(cost, start.copy())
    angles = np.linspace(0, 2 * np.pi, 721)
    steps = size * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    change = np.array([cost(start + step) - cost(start) for step in steps])
    best = -size * gradient / np.linalg.norm(gradient)
    lab.check(
        "angle between the best step and the one against the gradient, in degrees",
        np.degrees(np.arccos(steps[change.argmin()] @ best / size**2)),
        high=0.5,
        book="0",
    )
    lab.check(
        "its change of C by -eta |grad C|^2",
        change.min() / (-size * np.linalg.norm(gradient)),
        0.999,
        1.001,
        book="1, for small steps",
    )
    right.plot(np.degrees(angles), change)
    right.set(xlabel="direction of the step, degrees", ylabel="change of C", title="steps of 0.001")


if __name__ == "__main__":
    main(run, __doc__)
