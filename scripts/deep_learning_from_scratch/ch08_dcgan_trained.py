"""How far do a generator and a discriminator come in five epochs? (section 8.5.2)

    python scripts/deep_learning_from_scratch/ch08_dcgan_trained.py --data mnist

The networks, the judge and its numbers are those of ch08_dcgan.py; here they learn for five epochs,
for three seeds, and the numbers after each are told. None has a band but that no digit is lost, and
none is all.
"""

import numpy as np

from _generated import Judge, check_shares, draw_rows, epochs_of, made
from _shared import seeds
from xpnet import DCGAN
from xpnet.report.experiment import Lab, main

COLUMNS = 12


def run(lab: Lab) -> None:
    """Train, judge and draw."""
    judge = Judge(lab)
    judge.tell()
    rows: list[np.ndarray] = []
    for seed in seeds(lab, 3):
        gan = DCGAN(rng=seed, device=lab.device)
        for epoch in epochs_of(lab, gan, seed, lab.few(5, 1)):
            images = made(gan, judge.images)
            if seed == lab.seed:
                rows.append(images[:COLUMNS])
            if not epoch:
                continue
            told, after = judge.of(images), f"after epoch {epoch}, seed {seed}"
            lab.check(f"class score {after}", told.score)
            lab.check(f"Frechet distance {after}", told.distance)
            check_shares(lab, told, after)
    labels = [f"epoch {epoch}" if epoch else "before" for epoch in range(len(rows))]
    axes = lab.figure(9, 5).subplots()
    draw_rows(axes, np.concatenate(rows), COLUMNS, labels)
    axes.set_title(f"the same random numbers after each epoch, seed {lab.seed}", fontsize=10)


if __name__ == "__main__":
    main(run, __doc__)
