"""Loops that numba compiles, and the choice of them."""

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


def test_an_engine_uses_compiled_loops_where_they_can_be_had_unless_told_otherwise(numba):
    assert get_engine(TwoLayerNet(4, 3, 2)).describe()["loops"] == f"numba {numba.__version__}"
    assert "loops" not in get_engine(TwoLayerNet(4, 3, 2), compiled=False).describe()


def test_compiled_loops_belong_to_the_engine_of_the_cpu(numba):
    with pytest.raises(ArgumentError, match="compiled=True needs the CPU's engine"):
        get_engine(TwoLayerNet(4, 3, 2), "reference", compiled=True)
