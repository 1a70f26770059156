"""Does a general minimiser teach M1 to read 0 and 1? (Sections 3-3, 3-5)

    python scripts/mathematics_of_deep_learning/ch3_m1_solver.py --data-dir DIR

12-3-2 with sigmoids; C_T is handed over as a function of its 47 parameters, to SciPy's minimisers
where the book has Excel's Solver. The forward passes from the printed start need no data. The
costs do: the book's images are looked for in DIR and beside it, as
`mathematics-of-deep-learning/images.json`; without them the same is done on drawn ones, on which
only what any images must show is judged.
"""

import numpy as np

from _wakui import METHODS, check_layers, check_training, draw_costs, draw_image, draw_weights
from xpnet import to_numpy
from xpnet.books.wakui import M1, M1_BACKPROP, M1_SOLVER, minimise, worksheet
from xpnet.data.tiny import parse_images
from xpnet.functions.losses import sigmoid_cross_entropy
from xpnet.report.experiment import Lab, main

UNSEEN = parse_images("010/101/101/110")
IMAGES = {1: "111/101/101/111", 2: "011/101/101/111", 64: "010/100/100/010"}
FORWARD = {
    1: {
        "z2": ((-2.979, 1.828, 0.121), 0.003),
        "a2": ((0.048, 0.862, 0.530), 0.003),
        "a3": ((0.747, 0.168), 0.003),
    },
    2: {"z2": ((-6.193, 5.872, 1.833), 0.003)},
    64: {"z2": ((-4.069, 4.562, -0.797), 0.003)},
}
CROSS_ENTROPY = {1: 1.271894, 64: 2.413931}


def run(lab: Lab) -> None:
    """Minimise with three methods, and read an unseen image."""
    lab.equal("parameters", M1(device=lab.device).params.count, 47)
    start = M1(M1_SOLVER, device=lab.device)
    for number, printed in FORWARD.items():
        check_layers(lab, f"image {number}", start, parse_images(IMAGES[number]), printed)
    net = M1(M1_BACKPROP, device=lab.device)
    for number, want in CROSS_ENTROPY.items():
        t = np.array([[0.0, 1.0] if number == 64 else [1.0, 0.0]])
        z = worksheet(net, parse_images(IMAGES[number]), t).outputs["z3"]
        cost, _ = sigmoid_cross_entropy(z, lab.device.asarray(t))
        lab.equal(f"image {number}: cross-entropy", float(cost), want, atol=1e-6, book="a memo")

    images = lab.tiny_images("M1")
    first = float(start.loss(images.x, images.t))
    lab.equal("C_T at the start", first, 18.347, atol=0.003, full=True)
    curves, hidden = {}, {}
    for method in METHODS:
        net = M1(M1_SOLVER, device=lab.device)
        curves[method] = minimise(net, images.x, images.t, method=method)
        check_training(
            lab, method, net, images, curves[method], least=0.95, end=(0.001, "0.000")
        )  # fmt: skip
        outputs = to_numpy(net.predict(UNSEEN))[0]
        lab.equal(f"{method}: outputs for an unseen 0", outputs, [1, 0], atol=0.05, full=True)
        decided = to_numpy(net.decide(UNSEEN))[0]
        lab.equal(f"{method}: decision", decided, 0, full=True)
        hidden[method] = to_numpy(net.params["W1"]).T.reshape(3, 4, 3)

    above, below = lab.figure(10, 6.4).subfigures(2, 1, height_ratios=(2, 1.1))
    left, right = above.subplots(1, 2, width_ratios=(4, 1))
    draw_costs(left, curves)
    left.set(yscale="log", ylim=(1e-6, None))
    draw_image(right, UNSEEN, f"read as {decided}")
    panels = below.subplots(1, 3 * len(METHODS))
    for i, (method, weights) in enumerate(hidden.items()):
        draw_weights(panels[3 * i : 3 * i + 3], weights, method)


if __name__ == "__main__":
    main(run, __doc__)
