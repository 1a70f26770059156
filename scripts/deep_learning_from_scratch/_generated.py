"""What the experiments with a DCGAN share: its judge, its training, and its pictures."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from _shared import accuracy_of, make_trainer
from xpnet import DCGAN, Adam, SimpleConvNet, Trainer, to_numpy
from xpnet.functions.latent import slerp
from xpnet.report.experiment import Lab
from xpnet.report.generation import Seen, digest, judged, seen
from xpnet.train.adversarial import Adversarial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = 10_000
"""Images that are judged: the distance follows from their number, too."""


LEAST, MOST = 0.003, 0.4
"""The share of the images that each digit has; with more of one the generator has collapsed."""


class Numbers(NamedTuple):
    """What the judge says of images."""

    score: float
    distance: float
    shares: Sequence[float]


class Judge:
    """SimpleConvNet after 2 epochs of Adam, lr 0.001, seed 0, and what it sees in test images."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.images = lab, lab.few(IMAGES, 200)
        self.network = SimpleConvNet(rng=0, device=lab.device)
        make_trainer(
            lab,
            self.network,
            epochs=lab.few(2, 1),
            optimizer=Adam(0.001),
            sampling="shuffle",
            seed=0,
            evaluate_sample_num_per_epoch=1,
        ).train()
        self.real: Seen = seen(self.network, lab.digits.x_test[: self.images])

    def tell(self) -> None:
        """State how well it reads, and which it is."""
        digits = self.lab.digits
        accuracy = accuracy_of(self.network, digits.x_test, digits.t_test)
        name = f"test accuracy of the judge with the SHA-256 {digest(self.network)}"
        self.lab.check(name, accuracy, 0.97, book="guide 0.982", full=True)

    def of(self, images: np.ndarray) -> Numbers:
        """The numbers of images, floats from 0 to 1 or pixels."""
        told = judged(self.network, images, self.real)
        return Numbers(told.class_score, told.frechet_distance, told.shares)


def check_shares(lab: Lab, told: Numbers, after: str) -> None:
    """State that the generator has not collapsed."""
    least, most = min(told.shares), max(told.shares)
    ok = least >= LEAST and most <= MOST
    what = f"the rarest and the most frequent digit's share of the images, {after}"
    shown = f"{least:.4f} and {most:.4f}"
    lab.holds(f"{what}: {LEAST:g} at least, {MOST:g} at most", ok, shown, full=True)


def epochs_of(lab: Lab, gan: DCGAN, seed: int, epochs: int) -> Iterator[int]:
    """Train a DCGAN on batches of 64; the number of the epoch after each, and 0 before."""
    learner = Adversarial(gan, lab.digits.x_train, 64, seed=seed)
    trainer = Trainer.of(learner, epochs, verbose=False)
    for epoch in range(epochs + 1):
        if epoch:
            trainer.train(epochs=1)
        yield epoch


def made(gan: DCGAN, count: int) -> np.ndarray:
    """The images of the first latent vectors of seed 0, for all the same."""
    return to_numpy(gan.generate(gan.latent(count)))


def ways(gan: DCGAN, count: int, steps: int) -> np.ndarray:
    """Images on the way from one latent vector to the next, along great circles, row by row."""
    z = gan.latent(2 * count, first=100)
    places = np.linspace(0, 1, steps).tolist()
    between = [slerp(z[:count, ...], z[count:, ...], u) for u in places]
    rows = [to_numpy(gan.generate(each)) for each in between]
    return np.stack(rows, axis=1).reshape(count * steps, *gan.input_shape)


def draw_rows(axes: "Axes", images: np.ndarray, columns: int, labels: Sequence[str]) -> None:
    """Draw grey images in rows, each row with a label at its left."""
    side = images.shape[-1]
    rows = images.reshape(-1, columns, side, side)
    padded = np.pad(rows, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=0.5)
    axes.imshow(np.vstack([np.hstack(list(row)) for row in padded]), cmap="gray", vmin=0, vmax=1)
    places = (np.arange(len(rows)) + 0.5) * (side + 2)
    axes.set(xticks=[], yticks=places, yticklabels=labels)
    axes.tick_params(length=0)
