"""How does a small AlexNet begin to learn, and what of its first filters? (Figures 7-26, 7-28)

    python scripts/deep_learning_from_scratch/ch07_alexnet.py --data mnist

AlexNet for images of 28 x 28: five convolutions, the first two of 5 x 5 with normalization across
channels behind, overlapping pools, dropout. One epoch of Adam, lr 0.001, batches of 100, on the
first 10,000 training images. No accuracy is published for it: it is reported. Drawn are the 32
filters of the first layer before and after. In the book they are edges and blobs, after days; here
they have hardly moved from where they were drawn, and the layers behind have learned to use them.
"""

import numpy as np

from _shared import accuracy_of, learn_filters
from xpnet import Adam, AlexNet
from xpnet.report import plots
from xpnet.report.experiment import Lab, main
from xpnet.report.figures import neighbour_correlation

FIRST = "conv1.W"


def run(lab: Lab) -> None:
    """Train, measure and draw."""
    network = AlexNet.small(rng=lab.seed, device=lab.device)
    options = {"images": lab.few(10_000, 200), "evaluate_sample_num_per_epoch": 1}
    _, before, after = learn_filters(lab, network, FIRST, optimizer=Adam(0.001), **options)
    accuracy = accuracy_of(network, lab.digits.x_test, lab.digits.t_test)
    lab.check("test accuracy after 10,000 images", accuracy)
    for W, when in ((before, "before"), (after, "after")):
        correlation = neighbour_correlation(W)
        lab.check(f"correlation of neighbouring weights {when} training", correlation)
    moved = np.linalg.norm(after - before) / np.linalg.norm(before)
    lab.check("length of the filters' way / of their beginning", moved)
    plots.draw_filters(lab.figure(8, 4).subplots(1, 2), before, after)


if __name__ == "__main__":
    main(run, __doc__)
