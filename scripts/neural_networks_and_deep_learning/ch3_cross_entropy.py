"""Does another cost read more digits? (Chapter 3)

    python scripts/neural_networks_and_deep_learning/ch3_cross_entropy.py --data mnist

784-30-10 and 784-100-10 with cross-entropy, 30 epochs of batches of 10, eta 0.5, large initial
weights; and 784-30-10 with softmax and the log-likelihood, for which the book has an exercise and
no number: it is judged by being close to cross-entropy. What the quadratic cost reads is in
`ch1_mnist`.
"""

from _nielsen import draw, parts, trained
from xpnet.books.nielsen import CrossEntropyCost, LogLikelihoodCost
from xpnet.report.experiment import Lab, main


def run(lab: Lab) -> None:
    """Train and draw."""
    training, _, test = parts(lab)
    curves = {
        name: trained(
            lab,
            [784, hidden, 10],
            training,
            test,
            epochs=lab.few(30, 1),
            eta=0.5,
            cost=cost,
        ).evaluation
        for name, hidden, cost in (
            ("C1: 30 hidden units, cross-entropy", 30, CrossEntropyCost),
            ("C2: 100 hidden units, cross-entropy", 100, CrossEntropyCost),
            ("30 hidden units, log-likelihood", 30, LogLikelihoodCost),
        )
    }
    small, large, softmax = (curve.max() for curve in curves.values())
    lab.check("C1: 30 hidden units, best epoch, %", small, 94.5, book="95.49", full=True)
    lab.check("C2: 100 hidden units, best epoch, %", large, 96.3, book="96.82", full=True)
    what = "log-likelihood, 30 hidden units, best epoch, %"
    lab.check(what, softmax, small - 1.5, small + 1.5, book="close to C1", full=True)
    axes = lab.figure().subplots()
    draw(axes, curves, "test images read rightly, %")
    if lab.complete:
        axes.set_ylim(90, 98)


if __name__ == "__main__":
    main(run, __doc__)
