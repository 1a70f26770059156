"""Which test images does a network misread, and what does it take them for (Figure 8-2)?

    python scripts/misclassified_mnist.py --weights runs/mine/model.safetensors --data mnist

A second picture, beside the first, holds the confusion matrix.
"""

import argparse

import numpy as np

from xpnet import load_network
from xpnet.report import plots
from xpnet.report.evaluate import confusion, predictions
from xpnet.report.script import Script, open_data, open_device

PAIRS = 5


def answer(options: argparse.Namespace) -> None:
    """Read all test images; print and draw what went wrong."""
    network = load_network(options.weights, device=open_device(options))
    dataset = open_data(options)
    labels = dataset.t_test
    read = predictions(network, dataset.x_test)
    matrix = confusion(labels, read)
    wrong = int(np.sum(labels != read))
    print(f"misread: {wrong} of {len(labels)} images, {100 * wrong / len(labels):.2f} %")

    errors = matrix - np.diag(np.diag(matrix))
    for place in np.argsort(-errors, axis=None, kind="stable")[:PAIRS]:
        label, prediction = divmod(int(place), len(errors))
        if errors[label, prediction]:
            print(f"{label} read as {prediction}: {errors[label, prediction]} times")

    matrix_picture = options.out.with_name(f"{options.out.stem}-confusion.png")
    plots.confusion_matrix(matrix_picture, matrix)
    print(f"confusion matrix: {matrix_picture}")
    if wrong:
        plots.misclassified(options.out, dataset.x_test, labels, read)
        print(f"the first {min(20, wrong)} misread: {options.out}")


def main() -> None:
    """Take the flags and answer."""
    Script(__doc__, "weights", "data", "device", out="misclassified.png").run(answer)


if __name__ == "__main__":
    main()
