"""The machine: what it is, what it can do at best, and who else is using it."""

import operator
import os
import platform
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from xpnet.arrays import Device, get_device, versions
from xpnet.engine.threads import blas_library

TRIES, REPEATS = 10, 5
"""The best of so many is taken for what the machine can do; more often if others are busy."""

DISTURBED = 0.1
"""Share of one core that other processes may use while something is timed."""
TICK = 0.01
"""Seconds in which the system counts processor time; two of them are nobody's fault."""
SETTLE = 0.5
"""Seconds until what was disturbed is tried again."""

SPEED = (
    "MALLOC_", "OMP_", "OPENBLAS_", "MKL_", "GOMP_", "KMP_BLOCK", "KMP_AFF", "NUMPY_",
    "CUPY_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_TF32", "PYTORCH_", "TORCH", "JAX_", "XLA_",
)  # fmt: skip
"""Beginnings of environment variables that change speed."""

MiB = 2**20
GPU_COPY, GPU_SIDE = 512 * MiB, 4096
"""Bytes copied, and rows of the matrices multiplied, to tell what a GPU can do."""


def description(device: Device | None = None) -> dict[str, object]:
    """Describe hardware, system and versions, and variables of the environment that change speed.

    Parameters
    ----------
    device : what is timed; the CPU if None
    """
    found = versions()
    for package in ("torch", "jax"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    library = {"libc": " ".join(platform.libc_ver())} if platform.libc_ver()[0] else {}
    told = (get_device("cpu") if device is None else device).describe()
    return {
        "machine": told.pop("processor"),
        **({"gpu": told} if told else {}),
        "system": platform.platform(),
        **library,
        "versions": {**found, "blas": blas_library()["blas"]},
        "environment": {k: v for k, v in os.environ.items() if k.startswith(SPEED)},
    }


def listed_versions(record: Mapping[str, Any]) -> str:
    """Write the versions of a record in a line."""
    return ", ".join(f"{name} {version}" for name, version in record["versions"].items())


def heading(title: str, script: str, record: Mapping[str, Any]) -> list[str]:
    """The first lines of a page: its title, what made it, where, and with which versions.

    Parameters
    ----------
    record : what `description` gives, with more in it
    """
    return [
        f"# {title}",
        "",
        f"By `python scripts/{script}` on {record['machine']}, {record['system']}:",
        f"{listed_versions(record)}.",
        "",
    ]


def rates(device: Device, threads: int) -> dict[str, dict[str, float]]:
    """Measure what no step can exceed: of the CPU with one thread and with `threads`, or of a GPU.

    Products of float32 matrices, in GFLOP/s, and copies, in GB read and written a second, by the
    number of threads or by the name of the GPU.
    """
    if device.name != "cpu":
        return {
            "sgemm_gflops": {device.name: gpu_sgemm_rate(device)},
            "copy_gigabytes": {device.name: gpu_copy_rate(device)},
        }
    return {
        "sgemm_gflops": {str(n): sgemm_rate(n) for n in sorted({1, threads})},
        "copy_gigabytes": {str(n): copy_rate(n) for n in sorted({1, threads})},
    }


def gpu_sgemm_rate(device: Device) -> float:
    """Measure the GFLOP/s of a product of two square matrices of float32."""
    # Of random numbers: a GPU multiplies zeros and ones at a higher clock.
    a = device.asarray(np.random.default_rng(0).random((GPU_SIDE, GPU_SIDE), np.float32))
    product = partial(operator.matmul, a, a)
    return 2 * GPU_SIDE**3 / _best(product, device.synchronize) / 1e9


def gpu_copy_rate(device: Device) -> float:
    """Measure the GB/s of a copy beyond the caches, reading and writing counted both."""
    a, out = (device.zeros(GPU_COPY, dtype="uint8") for _ in range(2))
    copy = partial(operator.setitem, out, ..., a)
    return 2 * GPU_COPY / _best(copy, device.synchronize) / 1e9


def sgemm_rate(threads: int, size: int = 1024) -> float:
    """Measure the GFLOP/s of a product of two square matrices of float32."""
    a = np.ones((size, size), np.float32)
    out = np.empty_like(a)
    with threadpool_limits(threads, user_api="blas"):
        return 2 * size**3 / _best(lambda: np.matmul(a, a, out=out)) / 1e9


def copy_rate(threads: int) -> float:
    """Measure the GB/s of a copy of 64 MiB, beyond the caches, reading and writing counted both."""
    a, out = np.ones(64 * MiB, np.uint8), np.zeros(64 * MiB, np.uint8)
    parts = np.array_split(out, threads), np.array_split(a, threads)
    with ThreadPoolExecutor(threads) as pool:
        return 2 * a.nbytes / _best(lambda: list(pool.map(np.copyto, *parts))) / 1e9


def _best(work: Callable[[], object], finish: Callable[[], object] = lambda: None) -> float:
    """Seconds of the fastest try, `finish` included; the first one wakes threads up."""
    work()
    finish()
    times = []
    for _ in range(REPEATS):
        watch = Watch()
        for _ in range(TRIES):
            begin = time.perf_counter()
            work()
            finish()
            times.append(time.perf_counter() - begin)
        if not watch.disturbed():
            break
        time.sleep(SETTLE)
    return min(times)


class Watch:
    """Begins to look at other processes; `disturbed` tells whether they have been busy since.

    None where the system does not tell. It has to be the process that is timed.
    """

    def __init__(self) -> None:
        self._busy, self._own, self._begin = self._clocks()

    def _clocks(self) -> tuple[float | None, float, float]:
        return busy_seconds(), time.process_time(), time.perf_counter()

    def disturbed(self) -> bool | None:
        """Tell if they had more than their share of a core."""
        busy, own, end = self._clocks()
        if busy is None or self._busy is None:
            return None
        others = (busy - self._busy) - (own - self._own)
        return others > DISTURBED * (end - self._begin) + 2 * TICK


def busy_seconds() -> float | None:
    """Read the processor time that all processes, and other guests of the host, have had so far.

    None where the system does not tell.
    """
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return None
    user, nice, system, _, _, *rest = map(int, line.split()[1:])  # between: idle, waiting
    return (user + nice + system + sum(rest[:3])) / os.sysconf("SC_CLK_TCK")


def memory() -> dict[str, int | None]:
    """Read the MiB that this process has in memory, and the most it ever had; None if not told."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    found = dict(line.split(":", 1) for line in lines)
    return {
        name: int(found[key].split()[0]) // 1024 if key in found else None
        for name, key in (("now", "VmRSS"), ("peak", "VmHWM"))
    }


def page_faults() -> int | None:
    """Count the pages of memory that this process had to be given; None where nobody counts."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
