"""A network: layers, a loss, and the methods that the books give them."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xpnet.arrays import Array, Device, get_device, to_numpy
from xpnet.arrays.parameters import FlatParams
from xpnet.errors import ArgumentError, WeightsError
from xpnet.files.weights import Weights, load_weights, save_weights
from xpnet.functions.activations import softmax
from xpnet.functions.gradients import numerical_gradient
from xpnet.layers import (
    Affine,
    Backward,
    Layer,
    Loss,
    Params,
    Sequential,
    Shape,
    SoftmaxWithLoss,
    Stateful,
)
from xpnet.optim.penalties import Penalty

EVALUATION_BATCH, GPU_EVALUATION_BATCH = 200, 1000
"""Images at a time where only scores are wanted: bounds memory, and costs no speed. A GPU is not
filled by as few as are enough for a CPU."""


def evaluation_batch(device: Device) -> int:
    """Images at a time on a device where only scores are wanted."""
    return GPU_EVALUATION_BATCH if device.kind == "cuda" else EVALUATION_BATCH


class LayerRow(NamedTuple):
    """A line of a network's summary."""

    name: str
    kind: str
    output_shape: Shape
    parameters: int


class Leaf(NamedTuple):
    """A layer in its place within a network."""

    name: str
    layer: Layer
    input_shape: Shape
    output_shape: Shape
    names: dict[str, str]
    """What the network calls each of the layer's parameters: {"W": "W1", "b": "b1"}."""


