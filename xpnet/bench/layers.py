"""The share of each layer in the time of a forward pass, as Figure 8-14 of the book shows it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpnet.arrays import Array, Device
from xpnet.bench.cases import Ready, fitting, fresh
from xpnet.bench.statistics import Record, spread
from xpnet.bench.timing import seconds_of, warm_up
from xpnet.engine.threads import blas_threads
from xpnet.layers import Concatenate, Sum
from xpnet.models.nodes import INPUT, Node

BATCH_SIZE = 100


def measure(
    model: str, images: np.ndarray, device: Device, threads: int, rounds: int, seconds: float
) -> Record:
    """Time each layer of the reference network by itself, layer after layer, round by round.

    Parameters
    ----------
    images : the batch, (N, 1, 28, 28) uint8; where the network is for others, there is noise of
        their shape in its place
    threads : of matrix products on the CPU
    rounds, seconds : how often, and how long all layers take together each time
    """
    network = fresh(model, device)
    shape = (len(images), *network.input_shape)
    leaves, values = network.nodes(), {INPUT: network.place(fitting(images, shape))}
    with blas_threads(threads):
        ready = {}
        for number, leaf in enumerate(leaves):
            computed = _forward(leaf, [values[read] for read in leaf.inputs])
            ready[leaf.name] = _alone(computed, device)
            values[number] = computed()
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


def _forward(node: Node, inputs: Sequence[Array]) -> Callable[[], Array]:
    """What computes a node: its layer, or the join of several values."""
    layer: Any = node.layer
    if isinstance(layer, Sum | Concatenate):
        return lambda: layer.join(inputs)[0]
    return lambda: layer.forward(*inputs)[0]


def _alone(computed: Callable[[], Array], device: Device) -> Ready:
    """One layer's forward pass over and over; every pass is waited for."""

    def step() -> None:
        computed()
        device.synchronize()

    return Ready(step, dict)
