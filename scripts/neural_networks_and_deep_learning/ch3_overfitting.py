"""What does a network learn from 1,000 images, with and without regularisation? (Chapter 3)

    python scripts/neural_networks_and_deep_learning/ch3_overfitting.py --data mnist

784-30-10 with cross-entropy on the first 1,000 images, 400 epochs of batches of 10, eta 0.5, large
initial weights: O1 without regularisation, R1 with lmbda 0.1. O1 reads all its training images and
no more of the others than one that was stopped early; its cost on these rises from the fifteenth
epoch on. R1 has far shorter weights and reads more. Both are repeated with four more seeds, to see
how their ends scatter. The cost on test images has the decay's term with their own number as n.
"""

import numpy as np

from _nielsen import Curves, draw, length, parts, trained
from xpnet import EarlyStopping
from xpnet.books.nielsen import CrossEntropyCost
from xpnet.report.experiment import Lab, main

LMBDAS = {"O1": 0.0, "R1": 0.1}


def train(lab: Lab, name: str, *, seed: int = 0, monitor: bool = True) -> Curves:
    """Train one run of O1 or R1."""
    training, _, test = parts(lab)
    return trained(
        lab,
        [784, 30, 10],
        training[:1000],
        test,
        epochs=lab.few(400, 3),
        eta=0.5,
        cost=CrossEntropyCost,
        lmbda=LMBDAS[name],
        monitor=monitor,
        monitor_training=monitor,
        monitor_costs=monitor,
        seed=seed,
    )


def run(lab: Lab) -> None:
    """Train both, again and again, and draw the first."""
    free, decayed = train(lab, "O1"), train(lab, "R1")
    epochs = len(free.training)
    best = {"O1": free.evaluation.max(), "R1": decayed.evaluation.max()}

    full = {"full": True}
    last, least = free.training[-1], free.evaluation_cost.min()
    lab.check("O1: last epoch on training images, %", last, 100, 100, book="100", **full)
    complete = int(np.argmax(free.training == 100))
    lab.check("O1: first epoch that reads them all", complete, book="67 in the author's run")
    lab.check("O1: best epoch on test images, %", best["O1"], 80, 85, book="82.27", **full)
    lowest = int(free.evaluation_cost.argmin())
    lab.check("O1: epoch of the lowest test cost", lowest, high=39, book="about 15", **full)
    risen = free.evaluation_cost[-1] / least
    lab.check("O1: last test cost by the lowest", risen, 1.2, book="rises", **full)
    fallen = free.training_cost[-1] / free.training_cost[epochs // 2]
    lab.check("O1: last training cost by epoch 200's", fallen, high=1, book="falls", **full)
    lab.check("O1: epoch of the best accuracy", free.evaluation.argmax(), book="about 280")
    stop = EarlyStopping(patience=50)
    stopped = next((n for n in range(1, epochs) if stop.is_over(free.evaluation[:n])), epochs)
    kept = free.evaluation[:stopped].max()
    what = f"O1: stopped after {stopped} epochs, 50 without a rise: best, %"
    lab.check(what, kept, best["O1"] - 1.5, **full)
    lab.check("R1: best epoch on test images, %", best["R1"], 85, 89, book="87.1", **full)
    lab.holds("R1 reads more than O1", best["R1"] > best["O1"], book="more", full=True)
    lab.check("O1: gap between the best epochs, points", last - best["O1"], book="17.73")
    lengths = length(free.network), length(decayed.network)
    lab.holds(
        "W1: R1 has shorter weights",
        lengths[1] < lengths[0],
        f"{lengths[1]:.0f} and {lengths[0]:.0f}",
        book="shorter",
        full=True,
    )
    test = parts(lab).test
    for name, first in (("O1", free), ("R1", decayed)):
        others = [train(lab, name, seed=k, monitor=False) for k in range(1, lab.few(5, 2))]
        ends = [100 * found.network.evaluate(test) / len(test) for found in (first, *others)]
        lab.check(f"W1: {name}, last epochs of {len(ends)} runs, widest apart", np.ptp(ends))

    panels = lab.figure(10, 6.5).subplots(2, 2)
    draw(
        panels[0, 0],
        {"O1": free.training_cost, "R1": decayed.training_cost},
        "cost",
        "on the 1,000 training images",
    )
    draw(
        panels[0, 1],
        {"O1": free.evaluation_cost, "R1": decayed.evaluation_cost},
        "cost",
        "on test images",
    )
    for axes, name, found in zip(panels[1], LMBDAS, (free, decayed), strict=True):
        curves = {"training": found.training, "test": found.evaluation}
        draw(axes, curves, "read rightly, %", f"{name}: lmbda {LMBDAS[name]:g}")


if __name__ == "__main__":
    main(run, __doc__)
