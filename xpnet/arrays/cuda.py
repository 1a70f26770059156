"""NVIDIA GPUs through CuPy. Imported only when a GPU is asked for."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnet.arrays.device import Device
from xpnet.arrays.namespace import Array, array_namespace
from xpnet.errors import DeviceError, DeviceMemoryError
from xpnet.optional import install, installed

INSTALL = f"{install('cuda')} (CUDA 12 drivers) or {install('cuda13')} (CUDA 13)"


@dataclass(frozen=True)
class Diagnosis:
    """The state of CUDA on this machine; `problem` and `remedy` are empty when all is well."""

    package: str = "not installed"
    driver: str = "not found"
    devices: tuple[str, ...] = ()
    problem: str = ""
    remedy: str = ""

    @property
    def usable(self) -> bool:
        """True if CuPy, a driver and a GPU are there."""
        return not self.problem


def diagnose() -> Diagnosis:
    """Look for CuPy, the NVIDIA driver and the GPUs, in that order; never raises."""
    if not installed("cupy"):
        return Diagnosis(problem="CuPy is not installed", remedy=INSTALL)
    try:
        import cupy
    except Exception as error:  # a broken installation fails in many ways
        return Diagnosis(
            package="broken",
            problem=f"CuPy cannot be imported ({_short(error)})",
            remedy=f"reinstall it: {INSTALL}",
        )
    runtime = cupy.cuda.runtime
    package = f"{cupy.__version__} (built for CUDA {_dotted(runtime.runtimeGetVersion())})"
    try:
        driver = runtime.driverGetVersion()
    except runtime.CUDARuntimeError:
        driver = 0
    if not driver:
        return Diagnosis(
            package,
            problem="no NVIDIA driver was found",
            remedy='install the driver (`nvidia-smi` shows whether it works), or use device="cpu"',
        )
    found = f"CUDA {_dotted(driver)}"
    try:
        names = tuple(
            runtime.getDeviceProperties(i)["name"].decode() for i in range(runtime.getDeviceCount())
        )
    except runtime.CUDARuntimeError as error:
        return Diagnosis(
            package,
            found,
            problem=f"the driver shows no usable GPU ({_short(error)})",
            remedy="check `nvidia-smi`, CUDA_VISIBLE_DEVICES and that the driver is new enough",
        )
    if not names:
        return Diagnosis(
            package,
            found,
            problem="there is no GPU",
            remedy='check `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use device="cpu"',
        )
    return Diagnosis(package, found, names)


def open_device(index: int) -> "CudaDevice":
    """Make GPU number `index` the current one and check that it can compute.

    Raises
    ------
    DeviceError
        There is no such GPU, or CuPy, the driver or a CUDA library is missing.
    """
    found = diagnose()
    if not found.usable:
        raise DeviceError(f'device="cuda" cannot be used: {found.problem}; {found.remedy}')
    if index >= len(found.devices):
        raise DeviceError(
            f"cuda:{index} does not exist: {len(found.devices)} GPU(s) were found; "
            f"use cuda:0 to cuda:{len(found.devices) - 1}"
        )
    import cupy

    xp: Any = importlib.import_module("array_api_compat.cupy")
    cupy.cuda.Device(index).use()
    device = CudaDevice(f"cuda:{index}", xp, cupy.cuda.Device(index))
    try:
        with device.guarded():
            probe = xp.ones((2, 2), dtype=xp.float32)
            float(xp.sum(probe @ probe))
    except DeviceError:
        raise
    except Exception as error:  # a missing library can raise a type of its own
        raise DeviceError(
            f"cuda:{index} ({found.devices[index]}) cannot compute ({_short(error)}); "
            f"the CUDA libraries are probably missing: {INSTALL}"
        ) from error
    return device


def device_holding(x: Array) -> "CudaDevice":
    """Return the GPU of a CuPy array: since the array is there, nothing needs to be checked."""
    return CudaDevice(f"cuda:{x.device.id}", array_namespace(x), x.device)


def explained(error: Exception) -> DeviceError | None:
    """Tell what an error of CuPy or CUDA means for who caused it; None for any other error."""
    kind, text = type(error), _short(error)
    status = getattr(error, "status", None) if kind.__name__ in CUDA_ERRORS else None
    if status == OUT_OF_MEMORY or (isinstance(error, MemoryError) and "cupy" in kind.__module__):
        return DeviceMemoryError(
            f"the GPU's memory does not suffice ({text}){_memory()}; use a smaller batch, keep the "
            "data on the host (Trainer's resident=False), or end other processes on the GPU"
        )
    if status == BUSY:
        return DeviceError(
            f"the GPU is taken ({text}): another process has it for itself, or its compute mode "
            'forbids sharing; `nvidia-smi` shows both; wait, or choose another by device="cuda:N"'
        )
    if status is not None:
        return DeviceError(
            f"the GPU failed ({text}), and all that it held is lost; start the program again, and "
            "if that does not help look at `nvidia-smi` and for Xid in the kernel's log"
        )
    if "Failure finding" in text or "DynamicLib" in kind.__name__:
        return DeviceError(f"a CUDA library is missing ({text}): {INSTALL}")
    return None


CUDA_ERRORS = ("CUDARuntimeError", "CUDADriverError")
OUT_OF_MEMORY, BUSY = 2, 46
"""cudaErrorMemoryAllocation and cudaErrorDevicesUnavailable."""


def _memory() -> str:
    """Tell how full the GPU is, if it still says so."""
    import cupy

    try:
        free, total = cupy.cuda.runtime.memGetInfo()
        own = cupy.get_default_memory_pool().total_bytes()
    except Exception:  # the error at hand is the one to tell
        return ""
    others = max(0, total - free - own)
    amounts = (f"{number / 2**30:.1f} GiB" for number in (total, free, own, others))
    return ": of {} {} are free, {} this process's arrays, {} others'".format(*amounts)


class CudaDevice(Device):
    """An NVIDIA GPU, with CuPy's arrays."""

    @property
    def is_host(self) -> bool:
        """False: a GPU has memory of its own."""
        return False

    def __reduce__(self) -> tuple[Any, ...]:
        return open_device, (int(self.native.id),)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn CuPy's and CUDA's errors into `DeviceError` and `DeviceMemoryError`."""
        try:
            yield
        except Exception as error:
            told = explained(error)
            if told is None:
                raise
            raise told from error

    @property
    def compute_capability(self) -> tuple[int, int]:
        """The generation of the GPU, such as (9, 0) for Hopper."""
        digits = str(self.native.compute_capability)  # "90", "120"
        return int(digits[:-1]), int(digits[-1])

    def synchronize(self) -> None:
        """Wait until everything queued on the GPU is done."""
        self.native.synchronize()

    def free_bytes(self) -> int:
        """Count the free memory of the GPU, with what CuPy's pool holds ready."""
        import cupy

        return int(self.native.mem_info[0] + cupy.get_default_memory_pool().free_bytes())

    def describe(self) -> dict[str, str]:
        """Name, memory and versions of the GPU and its software."""
        found = diagnose()
        free, total = self.native.mem_info
        return super().describe() | {
            "gpu": found.devices[self.native.id],
            "gpu_memory": f"{total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free",
            "compute_capability": str(self.native.compute_capability),
            "cupy": found.package,
            "driver": found.driver,
        }

    def stream(self, batches: Iterator[tuple[np.ndarray, ...]]) -> Iterator[tuple[Array, ...]]:
        """Copy batches to the GPU while the one before is computed on.

        Two slots of page-locked host memory and device memory take turns. Three waits keep them
        safe: the host refills a slot only after its last copy ended; a copy starts only after the
        computation on its slot ended; and a computation starts only after its copy ended.
        """
        import cupy

        compute = cupy.cuda.get_current_stream()
        copying = cupy.cuda.Stream(non_blocking=True)
        slots = (_Slot(), _Slot())
        waiting: tuple[_Slot, tuple[Array, ...]] | None = None
        try:
            for number, batch in enumerate(batches):
                slot = slots[number % 2]
                copied = slot.send(batch, copying)
                if waiting is not None:
                    yield from _lend(*waiting, compute)
                waiting = slot, copied
            if waiting is not None:
                yield from _lend(*waiting, compute)
        finally:
            copying.synchronize()
            compute.synchronize()


