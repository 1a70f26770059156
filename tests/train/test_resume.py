"""A run that was stopped goes on bit for bit, and only as the run it was."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

import xpnet
from test_cli import QUICK, assert_refused
from test_cli import run as run  # a fixture
from test_cuda_engine import EVERYTHING, twin
from test_step_contract import NETWORKS, OPTIONS, T, X
from xpnet import (
    Adam,
    Supervised,
    Trainer,
    TwoLayerNet,
    cli,
    get_device,
    synthetic_digits,
    to_numpy,
)
from xpnet.data.dataset import Dataset
from xpnet.errors import CheckpointError
from xpnet.optim import OPTIMIZERS
from xpnet.optim.schedules import Cosine
from xpnet.report import plots
from xpnet.train.checkpoint import Checkpoints, load_checkpoint
from xpnet.train.run_directory import RunDirectory
from xpnet.train.signals import Signals

EPOCHS, BATCH, STEPS = 3, 16, 4
"""Of 60 samples: the last batch of an epoch has 12."""


class Killed(BaseException):
    pass


def result(trainer):
    """All that a run comes to, but the time it takes."""
    arrays, record = trainer.state()
    for metrics in record["history"]:
        del metrics["seconds"]
    return arrays, {name: record[name] for name in ("history", "steps", "lr")}


def assert_same(got, want):
    (arrays, record), (wanted, wanted_record) = got, want
    assert record == wanted_record
    assert arrays.keys() == wanted.keys()
    for name, array in wanted.items():
        assert arrays[name].dtype == array.dtype, name
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


def stopped(trainer, steps, *, after_epoch=False):
    """Train until so many steps are done, and no more."""

    def stop(*_):
        if trainer.steps >= steps:
            raise Killed

    trainer.on_epoch, trainer.on_step = (stop, None) if after_epoch else (None, stop)
    with pytest.raises(Killed):
        trainer.train()
    return trainer


def gone_on(make, part, directory):
    """What a fresh trainer comes to from the files that `part` leaves."""
    arrays, record = part.state()
    path = Checkpoints(directory).save(arrays, record)
    trainer = make()
    found = load_checkpoint(path)
    trainer.restore(found.arrays, found.record)
    trainer.train()
    return result(trainer)


def check(make, directory, *places):
    """From within an epoch, from its end before and after it is measured, and from two stops."""
    whole = make()
    whole.train()
    want = result(whole)
    for steps in places or (STEPS + 2, 2 * STEPS):
        assert_same(gone_on(make, stopped(make(), steps), directory), want)
    assert_same(gone_on(make, stopped(make(), STEPS, after_epoch=True), directory), want)


def of(name, optimizer="adam", *, engine="auto", **options):
    """Makes trainers of a small network."""

    def make():
        return Trainer(
            NETWORKS[name](get_device("cpu")), X, T, X[:20], T[:20], EPOCHS, BATCH,
            OPTIMIZERS[optimizer](), verbose=False, engine=engine, threads=2, **options,
        )  # fmt: skip

    return make


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_goes_on(tmp_path, name, engine):
    check(of(name, engine=engine), tmp_path)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_goes_on(tmp_path, optimizer):
    check(of("two-layer-net, relu", optimizer), tmp_path, 1, STEPS + 2)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_goes_on(tmp_path, name):
    check(of("multi-layer-net", "momentum", **OPTIONS[name]), tmp_path)


def test_streamed_data_go_on(tmp_path):
    check(of("multi-layer-net-extend", resident=False), tmp_path)


def test_a_trainer_of_a_gpu_goes_on(accelerator, tmp_path, monkeypatch):
    """Dropout, BatchNorm, clipping and a schedule; stopped between recordings of two steps."""
    monkeypatch.setattr("xpnet.engine.cuda.training.UNROLL", 2)

    def make():
        net = twin(accelerator, EVERYTHING)
        x = np.random.default_rng(0).standard_normal((60, *net.input_shape))
        trainer = Trainer(
            net, x, T, x[:20], T[:20], EPOCHS, BATCH, Adam(), verbose=False, engine="reference",
            clip_norm=1.0, schedule=Cosine(0.01, steps=12),
        )  # fmt: skip
        trainer.engine = accelerator.engine(net)
        assert trainer.describe()["steps"] == "replayed from a CUDA graph"
        return trainer

    check(make, tmp_path)


def test_a_state_is_a_copy():
    """It stays what it was while training goes on, there and where it was given back."""
    trainer = stopped(of("multi-layer-net-extend")(), 2)
    state = trainer.state()
    kept = {name: array.copy() for name, array in state[0].items()}
    other = of("multi-layer-net-extend")()
    other.restore(*state)
    for one in (trainer, other):
        one.on_step = None
        one.train()
    assert kept.keys() == state[0].keys()
    for name, array in kept.items():
        np.testing.assert_array_equal(state[0][name], array, err_msg=name)


FLAT = "float32 of shape (384,)"


@pytest.mark.parametrize(
    ("hidden", "optimizer", "dtype", "message"),
    [
        (9, "sgd", "float32", f"optimizer.v.flat is {FLAT} there and nothing here"),
        (8, "momentum", "float64", f"optimizer.v.flat is {FLAT} there and float64 of shape (384,)"),
        (8, "adam", "float32", "optimizer.beta1^t is nothing there and float64 of shape (1,)"),
        (99, "momentum", "float32", f"optimizer.v.flat is {FLAT} there and float32 of shape "),
        (9, "momentum", "float32", "params.W1 is float32 of shape (20, 8) there and float32 of "
         "shape (20, 9)"),
    ],
)  # fmt: skip
def test_another_network_is_refused(hidden, optimizer, dtype, message):
    """The first difference in the order of names is told."""

    def make(hidden, optimizer, dtype):
        net = TwoLayerNet(20, hidden, 4, rng=0, dtype=dtype)
        x, t = np.ones((9, 20), dtype=np.float32), np.arange(9) % 4
        return Trainer(net, x, t, x, t, 1, 3, optimizer, verbose=False)

    state = stopped(make(8, "momentum", "float32"), 1).state()
    other = make(hidden, optimizer, dtype)
    before = to_numpy(other.network.params.flat).copy()
    with pytest.raises(CheckpointError) as caught:
        other.restore(*state)
    said = str(caught.value)
    assert said.startswith(
        f"a checkpoint of another network or optimizer cannot be used: {message}"
    )
    assert said.endswith(" here; build them as they were")
    np.testing.assert_array_equal(to_numpy(other.network.params.flat), before)


# The command line

FIVE = (*QUICK[:2], "--epochs", 5, *QUICK[4:])


def weights(directory):
    return (Path(directory) / "model.safetensors").read_bytes()


def rows(directory):
    """Of metrics.csv, without the times."""
    lines = (Path(directory) / "metrics.csv").read_text().splitlines()
    return [line.rpartition(",")[0] for line in lines]


@contextmanager
def killed(monkeypatch, steps):
    """A run that breaks off after so many steps, with nothing done on its way out."""
    done, update = [], Supervised._update

    def counted(self, grads):
        if len(done) == steps:
            raise Killed
        done.append(1)
        update(self, grads)

    with monkeypatch.context() as patch:
        patch.setattr(Supervised, "_update", counted)
        with pytest.raises(Killed):
            yield


def at_step(monkeypatch, actions):
    """Have something happen just before the updates of these numbers, from 0."""
    done, update = [], Supervised._update

    def watched(self, grads):
        actions.get(len(done), lambda: None)()
        done.append(1)
        update(self, grads)

    monkeypatch.setattr(Supervised, "_update", watched)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights and the record of five epochs of 30 steps in one go."""
    directory = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli.options, "load_dataset", few_digits)
        patch.setattr(
            "sys.argv",
            ["xpnet", "train", *map(str, FIVE), "--device", "cpu", "--out", str(directory)],
        )
        cli.main()
    return weights(directory), rows(directory)


