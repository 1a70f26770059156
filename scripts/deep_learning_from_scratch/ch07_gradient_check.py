"""Are the gradients of a convolutional network right? (The companion code of chapter 7)

    python scripts/deep_learning_from_scratch/ch07_gradient_check.py

Backpropagation against central differences in float64: SimpleConvNet with 10 filters of 3 x 3 and
10 hidden units on one random image of 10 x 10 with label 1, the mean absolute difference for each
parameter, with the bounds of section 5.7.3.

A central difference across a kink is wrong, however right backpropagation is: ReLU has one, and a
pool wherever another pixel becomes the largest. So networks are drawn anew until no kink is near.
Initial weights are larger than the book's, whose outputs are all near to ReLU's kink.
"""

import numpy as np

from xpnet import SimpleConvNet, gradient_check, to_numpy
from xpnet.functions.gradients import H
from xpnet.report.experiment import Lab, main

BOUNDS = {"W1": 1e-11, "b1": 1e-11, "W2": 1e-11, "b2": 1e-11, "W3": 1e-11, "b3": 1e-9}
PARAM = {"filter_num": 10, "filter_size": 3, "pad": 0, "stride": 1}


def nearest_kink(network: SimpleConvNet, x: np.ndarray) -> float:
    """How little an output must change for a unit to begin or end, or a pool to choose another."""
    layers = network.layers
    convolved = layers["Conv1"].forward(x)[0]
    pooled = layers["Pool1"].forward(layers["Relu1"].forward(convolved)[0])[0]
    hidden = to_numpy(layers["Affine1"].forward(pooled)[0])
    maps = to_numpy(convolved)
    windows = maps.reshape(10, 4, 2, 4, 2).swapaxes(2, 3).reshape(-1, 4)
    second, first = np.sort(windows, axis=1)[:, -2:].T
    rivals = (first - second)[first > 0] / 2  # both may move
    return float(min(np.abs(maps).min(), np.abs(hidden).min(), rivals.min()))


def run(lab: Lab) -> None:
    """Check, and draw the differences beside their bounds."""
    rng = lab.rng
    x = lab.device.asarray(rng.random((1, 1, 10, 10)))
    nearest = 0.0
    while nearest < 2 * H:  # a weight or bias that moves by h moves a unit behind it by h or less
        network = SimpleConvNet(
            (1, 10, 10), PARAM, 10, 10, 0.05, rng=rng, device=lab.device, dtype="float64"
        )
        nearest = nearest_kink(network, x)
    differences = gradient_check(network, x, np.array([1]))
    for name, bound in BOUNDS.items():
        lab.check(f"mean difference of {name}", differences[name], 0, bound, book="small")

    axes = lab.figure(5.5, 3.4).subplots()
    gradient = network.gradient(x, np.array([1]))
    sizes = [np.mean(np.abs(to_numpy(gradient[name]))) for name in differences]
    axes.semilogy(list(differences), sizes, "s", fillstyle="none", label="mean |gradient|")
    axes.semilogy(list(differences), list(differences.values()), "o", label="mean |difference|")
    axes.semilogy(list(BOUNDS), list(BOUNDS.values()), "k_", markersize=30, label="accepted")
    axes.set(ylabel="mean over a parameter", ylim=(1e-14, 10))
    axes.legend(loc="center left", markerscale=0.5)


if __name__ == "__main__":
    main(run, __doc__)