class Network:
    """Layers in a row and a loss, on one device.

    Parameters are called W1, b1, W2, b2, ... in the order of the layers, as in the books, and live
    in one flat buffer. The given layers become the network's own: their parameters become views of
    that buffer.

    Inputs of all methods are arrays on the network's device, or NumPy arrays, which are copied
    there. They are (N, ...); where all layers are fully connected, a single sample (n_in,) will do.
    Targets are labels (N,) or one-hot rows (N, K).

    Parameters
    ----------
    layers : list of layers, or name -> layer
    loss : the loss; softmax with cross-entropy if None
    penalty : added to the loss, such as `L2(0.1)` for weight decay
    input_shape : shape of one sample. Where the first layer with parameters is fully connected, it
        is known without being given.
    device : "cpu", "cuda", "cuda:N", "auto", or a Device
    dtype : "float32"; "float64" for gradient checks
    """

    def __init__(
        self,
        layers: Mapping[str, Layer] | Sequence[Layer],
        loss: Loss | None = None,
        *,
        penalty: Penalty | None = None,
        input_shape: Shape | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        self.device = get_device(device)
        self.dtype = dtype
        self.last_layer: Loss = SoftmaxWithLoss() if loss is None else loss
        self.penalty = penalty
        self._body = Sequential(layers)
        self.input_shape = tuple(input_shape or self._natural_input_shape())
        self.output_shapes = self._body.shapes(self.input_shape)
        initial = self._body.params
        self._names = _book_names(list(initial))
        self.params = FlatParams(
            {self._names[key]: tuple(array.shape) for key, array in initial.items()},
            self.device,
            dtype,
        )
        for key, array in initial.items():
            self.params[self._names[key]] = array
        self._body.params = {key: self.params[name] for key, name in self._names.items()}
        self.state: Params = {}
        for name, layer in self._body.leaves().items():
            if isinstance(layer, Stateful):
                layer.state = {k: self._placed(array) for k, array in layer.state.items()}
                self.state |= {f"{name}.{key}": array for key, array in layer.state.items()}

    def _placed(self, state: Array) -> Array:
        """A layer's state on the device; floats are of the network's dtype, counters stay."""
        state = self.device.asarray(state)
        floats = self.device.xp.isdtype(state.dtype, "real floating")
        return self.device.asarray(state, dtype=self.dtype) if floats else state

    def _natural_input_shape(self) -> Shape:
        """(n_in,) of the first layer with parameters, which must be fully connected."""
        first = next((layer for layer in self._body.leaves().values() if layer.params), None)
        if not isinstance(first, Affine):
            raise ArgumentError(
                "a network that does not begin with Affine must be told the shape of a sample; "
                "give input_shape, such as (1, 28, 28)"
            )
        return (first.params["W"].shape[0],)

    @property
    def layers(self) -> dict[str, Layer]:
        """The layers by name, in order."""
        return self._body.layers

    def leaves(self) -> list[Leaf]:
        """Every layer that is no Sequential, in order, as a compiler needs to know it."""
        found, shape = [], self.input_shape
        for name, layer in self._body.leaves().items():
            names = {key: self._names[f"{name}.{key}"] for key in layer.params}
            output_shape = layer.output_shape(shape)
            found.append(Leaf(name, layer, shape, output_shape, names))
            shape = output_shape
        return found

    def summary(self) -> list[LayerRow]:
        """Kind, output shape and number of parameters of every layer, in order."""
        return [
            LayerRow(
                name,
                type(layer).__name__,
                self.output_shapes[name],
                sum(prod(array.shape) for array in layer.params.values()),
            )
            for name, layer in self.layers.items()
        ]

    def place(self, x: Array) -> Array:
        """Inputs as this network takes them: on its device and of its dtype."""
        x = self.device.asarray(x)
        if not self.device.xp.isdtype(x.dtype, "real floating"):
            raise ArgumentError(
                f"a network takes floating-point inputs, got {x.dtype}; "
                "pixels 0..255 become floats by dividing by 255"
            )
        return self.device.asarray(x, dtype=self.dtype)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """Scores, and the function that takes their gradient back to the parameters."""
        y, backward = self._body.forward(x, train=train)

        def named(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            dx, grads = backward(dy, need_dx)
            return dx, {name: grads[key] for key, name in self._names.items()}

        return y, named

    def loss_and_gradient(self, x: Array, t: Array) -> tuple[Array, Array, Params]:
        """One training pass over placed arrays: loss, scores and the gradient of every parameter.

        Nothing is read back from the device.
        """
        scores, backward = self.forward(x, train=True)
        loss, loss_backward = self.last_layer.forward(scores, t)
        _, grads = backward(loss_backward(), need_dx=False)
        loss, grads = self.penalized(loss, grads)
        return loss, scores, grads

    def penalized(self, loss: Array, grads: Params) -> tuple[Array, Params]:
        """A loss and its gradient with what the penalty adds to both; `grads` is written into."""
        if self.penalty is not None:
            loss = loss + self.penalty.value(self.params)
            for name, more in self.penalty.gradient(self.params).items():
                grads[name] = grads[name] + more
        return loss, grads

    def predict(self, x: Array) -> Array:
        """Scores of every class, before softmax: (N, K)."""
        return self.forward(self.place(x))[0]

    def probabilities(self, x: Array) -> Array:
        """Softmax of the scores: (N, K), every row sums to 1."""
        return softmax(self.predict(x))

    def loss(self, x: Array, t: Array, *, train: bool = False) -> Array:
        """Loss of the batch and penalty, a 0-d array on the device; float() reads it."""
        scores, _ = self.forward(self.place(x), train=train)
        loss = self.last_layer.forward(scores, self.device.asarray(t))[0]
        return loss if self.penalty is None else loss + self.penalty.value(self.params)

    def accuracy(self, x: Array, t: Array, batch_size: int | None = None) -> float:
        """Share of samples whose highest score is at the target, `batch_size` at a time.

        If it is None, 200 samples at a time, or 1,000 on a GPU.
        """
        return share_correct(self.predict, x, t, self.device, batch_size)

    def gradient(self, x: Array, t: Array) -> Params:
        """Gradient of the loss by every parameter, by backpropagation."""
        return self.loss_and_gradient(self.place(x), self.device.asarray(t))[2]

    def numerical_gradient(self, x: Array, t: Array) -> Params:
        """The same by central differences: two losses a parameter, float64 networks only.

        Every loss is taken from the same state, so that dropout leaves out the same units.
        """
        x, t = self.place(x), self.device.asarray(t)
        kept = self.copied_state()

        def training_loss(_: Array) -> Array:
            self.restore_state(kept)
            return self.loss(x, t, train=True)

        grads = {name: numerical_gradient(training_loss, p) for name, p in self.params.items()}
        self.restore_state(kept)
        return grads

    def copied_state(self) -> Params:
        """A copy of what training changes besides the parameters."""
        return {name: self.device.xp.asarray(a, copy=True) for name, a in self.state.items()}

    def restore_state(self, state: Params) -> None:
        """Put such a copy back, in place."""
        for name, array in self.state.items():
            array[...] = state[name]

    def file_arrays(self) -> Params:
        """What a weight file holds: the parameters, and the state that is floating-point.

        That is running statistics, which inference needs. Counters of random draws are no part of
        what was learned.
        """
        isdtype = self.device.xp.isdtype
        floats = {k: a for k, a in self.state.items() if isdtype(a.dtype, "real floating")}
        return {**self.params, **floats}

    def save_params(self, path: str | Path) -> None:
        """Write parameters and running statistics alone, as safetensors."""
        save_weights(path, {name: to_numpy(a) for name, a in self.file_arrays().items()}, {})

    def load_params(self, path: str | Path) -> None:
        """Take the arrays of a weight file, one of the books' pickles for instance.

        Raises
        ------
        WeightsError
            The file cannot be read, or a name or shape differs; the network is then unchanged.
        """
        self.fill(load_weights(path))

    def fill(self, weights: Weights) -> None:
        """Copy arrays in, all or none; see `load_params`."""
        own = self.file_arrays()
        for name, array in own.items():
            got = weights.params.get(name)
            if got is None and name in self.state:
                raise WeightsError(
                    f"{weights.path} lacks {name}, without which the network cannot classify; "
                    "use a file that save_network or save_params wrote"
                )
            if got is None or got.shape != tuple(array.shape):
                raise WeightsError(
                    f"{weights.path}: {name} must have shape {tuple(array.shape)}, "
                    f"got {'none' if got is None else got.shape}"
                )
            if got.dtype.kind != "f" or not np.isfinite(got).all():
                raise WeightsError(
                    f"{weights.path}: {name} must hold finite floats, got {got.dtype}"
                )
        if extra := set(weights.params) - set(own):
            raise WeightsError(f"{weights.path} holds more than the network: {min(extra)!a}")
        for name, array in own.items():
            array[...] = self.device.asarray(weights.params[name], dtype=self.dtype)


def share_correct(
    predict: Callable[[Array], Array],
    x: Array,
    t: Array,
    device: Device,
    batch_size: int | None = None,
) -> float:
    """Share of samples whose highest prediction is at the target, in bounded memory."""
    batch_size = evaluation_batch(device) if batch_size is None else batch_size
    xp, t = device.xp, device.asarray(t)
    labels = t if t.ndim == 1 else xp.argmax(t, axis=-1)
    n: int = x.shape[0]
    if n == 0 or labels.shape[0] != n:
        raise ArgumentError(f"accuracy needs one target a sample, got {labels.shape[0]} for {n}")
    correct = device.zeros((), dtype="int64")
    for start in range(0, n, batch_size):
        end = min(n, start + batch_size)
        best = xp.argmax(predict(x[start:end, ...]), axis=-1)
        correct = correct + xp.sum(xp.astype(best == labels[start:end], xp.int64))
    return int(correct) / n


def _book_names(keys: list[str]) -> dict[str, str]:
    """Affine1.W, Affine1.b, Affine2.W ... as W1, b1, W2 ...: numbered by weight layers."""
    names: dict[str, str] = {}
    number = 0
    for key in keys:
        kind = key.rpartition(".")[2]
        number += kind == "W"
        names[key] = f"{kind}{number}"
    if len(set(names.values())) != len(names):
        raise ArgumentError(f"two parameters would share a name: {', '.join(names)}")
    return names
