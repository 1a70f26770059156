"""What is good and what is bad about learning from one image at a time? (Chapter 1, exercise 6)

    python scripts/neural_networks_and_deep_learning/ch1_online_learning.py --data mnist

784-30-10, quadratic cost, mini-batches of 1 and of 20, with the same eta an image: a step along the
mean of 20 gradients is 20 times as long. After the first images online learning has taken 20 times
as many steps; but its single gradients point farther away from that of all the data, and an epoch
takes longer, since 20 small products cost more than a large one. The book gives no numbers.
"""

import time

import numpy as np

from _nielsen import parts, rows
from xpnet import to_numpy
from xpnet.books.nielsen import Network
from xpnet.report.experiment import Lab, main

ETA = 0.3
"""The learning rate of an image."""


def cosine(network: Network, x: np.ndarray, y: np.ndarray, part: np.ndarray) -> float:
    """Compute the cosine of the angle between the gradients by some samples and by all of them."""
    device = network.network.device

    def gradient(of: np.ndarray | slice) -> np.ndarray:
        nabla_b, nabla_w = network.backprop(device.asarray(x[of].T), device.asarray(y[of].T))
        return np.concatenate([to_numpy(g).ravel() for g in (*nabla_b, *nabla_w)])

    one, other = gradient(part), gradient(slice(None))
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def run(lab: Lab) -> None:
    """Train both ways, and compare gradients where training begins."""
    training, _, test = parts(lab)
    (x, t), _, _ = rows(lab)
    first = training[: lab.few(10000, 200)]
    x, y = x[: len(first)], np.eye(10, dtype=np.float32)[t[: len(first)]]
    right, seconds, angle = {}, {}, {}
    for batch in (1, 20):
        network = Network([784, 30, 10], rng=lab.seed, device=lab.device, dtype="float32")
        draws = lab.rng.integers(len(first), size=(lab.few(200, 5), batch))
        angle[batch] = np.mean([cosine(network, x, y, part) for part in draws])
        begin = time.perf_counter()
        network.SGD(first, lab.few(3, 1), batch, ETA * batch, verbose=False)
        seconds[batch] = time.perf_counter() - begin
        right[batch] = 100 * network.evaluate(test) / len(test)
    for batch in (1, 20):
        lab.check(f"batches of {batch}: read rightly, %", right[batch], 60, full=True)
        lab.check(f"batches of {batch}: cosine with the whole gradient", angle[batch])
    lab.holds(
        "one image tells less of the gradient than 20",
        angle[1] < angle[20],
        f"{angle[1]:.2f} and {angle[20]:.2f}",
    )
    lab.check("time of batches of 1 by that of 20", seconds[1] / seconds[20], 1, full=True)

    panels = lab.figure(9, 3).subplots(1, 3)
    for axes, values, title in zip(
        panels,
        (right, angle, seconds),
        ("test images read rightly, %", "cosine with the whole gradient", "seconds"),
        strict=True,
    ):
        axes.bar(["1 image", "20 images"], list(values.values()))
        axes.set(title=title)


if __name__ == "__main__":
    main(run, __doc__)
