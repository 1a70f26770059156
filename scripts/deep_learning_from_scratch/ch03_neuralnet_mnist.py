"""Do batches change what a network reads, and what do they save? (Section 3.6)

    python scripts/deep_learning_from_scratch/ch03_neuralnet_mnist.py --data mnist

The 784-50-100-10 sigmoid network of the book, image by image and in batches. The book's weights
give 93.52 %; they come in a file we do not have, so ours are trained here for a few epochs.
"""

import time

from _shared import make_trainer
from xpnet import Adam, MultiLayerNet
from xpnet.arrays.values import scaled
from xpnet.report.experiment import Lab, main

SIZES = (1, 10, 100, 1000)


def run(lab: Lab) -> None:
    """Train, then read the test images in batches of several sizes."""
    data = lab.digits
    net = MultiLayerNet(
        784, [50, 100], 10, activation="sigmoid", weight_init_std="xavier",
        rng=lab.seed, device=lab.device,
    )  # fmt: skip
    make_trainer(lab, net, epochs=lab.few(3, 1), optimizer=Adam(0.003)).train()

    x = scaled(lab.device.asarray(data.x_test), lab.device.dtype(net.dtype))
    accuracies, microseconds = [], []
    for size in SIZES:
        begin = time.perf_counter()
        accuracies.append(net.accuracy(x, data.t_test, batch_size=size))
        microseconds.append(1e6 * (time.perf_counter() - begin) / len(data.x_test))
    by_image, in_batches = accuracies[0], accuracies[2]
    lab.check("accuracy by image", by_image, 0.94, book="0.9352 (its weights)", full=True)
    lab.equal("accuracy in batches of 100", in_batches, by_image, book="the same as by image")
    lab.equal("accuracy in batches of 10, 1000", accuracies[1::2], [by_image] * 2)
    ratio = microseconds[0] / microseconds[2]
    lab.check("times faster in batches of 100, reported only", ratio, book="faster")

    axes = lab.figure(5.5, 3.6).subplots()
    bars = axes.bar([str(size) for size in SIZES], microseconds)
    axes.bar_label(bars, fmt="%.1f")
    axes.set(xlabel="images in a batch", ylabel="microseconds per image")
    axes.margins(y=0.12)
    axes.set_title(f"accuracy {by_image:.4f} whatever the batch")


if __name__ == "__main__":
    main(run, __doc__)
