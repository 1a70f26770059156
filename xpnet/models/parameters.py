"""All parameters of a network in one buffer."""

from collections.abc import Iterator, Mapping
from math import prod

from xpnet.backend import Array, Device
from xpnet.errors import ArgumentError

ALIGN = 64
"""Elements. Each array starts at a multiple of 256 bytes (float32), which fast kernels ask for."""


class FlatParams(Mapping[str, Array]):
    """Named arrays that are views of one flat buffer, `flat`, in the order of their names.

    A checkpoint, a norm or an update of everything is then one operation on `flat`. The gaps
    between arrays are zero and stay so, since no gradient reaches them. Reading `params["W1"]`
    gives the view; assigning to it copies the values in.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], device: Device, dtype: str) -> None:
        starts, end = [], 0
        for shape in shapes.values():
            starts.append(end)
            end += -(-prod(shape) // ALIGN) * ALIGN
        self.device = device
        self.flat = device.zeros(end, dtype=dtype)
        self._views = {
            name: device.xp.reshape(self.flat[start : start + prod(shape)], shape, copy=False)
            for (name, shape), start in zip(shapes.items(), starts, strict=True)
        }

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __setitem__(self, name: str, value: Array) -> None:
        view = self._views.get(name)
        if view is None:
            raise ArgumentError(f"no parameter is called {name!r}; there are {', '.join(self)}")
        value = self.device.asarray(value)
        if value.shape != view.shape:
            raise ArgumentError(
                f"parameter {name} has shape {tuple(view.shape)}, got {tuple(value.shape)}"
            )
        view[...] = value if value.dtype == view.dtype else self.device.xp.astype(value, view.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    @property
    def count(self) -> int:
        """Number of parameters."""
        return sum(prod(view.shape) for view in self._views.values())
