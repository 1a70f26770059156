"""The device of a name, and the device of an array."""

import ctypes
import os
from contextlib import suppress
from functools import cache

import array_api_compat
import array_api_compat.numpy

from xpnet.arguments import checked
from xpnet.arrays import cuda
from xpnet.arrays.device import Device
from xpnet.arrays.namespace import Array, array_namespace
from xpnet.errors import ArgumentError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
_MALLOC_SETTINGS = {"GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}


@checked
def get_device(name: str | Device = "cpu") -> Device:
    """Return the device called `name`: "cpu", "cuda" (the first GPU), "cuda:N" or "auto".

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
        return cuda.open_device(0) if cuda.diagnose().usable else get_device("cpu")
    if kind == "cuda" and (name == "cuda" or index.isdecimal()):
        return cuda.open_device(int(index or 0))
    raise ArgumentError(f"device {name!r} is unknown; use cpu, cuda, cuda:N or auto")


def device_of(x: Array) -> Device:
    """Return the device that holds `x`."""
    xp = array_namespace(x)
    if xp is array_api_compat.numpy:
        return get_device("cpu")
    native = array_api_compat.device(x)
    if array_api_compat.is_cupy_namespace(xp):
        return cuda.device_holding(x)
    return Device(f"{xp.__name__} on {native}", xp, native)


def on_host(x: Array) -> bool:
    """Tell whether `x` lies in the host's memory, and can be looked at without waiting."""
    return array_namespace(x) is array_api_compat.numpy or device_of(x).is_host


@cache
def _keep_freed_memory() -> None:
    """Have glibc reuse freed arrays of up to 32 MiB, rather than return them to the system.

    Memory fresh from the system costs a page fault every 4 KiB: 3,500 of them in a training step of
    SimpleConvNet by its layers, which takes a third longer with them. What the user has set stays
    as it is; other C libraries have no such function.
    """
    if not _MALLOC_SETTINGS & os.environ.keys():
        with suppress(AttributeError, OSError, TypeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the most that it takes
            mallopt(M_TRIM_THRESHOLD, 64 * 2**20)
