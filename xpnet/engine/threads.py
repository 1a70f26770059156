"""Threads of the CPU: how many there are, and how many NumPy's matrix products use."""

import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from xpnet.errors import ArgumentError

_UNLIMITED = nullcontext()


@cache
def _libraries() -> Any:
    """OpenBLAS, MKL or BLIS in this process; others, such as Apple's Accelerate, take no orders."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def blas_threads(number: int) -> AbstractContextManager[Any]:
    """A context in which the matrix products of this whole process use so many threads."""
    libraries = _libraries()
    for library in libraries.lib_controllers:
        if library.num_threads != number:
            limited: AbstractContextManager[Any] = libraries.limit(limits=number)
            return limited
    return _UNLIMITED  # a tenth of the time, which a step of a small network would notice


def blas_library() -> dict[str, str | int]:
    """The library that multiplies NumPy's matrices, and its threads now."""
    for library in _libraries().info():
        parts = (library.get(key) for key in ("internal_api", "version", "architecture"))
        name = " ".join(part for part in parts if part)
        return {"blas": name, "blas_threads": library["num_threads"]}
    return {"blas": "unknown"}


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def chosen_threads(threads: int | None) -> int:
    """`threads`, or if None one for each core.

    But no more than matrix products are limited to, such as by OPENBLAS_NUM_THREADS.
    """
    if threads is None:
        limits: list[int] = [library["num_threads"] for library in _libraries().info()]
        return min([available_cores(), *limits])
    if threads < 1:
        raise ArgumentError(f"at least one thread is needed, got {threads}")
    return threads
