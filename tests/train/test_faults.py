"""Disks, directories, files and threads that fail under a run: what is told, and what is kept."""

import errno
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from test_cli import assert_refused
from test_cli import run as run  # a fixture
from test_resume import FIVE, T, X, assert_same, at_step, of, raising, result, rows, weights
from test_resume import whole as whole  # a fixture
from xpnet import Adam, Batches, Trainer, TwoLayerNet
from xpnet.engine.cpu.program import Program
from xpnet.errors import OutputError
from xpnet.train.checkpoint import Checkpoints, load_checkpoint
from xpnet.train.keeper import Keeper
from xpnet.train.run_directory import RunDirectory

REMEDY = "choose a directory that exists, can be written and has room left"


def warnings(err):
    """The lines of stderr that warn, and the others."""
    lines = err.splitlines()
    told = [line for line in lines if line.startswith("xpnet: warning: ")]
    return told, [line for line in lines if line not in told]


def steps(directory):
    """Of the checkpoints there, which all are sound."""
    return [load_checkpoint(path).record["steps"] for path in Checkpoints(Path(directory)).paths()]


@contextmanager
def mounted(place, options):
    """A small file system of its own; a skip where that is not allowed."""
    place.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(run, whole, tmp_path):
    """Room for two checkpoints: training goes on to its end, and what is missing can be had."""
    with mounted(tmp_path / "disk", "size=1m") as disk:
        (disk / "ballast").write_bytes(bytes(600_000))
        code, _, err = run("train", *FIVE, "--out", "disk/a")
        told, (last,) = warnings(err)
        assert told == [
            f"xpnet: warning: cannot write disk/a/checkpoints/step-{n:08d}.safetensors: "
            f"No space left on device; {REMEDY}"
            for n in (60, 90, 120, 150)
        ]
        assert (code, last) == (
            2,
            "xpnet: error: cannot write disk/a/model.safetensors: No space left on device; "
            f"{REMEDY}, or mend this one: --resume disk/a then writes what is missing",
        )
        assert steps("disk/a/checkpoints") == [0, 30]
        assert len(rows("disk/a")) == 6
        (disk / "ballast").unlink()
        assert run("train", "--resume", "disk/a")[0] == 0
        assert (weights("disk/a"), rows("disk/a")) == whole


