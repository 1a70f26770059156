"""Layers one after the other, which again is a layer."""

from collections.abc import Mapping, Sequence
from typing import Any

from xpnet.arrays import Array
from xpnet.described import ReadOnly
from xpnet.errors import ArgumentError
from xpnet.layers.base import (
    Backward,
    Container,
    Layer,
    Params,
    Shape,
    Tracer,
    as_layers,
    is_frozen,
    learns,
    located,
    run_layer,
    take_back,
)
from xpnet.layers.recurrent import BackwardInTime, Recurrent, State


def body_of(kind: str, layers: Mapping[str, Layer] | Sequence[Layer]) -> "Sequential":
    """The layers that a container of this kind has in a row."""
    if not (named := as_layers(layers)):
        raise ArgumentError(f"{kind} needs at least one layer, got none")
    return Sequential(named)


class Sequential(Container):
    """y = f_n(... f_2(f_1(x))). A parameter is called after its layer: "Affine1.W".

    Parameters
    ----------
    layers : name -> layer, or a list, which is named by class and number: Affine1, ReLU1, Affine2
    """

    def __init__(self, layers: Mapping[str, Layer] | Sequence[Layer]) -> None:
        super().__init__(as_layers(layers))
        if not self._children:
            raise ArgumentError("Sequential needs at least one layer, got none")

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The layers by name, in order, to be read; `children` gives a dictionary of them."""
        return ReadOnly(self._children)

    def arguments(self) -> dict[str, Any]:
        """The layers."""
        return {"layers": self.children()}

    def shapes(self, shape: Shape) -> dict[str, Any]:
        """Output shape of every layer; where a layer does not fit, ArgumentError names it."""
        found: dict[str, Any] = {}
        for name, layer in self._children.items():
            if isinstance(shape, dict):
                raise ArgumentError(f"layer {name} follows several heads, which must come last")
            try:
                shape = layer.output_shape(shape)
            except ArgumentError as error:
                raise located(name, error) from None
            found[name] = shape
        return found

    def output_shape(self, shape: Shape) -> Any:
        """The last layer's shape."""
        return list(self.shapes(shape).values())[-1]

    def trace(self, tracer: Tracer, path: str, value: int) -> Any:
        """Each layer reads the one before."""
        for name, layer in self._children.items():
            value = tracer.layer(f"{path}{name}", layer, value)
        return value

    def forward(self, x: Array, *, train: bool = False) -> tuple[Any, Backward]:
        """The last layer's output."""
        steps = []
        for name, layer in self._children.items():
            x, step = run_layer(layer, x, train=train)
            steps.append((name, layer, step))
        # Below the first layer that learns, nobody reads a gradient unless dx itself is wanted.
        first = next((i for i, (_, layer, _) in enumerate(steps) if learns(layer)), len(steps))

        def backward(
            dy: Array, need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array, Params]:
            grads: Params = {}
            last = 0 if need_dx else first if need_grads else len(steps)
            for i in range(len(steps) - 1, last - 1, -1):
                name, layer, step = steps[i]
                dy, own = take_back(
                    step, layer, dy, need_dx=need_dx or i > last, need_grads=need_grads
                )
                grads = {f"{name}.{key}": grad for key, grad in own.items()} | grads
            return (dy if need_dx else None), grads

        return x, backward

    def unroll(
        self, x: Array, state: Mapping[str, State] | None = None, *, train: bool = False
    ) -> tuple[Any, dict[str, State], BackwardInTime]:
        """The last layer's output where recurrent layers begin with a state, and what they leave.

        Parameters
        ----------
        state : of recurrent layers, by their names, as a call before gave it; those that are not
            named begin with zeros

        Returns
        -------
        The output, the states of all recurrent layers, and `backward(dy, d_last=None, need_dx=True,
        need_grads=True)`, which takes gradients of these states, of those that were used, and gives
        `(dx, grads, d_state)`: see `Recurrent.unroll`.

        Raises
        ------
        ArgumentError
            A state is of no recurrent layer, or does not fit the layer; or a recurrent layer is
            deeper in, where it would begin with zeros every time.
        """
        given = dict(state or {})
        recurrent = [n for n, layer in self._children.items() if isinstance(layer, Recurrent)]
        if unknown := given.keys() - set(recurrent):
            raise ArgumentError(
                f"there is no recurrent layer {min(unknown)!r} to begin with a state; there are "
                f"{', '.join(recurrent) or 'none'}"
            )
        for path, layer in self.leaves().items():
            if isinstance(layer, Recurrent) and path not in recurrent:
                raise ArgumentError(
                    f"layer {path}: a recurrent layer within another one cannot begin with a "
                    "state; put it into the row itself"
                )
        last: dict[str, State] = {}
        steps: list[tuple[str, Layer, Any]] = []
        for name, layer in self._children.items():
            step: Any
            if isinstance(layer, Recurrent):
                try:
                    x, last[name], step = layer.unroll(x, given.get(name))
                except ArgumentError as error:
                    raise located(name, error) from None
            else:
                x, step = run_layer(layer, x, train=train)
            steps.append((name, layer, step))

        def backward(
            dy: Array,
            d_last: Mapping[str, State] | None = None,
            need_dx: bool = True,
            need_grads: bool = True,
        ) -> tuple[Array | None, Params, dict[str, State]]:
            grads: Params = {}
            d_state: dict[str, State] = {}
            for i in range(len(steps) - 1, -1, -1):
                name, layer, step = steps[i]
                need = need_dx or i > 0
                if isinstance(layer, Recurrent):
                    own_last = (d_last or {}).get(name)
                    learn = need_grads and not is_frozen(layer)
                    dy, own, begun = step(dy, own_last, need, learn)
                    if begun is not None:
                        d_state[name] = begun
                else:
                    dy, own = take_back(step, layer, dy, need_dx=need, need_grads=need_grads)
                grads = {f"{name}.{key}": grad for key, grad in own.items()} | grads
            return dy, grads, d_state

        return x, last, backward
