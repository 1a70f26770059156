"""Array libraries and devices, random numbers equal on all of them, parameters in one buffer."""

from xpnet.arrays.choice import device_of, get_device, on_host
from xpnet.arrays.device import Device
from xpnet.arrays.namespace import Array, array_namespace, to_numpy
from xpnet.arrays.scatter import scatter_add
from xpnet.arrays.versions import versions

__all__ = [
    "Array",
    "Device",
    "array_namespace",
    "device_of",
    "get_device",
    "on_host",
    "scatter_add",
    "to_numpy",
    "versions",
]
