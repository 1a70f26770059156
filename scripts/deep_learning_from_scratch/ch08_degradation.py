"""Do deeper networks learn worse, and do shortcuts help? (section 8.2.4)

    python scripts/deep_learning_from_scratch/ch08_degradation.py --data mnist

Networks of 20 and of 56 layers in the style for small images, with 8, 16 and 32 channels, with
shortcuts that have no parameters and without any: so both have the same number. They see MNIST
averaged over 2 x 2 pixels, in the first 200 steps of momentum 0.9, lr 0.1, weight decay 1e-4, on
batches of 64. Judged is the training loss, without weight decay's share, over steps 151 to 200, of
two seeds; accuracies after so few steps would tell of running statistics rather. Guides are an
independent run's, of seed 0. Drawn is the first seed.
"""

from dataclasses import replace
from itertools import islice

import numpy as np

from _shared import endless, make_trainer, seeds, smooth_curve
from xpnet import L2, CifarResNet, Momentum, to_numpy
from xpnet.data import Dataset
from xpnet.report.experiment import Lab, main

NETWORKS = {  # depth, shortcut, and the guides over steps 51 to 100 and 151 to 200
    "plain-20": (20, None, (0.462, 0.269)),
    "ResNet-20": (20, "A", (0.335, 0.150)),
    "plain-56": (56, None, (2.058, 1.893)),
    "ResNet-56": (56, "A", (0.997, 0.316)),
}


def halved(digits: Dataset) -> Dataset:
    """Digits of 14 x 14, each pixel the mean of four, from 0 to 1."""

    def mean(x: np.ndarray) -> np.ndarray:
        tiles = x.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5), dtype=np.float32)
        return tiles / np.float32(255)

    return replace(digits, x_train=mean(digits.x_train), x_test=mean(digits.x_test))


def losses(lab: Lab, digits: Dataset, depth: int, shortcut: str | None, seed: int) -> np.ndarray:
    """List the loss before each step, less what weight decay adds to it."""
    network = CifarResNet(
        depth,
        shortcut=shortcut,
        width=8,
        input_shape=(1, 14, 14),
        rng=seed,
        device=lab.device,
    )
    network.penalty = penalty = L2(1e-4)
    options = {"batch_size": 64, "optimizer": Momentum(0.1), "sampling": "shuffle", "seed": seed}
    trainer = make_trainer(lab, network, digits=digits, **options)
    found = []
    for x, t in islice(endless(trainer.train_batches), lab.few(200, 2)):
        decay = penalty.value(network.params)
        found.append(trainer.train_step(x, t) - decay)
    return to_numpy(lab.device.xp.stack(found))


def run(lab: Lab) -> None:
    """Train, compare and draw."""
    digits = halved(lab.digits)
    axes = lab.figure(8, 5).subplots()
    for seed in seeds(lab, 2):
        late = {}
        for name, (depth, shortcut, guides) in NETWORKS.items():
            curve = losses(lab, digits, depth, shortcut, seed)
            late[name] = float(np.mean(curve[-50:]))
            what = f"{name}: training loss, steps {{}}, seed {seed}"
            lab.check(
                what.format("51 to 100"),
                np.mean(curve[50:100] if len(curve) > 50 else curve),
                book=f"guide {guides[0]}",
            )
            lab.check(what.format("151 to 200"), late[name], book=f"guide {guides[1]}")
            if seed == lab.seed:
                style = "--" if shortcut is None else "-"
                colour = "tab:blue" if depth == 20 else "tab:red"
                smooth = smooth_curve(curve) if len(curve) > 10 else curve
                label = f"{name}, {late[name]:.3f} at the end"
                axes.plot(np.arange(1, len(curve) + 1), smooth, style, color=colour, label=label)
        for one, factor, other in (
            ("plain-56", 3, "ResNet-56"),
            ("plain-56", 2, "plain-20"),
            ("plain-20", 1, "ResNet-20"),
        ):
            what = f"loss of {one} / {other}, steps 151 to 200, seed {seed}"
            guide = NETWORKS[one][2][1] / NETWORKS[other][2][1]
            ratio = late[one] / late[other]
            lab.check(what, ratio, factor, book=f"guide {guide:.2f}", full=True)
    axes.set(xlabel="step", ylabel="training loss, smoothed", ylim=(0, 3))
    axes.legend(title=f"seed {lab.seed}")


if __name__ == "__main__":
    main(run, __doc__)