def test_two_epochs_a_kill_and_three_more_are_five(run, whole, monkeypatch):
    """With the same command each time; killed at first, in an epoch, after one, and twice."""
    for name, kills in {"a": [0], "b": [17], "c": [60], "d": [60, 15]}.items():
        command = ("train", *FIVE, "--resume", name, "--begin", "--checkpoint-steps", 8)
        for steps in kills:
            with killed(monkeypatch, steps):
                run(*command)
        code, out, err = run(*command)
        assert (code, err) == (0, "")
        begun = sum(kills) // 30 * 30 + sum(kills) % 30 // 8 * 8
        assert f"going on from {name}/checkpoints/step-{begun:08d}.safetensors: " in out
        assert (weights(name), rows(name)) == whole
        summary = json.loads((Path(name) / "summary.json").read_text())
        assert (summary["epochs"], summary["steps"]) == (5, 150)


def test_a_run_is_known_by_its_directory(run, whole, monkeypatch):
    """Options need not be given again; the line that begins a run says so."""
    with killed(monkeypatch, 70):
        run("train", *FIVE, "--out", "a")
    assert [path.name for path in sorted(Path("a/checkpoints").iterdir())] == [
        "step-00000000.safetensors", "step-00000030.safetensors", "step-00000060.safetensors",
    ]  # fmt: skip
    assert run("train", "--resume", "a", "--data", "auto", "--model", "two-layer-net")[0] == 0
    assert (weights("a"), rows("a")) == whole
    out = run("train", *QUICK, "--resume", "new", "--begin")[1]
    assert "new holds no checkpoint yet: the run begins\n" in out


