"""How much does a network lose whose weights and activations are one bit each? (section 8.3.4)

    python scripts/deep_learning_from_scratch/ch08_binarized.py --data mnist

784-512-512-512-10 with the signs of weights and activations, beside the same with real weights
and ReLU: 4 epochs of Adam on batches of 100, lr 0.002, which falls to 0.4 of it after each, two
seeds. Guides are an independent run's, of seed 0. What was learned is then packed, a bit for each
weight, and must give the same scores; so must a small convolutional network, which sees 10,000
images once. Drawn are the accuracies, and the real weights behind the bits, of the first seed.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from _shared import make_trainer, seeds
from xpnet import (
    Adam,
    Affine,
    BatchNorm,
    BinaryConvNet,
    BinaryMLP,
    Network,
    PackedNetwork,
    ReLU,
    Rescale,
    to_numpy,
)
from xpnet.models.accuracy import evaluation_batch
from xpnet.optim.schedules import StepDecay
from xpnet.report.experiment import Lab, main

SIZES = (784, 512, 512, 512, 10)
GUIDES = {"binarized": (0.9443, 0.9647, 0.9711, 0.9741), "real": (0.9703, 0.9804, 0.9855, 0.9864)}


def real_network(lab: Lab, seed: int) -> Network:
    """The float twin: the same layers with real weights, and ReLU for the sign."""
    rng = np.random.default_rng(seed)
    layers: dict[str, Any] = {"rescale": Rescale(2.0, -1.0)}
    for k, (n_in, n_out) in enumerate(pairwise(SIZES), start=1):
        layers[f"fc{k}"] = Affine(n_in, n_out, bias=False, rng=rng)
        layers |= {f"bn{k}": BatchNorm(n_out, eps=1e-5), f"relu{k}": ReLU()}
    del layers[f"relu{len(SIZES) - 1}"]
    return Network(layers, input_shape=(784,), device=lab.device)


def accuracies(
    lab: Lab, network: Network, seed: int, epochs: int, images: int | None, measured: int
) -> Sequence[float]:
    """Train, and measure on so many test images after every epoch."""
    digits = lab.digits
    steps = -(-len(digits.x_train[:images]) // 100)
    trainer = make_trainer(
        lab,
        network,
        images=images,
        epochs=epochs,
        optimizer=Adam(0.002),
        schedule=StepDecay(0.002, steps, 0.4),
        sampling="shuffle",
        seed=seed,
        evaluate_sample_num_per_epoch=measured,
    )
    trainer.train()
    return trainer.test_acc_list


def check_packed(lab: Lab, what: str, network: Network, images: np.ndarray) -> PackedNetwork:
    """State that the packed network's scores are the network's own."""
    packed, size = PackedNetwork(network), evaluation_batch(lab.device)
    different = 0
    for start in range(0, len(images), size):
        x = images[start : start + size]
        scores = (to_numpy(each.predict(x)) for each in (packed, network))
        different += int(np.any(np.not_equal(*scores), axis=1).sum())
    name = f"{what}: images, of {len(images)}, with other scores when packed"
    lab.check(name, different, 0, 0)
    return packed


def run(lab: Lab) -> None:
    """Train, pack, compare and draw."""
    curves, weights = {}, []
    x_test = lab.digits.x_test
    for seed in seeds(lab, 2):
        binary = BinaryMLP(rng=seed, device=lab.device)
        last = {}
        for name, network in (("binarized", binary), ("real", real_network(lab, seed))):
            test = accuracies(lab, network, seed, lab.few(4, 1), None, 10_000)
            curves.setdefault(name, test)
            last[name] = test[-1]
        guide = f"guide {GUIDES['binarized'][-1]}"
        what = f"test accuracy, seed {seed}"
        lab.check(f"binarized: {what}", last["binarized"], 0.965, 0.982, book=guide, full=True)
        lab.check(f"real: {what}", last["real"], book=f"guide {GUIDES['real'][-1]}")
        less = last["real"] - last["binarized"]
        lab.check(f"binarized: less than real, seed {seed}", less, 0.005, 0.025, full=True)
        packed = check_packed(lab, f"binarized, seed {seed}", binary, x_test)
        if seed == lab.seed:
            weights = [to_numpy(binary.params[f"fc{k}.W"]) for k in (1, 2)]
            lab.equal("bytes of its weights as bits", packed.nbytes, 116_352)
            real = sum(p.nbytes for n, p in binary.params.items() if n.endswith("W"))
            lab.equal("and as float32", real, 3_723_264)

    convolutional = BinaryConvNet(rng=lab.seed, device=lab.device)
    images, some = lab.few(10_000, 200), lab.few(2000, 50)
    (reached,) = accuracies(lab, convolutional, lab.seed, 1, images, some)
    name = "binarized, convolutional"
    lab.check(f"{name}: accuracy on {some} test images after {images} others", reached)
    check_packed(lab, name, convolutional, x_test[:some])
    draw(lab, curves, weights)


def draw(lab: Lab, curves: dict[str, Sequence[float]], weights: Sequence[np.ndarray]) -> None:
    """Accuracies after each epoch, and histograms of the weights that learned."""
    left, right = lab.figure(10, 4).subplots(1, 2)
    for name, test in curves.items():
        left.plot(range(1, len(test) + 1), test, "o-", label=f"{name}, {test[-1]:.4f} at the end")
        if lab.complete:
            left.plot(range(1, 5), GUIDES[name], "x:", color="grey")
    left.set(xlabel="epochs", ylabel="test accuracy", title="Guides: grey crosses")
    left.legend(loc="lower right")
    for k, W in enumerate(weights, start=1):
        right.hist(W.ravel(), bins=100, range=(-1, 1), histtype="step", label=f"layer {k}")
    right.set(xlabel="real weight; its sign is the bit", ylabel="number", yscale="log")
    right.legend()


if __name__ == "__main__":
    main(run, __doc__)
