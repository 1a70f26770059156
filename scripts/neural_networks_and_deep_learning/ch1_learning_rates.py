"""What do a too small and a too large learning rate look like? (Chapter 1)

    python scripts/neural_networks_and_deep_learning/ch1_learning_rates.py --data mnist

784-100-10 with eta 0.001, 0.01, 0.1 and 1.0, and 784-30-10 with eta 100, 30 epochs of batches of
10, quadratic cost. From 0.001 to 1.0 the network gets the better the larger eta is, and with 100 it
reads no more than a guess would. The book's next eta is the 3.0 of `ch1_mnist`.
"""

from itertools import pairwise

import numpy as np

from _nielsen import draw, parts, trained
from xpnet.report.experiment import Lab, main

ETAS = (0.001, 0.01, 0.1, 1.0)


def run(lab: Lab) -> None:
    """Train and draw."""
    training, _, test = parts(lab)
    epochs = lab.few(30, 1)
    curves = {
        eta: trained(lab, [784, 100, 10], training, test, epochs=epochs, eta=eta).evaluation
        for eta in ETAS
    }
    slow = curves[0.001]
    lab.check("eta 0.001: best epoch, %", slow.max(), high=35, book="21.42", full=True)
    lab.check("eta 0.001: last less first epoch, points", slow[-1] - slow[0], book="10.03")
    ends = [curve[-1] for curve in curves.values()]
    lab.holds(
        "last epochs grow with eta",
        all(a < b for a, b in pairwise(ends)),
        ", ".join(f"{end:.1f}" for end in ends),
        book="better results",
        full=True,
    )
    high = trained(lab, [784, 30, 10], training, test, epochs=epochs, eta=100.0).evaluation
    lab.check("eta 100: best epoch, %", high.max(), high=25, book="10.09", full=True)
    spread = np.ptp(high[2:]) if len(high) > 2 else 0.0
    lab.check("eta 100: widest change after epoch 2, points", spread, high=3, full=True)

    named = {f"eta {eta:g}": curve for eta, curve in (curves | {100.0: high}).items()}
    draw(lab.figure().subplots(), named, "test images read rightly, %")


if __name__ == "__main__":
    main(run, __doc__)
