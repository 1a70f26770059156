"""What do step, sigmoid and ReLU look like? (Figures 3-6 to 3-9; section 3.2)

    python scripts/deep_learning_from_scratch/ch03_activations.py

Step and sigmoid both go from 0 to 1, one with a jump, one smoothly; ReLU has no upper end.
"""

import numpy as np

from xpnet import relu, sigmoid, step_function
from xpnet.report.experiment import Lab, main


def run(lab: Lab) -> None:
    """Draw them on -5 to 5, and check the printed values."""
    x = np.arange(-5.0, 5.0, 0.1)
    step, smooth, rectified = step_function(x), sigmoid(x), relu(x)

    a = np.array([-1.0, 1.0, 2.0])
    lab.equal("step of -1, 1, 2", step_function(a), [0, 1, 1])
    printed = [0.26894142, 0.73105858, 0.88079708]
    lab.equal("sigmoid of -1, 1, 2", sigmoid(a), printed, atol=5e-9)
    lab.equal("ReLU of -1, 1, 2", relu(a), [0, 1, 2])
    lab.equal("step of 0", step_function(0.0), 0)
    # Not 50: rounding puts the point in the middle at -1.8e-14.
    lab.equal("ones among the 100 points of Figure 3-6", np.sum(step), 49)
    bounds = f"{smooth.min():.4f} to {smooth.max():.4f}"
    within = bool(np.all((smooth > 0) & (smooth < 1)))
    lab.holds("sigmoid lies between 0 and 1", within, bounds, book="between 0 and 1")
    lab.check("largest step of the sigmoid from point to point", np.diff(smooth).max(), 0, 0.025)

    panels = lab.figure(9, 6).subplots(2, 2)
    panels[0, 0].plot(x, step, drawstyle="steps")
    panels[0, 1].plot(x, smooth)
    panels[1, 0].plot(x, smooth, label="sigmoid")
    panels[1, 0].plot(x, step, "k--", drawstyle="steps", label="step")
    panels[1, 0].legend()
    panels[1, 1].plot(x, rectified)
    titles = ("3-6: step", "3-7: sigmoid", "3-8: sigmoid and step", "3-9: ReLU")
    for axes, title in zip(panels.flat, titles, strict=True):
        axes.set(xlabel="x", ylabel="h(x)", title=title)
        if axes is not panels[1, 1]:
            axes.set_ylim(-0.1, 1.1)


if __name__ == "__main__":
    main(run, __doc__)
