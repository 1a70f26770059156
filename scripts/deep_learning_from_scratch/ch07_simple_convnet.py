"""How well does the convolutional network of chapter 7 read MNIST, and what do its filters become?

    python scripts/deep_learning_from_scratch/ch07_simple_convnet.py --data mnist

SimpleConvNet for 20 epochs of Adam, lr 0.001, batches of 100, two seeds; after each epoch 1000
images are read, as in the companion code, and at the end all. Drawn is the first seed, with its 30
filters before and after training (Figure 7-24). Filters drawn at random know nothing of their
neighbours, trained ones are gradients and blobs: weights next to each other become alike.
"""

import numpy as np

from _shared import accuracy_of, draw_course, learn_filters, seeds
from xpnet import Adam, SimpleConvNet, Trainer
from xpnet.report import plots
from xpnet.report.experiment import Lab, main
from xpnet.report.figures import neighbour_correlation


def trained(lab: Lab, seed: int) -> tuple[Trainer, np.ndarray, np.ndarray]:
    """Return the trainer at the end of a run, and the filters before and after."""
    network = SimpleConvNet(rng=seed, device=lab.device)
    options = {"epochs": lab.few(20, 2), "evaluate_sample_num_per_epoch": 1000}
    return learn_filters(lab, network, "W1", optimizer=Adam(0.001), seed=seed, **options)


def run(lab: Lab) -> None:
    """Train, measure and draw."""
    digits = lab.digits
    runs = {seed: trained(lab, seed) for seed in seeds(lab, 2)}
    for seed, (trainer, before, after) in runs.items():
        train = accuracy_of(trainer.network, digits.x_train, digits.t_train)
        lab.check(f"training accuracy, seed {seed}", train, 0.997, book="0.9982", full=True)
        test = accuracy_of(trainer.network, digits.x_test, digits.t_test)
        lab.check(f"test accuracy, seed {seed}", test, 0.985, 0.993, book="0.9896", full=True)
        alike = [neighbour_correlation(W) for W in (before, after)]
        what = f"correlation of neighbouring weights before training, seed {seed}"
        lab.check(what, alike[0], -0.1, 0.1, book="random")
        what = f"and after training, seed {seed}"
        lab.check(what, alike[1], 0.3, book="gradients and blobs", full=True)

    trainer, *filters = runs[lab.seed]
    left, middle, right = lab.figure(14, 4).subplots(1, 3, width_ratios=[4, 3, 3])
    draw_course(lab, left, trainer, "SimpleConvNet")
    plots.draw_filters((middle, right), *filters)


if __name__ == "__main__":
    main(run, __doc__)
