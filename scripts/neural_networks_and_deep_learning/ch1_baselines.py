"""How many digits are read without a neural network? (Chapter 1)

    python scripts/neural_networks_and_deep_learning/ch1_baselines.py --data mnist

By guessing; by how dark an image is as a whole, which is nearest to the mean darkness of some
digit; and by a support vector machine of scikit-learn, which takes minutes and a full run alone.
It is given the settings that were the default when the book was written: an RBF kernel, C = 1 and
gamma = 1 / 784. The tuned machine of over 98.5 % is left out: the book does not tell its settings.
"""

import numpy as np

from _nielsen import rows
from xpnet.optional import needed
from xpnet.report.experiment import Lab, main


def by_darkness(x: np.ndarray, t: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Choose the digit whose mean sum of pixels is nearest, for each row of `x_test`.

    Parameters
    ----------
    x, t : rows of pixels and their digits, to take the means from
    """
    darkness, to_read = (a.sum(axis=1, dtype=np.float64) for a in (x, x_test))
    means = np.bincount(t, darkness, 10) / np.bincount(t, minlength=10)
    return np.argmin(np.abs(to_read[:, np.newaxis] - means), axis=1)


def by_svm(x: np.ndarray, t: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Let a support vector machine trained on x and t read each row of `x_test`.

    Raises
    ------
    ArgumentError
        scikit-learn is not installed.
    """
    try:
        from sklearn.svm import SVC
    except ModuleNotFoundError:
        raise needed("sklearn", "the support vector machine") from None
    machine = SVC(C=1.0, kernel="rbf", gamma=1 / x.shape[1], cache_size=2000)
    return np.asarray(machine.fit(x, t).predict(x_test))


def run(lab: Lab) -> None:
    """Read the test images in three ways."""
    training, _, (x_test, t_test) = rows(lab)
    right = {
        "guessing": lab.rng.integers(10, size=len(t_test)) == t_test,
        "darkness": by_darkness(*training, x_test) == t_test,
    }
    lab.check("guessed, %", 100 * right["guessing"].mean(), 9, 11, book="10", full=True)
    lab.check("by darkness", right["darkness"].sum(), 2225, 2225, book="2225", full=True)
    if lab.complete:
        right["SVM"] = by_svm(*training, x_test) == t_test
        lab.check("by a support vector machine", right["SVM"].sum(), 9425, 9445, book="9435")

    axes = lab.figure(5, 3.4).subplots()
    for name, hits in right.items():
        axes.bar(name, 100 * hits.mean())
    axes.set(ylabel="read rightly, %", ylim=(0, 100))


if __name__ == "__main__":
    main(run, __doc__)
