"""What would gradients cost without backpropagation? (Chapter 2)

    python scripts/neural_networks_and_deep_learning/ch2_cost_of_gradients.py

By (C(w + e) - C(w)) / e for each parameter by itself (eq. 46): one forward pass more than there are
parameters, 23,861 for 784-30-10 and an image. Backpropagation needs one forward and one backward.
"""

import time

import numpy as np

from xpnet.books.nielsen import Network
from xpnet.report.experiment import Lab, main

E = 1e-6


def by_differences(network: Network, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, int]:
    """Take one-sided differences, laid out as the parameters are; count the forward passes."""
    passes = 0

    def cost() -> float:
        nonlocal passes
        passes += 1
        return network.cost.fn(network.feedforward(x), y)

    base, gradients = cost(), []
    for parameter in network.network.params.values():
        for index in np.ndindex(parameter.shape):
            kept = parameter[index]
            parameter[index] = kept + E
            gradients.append((cost() - base) / E)
            parameter[index] = kept
    return np.array(gradients), passes


def run(lab: Lab) -> None:
    """Take the gradient in both ways; on the CPU, where so many small passes cost least."""
    rng = lab.rng
    network = Network([784, lab.few(30, 1), 10], rng=rng)
    x, y = 0.1 * rng.random((784, 1)), np.eye(10)[:, [3]]
    count = network.network.params.count

    begin = time.perf_counter()
    numerical, passes = by_differences(network, x, y)
    middle = time.perf_counter()
    nabla_b, nabla_w = network.backprop(x, y)
    end = time.perf_counter()
    pieces = [g for b, w in zip(nabla_b, nabla_w, strict=True) for g in (w.T, b)]
    exact = np.concatenate([piece.ravel() for piece in pieces])

    lab.equal(f"forward passes for {count} parameters", passes, count + 1)
    lab.check("largest difference of the two gradients", np.abs(numerical - exact).max(), 0, 1e-6)
    ratio = (middle - begin) / (end - middle)
    lab.check("how many times as long", ratio, 100, book="a forward pass for each")

    axes = lab.figure(4.5, 3.4).subplots()
    axes.plot(exact, numerical, ".", markersize=2)
    axes.set(xlabel="by backpropagation", ylabel="by differences", title="derivatives of the cost")


if __name__ == "__main__":
    main(run, __doc__)