def test_the_schedule_goes_on(run, monkeypatch):
    command = ("train", *FIVE, "--schedule", "cosine", "--optimizer", "adam")
    assert run(*command, "--out", "whole")[0] == 0
    with killed(monkeypatch, 70):
        run(*command, "--out", "a")
    assert run("train", "--resume", "a")[0] == 0
    assert (weights("a"), rows("a")) == (weights("whole"), rows("whole"))


def test_a_finished_run_and_more_epochs(run, whole, monkeypatch):
    assert run("train", *QUICK, "--out", "a")[0] == 0
    before = (Path("a") / "summary.json").stat().st_mtime_ns
    code, out, _ = run("train", "--resume", "a")
    assert (code, out.splitlines()[-1]) == (
        0, "the run in a is finished; --epochs N goes on to N epochs",
    )  # fmt: skip
    assert (Path("a") / "summary.json").stat().st_mtime_ns == before
    with monkeypatch.context() as patch:
        patch.setattr("xpnet.train.run_directory.write_json", raising(Killed))
        with pytest.raises(Killed):
            run("train", "--resume", "a", "--epochs", 5)
    code, out, _ = run("train", "--resume", "a")
    assert (code, "5 epochs" in out, "finished" in out) == (0, True, False)
    assert (weights("a"), rows("a")) == whole
    assert_refused(
        run("train", "--resume", "a", "--epochs", 2),
        "the run in a has done 5 epochs, and 2 were asked for; go on from an earlier one of "
        "a/checkpoints, or begin another run",
    )


def raising(error):
    def broken(*_, **__):
        raise error

    return broken


# What must not be used


def change(path, **changes):
    """A checkpoint of another time or place."""
    found = load_checkpoint(path)
    record = {**found.record, "run": found.record["run"] | changes}
    Checkpoints(path.parent, keep=9).save(found.arrays, record)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--lr", "0.1", "--model", "simple-convnet"],
            "the run in a has --lr 0.2 (0.1 was asked for), --model two-layer-net (simple-convnet "
            "was asked for); leave that out, or begin another run",
        ),
        (
            ["--dtype", "float64"],
            "the run in a has --dtype float32 (float64 was asked for); leave that out, or begin "
            "another run",
        ),
        (
            ["--data", "mnist"],
            "the run in a has --data synthetic (mnist was asked for); leave that out, or begin "
            "another run",
        ),
        (["--out", "b"], "--out begins a run and --resume goes on with one; give one of them"),
        (["--keep", "0"], "'--keep': 0 is not in the range x>=1"),
        (["--checkpoint-steps", "0"], "'--checkpoint-steps': 0 is not in the range x>=1"),
        (["--checkpoint-minutes", "0"], "'--checkpoint-minutes': 0.0 is not in the range x>0"),
        (["--checkpoint-minutes", "nan"], "'--checkpoint-minutes': nan is not a finite number"),
    ],
)
def test_another_run_is_refused(run, options, message):
    assert run("train", *QUICK, "--out", "a")[0] == 0
    files = {path: path.read_bytes() for path in Path("a").rglob("*") if path.is_file()}
    newest = "a/checkpoints/step-00000030.safetensors"
    assert_refused(run("train", "--resume", "a", *options), message)
    assert_refused(run("train", "--resume", newest, *options), message)
    assert files == {path: path.read_bytes() for path in Path("a").rglob("*") if path.is_file()}


