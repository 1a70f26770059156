"""Parts that several experiments share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import RCNN, Adam, Batches, Network, Trainer, to_numpy
from xpnet.data import Dataset
from xpnet.data.batches import Batch
from xpnet.data.crops import Crops
from xpnet.optim import Optimizer
from xpnet.report.detection import DetectionScores, PrecisionRecall
from xpnet.report.evaluate import predictions
from xpnet.report.experiment import Lab

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def make_trainer(
    lab: Lab,
    network: Network,
    *,
    digits: Dataset | None = None,
    images: int | None = None,
    epochs: int = 1,
    batch_size: int = 100,
    optimizer: str | Optimizer = "SGD",
    **options: Any,
) -> Trainer:
    """Make a silent trainer on the first `images` images, all if None, drawn as in the book.

    Its default is SGD with lr 0.01; more options, or others, are those of `Trainer`. The digits are
    the lab's unless others are given.
    """
    digits = lab.digits if digits is None else digits
    options = {"verbose": False, "seed": lab.seed, "sampling": "choice"} | options
    return Trainer(
        network,
        digits.x_train[:images],
        digits.t_train[:images],
        digits.x_test,
        digits.t_test,
        epochs,
        batch_size,
        optimizer,
        **options,
    )


def endless(batches: Batches) -> Iterator[Batch]:
    """Yield the batches of one epoch after the other."""
    return (batch for number in count() for batch in batches.epoch(number))


def training_losses(lab: Lab, network: Network, optimizer: Optimizer, steps: int) -> np.ndarray:
    """List the loss before each of `steps` updates on batches of 128."""
    trainer = make_trainer(lab, network, batch_size=128, optimizer=optimizer)
    batches = islice(endless(trainer.train_batches), steps)
    losses = [trainer.train_step(x, t) for x, t in batches]
    return to_numpy(lab.device.xp.stack(losses))


SEEDS = 4


def seeds(lab: Lab, number: int = SEEDS) -> range:
    """Return the seeds of several runs; one in quick mode."""
    return range(lab.seed, lab.seed + lab.few(number, 1))


def check_mean(
    lab: Lab, what: str, values: Sequence[float], guide: tuple[float, float], sd: float
) -> None:
    """State that the mean over seeds lies in a guide's band, widened by two standard errors.

    The guides come from one to three runs each, which is less than single runs of these small
    training sets scatter: `sd` is their standard deviation over eight seeds.
    """
    margin = 2 * sd / len(values) ** 0.5
    low, high = guide
    lab.check(
        f"{what}, mean of seeds {lab.seed} to {lab.seed + len(values) - 1}",
        np.mean(values),
        low - margin,
        high + margin,
        book=f"guide {low} to {high}",
        full=True,
    )


def smooth_curve(x: np.ndarray) -> np.ndarray:
    """Average, weighted by a moving Kaiser window (length 11, beta 2); the ends are mirrored."""
    window = np.kaiser(11, 2)
    return np.convolve(np.pad(x, 5, mode="reflect"), window / window.sum(), mode="valid")


def draw_accuracies(
    axes: "Axes", train: Sequence[float], test: Sequence[float], title: str
) -> None:
    """Draw training and test accuracy against epochs from 1, the last ones named."""
    epochs = range(1, len(train) + 1)
    axes.plot(epochs, train, label=f"train, {train[-1]:.3f} at the end")
    axes.plot(epochs, test, "--", label=f"test, {test[-1]:.3f}")
    axes.set(xlabel="epochs", ylabel="accuracy", ylim=(0, 1.02), title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="lower right")


def draw_course(lab: Lab, axes: "Axes", trainer: Trainer, title: str) -> None:
    """Draw the accuracies of a training that measured 1000 images each; in full, from 0.9 up."""
    title = f"{title}, 1000 images each"
    draw_accuracies(axes, trainer.train_acc_list, trainer.test_acc_list, title)
    axes.set(ylim=(lab.few(9, 0) / 10, 1.002))


def accuracy_of(network: Network, x: np.ndarray, t: np.ndarray) -> float:
    """Read all of a set of images; the share that was read rightly."""
    return float(np.mean(predictions(network, x) == t))


def train_in_full(lab: Lab, trainer: Trainer, title: str) -> None:
    """Train, state that over 0.993 of all test images are read, and draw the curves."""
    trainer.train()
    accuracy = accuracy_of(trainer.network, lab.digits.x_test, lab.digits.t_test)
    lab.check("test accuracy", accuracy, low=0.993, full=True)
    draw_course(lab, lab.figure().subplots(), trainer, title)


def learn_filters(
    lab: Lab, network: Network, first: str, **options: Any
) -> tuple[Trainer, np.ndarray, np.ndarray]:
    """Train on shuffled images; the trainer at the end, and the parameter `first` before and after.

    Options are those of `make_trainer`.
    """
    before = to_numpy(network.params[first]).copy()
    trainer = make_trainer(lab, network, sampling="shuffle", **options)
    trainer.train()
    return trainer, before, to_numpy(network.params[first])


def learn_once(
    lab: Lab,
    model: Callable[..., Network],
    lr: float,
    band: tuple[float, float],
    *,
    guide: float,
    parameters: int,
    first: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Train on 30,000 images, each once, for two seeds, and state what is read of all test images.

    Adam, batches of 100. Returned is the parameter `first` before and after, of the first seed.
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    options = {"images": lab.few(30_000, 300), "evaluate_sample_num_per_epoch": 1}
    for seed in seeds(lab, 2):
        network = model(rng=seed, device=lab.device)
        if seed == lab.seed:
            lab.equal("parameters", network.params.count, parameters)
        options["seed"] = seed
        _, before, after = learn_filters(lab, network, first, optimizer=Adam(lr), **options)
        found.append((before, after))
        accuracy = accuracy_of(network, lab.digits.x_test, lab.digits.t_test)
        what = f"test accuracy, seed {seed}"
        lab.check(what, accuracy, *band, book=f"guide {guide}", full=True)
    return found[0]


def learned_rcnn(lab: Lab, crops: Crops, seed: int) -> RCNN:
    """Train R-CNN on the boxes of scenes: 5 epochs of Adam with lr 0.002 on batches of 100."""
    network = RCNN(rng=seed, device=lab.device)
    make_trainer(
        lab,
        network,
        digits=crops,
        epochs=lab.few(5, 1),
        optimizer=Adam(0.002),
        seed=seed,
        sampling="shuffle",
        evaluate_sample_num_per_epoch=1,
    ).train()
    return network


def draw_boxes(
    axes: "Axes", image: np.ndarray, boxes: np.ndarray, texts: Sequence[object], colour: str
) -> None:
    """Draw an image (C, H, W) of pixels, and boxes (n, 4) on it, each with a text at it."""
    axes.imshow(image[0] if len(image) == 1 else image.transpose(1, 2, 0), cmap="gray", vmin=0)
    axes.set(xticks=[], yticks=[])
    for (x1, y1, x2, y2), text in zip(boxes, texts, strict=True):
        # The centre of the first pixel is at 0.
        corners = np.array([x1, x2, x2, x1, x1]), np.array([y1, y1, y2, y2, y1])
        axes.plot(*(corner - 0.5 for corner in corners), color=colour, linewidth=1)
        x, side = (x1, "left") if x1 + x2 < image.shape[2] else (x2, "right")
        y, above = (y1, "bottom") if y1 > image.shape[1] / 8 else (y2 + 1, "top")
        style = {"color": colour, "fontsize": 8, "ha": side, "va": above}
        axes.text(x - 0.5, y - 1, str(text), **style)


def draw_precision_recall(axes: "Axes", scores: Mapping[str, DetectionScores], title: str) -> None:
    """Draw, by name, the precision at each recall, at IoU 0.5: the mean of all classes."""
    recalls = np.linspace(0, 1, 201)
    for name, each in scores.items():
        curves = [each.curve(label) for label in range(each.classes)]
        precision = np.mean([best_precision(c, recalls) for c in curves if c.objects], axis=0)
        label = f"{name}, mAP {each.mean_average_precision():.3f}"
        axes.plot(recalls, precision, label=label)
    axes.set(xlabel="recall", ylabel="precision, mean of the classes", ylim=(0, 1.02))
    axes.legend(loc="lower left", fontsize=8, title=title)


def best_precision(curve: PrecisionRecall, recalls: np.ndarray) -> np.ndarray:
    """The highest precision at each of some recalls, or beyond it; 0 where it is not reached."""
    best = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return np.append(best, 0.0)[np.searchsorted(curve.recall, recalls, side="left")]
