"""What shapes does the two-layer network have? (Section 4.5.1)

    python scripts/deep_learning_from_scratch/ch04_two_layer_net.py

784 inputs, 100 hidden units with the sigmoid, 10 outputs; on random inputs and targets.
"""

import numpy as np

from xpnet import TwoLayerNet, to_numpy
from xpnet.report.experiment import Lab, main

SHAPES = {"W1": (784, 100), "b1": (100,), "W2": (100, 10), "b2": (10,)}


def run(lab: Lab) -> None:
    """Check shapes of parameters, outputs and gradients."""
    net = TwoLayerNet(784, 100, 10, activation="sigmoid", rng=lab.seed, device=lab.device)
    x, t = lab.rng.random((100, 784)), lab.rng.random((100, 10))
    y, grads = to_numpy(net.probabilities(x)), net.gradient(x, t)
    for name, shape in SHAPES.items():
        lab.equal(f"shape of {name}", net.params[name].shape, shape)
        lab.equal(f"shape of the gradient of {name}", grads[name].shape, shape)
    lab.equal("parameters", sum(p.size for p in net.params.values()), 79510)
    lab.equal("shape of the outputs", y.shape, (100, 10))
    lab.equal("sum of every row", y.sum(axis=1), np.ones(100), atol=1e-5, book="1")


if __name__ == "__main__":
    main(run, __doc__)
