"""Devices: what is asked for happens or is refused."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

import xpnet
from xpnet.arrays import Device, array_namespace, cuda, device_of, get_device, to_numpy
from xpnet.errors import ArgumentError, DeviceError, DeviceMemoryError


def test_values_survive_the_way_to_a_device_and_back(device):
    for values in (
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.asarray([0.1, np.inf]),
        np.eye(2),
    ):
        there = device.asarray(values)
        assert array_namespace(there) is device.xp
        back = to_numpy(there)
        np.testing.assert_array_equal(back, values)
        assert back.dtype == values.dtype


def test_asarray_converts_and_otherwise_passes_through(device):
    x = device.asarray([1.0, 2.0], dtype="float32")
    assert x.dtype == device.xp.float32
    assert device.asarray(x) is x
    assert device.asarray(x, dtype="float64").dtype == device.xp.float64


def test_read_only_data_are_taken(device):
    x = np.ones(3)
    x.flags.writeable = False
    np.testing.assert_array_equal(to_numpy(device.asarray(x)), x)


def test_device_of_finds_the_device(device):
    assert device_of(device.asarray([1.0])).native == device.native


def test_arrays_of_another_library_are_refused():
    strict = pytest.importorskip("array_api_strict", reason="array_api_strict is not installed")
    with pytest.raises(ArgumentError, match=r"bring it to the host with xpnet\.to_numpy first"):
        get_device("cpu").asarray(strict.asarray([1.0]))
    other = Device("device1", strict, strict.Device("device1"))
    with pytest.raises(ArgumentError, match="device1"):
        other.asarray(strict.asarray([1.0]))


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", ""])
def test_unknown_devices_are_refused(name):
    with pytest.raises(ArgumentError, match="use cpu, cuda, cuda:N or auto"):
        get_device(name)


def test_no_array_is_told():
    with pytest.raises(ArgumentError, match="an array is needed, got str"):
        array_namespace("text")


PROBLEMS = {
    "package": (
        cuda.Diagnosis(problem="CuPy is not installed", remedy=cuda.INSTALL),
        "pip install",
    ),
    "driver": (
        cuda.Diagnosis("14", problem="no NVIDIA driver was found", remedy="install"),
        "driver",
    ),
}


@pytest.mark.parametrize(("found", "text"), PROBLEMS.values(), ids=PROBLEMS)
def test_cuda_is_refused_and_auto_takes_the_cpu_without_a_gpu(monkeypatch, found, text):
    monkeypatch.setattr(cuda, "diagnose", lambda: found)
    with pytest.raises(DeviceError, match=text):
        get_device("cuda")
    assert get_device("auto").name == "cpu"


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    found = cuda.Diagnosis("14", "CUDA 13.0", ("NVIDIA H200",))
    monkeypatch.setattr(cuda, "diagnose", lambda: found)
    with pytest.raises(DeviceError, match=r"cuda:3 does not exist: 1 GPU\(s\) were found"):
        get_device("cuda:3")


def test_a_remedy_is_one_of_python(monkeypatch):
    monkeypatch.setattr(cuda, "diagnose", lambda: cuda.Diagnosis("14", problem="there is no GPU"))
    with pytest.raises(DeviceError, match=r'^device="cuda" cannot be used: there is no GPU; '):
        get_device("cuda")


def cuda_error(status):
    cupy = pytest.importorskip("cupy", reason="cupy is not installed")
    return cupy.cuda.runtime.CUDARuntimeError(status)


def out_of_memory():
    cupy = pytest.importorskip("cupy", reason="cupy is not installed")
    return cupy.cuda.memory.OutOfMemoryError(1000, 5000, 0)


@pytest.mark.parametrize(
    ("error", "kind", "texts"),
    [
        (out_of_memory, DeviceMemoryError, ["1,000 bytes", "smaller batch", "resident=False"]),
        (
            lambda: cuda_error(2),
            DeviceMemoryError,
            ["cudaErrorMemoryAllocation", "other processes"],
        ),
        (lambda: cuda_error(46), DeviceError, ["the GPU is taken", 'device="cuda:N"']),
        (
            lambda: cuda_error(700),
            DeviceError,
            ["cudaErrorIllegalAddress", "start the program again"],
        ),
        (lambda: ImportError('Failure finding "libnvrtc.so.12"'), DeviceError, ["libnvrtc", "pip"]),
    ],
)
def test_errors_of_a_gpu_say_what_to_do(error, kind, texts):
    with pytest.raises(kind) as told, cuda.CudaDevice("cuda:0", None).guarded():
        raise error()
    assert type(told.value) is kind
    assert all(text in str(told.value) for text in texts)
    assert isinstance(told.value, MemoryError) == (kind is DeviceMemoryError)


def test_other_errors_stay_as_they_are():
    with pytest.raises(ZeroDivisionError), cuda.CudaDevice("cuda:0", None).guarded():
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), get_device("cpu").guarded():
        raise ZeroDivisionError


def test_diagnosis_without_cupy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cuda.diagnose() == cuda.Diagnosis(problem="CuPy is not installed", remedy=cuda.INSTALL)


def test_importing_xpnet_is_light():
    """Nothing but NumPy and array-api-compat is loaded, and above all not CuPy."""
    code = "import sys, xpnet; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    packages = {name.partition(".")[0] for name in loaded.stdout.split()}
    unwanted = {"cupy", "torch", "matplotlib", "click", "pooch", "tqdm", "PIL", "safetensors"}
    assert not packages & unwanted


def test_public_names_exist():
    for name in xpnet.__all__:
        assert getattr(xpnet, name) is not None


def test_a_device_is_shown_by_its_name():
    assert repr(get_device("cpu")) == "<Device cpu>"
    assert repr(cuda.CudaDevice("cuda:1", None)) == "<CudaDevice cuda:1>"


def test_only_memory_of_its_own_is_counted():
    host = get_device("cpu")
    assert host.is_host
    assert not cuda.CudaDevice("cuda:0", None).is_host
    with pytest.raises(DeviceError) as told:
        host.free_bytes()
    assert str(told.value) == "cpu uses the host's memory, of which only the system can tell"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
@pytest.mark.parametrize("settings", [{}, {"MALLOC_MMAP_THRESHOLD_": "65536"}])
def test_freed_memory_is_used_again_unless_the_user_has_chosen(settings):
    """By the page faults of a second large array; glibc itself learns from the first."""
    code = (
        "import resource; import numpy as np; from xpnet import get_device; get_device('cpu')\n"
        "np.ones(20 * 2**20, np.uint8)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "np.ones(20 * 2**20, np.uint8)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | settings | {"NUMPY_MADVISE_HUGEPAGE": "0"},  # by which there are fewer faults
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (int(done.stdout) < 20) == (not settings)


class TestCuda:
    """What only a GPU can show."""

    def test_it_describes_itself(self, gpu):
        described = gpu.describe()
        assert described["gpu"]
        assert "GiB" in described["gpu_memory"]
        assert gpu.free_bytes() > 0

    def test_streamed_batches_arrive_whole_and_in_order(self, gpu):
        """With work on every batch, so that copies and computations overlap."""
        rng = np.random.default_rng(0)
        batches = [(rng.standard_normal((n, 500)), np.full(n, n)) for n in [300] * 20 + [7]]
        sums = []
        for x, t in gpu.stream(iter(batches)):
            product = x @ (x.T @ x)
            sums.append((product, t + 0, x + 0))
        for (x, t), (product, got_t, got_x) in zip(batches, sums, strict=True):
            np.testing.assert_array_equal(to_numpy(got_x), x)
            np.testing.assert_array_equal(to_numpy(got_t), t)
            np.testing.assert_allclose(to_numpy(product), x @ (x.T @ x), rtol=1e-9)


class Unhashable:
    """As CuPy's own device: equal to others of its number, and without a hash."""

    __hash__ = None

    def __eq__(self, other):
        return isinstance(other, Unhashable)


def test_devices_are_keys(device):
    one, other = (Device("cuda:0", device.xp, Unhashable()) for _ in range(2))
    assert {one: 1}[other] == 1
    assert {device: 1}[device] == 1


@pytest.mark.parametrize(
    ("name", "kind"), [("cpu", "cpu"), ("cuda:3", "cuda"), ("torch on cpu", "torch on cpu")]
)
def test_the_kind_of_a_device(name, kind):
    assert Device(name, None).kind == kind
