"""Files that runs go on from: what is kept, and that nothing wrong is used."""

import errno
import json
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from xpnet import TwoLayerNet
from xpnet.errors import CheckpointError, OutputError
from xpnet.files.weights import save_weights
from xpnet.train.checkpoint import Checkpoints, _digest, load_checkpoint

ARRAYS = {
    "params.W1": np.arange(6, dtype=np.float32).reshape(2, 3),
    "state.dropout1.calls": np.array([7]),
    "optimizer.m.flat": np.float64([0.1, np.pi]),
    "train_losses": np.float64([2.0, 1.0]),
    "epoch_losses": np.float32([]),
}


def save(checkpoints, steps, *accuracies, within=False):
    """A checkpoint after epochs of these test accuracies, or within the next one."""
    record = {"steps": steps, "history": [{"test_accuracy": accuracy} for accuracy in accuracies]}
    losses = np.float32([1.0] if within else [])
    return checkpoints.save(ARRAYS | {"epoch_losses": losses}, record)


def steps(checkpoints):
    return [int(path.stem.removeprefix("step-")) for path in checkpoints.paths()]


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", keep=2)


def test_what_was_written_is_read(checkpoints):
    path = save(checkpoints, 12, 0.5)
    assert path.name == "step-00000012.safetensors"
    found = load_checkpoint(path)
    assert found.record == {"format": 2, "steps": 12, "history": [{"test_accuracy": 0.5}]}
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
    assert found.test_accuracy == 0.5
    assert load_checkpoint(save(checkpoints, 13, 0.5, within=True)).test_accuracy is None


def test_the_newest_are_kept_and_the_best(checkpoints):
    """The best is one after an epoch; of equals the first."""
    save(checkpoints, 0)
    assert (save(checkpoints, 5, 0.3), steps(checkpoints)) == (checkpoints.paths()[-1], [0, 5])
    save(checkpoints, 10, 0.3, 0.9)
    assert steps(checkpoints) == [5, 10]
    save(checkpoints, 15, 0.3, 0.9, 0.9)
    save(checkpoints, 18, 0.3, 0.9, 0.9, within=True)
    assert steps(checkpoints) == [10, 15, 18]
    save(checkpoints, 20, 0.3, 0.9, 0.9, 0.95)
    assert steps(checkpoints) == [18, 20]
    save(checkpoints, 100_000_000, 0.3, 0.9, 0.9, 0.95, 0.1)
    save(checkpoints, 100_000_001, 0.3, 0.9, 0.9, 0.95, 0.1, within=True)
    assert steps(checkpoints) == [20, 100_000_000, 100_000_001]


def test_the_best_is_found_again(checkpoints):
    for at, accuracies in ((5, [0.9]), (10, [0.9, 0.1]), (15, [0.9, 0.1, 0.2])):
        path = save(checkpoints, at, *accuracies)
    again = Checkpoints(checkpoints.directory, keep=2)
    again.go_on_from(path)
    for at in (16, 17, 18):
        save(again, at, 0.9, 0.1, 0.2, within=True)
    assert steps(again) == [5, 17, 18]


def test_newer_ones_are_set_aside(checkpoints):
    first, second = save(checkpoints, 5, 0.3), save(checkpoints, 10, 0.3, 0.9)
    contents = second.read_bytes()
    checkpoints.go_on_from(first)
    assert checkpoints.newest().path == first
    assert second.with_suffix(".set-aside").read_bytes() == contents
    save(checkpoints, 8, 0.3, 0.4)
    save(checkpoints, 9, 0.3, 0.4, within=True)
    save(checkpoints, 11, 0.3, 0.4, within=True)
    assert steps(checkpoints) == [8, 9, 11]  # 0.4 is the best without the one set aside


