"""Does backpropagation teach M1 to read 0 and 1? (Section 4-4)

    python scripts/mathematics_of_deep_learning/ch4_m1_backprop.py --data-dir DIR

50 iterations of gradient descent on C_T, a sum over all images, with eta = 0.2. The cost of an
iteration is that before its update. The four images of which the text tells all need no data; for
the published costs the book's images are looked for in DIR and beside it, as
`mathematics-of-deep-learning/images.json`; without them the same is done on drawn ones, on which
only what any images must show is judged.

The book's test image of a 0 is not printed; ours is the one of section 3-5.
"""

import numpy as np

from _wakui import check_costs, check_layers, check_training, draw_costs, draw_image, draw_weights
from xpnet import to_numpy
from xpnet.books.wakui import M1, train
from xpnet.data.tiny import parse_images
from xpnet.report.experiment import Lab, main

PUBLISHED = {
    iteration: (cost, 0.002)
    for iteration, cost in {1: 20.255, 2: 14.428, 10: 2.488, 25: 0.810, 50: 0.245}.items()
}
FOUR = (
    parse_images("111/101/101/111", "011/101/101/111", "110/101/101/111", "010/100/100/010"),
    np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
)
FOUR_COSTS = {1: 1.171280, 2: 1.122511, 3: 1.075359, 10: 0.850095, 25: 0.713875, 50: 0.575157}
TEST_ONE, TEST_ZERO = parse_images("011/010/010/010", "010/101/101/110")[:, np.newaxis]
LAST = {
    "z2": ((1.424, -3.337, 5.782), 0.005),
    "a2": ((0.806, 0.034, 0.997), 0.005),
    "z3": ((-4.294, 4.184), 0.005),
    "a3": ((0.013, 0.985), 0.005),
}


def run(lab: Lab) -> None:
    """Train on four images and on all, and read two unseen ones."""
    four = np.array(train(M1(device=lab.device), *FOUR))
    at = np.array(list(FOUR_COSTS)) - 1
    lab.equal(f"images 1, 2, 3, 64: C_T of iterations {', '.join(map(str, FOUR_COSTS))}",
              four[at], list(FOUR_COSTS.values()), atol=1e-6, book="not printed")  # fmt: skip

    images = lab.tiny_images("M1")
    net = M1(device=lab.device)
    costs = train(net, images.x, images.t)
    check_costs(lab, costs, PUBLISHED, images, 0.004)
    lab.holds("C_T falls at every iteration", np.all(np.diff(costs) < 0),
              f"{costs[0]:.3f} to {costs[-1]:.3f}", full=True)  # fmt: skip
    check_training(lab, "eta 0.2", net, images, costs, least=0.95)
    check_layers(lab, "an unseen 1", net, TEST_ONE, LAST, full=True)
    for digit, image in enumerate((TEST_ZERO, TEST_ONE)):
        lab.equal(
            f"decision on an unseen {digit}", to_numpy(net.decide(image))[0], digit, full=True
        )

    rates = {eta: train(M1(device=lab.device), images.x, images.t, eta=eta) for eta in (0.02, 1.0)}
    lab.check("eta 0.02: C_T of iteration 50", rates[0.02][-1], costs[-1], book="slow")
    lab.holds("eta 1: C_T jumps up in between", np.any(np.diff(rates[1.0]) > 0),
              f"{rates[1.0][0]:.3f}, {max(rates[1.0]):.3f} at most", book="it may",
              full=True)  # fmt: skip

    above, below = lab.figure(9, 6).subfigures(2, 1, height_ratios=(2, 1))
    draw_costs(above.subplots(), {"eta 0.2": costs, **{f"eta {e:g}": c for e, c in rates.items()}})
    panels = below.subplots(1, 5)
    draw_weights(panels[:3], to_numpy(net.params["W1"]).T.reshape(3, 4, 3), "hidden unit")
    for axes, image in zip(panels[3:], (TEST_ZERO, TEST_ONE), strict=True):
        draw_image(axes, image, f"read as {to_numpy(net.decide(image))[0]}")


if __name__ == "__main__":
    main(run, __doc__)