def test_epochs_are_part_of_a_schedule(run):
    assert run("train", *QUICK, "--schedule", "cosine", "--out", "a")[0] == 0
    assert_refused(
        run("train", "--resume", "a", "--epochs", 5), "a has --epochs 2 (5 was asked for)"
    )


def test_other_data_and_versions_are_refused(run, monkeypatch):
    assert run("train", *QUICK, "--out", "a")[0] == 0
    path = Path("a/checkpoints/step-00000060.safetensors")
    was = load_checkpoint(path).record["run"]["data_sha256"]
    change(path, data_sha256="0" * 64)
    assert_refused(
        run("train", "--resume", "a", "--epochs", 3),
        f"the run in a has data with the SHA-256 {'0' * 64}, and those from synthetic digits have "
        f"{was}; give the same data, or begin another run",
    )
    change(path, data_sha256=was, xpnet="99.0")
    assert_refused(
        run("train", "--resume", "a"),
        f"the run in a is of xpnet 99.0, and this is {xpnet.__version__}, which is older; install "
        "that version, or begin another run",
    )
    change(path, xpnet="0.0.9")
    code, out, _ = run("train", "--resume", "a", "--epochs", 3)
    assert code == 0
    assert (
        "the last bits of the weights may differ now: xpnet was 0.0.9 and is "
        f"{xpnet.__version__}\n" in out
    )


def test_another_place_is_told(run):
    assert run("train", *QUICK, "--out", "a", "--threads", 1)[0] == 0
    code, out, _ = run("train", "--resume", "a", "--epochs", 3, "--engine", "reference")
    assert code == 0
    assert "the last bits of the weights may differ now: engine was cpu and is reference" in out
    code, out, _ = run("train", "--resume", "a", "--epochs", 4, "--engine", "reference")
    assert (code, "may differ" in out) == (0, False)


def test_after_a_damage_the_one_before_is_offered(run, whole, monkeypatch):
    with killed(monkeypatch, 100):
        run("train", *FIVE, "--out", "a")
    last = Path("a/checkpoints/step-00000090.safetensors")
    last.write_bytes(last.read_bytes()[:1000])
    assert_refused(
        run("train", "--resume", "a"),
        f"{last} is damaged, or no checkpoint: it cannot be read; go on from the one before it: "
        "--resume a/checkpoints/step-00000060.safetensors",
    )
    assert run("train", "--resume", "a/checkpoints/step-00000060.safetensors")[0] == 0
    assert (weights("a"), rows("a")) == whole
    assert last.with_suffix(".set-aside").stat().st_size == 1000


def test_a_run_by_other_names_of_its_directory(run):
    """The directory of its checkpoints; one whose name ends as a checkpoint's does."""
    assert run("train", *QUICK, "--out", "a.safetensors")[0] == 0
    for number, name in enumerate(("a.safetensors", "a.safetensors/checkpoints"), start=3):
        assert run("train", "--resume", name, "--epochs", number)[0] == 0
    assert len(rows("a.safetensors")) == 5


