"""What does the first chapter draw? (Figures 1-3, 1-4, 1-5; section 1.6)

    python scripts/deep_learning_from_scratch/ch01_plots.py

A sine; a sine and a cosine with a legend; and a picture that is read from a file and shown. The
book's picture is not ours to give away, so a drawn digit takes its place.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from xpnet import synthetic_digits
from xpnet.files.pictures import read_picture, save_picture
from xpnet.report.experiment import Lab, main


def run(lab: Lab) -> None:
    """Draw all three."""
    x = np.arange(0, 6, 0.1)
    lab.equal("points of the sine", len(x), 60)
    sine, both, picture = lab.figure(10, 3.2).subplots(1, 3)
    sine.plot(x, np.sin(x))
    sine.set_title("1-3: sin")

    both.plot(x, np.sin(x), label="sin")
    both.plot(x, np.cos(x), "--", label="cos")
    both.set(xlabel="x", ylabel="y", title="1-4: sin & cos")
    both.legend()

    digit = synthetic_digits(1, seed=lab.seed)[0][0]
    with TemporaryDirectory() as directory:
        path = Path(directory) / "digit.png"
        save_picture(path, digit)
        image = read_picture(path)
    lab.equal("shape of the picture read", image.shape, (1, 28, 28), book="any picture")
    lab.equal("its lightest and darkest", [image.min(), image.max()], [0, 1], book="any picture")
    picture.imshow(image[0], cmap="gray")
    picture.set_title("1-5: a picture, our own")


if __name__ == "__main__":
    main(run, __doc__)
