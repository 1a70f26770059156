"""All parameters of a network in one buffer."""

from collections.abc import Iterator, Mapping
from math import prod

from xpnet.arrays.device import Device
from xpnet.arrays.namespace import Array
from xpnet.errors import ArgumentError

ALIGN = 64
"""Elements. Each array starts at a multiple of 256 bytes (float32), which fast kernels ask for."""

BLOCK = 31 * 1024
"""Elements. Temporary arrays of a processor's block (float32) stay in its cache, and below the
128 KB from which on the C library may fetch fresh memory for each: that took 7 times as long as an
update by Adam does now."""


class FlatParams(Mapping[str, Array]):
    """Named arrays that are views of one flat buffer, `flat`, in the order of their names.

    A checkpoint, a norm or an update of everything is then one operation on `flat`. The gaps
    between arrays are zero and stay so, since no gradient reaches them. Reading `params["W1"]`
    gives the view; assigning to it copies the values in.

    Attributes
    ----------
    flat : the buffer
    shapes : of the arrays, by name
    blocks : slices of it, to be worked on one after the other by what needs temporary arrays; one
        for the whole where memory is not the host's, since every call to a GPU has a price
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], device: Device, dtype: str) -> None:
        starts, end = [], 0
        for shape in shapes.values():
            starts.append(end)
            end += -(-prod(shape) // ALIGN) * ALIGN
        self.device, self.dtype, self.shapes = device, dtype, dict(shapes)
        self.flat = device.zeros(end, dtype=dtype)
        length = BLOCK if device.is_host else max(end, 1)
        self.blocks = [slice(at, min(at + length, end)) for at in range(0, end, length)]
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

    def like(self) -> "FlatParams":
        """Zeros in the same layout, such as for gradients."""
        return FlatParams(self.shapes, self.device, self.dtype)

    def gather(self, arrays: Mapping[str, Array]) -> Array:
        """Copy in one array of this device for each name; the flat buffer."""
        for name, view in self._views.items():
            view[...] = arrays[name]
        return self.flat

    @property
    def count(self) -> int:
        """Number of parameters."""
        return sum(prod(view.shape) for view in self._views.values())
