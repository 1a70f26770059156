"""A run's directory that is removed, moved or taken by another run while the first still works."""

import shlex
import shutil
from contextlib import ExitStack, closing
from importlib import import_module
from pathlib import Path

import pytest

from test_cli import assert_refused
from test_cli import run as run  # a fixture
from test_resume import FIVE, at_step, raising, rows, weights
from test_resume import whole as whole  # a fixture
from xpnet import TwoLayerNet
from xpnet.errors import DirectoryTakenError, OutputError
from xpnet.report import plots
from xpnet.train.run_directory import RunDirectory


def contents(directory):
    """Of all files there; nothing may be changed in them."""
    files = [path for path in Path(directory).rglob("*") if path.is_file()]
    return {path.relative_to(directory): path.read_bytes() for path in files}


@pytest.fixture
def another(run, monkeypatch):
    """What stands for a run that is finished, in b. No picture is drawn, which takes time."""
    monkeypatch.setattr(plots, "available", lambda: False)
    Path("b/checkpoints").mkdir(parents=True)
    for name in (".lock", "metrics.csv", "summary.json", "checkpoints/step-00000003.safetensors"):
        (Path("b") / name).write_text(f"{name} of another run")
    return contents("b")


def replaced_by_a_finished_run():
    shutil.rmtree("a")
    shutil.copytree("b", "a")


def replaced_by_a_link():
    Path("a").rename("c")
    Path("a").symlink_to("b")


def gone_on_with_by_another():
    """The lock's file was removed by hand; the other run has made its own, and ended."""
    Path("a/.lock").unlink()
    RunDirectory("a", resume=True).close()


TAKEN = [
    replaced_by_a_finished_run,
    pytest.param(replaced_by_a_link, marks=pytest.mark.slow),
    gone_on_with_by_another,
]


@pytest.mark.parametrize("take", TAKEN)
def test_a_directory_of_another_run_is_left_alone(run, whole, another, monkeypatch, take):
    """The first run stops at its next checkpoint, and goes on where it says."""
    seen = {}

    def taken():
        take()
        seen.update(contents("a"))

    with monkeypatch.context() as patch:
        at_step(patch, {40: taken})
        Path("a.lost-1").mkdir()
        place = Path("a.lost-2").absolute()
        assert_refused(
            run("train", *FIVE, "--out", "a"),
            "xpnet: error: another run has taken a since this one began; this one stops after 60 "
            f"steps, and goes on with: xpnet train --resume {place}\n",
        )
    assert (contents("a"), contents("b")) == (seen, another)
    assert run("train", "--resume", place)[0] == 0
    assert (weights(place), rows(place)) == whole


def test_a_directory_that_another_run_works_in(run, whole, monkeypatch):
    with ExitStack() as stack:

        def taken():
            shutil.rmtree("a")
            stack.enter_context(closing(RunDirectory("a")))

        with monkeypatch.context() as patch:
            at_step(patch, {40: taken})
            assert_refused(run("train", *FIVE, "--out", "a"), "another run has taken a since")
        assert sorted(path.name for path in Path("a").iterdir()) == [".lock", "metrics.csv"]
    assert run("train", "--resume", "a.lost-1")[0] == 0
    assert weights("a.lost-1") == whole[0]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        pytest.param(import_module("xpnet.cli.train"), "measured", marks=pytest.mark.slow),
        (TwoLayerNet, "save_params"),
        pytest.param(plots, "learning_curve", marks=pytest.mark.slow),
    ],
)
def test_a_directory_that_is_taken_at_the_end(run, whole, another, monkeypatch, owner, name):
    """It is looked at before each of the last files, too."""
    act, done = getattr(owner, name), []

    def then_taken(*arguments, **options):
        result = act(*arguments, **options)
        if not done:
            replaced_by_a_finished_run()
        done.append(1)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, then_taken)
        patch.setattr(plots, "available", lambda: owner is plots)
        assert_refused(run("train", *FIVE, "--out", "a"), "taken a since", "after 150 steps")
    assert contents("a") == another
    assert run("train", "--resume", "a.lost-1")[0] == 0
    assert (weights("a.lost-1"), rows("a.lost-1")) == whole


