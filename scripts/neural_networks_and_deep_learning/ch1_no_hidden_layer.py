"""How well does a network without a hidden layer read digits? (Chapter 1, exercise 8)

    python scripts/neural_networks_and_deep_learning/ch1_no_hidden_layer.py --data mnist

784-10, 30 epochs of batches of 10: with cross-entropy and eta 0.5, which is chapter 3's, and with
the quadratic cost and eta 3.0, with which one output or another often dies: it is saturated at 0
from the start and never learns its digit. The book gives no number; the bands are about those of an
independent run.
"""

from _nielsen import draw, parts, trained
from xpnet.books.nielsen import CrossEntropyCost
from xpnet.report.experiment import Lab, main


def run(lab: Lab) -> None:
    """Train and draw."""
    training, _, test = parts(lab)
    epochs = lab.few(30, 1)
    sizes = [784, 10]
    quadratic = trained(lab, sizes, training, test, epochs=epochs, eta=3.0).evaluation
    entropy = trained(
        lab, sizes, training, test, epochs=epochs, eta=0.5, cost=CrossEntropyCost
    ).evaluation
    lab.check("cross-entropy: best epoch, %", entropy.max(), 89, 91.5, full=True)
    lab.check("quadratic: best epoch, %", quadratic.max(), 55, 92.5, full=True)
    lab.holds(
        "cross-entropy reads more",
        entropy[-1] > quadratic[-1],
        f"{entropy[-1]:.2f} and {quadratic[-1]:.2f} %",
        full=True,
    )
    curves = {"cross-entropy, eta 0.5": entropy, "quadratic, eta 3.0": quadratic}
    draw(lab.figure().subplots(), curves, "test images read rightly, %")


if __name__ == "__main__":
    main(run, __doc__)
