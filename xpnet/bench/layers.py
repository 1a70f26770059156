"""The share of each layer in the time of a forward pass, as Figure 8-14 of the book shows it."""

import numpy as np

from xpnet.arrays import Array, Device
from xpnet.arrays.values import scaled
from xpnet.bench.cases import Ready, fresh
from xpnet.bench.statistics import Record, spread
from xpnet.bench.timing import seconds_of, warm_up
from xpnet.engine.threads import blas_threads
from xpnet.layers import Layer

BATCH_SIZE = 100


def measure(
    model: str, images: np.ndarray, device: Device, threads: int, rounds: int, seconds: float
) -> Record:
    """Time each layer of the reference network by itself, layer after layer, round by round.

    Parameters
    ----------
    images : the batch, (N, 1, 28, 28) uint8
    threads : of matrix products on the CPU
    rounds, seconds : how often, and how long all layers take together each time
    """
    network = fresh(model, device)
    x = network.place(scaled(images, np.float32).reshape(len(images), *network.input_shape))
    leaves = network.nodes()
    with blas_threads(threads):
        ready = {}
        for leaf in leaves:
            ready[leaf.name] = _alone(leaf.layer, x, device)
            x, _ = leaf.layer.forward(x)
        calls = {name: warm_up(layer, seconds / len(ready)) for name, layer in ready.items()}
        times: dict[str, list[float]] = {name: [] for name in ready}
        for _ in range(rounds):
            for name, layer in ready.items():
                times[name].append(1000 * seconds_of(layer, calls[name]) / calls[name])
    spreads = {name: spread(values) for name, values in times.items()}
    total = sum(values["median"] for values in spreads.values())
    return {
        "model": model,
        "task": "layers",
        "batch_size": len(images),
        "device": device.name,
        "precision": "float32",
        "milliseconds": total,
        "layers": {
            leaf.name: {
                "kind": type(leaf.layer).__name__,
                "milliseconds": spreads[leaf.name],
                "share": spreads[leaf.name]["median"] / total,
            }
            for leaf in leaves
        },
    }


def _alone(layer: Layer, x: Array, device: Device) -> Ready:
    """One layer's forward pass over and over; every pass is waited for."""

    def step() -> None:
        layer.forward(x)
        device.synchronize()

    return Ready(step, dict)
