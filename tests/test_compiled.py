"""Loops that numba compiles, and the choice of them."""

import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from xpnet import compiled
from xpnet.engine import get_engine
from xpnet.engine.cpu import CpuEngine
from xpnet.errors import ArgumentError
from xpnet.models import TwoLayerNet


@pytest.fixture
def numba():
    return pytest.importorskip("numba", reason="numba is not installed")


@pytest.fixture
def without_numba(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    compiled.usable.cache_clear()
    yield
    compiled.usable.cache_clear()


def test_a_loop_is_compiled_for_the_types_that_it_is_called_with(numba):
    @compiled.loop
    def scaled(x, factor):
        for k in range(len(x)):
            x[k] *= factor

    for dtype in (np.float32, np.float64):
        x = np.arange(3, dtype=dtype)
        scaled(x, 2)
        assert x.tolist() == [0, 2, 4]
    assert len(scaled.signatures) == 2


def test_without_numba_numpy_computes(without_numba):
    engine = get_engine(TwoLayerNet(4, 3, 2), "cpu")
    assert isinstance(engine, CpuEngine)
    assert not engine.compiled
    assert "loops" not in engine.describe()


def test_numba_that_is_asked_for_and_missing_is_an_error(without_numba):
    with pytest.raises(ArgumentError, match=r"compiled=True needs numba.*xpnet\[fast\]"):
        get_engine(TwoLayerNet(4, 3, 2), "cpu", compiled=True)


def test_numba_that_may_not_compile_is_not_used(numba, monkeypatch):
    """Its loops would run in Python, and what has no form there fails."""
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    compiled.usable.cache_clear()
    try:
        assert not get_engine(TwoLayerNet(4, 3, 2), "cpu").compiled
        with pytest.raises(ArgumentError, match="needs numba: NUMBA_DISABLE_JIT"):
            get_engine(TwoLayerNet(4, 3, 2), "cpu", compiled=True)
    finally:
        compiled.usable.cache_clear()


@pytest.mark.parametrize("error", [ImportError("NumPy is too new"), OSError("no library")])
def test_numba_that_cannot_be_imported_is_not_used(numba, monkeypatch, tmp_path, error):
    broken = tmp_path / "numba"
    broken.mkdir()
    (broken / "__init__.py").write_text(f"raise {error!r}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "numba")
    monkeypatch.setattr(compiled, "installed", lambda name: True)
    assert compiled.obstacle() == f"numba cannot be imported: {error}"


def test_what_was_compiled_is_forgotten_when_a_loop_that_it_calls_has_changed(
    numba, monkeypatch, tmp_path
):
    """Also if that is in another module: what is kept has it within."""
    monkeypatch.syspath_prepend(tmp_path)
    outer = "from xpnet.compiled import loop\nfrom inner_loop import inner\n"
    (tmp_path / "outer_loop.py").write_text(f"{outer}@loop\ndef outer(): return inner()\n")
    for number in (1, 2):
        inner = f"from xpnet.compiled import loop\n@loop\ndef inner(): return {number}\n"
        (tmp_path / "inner_loop.py").write_text(inner)
        compiled._stamp.cache_clear()
        for name in ("inner_loop", "outer_loop"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        assert import_module("outer_loop").outer() == number
    assert list(tmp_path.glob("**/*.nbi"))


def test_xpnet_is_imported_without_numba(numba):
    """Which takes longer than all else."""
    told = "import sys, xpnet.engine.cpu, xpnet.optim; print('numba' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_an_engine_uses_compiled_loops_where_they_can_be_had_unless_told_otherwise(numba):
    assert get_engine(TwoLayerNet(4, 3, 2)).describe()["loops"] == f"numba {numba.__version__}"
    assert "loops" not in get_engine(TwoLayerNet(4, 3, 2), compiled=False).describe()


def test_compiled_loops_belong_to_the_engine_of_the_cpu(numba):
    with pytest.raises(ArgumentError, match="compiled=True needs the CPU's engine"):
        get_engine(TwoLayerNet(4, 3, 2), "reference", compiled=True)
