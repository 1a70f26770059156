"""The functions that work on an array, found from the array itself.

Together with the rest of this room this is the only place that names an array library. Everything
else takes its functions from the arrays it is given, through `array_namespace`, and so runs on all
of them.
"""

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
    """Return the array API functions for `x`; NumPy's for Python and NumPy scalars.

    A type always has the same namespace, so the answer is kept: looking it up afresh costs a
    microsecond, which every function of every layer would pay.
    """
    kind = type(x)
    namespace = _namespaces.get(kind)
    if namespace is None:
        if issubclass(kind, np.ma.MaskedArray):
            raise ArgumentError(
                "an array without a mask is needed, got a masked one, whose hidden values would be "
                "taken for numbers; fill them with x.filled(0), or leave these samples out"
            )
        try:
            namespace = _namespaces[kind] = array_api_compat.array_namespace(x)
        except TypeError:
            raise ArgumentError(
                f"an array is needed, got {kind.__name__}; convert it first, for instance with "
                "numpy.asarray"
            ) from None
    return namespace


def to_numpy(x: Array) -> np.ndarray:
    """Return the values of `x` as a NumPy array on the host; a view of `x` where possible."""
    if isinstance(x, np.ndarray | np.generic | bool | int | float):
        return np.asarray(x)
    if array_api_compat.is_cupy_array(x):
        return np.asarray(array_api_compat.to_device(x, "cpu"))
    if array_api_compat.is_torch_array(x):
        return np.asarray(x.detach().cpu().numpy())
    return np.from_dlpack(x)
