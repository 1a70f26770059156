"""The one way from programs to a GPU: compile, launch, record.

Programs ask for nothing else, so that whatever offers these three runs them.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from xpnet.arrays import Array

Argument: TypeAlias = Array | np.generic
"""An array of the device, of which a kernel gets the address, or a NumPy number."""

NULL = np.int64(0)
"""A pointer that a kernel does not follow."""

Grid: TypeAlias = tuple[int, int, int]


class DeviceFunction(Protocol):
    """A function that runs on the device; the call returns before it has run."""

    def __call__(self, grid: Grid, block: tuple[int], arguments: Sequence[Argument]) -> None:
        """Launch blocks of threads."""


class Recording(Protocol):
    """Launches that can be repeated as one."""

    def launch(self) -> None:
        """Do them all again, in order, after whatever the device has been given so far."""


class Driver(Protocol):
    """A device that runs kernels."""

    def compile(self, source: str) -> Callable[[str], DeviceFunction]:
        """CUDA C++ to what gives its kernels by name."""

    def record(self, launches: Callable[[], None]) -> Recording:
        """Record what `launches` launches, without doing it. It must not allocate, copy or wait."""

    def aside(self) -> AbstractContextManager[None]:
        """Let what is launched in it run beside all that follows, until the next `join`.

        It runs after everything that was launched before. Where nothing is recorded it may run at
        its place.
        """

    def join(self) -> None:
        """Let what follows wait for all that runs aside."""


class CupyDriver:
    """Kernels by CuPy: compiled by NVRTC, kept in CuPy's cache, recorded as CUDA graphs."""

    def __init__(self) -> None:
        self._branches: _Branches | None = None  # of the recording under way

    def compile(self, source: str) -> Callable[[str], DeviceFunction]:
        """A module of the current device."""
        import cupy

        module = cupy.RawModule(code=source, options=("-std=c++17",))
        module.compile()  # now, and not when somebody looks at the clock
        find: Callable[[str], DeviceFunction] = module.get_function
        return find

    def record(self, launches: Callable[[], None]) -> Recording:
        """A graph; it holds addresses only, so its owner keeps the arrays."""
        import cupy

        # Not the current stream, which may be the legacy one: that cannot be recorded.
        stream, side = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
        self._branches = _Branches(stream, side)
        with _no_collection(), stream:
            stream.begin_capture()
            try:
                launches()
                self.join()
                graph: Any = stream.end_capture()
            except BaseException:
                with suppress(Exception):  # the first error is the one to tell
                    stream.end_capture()
                raise
            finally:
                self._branches = None
        graph.upload(cupy.cuda.get_current_stream())
        recording: Recording = graph
        return recording

    @contextmanager
    def aside(self) -> Iterator[None]:
        """A branch of the graph that is being recorded; else no different from anything else."""
        if self._branches is None:
            yield
            return
        branches = self._branches
        branches.order(branches.main, branches.side)
        with branches.side:
            yield
        branches.apart = True

    def join(self) -> None:
        """The end of the branch."""
        branches = self._branches
        if branches is not None and branches.apart:
            branches.order(branches.side, branches.main)
            branches.apart = False


@dataclass
class _Branches:
    """Two streams of one recording, and whether the side has launches that the main has not met."""

    main: Any
    side: Any
    apart: bool = False
    events: list[Any] = field(default_factory=list)  # kept until the recording has ended

    def order(self, first: Any, then: Any) -> None:
        """Let what comes to `then` wait for what `first` has been given."""
        import cupy

        event = cupy.cuda.Event(disable_timing=True)
        event.record(first)
        then.wait_event(event)
        self.events.append(event)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage is collected meanwhile: freeing a GPU's resource would spoil the recording."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
