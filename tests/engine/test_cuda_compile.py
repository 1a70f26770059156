"""The GPU's kernels are what NVIDIA's compilers take; these need no GPU."""

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest

from test_cuda_join import net_of as branching_net_of
from test_cuda_memory import branching, uncommon
from test_engine import NETS
from xpnet import (
    BinaryConvNet,
    DeepConvNet,
    SimpleConvNet,
    TwoLayerNet,
    get_device,
)
from xpnet.engine.cuda import CudaEngine
from xpnet.engine.cuda.kernel import Way
from xpnet.optim import OPTIMIZERS


class Collector:
    """A driver that runs nothing."""

    def __init__(self):
        self.sources = []

    def compile(self, source):
        self.sources.append(source)
        return lambda name: None


def passes(network, precision=None):
    collector = Collector()
    CudaEngine(network, driver=collector, precision=precision)
    return collector.sources


def steps(name, dtype, clip_norm):
    collector, net = Collector(), NETS["simple-convnet"](dtype=dtype)
    x, t = np.zeros((5, 1, 12, 12), np.uint8), np.zeros(5, np.uint8)
    engine = CudaEngine(net, driver=collector)
    engine.steps(x, t, 5, OPTIMIZERS[name](), clip_norm=clip_norm)
    return collector.sources[1:]


def books(**options):
    return [TwoLayerNet(784, 50, 10, rng=0, **options), SimpleConvNet(rng=0, **options)]


def of_books():
    """At full size."""
    return [source for net in (*books(), DeepConvNet(rng=0)) for source in passes(net)]


def of_every_optimizer():
    kinds = [(dtype, clip) for dtype in ("float32", "float64") for clip in (None, 1.0)]
    return [
        source
        for number, name in enumerate(OPTIMIZERS)
        for dtype, clip in (kinds[number % 4], kinds[3 - number % 4])
        for source in steps(name, dtype, clip)
    ]


def of_tensor_cores():
    return [source for p in ("tf32", "bfloat16") for net in books() for source in passes(net, p)]


def of_every_layer():
    names = {
        "multi-layer-net with dropout and batch norm": "float32",
        "pools without ReLU": "float64",
        "a network in a network": "float64",
        "regression": "float32",
        "batch norm of images": "float32",
    }
    found = [source for name, dtype in names.items() for source in passes(NETS[name](dtype=dtype))]
    nets = uncommon(get_device("cpu")), BinaryConvNet(input_shape=(1, 12, 12), rng=0)
    return found + [source for net in nets for source in passes(net)]


def of_branches():
    """Every way back, too."""
    nets = [branching(get_device("cpu")), branching_net_of("rows")]
    found = []
    for number, net in enumerate(nets):
        collector = Collector()
        engine = CudaEngine(net, driver=collector)
        engine.way_back(Way(number > 0, True, number > 0, False))
        found += collector.sources
    return found


def compiled(sources, architecture, directory):
    """What nvcc says of them all at once: each in a namespace, since their kernels share names."""
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed")
    inner = (source.replace('extern "C" ', "") for source in sources)
    text = "".join(f"namespace n{number} {{\n{source}}}\n" for number, source in enumerate(inner))
    path = directory / "kernels.cu"
    path.write_text(text, encoding="utf-8")
    command = ["nvcc", "-std=c++17", "-cubin", f"-arch={architecture}", "-Xptxas", "-v"]
    command += ["-Werror", "all-warnings", "-diag-suppress", "177"]  # unused constants
    result = subprocess.run(
        [*command, str(path), "-o", str(path.with_suffix(".cubin"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sources", "architecture"),
    [
        (of_tensor_cores, "sm_80"),
        (of_every_optimizer, "sm_90"),
        (of_every_layer, "sm_75"),
        (of_branches, "sm_90"),
    ],
)
def test_nvcc_has_nothing_to_say(sources, architecture, tmp_path):
    compiled(sources(), architecture, tmp_path)


@pytest.mark.slow
def test_numbers_of_a_thread_stay_in_its_registers(tmp_path):
    """Those of the books' networks in float32; and shared memory is what any GPU has."""
    said = compiled(of_books(), "sm_90", tmp_path)
    spilled = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said)
    assert len(spilled) > 40
    assert set(spilled) == {("0", "0")}
    assert max(map(int, re.findall(r"(\d+) bytes smem", said))) <= 48 * 1024


OF_CUPY = ("-std=c++17", "-ftz=true", "-arch=sm_90", "--device-as-default-execution-space")
"""Options that CuPy 14 gives NVRTC, for an H100 or H200."""


def test_nvrtc_compiles_them():
    """As CuPy does on a GPU."""
    pathfinder = pytest.importorskip("cuda.pathfinder", reason="cuda-pathfinder is not installed")
    try:
        library = ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("nvrtc").abs_path)
    except pathfinder.DynamicLibNotFoundError:
        pytest.skip("NVRTC is not installed")
    options = [option.encode() for option in (*OF_CUPY, "-diag-suppress=177")]  # unused constants
    given = (ctypes.c_char_p * len(options))(*options)
    sources = passes(SimpleConvNet(rng=0)) + passes(SimpleConvNet(rng=0), "tf32")
    for source in sources + steps("adam", "float32", 1.0):
        program = ctypes.c_void_p()
        library.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None
        )
        status = library.nvrtcCompileProgram(program, len(options), given)
        size = ctypes.c_size_t()
        library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        library.nvrtcGetProgramLog(program, log)
        library.nvrtcDestroyProgram(ctypes.byref(program))
        assert (status, log.value) == (0, b"")