def test_where_nothing_can_be_made_beside_it(run, another, monkeypatch, tmp_path):
    """The name is as long as a name can be: the state is kept among temporary files."""
    name = "n" * 255
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def taken():
        shutil.rmtree(name)
        shutil.copytree("b", name)

    with monkeypatch.context() as patch:
        at_step(patch, {40: taken})
        code, _, err = run("train", *FIVE, "--out", name)
        place = shlex.split(err)[-1]
        assert (code, Path(place).parent, Path(place).name[:11]) == (2, tmp_path, "xpnet-lost-")
        assert run("train", "--resume", place)[0] == 0
        shutil.rmtree(name)
        patch.setattr("tempfile.mkdtemp", raising(OSError("no")))
        at_step(patch, {40: taken})
        assert_refused(run("train", *FIVE, "--out", name), "what this one has learned can be kept")


def moved():
    Path("a").rename("c")


def emptied():
    shutil.rmtree("a")
    Path("a").mkdir()


def unlocked():
    Path("a/.lock").unlink()


@pytest.mark.parametrize("change", [moved, pytest.param(emptied, marks=pytest.mark.slow), unlocked])
def test_what_nobody_else_has_taken_is_the_runs_own(run, whole, monkeypatch, change):
    monkeypatch.setattr(plots, "available", lambda: False)

    def nobody_else():
        with pytest.raises(OutputError, match="another process is writing to a"):
            RunDirectory("a", resume=True)

    with monkeypatch.context() as patch:
        at_step(patch, {40: change, 70: nobody_else})
        assert run("train", *FIVE, "--out", "a")[::2] == (0, "")
    assert (weights("a"), rows("a")) == whole
    if change is moved:  # what was there goes on as well
        assert run("train", "--resume", "c")[0] == 0
        assert (weights("c"), rows("c")) == whole


def test_two_that_make_it_again_at_once(tmp_path, monkeypatch):
    """Both see that it is gone; one is faster, and may even have ended."""
    first = RunDirectory(tmp_path / "a")
    shutil.rmtree(tmp_path / "a")

    def faster(path):
        monkeypatch.undo()
        RunDirectory(path).close()

    monkeypatch.setattr("xpnet.train.run_directory.make_directory", faster)
    with closing(first), pytest.raises(DirectoryTakenError):
        first.claim()


@pytest.mark.parametrize("error", [NotImplementedError("no locks"), OSError(37, "No locks")])
def test_where_files_cannot_be_locked(run, monkeypatch, error):
    monkeypatch.setattr("filelock.FileLock.acquire", raising(error))
    reason = "No locks" if isinstance(error, OSError) else "no locks"
    assert_refused(
        run("train", *FIVE, "--out", "a"), f"cannot create a: {reason}; choose another --out"
    )


def test_a_directory_that_fails_for_a_while(run, whole, monkeypatch):
    """A file server that does not answer: it is told, and tried again."""
    monkeypatch.setattr(plots, "available", lambda: False)
    stat = Path.stat
    stale = OSError(116, "Stale file handle")

    def broken(self, **options):
        if self.name == ".lock":
            raise stale
        return stat(self, **options)

    with monkeypatch.context() as patch:
        actions = {40: lambda: patch.setattr(Path, "stat", broken)}
        at_step(patch, actions | {70: lambda: patch.setattr(Path, "stat", stat)})
        code, _, err = run("train", *FIVE, "--out", "a")
    assert (code, err) == (
        0, "xpnet: warning: cannot create a: Stale file handle; choose another --out\n" * 2
    )  # fmt: skip
    assert (weights("a"), rows("a")) == whole
