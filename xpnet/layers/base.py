"""The contract of layers, and of layers made of layers."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from xpnet.arrays import Array
from xpnet.arrays.parameters import Held, count_of
from xpnet.described import Described
from xpnet.errors import ArgumentError

Params: TypeAlias = dict[str, Array]
"""Arrays by parameter name; gradients have the same names."""

Backward: TypeAlias = Callable[..., tuple[Any, Params]]
"""`backward(dy, need_dx=True, need_grads=True)` gives `(dx, grads)`; dx may be None and grads may
be empty where they were not needed."""

CONTRACT = (
    "forward(x, train=...) returns the output and backward(dy, need_dx=True), which returns dx and "
    "a dictionary of the gradients of params"
)
"""What a layer does, for errors; see `Layer`."""

_FORWARD: set[type] = set()
_BACKWARD: set[type] = set()
"""Classes of layers whose forward, and whose backward, were seen to do so: each is looked at once,
since a small step would notice."""

Shape: TypeAlias = tuple[int, ...]
"""Shape of one sample, without the axis of the batch."""

Shapes: TypeAlias = "Shape | dict[str, Shape]"
"""Shape of an output, or of each output by its name: see `Heads`."""


def sample_shape(x: Array, *, single: bool = False) -> Shape:
    """The shape of a sample of x, (N, ...).

    Parameters
    ----------
    single : whether x may be one sample (D,)

    Raises
    ------
    ArgumentError
        It is a number, and no array.
    """
    shape = getattr(x, "shape", None)
    if shape is None:
        raise ArgumentError(
            f"a layer takes an array of samples, (N, ...), got {type(x).__name__}; convert it "
            "first, for instance with numpy.asarray"
        )
    return tuple(shape[1:] if len(shape) > 1 or not single else shape)


@runtime_checkable
class Layer(Protocol):
    """A function with parameters, and its derivative.

    `forward(x, train=...)` gives `(y, backward)`. `backward(dy)` is the derivative of that one
    call: it holds what it needs, and nothing is kept on the layer. So several batches may be on
    their way at once, and no backward can meet the wrong forward. A layer never alters its inputs,
    nor the gradient that it is given: other layers may read both.

    The first layer of a network is asked for `backward(dy, need_dx=False)`: nobody reads the
    gradient of the images, and it would be the largest one. A layer with parameters that are not
    to learn is asked for `backward(dy, need_grads=False)`; of one that does not take that argument
    the gradients are computed and dropped.

    Layers of the library also have `arguments()`, and `decays`, the names of those parameters that
    weight decay concerns. For a layer without `decays` it concerns those with two axes or more.
    A layer may have `bounds`, such as {"W": (-1.0, 1.0)}: in a network, every update brings these
    parameters back there.
    """

    params: Params

    def forward(self, x: Array, *, train: bool = False) -> tuple[Any, Backward]:
        """The output for `x`, and the function that takes its gradient back."""

    def output_shape(self, shape: Shape) -> Any:
        """The shape of a sample's output, for a sample of this shape.

        Raises
        ------
        ArgumentError
            The layer takes no samples of this shape.
        """


@runtime_checkable
class Stateful(Layer, Protocol):
    """A layer with arrays that training changes besides the parameters.

    A counter of random draws is one. A training pass updates them in place.
    """

    state: Params


class Tracer(Protocol):
    """A listener whom a container tells how its layers hang together: see `Container.trace`."""

    def layer(self, path: str, layer: Layer, value: int) -> Any:
        """Have `layer` read a value; the number of its output, or numbers by name of several."""

    def node(
        self, path: str, layer: Layer, values: Sequence[int], shape: Callable[[], Shape]
    ) -> int:
        """Have `layer` itself read values and put out this shape; the number of its output."""

    def shape(self, value: int) -> Shape:
        """The shape of a value."""


class Leaf(Described):
    """A layer of the library's that is no container; in a network its arrays are the network's."""

    params: Params = Held()  # type: ignore[assignment]

    def masks(self) -> dict[str, np.ndarray]:
        """For parameters with places that nothing is at: 1 where something is, and else 0.

        There they are 0, and so are their gradients.
        """
        return {}

    @property
    def count(self) -> int:
        """The numbers that it learns."""
        masks = self.masks()
        return sum(count_of(array.shape, masks.get(name)) for name, array in self.params.items())


class Container(Described):
    """A layer made of layers. Its parameters are called by paths: "conv1.W", "downsample.0.W"."""

    decays: tuple[str, ...] = ()

    def __init__(self, children: Mapping[str, Layer]) -> None:
        for name, layer in children.items():
            if isinstance(layer, type) or not isinstance(layer, Layer):
                kind = type(layer).__name__
                got = f"the class {layer.__name__}" if isinstance(layer, type) else kind
                raise ArgumentError(
                    f"layer {name!r} must have forward(x, train=...), output_shape(shape) and "
                    f"params, got {got}"
                )
            if not _takes(layer.forward, None, train=True):
                raise ArgumentError(
                    f"layer {name!r}: {CONTRACT}; got a forward{inspect.signature(layer.forward)}"
                )
            if not isinstance(name, str) or not name or "." in name:
                raise ArgumentError(f"a layer's name must be text without a dot, got {name!r}")
        self._children = dict(children)

    def children(self) -> dict[str, Layer]:
        """The layers in it by name, in the order of their parameters."""
        return dict(self._children)

    @property
    def params(self) -> Params:
        """All parameters, in the order of the layers. Assign to hand arrays to the layers."""
        return {
            f"{name}.{key}": array
            for name, layer in self._children.items()
            for key, array in layer.params.items()
        }

    @params.setter
    def params(self, params: Params) -> None:
        for name, layer in self._children.items():
            layer.params = {key: params[f"{name}.{key}"] for key in layer.params}

    def leaves(self) -> dict[str, Layer]:
        """Every layer in it that is no container, by its path."""
        return dict(leaves(self))

    def trace(self, tracer: Tracer, path: str, value: int) -> Any:
        """Tell the tracer of the layers; the number of the output, or numbers by name.

        `path` is what the names of layers begin with: "" or "layer1.".
        """
        raise NotImplementedError

    def forward(self, x: Array, *, train: bool = False) -> tuple[Any, Backward]:
        """The output for x."""
        raise NotImplementedError

    def output_shape(self, shape: Shape) -> Any:
        """The shape of the output."""
        raise NotImplementedError


def leaves(layer: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """Every layer below that is no container, with its path."""
    if not isinstance(layer, Container):
        yield path, layer
        return
    for name, child in layer.children().items():
        yield from leaves(child, f"{path}.{name}" if path else name)


def parameter_count(layer: Layer) -> int:
    """The numbers that a layer learns, and those in it."""
    if isinstance(layer, Container):
        return sum(map(parameter_count, layer.children().values()))
    if isinstance(layer, Leaf):
        return layer.count
    return sum(count_of(array.shape) for array in layer.params.values())


def learns(layer: Layer) -> bool:
    """Return whether a layer has parameters that are not frozen."""
    if isinstance(layer, Container):
        return any(learns(child) for child in layer.children().values())
    return bool(layer.params) and not is_frozen(layer)


def is_frozen(layer: Layer) -> bool:
    """Return whether nothing of a layer is to learn, as `Network.freeze` marks it."""
    return getattr(layer, "frozen", False)


def decaying(layer: Layer) -> tuple[str, ...]:
    """The names of a layer's parameters that weight decay concerns."""
    named: tuple[str, ...] | None = getattr(layer, "decays", None)
    if named is None:
        return tuple(name for name, array in layer.params.items() if array.ndim > 1)
    return named


