"""Do two networks that learn from each other draw digits that nobody has written? (section 8.5.2)

    python scripts/deep_learning_from_scratch/ch08_dcgan.py --data mnist

A generator makes images of 64 random numbers, a discriminator tells them from MNIST's, and each
learns from the other: two epochs of batches of 64, Adam, lr 0.0002, beta1 0.5, for three seeds.
A judge that has seen real digits only, SimpleConvNet after two epochs, looks at 10,000 images. The
class score, 1 to 10, is high where they are clear and of all classes; the Frechet distance, of what
its last layer reads in them and in the test images, is low where they are alike. Both compare
within this judge only, whose SHA-256 is told. Beside them stand the numbers of real images and of
noise; guides are an independent run's, of one seed and with a judge of its own. The bands of the
distance are that judge's, too, and are missed: what the last layer reads is larger here, so that
noise is at 1573 and 926, where it was at 290 and 245. Beside noise the images are where they were,
at 0.12 to 0.15 of it, which was 0.145. Of images learned by heart, the distance to the nearest
training image would be small: that of test images stands beside it. Drawn are, for the first seed,
the same random numbers epoch by epoch, and ways between two of them, along which one digit becomes
another.
"""

import numpy as np

from _generated import Judge, check_shares, draw_rows, epochs_of, made, ways
from _shared import seeds
from xpnet import DCGAN
from xpnet.report.experiment import Lab, main
from xpnet.report.generation import nearest_distances

EPOCHS = 2
BANDS = {1: (3.5, 65.0), 2: (4.0, 55.0)}
"""Of the class score, at least, and of the Frechet distance, at most, after an epoch."""
GUIDES = {(1, 0): (4.29, 50.7), (2, 0): (4.95, 35.5), (1, 1): (4.60, 47.5)}
"""The same as the independent run measured it, by epoch and seed."""
COLUMNS = 12


def run(lab: Lab) -> None:
    """Train, judge and draw."""
    judge = Judge(lab)
    judge.tell()
    noise = beside(lab, judge)
    rows: list[np.ndarray] = []
    strips = np.zeros(0)
    for seed in seeds(lab, 3):
        gan = DCGAN(rng=seed, device=lab.device)
        if seed == lab.seed:
            for name, parameters in (("generator", 237_313), ("discriminator", 36_577)):
                lab.equal(f"parameters of the {name}", gan.networks[name].params.count, parameters)
        images = np.zeros(0)
        for epoch in epochs_of(lab, gan, seed, EPOCHS if not lab.quick else 1):
            images = made(gan, judge.images)
            if seed == lab.seed:
                rows.append(images[:COLUMNS])
            if epoch:
                check(lab, judge, images, epoch, seed, noise)
        nearest = np.median(nearest_distances(images[:1000], lab.digits.x_train[:20_000]))
        what = f"median distance to the nearest of 20,000 training images, seed {seed}"
        lab.check(what, nearest, book="guide 6.25" if seed == 1 else "")
        if seed == lab.seed:
            strips = ways(gan, 4, COLUMNS)
    test = nearest_distances(lab.digits.x_test[:1000], lab.digits.x_train[:20_000])
    lab.check("the same of test images", np.median(test), book="guide 4.54")
    upper, lower = lab.figure(9, 6).subplots(2, 1, height_ratios=(len(rows), 4))
    labels = [f"epoch {epoch}" if epoch else "before" for epoch in range(len(rows))]
    draw_rows(upper, np.concatenate(rows), COLUMNS, labels)
    upper.set_title(f"the same random numbers after each epoch, seed {lab.seed}", fontsize=10)
    draw_rows(lower, strips, COLUMNS, [""] * 4)
    lower.set_title("from one vector of random numbers to another", fontsize=10)


def beside(lab: Lab, judge: Judge) -> float:
    """The numbers of what is real, and of noise; the smaller distance of noise."""
    x = lab.digits.x_train[: judge.images] / np.float32(255)
    mean, std = x.mean(axis=0), x.std(axis=0)
    kinds = {
        "real training images": (x, (9.49, 1.09)),
        "even noise": (lab.rng.random(x.shape, dtype=np.float32), (1.01, 289.8)),
        "normal noise with each pixel's mean and deviation": (
            (mean + std * lab.rng.standard_normal(x.shape)).astype(np.float32), (1.00, 244.5),
        ),
    }  # fmt: skip
    least = np.inf
    for name, (images, guide) in kinds.items():
        told = judge.of(images)
        lab.check(f"class score of {name}", told.score, book=f"guide {guide[0]}")
        lab.check(f"Frechet distance of {name}", told.distance, book=f"guide {guide[1]}")
        if "noise" in name:
            least = min(least, told.distance)
    return float(least)


def check(lab: Lab, judge: Judge, images: np.ndarray, epoch: int, seed: int, noise: float) -> None:
    """State what the judge must say after an epoch."""
    told, after = judge.of(images), f"after {epoch} epoch{'s' * (epoch > 1)}, seed {seed}"
    score, distance = BANDS[epoch]
    guide = [f"guide {each}" for each in GUIDES.get((epoch, seed), ())] or ["", ""]
    lab.check(f"class score {after}", told.score, score, book=guide[0], full=True)
    name = f"Frechet distance {after}"
    lab.check(name, told.distance, None, distance, book=guide[1], full=True)
    if epoch == EPOCHS:
        check_shares(lab, told, after)
        what = f"Frechet distance beside that of noise, {after}"
        lab.check(what, told.distance / noise, None, 0.25, full=True)


if __name__ == "__main__":
    main(run, __doc__)
