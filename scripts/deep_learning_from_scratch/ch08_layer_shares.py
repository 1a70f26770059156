"""Where does the time of a network's forward pass go? (Figure 8-14)

    python scripts/deep_learning_from_scratch/ch08_layer_shares.py

The paper's AlexNet with its 60,965,224 parameters as they are at first, on random images: each
layer by itself, as it is written, on one thread; the least of 5 times after a first one, for one
image and for 16. The book shows what Jia measured with Caffe: convolutions take 95 % of the time on
a GPU and 89 % on a CPU. Reported only; while other programs run, shares are of little weight.
"""

from time import perf_counter
from typing import TYPE_CHECKING

from xpnet import AlexNet, Network
from xpnet.engine.threads import blas_threads
from xpnet.layers import LRN, Affine, Convolution, MaxPool, ReLU
from xpnet.report.experiment import Lab, main

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUPS = {"conv": Convolution, "norm": LRN, "pool": MaxPool, "fc": Affine, "relu": ReLU}
"""The groups of layers that the figure has, by their classes."""
COLOURS = dict(zip(GROUPS, ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#bbbbbb"), strict=True))
SHOWN = 0.03
"""Layers with a smaller share than this have no name in the picture."""


def least_times(lab: Lab, network: Network, batch: int) -> dict[str, float]:
    """Time each layer in milliseconds, on what the one before puts out."""
    x = lab.device.asarray(lab.rng.random((batch, *network.input_shape)), dtype="float32")
    found = {}
    for node in network.nodes():
        y, _ = node.layer.forward(x)
        times = []
        for _ in range(lab.few(5, 1)):
            lab.device.synchronize()
            begin = perf_counter()
            y, _ = node.layer.forward(x)
            lab.device.synchronize()
            times.append(1000 * (perf_counter() - begin))
        found[node.name], x = min(times), y
    return found


def run(lab: Lab) -> None:
    """Time, add up and draw."""
    options = {"rng": lab.seed, "device": lab.device}
    network = AlexNet.small(**options) if lab.quick else AlexNet(**options)
    if not lab.quick:
        lab.equal("parameters", network.params.count, 60_965_224)
    group_of = {
        node.name: group
        for node in network.nodes()
        for group, kind in GROUPS.items()
        if type(node.layer) is kind
    }
    panels = lab.figure(11, 5).subplots(1, 2)
    for axes, batch in zip(panels, (1, 16), strict=True):
        with blas_threads(1):
            times = least_times(lab, network, batch)
        times = {name: time for name, time in times.items() if name in group_of}
        total = sum(times.values())
        lab.check(f"batch {batch}: milliseconds", total)
        shares = {name: time / total for name, time in times.items()}
        of_groups = {
            group: sum(share for name, share in shares.items() if group_of[name] == group)
            for group in GROUPS
        }
        for group, share in of_groups.items():
            book = "0.89 on a CPU, 0.95 on a GPU" if group == "conv" else ""
            lab.check(f"batch {batch}: share of {group}", share, book=book)
        draw(axes, shares, group_of)
        images = "one image" if batch == 1 else f"{batch} images"
        axes.set(title=f"{images}: {total:.1f} ms")
        told = (f"{group} {share:.1%}" for group, share in of_groups.items())
        axes.set_xlabel(", ".join(told))


def draw(axes: "Axes", shares: dict[str, float], group_of: dict[str, str]) -> None:
    """A pie of the layers in their order, by groups, the larger ones named."""
    ordered = sorted(shares, key=lambda name: list(GROUPS).index(group_of[name]))
    values = [shares[name] for name in ordered]
    axes.pie(
        values,
        labels=[
            f"{name} {share:.0%}" if share >= SHOWN else ""
            for name, share in zip(ordered, values, strict=True)
        ],
        colors=[COLOURS[group_of[name]] for name in ordered],
        startangle=90,
        counterclock=False,
        wedgeprops={"edgecolor": "white"},
        textprops={"fontsize": 9},
    )


if __name__ == "__main__":
    main(run, __doc__)
