"""Names of a network's parameters, and places of its layers."""

from collections.abc import Sequence

from xpnet.errors import ArgumentError
from xpnet.layers import Container, Layer


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
