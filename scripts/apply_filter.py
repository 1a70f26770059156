"""Which filters of the first layer answer to vertical edges, which to horizontal ones (Fig. 7-25)?

    python scripts/apply_filter.py --weights runs/mine/model.safetensors --out filtered.png

A filter's answer to a vertical edge is the sum of squares of its output, without the bias, on a
picture that is -1 left of the edge and +1 right of it: over the places where the edge lies within
the window, in one row, since all rows are alike. The answer to a horizontal edge is the same with
rows for columns. Drawn are the two filters whose answers differ most, either way.
"""

import argparse

import numpy as np

from xpnet import Convolution, load_network, to_numpy
from xpnet.arrays.values import scaled
from xpnet.errors import ArgumentError
from xpnet.models import Network
from xpnet.report import plots
from xpnet.report.figures import edge_answers
from xpnet.report.script import Script, open_data, open_device


def first_convolution(network: Network) -> Convolution:
    """Return the first layer, which must be a convolution of images with one channel."""
    layer = next(iter(network.layers.values()))
    if not isinstance(layer, Convolution) or layer.params["W"].shape[1] != 1:
        raise ArgumentError(
            f"the network begins with {type(layer).__name__}, and filters of one channel are "
            "needed; give the weights of a convolutional network for grey images"
        )
    return layer


def answer(options: argparse.Namespace) -> None:
    """Print every filter's answers, and draw the two most one-sided ones on a test image."""
    network = load_network(options.weights, device=open_device(options))
    layer = first_convolution(network)
    dataset = open_data(options)
    if not 0 <= options.image < len(dataset.x_test):
        raise ArgumentError(
            f"--image must be from 0 to {len(dataset.x_test) - 1}, got {options.image}"
        )
    image = scaled(dataset.x_test[options.image], np.float32)
    outputs = to_numpy(layer.forward(network.place(image[np.newaxis]))[0])[0]

    W = to_numpy(layer.params["W"])
    vertical, horizontal = edge_answers(W)
    chosen = [int(np.argmax(vertical - horizontal)), int(np.argmax(horizontal - vertical))]
    print("filter   vertical edge   horizontal edge")
    for number in np.argsort(horizontal - vertical):
        print(f"{number:6}{vertical[number]:16.4f}{horizontal[number]:18.4f}")
    titles = []
    for number, orientation in zip(chosen, ("vertical", "horizontal"), strict=True):
        print(f"most for {orientation} edges: filter {number}")
        titles.append(f"filter {number}: {orientation} edges")
    plots.filtered(options.out, image, W[chosen], outputs[chosen], titles)
    print(f"picture: {options.out}, test image {options.image}, a {dataset.t_test[options.image]}")


def main() -> None:
    """Take the flags and answer."""
    script = Script(__doc__, "weights", "data", "device", out="filtered.png")
    script.add_argument("--image", type=int, default=0, help="number of the test image")
    script.run(answer)


if __name__ == "__main__":
    main()
