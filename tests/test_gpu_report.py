"""The report on a GPU, with its kernels on the CPU and a clock of the host."""

import importlib
import json
import time
from pathlib import Path

import numpy as np
import pytest

from xpnet.engine.cuda.stages import Tile

SCRIPTS = Path(__file__).parent.parent / "scripts"


def clock(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


@pytest.fixture
def gpu_report(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("gpu_report")


@pytest.fixture
def small(gpu_report, monkeypatch, stand_in):
    monkeypatch.setattr(gpu_report, "gpu_clock", clock)
    monkeypatch.setattr(gpu_report, "REPEATS", 2)
    monkeypatch.setattr(gpu_report, "EPOCH", 40)
    monkeypatch.setattr(gpu_report, "CudaEngine", stand_in.engine)
    return gpu_report, stand_in.device


def test_every_launch_of_a_step_is_timed(small):
    gpu_report, device = small
    found = gpu_report.kernels("two-layer-net", 10, device)
    assert list(found["kernels"]) == [
        "gather", "stage1_forward", "stage2_forward", "loss_of_labels", "stage2_gradient",
        "stage2_backward", "stage1_gradient", "update", "finish_step",
    ]  # fmt: skip
    assert found["step"] > 0
    assert found["sum"] == pytest.approx(sum(found["kernels"].values()))


def test_every_product_is_tried_with_every_tile(small, monkeypatch):
    gpu_report, device = small
    monkeypatch.setattr(gpu_report, "TILES", (Tile(16, 32, 16, 4, 1),))
    found = gpu_report.tiles("two-layer-net", 10, "float32", device)
    names = {"stage1_forward", "stage1_gradient", "stage2_forward", "stage2_gradient"}
    assert set(found["kernels"]) == names | {"stage2_backward"}
    tried = {"as chosen", "Tile(rows=16, columns=32, depth=16, own_rows=4, own_columns=1)"}
    assert all(set(times) == tried for times in found["kernels"].values())


def test_tiles_to_be_tried_fit(gpu_report):
    for tile in gpu_report.TILES:
        assert 4 * tile.depth * (tile.rows + tile.columns + 16) <= 48 * 1024
        assert tile.threads % 32 == 0
        assert tile.columns % (tile.threads // 4) == 0


def test_what_fails_or_lacks_time_is_told_and_the_rest_goes_on(gpu_report, tmp_path):
    report = gpu_report.Report(tmp_path, minutes=1)
    report.add("good", 0, lambda: {"rate": 2})
    report.add("bad", 0, lambda: np.zeros(3)[5])
    report.add("long", 5, dict)
    report.add("tests", 0, lambda: {"passed": True})
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["good"] == {"rate": 2}
    assert "out of bounds" in record["bad"]["failed"][-1]
    assert record["long"]["left_out"].startswith("it needs 5 min, 1.0 are left")
    assert not report.complete
    assert all(f"## {name}" in (tmp_path / "README.md").read_text() for name in ("good", "bad"))


def test_a_report_is_complete_when_all_is_well(gpu_report, tmp_path):
    report = gpu_report.Report(tmp_path, minutes=1)
    kernels = {"step": 9.0, "sum": 8.0, "kernels": {"gather": 2.0}}
    tiles = {"kernels": {"stage1_forward": {"as chosen": 3.0, "other": 2.0}}}
    report.add("kernels of a network", 0, lambda: kernels)
    report.add("tiles of a network", 0, lambda: tiles)
    report.add("tests", 0, lambda: {"passed": True})
    assert report.complete
    page = (tmp_path / "README.md").read_text()
    assert "A step takes 9.0 us; its launches one by one 8.0." in page
    assert "- stage1_forward: 3.00 us as chosen; at best 2.00 with other" in page
    report.add("tests", 0, lambda: {"passed": False})
    assert not report.complete
