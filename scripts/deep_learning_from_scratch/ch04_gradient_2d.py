"""Where do the gradients of a bowl point? (Figures 4-8, 4-9; section 4.4)

    python scripts/deep_learning_from_scratch/ch04_gradient_2d.py

x0^2 + x1^2 as a surface, and its negative numerical gradients as arrows: all to the minimum, the
longer the farther away.
"""

import numpy as np

from xpnet import numerical_diff, numerical_gradient
from xpnet.report.experiment import Lab, main


def function_2(x: np.ndarray) -> np.ndarray:
    """Compute eq. 4.6; the sum over more points than one has the gradient of each at its place."""
    return np.sum(x**2)


def run(lab: Lab) -> None:
    """Draw surface and arrows, and check the printed gradients."""
    partial = numerical_diff(lambda x: x * x + 16.0, 3.0), numerical_diff(lambda x: 9 + x * x, 4.0)
    lab.equal("df/dx0 at 3, 4", partial[0], 6.00000000000378, atol=1e-10, book="6.00000000000378")
    lab.equal("df/dx1 at 3, 4", partial[1], 7.999999999999119, atol=1e-10, book="7.999999999999119")
    for at, printed in (((3.0, 4.0), [6, 8]), ((0.0, 2.0), [0, 4]), ((3.0, 0.0), [6, 0])):
        gradient = numerical_gradient(function_2, np.array(at))
        lab.equal(f"gradient at {at[0]:g}, {at[1]:g}", gradient, printed, atol=1e-10)

    side = np.arange(-2, 2.01, 0.25)
    x0, x1 = np.meshgrid(side, side)
    points = np.stack([x0, x1], axis=-1).reshape(-1, 2)
    arrows = -numerical_gradient(function_2, points)
    lab.equal("largest distance of an arrow from -2 x", np.abs(arrows + 2 * points).max(), 0,
              atol=1e-8, book="towards 0, longer farther out")  # fmt: skip

    figure = lab.figure(10, 4.4)
    surface = figure.add_subplot(1, 2, 1, projection="3d")
    surface.plot_surface(x0, x1, x0**2 + x1**2, cmap="viridis")
    surface.set(xlabel="x$_0$", ylabel="x$_1$", title="4-8: f = x$_0^2$ + x$_1^2$")
    surface.set_zlabel("f", labelpad=0)
    surface.set_box_aspect(None, zoom=0.95)
    plane = figure.add_subplot(1, 2, 2)
    plane.quiver(*points.T, *arrows.T, angles="xy", color="0.3")
    plane.set(xlabel="x$_0$", ylabel="x$_1$", title="4-9: negative gradient", aspect="equal")


if __name__ == "__main__":
    main(run, __doc__)
