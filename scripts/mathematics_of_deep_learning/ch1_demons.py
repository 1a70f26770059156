"""Can three demons read a 0 and a 1? (Sections 1-2, 1-3, 1-5)

    python scripts/mathematics_of_deep_learning/ch1_demons.py

A neuron that fires at its threshold, a unit with a sigmoid, and the demons A, B and C, which are
units that like two pixels each. The book gives the demons no numbers; `xpnet.books.wakui.demons`
tells ours. They read two ideal images, and seven of eight of the book's others: what is written a
little elsewhere leaves them cold. M1, which learns its weights, reads all.
"""

from math import log

import numpy as np

from _wakui import draw_image
from xpnet import sigmoid
from xpnet.books.wakui import demons, neuron, unit
from xpnet.data.tiny import parse_images
from xpnet.report.experiment import Lab, main

IDEAL = {
    0: (parse_images("000/101/101/000"), [1, 0, 1], [1, 0]),
    1: (parse_images("000/010/010/000"), [0, 1, 0], [0, 1]),
}


def run(lab: Lab) -> None:
    """Check the worked examples, and count what the demons read."""
    corners = np.array([(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)])
    fires = neuron(corners, np.array([5.0, 3.0]), 4.0)
    lab.equal("weights 5 and 3, threshold 4: fires at 00, 01, 10, 11", fires, [0, 0, 1, 1])

    w, b = np.array([2.0, 3.0]), -1.0
    for x, z, printed in (((0.2, 0.1), -0.3, 0.43), ((0.6, 0.5), 1.7, 0.84)):
        at = np.array(x)
        lab.equal(f"unit at {x[0]}, {x[1]}: z", unit(at, w, b, lambda z: z), z, atol=1e-12)
        lab.equal("its sigmoid", unit(at, w, b, sigmoid), printed, atol=0.01)
        rough = unit(at, w, b, lambda z: sigmoid(z * log(2.7)))
        lab.equal("its sigmoid with e = 2.7", rough, printed, atol=0.005)

    for digit, (image, hidden, output) in IDEAL.items():
        excited, read = demons(image)
        lab.equal(f"demons A, B, C at an ideal {digit}", excited, hidden)
        lab.equal("demons 0 and 1", read, output)

    images = lab.tiny_images("M1")
    read = np.stack([demons(image)[1] for image in images.x])
    right = np.mean(np.all(read == images.t, axis=1))
    lab.check("share of M1's training images that demons read", right)

    panels = lab.figure(5, 2.8).subplots(1, 2)
    for axes, (image, hidden, _) in zip(panels, IDEAL.values(), strict=True):
        names = " and ".join(name for name, on in zip("ABC", hidden, strict=True) if on)
        draw_image(axes, image, f"excites {names}")


if __name__ == "__main__":
    main(run, __doc__)
