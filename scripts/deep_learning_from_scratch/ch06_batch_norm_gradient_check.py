"""Are the gradients right with batch normalization? (The companion code of section 6.3)

    python scripts/deep_learning_from_scratch/ch06_batch_norm_gradient_check.py

Backpropagation against central differences in float64, on the training pass, where a batch's mean
and variance depend on its images too. With one image they are that image, so every normalized value
is 0: the output no longer depends on the weights below, and a check of them would show nothing.
"""

import numpy as np

from xpnet import MultiLayerNetExtend, gradient_check, to_numpy
from xpnet.report.experiment import Lab, main


def run(lab: Lab) -> None:
    """Compare the gradients of every parameter, and draw the differences beside their sizes."""
    hidden = [lab.few(10, 3)] * 2
    network = MultiLayerNetExtend(
        784, hidden, 10, use_batchnorm=True, rng=lab.seed, device=lab.device, dtype="float64"
    )
    x, t = lab.digits.x_train[:20].reshape(20, -1) / 255, lab.digits.t_train[:20]
    differences = gradient_check(network, x, t)
    gradient = network.gradient(x, t)
    sizes = {name: np.mean(np.abs(to_numpy(g))) for name, g in gradient.items()}
    for name, difference in differences.items():
        lab.check(f"mean difference, {name}", difference, high=1e-7)
    single = network.gradient(x[:1], t[:1])
    largest = max(float(np.max(np.abs(to_numpy(single[name])))) for name in ("W1", "W2"))
    lab.equal("largest gradient of W1 and W2 on one image", largest, 0.0)

    axes = lab.figure(7, 4).subplots()
    places = np.arange(len(sizes))
    axes.bar(places - 0.2, list(sizes.values()), 0.4, label="mean |gradient|")
    axes.bar(places + 0.2, list(differences.values()), 0.4, label="mean |difference|")
    axes.set(yscale="log", ylim=(1e-18, 1e3))
    axes.set_xticks(places, list(sizes))
    axes.set_title("b1 and b2 have none: batch normalization takes the mean away", size=10)
    axes.legend(ncols=2, loc="upper center")


if __name__ == "__main__":
    main(run, __doc__)
