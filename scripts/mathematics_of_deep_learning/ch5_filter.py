"""What does a filter of a slash see in a 1, a 2 and a 3, and what does pooling keep? (5-2, 5-3)

    python scripts/mathematics_of_deep_learning/ch5_filter.py

A convolution is the similarity (appendix C) of the filter to every window. The largest number in
the 2 is 3, a whole slash. Section 5-2 adds a bias of -1, and the table of section 5-3 has -3. The
text's 2 is a reading of its printed feature map; the 1 and the 3 of the problem are not printed,
and the book's images 1 and 96 stand in for them.
"""

import numpy as np

from _wakui import draw_image
from xpnet import AveragePool, MaxPool, sigmoid
from xpnet.books.wakui import feature_map, l2_pool, similarity
from xpnet.data.tiny import parse_images
from xpnet.report.experiment import Lab, main

SLASH = parse_images("001/010/100")
IMAGES = {
    1: parse_images("000100/000100/000100/000100/000100/000100"),
    2: parse_images("001100/010010/000010/000100/001000/011110"),
    3: parse_images("001110/010011/000110/000010/010011/001110"),
}
MAPS = {
    1: [[0, 1, 1, 1]] * 4,
    2: [[2, 1, 0, 1], [0, 0, 1, 2], [0, 0, 3, 0], [0, 3, 1, 1]],
    3: [[2, 1, 1, 2], [0, 0, 2, 2], [0, 2, 1, 1], [1, 0, 2, 2]],
}
TABLE = [
    [0.27, 0.12, 0.05, 0.12],
    [0.05, 0.05, 0.12, 0.27],
    [0.05, 0.05, 0.50, 0.05],
    [0.05, 0.50, 0.12, 0.12],
]
KINDS = {
    "max": (lambda x: MaxPool(2, stride=2).forward(x)[0], [[0.27, 0.27], [0.50, 0.50]]),
    "mean": (
        lambda x: AveragePool(2, stride=2).forward(x)[0],
        [[0.1225, 0.1400], [0.1625, 0.1975]],
    ),
    "L2": (l2_pool, [[0.303809, 0.322800], [0.507445, 0.530377]]),
}


def run(lab: Lab) -> None:
    """Filter three digits, and pool."""
    f = SLASH[0, 0]
    maps = {digit: feature_map(image, f) for digit, image in IMAGES.items()}
    for digit, want in MAPS.items():
        book = "" if digit == 2 else "not printed"
        lab.equal(f"feature map of the {digit}", maps[digit][0, 0], want, book=book)
    window = IMAGES[2][0, 0, 2:5, 2:5]
    lab.equal("similarity of its best window", similarity(window, f), maps[2].max())

    lab.equal("the 2 with bias -3, sigmoid", sigmoid(maps[2] - 3)[0, 0], TABLE, atol=0.0051)
    for kind, (pool, want) in KINDS.items():
        book = "" if kind == "max" else "not printed"
        pooled = pool(np.array([[TABLE]]))[0, 0]
        lab.equal(f"{kind} pooling of the table", pooled, want, atol=1e-6, book=book)
    pooled, _ = MaxPool(2, stride=2).forward(sigmoid(maps[2] - 1))
    lab.equal("the 2 with bias -1, max-pooled", pooled[0, 0], [[0.7311] * 2, [0.8808] * 2],
              atol=5e-5, book="not printed")  # fmt: skip

    most = {d: MaxPool(2, stride=2).forward(sigmoid(m - 3))[0].max() for d, m in maps.items()}
    shown = ", ".join(f"{digit}: {value:.4f}" for digit, value in most.items())
    lab.holds("the 2 pools to more than the 1 and the 3", most[2] > max(most[1], most[3]), shown,
              book="it does")  # fmt: skip

    panels = lab.figure(8, 5).subplots(2, 4)
    draw_image(panels[0, 0], SLASH, "filter")
    panels[1, 0].axis("off")
    for (above, below), (digit, image) in zip(panels.T[1:], IMAGES.items(), strict=True):
        draw_image(above, image, str(digit))
        below.imshow(maps[digit][0, 0], cmap="Greys", vmin=0, vmax=6)
        for (i, j), value in np.ndenumerate(maps[digit][0, 0]):
            below.text(j, i, f"{value:.0f}", ha="center", va="center")
        below.set(xticks=(), yticks=(), title=f"pooled at most {most[digit]:.2f}")


if __name__ == "__main__":
    main(run, __doc__)
