"""Networks as text that JSON can hold, and networks from such text."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpnet import layers
from xpnet.errors import ArgumentError
from xpnet.optim import penalties

KINDS: dict[str, Callable[..., Any]] = {
    kind.__name__: kind
    for kind in (
        layers.Affine,
        layers.AuxiliaryHeads,
        layers.AveragePool,
        layers.BatchNorm,
        layers.BinaryAffine,
        layers.BinaryConvolution,
        layers.Concatenate,
        layers.Convolution,
        layers.Dropout,
        layers.Embedding,
        layers.GRU,
        layers.GlobalAveragePool,
        layers.Heads,
        layers.HeadsWithLoss,
        layers.Identity,
        layers.IdentityWithLoss,
        layers.LRN,
        layers.LSTM,
        layers.LeakyReLU,
        layers.MaxPool,
        layers.PadShortcut,
        layers.RNN,
        layers.ReLU,
        layers.Rescale,
        layers.ReLU6,
        layers.Residual,
        layers.ScaledTanh,
        layers.Sequential,
        layers.Sigmoid,
        layers.SigmoidWithLoss,
        layers.Sign,
        layers.SoftmaxWithLoss,
        layers.StepsLast,
        layers.Subsampling,
        layers.Sum,
        layers.Tanh,
        layers.TimeAffine,
        layers.TransposedConvolution,
        layers.Unflatten,
        layers.Unpooled,
        penalties.L1,
        penalties.L2,
    )
}
"""The layers, losses and penalties that a description can name."""

KIND = "$kind"
"""The key of a class's name; no layer is likely to be called so."""

MAX_LAYERS = 5000
"""Layers, losses and penalties of a network that is read from a file."""

UNBUILDABLE = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)
"""Errors that a description that fits nothing can raise; being out of memory is not its fault."""


def description(kind: str, arguments: Mapping[str, Any]) -> str:
    """A kind and its arguments as JSON: {"$kind": ..., "arguments": ...}, and so on inside.

    Things that are not the library's are named by their class, and cannot be built again.
    """
    return json.dumps({KIND: kind, "arguments": _plain(arguments)})


def class_name(kind: type) -> str:
    """A class by its name, and with its module if it is not the library's."""
    inside = kind.__module__.partition(".")[0] == "xpnet"
    return kind.__qualname__ if inside else f"{kind.__module__}.{kind.__qualname__}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str | int | float | bool | None):
        return value
    kind: type = type(value)
    if KINDS.get(kind.__name__) is not kind:
        return {KIND: class_name(kind), "arguments": {}}
    if "forward" in vars(value):
        return {KIND: f"{kind.__name__} with a forward of its own", "arguments": {}}
    return {KIND: kind.__name__, "arguments": _plain(value.arguments())}


def described(text: str) -> tuple[str, dict[str, Any]]:
    """A kind and its arguments again, with the layers in them made anew.

    Raises
    ------
    ForeignKindError
        It names a class that is not the library's.
    ArithmeticError, LookupError, RecursionError, TypeError, ValueError
        It is no description, or describes what cannot be.
    """
    if text.count(KIND) > MAX_LAYERS:
        raise ArgumentError(f"it names more than {MAX_LAYERS} layers")
    found = json.loads(text)
    return found[KIND], {name: _made(each) for name, each in _arguments(found).items()}


def _made(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_made(each) for each in value)
    if not isinstance(value, dict):
        return value
    if not isinstance(value.get(KIND), str):  # a layer can be called so, too
        return {name: _made(each) for name, each in value.items()}
    if value[KIND] not in KINDS:
        raise ForeignKindError(value[KIND])
    return KINDS[value[KIND]](**{name: _made(each) for name, each in _arguments(value).items()})


def _arguments(value: Any) -> dict[str, Any]:
    """The arguments of what is described, by name."""
    found = value["arguments"]
    if not isinstance(found, dict):
        raise ArgumentError(f"arguments by name are needed, got {found!r}")
    return found


class ForeignKindError(ArgumentError):
    """A description names a class that is not the library's."""
