"""What tests/conftest.py, cuda_on_cpu.py and pyproject.toml promise of the tests themselves."""

import os
import re
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cuda_on_cpu import HostDriver, missing

ROOT = Path(__file__).parent.parent
OBSOLETE = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


@pytest.fixture
def suite():
    """pytest on one file of tests in a process of its own, to which no GPU shows."""

    def run(*arguments):
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]
        return subprocess.run(
            [*command, "tests/arrays/test_device.py", *arguments],
            cwd=ROOT,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.slow
def test_the_marker_chooses_what_needs_a_gpu(suite):
    """Five tests with CuPy's arrays, and the two of the class `TestCuda`."""
    chosen = suite("-m", "gpu")
    assert chosen.returncode == 0, chosen.stdout
    assert re.search(r"^7 skipped: cupy: ", chosen.stdout, re.M)
    assert re.search(r"^7 skipped, \d+ deselected", chosen.stdout, re.M)
    others = suite("-m", "not gpu")
    assert others.returncode == 0, others.stdout
    assert re.search(r"^\d+ passed.*, 7 deselected", others.stdout, re.M)
    assert " skipped: cupy: " not in others.stdout


def test_a_gpu_that_is_required_is_not_skipped(suite):
    done = suite("-m", "gpu", "--require-cuda")
    assert done.returncode == 1
    assert re.search(r"\d+ deselected, 7 errors", done.stdout)


@pytest.mark.parametrize("kind", OBSOLETE)
@pytest.mark.parametrize(
    "module",
    ["cupy", "cupy._core.core", "cupyx.linalg", "cupy_backends.cuda.api", "array_api_compat.cupy"],
)
def test_what_is_obsolete_in_cupy_fails_no_test(module, kind):
    warnings.warn_explicit("it is old", kind, "file.py", 1, module=module)


@pytest.mark.parametrize("kind", OBSOLETE)
def test_what_cupy_calls_obsolete_fails_no_test(kind):
    warnings.warn_explicit(
        "this use of CuPy is old", kind, "file.py", 1, module="xpnet.arrays.cuda"
    )


@pytest.mark.parametrize("kind", OBSOLETE)
@pytest.mark.parametrize("module", ["xpnet.arrays.cuda", "array_api_compat.numpy", "cupynumeric"])
def test_what_is_obsolete_elsewhere_fails(module, kind):
    with pytest.raises(kind):
        warnings.warn_explicit("it is old", kind, "file.py", 1, module=module)


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.5.0", reason="NumPy before 2.5 lets .shape be set"
)
def test_what_numpy_calls_obsolete_fails():
    with pytest.raises(DeprecationWarning, match="shape"):
        np.arange(6).shape = 2, 3


SOURCE = 'extern "C" __global__ void __launch_bounds__(1) one(float* y) { y[0] = 1.0f; }'


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_processes_that_share_a_directory_compile_once(tmp_path):
    """Each of them alone calls g++ twice: for the header, and for the kernels."""
    compiler = tmp_path / "g++"
    compiler.write_text(f'#!/bin/sh\necho >> {tmp_path}/calls\nPATH="${{PATH#*:}}" exec g++ "$@"\n')
    compiler.chmod(0o755)
    (tmp_path / "kernels").mkdir()
    code = (
        "import sys; from pathlib import Path; from cuda_on_cpu import HostDriver; "
        "HostDriver(Path(sys.argv[1])).compile(sys.argv[2])('one')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "kernels"), SOURCE]
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(subprocess.run, command, env=environment) for _ in range(3)]
    assert [run.result().returncode for run in runs] == [0, 0, 0]
    assert len((tmp_path / "calls").read_text().splitlines()) == 2


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_what_does_not_compile_leaves_nothing_behind(tmp_path):
    """Neither half a library, nor a lock that the next one waits for."""
    for _ in range(2):
        with pytest.raises(AssertionError, match="no_such_type"):
            HostDriver(tmp_path).compile("no_such_type x;")
    assert not list(tmp_path.glob("*.so"))
