"""Experiments, and the quick form of all of them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xpnet import get_device, load_dataset
from xpnet.report.experiment import Lab, main, perform, read_record, utc_now

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
    assert read_record(tmp_path / "trial.json") == record
    assert record["date"][:16] == utc_now()[:16] or record["date"] < utc_now()
    assert record["machine"]
    assert (tmp_path / "trial.png").read_bytes().startswith(b"\x89PNG")


def test_a_script_tells_where_its_picture_is(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    where = ["--out", str(tmp_path), "--device", "cpu", "--quick"]
    monkeypatch.setattr(sys, "argv", ["scripts/trial.py", *where])
    for run, files in (
        (
            lambda at: at.figure().subplots().plot([1, 2]),
            ["record: trial.json", "picture: trial.png"],
        ),
        (lambda at: at.holds("true", True), ["record: trial.json"]),
    ):
        with pytest.raises(SystemExit):
            main(run, "Does it?")
        told = capsys.readouterr().out.replace(f"{tmp_path}/", "").splitlines()
        assert [line for line in told if "trial." in line] == files


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


@pytest.mark.parametrize("name", ["road-scenes", "digit-scenes"])
def test_scenes_are_of_the_labs_digits_or_of_none(tmp_path, name):
    at = lab(tmp_path, data="synthetic")
    at.digits = load_dataset("synthetic", train_size=20, test_size=10)
    scenes = at.scenes(name, 3, 2)
    assert (len(scenes.x_train), len(scenes.x_test)) == (3, 2)
    at.check("mean IoU", 0.5, 0.8, full=True)
    judged = False if name == "road-scenes" else None  # whose guides are of MNIST
    assert at.checks[0].passed is judged
    assert at.finish("", 0.0)["data"] == name
    quick = lab(tmp_path, quick=True)
    quick.scenes("road-scenes", 1, 1)
    assert not quick.complete


def test_what_could_not_be_run_is_noted(tmp_path):
    at = lab(tmp_path)
    at.skip("difference from torch", "torch is not installed", band="at most 1e-10")
    record = at.finish("", 0.0)
    assert record["passed"] is True
    (check,) = record["checks"]
    assert (check["measured"], check["passed"]) == ("not run: torch is not installed", None)


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


@pytest.fixture
def reproduce(tmp_path, monkeypatch):
    """The runner on experiments of one's own, given as name -> source; it returns page and code."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import reproduce

    book, out = tmp_path / "book", tmp_path / "out"
    book.mkdir()
    monkeypatch.setattr(reproduce, "HERE", tmp_path)
    monkeypatch.setattr(reproduce, "BOOKS", {"book": "A Book"})
    monkeypatch.setattr(reproduce, "LONG", ("ch03_long",))
    # Of a source that changes within a second, and keeps its length, Python takes the old bytecode.
    monkeypatch.setattr("sys.dont_write_bytecode", True)

    def run(*arguments, **experiments):
        for name, source in experiments.items():
            (book / f"{name}.py").write_text(f'"""Is it?"""\n\ndef run(lab):\n    {source}\n')
        options = ["--out", str(out), "--device", "cpu"]
        monkeypatch.setattr("sys.argv", ["reproduce", *arguments, *options])
        code = 0
        try:
            reproduce.main()
        except SystemExit as stop:
            code = stop.code
        return (out / "README.md").read_text(), code

    run.out = out
    return run


def test_a_failed_experiment_fails_the_run_and_is_shown(reproduce, capsys):
    wrong = 'lab.check("value", 2, 0, 1)'
    long = 'raise ValueError("of a|b:\\nmany\\n  lines")'
    page, code = reproduce(ch01_wrong=wrong, ch02_broken="1 / 0", ch03_long=long)
    assert page.count("**FAIL**") == 2
    script = re.search(r"^#### \[ch01_wrong\]\((.*)\)$", page, re.M)[1]
    assert (reproduce.out / script).read_text().startswith('"""Is it?')
    assert "ZeroDivisionError" in page
    page, code = reproduce("--long", "long")
    assert r"| ValueError: of a\|b: many lines | **FAIL** |" in page, "a row of the table"
    page, code = reproduce()
    assert code == 1
    assert "failed: ch01_wrong, ch02_broken" in capsys.readouterr().out


def told(name, value):
    """An experiment that measures a value."""
    return {name: f'lab.check("value", {value}, 0, 9)'}


