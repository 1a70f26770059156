"""Layers in a row, with heads that read what some of them put out."""

from collections.abc import Mapping, Sequence
from typing import Any

from xpnet.arrays import Array
from xpnet.described import ReadOnly
from xpnet.errors import ArgumentError
from xpnet.layers.base import (
    Backward,
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
from xpnet.layers.sequential import Sequential

Taps = Mapping[str, tuple[str, Layer]]
"""By the name of each head, the name of the layer that it reads, and itself."""


class AuxiliaryHeads(Sequential):
    """Layers in a row, some of which heads read, too: all layers of a network, and its outputs.

        y = f_n(... f_2(f_1(x))),   y_head = head(f_k(... f_1(x)))

    The outputs are called "main", the row's, and by the names of the heads. Where a head reads, its
    dx is added to the gradient that comes down the row: so layers that are far from the end learn
    from a loss that is nearer. Give such a network `HeadsWithLoss(losses, weights, main="main")`,
    and it predicts by the row alone. Szegedy et al. 2014, "Going deeper with convolutions",
    arXiv:1409.4842, section 5.

    Parameters
    ----------
    layers : of the row, as for `Sequential`; none but the last may end in heads, and it may not
        either
    heads : name -> (name of the layer in the row that it reads, head)
    """

    def __init__(self, layers: Mapping[str, Layer] | Sequence[Layer], heads: Taps) -> None:
        row = as_layers(layers)
        pairs = isinstance(heads, Mapping) and all(
            isinstance(each, tuple | list) and len(each) == 2 for each in heads.values()
        )
        if not pairs:
            raise ArgumentError(
                "heads must be by name, each with the name of the layer that it reads, as "
                f"{{'aux': ('conv4', head)}}, got {heads!r:.200}"
            )
        for name, (place, _) in heads.items():
            if place not in row:
                raise ArgumentError(
                    f"head {name!r} must read one of {', '.join(row)}, got {place!r}"
                )
            if name in row or name == MAIN:
                raise ArgumentError(f"a head cannot be called {name!r}; give it another name")
        super().__init__(row | {name: head for name, (_, head) in heads.items()})
        self._row = row
        self._places = {name: place for name, (place, _) in heads.items()}

    @property
    def row(self) -> Mapping[str, Layer]:
        """The layers without the heads, to be read."""
        return ReadOnly(self._row)

    def arguments(self) -> dict[str, Any]:
        """The row, and the heads with what they read."""
        heads = {name: (place, self._children[name]) for name, place in self._places.items()}
        return {"layers": dict(self._row), "heads": heads}

    def _heads_at(self, place: str) -> list[tuple[str, Layer]]:
        """The heads that read a layer of the row."""
        return [(name, self._children[name]) for name, at in self._places.items() if at == place]

    def shapes(self, shape: Shape) -> dict[str, Any]:
        """Output shape of every layer and head; where one does not fit, ArgumentError names it."""
        found = Sequential(self._row).shapes(shape)
        for name, place in self._places.items():
            try:
                found[name] = self._children[name].output_shape(found[place])
            except ArgumentError as error:
                raise located(name, error) from None
        return found

    def output_shape(self, shape: Shape) -> dict[str, Shape]:
        """The shape of each output by name."""
        shapes = self.shapes(shape)
        return {MAIN: shapes[list(self._row)[-1]]} | {name: shapes[name] for name in self._places}

    def trace(self, tracer: Tracer, path: str, value: int) -> Any:
        """Each layer reads the one before, and heads what they are for."""
        found = {}
        for place, layer in self._row.items():
            value = tracer.layer(f"{path}{place}", layer, value)
            for name, head in self._heads_at(place):
                found[name] = tracer.layer(f"{path}{name}", head, value)
        return {MAIN: value} | {name: found[name] for name in self._places}

    def forward(self, x: Array, *, train: bool = False) -> tuple[dict[str, Array], Backward]:
        """The outputs by name."""
        steps: list[tuple[str, Layer, Backward]] = []
        heads: dict[str, Backward] = {}
        found: dict[str, Array] = {}
        for place, layer in self._row.items():
            x, step = run_layer(layer, x, train=train)
            steps.append((place, layer, step))
            for name, head in self._heads_at(place):
                found[name], heads[name] = run_layer(head, x, train=train)
        outputs = {MAIN: x} | {name: found[name] for name in self._places}
        first = next((i for i, (_, layer, _) in enumerate(steps) if learns(layer)), len(steps))

        def backward(
            dy: Mapping[str, Array], need_dx: bool = True, need_grads: bool = True
        ) -> tuple[Array, Params]:
            if dy.keys() != outputs.keys():
                raise ArgumentError(
                    f"a gradient for each of {', '.join(outputs)} is needed, got {', '.join(dy)}"
                )
            grads: Params = {}
            last = 0 if need_dx else first if need_grads else len(steps)
            d = dy[MAIN]
            for i in range(len(steps) - 1, -1, -1):
                place, layer, step = steps[i]
                for name, head in self._heads_at(place):
                    more, own = take_back(
                        heads[name], head, dy[name], need_dx=i >= last, need_grads=need_grads
                    )
                    grads |= {f"{name}.{key}": grad for key, grad in own.items()}
                    d = d + more if i >= last else d
                if i >= last:
                    d, own = take_back(
                        step, layer, d, need_dx=need_dx or i > last, need_grads=need_grads
                    )
                    grads |= {f"{place}.{key}": grad for key, grad in own.items()}
            in_order = {key: grads[key] for key in self.params if key in grads}
            return (d if need_dx else None), in_order

        return outputs, backward


MAIN = "main"
"""The output of the row."""
