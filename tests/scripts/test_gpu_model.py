"""The model of a GPU's time; what a compiler would say is made up here."""

import importlib
import re
from pathlib import Path

import pytest

from xpnet.errors import XPNetError

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def model(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("_gpu_model")


def said(text, cache):
    """Of each kernel in a source: 40 registers, and a loop of eight multiplications."""
    names = re.findall(r"__global__ void __launch_bounds__\([\d, ]+\) (\w+)\(", text)
    told = "".join(
        f"ptxas info : Compiling entry function '{name}' for 'sm_90'\n"
        "    0 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads\n"
        "ptxas info : Used 40 registers, used 1 barriers, 5632 bytes smem\n"
        for name in names
    )
    loop = "\n".join(["$L_1:", *["fma.rn.f32 %f1;"] * 8, "ld.shared.f32 %f2;", "@%p1 bra $L_1;"])
    return told, "".join(f".visible .entry {name}(\n{loop}\n" for name in names)


def test_every_launch_has_what_the_compiler_says_and_a_time(model, monkeypatch, tmp_path):
    monkeypatch.setattr(model, "compiled", said)
    rows = model.rows_of("two-layer-net", tmp_path)
    assert [row.kernel for row in rows][:2] == ["gather", "op1_forward"]
    assert {(row.registers, row.spills, row.shared) for row in rows} == {(40, 12, 5632)}
    (forward,) = (row for row in rows if row.kernel == "op1_forward")
    assert forward.flops == 2 * 100 * 784 * 50
    assert all(row.time > model.LAUNCH and row.time >= row.ideal for row in rows)
    alone = sum(row.time for row in rows)
    assert sum(row.time for row in rows if not row.aside) <= model.critical(rows) < alone
    page = importlib.import_module("gpu_model").page({"two-layer-net": rows})
    assert "Modelled, not measured" in page
    assert page.count("| op1_forward |") == 1


@pytest.mark.parametrize(
    ("block", "registers", "shared", "blocks"),
    [(128, 167, 0, 3), (128, 128, 0, 4), (256, 32, 1024, 8), (64, 40, 48 * 1024, 4)],
)
def test_a_multiprocessor_has_room_for_so_many_blocks(model, block, registers, shared, blocks):
    assert model.occupancy(block, registers, shared) == blocks


def test_without_a_compiler_it_says_so(model, monkeypatch, capsys):
    script = importlib.import_module("gpu_model")
    monkeypatch.setattr(script.shutil, "which", lambda name: None)
    with pytest.raises(XPNetError, match="nvcc is not installed"):
        script.answer(None)