def test_a_directory_that_is_no_runs_is_left_alone(run, tmp_path):
    """A slip of the pen costs nothing: no file is removed, no run begun where nobody wants one."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".profile").write_text("years of habit")
    assert_refused(
        run("train", *QUICK, "--resume", "home"),
        "home is not empty (.profile) and holds no checkpoint to go on from; choose another "
        "directory",
    )
    (home / "step-00000001.safetensors").write_text("")
    assert_refused(
        run("train", "--resume", "home/step-00000001.safetensors"),
        "home/step-00000001.safetensors is not the checkpoint of a run, "
        "RUN/checkpoints/step-N.safetensors; give one, or a run's directory",
    )
    assert_refused(
        run("train", "--resume", "none/checkpoints/step-00000001.safetensors"),
        "there is no checkpoint none/checkpoints/step-00000001.safetensors; give one, or a run's "
        "directory",
    )
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        ".profile", "home", "step-00000001.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "left", [[".lock"], [".lock", "metrics.csv", ".metrics.csv.abcdefgh.csv", "checkpoints/"]]
)
def test_a_run_killed_before_its_first_checkpoint_begins(run, whole, left):
    for name in left:
        path = Path("a") / name
        path.parent.mkdir(exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_text("")
    assert_refused(
        run("train", "--resume", "a"),
        "a holds no run to go on with; give the directory of one, or --begin as well, to begin one "
        "there",
    )
    assert run("train", *FIVE, "--resume", "a", "--begin")[0] == 0
    assert (weights("a"), rows("a")) == whole


def test_a_run_is_begun_where_that_is_asked_for(run, tmp_path):
    """A slip of the pen begins none, nor makes a directory."""
    for resume in ("none", "none/"):
        assert_refused(
            run("train", *QUICK, "--resume", resume),
            "none holds no run to go on with; give the directory of one, or --begin as well, to "
            "begin one there",
        )
    assert list(tmp_path.iterdir()) == []
    assert_refused(
        run("train", *QUICK, "--begin", "--out", "a"),
        "--begin is for --resume DIR; without that a run begins by itself",
    )
    assert run("train", *QUICK, "--resume", "a", "--begin")[0] == 0
    code, out, _ = run("train", *QUICK, "--resume", "a", "--begin")
    assert (code, "the run in a is finished" in out) == (0, True)


LONG = (pytest.param(name, marks=pytest.mark.slow) for name in ("n" * 255, "é" * 127))
ODD = ["\udcff\n\x1b[2J 'b'", *LONG]


@pytest.mark.parametrize("name", ODD)
def test_a_directory_may_have_any_name(run, monkeypatch, name):
    """Not UTF-8, of characters that a terminal would obey, or as long as can be."""
    monkeypatch.setattr(plots, "available", lambda: False)  # a picture takes time
    monkeypatch.setattr(
        cli.options, "load_dataset",
        lambda *_, **__: dataclasses.replace(few_digits(""), source=f"MNIST from {name}"),
    )  # fmt: skip
    with monkeypatch.context() as patch:
        at_step(patch, {45: lambda: signal.raise_signal(signal.SIGINT)})
        code, _, err = run("train", *QUICK, "--out", name)
    assert (code, err.count("\n"), err.isascii() or "é" in name) == (130, 1, True)
    if (bash := shutil.which("bash")) is not None:  # what is said can be pasted
        words = err.rpartition("--resume ")[2]
        said = subprocess.run([bash, "-c", f"printf %s {words}"], capture_output=True, check=True)
        assert said.stdout == os.fsencode(Path(name).absolute())
    code, out, err = run("train", "--resume", name)
    assert (code, err, "\x1b" in out) == (0, "", False)
    assert json.loads((Path(name) / "summary.json").read_text())["data_source"][11:] == name
    assert "is finished" in run("train", "--resume", name)[1]
    assert run("evaluate", "--weights", f"{name}/model.safetensors")[0] == 0
    kept = json.loads((Path(name) / "evaluation.json").read_text())
    assert kept["weights"] == f"{name}/model.safetensors"


def test_a_run_looks_for_its_data_where_it_was_told_to(run, tmp_path, monkeypatch):
    """As long as there is such a directory, and no other is named."""
    looked, few = [], (*synthetic_digits(40), *synthetic_digits(20, seed=1))

    def found(name, data_dir=None):
        looked.append(data_dir)
        return Dataset("mnist", "MNIST", *few)

    def goes_on(epochs, *options):
        assert run("train", "--resume", "a", "--epochs", epochs, *options)[0] == 0
        return looked[-1]

    monkeypatch.setattr(plots, "available", lambda: False)
    monkeypatch.setattr(cli.options, "load_dataset", found)
    first, second = (tmp_path / name for name in ("digits \udcff", "others"))
    first.mkdir()
    second.mkdir()
    begun = (*QUICK[:2], "--epochs", 1, *QUICK[4:], "--out", "a")
    assert run("train", *begun, "--data", "mnist", "--data-dir", first.name)[0] == 0
    assert goes_on(2) == str(first)
    assert goes_on(3, "--data-dir", second.name) == second.name
    assert goes_on(4) == str(second)
    second.rmdir()
    assert goes_on(5) is None


def test_what_a_killed_process_was_writing_is_removed(run, monkeypatch):
    with killed(monkeypatch, 40):
        run("train", *QUICK, "--out", "a")
    stale = [".metrics.csv.abcdefgh.csv", ".model.safetensors.a.safetensors",
             "checkpoints/.step-00000060.safetensors.abcdefgh.safetensors"]  # fmt: skip
    for name in (*stale, ".mine", "checkpoints/.mine"):
        (Path("a") / name).write_text("half of it")
    assert run("train", "--resume", "a")[0] == 0
    assert not any((Path("a") / name).exists() for name in stale)
    assert all((Path("a") / name).exists() for name in (".mine", "checkpoints/.mine"))


def test_a_directory_is_one_runs_at_a_time(run, tmp_path):
    assert run("train", *QUICK, "--out", "a")[0] == 0
    with closing(RunDirectory("a", resume=True)):
        assert_refused(
            run("train", "--resume", "a"),
            "another process is writing to a; wait for it, or choose another --out",
        )
    assert run("train", "--resume", "a")[0] == 0


# Signals


def few_digits(name, data_dir=None):
    """Those of the fixture `run`."""
    return Dataset(
        "synthetic", "synthetic digits", *synthetic_digits(600), *synthetic_digits(100, seed=1)
    )


def train_slowly(*arguments):
    """What a process of its own runs: an epoch takes a quarter of a second."""
    cli.options.load_dataset = few_digits
    update = Supervised._update
    Supervised._update = lambda self, grads: (time.sleep(0.008), update(self, grads))
    sys.argv = ["xpnet", "train", *arguments]
    cli.main()


@contextmanager
def process(*arguments):
    """`xpnet train` elsewhere, in its second epoch; its later lines are at the end of stdout."""
    command = [sys.executable, "-c", "import sys, test_resume as t; t.train_slowly(*sys.argv[1:])"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, *map(str, arguments)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        while not child.stdout.readline().startswith("epoch   1"):
            assert child.poll() is None, child.stderr.read()
        yield child
        child.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_after_its_step(run, whole, number, code):
    with process(*FIVE, "--device", "cpu", "--out", "a") as child:
        time.sleep(0.1)
        child.send_signal(number)
        _, err = child.communicate(timeout=120)
    assert child.returncode == code
    said = re.fullmatch(
        r"xpnet: interrupted after (\d+) steps; go on from step-(\d+) with: "
        rf"xpnet train --resume {re.escape(str(Path('a').absolute()))}\n", err,
    )  # fmt: skip
    assert said, err
    assert 30 < int(said[1]) == int(said[2]) < 60
    assert run("train", "--resume", "a")[0] == 0
    assert (weights("a"), rows("a")) == whole


def test_a_process_killed_in_a_step(run, whole):
    with process(*FIVE, "--device", "cpu", "--out", "a") as child:
        child.kill()
        child.wait()
    assert run("train", "--resume", "a")[0] == 0
    assert (weights("a"), rows("a")) == whole


def test_a_second_signal_ends_at_once():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    signals = Signals()
    with signals.heard():
        signal.raise_signal(signal.SIGTERM)
        assert signals.number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
