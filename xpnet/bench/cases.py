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
from xpnet.layers import Container, SoftmaxWithLoss
from xpnet.models import Network, build_network
from xpnet.models.nodes import INPUT, Node
from xpnet.models.registry import find_model, model_arguments, usual_of
from xpnet.models.summary import macs
from xpnet.optim import OPTIMIZERS

NAMES = ("two-layer-net", "simple-convnet", "deep-convnet")
"""The book's networks."""
FIELD = (*NAMES, "resnet-20", "an-3x3", "googlenet-small")
"""The networks that are timed unless others are asked for."""
TASKS = ("train", "predict")
"""The tasks that contestants meet in."""
PRECISIONS = ("float32", "tf32", "bfloat16")
"""The precisions of products: as they are, with factors of 10 bits of fraction, and of 7."""

IMAGES, BATCHES = 1000, 5
"""The fewest images and batches, used in turn: steps that see one batch only would learn it
by heart and go on with numbers that no training meets."""
EPOCH = 60_000
"""Images of an epoch: as many as MNIST has, and as lie on a GPU."""
NOISE = 2**28
"""Bytes of float32 that noise in the place of digits takes at most, but for a single batch."""

ARRAYS = "arrays.npz"

Arrays = dict[str, np.ndarray]


class UnavailableError(XPNetError):
    """A contestant is installed, but cannot run on this machine; the others go on without it."""


def unbuilt(library: str, piece: "Piece") -> UnavailableError:
    """Make the error to raise where a library has no layer like this."""
    told = ", ".join(f"{name}={value!r:.40}" for name, value in piece.settings.items())
    return UnavailableError(f"{library} has no layer {piece.kind}({told}) here, as {piece.name} is")


class Piece(NamedTuple):
    """A layer in its place, told so that any library can build it."""

    name: str
    kind: str
    """Its class in `xpnet.layers`; with its module where it is another's."""
    settings: Mapping[str, Any]
    """What the layer's `arguments` gives, but for layers within it."""
    inputs: tuple[int, ...]
    """The numbers of the pieces that it reads, or `INPUT`."""
    params: Mapping[str, str]
    """The names of the arrays that it learns, by what the layer calls them: {"W": "W1"}."""
    state: Mapping[str, str]
    """The same of what training changes besides."""
    weight_shape: tuple[int, ...]
    """(FN, C, FH, FW), (n_in, n_out), or () where there is no W."""
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    macs: int
    """Multiplications of a sample, each with an addition."""


@dataclass(frozen=True)
class Case:
    """A network and a task, and the directory with its initial parameters and its batches.

    Contestants read the arrays from a file, not from a network of xpnet: to build one changes how
    the C library keeps memory (see `xpnet.arrays`), and would speed up others as well.

    Attributes
    ----------
    pieces : the network, each piece after those that it reads; the last one puts out the scores
    peculiar : why nobody but xpnet builds it; empty if others can
    """

    model: str
    task: str
    batch_size: int
    threads: int
    directory: Path = field(repr=False)
    pieces: tuple[Piece, ...] = field(repr=False)
    device: str = "cpu"
    precision: str = "float32"
    peculiar: str = ""

    @property
    def on_gpu(self) -> bool:
        """True if it is about a GPU."""
        return self.device != "cpu"

    @property
    def optimizer(self) -> str:
        """The choice of its book or paper."""
        return find_model(self.model).optimizer

    @property
    def lr(self) -> float:
        """The choice of its book or paper."""
        return find_model(self.model).lr

    @property
    def flops(self) -> int:
        """Floating-point operations of a step's products, two for each multiply-add.

        A training step has three products for each layer, Y = X W, dW = X^T dY and dX = dY W^T,
        but no dX where nothing before the layer learns.
        """
        count, learns = 0, {INPUT: False}
        for number, piece in enumerate(self.pieces):
            before = any(learns[read] for read in piece.inputs)
            learns[number] = before or bool(piece.params)
            count += piece.macs * (1 if self.task == "predict" else 2 + before)
        return 2 * self.batch_size * count

    @property
    def moved_bytes(self) -> int:
        """Bytes of float32 that a step at least reads and writes, layer by layer.

        What a layer puts out is written, and read by the next; in training so is its gradient.
        Weights are read by each pass, their gradients written and read, and the optimizer reads and
        writes the weights and, if it keeps any, arrays of their size: Adam two, momentum one.
        """
        outputs = self.batch_size * sum(prod(piece.output_shape) for piece in self.pieces)
        weights = sum(prod(piece.weight_shape) for piece in self.pieces if piece.weight_shape)
        if self.task == "predict":
            return 4 * (2 * outputs + weights)
        optimized = 1 + len(OPTIMIZERS[self.optimizer].kept)
        return 4 * (4 * outputs + (4 + 2 * optimized) * weights)

    def load(self) -> Arrays:
        """Load the arrays x and t, and those of the network by their names.

        Images x are float32 in 0..1 for the CPU and uint8 pixels for a GPU.
        """
        with np.load(self.directory / ARRAYS) as file:
            return dict(file)

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
    images, usual, classes = usual_of(model)
    arguments = model_arguments(model, images or usual, classes=classes)
    return build_network(model, arguments, rng=seed, device=device)


