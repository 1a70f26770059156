"""The one way from plans to a GPU: compile, launch, record.

Plans ask for nothing else, so that whatever offers these three runs them.
"""

import gc
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeAlias

import numpy as np

from xpnet.backend import Array

Argument: TypeAlias = Array | np.generic
"""An array of the device, of which a kernel gets the address, or a NumPy number."""

NULL = np.int64(0)
"""A pointer that a kernel does not follow."""

Grid: TypeAlias = tuple[int, int, int]


class Kernel(Protocol):
    """A function that runs on the device; the call returns before it has run."""

    def __call__(self, grid: Grid, block: tuple[int], arguments: Sequence[Argument]) -> None:
        """Launch blocks of threads."""


class Recording(Protocol):
    """Launches that can be repeated as one."""

    def launch(self) -> None:
        """Do them all again, in order, after whatever the device has been given so far."""


class Driver(Protocol):
    """A device that runs kernels."""

    def compile(self, source: str) -> Callable[[str], Kernel]:
        """CUDA C++ to a function that gives its kernels by name."""

    def record(self, launches: Callable[[], None]) -> Recording:
        """What `launches` launches, without doing it. It must not allocate, copy or wait."""


class CupyDriver:
    """Kernels by CuPy: compiled by NVRTC, kept in CuPy's cache, recorded as CUDA graphs."""

    def compile(self, source: str) -> Callable[[str], Kernel]:
        """A module of the current device."""
        import cupy

        module = cupy.RawModule(code=source, options=("-std=c++17",))
        find: Callable[[str], Kernel] = module.get_function
        return find

    def record(self, launches: Callable[[], None]) -> Recording:
        """A graph; it holds addresses only, so its owner keeps the arrays."""
        import cupy

        # Not the current stream, which may be the legacy one: that cannot be recorded.
        stream = cupy.cuda.Stream(non_blocking=True)
        with _no_collection(), stream:
            stream.begin_capture()
            try:
                launches()
                graph: Any = stream.end_capture()
            except BaseException:
                with suppress(Exception):  # the first error is the one to tell
                    stream.end_capture()
                raise
        graph.upload(cupy.cuda.get_current_stream())
        recording: Recording = graph
        return recording


@contextmanager
def _no_collection() -> Any:
    """No garbage is collected meanwhile: freeing a GPU's resource would spoil the recording."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
