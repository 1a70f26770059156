"""Experiments, and the quick form of all of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xpnet import get_device
from xpnet.report.experiment import Lab, perform

SCRIPTS = Path(__file__).parents[2] / "scripts"


def lab(tmp_path, **options):
    return Lab("trial", device=get_device("cpu"), out=tmp_path, **options)


def test_a_record_tells_what_passed_and_what_failed(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")

    def run(at):
        at.figure().subplots().plot([1, 2])
        at.check("inside", 0.5, np.float64(0.0), 1.0, book="0.49")
        at.check("too small", 0.5, 0.6)
        at.check("too large", 0.5, high=0.4)
        at.equal("near", [1.0, 2.0], [1.0, 2.001], atol=0.01)
        at.equal("not near", [1.0, 2.0], [1.0, 2.1], atol=0.01)
        at.equal("other shape", [1.0], [1.0, 1.0])
        at.holds("true", np.bool_(True))

    record = perform(run, "Does it?\n\nMore.", lab(tmp_path))
    passed = {check["what"]: check["passed"] for check in record["checks"]}
    assert passed == {
        "inside": True, "too small": False, "too large": False, "near": True, "not near": False,
        "other shape": False, "true": True,
    }  # fmt: skip
    assert record["passed"] is False
    assert record["question"] == "Does it?"
    assert record["checks"][0]["book"] == "0.49"
    assert json.loads((tmp_path / "trial.json").read_text()) == record
    assert (tmp_path / "trial.png").read_bytes().startswith(b"\x89PNG")


def test_nan_passes_nothing(tmp_path):
    at = lab(tmp_path)
    at.check("band", np.nan, 0.0, 1.0)
    at.equal("equal", np.nan, 1.0, atol=1.0)
    assert [check.passed for check in at.checks] == [False, False]


def test_what_needs_a_full_run_is_not_judged_in_a_quick_one(tmp_path):
    at = lab(tmp_path, quick=True)
    at.check("accuracy", 0.1, 0.9, full=True)
    at.check("shape", 1, 2)
    assert [check.passed for check in at.checks] == [None, False]
    assert at.few(1000, 3) == 3
    assert at.digits.name == "synthetic"


def test_a_lab_is_shown_by_its_experiment(tmp_path):
    assert repr(lab(tmp_path)) == "<Lab trial on cpu>"
    assert repr(lab(tmp_path, quick=True)) == "<Lab trial on cpu, quick>"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """All experiments in quick mode, once."""
    for name in ("matplotlib", "optuna", "pooch", "scipy", "sklearn"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    out = tmp_path_factory.mktemp("reproduce")
    command = [sys.executable, str(SCRIPTS / "reproduce.py"), "--quick", "--device", "cpu"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    return out, done


@pytest.mark.slow
def test_every_experiment_runs_and_passes_what_a_quick_run_can_judge(quick):
    out, done = quick
    assert done.returncode == 0, done.stdout + done.stderr
    records = {path.stem for path in out.glob("*.json")}
    assert records == {path.stem for path in SCRIPTS.glob("*/ch*.py")}


@pytest.mark.slow
def test_the_page_shows_every_check_and_every_picture(quick):
    out, _ = quick
    page = (out / "README.md").read_text()
    for path in out.glob("*.json"):
        record = json.loads(path.read_text())
        assert page.count(f"| [{path.stem}](#") == len(record["checks"])
        if record["picture"]:
            assert (out / record["picture"]).exists()
            assert f"]({record['picture']})" in page


def test_a_failed_experiment_fails_the_run_and_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import reproduce

    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "ch01_wrong.py").write_text(
        '"""Is it?"""\n\ndef run(lab):\n    lab.check("value", 2, 0, 1)\n'
    )
    (tmp_path / "book" / "ch02_broken.py").write_text('"""Is it?"""\n\ndef run(lab):\n    1 / 0\n')
    monkeypatch.setattr(reproduce, "HERE", tmp_path)
    monkeypatch.setattr(reproduce, "BOOKS", {"book": "A Book"})
    monkeypatch.setattr(
        "sys.argv", ["reproduce", "--out", str(tmp_path / "out"), "--device", "cpu"]
    )
    with pytest.raises(SystemExit) as stop:
        reproduce.main()
    assert stop.value.code == 1
    page = (tmp_path / "out" / "README.md").read_text()
    assert page.count("**FAIL**") == 2
    assert "ZeroDivisionError" in page
    assert "failed: ch01_wrong, ch02_broken" in capsys.readouterr().out
