"""Memory that kernels share."""

from math import prod
from typing import Any

import numpy as np


class Scratch:
    """Buffers by name, each as large as the largest array that was ever asked for.

    What a kernel leaves there is used up before another writes, so that a few buffers that stay in
    the processor's cache serve all layers. A buffer that grows is a new one: arrays handed out
    before keep the old.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array in the buffer of that name; its values are arbitrary."""
        size = prod(shape) * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = np.empty(size, dtype=np.uint8)
        array: np.ndarray = buffer[:size].view(dtype).reshape(shape)
        return array