def test_what_is_set_aside_stays(checkpoints, monkeypatch):
    """Also where another was set aside by that name before."""
    first, contents = save(checkpoints, 5, 0.3), []
    for accuracy in (0.1, 0.2, 0.3):
        contents.append(save(checkpoints, 10, 0.3, accuracy).read_bytes())
        checkpoints.go_on_from(first)
    for ending, want in zip(("", ".1", ".2"), contents, strict=True):
        aside = checkpoints.directory / f"step-00000010.set-aside{ending}"
        assert aside.read_bytes() == want
    assert checkpoints.paths() == [first]
    save(checkpoints, 10, 0.3)

    def broken(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(OutputError, match=r"cannot rename .* to step-00000010\.set-aside\.3: Read"):
        checkpoints.go_on_from(first)


def test_a_bit_that_is_not_as_written_is_noticed(checkpoints, tmp_path):
    whole = save(checkpoints, 5, 0.3).read_bytes()
    damaged = tmp_path / "step-00000005.safetensors"
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        damaged.write_bytes(changed)
        with pytest.raises(CheckpointError, match="damaged, or no checkpoint: "):
            load_checkpoint(damaged)
    for length in range(len(whole)):
        damaged.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="damaged, or no checkpoint: it cannot be read"):
            load_checkpoint(damaged)


def test_no_size_is_too_large(checkpoints, monkeypatch):
    """What was written can be read, also where other weights would be refused."""
    monkeypatch.setattr("xpnet.files.weights.MAX_BYTES", 10)
    load_checkpoint(save(checkpoints, 5, 0.3))


def test_other_files_are_no_checkpoints(tmp_path):
    weights = tmp_path / "model.safetensors"
    TwoLayerNet(2, 3, 4, rng=0).save_params(weights)
    text = tmp_path / "thesis.safetensors"
    text.write_text("years of work")
    newer = tmp_path / "newer.safetensors"
    record = json.dumps({"format": 3})
    save_weights(newer, ARRAYS, {"record": record, "sha256": _digest(ARRAYS, record)})
    for path, message in (
        (weights, f"{weights} is damaged, or no checkpoint: its checksum does not fit"),
        (text, f"{text} is damaged, or no checkpoint: it cannot be read"),
        (newer, f"{newer} has format 3, and this version of xpnet reads 1 and 2"),
        (tmp_path / "none", f"there is no checkpoint {tmp_path}/none"),
        (tmp_path, f"there is no checkpoint {tmp_path}"),
    ):
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(path)
        assert str(caught.value) == message


def test_the_last_sound_one_is_offered(checkpoints):
    assert checkpoints.newest() is None
    for at in (5, 6, 7):
        path = save(checkpoints, at, 0.3 + at / 100)
    checkpoints.keep = 9
    assert checkpoints.newest().path == path
    older, newer = checkpoints.paths()
    newer.write_bytes(newer.read_bytes()[:-1])
    damaged = f"{newer} is damaged, or no checkpoint: it cannot be read; "
    with pytest.raises(CheckpointError) as caught:
        checkpoints.newest()
    assert str(caught.value) == f"{damaged}go on from the one before it: --resume {older}"
    older.write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.newest()
    assert str(caught.value) == f"{damaged}begin anew"


def test_what_cannot_be_written_or_removed_is_told(checkpoints, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        save(Checkpoints(tmp_path / "file" / "checkpoints"), 5)
    assert str(caught.value) == (
        f"cannot write in {tmp_path}/file/checkpoints: Not a directory; a directory that can be "
        "written is needed"
    )
    (checkpoints.directory / "step-00000000.safetensors").mkdir(parents=True)
    save(checkpoints, 1)
    with pytest.raises(OutputError, match="checkpoints: Is a directory; a directory"):
        save(checkpoints, 2)
    assert steps(checkpoints) == [0, 1, 2]
    shutil.rmtree(checkpoints.directory)
    save(checkpoints, 3)
    assert steps(checkpoints) == [3]


@pytest.mark.parametrize("record", ["", "[]", "3", "{}", "[" * 100_000])
def test_a_record_that_is_none_is_told_even_if_its_checksum_fits(tmp_path, record):
    path = tmp_path / "step-00000001.safetensors"
    save_weights(path, ARRAYS, {"record": record, "sha256": _digest(ARRAYS, record)})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == f"{path} is no checkpoint: its record cannot be read"


def test_a_file_is_on_the_disk_before_its_name_and_the_name_after(checkpoints, monkeypatch):
    """Or a power cut could leave the name of an empty file, or none."""
    calls, fsync, replace = [], os.fsync, Path.replace

    def synced(handle):
        calls.append("directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def renamed(self, target):
        calls.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    save(checkpoints, 1)
    assert calls == ["directory", "file", "name", "directory"]  # of the checkpoints' directory, too
