"""What does a digit look like when it is turned or shifted a little? (Figure 8-4)

    python scripts/deep_learning_from_scratch/ch08_augmentation.py --data mnist

Five test images turned by 15 degrees and shifted by 3 pixels, as augmentation does to training
images. A shift by whole pixels moves every pixel unchanged; a turn and the turn back blur the
image, and lose little.
"""

import numpy as np

from xpnet import to_numpy
from xpnet.arrays.values import scaled
from xpnet.data.augment import rotate
from xpnet.report import plots
from xpnet.report.experiment import Lab, main
from xpnet.report.figures import turned_and_shifted

ANGLE, STEP = 15, 3


def run(lab: Lab) -> None:
    """Move, measure and draw."""
    originals = scaled(lab.digits.x_test[:5], np.float32)
    x = lab.device.asarray(originals)
    variants = turned_and_shifted(x, angle=ANGLE, step=STEP)
    moved = variants[f"{STEP} down"][:, :, STEP:] - originals[:, :, :-STEP]
    lab.equal("largest change of a pixel that is shifted", np.max(np.abs(moved)), 0)
    ink = originals.sum()
    for title, images in variants.items():
        lab.check(f"ink that is left, {title}", images.sum() / ink, 0.97, 1.03, full=True)
    again = to_numpy(rotate(rotate(x, ANGLE), -ANGLE))
    lab.check(
        "mean difference of turned there and back", np.mean(np.abs(again - originals)), 0, 0.03
    )
    plots.draw_augmented(lab.figure(8.5, 6.5).subplots(), originals, variants)


if __name__ == "__main__":
    main(run, __doc__)
