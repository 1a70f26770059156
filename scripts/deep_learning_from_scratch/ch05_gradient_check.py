"""Do backpropagated gradients equal numerical ones? (Section 5.7.3)

    python scripts/deep_learning_from_scratch/ch05_gradient_check.py --data mnist

The mean absolute difference for each parameter of a 784-50-10 ReLU network in float64, on the first
three training images. The exact cross-entropy is what the book's numbers need: 1e-7 inside the
logarithm makes the differences over a thousand times larger.

A central difference across ReLU's kink is wrong, however right backpropagation is. So weights are
drawn anew until no hidden unit is that near to it.
"""

import numpy as np

from xpnet import TwoLayerNet, gradient_check, to_numpy
from xpnet.arrays.values import scaled
from xpnet.functions.gradients import H
from xpnet.report.experiment import Lab, main

BOOK = {  # of a random run, so their size is all that can be compared
    "W1": ("2.2232446644e-13", 1e-11),
    "b1": ("9.70418809871e-13", 1e-11),
    "W2": ("8.41139039497e-13", 1e-11),
    "b2": ("1.1945999745e-10", 1e-9),
}


def run(lab: Lab) -> None:
    """Check, and draw the differences beside the book's."""
    rng, hidden = lab.rng, lab.few(50, 3)
    x = scaled(lab.device.asarray(lab.digits.x_train[:3]), lab.device.dtype("float64"))
    t = lab.digits.t_train[:3]
    nearest = 0.0
    while nearest < 2 * H:  # a weight or bias that moves by h moves a unit by h or less
        net = TwoLayerNet(784, hidden, 10, rng=rng, device=lab.device, dtype="float64")
        nearest = np.abs(to_numpy(net.layers["Affine1"].forward(x)[0])).min()
    differences = gradient_check(net, x, t)
    for name, (printed, bound) in BOOK.items():
        lab.check(f"mean difference of {name}", differences[name], 0, bound, book=printed)

    axes = lab.figure(5.5, 3.4).subplots()
    measured = [differences[name] for name in BOOK]
    axes.semilogy(list(BOOK), measured, "o", fillstyle="none", markersize=9, label="measured")
    axes.semilogy(list(BOOK), [float(printed) for printed, _ in BOOK.values()], "x", label="book")
    axes.semilogy(list(BOOK), [bound for _, bound in BOOK.values()], "k_", markersize=30)
    axes.set(ylabel="mean |numerical - backpropagated|", xlim=(-0.5, 3.5), ylim=(1e-14, 1e-8))
    axes.legend(title="bars: accepted up to")


if __name__ == "__main__":
    main(run, __doc__)
