"""Loops over numbers, compiled by numba where it is installed.

A loop is written with Python's `for` on NumPy arrays. Compiled it goes through memory once where
NumPy, which knows one operation at a time, goes once for each; it holds no lock of Python's, so
that threads do not wait for each other. Whatever has such a loop has another form in NumPy, too,
and without numba that one computes.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from xpnet.errors import ArgumentError
from xpnet.optional import installed, missing

F = TypeVar("F", bound=Callable[..., Any])


def obstacle() -> str | None:
    """Say why numba cannot be used; None if it can."""
    if not installed("numba"):
        return missing("numba")
    try:
        from numba import config
    except (ImportError, OSError) as error:  # NumPy is too new for it, or its library is broken
        return f"numba cannot be imported: {error}"
    return "NUMBA_DISABLE_JIT forbids numba to compile" if config.DISABLE_JIT else None


@cache
def usable() -> bool:
    """Tell whether numba is installed, can be imported beside this NumPy, and compiles."""
    return obstacle() is None


def checked_choice(compiled: bool | None, what: str) -> bool:
    """Whether compiled loops are to be used: as asked for, or if None where they can be.

    Raises
    ------
    ArgumentError
        They are asked for, and numba cannot be had.
    """
    if compiled and not usable():
        raise ArgumentError(f"{what} needs numba: {obstacle()}")
    return usable() if compiled is None else bool(compiled)


def description() -> str:
    """The compiler and its version."""
    import numba

    return f"numba {numba.__version__}"


def loop(function: F, *, contract: bool = False) -> F:
    """Have a function compiled when it is first called, for each type of its arrays.

    What was compiled is kept on the disk, beside the module or in the user's cache, where either
    can be written, until a module of its directory changes: loops call loops of others, of which
    numba takes no note. Sums keep the order in which they are written, and results repeat bit for
    bit.

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
        compiled: Any = njit(cache=True, **options)(function)
        kept, module = compiled._cache._cache_file, Path(function.__code__.co_filename)
        kept._source_stamp = _stamp(module.parent)
    except RuntimeError:  # there is no place to keep it
        compiled = njit(**options)(function)
    found: F = compiled
    return found


@cache
def _stamp(directory: Path) -> str:
    """What the modules of a directory say, and this one, in few letters."""
    modules = [*sorted(directory.glob("*.py")), Path(__file__)]
    return hashlib.sha256(b"".join(module.read_bytes() for module in modules)).hexdigest()


@cache
def _prepare() -> None:
    """Have LLVM check many arrays for overlaps: from 8 on it would not vectorize a loop."""
    from llvmlite import binding

    binding.set_option("xpnet", "-runtime-memory-check-threshold=4000")
