"""Array libraries and devices: which functions work on an array, and where arrays live.

Together with `xpnet.cuda` this is the only place that names an array library. Everything else takes
its functions from the arrays it is given, through `array_namespace`, and so runs on all of them.
"""

import os
import platform
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import array_api_compat
import array_api_compat.numpy
import numpy as np

from xpnet.errors import ArgumentError

Array: TypeAlias = Any
"""An array of any library that follows the Python array API standard."""

_namespaces: dict[type, Any] = dict.fromkeys(
    (bool, int, float, np.float32, np.float64), array_api_compat.numpy
)


def array_namespace(x: Array) -> Any:
    """The array API functions for `x`; NumPy's for Python and NumPy scalars.

    A type always has the same namespace, so the answer is kept: looking it up afresh costs a
    microsecond, which every function of every layer would pay.
    """
    kind = type(x)
    namespace = _namespaces.get(kind)
    if namespace is None:
        try:
            namespace = _namespaces[kind] = array_api_compat.array_namespace(x)
        except TypeError:
            raise ArgumentError(
                f"an array is needed, got {kind.__name__}; convert it first, for instance with "
                "numpy.asarray"
            ) from None
    return namespace


def to_numpy(x: Array) -> np.ndarray:
    """The values of `x` as a NumPy array on the host; a view of `x` where that is possible."""
    if isinstance(x, np.ndarray | np.generic | bool | int | float):
        return np.asarray(x)
    if array_api_compat.is_cupy_array(x):
        return np.asarray(array_api_compat.to_device(x, "cpu"))
    if array_api_compat.is_torch_array(x):
        return np.asarray(x.detach().cpu().numpy())
    return np.from_dlpack(x)


@dataclass(frozen=True)
class Device:
    """Where arrays live, and the functions that work on them.

    Attributes
    ----------
    name : "cpu", "cuda:0", ...
    xp : the array API namespace
    native : what the namespace's creation functions take as `device`
    """

    name: str
    xp: Any
    native: Any = field(default=None, hash=False)  # CuPy's own has no hash

    @property
    def kind(self) -> str:
        """The name without a number: "cpu", "cuda", ..."""
        return self.name.partition(":")[0]

    @property
    def compute_capability(self) -> tuple[int, int] | None:
        """What instructions a GPU has, as NVIDIA numbers it; None for anything else."""
        return None

    def dtype(self, name: str) -> Any:
        """The namespace's dtype of that name, such as "float32"."""
        dtype = getattr(self.xp, name, None)
        if dtype is None:
            raise ArgumentError(f"dtype {name!r} is not one of {self.xp.__name__}'s; try 'float32'")
        return dtype

    def asarray(self, x: Any, *, dtype: str | None = None) -> Array:
        """`x` on this device, as it is if it is here already; host data are copied over.

        Raises
        ------
        ArgumentError
            `x` belongs to another device or array library: moving it is left to the caller, so
            that no copy between devices goes unnoticed.
        """
        kind = None if dtype is None else self.dtype(dtype)
        if isinstance(x, np.ndarray | np.generic | bool | int | float | list | tuple):
            host = np.asarray(x)
            if not host.flags.writeable:
                host = host.copy()  # some libraries share memory, and warn that it is read-only
            return self.xp.asarray(host, dtype=kind, device=self.native)
        if array_namespace(x) is not self.xp or not self._holds(x):
            raise ArgumentError(
                f"an array on {self.name} ({self.xp.__name__}) is needed, got one of "
                f"{array_namespace(x).__name__} on {array_api_compat.device(x)}; "
                "bring it to the host with xpnet.to_numpy first"
            )
        return x if kind is None or x.dtype == kind else self.xp.astype(x, kind)

    def _holds(self, x: Array) -> bool:
        return self.native is None or array_api_compat.device(x) == self.native

    def zeros(self, shape: int | tuple[int, ...], *, dtype: str) -> Array:
        """An array of zeros on this device."""
        return self.xp.zeros(shape, dtype=self.dtype(dtype), device=self.native)

    def synchronize(self) -> None:
        """Wait until everything queued on the device is done."""

    def guarded(self) -> AbstractContextManager[None]:
        """A context in which errors of the device become xpnet's own, which say what to do."""
        return nullcontext()

    def free_bytes(self) -> int | None:
        """Memory that can still be allocated, or None where there is no separate memory."""
        return None

    def stream(self, batches: Any) -> Any:
        """Turn an iterator of tuples of host arrays into one of tuples of arrays here.

        A batch may be used until the next one is asked for.
        """
        for batch in batches:
            yield tuple(self.asarray(part) for part in batch)

    def describe(self) -> dict[str, str]:
        """What a reader of a result needs to know of the hardware."""
        return {"processor": f"{_processor()}, {os.cpu_count()} cores"}


def get_device(name: "str | Device" = "cpu") -> Device:
    """The device called `name`: "cpu", "cuda" (the first GPU), "cuda:N" or "auto".

    "auto" is the GPU where there is a usable one and the CPU elsewhere; `Device.name` tells which.
    Choosing a GPU makes it the current one of the calling thread.

    Raises
    ------
    ArgumentError
        The name is none of these.
    DeviceError
        A GPU was asked for and cannot be used; the message says what is missing.
    """
    if isinstance(name, Device):
        return name
    kind, _, index = name.partition(":")
    if name == "cpu":
        _keep_freed_memory()
        return Device("cpu", array_api_compat.numpy, None)
    if name == "auto":
        from xpnet import cuda

        return cuda.open_device(0) if cuda.diagnose().usable else get_device("cpu")
    if kind == "cuda" and (name == "cuda" or index.isdecimal()):
        from xpnet import cuda

        return cuda.open_device(int(index or 0))
    raise ArgumentError(f"device {name!r} is unknown; use cpu, cuda, cuda:N or auto")


@cache
def _keep_freed_memory() -> None:
    """Have glibc reuse freed arrays of up to 31 MiB, rather than return them to the system.

    It learns the size from the largest array it was ever given back; other C libraries are not
    affected. Memory fresh from the system costs a page fault every 4 KiB: a training step of
    DeepConvNet takes a quarter less time without them.
    """
    np.empty(31 * 2**20, dtype=np.uint8)


def device_of(x: Array) -> Device:
    """The device that holds `x`."""
    xp = array_namespace(x)
    if xp is array_api_compat.numpy:
        return get_device("cpu")
    native = array_api_compat.device(x)
    if array_api_compat.is_cupy_namespace(xp):
        from xpnet import cuda

        return cuda.device_holding(x)
    return Device(f"{xp.__name__} on {native}", xp, native)


def versions() -> dict[str, str]:
    """Versions of Python, xpnet and the array libraries it needs."""
    return {"python": platform.python_version(), **_package_versions()}


@cache
def _package_versions() -> dict[str, str]:
    found = {}
    for package in ("xpnet", "numpy", "array-api-compat"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source tree that is not installed
            found[package] = "not installed"
    return found


@cache
def _processor() -> str:
    """The processor's name where Linux tells it; elsewhere what Python knows, its kind at least."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
