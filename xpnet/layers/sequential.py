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
    learns,
    located,
    run_layer,
    take_back,
)


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
