"""All parameters of a network in one buffer."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import Any, NoReturn, Self

import numpy as np

from xpnet.arrays.device import Device
from xpnet.arrays.namespace import Array
from xpnet.errors import ArgumentError

ALIGN = 64
"""Elements. Each array starts at a multiple of 256 bytes (float32), which fast kernels ask for."""

BLOCK = 31 * 1024
"""Elements. Temporary arrays of a processor's block (float32) stay in its cache, and below the
128 KB from which on the C library may fetch fresh memory for each: that took 7 times as long as an
update by Adam does now."""


_NONE: Mapping[str, Any] = MappingProxyType({})


def count_of(shape: tuple[int, ...], mask: np.ndarray | None = None) -> int:
    """Count the numbers of an array, without those where a mask is 0."""
    if mask is None:
        return prod(shape)
    return int(np.sum(np.broadcast_to(mask != 0, shape)))


@dataclass(frozen=True)
class Learning:
    """The way in which a parameter learns.

    Attributes
    ----------
    decays : whether weight decay concerns it
    rate : what the learning rate is multiplied by
    frozen : whether it stays as it is
    bounds : where every update brings it back to; the numbers around 0 that it may have
    """

    decays: bool = False
    rate: float = 1.0
    frozen: bool = False
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Run:
    """Neighbours in the buffer that learn in one way.

    Attributes
    ----------
    learning : how they learn
    blocks : slices of the buffer, to be worked on one after the other by what needs temporary
        arrays; one where memory is not the host's, since every call to a GPU has a price
    """

    learning: Learning
    blocks: tuple[slice, ...]

    @cached_property
    def whole(self) -> slice:
        """The slice of all blocks, for what needs no temporary arrays."""
        return slice(self.blocks[0].start, self.blocks[-1].stop)


class FlatParams(Mapping[str, Array]):
    """Named arrays that are views of one flat buffer, `flat`, in the order of their names.

    A checkpoint, a norm or an update of everything is then one operation on `flat`. The gaps
    between arrays are zero and stay so, since no gradient reaches them. Reading `params["W1"]`
    gives the view; assigning to it copies the values in.

    Parameters
    ----------
    shapes : of the arrays, by name
    device, dtype : of the buffer
    decaying : the names of those that weight decay concerns
    masks : for those with places that nothing is at, 1 where something is, and else 0; what is
        assigned there becomes 0
    bounds : of those that have any, by name

    Attributes
    ----------
    flat : the buffer
    shapes : of the arrays, by name
    masks : on the device
    count : the number of parameters
    changes : how often `set_learning` was called, by which what was compiled knows that it is old
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        device: Device,
        dtype: str,
        *,
        decaying: Collection[str] = (),
        masks: Mapping[str, np.ndarray] = _NONE,
        bounds: Mapping[str, tuple[float, float]] = _NONE,
    ) -> None:
        self.device, self.dtype, self.shapes = device, dtype, dict(shapes)
        self.masks = {name: device.asarray(mask, dtype=dtype) for name, mask in masks.items()}
        self.count = sum(count_of(shape, masks.get(name)) for name, shape in shapes.items())
        self._learning = {
            name: Learning(decays=name in decaying, bounds=bounds.get(name)) for name in shapes
        }
        self.changes = 0
        self._lay_out(device.zeros(_size(shapes), dtype=dtype))

    def _lay_out(self, flat: Array) -> None:
        """Make the views of a buffer."""
        self.flat, self._views, start = flat, {}, 0
        self._runs: dict[bool, list[Run]] = {}
        for name, shape in self.shapes.items():
            end = start + prod(shape)
            view = self.device.xp.reshape(flat[start:end], shape, copy=False)
            self._views[name] = view
            start += _aligned(prod(shape))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "flat" and "flat" in self.__dict__:  # which the views are of
            _copy_in(self.__dict__, name, value, self.device)
            self.apply_masks()
        else:
            super().__setattr__(name, value)

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __setitem__(self, name: str, value: Array) -> None:
        _copy_in(self._views, name, value, self.device, self.masks)

    def apply_masks(self) -> None:
        """Make 0 what has been written where nothing is, through a view."""
        for name, mask in self.masks.items():
            self._views[name][...] *= mask

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name} {tuple(shape)}" for name, shape in self.shapes.items())
        return f"FlatParams({arrays}; {self.dtype} on {self.device.name})"

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of; its arrays are views of its own buffer."""
        return {name: value for name, value in self.__dict__.items() if name not in _OF_A_COPY}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._lay_out(state["flat"])

    def __copy__(self) -> "FlatParams":
        raise ArgumentError(
            "parameters that shared one buffer would be changed together; use copy.deepcopy"
        )

    def learning(self, name: str) -> Learning:
        """Return the way in which a parameter learns."""
        return self._learning[name]

    def set_learning(
        self, names: Collection[str], *, rate: float | None = None, frozen: bool | None = None
    ) -> None:
        """Change how parameters learn; what is None stays as it is."""
        for name in names:
            old = self._learning[name]
            self._learning[name] = replace(
                old,
                rate=old.rate if rate is None else rate,
                frozen=old.frozen if frozen is None else frozen,
            )
        self._runs = {}
        self.changes += 1

    def runs(self, *, by_decay: bool = False) -> list[Run]:
        """List what learns, in as few slices as there are; frozen parameters are in none.

        Parameters
        ----------
        by_decay : part what decays from what does not; otherwise each run says that it decays
        """
        if by_decay not in self._runs:
            ends: list[tuple[Learning, int]] = []
            end = 0
            for name, shape in self.shapes.items():
                how, end = self._learning[name], end + _aligned(prod(shape))
                if not by_decay:
                    how = replace(how, decays=True)
                if ends and ends[-1][0] == how:
                    ends.pop()
                ends.append((how, end))
            starts = [0, *(end for _, end in ends)]
            self._runs[by_decay] = [
                Run(how, self._blocks(start, end))
                for start, (how, end) in zip(starts, ends, strict=False)
                if not how.frozen
            ]
        return self._runs[by_decay]

    def _blocks(self, start: int, end: int) -> tuple[slice, ...]:
        length = BLOCK if self.device.is_host else max(end - start, 1)
        return tuple(slice(at, min(at + length, end)) for at in range(start, end, length))

    def like(self, device: Device | None = None) -> "FlatParams":
        """Zeros in the same layout, such as for gradients, that learn in the same way.

        Parameters
        ----------
        device : where they live; on this device if None
        """
        other = FlatParams(self.shapes, device or self.device, self.dtype)
        other._learning = dict(self._learning)
        return other

    def gather(self, arrays: Mapping[str, Array]) -> Array:
        """Copy in one array of this device for each name; the flat buffer.

        The arrays of names that are not given stay as they are.
        """
        for name, array in arrays.items():
            self._views[name][...] = array
        return self.flat


class LayerParams(dict[str, Array]):
    """The parameters of a layer within a network, which are views of the network's buffer.

    Or its state, which is the network's, too. Assigning to one copies the values in, as in
    `FlatParams`, so that layer and network go on with the same numbers; none can be added or taken
    away. A copy or pickle is a plain dictionary.

    Parameters
    ----------
    views : by the layer's own names
    device : where they live
    masks : as in `FlatParams`, on the device
    """

    def __init__(
        self,
        views: Mapping[str, Array],
        device: Device,
        *,
        masks: Mapping[str, Array] = _NONE,
    ) -> None:
        super().__init__(views)
        self._device, self._masks = device, masks

    def __setitem__(self, name: str, value: Array) -> None:
        _copy_in(self, name, value, self._device, self._masks)

    def update(self, *given: Any, **named: Any) -> None:
        """Copy in the values of several."""
        for name, value in dict(*given, **named).items():
            self[name] = value

    def __ior__(self, given: Any) -> Self:  # type: ignore[override, misc]
        self.update(given)
        return self

    def setdefault(self, name: str, default: Array = None) -> Array:
        """Return a parameter, which is there already."""
        if name not in self:
            self[name] = default
        return self[name]

    def _kept(self, *_: Any) -> NoReturn:
        raise ArgumentError(
            f"the parameters {', '.join(self)} are a network's and cannot be taken away; make a "
            "network of other layers"
        )

    __delitem__ = pop = popitem = clear = _kept

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class Held:
    """An attribute of arrays by name that stays a network's once it is: assigning copies values in.

    Reading it costs nothing: there is no `__get__`, and what is read is the instance's own.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, instance: Any, given: Any) -> None:
        own = instance.__dict__.get(self._name)
        if isinstance(own, FlatParams | LayerParams):
            copy_in(own, given)
        else:
            instance.__dict__[self._name] = given


