"""CUDA kernels on the CPU: compiled by g++ with cuda_on_cpu.hpp, for machines without a GPU."""

import ctypes
import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

HEADER = Path(__file__).with_suffix(".hpp")
KERNEL = re.compile(r'extern "C" __global__ void __launch_bounds__\((\d+)[, \d]*\) (\w+)\(')


def missing() -> str | None:
    """What cannot be done without, if it is not here."""
    return None if shutil.which("g++") else "g++ is not installed"


class HostDriver:
    """What `xpnet.engine.cuda.driver.Driver` asks for, on NumPy arrays.

    Attributes
    ----------
    backwards : whether threads and blocks take turns in the opposite order
    compiled : all sources so far
    launched : names of all kernels launched so far, replays left out
    """

    def __init__(self, directory: Path, *, backwards: bool = False) -> None:
        self.directory, self.backwards = directory, backwards
        self.compiled: list[str] = []
        self.launched: list[str] = []
        self._tape: list[Callable[[], None]] | None = None
        self._tape_aside: list[Callable[[], None]] = []

    def compile(self, source: str) -> Callable[[str], Any]:
        self.compiled.append(source)
        library = _library(self.directory, source)
        threads = {name: int(number) for number, name in KERNEL.findall(source)}

        def find(name: str) -> Any:
            function = library[f"launch_{name}"]

            def launch(grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any]) -> None:
                assert block == (threads[name],), f"{name} is launched with {block}"
                assert all(isinstance(size, int) and size > 0 for size in grid)
                values = [_value(argument) for argument in arguments]
                pointers = (ctypes.c_void_p * len(values))(*(v.ctypes.data for v in values))

                def go() -> None:
                    assert values  # kept alive: the addresses of their numbers are in `pointers`
                    ctypes.c_int.in_dll(library, "xpnet_backwards").value = int(self.backwards)
                    function(*grid, *block, pointers)

                if self._tape is not None:
                    self._tape.append(go)
                else:
                    self.launched.append(name)
                    go()

            return launch

        return find

    def record(self, launches: Callable[[], None]) -> "Tape":
        self._tape = tape = []
        try:
            launches()
            self.join()
            return Tape(tape)
        finally:
            self._tape = None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Backwards, what runs aside runs as late as it may."""
        main = self._tape
        if main is None or not self.backwards:
            yield
            return
        self._tape = self._tape_aside
        yield
        self._tape = main

    def join(self) -> None:
        if self._tape is not None:
            self._tape += self._tape_aside
            self._tape_aside = []


class Tape:
    """Launches to be repeated."""

    def __init__(self, launches: list[Callable[[], None]]) -> None:
        self.launches, self.replays = launches, 0

    def launch(self) -> None:
        self.replays += 1
        for launch in self.launches:
            launch()


def _value(argument: Any) -> np.ndarray:
    """What a kernel gets: the address of an array, or a number."""
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous, "kernels know nothing of strides"
        return np.asarray(argument.ctypes.data, dtype=np.uint64)
    assert isinstance(argument, np.generic), f"a kernel cannot take {type(argument).__name__}"
    return np.asarray(argument)


@cache
def _library(directory: Path, source: str) -> ctypes.CDLL:
    entries = "".join(
        f'extern "C" void launch_{name}(int gx, int gy, int gz, int block, void** arguments) '
        f"{{ launch({name}, gx, gy, gz, block, arguments); }}\n"
        for _, name in KERNEL.findall(source)
    )
    # What stands before the first kernel is the same for many networks.
    first = KERNEL.search(source)
    start = 0 if first is None else first.start()
    ahead = _header(directory, source[:start])
    text = f'#include "{ahead.name}"\n{source[start:]}\n{entries}'
    return ctypes.CDLL(str(_built(_place(directory, text, ".cpp"), text, ".so", "-shared")))


@cache
def _header(directory: Path, text: str) -> Path:
    """Compile beforehand cuda_on_cpu.hpp and what follows: more than half of a network's time."""
    text = f"{HEADER.read_text(encoding='utf-8')}\n{text}"
    path = _place(directory, text, ".hpp")
    _built(path, text, ".hpp.gch", "-xc++-header")
    return path


def _place(directory: Path, text: str, suffix: str) -> Path:
    return directory / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}{suffix}"


def _built(path: Path, text: str, suffix: str, option: str) -> Path:
    """What g++ makes of a text; several processes may share a directory, and one of them does it.

    The result is there whole or not at all: a process may be killed as it compiles.
    """
    built, unfinished = path.with_suffix(suffix), path.with_suffix(".unfinished")
    with FileLock(path.with_suffix(".lock")):
        if not built.exists():
            path.write_text(text, encoding="utf-8")
            command = ["g++", "-std=c++17", "-O1", "-fPIC", "-Wall", "-Wno-unknown-pragmas"]
            # Multiplying and adding stay apart, as in NumPy.
            result = subprocess.run(
                [*command, "-ffp-contract=off", option, str(path), "-o", str(unfinished)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, result.stderr
            unfinished.replace(built)
    return built
