"""What does the gradient of a loss say about a weight? (Section 4.4.2)

    python scripts/deep_learning_from_scratch/ch04_gradient_simplenet.py

Two inputs, three scores, W of shape (2, 3). dL/dw11 is about 0.2: raising w11 by h raises the loss
by about 0.2 h. dL/dw23 is about -0.5: raising w23 lowers it.
"""

import numpy as np

from xpnet import cross_entropy_error, numerical_gradient, softmax, softmax_cross_entropy
from xpnet.report.experiment import Lab, main

W = np.array([[0.47355232, 0.9977393, 0.84668094], [0.85557411, 0.03563661, 0.69422093]])
X, T = np.array([0.6, 0.9]), np.array([0.0, 0.0, 1.0])


def loss(W: np.ndarray) -> np.ndarray:
    """Compute the loss; the printed numbers are those of the logarithm without 1e-7."""
    return cross_entropy_error(softmax(X @ W), T, eps=0.0)


def run(lab: Lab) -> None:
    """Compare with the printed numbers, and draw the loss against two weights."""
    scores = X @ W
    lab.equal("scores", scores, [1.05414809, 0.63071653, 1.1328074], atol=2e-8)
    lab.equal("class with the highest", np.argmax(scores), 2)
    printed = 0.92806853663411326
    lab.equal("loss", loss(W), printed, atol=1e-8, book="0.92806853663411326")
    dW = numerical_gradient(loss, W.copy())
    printed = [[0.21924763, 0.14356247, -0.36281009], [0.32887144, 0.2153437, -0.54421514]]
    lab.equal("dW", dW, printed, atol=1e-8)
    _, backpropagated = softmax_cross_entropy(scores, T)
    lab.equal("dW by backpropagation", np.outer(X, backpropagated), dW, atol=1e-9, book="the same")

    axes = lab.figure().subplots()
    h = np.linspace(-1.5, 1.5, 61)
    for (i, j), colour in (((0, 0), "C0"), ((1, 2), "C1")):
        one = np.zeros_like(W)
        one[i, j] = 1.0
        name, slope = f"w$_{{{i + 1}{j + 1}}}$", dW[i, j]
        axes.plot(h, [loss(W + step * one) for step in h], colour, label=f"loss at {name} + h")
        axes.plot(h, loss(W) + slope * h, f"{colour}--", label=f"slope {slope:+.2f}")
    axes.set(xlabel="h", ylabel="loss")
    axes.legend()


if __name__ == "__main__":
    main(run, __doc__)
