"""Which optimizer brings the loss on MNIST down fastest? (Figure 6-9)

    python scripts/deep_learning_from_scratch/ch06_optimizer_compare_mnist.py --data mnist

Four hidden layers of 100 ReLU units, 2000 steps on batches of 128, each optimizer at its default
rate, all from the same weights and on the same batches. The bands are 20 % about the means of an
independent float64 run.
"""

import numpy as np

from _shared import smooth_curve, training_losses
from xpnet import SGD, MultiLayerNet
from xpnet.optim import AdaGrad, Adam, Momentum
from xpnet.report.experiment import Lab, main

# Mean loss of the 100 steps about step 500, and of the last 100.
EXPECTED = {
    "SGD": (0.41, 0.23),
    "Momentum": (0.18, 0.075),
    "AdaGrad": (0.13, 0.06),
    "Adam": (0.14, 0.053),
}


def run(lab: Lab) -> None:
    """Train four times, compare and draw."""
    optimizers = {"SGD": SGD(), "Momentum": Momentum(), "AdaGrad": AdaGrad(), "Adam": Adam()}
    axes = lab.figure(7, 4.5).subplots()
    at_500 = {}
    for (name, optimizer), marker in zip(optimizers.items(), "oxsD", strict=True):
        network = MultiLayerNet(784, [100] * 4, 10, rng=lab.seed, device=lab.device)
        losses = training_losses(lab, network, optimizer, lab.few(2000, 40))
        axes.plot(smooth_curve(losses), marker=marker, markevery=100, linewidth=1, label=name)
        at_500[name] = np.mean(losses[450:550]) if len(losses) > 550 else np.mean(losses)
        middle, end = EXPECTED[name]
        means = (("near step 500", middle, at_500[name]), ("last 100", end, losses[-100:].mean()))
        for when, expected, mean in means:
            lab.check(f"{name}: mean loss, {when}", mean, 0.8 * expected, 1.2 * expected, full=True)
    others = [at_500[name] for name in ("Momentum", "AdaGrad", "Adam")]
    shown = ", ".join(f"{name} {loss:.3f}" for name, loss in at_500.items())
    lab.holds(
        "SGD slowest: twice the loss of any other near step 500",
        at_500["SGD"] > 2 * max(others),
        shown,
        book="SGD slowest, the others about equal",
        full=True,
    )
    lab.holds(
        "AdaGrad lowest near step 500",
        at_500["AdaGrad"] == min(others),
        shown,
        book="AdaGrad slightly fastest",
        full=True,
    )
    axes.set(xlabel="iterations", ylabel="loss, smoothed", ylim=(0, 1))
    axes.legend()


if __name__ == "__main__":
    main(run, __doc__)
