"""Ten outputs, or four that are the digit in binary? (Chapter 1)

    python scripts/neural_networks_and_deep_learning/ch1_output_codes.py --data mnist

784-30-10 and 784-30-4, 30 epochs of batches of 10, eta 3.0, quadratic cost. What is read is the
digit whose code is nearest to the outputs, which for ten of them is the highest one.
"""

import numpy as np

from _nielsen import rows
from xpnet import to_numpy
from xpnet.books.nielsen import Network
from xpnet.report.experiment import Lab, main

DIGITS = np.arange(10)[:, np.newaxis]
CODES = {
    "ten outputs": (np.arange(10) == DIGITS).astype(float),
    "four outputs": ((DIGITS >> np.arange(4)) & 1).astype(float),
}


def read_rightly(lab: Lab, codes: np.ndarray) -> float:
    """Test images read rightly, in percent, by a network that was taught these codes."""
    (x, t), _, (x_test, t_test) = rows(lab)
    network = Network([784, 30, codes.shape[1]], rng=lab.seed, device=lab.device, dtype="float32")
    data = list(zip(x[..., np.newaxis], codes[t][..., np.newaxis], strict=True))
    network.SGD(data, lab.few(30, 1), 10, 3.0, verbose=False)
    outputs = to_numpy(network.feedforward(lab.device.asarray(x_test.T))).T
    distances = np.sum((outputs[:, np.newaxis] - codes) ** 2, axis=-1)
    return 100 * float(np.mean(distances.argmin(axis=1) == t_test))


def run(lab: Lab) -> None:
    """Train both and draw."""
    right = {name: read_rightly(lab, codes) for name, codes in CODES.items()}
    ten, four = right.values()
    lab.check("ten outputs, %", ten, 94, 96, full=True)
    lab.check("four outputs, %", four, 90, 94.5, full=True)
    lab.check("points by which ten are better", ten - four, 0.5, book="ten are better", full=True)

    axes = lab.figure(4.5, 3.4).subplots()
    axes.bar(list(right), list(right.values()))
    axes.set(ylabel="test images read rightly, %", ylim=(80 if lab.complete else 0, 100))


if __name__ == "__main__":
    main(run, __doc__)
