"""Devices: the places where arrays live."""

import os
import platform
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import array_api_compat
import numpy as np

from xpnet.arrays.namespace import Array, array_namespace
from xpnet.arrays.values import as_array
from xpnet.errors import ArgumentError, DeviceError


@dataclass(frozen=True)
class Device:
    """A place where arrays live, and the functions that work on them.

    Attributes
    ----------
    name : "cpu", "cuda:0", ...
    xp : the array API namespace
    native : what the namespace's creation functions take as `device`
    """

    name: str
    xp: Any
    native: Any = field(default=None, hash=False)  # CuPy's own has no hash

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def kind(self) -> str:
        """The name without a number: "cpu", "cuda", ..."""
        return self.name.partition(":")[0]

    @property
    def is_host(self) -> bool:
        """True where arrays lie in the host's memory, False where the device has its own."""
        return True

    @property
    def compute_capability(self) -> tuple[int, int] | None:
        """The instructions that a GPU has, as NVIDIA numbers them; None for anything else."""
        return None

    def __deepcopy__(self, memo: object) -> "Device":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.name, self.xp.__name__, self.native)

    def dtype(self, name: str) -> Any:
        """Return the namespace's dtype of that name, such as "float32"."""
        dtype = getattr(self.xp, name, None)
        if dtype is None:
            raise ArgumentError(f"dtype {name!r} is not one of {self.xp.__name__}'s; try 'float32'")
        return dtype

    def check_floats(self, name: str) -> None:
        """Refuse what is no dtype of real fractions: in whole numbers all weights would be 0."""
        dtype = self.dtype(name)
        try:
            fits = self.xp.isdtype(dtype, "real floating")
        except TypeError:  # the name of something else
            fits = False
        if not fits:
            raise ArgumentError(f"dtype must be 'float32' or 'float64', got {name!r}")

    def asarray(self, x: Any, *, dtype: str | None = None) -> Array:
        """Put `x` on this device: as it is if it is here already; host data are copied over.

        What `as_array` takes is taken here.

        Raises
        ------
        ArgumentError
            `x` is no array of numbers; or it belongs to another device or array library: moving it
            is left to the caller, so that no copy between devices goes unnoticed.
        """
        kind = None if dtype is None else self.dtype(dtype)
        x = as_array(x)
        if isinstance(host := x, np.ndarray):
            if not host.flags.writeable:
                host = host.copy()  # some libraries share memory, and warn that it is read-only
            return self.xp.asarray(host, dtype=kind, device=self.native)
        if array_namespace(x) is not self.xp or not self.holds(x):
            raise ArgumentError(
                f"an array on {self.name} ({self.xp.__name__}) is needed, got one of "
                f"{array_namespace(x).__name__} on {array_api_compat.device(x)}; "
                "bring it to the host with xpnet.to_numpy first"
            )
        return x if kind is None or x.dtype == kind else self.xp.astype(x, kind)

    def holds(self, x: Array) -> bool:
        """Tell whether an array of this library lies here."""
        return self.native is None or array_api_compat.device(x) == self.native

    def zeros(self, shape: int | tuple[int, ...], *, dtype: str) -> Array:
        """Make an array of zeros on this device."""
        return self.xp.zeros(shape, dtype=self.dtype(dtype), device=self.native)

    def synchronize(self) -> None:
        """Wait until everything queued on the device is done."""

    def guarded(self) -> AbstractContextManager[None]:
        """Open a context in which errors of the device become xpnet's own, which say what to do."""
        return nullcontext()

    def free_bytes(self) -> int:
        """Count the bytes that can still be allocated; for devices with memory of their own.

        Raises
        ------
        DeviceError
            The device uses the host's memory.
        """
        raise DeviceError(f"{self.name} uses the host's memory, of which only the system can tell")

    def stream(self, batches: Any) -> Any:
        """Turn an iterator of tuples of host arrays into one of tuples of arrays here.

        A batch may be used until the next one is asked for.
        """
        for batch in batches:
            yield tuple(self.asarray(part) for part in batch)

    def describe(self) -> dict[str, str]:
        """Tell what a reader of a result needs to know of the hardware."""
        return {"processor": f"{_processor()}, {os.cpu_count()} cores"}


def _opened(name: str, library: str, native: Any) -> Device:
    """A device that was pickled."""
    return Device(name, import_module(library), native)


@cache
def _processor() -> str:
    """The processor's name where Linux tells it; elsewhere what Python knows, its kind at least."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