def test_half_of_a_file_is_none(run, whole, monkeypatch):
    """The system takes 100 kB of a file and then no more, for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    at_step(monkeypatch, {40: limit(100_000), 100: limit(soft)})
    try:
        code, _, err = run("train", *FIVE, "--out", "a")
    finally:
        limit(soft)()
    told, others = warnings(err)
    assert [line.partition("safetensors: ")[2] for line in told] == [
        f"File too large; {REMEDY}"
    ] * 2
    assert (code, others, steps("a/checkpoints")) == (0, [], [30, 120, 150])
    assert (weights("a"), rows("a")) == whole
    assert not [path for path in Path("a").rglob(".*") if path.name != ".lock"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_altogether(run, whole, monkeypatch, number):
    """Nothing can be written from the second epoch on, and then again."""
    told = f"{os.strerror(number)}; {REMEDY}"
    with monkeypatch.context() as patch:
        broken = raising(OSError(number, os.strerror(number)))
        at_step(patch, {40: lambda: patch.setattr("xpnet.files.atomic.Path.touch", broken)})
        code, _, err = run("train", *FIVE, "--out", "a")
    lines, (last,) = warnings(err)
    assert len(lines) == 8  # of four epochs, a checkpoint and the record
    assert lines[1] == f"xpnet: warning: cannot write a/metrics.csv: {told}"
    assert code == 2
    assert last.startswith(f"xpnet: error: cannot write a/metrics.csv: {told}, or mend this one")
    assert steps("a/checkpoints") == [0, 30]
    assert run("train", "--resume", "a")[0] == 0
    assert (weights("a"), rows("a")) == whole


def test_a_file_system_for_reading_alone(run, tmp_path):
    with mounted(tmp_path / "disk", "ro,size=1m"):
        for options in (["--out"], ["--begin", "--resume"]):
            assert_refused(
                run("train", *FIVE, *options, "disk/a"),
                "cannot create disk/a: Read-only file system; choose another --out",
            )


def test_a_directory_that_is_removed(run, whole, monkeypatch):
    """It is made again with the next checkpoint, and nobody else gets in."""

    def somebody_else():
        with pytest.raises(OutputError, match="another process is writing to a; wait for it"):
            RunDirectory("a", resume=True)

    at_step(monkeypatch, {40: lambda: shutil.rmtree("a"), 70: somebody_else})
    code, _, err = run("train", *FIVE, "--out", "a")
    assert (code, err) == (0, "")
    assert steps("a/checkpoints")[-3:] == [90, 120, 150]
    assert (weights("a"), rows("a")) == whole


def test_a_directory_that_became_a_file(run, monkeypatch):
    def replace():
        shutil.rmtree("a")
        Path("a").write_text("years of work")

    at_step(monkeypatch, {40: replace})
    code, _, err = run("train", *FIVE, "--out", "a")
    told, (last,) = warnings(err)
    assert set(told) == {"xpnet: warning: cannot create a: File exists; choose another --out"}
    assert (code, last) == (
        2,
        "xpnet: error: cannot create a: File exists; choose another --out; this one stops after "
        f"150 steps, and goes on with: xpnet train --resume {Path('a.lost-1').absolute()}",
    )
    assert Path("a").read_text() == "years of work"
    assert steps("a.lost-1/checkpoints") == [150]
    at_step(monkeypatch, {40: replace, 70: lambda: signal.raise_signal(signal.SIGINT)})
    Path("a").unlink()
    assert run("train", *FIVE, "--out", "a")[2].endswith(
        "xpnet: interrupted after 71 steps; go on with: xpnet train --resume "
        f"{Path('a.lost-2').absolute()}\n"
    )
    assert steps("a.lost-2/checkpoints") == [71]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_nothing_can_be_written(run, monkeypatch, number, code):
    """What is said is what is kept."""
    stop = {70: lambda: signal.raise_signal(number)}
    full = raising(OutputError("the disk is full"))
    with monkeypatch.context() as patch:
        at_step(patch, {40: lambda: patch.setattr(Checkpoints, "save", full), **stop})
        assert run("train", *FIVE, "--out", "a b")[::2] == (
            code,
            "xpnet: warning: the disk is full\n"
            * 2
            + "xpnet: interrupted after 71 steps; go on from step-00000030 with: "
            f"xpnet train --resume {shlex.quote(str(Path('a b').absolute()))}\n",
        )
        patch.setattr(Checkpoints, "save", full)
        at_step(patch, stop)
        assert run("train", *FIVE, "--out", "b")[::2] == (
            code,
            "xpnet: warning: the disk is full\n" * 4
            + "xpnet: interrupted after 71 steps; no checkpoint could be written\n",
        )


@pytest.mark.parametrize("main", [True, False])
def test_a_thread_that_fails(monkeypatch, main):
    """The error comes out of the call, after the other threads; what was learned is as it was."""
    whole, trainer = (of("simple-convnet")() for _ in range(2))
    for each in (whole, trainer):
        each.train_batches.batch_size = 20
        assert len(each.engine.division(20).shares) == 2
    whole.train()
    loss, calls = Program.loss, []

    def broken(self, *arguments):
        calls.append(1)
        ours = threading.current_thread() is threading.main_thread()
        if len(calls) > 6 and ours == main:
            raise RuntimeError("of a thread")
        return loss(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Program, "loss", broken)
        with pytest.raises(RuntimeError, match="of a thread"):
            trainer.train()
    assert 0 < trainer.steps < whole.steps
    trainer.train()
    assert_same(result(trainer), result(whole))


# Data in files


def streamed(file, *, on_step=None):
    """Trains on images that stay in a file."""
    x = np.memmap(file, dtype=np.uint8, mode="r", shape=X.shape)
    net = TwoLayerNet(144, 5, 10, rng=0)
    return Trainer(
        net, x, T, x[:20], T[:20], 3, 16, Adam(), verbose=False, resident=False, on_step=on_step
    )


@pytest.fixture
def file(tmp_path):
    X.tofile(tmp_path / "images")
    return tmp_path / "images"


def test_data_that_are_replaced_or_removed_under_a_run(file, tmp_path):
    """A new file of the same name is another file: what was opened stays."""
    want = streamed(file)
    want.train()
    replaced, removed = streamed(file), streamed(file)
    np.zeros_like(X).tofile(tmp_path / "new")
    replaced.on_step = lambda: replaced.steps == 2 and (tmp_path / "new").rename(file)
    removed.on_step = lambda: removed.steps == 2 and file.unlink()
    for trainer in (replaced, removed):
        trainer.train()
        assert_same(result(trainer), result(want))


def run_on_a_file_that_shrinks(file, directory):
    """What a process of its own does, for it does not survive."""
    trainer = streamed(file)
    keeper = Keeper(
        trainer, RunDirectory(directory), Checkpoints(Path(directory) / "checkpoints"), {},
        every_steps=1, tell=print,
    )  # fmt: skip

    def on_step():
        if trainer.steps == 5:
            os.truncate(file, 0)

    trainer.on_step = on_step
    keeper.train()


def test_data_that_are_cut_off_under_a_run(file, tmp_path):
    """The system ends the process; its checkpoints stay."""
    want = streamed(file)
    want.train()
    script = "import sys, test_faults as t; t.run_on_a_file_that_shrinks(*sys.argv[1:])"
    ended = subprocess.run(
        [sys.executable, "-c", script, file, tmp_path / "a"],
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGBUS, ended.stderr
    X.tofile(file)
    trainer, found = streamed(file), Checkpoints(tmp_path / "a" / "checkpoints").newest()
    assert found.record["steps"] == 5
    trainer.restore(found.arrays, found.record)
    trainer.train()
    assert_same(result(trainer), result(want))


def test_streamed_images_take_no_memory(tmp_path):
    """An epoch of 100,000 of them, 78 MB, in the room of their order and a few batches."""
    n = 100_000
    np.memmap(tmp_path / "images", dtype=np.uint8, mode="w+", shape=(n, 1, 28, 28))[::7] = 1
    x = np.memmap(tmp_path / "images", dtype=np.uint8, mode="r", shape=(n, 1, 28, 28))
    t = np.zeros(n, dtype=np.uint8)
    tracemalloc.start()
    try:
        trainer = Trainer(
            TwoLayerNet(784, 2, 10, rng=0), x, t, x, t, 1, 500, Adam(), verbose=False,
            resident=False, evaluate_sample_num_per_epoch=10_000,
        )  # fmt: skip
        trainer.train()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert trainer.steps == 200
    assert peak < 12e6
    batches = Batches(x, t, 500, resident=False)
    assert sum(float(np.sum(images)) for images, _ in batches.epoch(0)) == pytest.approx(
        -(-n // 7) * 784 / 255, rel=1e-5
    )
