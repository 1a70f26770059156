"""Layers one after the other, which again is a layer."""

from collections.abc import Mapping, Sequence

from xpnet.arrays import Array
from xpnet.errors import ArgumentError
from xpnet.layers.base import Backward, Layer, Params, Shape


class Sequential:
    """y = f_n(... f_2(f_1(x))). A parameter is called after its layer: "Affine1.W".

    Parameters
    ----------
    layers : name -> layer, or a list, which is named by class and number: Affine1, ReLU1, Affine2
    """

    def __init__(self, layers: Mapping[str, Layer] | Sequence[Layer]) -> None:
        self.layers = dict(layers) if isinstance(layers, Mapping) else _numbered(layers)
        if not self.layers:
            raise ArgumentError("Sequential needs at least one layer, got none")
        for name, layer in self.layers.items():
            if not isinstance(layer, Layer):
                raise ArgumentError(
                    f"layer {name!r} must have forward(x, train=...), output_shape(shape) and "
                    f"params, got {type(layer).__name__}"
                )

    @property
    def params(self) -> Params:
        """All parameters, in the order of the layers. Assign to hand arrays to the layers."""
        return {
            f"{name}.{key}": array
            for name, layer in self.layers.items()
            for key, array in layer.params.items()
        }

    @params.setter
    def params(self, params: Params) -> None:
        for name, layer in self.layers.items():
            layer.params = {key: params[f"{name}.{key}"] for key in layer.params}

    def leaves(self) -> dict[str, Layer]:
        """Every layer that is not itself a Sequential, by its full name."""
        found: dict[str, Layer] = {}
        for name, layer in self.layers.items():
            if isinstance(layer, Sequential):
                found |= {f"{name}.{inner}": leaf for inner, leaf in layer.leaves().items()}
            else:
                found[name] = layer
        return found

    def shapes(self, shape: Shape) -> dict[str, Shape]:
        """Output shape of every layer; where a layer does not fit, ArgumentError names it."""
        found: dict[str, Shape] = {}
        for name, layer in self.layers.items():
            try:
                shape = layer.output_shape(shape)
            except ArgumentError as error:
                raise ArgumentError(f"layer {name}: {error}") from None
            found[name] = shape
        return found

    def output_shape(self, shape: Shape) -> Shape:
        """The last layer's shape."""
        return list(self.shapes(shape).values())[-1]

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The last layer's output."""
        steps = []
        for name, layer in self.layers.items():
            x, step = layer.forward(x, train=train)
            steps.append((name, step))
        # Below the first layer that learns, nobody reads a gradient unless dx itself is wanted.
        first = next(
            (i for i, layer in enumerate(self.layers.values()) if layer.params), len(steps)
        )

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array, Params]:
            grads: Params = {}
            last = 0 if need_dx else first
            for i in range(len(steps) - 1, last - 1, -1):
                name, step = steps[i]
                dy, own = step(dy, need_dx=need_dx or i > last)
                grads = {f"{name}.{key}": grad for key, grad in own.items()} | grads
            return (dy if need_dx else None), grads

        return x, backward


def _numbered(layers: Sequence[Layer]) -> dict[str, Layer]:
    named: dict[str, Layer] = {}
    counts: dict[str, int] = {}
    for layer in layers:
        kind = type(layer).__name__
        counts[kind] = counts.get(kind, 0) + 1
        named[f"{kind}{counts[kind]}"] = layer
    return named
