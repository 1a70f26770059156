"""How well does a regularised network of 100 hidden units read digits? (Chapter 3)

    python scripts/neural_networks_and_deep_learning/ch3_validation.py --data mnist

784-100-10 with cross-entropy and lmbda 5.0, batches of 10, large initial weights: R3 with eta 0.5
for 30 epochs, R4 with eta 0.1 for 60. Rates and epochs are chosen by the 10,000 validation images,
which are no part of the training data; the test images are read once, at the end, by R4.
"""

from _nielsen import draw, parts, trained
from xpnet.books.nielsen import CrossEntropyCost
from xpnet.report.experiment import Lab, main


def run(lab: Lab) -> None:
    """Train both and draw."""
    training, validation, test = parts(lab)
    fast, slow = (
        trained(
            lab,
            [784, 100, 10],
            training,
            validation,
            epochs=epochs,
            eta=eta,
            cost=CrossEntropyCost,
            lmbda=5.0,
        )
        for epochs, eta in ((lab.few(30, 1), 0.5), (lab.few(60, 1), 0.1))
    )
    what = "best epoch on validation images, %"
    lab.check(f"R3: {what}", fast.evaluation.max(), 97.3, book="97.92", full=True)
    lab.check(f"R4: {what}", slow.evaluation.max(), 97.6, book="98.04", full=True)
    read = 100 * slow.network.evaluate(test) / len(test)
    lab.check("R4: test images, read once, %", read, 97.2, full=True)
    curves = {"R3: eta 0.5": fast.evaluation, "R4: eta 0.1": slow.evaluation}
    axes = lab.figure().subplots()
    draw(axes, curves, "validation images read rightly, %")
    if lab.complete:
        axes.set_ylim(94, 98.5)


if __name__ == "__main__":
    main(run, __doc__)
