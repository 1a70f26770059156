"""Does weight decay keep a large network from overfitting 300 images? (Figures 6-20, 6-21)

    python scripts/deep_learning_from_scratch/ch06_overfit_weight_decay.py --data mnist

Six hidden layers of 100 ReLU units, SGD with lr 0.01, batches of 100, without decay and with
strength 0.1. The gap between training and test narrows, but the test accuracy does not rise. The
guides are those of independent float64 runs. Drawn is the first seed.
"""

from itertools import islice

from _shared import check_mean, draw_accuracies, endless, make_trainer, seeds
from xpnet import MultiLayerNet
from xpnet.report.experiment import Lab, main


def overfit(lab: Lab, decay: float, epochs: int, seed: int) -> tuple[list[float], list[float], int]:
    """List accuracies on training and test images after updates 1, 4, 7, ..., and count updates.

    That is the book's loop: an epoch is 3 updates, and it ends with the last epoch's first one.
    """
    network = MultiLayerNet(
        784, [100] * 6, 10, weight_decay_lambda=decay, rng=seed, device=lab.device
    )
    trainer = make_trainer(lab, network, images=300)
    train, test, updates = [], [], 0
    for x, t in islice(endless(trainer.train_batches), 3 * (epochs - 1) + 1):
        trainer.train_step(x, t)
        if updates % 3 == 0:
            train.append(trainer.evaluate(trainer.train_batches))
            test.append(trainer.evaluate(trainer.test_batches))
        updates += 1
    return train, test, updates


def run(lab: Lab) -> None:
    """Train, compare and draw."""
    epochs = lab.few(201, 4)
    lab.equal("axes of the labels, not one-hot", lab.digits.t_train.ndim, 1)
    panels = lab.figure(10, 4).subplots(1, 2, sharey=True)
    ends, gaps = {}, {}
    for axes, decay in zip(panels, (0, 0.1), strict=True):
        runs = [overfit(lab, decay, epochs, seed) for seed in seeds(lab)]
        train, test, updates = runs[0]
        draw_accuracies(axes, train, test, f"weight decay {decay}" if decay else "no weight decay")
        ends[decay] = [train[-1] for train, _, _ in runs], [test[-1] for _, test, _ in runs]
        gaps[decay] = (sum(ends[decay][0]) - sum(ends[decay][1])) / len(runs)
        if not decay:
            lab.equal("accuracies and updates", (len(train), updates), (epochs, 3 * epochs - 2))
            what = "no decay: training accuracy, epoch 100, mean of the seeds"
            at_100 = sum(train[min(100, epochs) - 1] for train, _, _ in runs) / len(runs)
            lab.check(what, at_100, 0.98, 1, book="about 100 %", full=True)
    (train_0, test_0), (train_1, test_1) = ends[0], ends[0.1]
    what = "no decay: lowest training accuracy, end"
    lab.check(what, min(train_0), 1, 1, book="about 100 %", full=True)
    check_mean(lab, "no decay: test accuracy", test_0, (0.74, 0.77), 0.010)
    what = "decay: highest training accuracy"
    lab.check(what, max(train_1), high=0.999, book="below 100 %", full=True)
    check_mean(lab, "decay: training accuracy", train_1, (0.89, 0.91), 0.016)
    check_mean(lab, "decay: test accuracy", test_1, (0.71, 0.72), 0.014)
    lab.holds(
        "decay narrows the gap",
        gaps[0.1] < gaps[0],
        f"{gaps[0]:.3f} to {gaps[0.1]:.3f}",
        book="smaller gap",
        full=True,
    )


if __name__ == "__main__":
    main(run, __doc__)
