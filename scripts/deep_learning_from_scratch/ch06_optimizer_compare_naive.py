"""How do four optimizers descend a long, narrow valley? (Figures 6-1 to 6-3, 6-5 to 6-8)

    python scripts/deep_learning_from_scratch/ch06_optimizer_compare_naive.py

30 steps on f = x^2 / 20 + y^2 (eq. 6.2) from (-7, 2). The gradient is large along y and small along
x, where the way is long: SGD jumps from wall to wall. The book calls AdaGrad the best here, and
warns that no method is best everywhere.
"""

import numpy as np

from xpnet import SGD, to_numpy
from xpnet.optim import AdaGrad, Adam, Momentum, Optimizer
from xpnet.report.experiment import Lab, main

START = (-7.0, 2.0)
# The positions after one step and after two, and how exactly they are known.
WORKED = {
    "SGD": ((-6.335, -1.8), (-5.733175, 1.62), 1e-12),
    "Momentum": ((-6.93, 1.6), (-6.7977, 0.92), 1e-12),
    "AdaGrad": ((-5.5, 0.5), (-4.573268, 0.136197), 1e-6),
    "Adam": ((-6.700001, 1.7), (-6.400417, 1.402246), 1e-5),
}


def f(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Compute eq. 6.2; the gradient is (x / 10, 2 y)."""
    return np.asarray(x**2 / 20 + y**2)


def descend(lab: Lab, optimizer: Optimizer, steps: int = 30) -> np.ndarray:
    """List the positions from START on, (steps + 1, 2)."""
    p, slopes = lab.device.asarray(START), lab.device.asarray((0.1, 2.0))
    path = [START]
    for _ in range(steps):
        optimizer.update({"p": p}, {"p": slopes * p})
        path.append(tuple(to_numpy(p)))
    return np.asarray(path)


def run(lab: Lab) -> None:
    """Take the steps, compare the paths and draw them over the surface's contours."""
    optimizers = {
        "SGD": SGD(lr=0.95),
        "Momentum": Momentum(lr=0.1),
        "AdaGrad": AdaGrad(lr=1.5),
        "Adam": Adam(lr=0.3),
    }
    paths = {name: descend(lab, optimizer) for name, optimizer in optimizers.items()}
    for name, (first, second, atol) in WORKED.items():
        lab.equal(f"{name}: steps 1 and 2", paths[name][1:3], [first, second], atol=atol)

    turns = {name: np.sum(np.diff(np.sign(path[:, 1])) != 0) for name, path in paths.items()}
    length = {n: np.hypot(*np.diff(path, axis=0).T).sum() for n, path in paths.items()}
    left = {name: np.hypot(*path[-1]) for name, path in paths.items()}
    lab.equal("SGD: times that 30 steps cross y = 0", turns["SGD"], 30, book="zig-zags")
    for name, book in {"Momentum": "less than SGD", "Adam": "less swing"}.items():
        lab.holds(
            f"{name}: crosses y = 0 less often than SGD, on a shorter way",
            turns[name] < turns["SGD"] and length[name] < length["SGD"],
            f"{turns[name]} times, {length[name]:.1f} long; SGD {length['SGD']:.1f}",
            book=book,
        )
    for what, values in {"shortest way": length, "ends nearest to (0, 0)": left}.items():
        shown = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
        lab.holds(
            f"AdaGrad: {what}", values["AdaGrad"] == min(values.values()), shown, book="the best"
        )

    x, y = np.meshgrid(np.linspace(-10, 10, 21), np.linspace(-5, 5, 11))
    downhill = -np.stack([x / 10, 2 * y])
    home = -np.stack([x, y])
    away = ~np.all(home == 0, axis=0)  # at the goal there is no direction
    cosine = np.sum(downhill * home, axis=0)[away] / (
        np.hypot(*downhill[:, away]) * np.hypot(*home[:, away])
    )
    angles = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    lab.check(
        "share of arrows that miss (0, 0) by more than 15 degrees",
        np.mean(angles > 15),
        low=0.5,
        book="mostly not toward (0, 0)",
    )

    figure = lab.figure(11, 6.6)
    surface = figure.add_subplot(2, 3, 1, projection="3d")
    X, Y = np.meshgrid(np.linspace(-10, 10, 81), np.linspace(-10, 10, 81))
    surface.plot_surface(X, Y, f(X, Y), cmap="viridis", rcount=40, ccount=40, linewidth=0)
    surface.set(xlabel="x", ylabel="y", title="f = x$^2$/20 + y$^2$")
    field = figure.add_subplot(2, 3, 2)
    field.quiver(x, y, *downhill, angles="xy", color="0.35", width=0.004)
    field.plot(0, 0, "+", color="C3", markersize=12, zorder=3)
    field.set(xlabel="x", ylabel="y", title="minus the gradient")
    for place, (name, path) in zip((3, 4, 5, 6), paths.items(), strict=True):
        axes = figure.add_subplot(2, 3, place)
        axes.contour(X, Y, f(X, Y), levels=np.arange(0.5, 7.5, 0.5), colors="0.75", linewidths=0.8)
        axes.plot(*path.T, ".-", color="C3", linewidth=1.2)
        axes.plot(0, 0, "+", color="black", markersize=10)
        axes.set(xlim=(-10, 10), ylim=(-10, 10), xlabel="x", ylabel="y")
        axes.set_title(f"{name}, {length[name]:.1f} long")


if __name__ == "__main__":
    main(run, __doc__)
