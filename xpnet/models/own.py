"""Networks of a user's own functions, named as module:function."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from typing import Any

import numpy as np

from xpnet.arrays import get_device
from xpnet.errors import ArgumentError, XPNetError
from xpnet.models.network import Network

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_PLACEMENT = ("rng", "device", "dtype")
_LIBRARIES = (str(Path(__file__).parents[1]), str(Path(inspect.__file__).parent), "<")
"""Where files begin that are none of a user's: xpnet's, Python's, and those that are no files."""

_CHOICES = ("input_shape", "classes")
"""What a function may take besides, and is then given."""

SIGNATURE = "def NAME(*, rng, device, dtype, input_shape, classes), of which the last two may lack"


def is_own(name: str) -> bool:
    """Tell whether a network's name is one of a function."""
    return _NAME.fullmatch(name) is not None


def own(name: str) -> Callable[..., Network]:
    """A function that makes a network, found where Python finds modules, and in this directory.

    It is called with rng, a NumPy generator, device and dtype, and with input_shape and classes if
    it takes these. A class will do.

    Parameters
    ----------
    name : module:function

    Raises
    ------
    ArgumentError
        There is no such module or function; or, when it is called, it fails or makes something
        else.
    """
    function = _found(*name.split(":"))

    def build(*, rng: Any, device: Any = "cpu", dtype: str = "float32", **chosen: Any) -> Network:
        placement = {"rng": np.random.default_rng(rng), "device": device, "dtype": dtype}
        taken = _taken(name, function)
        given = placement | {each: value for each, value in chosen.items() if each in taken}
        try:
            with _importing_from_here():
                network: Any = function(**given)
        except XPNetError as error:
            raise ArgumentError(f"{name}: {error}") from error
        except (Exception, SystemExit) as error:  # whatever it is, it is the function's
            raise ArgumentError(f"{name} raised {_told(error)}; mend it") from error
        return _checked(name, network, placement, chosen)

    return build


def _found(module: str, function: str) -> Callable[..., Any]:
    try:
        with _importing_from_here():
            made = import_module(module)
    except (Exception, SystemExit) as error:  # it may be a program
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            of_file = module.endswith(".py")
            named = f"{module[:-3]}:{function}, without .py" if of_file else "module:function"
            raise ArgumentError(
                f"there is no module {error.name!r}, neither in {Path.cwd()} nor where Python "
                f"looks; a network of your own is named {named}"
            ) from error
        raise ArgumentError(f"module {module} cannot be imported: {_told(error)}") from error
    found: Any = getattr(made, function, None)
    if not callable(found):
        others = [
            name
            for name, each in vars(made).items()
            if inspect.isfunction(each) and each.__module__ == module and name[0] != "_"
        ]
        has = f"it has {', '.join(others)}" if others else "it has none"
        raise ArgumentError(f"module {module} has no function {function!r}; {has}")
    made_by: Callable[..., Any] = found
    return made_by


@contextmanager
def _importing_from_here() -> Iterator[None]:
    """Modules of the directory that one is in are found, as `python -m` finds them."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def _taken(name: str, function: Callable[..., Any]) -> list[str]:
    """Those of the arguments that the function takes; it must take rng, device and dtype."""
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # of what is not written in Python
        parameters = {}
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return [*_PLACEMENT, *_CHOICES]
    named = [key for key, each in parameters.items() if each.kind is not each.POSITIONAL_ONLY]
    needed = [
        key
        for key, each in parameters.items()
        if each.default is each.empty and each.kind is not each.VAR_POSITIONAL
    ]
    lacking = [key for key in _PLACEMENT if key not in named]
    foreign = [key for key in needed if key not in (*_PLACEMENT, *_CHOICES)]
    if lacking or foreign:
        what = f"takes no {lacking[0]}" if lacking else f"needs {foreign[0]}"
        raise ArgumentError(f"{name} {what}; write {SIGNATURE.replace('NAME', name.split(':')[1])}")
    return named


def _checked(
    name: str, network: Any, placement: Mapping[str, Any], chosen: Mapping[str, Any]
) -> Network:
    """What the function made; refused if it is not what it was asked for."""
    if not isinstance(network, Network):
        raise ArgumentError(f"{name} must return a Network, got {type(network).__name__}")
    device, dtype = get_device(placement["device"]), placement["dtype"]
    if network.device != device or network.dtype != dtype:
        raise ArgumentError(
            f"{name} made a network of {network.dtype} on {network.device.name}, and {dtype} on "
            f"{device.name} was asked for; give the network its device and dtype"
        )
    shapes, classes = network.output_shape, chosen.get("classes", 0)
    outputs = shapes.values() if isinstance(shapes, dict) else [shapes]
    image = tuple(chosen.get("input_shape", network.input_shape))
    rows = int(np.prod(image))
    if network.input_shape not in (image, (rows,)) or any(
        shape[1:] not in ((), image[1:]) or shape[0] < classes for shape in outputs
    ):
        raise ArgumentError(
            f"{name} made a network from {network.input_shape} to {shapes}, and one from {image} "
            f"to ({classes},) is needed; let it take input_shape and classes"
        )
    return network


def _told(error: BaseException) -> str:
    """An error's kind, its first line, and the last line of the user's own that led to it."""
    first = next(iter(str(error).strip().splitlines()), "")
    told = f"{type(error).__name__}: {first}" if first else type(error).__name__
    theirs = [
        frame
        for frame in extract_tb(error.__traceback__)
        if not frame.filename.startswith(_LIBRARIES) and "site-packages" not in frame.filename
    ]
    if not theirs:
        return told
    return f"{told} ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})"
