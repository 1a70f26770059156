"""What is in the data set? (Figures 3-24, 3-25; section 3.6.1)

    python scripts/deep_learning_from_scratch/ch03_mnist_show.py --data mnist

A hundred of the digits, and the first of the training images, which is a 5.
"""

import numpy as np

from xpnet.report.experiment import Lab, main

ROWS, COLUMNS = 10, 10


def run(lab: Lab) -> None:
    """Draw the digits, and check shapes and the first label."""
    data = lab.digits
    lab.check("training images", len(data.x_train), 60000, 60000, book="60000", full=True)
    lab.check("test images", len(data.x_test), 10000, 10000, book="10000", full=True)
    lab.check("first training label", data.t_train[0], 5, 5, book="5", full=True)
    lab.equal("shape of an image", data.x_train.shape[1:], (1, 28, 28))
    lab.equal("shape flattened", data.x_train[0].reshape(-1).shape, (784,))
    pixels = [data.x_train.min(), data.x_train.max()]
    lab.equal("smallest and largest pixel", pixels, [0, 255])
    lab.equal("labels there are", np.unique(data.t_train), np.arange(10))

    samples, first = lab.figure(9, 4.8).subplots(1, 2)
    tiles = data.x_train[: ROWS * COLUMNS].reshape(ROWS, COLUMNS, 28, 28)
    samples.imshow(np.block([list(row) for row in tiles]), cmap="gray")
    samples.set_title(f"3-24: the first {ROWS * COLUMNS}")
    samples.set_axis_off()
    first.imshow(data.x_train[0, 0], cmap="gray")
    first.set_title(f"3-25: the first one, label {data.t_train[0]}")


if __name__ == "__main__":
    main(run, __doc__)
