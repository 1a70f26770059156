"""Does dropout keep a large network from overfitting 300 images? (Figure 6-23)

    python scripts/deep_learning_from_scratch/ch06_overfit_dropout.py --data mnist

Six hidden layers of 100 ReLU units, SGD with lr 0.01, batches of 100, 301 epochs: without dropout,
with the ratio 0.15 of the book's caption and with 0.2 of its companion code. The guides are those
of independent float64 runs. Drawn is the first seed.
"""

from _shared import check_mean, draw_accuracies, make_trainer, seeds
from xpnet import MultiLayerNetExtend, Trainer
from xpnet.report.experiment import Lab, main

GUIDES = {  # training and test accuracy: guide, and standard deviation over eight seeds
    0.15: (((0.88, 0.93), 0.024), ((0.68, 0.71), 0.019)),
    0.2: (((0.63, 0.65), 0.021), ((0.50, 0.54), 0.030)),
}


def trained(lab: Lab, ratio: float, seed: int) -> Trainer:
    """Return the trainer at the end of a run."""
    network = MultiLayerNetExtend(
        784,
        [100] * 6,
        10,
        use_dropout=ratio > 0,
        dropout_ratio=ratio,
        rng=seed,
        device=lab.device,
    )
    trainer = make_trainer(lab, network, images=300, epochs=lab.few(301, 3))
    trainer.train()
    return trainer


def run(lab: Lab) -> None:
    """Train, compare and draw."""
    panels = lab.figure(13, 4).subplots(1, 3, sharey=True)
    gaps = {}
    for axes, ratio in zip(panels, (0, *GUIDES), strict=True):
        runs = [trained(lab, ratio, seed) for seed in seeds(lab)]
        curves = runs[0].train_acc_list, runs[0].test_acc_list
        draw_accuracies(axes, *curves, f"dropout {ratio}" if ratio else "no dropout")
        train = [run.train_acc_list[-1] for run in runs]
        test = [run.test_acc_list[-1] for run in runs]
        gaps[ratio] = sum(train) / len(train) - sum(test) / len(test)
        if not ratio:
            what = "no dropout: lowest training accuracy"
            lab.check(what, min(train), 1, 1, book="about 100 %", full=True)
            continue
        what = f"dropout {ratio}: highest training accuracy"
        lab.check(what, max(train), high=0.999, book="below 100 %", full=True)
        (train_guide, train_sd), (test_guide, test_sd) = GUIDES[ratio]
        check_mean(lab, f"dropout {ratio}: training accuracy", train, train_guide, train_sd)
        check_mean(lab, f"dropout {ratio}: test accuracy", test, test_guide, test_sd)
        lab.holds(
            f"dropout {ratio} narrows the gap",
            gaps[ratio] < gaps[0],
            f"{gaps[0]:.3f} to {gaps[ratio]:.3f}",
            book="smaller gap",
            full=True,
        )


if __name__ == "__main__":
    main(run, __doc__)
