"""What does regularisation do with all 50,000 images? (Chapter 3)

    python scripts/neural_networks_and_deep_learning/ch3_regularization.py --data mnist

784-30-10 with cross-entropy, 30 epochs of batches of 10, eta 0.5, large initial weights: O2 without
regularisation and R2 with lmbda 5.0, which for 50,000 images is what 0.1 is for 1,000. So many
images leave little to overfit, and the gap between training and test still narrows. O2 begins from
other weights than C1 of `ch3_cross_entropy`, which is the same experiment.
"""

from _nielsen import draw, length, parts, trained
from xpnet.books.nielsen import CrossEntropyCost
from xpnet.report.experiment import Lab, main


def run(lab: Lab) -> None:
    """Train both and draw."""
    training, _, test = parts(lab)
    free, decayed = (
        trained(
            lab,
            [784, 30, 10],
            training,
            test,
            epochs=lab.few(30, 1),
            eta=0.5,
            cost=CrossEntropyCost,
            lmbda=lmbda,
            monitor_training=True,
            seed=1,
        )
        for lmbda in (0.0, 5.0)
    )
    gaps = [run.training.max() - run.evaluation.max() for run in (free, decayed)]
    full = {"full": True}
    lab.check("O2: best epoch on training images, %", free.training.max(), book="97.86")
    lab.check("O2: best epoch on test images, %", free.evaluation.max(), 94.5, book="95.33", **full)
    lab.check("O2: gap, points", gaps[0], 1.5, 4, book="2.53", **full)
    lab.check("R2: best epoch, %", decayed.evaluation.max(), 95.8, book="96.49", **full)
    lab.check("R2: gap, points", gaps[1], high=1.5, book="below 1", **full)
    lab.holds("R2 reads more than O2", decayed.evaluation.max() > free.evaluation.max(), **full)
    lengths = length(free.network), length(decayed.network)
    lab.holds(
        "W1: R2 has shorter weights",
        lengths[1] < lengths[0],
        f"{lengths[1]:.0f} and {lengths[0]:.0f}",
        book="shorter",
        full=True,
    )

    panels = lab.figure(9.5, 3.6).subplots(1, 2, sharey=True)
    for axes, curves, title in zip(
        panels, (free, decayed), ("O2: no regularisation", "R2: lmbda 5"), strict=True
    ):
        draw(
            axes, {"training": curves.training, "test": curves.evaluation}, "read rightly, %", title
        )
    if lab.complete:
        panels[0].set_ylim(90, 100)


if __name__ == "__main__":
    main(run, __doc__)