@dataclass(frozen=True)
class Unheld:
    """An attribute that is a network's, of a class that does not make it `Held`."""

    instance: Any
    name: str
    arrays: LayerParams

    def take_up(self) -> None:
        """Copy in what it was given since, in place of the network's arrays."""
        if (given := getattr(self.instance, self.name)) is not self.arrays:
            copy_in(self.arrays, given)
            setattr(self.instance, self.name, self.arrays)


def hold(instance: Any, name: str, arrays: LayerParams) -> list[Unheld]:
    """Let an attribute be these arrays from now on; what has to be looked after, if anything."""
    if isinstance(getattr(type(instance), name, None), Held):
        instance.__dict__[name] = arrays
        return []
    setattr(instance, name, arrays)
    return [Unheld(instance, name, arrays)]


def copy_in(own: FlatParams | LayerParams, given: Any) -> None:
    """Write values into all of some arrays, or into none.

    Raises
    ------
    ArgumentError
        A name is missing or too many, or a shape differs.
    """
    if given is own:
        return
    if not isinstance(given, Mapping) or given.keys() != own.keys():
        got = ", ".join(map(str, given)) if isinstance(given, Mapping) else type(given).__name__
        raise ArgumentError(
            f"these arrays are a network's; values for {', '.join(own)} are needed, got {got}"
        )
    for name, value in given.items():
        _check_shape(name, own[name], value)
    for name, value in given.items():
        own[name] = value


def _copy_in(
    views: Mapping[str, Array],
    name: str,
    value: Array,
    device: Device,
    masks: Mapping[str, Array] = _NONE,
) -> None:
    """Write values into one of some views of a buffer."""
    view = views.get(name)
    if view is None:
        raise ArgumentError(f"no parameter is called {name!r}; there are {', '.join(views)}")
    if value is not view:
        value = device.asarray(value)
        _check_shape(name, view, value)
        view[...] = value if value.dtype == view.dtype else device.xp.astype(value, view.dtype)
    if name in masks:
        view[...] *= masks[name]


def _check_shape(name: str, view: Array, value: Any) -> None:
    shape = getattr(value, "shape", None) or np.shape(value)
    if tuple(shape) != tuple(view.shape):
        raise ArgumentError(f"parameter {name} has shape {tuple(view.shape)}, got {tuple(shape)}")


_OF_A_COPY = ("_views", "_runs")
"""Attributes that `FlatParams` makes anew for a copy."""


def _aligned(size: int) -> int:
    """Elements that an array takes up, with the gap behind it."""
    return -(-size // ALIGN) * ALIGN


def _size(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(_aligned(prod(shape)) for shape in shapes.values())
