"""Does a general minimiser teach M2 to read 1, 2 and 3? (Section 5-4)

    python scripts/mathematics_of_deep_learning/ch5_m2_solver.py --data-dir DIR

Three filters, max pooling and three outputs: C_T as a function of 69 parameters, handed to SciPy's
minimisers where the book has Excel's Solver. The forward passes need no data; for the rest the
book's images are looked for in DIR and beside it, as `mathematics-of-deep-learning/images.json`;
without them the same is done on drawn ones, on which only what any images must show is judged.

The book's test image of a 1 is not printed; ours has the serifs that its text tells of.
"""

from _wakui import METHODS, check_layers, check_training, draw_costs, draw_image, draw_weights
from xpnet import to_numpy
from xpnet.books.wakui import M2, minimise
from xpnet.data.tiny import parse_images
from xpnet.report.experiment import Lab, main

UNSEEN = parse_images("001110/000100/000100/000100/000100/001110")
IMAGE_1 = parse_images("000100/000100/000100/000100/000100/000100")
IMAGE_96 = parse_images("001110/010011/000110/000010/010011/001110")
FORWARD = {
    1: (
        IMAGE_1,
        {
            "P": ([0.033, 0.013] * 2 + [0.040, 0.085] * 2 + [0.149, 0.043] * 2, 0.003),
            "zO": ((1.300, -2.106, -1.841), 0.003),
            "aO": ((0.786, 0.109, 0.137), 0.003),
        },
    ),
    96: (
        IMAGE_96,
        {
            "zO": ((-1.654, -1.898, -0.081), 0.003),
            "aO": ((0.161, 0.130, 0.480), 0.003),
        },
    ),
}


def run(lab: Lab) -> None:
    """Minimise with three methods, and read an unseen image."""
    start = M2(device=lab.device)
    lab.equal("parameters", start.params.count, 69)
    for number, (image, printed) in FORWARD.items():
        check_layers(lab, f"image {number}", start, image, printed)

    images = lab.tiny_images("M2")
    first = float(start.loss(images.x, images.t))
    lab.equal("C_T at the start", first, 12.544, atol=0.003, full=True)
    curves, filters = {}, {}
    for method in METHODS:
        net = M2(device=lab.device)
        curves[method] = minimise(net, images.x, images.t, method=method)
        check_training(
            lab, method, net, images, curves[method], least=0.85, end=(0.001, "0.000")
        )  # fmt: skip
        decided = to_numpy(net.decide(UNSEEN))[0]
        lab.equal(f"{method}: decision on an unseen 1", decided, 1, full=True)
        filters[method] = to_numpy(net.params["W1"])[:, 0]

    above, below = lab.figure(10, 6).subfigures(2, 1, height_ratios=(2.4, 1))
    left, right = above.subplots(1, 2, width_ratios=(4, 1))
    draw_costs(left, curves)
    left.set(yscale="log", ylim=(1e-6, None))
    draw_image(right, UNSEEN, f"read as {decided}")
    panels = below.subplots(1, 3 * len(METHODS))
    for i, (method, weights) in enumerate(filters.items()):
        draw_weights(panels[3 * i : 3 * i + 3], weights, method)


if __name__ == "__main__":
    main(run, __doc__)