def fitting(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Images (N, 1, 28, 28) uint8 as such a network takes them: noise if that is for others.

    Parameters
    ----------
    shape : of the result; its first axis is no longer than N
    """
    if images[:1].size == prod(shape[1:]):
        return images[: shape[0]].reshape(shape)
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


def labels_for(shape: Any, labels: np.ndarray) -> np.ndarray:
    """Labels (N,) of 10 digits as a network with this output takes them.

    Where it has classes (K, ...) for each place, such as a pixel, there is noise in their place.
    """
    if isinstance(shape, dict) or len(shape) == 1:
        return labels
    classes, *places = shape
    size = (len(labels), *places)
    return np.random.default_rng(0).integers(classes, size=size, dtype=np.uint8)


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
    """Write a case's arrays into a directory.

    Parameters
    ----------
    images, labels : (N, 1, 28, 28) and (N,), uint8, at least as many as `images_needed`
    """
    network, n = fresh(model), images_needed(batch_size, device)
    if (size := prod(network.input_shape)) != images[:1].size:
        n = max(batch_size, min(n, NOISE // (4 * size) // batch_size * batch_size))
    x = fitting(images, (n, *network.input_shape))
    arrays: dict[str, Any] = {
        name: to_numpy(array) for name, array in (*network.params.items(), *network.state.items())
    }
    arrays["x"] = scaled(x, np.float32) if device == "cpu" else x
    arrays["t"] = labels_for(network.output_shape, labels[:n])
    np.savez(directory / ARRAYS, **arrays)
    return Case(
        model,
        task,
        batch_size,
        threads,
        directory,
        tuple(_piece(node, network) for node in network.nodes()),
        device,
        precision,
        _peculiarity(network),
    )


def _piece(node: Node, network: Network) -> Piece:
    layer: Any = node.layer
    kind = type(layer)
    ours = kind.__module__.startswith("xpnet.layers.")
    keys = getattr(layer, "state", {})
    W = None if isinstance(layer, Container) else layer.params.get("W")
    return Piece(
        node.name,
        kind.__name__ if ours else f"{kind.__module__}.{kind.__name__}",
        layer.arguments() if ours and not isinstance(layer, Container) else {},
        node.inputs,
        node.names,
        {key: f"{node.name}.{key}" for key in keys if f"{node.name}.{key}" in network.state},
        () if W is None else tuple(W.shape),
        node.input_shape,
        node.output_shape,
        macs(node),
    )


def _peculiarity(network: Network) -> str:
    """What a network does that is not in the layers that it is told as; empty if there is none."""
    if (method := network.changed_method()) is not None:
        return f"it has a {method} of its own"
    if not isinstance(network.outputs, int):
        return "it has several heads"
    if type(loss := network.last_layer) is not SoftmaxWithLoss:
        return f"its loss is {type(loss).__name__}"
    if loss.smoothing or loss.class_weights is not None:
        return "its loss is smoothed, or weighs classes"
    if network.penalty is not None:
        return "its loss has a penalty"
    if network.frozen_statistics:
        return "its statistics are frozen"
    how = [network.params.learning(name) for name in network.params]
    if any(one.frozen or one.rate != 1 or one.bounds is not None for one in how):
        return "some of its parameters learn otherwise, or not at all"
    return ""