def test_what_is_not_run_anew_is_shown_as_it_was(reproduce, capsys):
    page, code = reproduce(**told("ch01_a", 1), **told("ch02_b", 2), **told("ch03_long", 3))
    assert code == 0
    assert "Not run yet: ch03_long." in page
    assert "not run, long: ch03_long; --long runs them" in capsys.readouterr().out
    assert "2 experiments, 2 checks: 2 passed, 0 failed, 0 not judged. Run 20" in page
    assert "were not run anew" not in page

    page, _ = reproduce("--long", "long")
    assert page.count("were not run anew") == 1
    place = reproduce.out / "ch03_long.json"
    record = json.loads(place.read_text()) | {
        "date": "2001-02-03 04:05 UTC",
        "machine": "an abacus",
    }
    record["checks"][0]["passed"] = False
    place.write_text(json.dumps(record))

    page, code = reproduce(**told("ch01_a", 4))
    assert code == 0, "an earlier run's failure is not this one's"
    assert "3 experiments, 3 checks: 2 passed, 1 failed, 0 not judged. Run 20" in page
    assert " 1 of the experiments were not run anew" in page
    assert "| value |  | 0 to 9 | 4 | pass |" in page
    assert "| value |  | 0 to 9 | 3 | **FAIL**, 2001-02-03 |" in page
    assert "Run 2001-02-03 04:05 UTC, seed 0, device cpu (an abacus), python" in page
    assert "[A Book, chapter 3](#book-3) | 1 | 1 | 0 | 1 | 0 |" in page

    page, _ = reproduce("ch01", **told("ch01_a", 5))
    assert "| 5 | pass |" in page
    assert "| 2 | pass, 20" in page
    assert "| 3 | **FAIL**, 2001-02-03 |" in page
    (reproduce.out.parent / "book" / "ch02_b.py").unlink()
    assert "ch02_b" not in reproduce("ch01")[0], "an experiment that is no more"


def test_long_ones_are_scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import reproduce

    assert set(reproduce.LONG) <= {path.stem for path in reproduce.scripts()}


@pytest.mark.parametrize(
    "changed",
    [
        {"seconds": "long"}, {"versions": 3}, {"checks": {}}, {"checks": [3]}, {"quick": None},
        {"question": None}, {"date": 3}, {"picture": 3}, "3", "[" * 99999, "{}", None,
    ],
)  # fmt: skip
def test_what_is_no_record_is_told_in_a_line(reproduce, capsys, changed):
    reproduce(**told("ch01_a", 1), **told("ch02_b", 2))
    place = reproduce.out / "ch01_a.json"
    text = place.read_text()
    place.unlink()
    if changed is None:
        place.mkdir()
    elif isinstance(changed, str):
        place.write_text(changed)
    else:
        place.write_text(json.dumps(json.loads(text) | changed))
    assert reproduce("ch02")[1] == 2
    assert "ch01_a.json is not the record of an experiment; remove it" in capsys.readouterr().err


def test_a_directory_that_cannot_be_made_is_told_in_a_line(reproduce, capsys, tmp_path):
    for name in ("ch01_a", "ch02_b"):
        (tmp_path / "book" / f"{name}.py").write_text("no program")
    reproduce.out.write_text("a file")
    with pytest.raises(NotADirectoryError):  # there is no page to be read
        reproduce("ch02")
    told = capsys.readouterr().err
    assert f"error: {reproduce.out} cannot be made: File exists; give another --out" in told
    assert "Traceback" not in told


def test_records_without_a_date_are_shown(reproduce):
    reproduce(**told("ch01_a", 1), **told("ch02_b", 2))
    place = reproduce.out / "ch01_a.json"
    record = json.loads(place.read_text())
    del record["date"], record["machine"]
    place.write_text(json.dumps(record))
    page, code = reproduce("ch02")
    assert code == 0
    assert "| 1 | pass, earlier |" in page


def test_what_wants_a_package_stays_as_it_was(reproduce, capsys):
    skipped = 'lab.skip("value", "torch is not installed")'
    page, code = reproduce(ch01_a=skipped)
    assert code == 0
    assert "| value |  |  | not run: torch is not installed | not judged |" in page

    reproduce(**told("ch01_a", 4))
    place = reproduce.out / "ch01_a.json"
    record = json.loads(place.read_text()) | {"date": "2001-02-03 04:05 UTC"}
    place.write_text(json.dumps(record))
    page, code = reproduce(ch01_a=skipped)
    assert code == 0
    assert "| value |  | 0 to 9 | 4 | pass, 2001-02-03 |" in page
    assert "not run             ch01_a" in capsys.readouterr().out
    assert json.loads(place.read_text()) == record


def test_quick_runs_do_not_meet_full_ones(reproduce, capsys):
    reproduce(**told("ch01_a", 1), **told("ch03_long", 3))
    page, code = reproduce("--quick", **told("ch00_new", 1))
    assert code == 2
    assert not (reproduce.out / "ch00_new.json").exists(), "before the first has taken its time"
    (reproduce.out.parent / "book" / "ch00_new.py").unlink()
    assert (
        "ch01_a.json is of a full run, and a quick one would replace it" in capsys.readouterr().err
    )
    page, code = reproduce("--quick", "long")
    assert code == 0, "quick, the long ones are not long"
    assert "Not run yet: ch01_a." in page


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"checks": 3}'])
def test_what_is_no_record_is_refused_before_anything_is_run(reproduce, capsys, content):
    reproduce(**told("ch01_a", 1), **told("ch02_b", 2))
    (reproduce.out / "ch02_b.json").write_text(content)
    code = reproduce("ch01", ch01_a="1 / 0")[1]
    assert code == 2
    assert "ch02_b.json is not the record of an experiment; remove it" in capsys.readouterr().err
    assert reproduce()[1] == 1, "a full run writes it anew"


def test_ways_to_run_that_exclude_each_other(reproduce, capsys):
    reproduce(**told("ch01_a", 1))
    assert reproduce("--long", "--quick")[1] == 2
    assert "--long and --quick are two ways to run; give one" in capsys.readouterr().err
    assert reproduce("ch09", "ch08")[1] == 2
    assert "no experiment's name holds one of: ch09, ch08" in capsys.readouterr().err
