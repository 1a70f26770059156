"""Loops over numbers, compiled by numba where it is installed.

A loop is written with Python's `for` on NumPy arrays. Compiled it goes through memory once where
NumPy, which knows one operation at a time, goes once for each; it holds no lock of Python's, so
that threads do not wait for each other. Whatever has such a loop has another form in NumPy, too,
and without numba that one computes.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from xpnet.optional import installed, needed

F = TypeVar("F", bound=Callable[..., Any])


@cache
def usable() -> bool:
    """Tell whether numba is installed, and can be imported beside this NumPy."""
    if not installed("numba"):
        return False
    try:
        import numba  # noqa: F401
    except ImportError:  # which a NumPy that is too new for it raises
        return False
    return True


def checked_choice(compiled: bool | None, what: str) -> bool:
    """Whether compiled loops are to be used: as asked for, or if None where they can be.

    Raises
    ------
    ArgumentError
        `what` is asked to use them, and numba cannot be had.
    """
    if compiled and not usable():
        raise needed("numba", what)
    return usable() if compiled is None else bool(compiled)


def description() -> str:
    """The compiler and its version."""
    import numba

    return f"numba {numba.__version__}"


def loop(function: F, *, contract: bool = False) -> F:
    """Have a function compiled when it is first called, for each type of its arrays.

    What was compiled is kept on the disk, beside the module or in the user's cache, where either
    can be written. Sums keep the order in which they are written, and results repeat bit for bit.

    Parameters
    ----------
    contract : whether a product and the sum that it goes into may be one instruction, which rounds
        once where NumPy rounds twice
    """
    from numba import njit

    _prepare()
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    if contract:
        options["fastmath"] = {"contract"}
    try:
        compiled: F = njit(cache=True, **options)(function)
    except RuntimeError:  # there is no place to keep it
        compiled = njit(**options)(function)
    return compiled


@cache
def _prepare() -> None:
    """Have LLVM check many arrays for overlaps: from 8 on it would not vectorize a loop."""
    from llvmlite import binding

    binding.set_option("xpnet", "-runtime-memory-check-threshold=4000")
