"""Names of a network's parameters, and places of its layers."""

import gc
from collections.abc import Iterator, Sequence
from weakref import WeakValueDictionary

from xpnet.errors import ArgumentError
from xpnet.layers import Container, Layer, Stateful, leaves


def book_names(keys: Sequence[str], *, strict: bool = True) -> dict[str, str]:
    """Affine1.W, Affine1.b, Affine2.W ... as W1, b1, W2 ...: numbered by weight layers.

    Raises
    ------
    ArgumentError
        Two would share a name; if not `strict`, they do.
    """
    names: dict[str, str] = {}
    number = 0
    for key in keys:
        kind = key.rpartition(".")[2]
        number += kind == "W"
        names[key] = f"{kind}{number}"
    if strict and len(set(names.values())) != len(names):
        raise ArgumentError(
            f"two parameters would share a name: {', '.join(names.values())}; use names='paths'"
        )
    return names


def refuse_twice(body: Container) -> None:
    """Refuse a layer that stands in two places."""
    found: dict[int, str] = {}
    waiting: list[tuple[str, Layer]] = [("", body)]
    while waiting:
        path, layer = waiting.pop(0)
        if id(layer) in found:
            raise ArgumentError(
                f"one {type(layer).__name__} is both {found[id(layer)]} and {path}; each place "
                "needs a layer of its own, so make another"
            )
        found[id(layer)] = path
        if isinstance(layer, Container):
            waiting += [
                (f"{path}.{name}".lstrip("."), child) for name, child in layer.children().items()
            ]


_owners: WeakValueDictionary[int, Container] = WeakValueDictionary()
"""What holds all layers of the network of a layer, by the layer's `id`, which is the layer's as
long as that is so. Layers need neither be hashed nor be referenced weakly for it."""


def claim(body: Container) -> None:
    """Note that the layers of a network belong to it from now on."""
    for _, layer in _with_arrays(body):
        _owners[id(layer)] = body


def refuse_owned(body: Container) -> None:
    """Refuse a layer of another network, whose parameters are in that one's buffer.

    Layers without parameters and state can be in several.
    """
    for path, layer in _with_arrays(body):
        if not _elsewhere(layer, body):
            continue
        gc.collect()  # a network that is gone may be held by a cycle
        if _elsewhere(layer, body):
            raise ArgumentError(
                f"layer {path}, {type(layer).__name__}, is in another network already, where it "
                "would stop learning; give each network layers of its own, by copy.deepcopy"
            )


def _elsewhere(layer: Layer, body: Container) -> bool:
    """Return whether a layer is in a network other than that of `body`."""
    owner = _owners.get(id(layer))
    if owner is None or owner is body:
        return False
    return any(layer is other for _, other in leaves(owner))


def _with_arrays(body: Container) -> Iterator[tuple[str, Layer]]:
    """List the layers that hold what learning changes, with their paths."""
    for path, layer in leaves(body):
        if layer.params or (isinstance(layer, Stateful) and layer.state):
            yield path, layer
