"""How do loss and accuracy go as a network learns? (Figures 4-11, 4-12; section 4.5)

    python scripts/deep_learning_from_scratch/ch04_train_neuralnet.py --data mnist

784-50-10 with the sigmoid, SGD of lr 0.1 on batches of 100 drawn with replacement, 10,000
iterations; accuracies on all images at iterations 0, 600, 1200, ..., 17 times. As in the book, the
losses drawn are taken after the update, on the batch it was made with. Those just before it are
kept too: a batch not yet learned from tells more, and they are what the bands are for.

The book prints no numbers. Bands are about those of an independent float64 run, and hold seeds 0-4.
"""

from itertools import islice

import numpy as np

from _shared import endless, make_trainer
from xpnet import SGD, TwoLayerNet, to_numpy
from xpnet.report.experiment import Lab, main

Band = tuple[float, float]


def train(lab: Lab, activation: str) -> tuple[np.ndarray, np.ndarray]:
    """Return losses (iteration, before and after), and accuracies (epoch, training and test)."""
    net = TwoLayerNet(784, 50, 10, activation=activation, rng=lab.seed, device=lab.device)
    trainer = make_trainer(lab, net, batch_size=100, optimizer=SGD(0.1))
    train_set, test_set = trainer.train_batches, trainer.test_batches
    losses = lab.device.zeros((lab.few(10000, 50), 2), dtype=net.dtype)
    accuracies = []
    for i, (x, t) in enumerate(islice(endless(train_set), losses.shape[0])):
        losses[i, 0] = trainer.train_step(x, t)
        losses[i, 1] = net.loss(x, t)
        if i % len(train_set) == 0:
            accuracies.append((trainer.evaluate(train_set), trainer.evaluate(test_set)))
    return to_numpy(losses), np.array(accuracies)


def state(
    lab: Lab, losses: np.ndarray, accuracies: np.ndarray, *,
    near_1000: Band, at_end: Band, second: Band, train_last: Band, test_last: Band, gap: Band,
) -> None:  # fmt: skip
    """State the checks, which have their bands for each activation."""
    before = losses[:, 0]
    near = before[lab.few(900, 0) : lab.few(1100, 50)]
    lab.check("iterations", len(before), 10000, 10000, book="10,000", full=True)
    lab.check("times accuracy was taken", len(accuracies), 17, 17, book="17", full=True)
    lab.check("first loss, near ln 10", before[0], 2.27, 2.34)
    lab.check("mean loss, iterations 900 to 1100", near.mean(), *near_1000, full=True)
    lab.check("mean loss, last 1000 iterations", before[-1000:].mean(), *at_end, full=True)
    fallen = np.mean(losses[:, 1] < before)
    lab.check("share of updates that lower their own batch's loss", fallen, 0.98)
    lab.check("training accuracy after one epoch", accuracies[1, 0], *second, full=True)
    lab.check("last training accuracy", accuracies[-1, 0], *train_last, full=True)
    lab.check("last test accuracy", accuracies[-1, 1], *test_last, full=True)
    widest = np.abs(accuracies[:, 0] - accuracies[:, 1]).max()
    lab.check("widest gap between the two", widest, *gap, book="nearly coincide", full=True)


def draw(lab: Lab, losses: np.ndarray, accuracies: np.ndarray) -> None:
    """Draw the losses after the update, the first thousand of them, and the accuracies."""
    whole, first, right = lab.figure(11, 3.4).subplots(1, 3)
    for axes, part in ((whole, losses[:, 1]), (first, losses[:1000, 1])):
        axes.plot(part, linewidth=0.4)
        axes.set(xlabel="iteration", ylabel="loss", ylim=(0, None))
    right.plot(accuracies[:, 0], label="train")
    right.plot(accuracies[:, 1], "--", label="test")
    right.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    right.legend(loc="lower right")


def run(lab: Lab) -> None:
    """Train with the sigmoid."""
    losses, accuracies = train(lab, "sigmoid")
    state(
        lab, losses, accuracies,
        near_1000=(0.48, 0.62), at_end=(0.16, 0.21), second=(0.75, 0.82),
        train_last=(0.94, 0.955), test_last=(0.938, 0.953), gap=(0, 0.01),
    )  # fmt: skip
    draw(lab, losses, accuracies)


if __name__ == "__main__":
    main(run, __doc__)
