"""Are 16 bits enough for the numbers of a network, to use it and to train it? (section 8.3.4)

    python scripts/deep_learning_from_scratch/ch08_half_precision.py --data mnist

To use it: LeNet in its modern form, after one epoch of Adam, lr 0.002, with input, parameters and
what each layer puts out rounded to float16 and to bfloat16. To train it: 784-100-10 with ReLU, two
epochs of SGD on batches of 100, with parameters that are kept in 16 bits, which at a small learning
rate are too coarse for its steps; and with all passes in float16, gradients scaled by 1024, and
parameters of float32. Two seeds; guides are an independent run's, of seed 0. Drawn is the first.
"""

from itertools import chain

import numpy as np

from _shared import make_trainer, seeds, smooth_curve
from xpnet import (
    SGD,
    Adam,
    HalfStorage,
    LeNet,
    LossScale,
    MultiLayerNet,
    Network,
    Trainer,
    half_precision,
    to_numpy,
)
from xpnet.functions.rounding import FORMATS
from xpnet.report.experiment import Lab, main

GUIDES = {  # by learning rate: of float32, and of parameters kept in 16 bits
    0.1: {"float32": 0.9404, "float16": 0.9405, "bfloat16": 0.9384},
    0.001: {"float32": 0.7075, "float16": 0.5881, "bfloat16": 0.1600},
}
MASTER = "float16, parameters of float32"
LOSSES = {"float16": 0.05, "bfloat16": 0.4}
"""What accuracy falls by at least where steps are too small for the format."""


def use(lab: Lab, seed: int) -> None:
    """Round a network that has learned, and count again."""
    network = LeNet.modern(rng=seed, device=lab.device)
    options = {"optimizer": Adam(0.002), "sampling": "shuffle", "seed": seed}
    make_trainer(lab, network, images=lab.few(60_000, 300), **options).train()
    x, t = lab.digits.x_test, lab.digits.t_test
    exact = network.accuracy(x, t)
    lab.check(f"LeNet: test accuracy, seed {seed}", exact, book="guide 0.9762")
    for to in FORMATS:
        change = half_precision(network, to).accuracy(x, t) - exact
        what = f"LeNet: change of accuracy by {to}, seed {seed}"
        lab.check(what, change, -0.001, 0.001, full=True)


def trainer_of(lab: Lab, network: Network, lr: float, seed: int, to: str | None) -> Trainer:
    """A trainer whose parameters are kept in a format of 16 bits, if one is given."""
    constraint = None if to is None else HalfStorage(to)
    if constraint is not None:
        constraint.apply(network.params)
    return make_trainer(
        lab,
        network,
        epochs=lab.few(2, 1),
        optimizer=SGD(lr),
        constraint=constraint,
        sampling="shuffle",
        seed=seed,
    )


def mixed(lab: Lab, network: Network, lr: float, seed: int) -> tuple[float, np.ndarray]:
    """Train with passes of float16 and parameters of float32; test accuracy, and losses."""
    half, scale, losses = half_precision(network, "float16"), LossScale(1024.0), []
    trainer = trainer_of(lab, half, lr, seed, None)
    epochs = (trainer.train_batches.epoch(number) for number in range(lab.few(2, 1)))
    for x, t in chain.from_iterable(epochs):
        scores, backward = half.forward(x, train=True)
        loss, loss_backward = half.last_layer.forward(scores, t)
        _, grads = backward(scale.scaled(loss_backward()), need_dx=False)
        scale.update(trainer.optimizer, half.params, grads)
        losses.append(loss)
    assert trainer.test_batches is not None
    return trainer.evaluate(trainer.test_batches), to_numpy(lab.device.xp.stack(losses))


def learn(lab: Lab, seed: int) -> dict[str, np.ndarray]:
    """Train in all ways; the losses at the smaller learning rate."""
    found: dict[str, np.ndarray] = {}
    accuracy: dict[str, float] = {}

    def network() -> Network:
        return MultiLayerNet(784, [100], 10, rng=seed, device=lab.device)

    for lr, guides in GUIDES.items():
        for kind, guide in guides.items():
            to = None if kind == "float32" else kind
            trainer = trainer_of(lab, network(), lr, seed, to)
            trainer.train()
            accuracy[kind], found[kind] = trainer.test_acc_list[-1], trainer.train_loss_list
            what = f"lr {lr:g}, parameters of {kind}: test accuracy, seed {seed}"
            lab.check(what, accuracy[kind], book=f"guide {guide}")
    accuracy[MASTER], found[MASTER] = mixed(lab, network(), lr, seed)
    for kind, least in LOSSES.items():
        what = f"lr {lr:g}, parameters of {kind}: accuracy lost, seed {seed}"
        guide = f"guide {guides['float32'] - guides[kind]:.4f}"
        lost = accuracy["float32"] - accuracy[kind]
        lab.check(what, lost, least, book=guide, full=True)
    what = f"lr {lr:g}, {MASTER}: change of accuracy, seed {seed}"
    change = accuracy[MASTER] - accuracy["float32"]
    lab.check(what, change, -0.002, 0.002, book="guide 0", full=True)
    return found


def run(lab: Lab) -> None:
    """Use, train and draw."""
    for seed in seeds(lab, 2):
        use(lab, seed)
        found = learn(lab, seed)
        if seed == lab.seed:
            draw(lab, found)


def draw(lab: Lab, found: dict[str, np.ndarray]) -> None:
    """The losses at the smaller learning rate."""
    axes = lab.figure(7, 4.5).subplots()
    for kind, losses in found.items():
        style = "--" if kind == MASTER else "-"
        label = kind if kind == MASTER else f"parameters of {kind}"
        axes.plot(smooth_curve(np.asarray(losses)), style, label=label)
    axes.set(xlabel="step", ylabel="training loss, smoothed", title="SGD, lr 0.001")
    axes.legend()


if __name__ == "__main__":
    main(run, __doc__)
