"""What do the two loss functions make of a good and a bad answer? (Figure 4-3; section 4.2)

    python scripts/deep_learning_from_scratch/ch04_losses.py

Ten probabilities with 0.6 at the right class, and the same with 0.6 at a wrong one. Cross-entropy
is -ln of the right class's probability, 0 where that is 1; the book adds 1e-7 inside the logarithm.
"""

import numpy as np

from xpnet import cross_entropy_error, mean_squared_error
from xpnet.report.experiment import Lab, main

GOOD = np.array([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
BAD = np.array([0.1, 0.05, 0.1, 0.0, 0.05, 0.1, 0.0, 0.6, 0.0, 0.0])
LABEL = 2


def run(lab: Lab) -> None:
    """Compare the losses with the printed ones, and draw ln x."""
    t = np.zeros(10)
    t[LABEL] = 1.0
    for name, y, squared, entropy in (
        ("0.6 at the right class", GOOD, 0.0975, 0.510825457099338),
        ("0.6 at a wrong one", BAD, 0.5975, 2.3025840929945458),
    ):
        lab.equal(f"squared error, {name}", mean_squared_error(y, t), squared, atol=1e-12)
        lab.equal(f"cross-entropy, {name}", cross_entropy_error(y, t), entropy, atol=1e-12)
        exact = -np.log(y[LABEL])
        lab.equal("the same without 1e-7", cross_entropy_error(y, t, eps=0.0), exact, atol=1e-12)
    both, labels = np.stack([GOOD, BAD]), np.array([LABEL, LABEL])
    mean = 1.406704775046942
    lab.equal("cross-entropy of both, labels", cross_entropy_error(both, labels), mean, atol=1e-12)
    hot = np.stack([t, t])
    lab.equal("cross-entropy of both, one-hot", cross_entropy_error(both, hot), mean, atol=1e-12)

    x = np.linspace(0.005, 1.0, 400)
    axes = lab.figure().subplots()
    axes.plot(x, np.log(x))
    for y, name in ((GOOD, "right"), (BAD, "wrong")):
        p = y[LABEL]
        axes.plot(p, np.log(p), "o", label=f"{name}: ln {p} = {np.log(p):.2f}")
    axes.set(xlabel="x", ylabel="y = ln x", xlim=(0, 1.02), ylim=(-5.2, 0.2))
    axes.legend(title="answers of the text")
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    main(run, __doc__)
