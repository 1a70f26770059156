"""The device of a name, and the device of an array."""

from functools import cache

import array_api_compat
import array_api_compat.numpy
import numpy as np

from xpnet.arrays import cuda
from xpnet.arrays.device import Device
from xpnet.arrays.namespace import Array, array_namespace
from xpnet.errors import ArgumentError


def get_device(name: "str | Device" = "cpu") -> Device:
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


@cache
def _keep_freed_memory() -> None:
    """Have glibc reuse freed arrays of up to 31 MiB, rather than return them to the system.

    It learns the size from the largest array it was ever given back; other C libraries are not
    affected. Memory fresh from the system costs a page fault every 4 KiB: a training step of
    DeepConvNet takes a quarter less time without them.
    """
    np.empty(31 * 2**20, dtype=np.uint8)
