"""What do digits look like when they are turned and shifted a little (Figure 8-4)?

    python scripts/augment_samples.py --angle 15 --shift 3 --out augmented.png

The ink that is left says how much a shift pushes out of the image.
"""

import argparse

import numpy as np

from xpnet.arrays.values import scaled
from xpnet.errors import ArgumentError
from xpnet.report import plots
from xpnet.report.figures import turned_and_shifted
from xpnet.report.script import Script, open_data, open_device


def answer(options: argparse.Namespace) -> None:
    """Draw some test images and what becomes of them."""
    device, dataset = open_device(options), open_data(options)
    if not 1 <= options.count <= len(dataset.x_test):
        raise ArgumentError(f"--count must be from 1 to {len(dataset.x_test)}, got {options.count}")
    originals = scaled(dataset.x_test[: options.count], np.float32)
    x = device.asarray(originals)
    variants = turned_and_shifted(x, angle=options.angle, step=options.shift)
    for title, images in variants.items():
        print(f"{title:16} {100 * images.sum() / originals.sum():6.1f} % of the ink is left")
    plots.augmented(options.out, originals, variants)
    print(f"picture: {options.out}")


def main() -> None:
    """Take the flags and answer."""
    script = Script(__doc__, "data", "device", out="augmented.png")
    script.add_argument("--angle", type=float, default=15.0, help="degrees")
    script.add_argument("--shift", type=float, default=3.0, help="pixels")
    script.add_argument("--count", type=int, default=5, help="how many test images")
    script.run(answer)


if __name__ == "__main__":
    main()
