"""What do the filters of the first layer look like before and after training (Figure 7-24)?

    python scripts/visualize_filter.py --weights runs/mine/model.safetensors --out filters.png

Before training is the same network drawn again from its seed. Filters drawn at random know nothing
of their neighbours; trained ones are gradients and blobs. By number: the correlation of weights
next to each other, which is 0 for random ones.
"""

import argparse
import json

import numpy as np

from xpnet import load_network, to_numpy
from xpnet.arrays import Device
from xpnet.errors import ArgumentError
from xpnet.models import Network, build_network
from xpnet.report import plots
from xpnet.report.figures import neighbour_correlation
from xpnet.report.script import Script, open_device


def untrained(options: argparse.Namespace, device: Device) -> tuple[Network, int]:
    """Build the network as it was before training, by summary.json; tell its seed."""
    path = options.weights.parent / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        seed = int(summary["seed"] if options.seed is None else options.seed)
        if seed < 0:
            raise ArgumentError(f"--seed must be 0 or more, got {seed}")
        network = build_network(
            summary["model"],
            summary["arguments"],
            rng=seed,
            device=device,
            dtype=summary["dtype"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(
            f"{path} does not tell how the network began; give the model.safetensors of a run"
        ) from error
    return network, seed


def first_filters(network: Network) -> np.ndarray:
    """Return W1 as (FN, 1, FH, FW) on the host."""
    W = to_numpy(network.params["W1"])
    if W.ndim != 4 or W.shape[1] != 1:
        raise ArgumentError(
            f"the first layer has weights {W.shape}, and filters of one channel are needed; "
            "give the weights of a convolutional network for grey images"
        )
    return W


def answer(options: argparse.Namespace) -> None:
    """Draw both, and print how alike neighbouring weights are."""
    device = open_device(options)
    after = first_filters(load_network(options.weights, device=device))
    network, seed = untrained(options, device)
    before = first_filters(network)
    plots.filters(options.out, before, after)
    FN, _, FH, FW = after.shape
    print(f"{FN} filters of {FH} x {FW}; before training: drawn from seed {seed}")
    for name, W in (("before", before), ("after", after)):
        print(
            f"{name:7} standard deviation {W.std():.4f}, "
            f"correlation of neighbouring weights {neighbour_correlation(W):+.2f}"
        )
    print(f"picture: {options.out}")


def main() -> None:
    """Take the flags and answer."""
    script = Script(__doc__, "weights", "device", out="filters.png")
    script.add_argument("--seed", type=int, help="of the run; from its summary.json if left out")
    script.run(answer)


if __name__ == "__main__":
    main()