def has_own_forward(layer: Layer) -> bool:
    """Return whether a layer was given a forward that is not its class's."""
    return "forward" in getattr(layer, "__dict__", ())


def bounds_of(layer: Layer) -> dict[str, tuple[float, float]]:
    """The bounds of a layer's parameters, of those that have any.

    Raises
    ------
    ArgumentError
        They are no pairs of numbers around 0, or of something else than the layer's parameters.
    """
    given = getattr(layer, "bounds", None)
    if given is None:
        return {}
    try:
        found = {name: (float(low), float(high)) for name, (low, high) in dict(given).items()}
        fits = found.keys() <= layer.params.keys()
        fits = fits and all(low <= 0 <= high and low < high for low, high in found.values())
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ArgumentError(
            "bounds of a layer are pairs of numbers by the names of its parameters, below and "
            f'above 0, such as {{"W": (-1.0, 1.0)}}, got {given!r:.100}'
        )
    return found


def bounds_below(box: Container) -> Iterator[tuple[str, tuple[float, float]]]:
    """List the bounds of parameters of all layers in a container, by their paths."""
    for path, layer in leaves(box):
        try:
            found = bounds_of(layer)
        except ArgumentError as error:
            raise located(path, error) from None
        yield from ((f"{path}.{key}", pair) for key, pair in found.items())


