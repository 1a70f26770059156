"""How well does LeNet read MNIST after two epochs, as it was and as it is today? (Figure 7-27)

    python scripts/deep_learning_from_scratch/ch07_lenet.py --data mnist

Adam, batches of 100, two seeds: the modern form with ReLU, max pools and every map connected, lr
0.002; and the paper's, with subsampling and its table of connections, with the scaled tanh of the
paper, lr 0.002, and with the sigmoid that the book names, lr 0.005. What is subsampled is not
squashed before. Guides are an independent run's, of seed 0. Drawn are the filters of C1.
"""

from functools import partial

from _shared import accuracy_of, make_trainer, seeds
from xpnet import Adam, LeNet, to_numpy
from xpnet.report import plots
from xpnet.report.experiment import Lab, main

FORMS = {  # network, learning rate, guides after one epoch and two, and the band of the latter
    "modern": (LeNet.modern, 0.002, (0.9762, 0.9838), (0.978, 0.990)),
    "scaled tanh": (
        partial(LeNet, "scaled-tanh", squash_convolutions=False),
        0.002,
        (0.9631, 0.9702),
        (0.962, 0.982),
    ),
    "sigmoid": (
        partial(LeNet, "sigmoid", squash_convolutions=False),
        0.005,
        (0.9678, 0.9785),
        (0.970, 0.985),
    ),
}


def run(lab: Lab) -> None:
    """Train, measure and draw."""
    x, t = lab.digits.x_test, lab.digits.t_test
    rows = lab.figure(7, 7.5).subfigures(len(FORMS), 1)
    for figure, (form, (model, lr, guides, band)) in zip(rows, FORMS.items(), strict=True):
        for seed in seeds(lab, 2):
            network = model(rng=seed, device=lab.device)
            before = to_numpy(network.params["C1.W"]).copy()
            options = {"seed": seed, "sampling": "shuffle", "evaluate_sample_num_per_epoch": 1}
            trainer = make_trainer(lab, network, epochs=2, optimizer=Adam(lr), **options)
            found = []
            for _ in range(2):
                trainer.train(epochs=1)
                found.append(accuracy_of(network, x, t))
            what = f"{form}: test accuracy after {{}}, seed {seed}"
            lab.check(what.format("one epoch"), found[0], book=f"guide {guides[0]}")
            guide = f"guide {guides[1]}"
            lab.check(what.format("two epochs"), found[1], *band, book=guide, full=True)
            if seed == lab.seed:
                figure.suptitle(f"{form}, {found[1]:.4f} of the test images after two epochs")
                panels = figure.subplots(1, 2)
                plots.draw_filters(panels, before, to_numpy(network.params["C1.W"]))


if __name__ == "__main__":
    main(run, __doc__)
