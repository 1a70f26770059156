"""Fixtures: every array library in turn, and the real data where they are."""

import os
import signal

# Before NumPy is imported, here and in the processes that tests start: on a busy machine the
# threads of these small products wait for each other many times longer than they compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import cuda_on_cpu
from xpnet.arrays import Device, get_device
from xpnet.engine.cuda import CudaEngine
from xpnet.engine.cuda.driver import CupyDriver, Driver
from xpnet.models.network import Network

# What runs behind a shell's "&" begins with Ctrl-C ignored; tests of Ctrl-C need Python's own way.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The processes that tests start find xpnet and the tests' modules from any directory, and where
# nothing is installed.
HERE = Path(__file__).parent
_PLACES = [HERE.parent, HERE, *sorted(place for place in HERE.iterdir() if place.is_dir())]
_GIVEN = os.environ.get("PYTHONPATH")
os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, _PLACES), *([_GIVEN] if _GIVEN else [])])

DATA_VARIABLE, DATA_DEFAULT = "XPNET_TEST_DATA", "../shared/data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-cuda",
        action="store_true",
        help="fail, rather than skip, where CuPy or a GPU is missing",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once for each reason what was skipped."""
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason.removeprefix('Skipped: ')}")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a GPU: the tests of CuPy, and those that ask for the fixture `gpu`."""
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        chosen = {params.get(fixture) for fixture in ("device", "accelerator")}
        if "cupy" in chosen or "gpu" in getattr(item, "fixturenames", ()):
            item.add_marker("gpu")


@pytest.fixture(scope="session", autouse=True)
def _cores() -> Iterator[None]:
    """Let no test depend on how many cores there are: what is divided among threads is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xpnet.engine.threads.available_cores", lambda: 64)
        yield


def is_worker(config: pytest.Config) -> bool:
    """Whether this is one of several processes in which pytest-xdist runs the tests."""
    return hasattr(config, "workerinput")


def open_library(name: str, config: pytest.Config) -> Device:
    """The device of an array library; a skip that says why where it cannot run."""
    if name == "numpy":
        return get_device("cpu")
    if name == "cupy":
        from xpnet.arrays import cuda

        found = cuda.diagnose()
        if not found.usable and not config.getoption("--require-cuda"):
            pytest.skip(f"cupy: {found.problem}")
        return get_device("cuda")
    module = pytest.importorskip(name, reason=f"{name} is not installed")
    if name == "torch":
        import array_api_compat.torch as xp

        module.set_num_threads(1)  # its threads wait for each other where cores are few
        return Device("torch on cpu", xp, module.device("cpu"))
    return Device("array_api_strict on device1", module, module.Device("device1"))


@pytest.fixture(params=["numpy", "array_api_strict", "torch", "cupy"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """Each array library in turn.

    array-api-strict runs on a device that is not the host and without data-dependent shapes: what
    passes there neither reads values back in the middle of a computation nor leaves the standard.
    """
    opened = open_library(request.param, request.config)
    if request.param != "array_api_strict":
        yield opened
        return
    with opened.xp.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False):
        yield opened


@pytest.fixture(scope="session")
def gpu(pytestconfig: pytest.Config) -> Device:
    """A GPU."""
    return open_library("cupy", pytestconfig)


@pytest.fixture
def xp(device: Device) -> Any:
    """The namespace of `device`."""
    return device.xp


@pytest.fixture
def strict_device(pytestconfig: pytest.Config) -> Device:
    """array-api-strict's device that is not the host."""
    return open_library("array_api_strict", pytestconfig)


@pytest.fixture
def unread(
    strict_device: Device, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], AbstractContextManager[None]]:
    """A context in which it is an error to read a value of `strict_device` back to the host.

    What runs there could be recorded once and replayed on a GPU.
    """

    def refused(*_: object) -> None:
        raise AssertionError("a value was read back from the device")

    @contextmanager
    def context() -> Iterator[None]:
        kind = type(strict_device.asarray([1.0]))
        flags = {"boolean_indexing": False, "data_dependent_shapes": False}
        with monkeypatch.context() as patch, strict_device.xp.ArrayAPIStrictFlags(**flags):
            patch.setattr(type(strict_device), "is_host", False)
            for name in ("float", "int", "bool", "complex", "index", "dlpack", "array"):
                patch.setattr(kind, f"__{name}__", refused, raising=False)
            yield

    return context


@dataclass(frozen=True)
class Accelerator:
    """Where the kernels of the GPU's engine run, and what runs them."""

    device: Device
    driver: Callable[..., Driver]

    @property
    def is_gpu(self) -> bool:
        """Whether there is no reason to keep a test small."""
        return self.device.name != "cpu"

    def engine(
        self, network: Network, *, driver: Driver | None = None, **options: Any
    ) -> CudaEngine:
        """A network of the device, compiled."""
        return CudaEngine(network, driver=driver or self.driver(), **options)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Accelerator:
    """The CPU, which runs the GPU's kernels compiled by g++."""
    if (problem := cuda_on_cpu.missing()) is not None:
        pytest.skip(problem)
    base = tmp_path_factory.getbasetemp()
    # One for all workers: what one has compiled, the others need not.
    directory = (base.parent if is_worker(pytestconfig) else base) / "kernels"
    directory.mkdir(exist_ok=True)
    return Accelerator(get_device("cpu"), partial(cuda_on_cpu.HostDriver, directory))


@pytest.fixture(scope="session", params=["g++", "cupy"])
def accelerator(request: pytest.FixtureRequest) -> Accelerator:
    """The stand-in for a GPU, and a GPU."""
    if request.param == "cupy":
        return Accelerator(open_library("cupy", request.config), CupyDriver)
    found: Accelerator = request.getfixturevalue("stand_in")
    return found


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The directory of the four MNIST files."""
    directory = Path(os.environ.get(DATA_VARIABLE, DATA_DEFAULT)) / "mnist"
    if not directory.is_dir():
        pytest.skip(f"real MNIST: {directory} is not there; set {DATA_VARIABLE} to its parent")
    return directory
