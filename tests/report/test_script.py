"""The command line of scripts."""

from pathlib import Path

import pytest

from xpnet.errors import ArgumentError
from xpnet.report.script import Script

DOC = """Is it?

    python scripts/it.py --out a
"""


def test_it_takes_the_flags_that_are_named():
    found = vars(Script(DOC, "data", "seed", out="here").parse_args(["--seed", "3"]))
    assert found == {"data": "auto", "data_dir": None, "seed": 3, "out": Path("here")}
    assert vars(Script(DOC).parse_args([])) == {"out": None}


def test_help_shows_the_whole_docstring(capsys):
    with pytest.raises(SystemExit) as stop:
        Script(DOC).run(lambda options: None, ["--help"])
    assert stop.value.code == 0
    assert DOC in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ArgumentError("x must be\n 1"), 2, "it.py: error: x must be 1\n"),
        (KeyboardInterrupt(), 130, "it.py: interrupted\n"),
    ],
)
def test_what_a_user_can_cause_is_one_line(monkeypatch, capsys, error, code, line):
    def answer(options):
        raise error

    monkeypatch.setattr("sys.argv", ["scripts/it.py"])
    with pytest.raises(SystemExit) as stop:
        Script(DOC).run(answer)
    assert stop.value.code == code
    assert capsys.readouterr().err == line
