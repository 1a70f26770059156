"""A network: layers, a loss, and the methods that the books give them."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from xpnet.arguments import checked
from xpnet.arrays import Array, Device, get_device, to_numpy
from xpnet.arrays.parameters import FlatParams, Held, LayerParams, Unheld, hold
from xpnet.arrays.values import floats_among, scaled
from xpnet.errors import ArgumentError
from xpnet.files.photographs import Photographs
from xpnet.files.weights import Weights, load_weights, save_weights
from xpnet.functions.gradients import numerical_gradient
from xpnet.functions.init import is_unwritten
from xpnet.layers import (
    Affine,
    AuxiliaryHeads,
    Backward,
    Layer,
    Loss,
    Params,
    Sequential,
    Shape,
    SoftmaxWithLoss,
    Stateful,
    decaying,
    leaves,
)
from xpnet.layers.base import Leaf, Shapes, bounds_below
from xpnet.layers.loss import (
    check_loss,
    check_outputs,
    ignored_by,
    main_loss,
    predicted,
    probabilities_of,
)
from xpnet.layers.numbers import sizes
from xpnet.layers.recurrent import BackwardInTime, State
from xpnet.models.accuracy import check_one_output, share_correct
from xpnet.models.describing import class_name, description
from xpnet.models.filling import Kept, fitting, kept_as
from xpnet.models.names import book_names, claim, refuse_owned, refuse_twice
from xpnet.models.nodes import Node, Trace
from xpnet.models.placing import in_shape, placed_targets
from xpnet.models.summary import LayerRow, macs, rows
from xpnet.models.transfer import Transfers
from xpnet.optim.penalties import Penalty


class Network(Transfers):
    """Layers and a loss, on one device.

    Layers in a row, or whatever they are put together to by `Residual`, `Sum`, `Concatenate`,
    `Unpooled` and, last in a network, `Heads`. Parameters are called by the paths of their layers,
    "Affine1.W" or "layer1.0.conv1.W", and live in one flat buffer. The given layers become the
    network's own: their parameters become views of that buffer. Networks can be copied by
    `copy.deepcopy` and pickled, as far as the layers can.

    Inputs of all methods are arrays on the network's device, or NumPy arrays, lists or tables,
    which are copied there. They are (N, ...); where all layers are fully connected, a single sample
    (n_in,) will do. Pixels, uint8, are divided by 255, all other numbers are taken as they are.
    Targets are labels (N,) or (N, 1), or one-hot rows (N, K); for images of scores, (N, K, H, W),
    labels (N, H, W), or what is in the scores' shape.

    Parameters
    ----------
    layers : list of layers, or name -> layer, or an `AuxiliaryHeads`
    loss : the loss; softmax with cross-entropy if None
    penalty : added to the loss, such as `L2(0.1)` for weight decay
    input_shape : shape of one sample. Where the first layer with parameters is fully connected, it
        is known without being given.
    names : "paths", or "book" for W1, b1, W2, b2, ... in the order of the layers
    device : "cpu", "cuda", "cuda:N", "auto", or a Device
    dtype : "float32"; "float64" for gradient checks

    Attributes
    ----------
    params : the parameters by name
    state : what training changes besides, by the path of the layer
    outputs : the number of the last node; several by name if the network ends in `Heads`

    Raises
    ------
    ArgumentError
        Layers do not fit together, or one stands in two places or in another network, too, where
        each would need parameters and state of its own.
    """

    params: FlatParams = Held()  # type: ignore[assignment]
    state: Params = Held()  # type: ignore[assignment]

    @partial(checked, but=("loss", "penalty"))
    def __init__(
        self,
        layers: Mapping[str, Layer] | Sequence[Layer] | AuxiliaryHeads,
        loss: Loss | None = None,
        *,
        penalty: Penalty | None = None,
        input_shape: Shape | None = None,
        names: Literal["paths", "book"] = "paths",
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        self.device = get_device(device)
        self.device.check_floats(dtype)
        self.dtype = dtype
        self.last_layer: Loss = SoftmaxWithLoss() if loss is None else loss
        check_loss("loss", self.last_layer)
        methods = hasattr(penalty, "value") and hasattr(penalty, "gradient")
        if penalty is not None and (isinstance(penalty, type) or not methods):
            raise ArgumentError(
                "penalty must have value(params) and gradient(params), as L2(0.1) has, got "
                f"{penalty!r}"
            )
        self.penalty = penalty
        self._body = layers if isinstance(layers, AuxiliaryHeads) else Sequential(layers)
        refuse_twice(self._body)
        shape = self._natural_input_shape() if input_shape is None else input_shape
        self.input_shape = sizes("input_shape", shape, "(1, 28, 28) or (784,)")
        self._naming = names
        self._adopt()

    def _adopt(self) -> None:
        """Lay the layers' parameters out in one buffer, and have the layers use it."""
        refuse_owned(self._body)
        initial = self._body.params
        by_number = self._naming == "book"
        self._names = book_names(list(initial)) if by_number else {key: key for key in initial}
        self.outputs = Trace(self._body, self.input_shape, self._names).outputs
        self.output_shapes = self._body.shapes(self.input_shape)
        decaying_keys = {
            f"{path}.{key}" for path, layer in leaves(self._body) for key in decaying(layer)
        }
        masks = {
            self._names[f"{path}.{key}"]: mask
            for path, layer in leaves(self._body)
            if isinstance(layer, Leaf)
            for key, mask in layer.masks().items()
        }
        self.params = FlatParams(
            {self._names[key]: tuple(array.shape) for key, array in initial.items()},
            self.device,
            self.dtype,
            decaying={self._names[key] for key in decaying_keys},
            masks=masks,
            bounds={self._names[key]: pair for key, pair in bounds_below(self._body)},
        )
        if not is_unwritten():
            for key, array in initial.items():
                self.params[self._names[key]] = array
        states: Params = {}
        self._unheld: list[Unheld] = []
        for path, layer in leaves(self._body):
            names = {key: self._names[f"{path}.{key}"] for key in layer.params}
            own = {key: self.params[name] for key, name in names.items()}
            given = {key: self.params.masks[n] for key, n in names.items() if n in masks}
            self._unheld += hold(layer, "params", LayerParams(own, self.device, masks=given))
            if isinstance(layer, Stateful):
                own = {key: self._placed(array) for key, array in layer.state.items()}
                self._unheld += hold(layer, "state", LayerParams(own, self.device))
                states |= {f"{path}.{key}": array for key, array in own.items()}
        self.state = LayerParams(states, self.device)
        self._note_statistics()
        claim(self._body)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of: the layers with the parameters, and how these learn."""
        kept = {name: value for name, value in self.__dict__.items() if name not in _OF_A_COPY}
        return kept | {"_learning": {name: self.params.learning(name) for name in self.params}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        learning = state.pop("_learning")
        self.__dict__ |= state
        self._adopt()
        for name, how in learning.items():
            self.params.set_learning([name], rate=how.rate, frozen=how.frozen)

    def __copy__(self) -> Self:
        raise ArgumentError(
            "two networks cannot have the same layers, whose parameters are in one's buffer; use "
            "copy.deepcopy"
        )

    def arguments(self) -> dict[str, Any]:
        """Layers, loss, penalty, shape of a sample, names and dtype."""
        whole = self._body
        return {
            "layers": whole if isinstance(whole, AuxiliaryHeads) else whole.children(),
            "loss": self.last_layer,
            "penalty": self.penalty,
            "input_shape": self.input_shape,
            "names": self._naming,
            "dtype": self.dtype,
        }

    def description(self) -> str:
        """Write what a weight file says of the network: its class, and what `arguments` gives."""
        return description(class_name(type(self)), Network.arguments(self))

    def changed_method(self) -> str | None:
        """A method of a subclass that computes otherwise than the layers in `nodes` do."""
        for name in ("forward", "loss_and_gradient", "predict"):
            if getattr(type(self), name) is not getattr(Network, name):
                return name
        return None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.input_shape} -> {self.output_shape}, "
            f"{self.params.count} parameters, {self.dtype} on {self.device.name})"
        )

    def _placed(self, state: Array) -> Array:
        """A layer's state on the device; floats are of the network's dtype, counters stay."""
        state = self.device.asarray(state)
        floats = self.device.xp.isdtype(state.dtype, "real floating")
        return self.device.asarray(state, dtype=self.dtype) if floats else state

    def _natural_input_shape(self) -> Shape:
        """(n_in,) of the first layer with parameters, which must be fully connected."""
        first = next((layer for _, layer in leaves(self._body) if layer.params), None)
        if not isinstance(first, Affine):
            raise ArgumentError(
                "a network that does not begin with Affine must be told the shape of a sample; "
                "give input_shape, such as (1, 28, 28)"
            )
        return (first.params["W"].shape[0],)

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The layers by name, in order, to be read."""
        return self._body.layers

    @property
    def output_shape(self) -> Shapes:
        """The shape of a sample's scores; by name if the network ends in several heads."""
        shapes: Shapes = self._body.output_shape(self.input_shape)
        return shapes

    def nodes(self) -> list[Node]:
        """List what reads what; each node comes after those that it reads."""
        return Trace(self._body, self.input_shape, self._names).nodes

    def paths(self) -> dict[str, str]:
        """Return the name of each parameter by its path: "W1" for "Affine1.W" with books' names."""
        return dict(self._names)

    def summary(self) -> list[LayerRow]:
        """Kind, output shape, parameters and multiplications of every layer, in order.

        A container has a row, and then those of its layers, one deeper.
        """
        nodes = {node.name: node for node in self.nodes()}
        return list(rows(self._body, nodes, self.output_shape))

    @property
    def macs(self) -> int:
        """Multiplications, each with an addition, of a forward pass of one sample.

        Those of convolutions and affine layers, without biases; of grouped convolutions what is
        multiplied.
        """
        return sum(map(macs, self.nodes()))

    def place(self, x: Any, *, single: bool = True) -> Array:
        """Inputs as this network takes them: on its device, and as `scaled` has them of its dtype.

        Raises
        ------
        ArgumentError
            They are no real numbers, or of another shape than `shaped` takes.
        """
        return self.shaped(self._taken(x), single=single)

    def _taken(self, x: Any) -> Array:
        flat = self.params.flat
        # What is as it should be is not looked at any closer: a small step would notice.
        if type(x) is type(flat) and x.dtype == flat.dtype and self.device.holds(x):
            return x
        return scaled(self.device.asarray(x), flat.dtype)

    def shaped(self, x: Array, *, single: bool = False) -> Array:
        """A batch in the shape that the network takes, as `placing.in_shape` brings it there."""
        for one in self._unheld:
            one.take_up()
        return in_shape(x, self.input_shape, single)

    def place_targets(self, t: Any) -> Any:
        """Targets on this network's device; by name where there are several heads.

        Raises
        ------
        ArgumentError
            As `placed_targets` raises it.
        """
        return placed_targets(t, self.device, self.output_shape, ignored_by(self.last_layer))

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """Scores, and the function that takes their gradient back to the parameters that learn."""
        y, backward = self._body.forward(self._taken(x), train=train)

        def named(dy: Any, need_dx: bool = True, need_grads: bool = True) -> tuple[Array, Params]:
            dx, grads = backward(dy, need_dx, need_grads)
            return dx, self._named(grads)

        return y, named

    def unroll(
        self, x: Array, state: Mapping[str, State] | None = None, *, train: bool = False
    ) -> tuple[Any, dict[str, State], BackwardInTime]:
        """Scores of sequences that go on from a state, the state they leave, and their backward.

        As `Sequential.unroll` has it; sequences may be of another length than `input_shape` says.
        `backward(dy, d_last=None, need_dx=True, need_grads=True)` gives `(dx, grads, d_state)`.

        Raises
        ------
        ArgumentError
            Also if the network has auxiliary heads.
        """
        if not isinstance(self._body, Sequential):
            raise ArgumentError("a network with auxiliary heads has no state to begin with")
        y, last, backward = self._body.unroll(self._taken(x), state, train=train)

        def named(
            dy: Any, d_last: Any = None, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array | None, Params, dict[str, State]]:
            dx, grads, d_state = backward(dy, d_last, need_dx, need_grads)
            return dx, self._named(grads), d_state

        return y, last, named

    def _named(self, grads: Params) -> Params:
        """Gradients by the network's names, of what learns."""
        return {
            name: grads[key]
            for key, name in self._names.items()
            if key in grads and not self.params.learning(name).frozen
        }

    def loss_and_gradient(self, x: Array, t: Array) -> tuple[Array, Array, Params]:
        """One training pass over placed arrays: loss, scores and the gradient of every parameter.

        But of those that are frozen. Nothing is read back from the device.
        """
        scores, backward = self.forward(self.place(x), train=True)
        check_outputs(self.last_layer, scores)
        loss, loss_backward = self.last_layer.forward(scores, t)
        _, grads = backward(loss_backward(), need_dx=False)
        loss, grads = self.penalized(loss, grads)
        return loss, scores, grads

    def penalized(self, loss: Array, grads: Params) -> tuple[Array, Params]:
        """A loss and its gradient with what the penalty adds to both; `grads` is written into."""
        if self.penalty is not None:
            loss = loss + self.penalty.value(self.params)
            for name, more in self.penalty.gradient(self.params).items():
                if name in grads:
                    grads[name] = grads[name] + more
        return loss, grads

    def predict(self, x: Array) -> Array:
        """Scores of every class, before softmax or sigmoid: (N, K), or (N, K, ...) of images.

        By name if of several heads, of which the loss has no main one.
        """
        return predicted(self.last_layer, self.forward(self.place(x))[0])

    def probabilities(self, x: Array) -> Array:
        """What the loss takes the scores for, in their shape: a softmax, or the sigmoid of each.

        Raises
        ------
        ArgumentError
            The network ends in several heads, or its loss is of numbers, as `IdentityWithLoss` is.
        """
        check_one_output(scores := self.predict(x), "probabilities are of one")
        return probabilities_of(self.last_layer, "probabilities")(scores)

    def loss(self, x: Array, t: Array, *, train: bool = False) -> Array:
        """Loss of the batch and penalty, a 0-d array on the device; float() reads it."""
        scores, _ = self.forward(self.place(x), train=train)
        check_outputs(self.last_layer, scores)
        loss = self.last_layer.forward(scores, self.place_targets(t))[0]
        return loss if self.penalty is None else loss + self.penalty.value(self.params)

    @checked
    def accuracy(self, x: Array, t: Array, batch_size: int | None = None) -> float:
        """Share of samples whose highest score is at the target, `batch_size` at a time.

        If it is None, 200 samples at a time, or 1,000 on a GPU. Of images whose places are
        classified it is the share of these, without those that the loss leaves out.
        """
        ignore = ignored_by(main_loss(self.last_layer))
        left_out = None if isinstance(ignore, Mapping) else ignore
        return share_correct(self.predict, x, t, self.device, batch_size, left_out)

    def gradient(self, x: Array, t: Array) -> Params:
        """Gradient of the loss by every parameter, by backpropagation."""
        return self.loss_and_gradient(self.place(x), self.place_targets(t))[2]

    def numerical_gradient(self, x: Array, t: Array) -> Params:
        """The same by central differences: two losses a parameter, float64 networks only.

        Every loss is taken from the same state, so that dropout leaves out the same units.
        """
        x, t = self.place(x), self.place_targets(t)
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
        """List what a weight file holds: the parameters, and the state that is floating-point.

        That is running statistics, which inference needs. Counters of random draws are no part of
        what was learned.
        """
        return {**self.params, **floats_among(self.state)}

    @checked
    def save_params(self, path: str | Path, dtype: Kept | None = None) -> None:
        """Write parameters and running statistics, and what the network is, as safetensors.

        `load_network` builds a network of the library's layers from such a file. One with layers
        of your own is written, too, and read by `load_params` into a network that you build. Which
        parameters are frozen, and what their rates are multiplied by, are no part of the file.

        Parameters
        ----------
        dtype : of the numbers in the file; the network's own if None. With "float16" or "bfloat16"
            they are rounded, and the file is half as large; whoever reads it has the network's own.

        Raises
        ------
        WeightsError
            A number is too large for the dtype, or the name is one of another format.
        OutputError
            The file cannot be written.
        """
        arrays = {name: to_numpy(array) for name, array in self.file_arrays().items()}
        if dtype is not None:
            arrays = kept_as(arrays, dtype)
        halves = arrays if dtype == "bfloat16" else ()
        texts = {"network": self.description()}
        if self.photographs is not None:
            texts["photographs"] = self.photographs.as_text()
        save_weights(path, arrays, texts, bfloat16=halves)

    def load_params(self, path: str | Path) -> None:
        """Take the arrays of a weight file, one of the books' pickles for instance.

        Parameters may have this network's names, or the books': W1, b1, W2, ... in their order.

        Raises
        ------
        WeightsError
            The file cannot be read, or a name or shape differs; the network is then unchanged.
        """
        self.fill(load_weights(path))

    def fill(self, weights: Weights) -> None:
        """Copy arrays in, all or none; see `load_params`."""
        own = self.file_arrays()
        found = fitting(weights, own, self._names, needed=self.state)
        if (text := weights.metadata.get("photographs")) is not None:
            self.photographs = Photographs.from_text(text, weights.path)
        for name, array in own.items():
            array[...] = self.device.asarray(found[name], dtype=self.dtype)
        self.params.apply_masks()


_OF_A_COPY = ("params", "state", "_unheld", "_names", "outputs", "output_shapes")
"""Attributes that `Network._adopt` makes anew for a copy."""
