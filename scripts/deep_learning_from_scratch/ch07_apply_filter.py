"""Does one filter answer to vertical edges and another one to horizontal ones? (Figure 7-25)

    python scripts/deep_learning_from_scratch/ch07_apply_filter.py --data mnist

The two most one-sided filters of a SimpleConvNet that was trained for three epochs, two seeds.
Drawn is what they make of a digit, and of a picture with a vertical and a horizontal edge. By
number: the sum of squares of a filter's output, without the bias, on an edge of either kind.
"""

import numpy as np

from _shared import make_trainer, seeds
from xpnet import Adam, SimpleConvNet, to_numpy
from xpnet.arrays.values import scaled
from xpnet.layers import Convolution
from xpnet.report import plots
from xpnet.report.experiment import Lab, main
from xpnet.report.figures import edge_answers


def trained(lab: Lab, seed: int) -> Convolution:
    """Return the first layer of a network that was trained."""
    network = SimpleConvNet(rng=seed, device=lab.device)
    options = {"seed": seed, "sampling": "shuffle", "evaluate_sample_num_per_epoch": 100}
    trainer = make_trainer(lab, network, epochs=lab.few(3, 1), optimizer=Adam(0.001), **options)
    trainer.train()
    layer = network.layers["Conv1"]
    assert isinstance(layer, Convolution)
    return layer


def quarters(size: int) -> np.ndarray:
    """A picture whose upper left and lower right quarters are white: edges of both kinds."""
    half = np.arange(size) < size // 2
    return (half[:, np.newaxis] == half).astype(np.float32)


def run(lab: Lab) -> None:
    """Train, choose, measure and draw."""
    for seed in seeds(lab, 2):
        layer = trained(lab, seed)
        W = to_numpy(layer.params["W"])
        vertical, horizontal = edge_answers(W)
        chosen = [int(np.argmax(vertical - horizontal)), int(np.argmax(horizontal - vertical))]
        for number, (one, other), orientation in zip(
            chosen,
            ((vertical, horizontal), (horizontal, vertical)),
            ("vertical", "horizontal"),
            strict=True,
        ):
            what = f"filter {number}, {orientation} edges / the others, seed {seed}"
            ratio = one[number] / other[number]
            lab.check(what, ratio, 3, book="answers to one kind", full=True)
        if seed > lab.seed:
            continue
        figures = lab.figure(7.6, 8).subfigures(2, 1)
        digit = scaled(lab.digits.x_test[0, 0], np.float32)
        for figure, image in zip(figures, (digit, quarters(len(digit))), strict=True):
            outputs = layer.forward(lab.device.asarray(image[np.newaxis, np.newaxis]))[0]
            titles = [f"filter {chosen[0]}: vertical edges", f"filter {chosen[1]}: horizontal"]
            plots.draw_filtered(figure, image, W[chosen], to_numpy(outputs)[0, chosen], titles)


if __name__ == "__main__":
    main(run, __doc__)
