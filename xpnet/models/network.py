"""A network: layers, a loss, and the methods that the books give them."""

from collections.abc import Mapping, Sequence

from xpnet.activations import softmax
from xpnet.backend import Array, Device, get_device
from xpnet.errors import ArgumentError
from xpnet.gradients import numerical_gradient
from xpnet.layers import Layer, Loss, Sequential, SoftmaxWithLoss
from xpnet.layers.base import Backward, Params
from xpnet.models.parameters import FlatParams

EVALUATION_BATCH = 1000
"""Images at a time where only scores are wanted: bounds memory, and costs no speed."""


class Network:
    """Layers in a row and a loss, on one device.

    Parameters are called W1, b1, W2, b2, ... in the order of the layers, as in the books, and live
    in one flat buffer. The given layers become the network's own: their parameters become views of
    that buffer.

    Inputs of all methods are arrays on the network's device, or NumPy arrays, which are copied
    there. They are (N, ...), or a single sample. Targets are labels (N,) or one-hot rows (N, K).

    Parameters
    ----------
    layers : list of layers, or name -> layer
    loss : the loss; softmax with cross-entropy if None
    device : "cpu", "cuda", "cuda:N", "auto", or a Device
    dtype : "float32"; "float64" for gradient checks
    """

    def __init__(
        self,
        layers: Mapping[str, Layer] | Sequence[Layer],
        loss: Loss | None = None,
        *,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        self.device = get_device(device)
        self.dtype = dtype
        self.last_layer: Loss = SoftmaxWithLoss() if loss is None else loss
        self._body = Sequential(layers)
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

    @property
    def layers(self) -> dict[str, Layer]:
        """The layers by name, in order."""
        return self._body.layers

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
        return loss, scores, grads

    def predict(self, x: Array) -> Array:
        """Scores of every class, before softmax: (N, K)."""
        return self.forward(self.place(x))[0]

    def probabilities(self, x: Array) -> Array:
        """Softmax of the scores: (N, K), every row sums to 1."""
        return softmax(self.predict(x))

    def loss(self, x: Array, t: Array) -> Array:
        """Loss of the batch, a 0-d array on the device; float() reads it."""
        return self.last_layer.forward(self.predict(x), self.device.asarray(t))[0]

    def accuracy(self, x: Array, t: Array) -> float:
        """Share of samples whose highest score is at the target, read in bounded memory."""
        xp, t = self.device.xp, self.device.asarray(t)
        labels = t if t.ndim == 1 else xp.argmax(t, axis=-1)
        n: int = x.shape[0]
        if n == 0 or labels.shape[0] != n:
            raise ArgumentError(
                f"accuracy needs one target a sample, got {labels.shape[0]} for {n}"
            )
        correct = self.device.zeros((), dtype="int64")
        for start in range(0, n, EVALUATION_BATCH):
            end = min(n, start + EVALUATION_BATCH)
            correct = correct + self.count_correct(self.place(x[start:end, ...]), labels[start:end])
        return int(correct) / n

    def count_correct(self, x: Array, labels: Array) -> Array:
        """Number of placed samples classified as `labels`, 0-d on the device."""
        xp = self.device.xp
        hits = xp.argmax(self.forward(x)[0], axis=-1) == labels
        return xp.sum(xp.astype(hits, xp.int64))

    def gradient(self, x: Array, t: Array) -> Params:
        """Gradient of the loss by every parameter, by backpropagation."""
        return self.loss_and_gradient(self.place(x), self.device.asarray(t))[2]

    def numerical_gradient(self, x: Array, t: Array) -> Params:
        """The same by central differences: two losses a parameter, float64 networks only."""
        x, t = self.place(x), self.device.asarray(t)
        return {
            name: numerical_gradient(lambda _: self.loss(x, t), self.params[name])
            for name in self.params
        }


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