@dataclass
class _Slot:
    """Host and device memory for one batch in flight."""

    host: list[np.ndarray] = field(default_factory=list)
    device: list[Array] = field(default_factory=list)
    copied: Any = None
    used: Any = None

    def send(self, batch: tuple[np.ndarray, ...], stream: Any) -> tuple[Array, ...]:
        """Start copying `batch`; a batch may be shorter than the first one."""
        import cupy
        import cupyx

        if not self.host:
            self.host = [cupyx.empty_pinned(part.shape, part.dtype) for part in batch]
            self.device = [cupy.empty(part.shape, part.dtype) for part in batch]
            self.copied, self.used = (cupy.cuda.Event(disable_timing=True) for _ in range(2))
            cupy.cuda.get_current_stream().synchronize()  # the memory may have had a former user
        else:
            self.copied.synchronize()
            stream.wait_event(self.used)
        parts = []
        for part, host, device in zip(batch, self.host, self.device, strict=True):
            n = len(part)
            host[:n] = part
            device[:n].set(host[:n], stream=stream)
            parts.append(device[:n])
        self.copied.record(stream)
        return tuple(parts)


def _lend(slot: _Slot, batch: tuple[Array, ...], compute: Any) -> Iterator[tuple[Array, ...]]:
    """Hand out a batch when its copy has ended, and note when the computation on it has."""
    compute.wait_event(slot.copied)
    yield batch
    slot.used.record(compute)


def _dotted(version: int) -> str:
    """Write CUDA's 13020 as 13.2."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
