"""The experiments of The Mathematics of Deep Learning in full, on the book's images."""

import os
from argparse import Namespace
from pathlib import Path

import pytest

from conftest import DATA_DEFAULT, DATA_VARIABLE
from wakui_book import images_of_the_book
from xpnet import get_device
from xpnet.report.experiment import Lab

SCRIPTS = Path(__file__).parents[2] / "scripts"
DATA = os.environ.get(DATA_VARIABLE, DATA_DEFAULT)


def lab(tmp_path, **options):
    return Lab("trial", device=get_device("cpu"), out=tmp_path, **options)


@pytest.mark.parametrize(
    "name", ["ch3_m1_solver", "ch4_m1_backprop", "ch5_m2_solver", "ch5_m2_backprop"]
)
def test_experiments_judge_everything(name, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    if "solver" in name:
        pytest.importorskip("scipy", reason="scipy is not installed")
    images_of_the_book("M1")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import reproduce

    options = Namespace(device="cpu", seed=0, quick=False, data="auto", data_dir=DATA, out=tmp_path)
    path = SCRIPTS / "mathematics_of_deep_learning" / f"{name}.py"
    record = reproduce.perform_script(path, options)
    assert record["data"] == "book"
    failed = [check for check in record["checks"] if check["passed"] is not True]
    assert not failed


def test_tiny_images_are_the_books_or_drawn(tmp_path, monkeypatch):
    images_of_the_book("M1")
    monkeypatch.delenv("XPNET_DATA_DIR", raising=False)
    for options, name in (
        ({"data_dir": DATA}, "book"),
        ({"data_dir": DATA, "quick": True}, "drawn"),
        ({"data_dir": DATA, "data": "synthetic"}, "drawn"),
        ({"seed": 3}, "drawn"),
    ):
        at = lab(tmp_path, **options)
        assert at.tiny_images("M1").name == name
        assert at.complete is (name == "book")
        at.equal("what the book's images show", 1, 2, full=True)
        assert at.checks[0].passed is (False if name == "book" else None)
        assert at.finish("", 0.0)["data"] == name


def test_other_seeds_draw_other_images(tmp_path):
    first, second = (lab(tmp_path, quick=True, seed=seed).tiny_images("M2") for seed in (0, 1))
    assert (first.x != second.x).any()
