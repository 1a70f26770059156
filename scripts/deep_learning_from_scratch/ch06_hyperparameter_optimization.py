"""Which learning rate and weight decay does a random search find? (Figure 6-24)

    python scripts/deep_learning_from_scratch/ch06_hyperparameter_optimization.py --data mnist

100 trials of 50 epochs on 500 images, a fifth of them for validation: learning rates from 1e-6 to
1e-2, weight decays from 1e-8 to 1e-4, drawn evenly on a logarithmic scale. The best come from the
upper end of the learning rates. The best accuracies are accepted within 0.1 of the book's and of an
independent run's: that is about two standard deviations of what 100 images can tell.
"""

from tempfile import TemporaryDirectory

from xpnet.report.experiment import Lab, main

# Best-1 to Best-5 as printed, of one search: validation accuracy and learning rate.
PRINTED = "0.83, 0.78, 0.77, 0.74, 0.73"
PRINTED_LR = "0.0092, 0.00956, 0.00571, 0.00626, 0.0052"


def run(lab: Lab) -> None:
    """Search, compare the best trials and draw how they learned."""
    from xpnet.train.search import (  # here, so that a missing Optuna is reported in one line
        Search,
        best,
    )

    search = Search(epochs=lab.few(50, 2), seed=lab.seed)
    trials = lab.few(100, 2)
    with TemporaryDirectory() as directory:
        results = search.run(
            lab.digits.x_train,
            lab.digits.t_train,
            storage=f"sqlite:///{directory}/search.db",
            trials=trials,
            device=lab.device.name,
            verbose=False,
        )
    ranking = best(results)
    top, five = ranking[:20], ranking[:5]
    accuracies = [result.validation[-1] for result in top]
    lab.equal("complete trials", len(ranking), trials)
    lab.check("Best-1: validation accuracy", accuracies[0], 0.69, 0.93, book=PRINTED, full=True)
    lab.check("Best-5: validation accuracy", min(accuracies[:5]), 0.63, book=PRINTED, full=True)
    lab.check(
        "lowest learning rate of the best five",
        min(result.lr or 0.0 for result in five),
        low=1e-3,
        book=PRINTED_LR,
        full=True,
    )
    lab.holds(
        "learning is good until about Best-5: Best-20 is below half of Best-1",
        accuracies[-1] < accuracies[0] / 2,
        f"{accuracies[-1]:.2f} against {accuracies[0]:.2f}",
        full=True,
    )

    panels = lab.figure(10, 8.5).subplots(4, 5, sharex=True, sharey=True)
    for k, (axes, result) in enumerate(zip(panels.flat, top, strict=False), start=1):
        epochs = range(1, len(result.validation) + 1)
        axes.plot(epochs, result.validation, label="validation")
        axes.plot(epochs, result.train, "--", label="train")
        axes.set(ylim=(0, 1.02))
        axes.set_title(
            f"Best-{k}: {result.validation[-1]:.2f}\n"
            f"lr {result.lr:.2g}, decay {result.weight_decay:.1g}",
            size=9,
        )
    panels[0, 0].legend(loc="lower right", fontsize="small")
    for axes in panels[-1]:
        axes.set(xlabel="epochs")
    for axes in panels[:, 0]:
        axes.set(ylabel="accuracy")


if __name__ == "__main__":
    main(run, __doc__)
