"""What do three layers with given weights make of (1, 0.5)? (Sections 3.4, 3.5)

    python scripts/deep_learning_from_scratch/ch03_three_layer_net.py

Two hidden layers with the sigmoid and an output without; then the softmax of another three numbers.
"""

import numpy as np

from xpnet import Affine, Network, Sigmoid, softmax, to_numpy
from xpnet.report.experiment import Lab, main

PARAMS = {
    "W1": [[0.1, 0.3, 0.5], [0.2, 0.4, 0.6]],
    "b1": [0.1, 0.2, 0.3],
    "W2": [[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]],
    "b2": [0.1, 0.2],
    "W3": [[0.1, 0.3], [0.2, 0.4]],
    "b3": [0.1, 0.2],
}


def run(lab: Lab) -> None:
    """Compare every layer with the printed numbers."""
    layers = [Affine(2, 3), Sigmoid(), Affine(3, 2), Sigmoid(), Affine(2, 2)]
    net = Network(layers, names="book", device=lab.device, dtype="float64")
    for name, values in PARAMS.items():
        net.params[name] = lab.device.asarray(values, dtype="float64")

    x = net.place(np.array([1.0, 0.5]))
    a1, _ = layers[0].forward(x)
    z1, _ = layers[1].forward(a1)
    lab.equal("A1", to_numpy(a1), [0.3, 0.7, 1.1], atol=1e-12)
    lab.equal("Z1", to_numpy(z1), [0.57444252, 0.66818777, 0.75026011], atol=5e-9)
    lab.equal("output", to_numpy(net.predict(x)), [0.31682708, 0.69627909], atol=5e-9)

    y = softmax(np.array([0.3, 2.9, 4.0]))
    printed = [0.01821127, 0.24519181, 0.73659691]
    lab.equal("softmax of 0.3, 2.9, 4", y, printed, atol=5e-9)
    lab.equal("its sum", np.sum(y), 1, atol=1e-12)
    y = softmax(np.array([1010.0, 1000.0, 990.0]))
    printed = [9.99954600e-01, 4.53978686e-05, 2.06106005e-09]
    lab.equal("softmax of 1010, 1000, 990", y, printed, atol=5e-9)


if __name__ == "__main__":
    main(run, __doc__)
