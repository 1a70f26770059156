"""How do the initial weights spread the activations of five layers? (Figures 6-10 to 6-14)

    python scripts/deep_learning_from_scratch/ch06_weight_init_activation_histogram.py

1000 rows of 100 standard normal numbers pass five layers of 100 units. Sigmoid with standard
deviation 1 piles up at 0 and 1, where its slope vanishes; with 0.01 all units say 0.5; Xavier's
1/sqrt(100) keeps a spread, and tanh keeps it without a skew. ReLU wants He's sqrt(2/100). The bands
are four standard deviations of one run, about means of 20 draws in float64.
"""

from collections.abc import Callable

import numpy as np

from xpnet import relu, sigmoid, tanh, to_numpy
from xpnet.arrays import Array
from xpnet.functions.init import initial_std, normal
from xpnet.report.experiment import Lab, main

Case = tuple[Callable[[Array], Array], float | str]
CASES: dict[str, Case] = {
    "sigmoid, std 1": (sigmoid, 1.0),
    "sigmoid, std 0.01": (sigmoid, 0.01),
    "sigmoid, Xavier": (sigmoid, "xavier"),
    "tanh, Xavier": (tanh, "xavier"),
    "ReLU, std 0.01": (relu, 0.01),
    "ReLU, Xavier": (relu, "xavier"),
    "ReLU, He": (relu, "he"),
}


def outside(a: np.ndarray) -> float:
    """Share of activations below 0.1 or above 0.9."""
    return float(np.mean((a < 0.1) | (a > 0.9)))


# Case, statistic, its mean in layers 1 to 5, and what layer 1 and layers 2 to 5 may deviate.
EXPECTED: list[tuple[str, Callable[[np.ndarray], float], list[float], float, float]] = [
    ("sigmoid, std 1", outside, [0.825, 0.745, 0.745, 0.743, 0.738], 0.01, 0.10),
    ("sigmoid, std 1", np.std, [0.459, 0.438, 0.438, 0.436, 0.434], 0.03, 0.03),
    ("sigmoid, std 0.01", np.mean, [0.5] * 5, 0.006, 0.006),
    ("sigmoid, std 0.01", np.std, [0.0250, 0.0124, 0.0123, 0.0124, 0.0123], 0.004, 0.004),
    ("sigmoid, Xavier", np.std, [0.208, 0.126, 0.122, 0.121, 0.119], 0.035, 0.035),
    ("tanh, Xavier", np.mean, [0.0] * 5, 0.01, 0.01),
    ("tanh, Xavier", np.std, [0.627, 0.485, 0.407, 0.356, 0.320], 0.025, 0.025),
    ("ReLU, Xavier", np.mean, [0.398, 0.290, 0.207, 0.146, 0.105], 0.015, 0.08),
    ("ReLU, He", np.mean, [0.564, 0.580, 0.584, 0.583, 0.593], 0.02, 0.30),
    ("ReLU, He", np.std, [0.83, 0.84, 0.87, 0.86, 0.88], 0.03, 0.35),
]
# ReLU, std 0.01: mean and standard deviation of a layer's mean, and what the book prints.
SHRINKING = [
    (0.03985, 0.00020, "0.0396"),
    (0.002899, 0.00019, "0.00290"),
    (0.000207, 0.000018, "0.000197"),
    (1.46e-5, 1.8e-6, "1.32e-5"),
    (1.05e-6, 1.4e-7, "9.46e-7"),
]


def activations(lab: Lab, function: Callable[[Array], Array], std: float | str) -> list[np.ndarray]:
    """Compute the outputs of the five layers, (1000, 100) each."""
    rng = lab.rng
    a, layers = lab.device.asarray(normal((1000, 100), 1.0, rng)), []
    for _ in range(5):
        W = lab.device.asarray(normal((100, 100), initial_std(std, 100, 100), rng))
        a = function(a @ W)
        layers.append(to_numpy(a))
    return layers


def run(lab: Lab) -> None:
    """Pass the numbers through, compare their statistics and draw all histograms."""
    rules = [initial_std(name, 100, 100) for name in ("xavier", "he")]
    lab.equal("Xavier's and He's std for 100 inputs", rules, [0.1, 0.1414], atol=1e-4)
    layers = {name: activations(lab, *case) for name, case in CASES.items()}
    for name, statistic, expected, first, others in EXPECTED:
        got = [statistic(a) for a in layers[name]]
        what = (
            f"{name}: {'share outside 0.1 to 0.9' if statistic is outside else statistic.__name__}"
        )
        lab.equal(f"{what}, layer 1", got[0], expected[0], atol=first)
        lab.equal(f"{what}, layers 2 to 5", got[1:], expected[1:], atol=others)
    for i, (usual, sd, printed) in enumerate(SHRINKING):
        mean, what = layers["ReLU, std 0.01"][i].mean(), f"ReLU, std 0.01: mean, layer {i + 1}"
        lab.check(what, mean, usual - 4 * sd, usual + 4 * sd, book=printed)

    panels = lab.figure(11, 12).subplots(len(layers), 5, sharey=True)
    for row, (name, of_layers) in zip(panels, layers.items(), strict=True):
        row[0].set(ylabel=name, ylim=(0, 7000))
        low = -1 if name.startswith("tanh") else 0
        for i, (axes, a) in enumerate(zip(row, of_layers, strict=True), start=1):
            axes.stairs(*np.histogram(a, bins=30, range=(low, 1)), fill=True)
            axes.set_title(f"{i}-layer, std {a.std():.2g}", size=10)


if __name__ == "__main__":
    main(run, __doc__)
