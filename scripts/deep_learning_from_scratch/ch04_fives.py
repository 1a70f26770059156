"""How differently is a 5 written? (Figure 4-1; section 4.1)

    python scripts/deep_learning_from_scratch/ch04_fives.py --data mnist

Rules for such shapes are hard to write by hand, so that the book has them learned.
"""

import numpy as np

from xpnet.report.experiment import Lab, main

ROWS, COLUMNS = 5, 10


def run(lab: Lab) -> None:
    """Draw the first fives of the training images."""
    data = lab.digits
    fives = data.x_train[data.t_train == 5]
    lab.check("fives to train on", len(fives), 5421, 5421, full=True)
    tiles = fives[: ROWS * COLUMNS].reshape(ROWS, COLUMNS, 28, 28)
    axes = lab.figure(7, 3.6).subplots()
    axes.imshow(np.block([list(row) for row in tiles]), cmap="gray")
    axes.set_axis_off()


if __name__ == "__main__":
    main(run, __doc__)
