"""Cases to time: a network, a task and a batch size, with data that all contestants share."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.arrays import Device, to_numpy
from xpnet.arrays.values import scaled
from xpnet.errors import XPNetError
from xpnet.models import MODELS, Network, build_network
from xpnet.models.registry import DIGITS, find_model, model_arguments

NAMES = ("two-layer-net", "simple-convnet", "deep-convnet")
TASKS = ("train", "predict")
"""The tasks that contestants meet in."""
PRECISIONS = ("float32", "tf32", "bfloat16")
"""The precisions of products: as they are, with factors of 10 bits of fraction, and of 7."""

IMAGES, BATCHES = 1000, 5
"""The fewest images and batches, used in turn: steps that see one batch only would learn it
by heart and go on with numbers that no training meets."""
EPOCH = 60_000
"""Images of an epoch: as many as MNIST has, and as lie on a GPU."""

Arrays = dict[str, np.ndarray]


class UnavailableError(XPNetError):
    """A contestant is installed, but cannot run on this machine; the others go on without it."""


class Piece(NamedTuple):
    """A layer, told so that any library can build it."""

    kind: str
    settings: Mapping[str, Any]
    weight_shape: tuple[int, ...]
    """(FN, C, FH, FW), (n_in, n_out), or () where there is nothing to learn."""
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A network and a task, and the directory with its initial parameters and its batches.

    Contestants read the arrays from files, not from a network of xpnet: to build one changes how
    the C library keeps memory (see `xpnet.arrays`), and would speed up others as well.
    """

    model: str
    task: str
    batch_size: int
    threads: int
    directory: Path = field(repr=False)
    pieces: tuple[Piece, ...] = field(repr=False)
    device: str = "cpu"
    precision: str = "float32"

    @property
    def on_gpu(self) -> bool:
        """True if it is about a GPU."""
        return self.device != "cpu"

    @property
    def optimizer(self) -> str:
        """The book's choice."""
        return MODELS[self.model].optimizer

    @property
    def lr(self) -> float:
        """The book's choice."""
        return MODELS[self.model].lr

    @property
    def flops(self) -> int:
        """Floating-point operations of a step's products, two for each multiply-add.

        A training step has three products for each layer, Y = X W, dW = X^T dY and dX = dY W^T,
        but no dX for the first.
        """
        layers = [
            prod(piece.weight_shape) * prod(piece.output_shape[1:])
            for piece in self.pieces
            if piece.weight_shape
        ]
        count = sum(layers) if self.task == "predict" else 3 * sum(layers) - layers[0]
        return 2 * self.batch_size * count

    @property
    def moved_bytes(self) -> int:
        """Bytes of float32 that a step at least reads and writes, layer by layer.

        What a layer puts out is written, and read by the next; in training so is its gradient.
        Weights are read by each pass, their gradients written and read, and the optimizer reads and
        writes the weights and, if it is Adam, two more arrays of their size.
        """
        outputs = self.batch_size * sum(prod(piece.output_shape) for piece in self.pieces)
        weights = sum(prod(piece.weight_shape) for piece in self.pieces if piece.weight_shape)
        if self.task == "predict":
            return 4 * (2 * outputs + weights)
        optimized = 3 if self.optimizer == "adam" else 1
        return 4 * (4 * outputs + (4 + 2 * optimized) * weights)

    def load(self) -> Arrays:
        """Load the arrays x, t, W1, b1, W2, ...

        Images x are float32 in 0..1 for the CPU and uint8 pixels for a GPU.
        """
        return {path.stem: np.load(path) for path in self.directory.glob("*.npy")}

    def batches(self, x: Any, t: Any) -> Iterator[tuple[Any, Any]]:
        """Yield inputs and labels of each step, for ever."""
        starts = range(0, len(x), self.batch_size)
        return cycle([(x[i : i + self.batch_size], t[i : i + self.batch_size]) for i in starts])


@dataclass
class Ready:
    """A contestant that is built.

    Attributes
    ----------
    step : trains on the next batch, or predicts it; or does so with several
    describe : what a reader of the record should know, asked after some steps
    finish : waits until all steps are done, where a device works by itself
    steps : that one call of `step` takes
    """

    step: Callable[[], object]
    describe: Callable[[], Mapping[str, Any]]
    finish: Callable[[], object] = lambda: None
    steps: int = 1


def fresh(model: str, device: str | Device = "cpu", seed: int = 0) -> Network:
    """Build the network that all contestants start from, or another one of its kind."""
    arguments = model_arguments(model, find_model(model).images or DIGITS)
    return build_network(model, arguments, rng=seed, device=device)


def images_needed(batch_size: int, device: str = "cpu") -> int:
    """Count the images that make up the batches of a case; all batches are whole."""
    if device != "cpu":
        return EPOCH // batch_size * batch_size
    return max(BATCHES, -(-IMAGES // batch_size)) * batch_size


def prepare(
    directory: Path,
    model: str,
    task: str,
    batch_size: int,
    threads: int,
    images: np.ndarray,
    labels: np.ndarray,
    device: str = "cpu",
    precision: str = "float32",
) -> Case:
    """Write a case's arrays into an empty directory.

    Parameters
    ----------
    images, labels : (N, 1, 28, 28) and (N,), uint8, at least as many as `images_needed`
    """
    network, n = fresh(model), images_needed(batch_size, device)
    arrays = {name: to_numpy(array) for name, array in network.params.items()}
    x = scaled(images[:n], np.float32) if device == "cpu" else images[:n]
    arrays["x"] = x.reshape(n, *network.input_shape)
    arrays["t"] = labels[:n]
    for name, array in arrays.items():
        np.save(directory / f"{name}.npy", array)
    pieces = _pieces(network)
    return Case(model, task, batch_size, threads, directory, pieces, device, precision)


def _pieces(network: Network) -> tuple[Piece, ...]:
    told = ("stride", "pad", "window", "dropout_ratio")
    return tuple(
        Piece(
            type(node.layer).__name__,
            {name: getattr(node.layer, name) for name in told if hasattr(node.layer, name)},
            tuple(node.layer.params["W"].shape) if node.layer.params else (),
            node.output_shape,
        )
        for node in network.nodes()
    )
