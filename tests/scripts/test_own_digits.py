"""Pictures of one's own digits: the experiment, small, and what it must show, with a network."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest

from test_scripts import SCRIPTS, is_png, run, weights  # noqa: F401, fixtures
from xpnet import TwoLayerNet, load_mnist


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("own_digits")


@pytest.mark.slow
def test_the_experiment_shows_what_is_missed(run, tmp_path):  # noqa: F811
    """By a network that was never trained nearly all is."""
    TwoLayerNet(784, 5, 10, rng=0).save_params(tmp_path / "model.safetensors")
    code, out, err = run("own_digits", "--count", 1, "--training", 3, "--out", "a")
    assert code in (0, 1), err
    record = json.loads((tmp_path / "a" / "own_digits.json").read_text())
    assert len(record["kinds"]) >= 22
    missed = [row["kind"] for row in record["kinds"] if not row["met"]]
    assert (code == 1) == bool(missed)
    assert f"missed: {', '.join(missed) or 'none'}; see" in out
    page = (tmp_path / "a" / "README.md").read_text()
    assert page.count("| met |") + page.count("| **missed** |") == len(record["kinds"])
    assert page.count("**missed**") == len(missed)
    assert is_png(tmp_path / "a" / "own_digits.png")


def test_the_same_seed_gives_the_same_pictures(script):
    digits = 255 * np.eye(28, dtype=np.uint8)[np.newaxis]
    for kind in ("colour", "photo"):
        first, again, other = (script.Answers(kind, digits, [1], seed) for seed in (0, 0, 1))
        pictures = [np.asarray(answers.picture(0)) for answers in (first, again, other)]
        assert np.array_equal(pictures[0], pictures[1])
        assert not np.array_equal(pictures[0], pictures[2])


def test_goals_are_judged_as_stated(script):
    """95 % of what is read undamaged, or 95 % of the wrong answers; 5 % of the undamaged."""

    def row(kind, right, wrong_warned=0, right_warned=0):
        wrong = 200 - right
        return {
            "kind": kind, "right": right, "wrong": wrong, "wrong_warned": wrong_warned,
            "right_warned": right_warned,
        }  # fmt: skip

    rows = [
        row("undamaged", 196, 4, 6),
        row("as in MNIST", 200, 0, 11),
        row("thin", 187),
        row("thick", 186, 13),
        row("noise", 100, 95),
        row("jpeg", 100, 94),
    ]
    script.judge(rows)
    assert [row["met"] for row in rows] == [True, False, True, False, True, False]


@pytest.mark.slow
def test_damaged_digits_are_read_like_undamaged_ones(script, tmp_path, mnist_dir):
    """30 digits of each kind, by a network of one epoch: within three of the undamaged ones."""
    command = [sys.executable, "-m", "xpnet", "train", "--device", "cpu", "--epochs", "1"]
    data = ["--data", "mnist", "--data-dir", str(mnist_dir), "--out", str(tmp_path / "run")]
    subprocess.run([*command, *data], check=True, stdout=subprocess.DEVNULL)
    network = script.load_network(tmp_path / "run" / "model.safetensors", device="cpu")
    _, (x, t) = load_mnist(flatten=False, normalize=False, data_dir=mnist_dir)
    right = {}
    for kind in script.ALL:
        answers = script.Answers(kind, x[:30].reshape(-1, 28, 28), t[:30], 0)
        answers.read(network, tmp_path)
        right[kind] = int(np.sum(answers.right))
    assert {kind: n for kind, n in right.items() if n < right["undamaged"] - 3} == {}