def _takes(function: Callable[..., Any], *arguments: Any, **named: Any) -> bool:
    """Return whether a function can be called so, as far as it tells."""
    try:
        inspect.signature(function).bind(*arguments, **named)
    except TypeError:
        return False
    except ValueError:  # of what is not written in Python
        pass
    return True


def run_layer(layer: Layer, x: Any, *, train: bool) -> tuple[Any, Backward]:
    """A layer's forward.

    Raises
    ------
    ArgumentError
        It returns something else than `CONTRACT` says.
    """
    found: Any = layer.forward(x, train=train)
    if (kind := type(layer)) not in _FORWARD:
        if not _is_pair(found) or not callable(found[1]):
            raise ArgumentError(
                f"a layer's {CONTRACT}; that of {kind.__name__} returned {_told(found)}"
            )
        if not _takes(found[1], None, need_dx=True):
            raise ArgumentError(
                f"a layer's {CONTRACT}; that of {kind.__name__} returned a backward"
                f"{inspect.signature(found[1])}"
            )
        _FORWARD.add(kind)
    y, backward = found
    return y, backward


def _is_pair(found: Any) -> bool:
    return isinstance(found, tuple | list) and len(found) == 2


def _told(found: Any) -> str:
    """The kinds of what was returned."""
    if isinstance(found, tuple | list):
        return f"({', '.join(type(each).__name__ for each in found)})"
    return type(found).__name__


def take_back(
    backward: Backward, layer: Layer, dy: Any, *, need_dx: bool = True, need_grads: bool = True
) -> tuple[Any, Params]:
    """Ask a layer's backward for what is needed, and for no gradient of what is frozen.

    Raises
    ------
    ArgumentError
        It returns something else than `CONTRACT` says.
    """
    if not layer.params or (need_grads and not is_frozen(layer)):
        found: Any = backward(dy, need_dx=need_dx)
        if (kind := type(layer)) not in _BACKWARD:
            if not _is_pair(found) or not isinstance(found[1], Mapping):
                raise ArgumentError(
                    f"a layer's {CONTRACT}; backward of {kind.__name__} returned {_told(found)}"
                )
            _BACKWARD.add(kind)
        dx, grads = found
        return dx, grads
    if _takes_need_grads(backward):
        return backward(dy, need_dx=need_dx, need_grads=False)
    return backward(dy, need_dx=need_dx)[0], {}


def _takes_need_grads(backward: Backward) -> bool:
    """Return whether a backward can be told that its gradients are not needed."""
    taken = inspect.signature(backward).parameters
    return "need_grads" in taken or any(each.kind is each.VAR_KEYWORD for each in taken.values())


def located(path: str, error: ArgumentError) -> ArgumentError:
    """An error of a layer, with the layer's path."""
    return ArgumentError(f"layer {path}: {error}")


def as_layers(given: Mapping[str, Layer] | Sequence[Layer], word: str = "") -> dict[str, Layer]:
    """Layers by name; those of a list are named by `word`, or else by class, and number.

    Affine1, ReLU1, Affine2 for instance, or branch1, branch2.
    """
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ArgumentError(
            f"layers by name, or a list of layers, are needed, got {type(given).__name__}"
        )
    named: dict[str, Layer] = {}
    counts: dict[str, int] = {}
    for layer in given:
        kind = word or type(layer).__name__
        counts[kind] = counts.get(kind, 0) + 1
        named[f"{kind}{counts[kind]}"] = layer
    return named
