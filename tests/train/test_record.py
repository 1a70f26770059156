"""Records of checkpoints and summaries whose checksum fits, and that say what cannot be."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from test_cli import QUICK, assert_refused
from test_cli import run as run  # a fixture
from test_resume import T, X, assert_same, of, result, stopped
from xpnet import Callback, EarlyStopping, Trainer, TwoLayerNet
from xpnet.errors import CheckpointError
from xpnet.files.weights import save_weights
from xpnet.report import plots
from xpnet.train.checkpoint import _digest, load_checkpoint
from xpnet.train.record import SETTINGS, read_summary
from xpnet.train.saved import load_model

NAN, INF = float("nan"), float("inf")

OF_STATE = [
    ("steps", -1), ("steps", 2**70), ("steps", 0), ("steps", "3"), ("steps", 3.0), ("steps", True),
    ("steps", None), ("seconds", -1), ("seconds", NAN), ("seconds", "1"), ("history", {}),
    ("history", [3]), ("history", [{}]), ("history", [{"epoch": 2, "train_loss": 1.0}]),
    ("history", [{"epoch": 1, "train_loss": "1"}]), ("history", [{"epoch": 1, "train_loss": None}]),
    ("history", [{"epoch": 1, "train_loss": 10**400}]), ("lr", -1), ("lr", 0.1),
    ("lr", {"network": -1}), ("lr", {"network": NAN}), ("lr", {"network": "0.1"}), ("lr", {}),
    ("lr", {"other": 0.1}), ("best", None), ("best", "test_accuracy"), ("best", ["loss", "least"]),
    ("best", [1, "max"]), ("untold", -1), ("untold", "all"),
]  # fmt: skip
OF_RUN = [
    ("xpnet", 1), ("xpnet", ""), ("xpnet", "9" * 5000), ("xpnet", "\x1b[31m9.9"),
    ("data_sha256", None), ("data_sha256", "f" * 63), ("computed_by", []),
    ("computed_by", {"device": [1]}), ("computed_by", {"threads": "2"}),
    ("computed_by", {"threads": 0}), ("network", 3), ("learning", []), ("learning", {}),
    ("learning", {"frozen": "W", "rates": {}, "statistics": []}),
    ("learning", {"frozen": [], "rates": {"W": 0}, "statistics": []}),
    ("learning", {"frozen": [], "rates": {}, "statistics": [1]}),
    ("settings", []), ("settings", {}), ("settings", None),
]  # fmt: skip
OF_SETTINGS = [
    ("model", "\x1b[2J"), ("model", "multi-layer-net"), ("model", 3), ("hidden_size", 0),
    ("hidden_size", "5"), ("activation", "gelu"), ("data", "auto"), ("optimizer", "adamant"),
    ("optimizer", ["sgd"]), ("lr", -1), ("lr", INF), ("lr", "0.1"), ("schedule", "unknown"),
    ("schedule", None), ("epochs", 0), ("epochs", -1), ("epochs", 1.5), ("batch_size", 0),
    ("evaluate_samples", -1), ("dtype", "float16"), ("dtype", {}), ("precision", "double"),
    ("seed", -1), ("seed", "0"),
]  # fmt: skip


def write(path, arrays, record):
    """A checkpoint that says so, with the checksum that fits."""
    text = json.dumps(record)
    save_weights(path, arrays, {"record": text, "sha256": _digest(arrays, text)})


@pytest.fixture(scope="module")
def state():
    """Of a trainer after an epoch and two steps; nobody may change it."""
    return stopped(of("two-layer-net, relu")(), 6).state()


@pytest.fixture(scope="module")
def fresh():
    return of("two-layer-net, relu")()


def refuse(trainer, arrays, record, match="take another"):
    before = result(trainer)
    with pytest.raises(CheckpointError, match=match):
        trainer.restore(arrays, record)
    assert_same(result(trainer), before)


@pytest.mark.parametrize(("name", "value"), OF_STATE)
def test_a_trainer_refuses_what_no_state_says(fresh, state, name, value):
    """And is as it was."""
    arrays, record = state
    match = (
        "learning rates of" if name == "lr" and value in ({}, {"other": 0.1}) else "take another"
    )
    refuse(fresh, arrays, record | {name: value}, match)


@pytest.mark.parametrize("name", ["steps", "seconds", "history", "lr"])
def test_a_trainer_needs_every_field(fresh, state, name):
    arrays, record = state
    refuse(fresh, arrays, {k: v for k, v in record.items() if k != name}, f"has no {name}, and")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("train_losses", None), ("train_losses", [1.0]), ("train_losses", np.ones((2, 2))),
        ("train_losses", np.array([NAN])), ("train_losses", np.ones(99)),
        ("train_losses", np.array(["a"])), ("epoch_losses", None), ("epoch_losses", np.array(3.0)),
        ("epoch_losses", np.array([1])), ("epoch_losses", np.ones(3)), ("epoch.more", np.ones(1)),
        ("epoch.more", np.array([INF, 0])), (7, np.ones(2)),
        ("network.params.W1", "float32"), ("network.params.W1", NAN),
    ],
)  # fmt: skip
def test_a_trainer_refuses_arrays_that_no_state_has(fresh, state, name, array):
    arrays, record = state
    if array is NAN:
        array = np.full_like(arrays[name], NAN)
    changed = {k: a for k, a in arrays.items() if k != name} | (
        {} if array is None else {name: array}
    )
    refuse(fresh, changed, record)


def test_a_trainer_refuses_what_is_no_state(fresh, state):
    arrays, record = state
    for nothing in (None, [], "state", 3):
        refuse(fresh, nothing, record)
        refuse(fresh, arrays, nothing)
    more = arrays | {"epoch_losses": np.ones(5, dtype="float32")}
    refuse(fresh, more, record | {"steps": 9}, "after 5 steps of an epoch .* where it has 4")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("epoch", np.array(-1)), ("epoch", np.ones(2, dtype=int)), ("epoch", np.array(1.0)),
        ("network.params.W1", None), ("network.params.W1", np.ones(3, dtype="float32")),
        ("network.params.b9", np.ones(3, dtype="float32")),
    ],
)  # fmt: skip
def test_early_stopping_refuses_what_it_cannot_have_kept(name, array):
    def make():
        return Trainer(
            TwoLayerNet(144, 2, 10, rng=0), X, T, X[:20], T[:20], 2, 30, verbose=False,
            early_stopping=EarlyStopping(5, restore_best=True),
        )  # fmt: skip

    arrays, record = stopped(make(), 2, after_epoch=True).state()
    kept = f"callback.EarlyStopping.{name}"
    assert (kept in arrays) == (name != "network.params.b9")
    changed = {k: a for k, a in arrays.items() if k != kept} | (
        {} if array is None else {kept: array}
    )
    refuse(make(), changed, record, "early stopping keeps")
    make().restore(arrays, record)


def test_a_state_says_who_was_still_to_be_told():
    """A callback fails after the first epoch; the others are told of it where training goes on."""

    class Told(Callback):
        def __init__(self, error=None):
            self.epochs, self.error = [], error

        def on_epoch(self, trainer, metrics):
            self.epochs.append(metrics.epoch)
            if self.error is not None:
                raise self.error

    def make(*callbacks, verbose=False):
        return Trainer(
            TwoLayerNet(144, 2, 10, rng=0), X, T, None, None, 2, 30, verbose=verbose,
            callbacks=callbacks,
        )  # fmt: skip

    first, last = Told(ZeroDivisionError()), Told()
    failed = make(Told(), first, last, verbose=True)
    with pytest.raises(ZeroDivisionError):
        failed.train()
    one, two, three = Told(), Told(), Told()
    again = make(one, two, three)
    again.restore(*failed.state())
    again.train()
    assert (first.epochs, last.epochs) == ([1], [])
    assert (one.epochs, two.epochs, three.epochs) == ([2], [2], [1, 2])


@pytest.fixture
def stored(run, monkeypatch):
    """A run, and what its last checkpoint says. No picture is drawn, which takes time."""
    monkeypatch.setattr(plots, "available", lambda: False)
    assert run("train", *QUICK, "--out", "a")[0] == 0
    Path("a/model.safetensors").unlink()
    path = Path("a/checkpoints/step-00000060.safetensors")
    return path, load_checkpoint(path)


def test_a_run_refuses_what_no_run_says(run, stored):
    """In one line, and nothing is changed; no network is made of it either."""
    path, (arrays, record, _) = stored
    cases = [("record", *case) for case in OF_STATE if case[0] != "untold"]
    cases += [("run", *case) for case in OF_RUN] + [("settings", *case) for case in OF_SETTINGS]
    for part, name, value in cases:
        changed = copy.deepcopy(record)
        place = {"record": changed, "run": changed["run"], "settings": changed["run"]["settings"]}
        place[part][name] = value
        write(path, arrays, changed)
        files = {file: file.read_bytes() for file in Path("a").rglob("*") if file.is_file()}
        refused = run("train", "--resume", "a", "--epochs", 3)
        assert_refused(refused, "xpnet: error: ")
        assert refused[2].strip().isprintable(), (name, value)
        assert files == {file: file.read_bytes() for file in Path("a").rglob("*") if file.is_file()}
        if part == "settings" and name in ("model", "hidden_size", "activation", "dtype"):
            with pytest.raises(CheckpointError):
                load_model(path)


def test_steps_are_those_of_the_epochs(run, stored):
    """Another batch size is another run, too."""
    path, (arrays, record, _) = stored
    settings = record["run"] | {"settings": record["run"]["settings"] | {"batch_size": 7}}
    for change in ({"steps": 10**9}, {"history": record["history"][:1]}, {"run": settings}):
        write(path, arrays, record | change)
        assert_refused(
            run("train", "--resume", "a", "--epochs", 3),
            "steps, but its ",
            "and those of one that is not done, make",
        )


def test_the_field_and_what_it_must_be_are_told(stored):
    path, (arrays, record, _) = stored
    settings = record["run"]["settings"]
    assert settings.keys() == SETTINGS.keys()
    write(path, arrays, record | {"steps": -1})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == (
        f"{path} has steps -1, and that must be a whole number from 0 to 9.22337e+18; take another"
    )
    run = record["run"] | {"settings": settings | {"schedule": "\x1b[31mno" + "!" * 999}}
    write(path, arrays, record | {"run": run})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    told = str(caught.value)
    assert told.startswith(f"the run of {path} has schedule '\\x1b[31mno!!")
    assert told.endswith(", and that must be one of constant, cosine, drop; take another")
    assert len(told) < 300


SUMMARIES = [
    "", "[]", "3", "null", "{", '{"epochs": "2"}', '{"epochs": 1e999}', '{"steps": -1}', "\x1b",
    '{"epochs": true}', "[" * 100_000, '{"epochs": ' + "9" * 5000 + "}", '{"epochs": [2]}',
]  # fmt: skip


@pytest.mark.parametrize("text", SUMMARIES)
def test_a_summary_that_says_nothing(tmp_path, text):
    path = tmp_path / "summary.json"
    path.write_text(text)
    assert read_summary(path) == {}
    path.write_text(json.dumps({"epochs": 2, "steps": 60, "model": 3}))
    assert read_summary(path) == {"epochs": 2, "steps": 60}
    path.write_text(" " * 2**20 + "{}")
    assert read_summary(path) == read_summary(tmp_path) == {}


def test_a_damaged_summary_is_made_again(run, stored):
    summary = Path("a/summary.json")
    want = json.loads(summary.read_text())
    summary.write_text('{"epochs": 1e999, "steps": []')
    assert run("train", "--resume", "a")[0] == 0
    assert json.loads(summary.read_text()).keys() == want.keys()
    assert "is finished" in run("train", "--resume", "a")[1]
