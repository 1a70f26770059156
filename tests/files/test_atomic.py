"""Files that are there whole or not at all, with the permissions that others have."""

import errno
import json
import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from xpnet.errors import OutputError
from xpnet.files.atomic import atomic_write, make_directory, write_text
from xpnet.files.pictures import save_picture
from xpnet.files.weights import save_weights


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


WRITERS = {
    "text": lambda path: write_text(path, "a"),
    "weights": lambda path: save_weights(path, {"W": np.ones(2)}, {}),
    "picture": lambda path: save_picture(path, np.zeros((28, 28), "uint8")),
}


@pytest.mark.parametrize("name", WRITERS)
def test_permissions_are_the_usual_ones(tmp_path, umask, monkeypatch, name):
    """The umask is that of all threads: nobody may change it, be it to ask what it is."""

    def changed(mask):
        raise AssertionError(f"os.umask({mask:#o})")

    monkeypatch.setattr(os, "umask", changed)
    path = tmp_path / "file.png"
    for _ in range(2):  # new, and in another's place
        WRITERS[name](path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_another_thread_keep_their_permissions(tmp_path, umask):
    modes, ended = [], threading.Event()

    def other():
        while not ended.is_set():
            path = tmp_path / f"other-{len(modes)}"
            path.touch()
            modes.append(stat.S_IMODE(path.stat().st_mode))

    thread = threading.Thread(target=other)
    thread.start()
    for _ in range(15):
        write_text(tmp_path / "own", "a")
    ended.set()
    thread.join()
    assert set(modes) == {0o666 & ~umask}


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    write_text(path, "before")

    def broken_off():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken_off()
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("file", "before")]
    with pytest.raises(
        OutputError, match=r"^cannot write .*absent/file: No such file or directory"
    ):
        write_text(tmp_path / "absent" / "file", "a")


NAMES = [
    "n" * 255,
    "é" * 127,
    "a." + "b" * 253,
    "\udcff" * 255,
    "日" * 85,
    "x" * 251 + ".png",
    "~",
    " ",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_that_a_file_can_have(tmp_path, name):
    """The temporary one is not too long, be it in bytes."""
    path = tmp_path / name
    write_text(path, "first")
    write_text(path, "second")
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208
    assert path.read_text() == "second"
    with pytest.raises(OutputError, match="File name too long; choose"):
        write_text(tmp_path / ("n" * 256), "")
    with pytest.raises(OutputError, match=r"cannot write \.: "):
        write_text(".", "")


def test_half_characters_come_back(tmp_path):
    """Of the names of files that are not UTF-8; the file is UTF-8 all the same."""
    record = {"data": "MNIST in \udcff\udc80", "é": "日\x1b"}
    write_text(tmp_path / "a.json", json.dumps(record, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == record


def synced(monkeypatch, error=None, *, of=stat.S_ISDIR):
    """The names of what is brought to the disk; an error comes of directories, or of files."""
    names, fsync = [], os.fsync

    def noted(handle):
        names.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)  # noqa: PTH115
        if error is not None and of(os.fstat(handle).st_mode):
            raise OSError(error, os.strerror(error))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    return names


def test_new_directories_are_brought_to_the_disk(tmp_path, monkeypatch):
    """Their names are in the directories above them."""
    names = synced(monkeypatch)
    make_directory(tmp_path / "a" / "b" / "c")
    assert sorted(names) == sorted([tmp_path.name, "a", "b"])
    make_directory(tmp_path / "a" / "b" / "c")
    assert len(names) == 3


@pytest.mark.parametrize("of", [stat.S_ISDIR, stat.S_ISREG])
def test_a_disk_that_fails_is_told(tmp_path, monkeypatch, of):
    """Systems that cannot say whether something is on the disk are no reason to."""
    for number in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
        with monkeypatch.context() as patch:
            synced(patch, number, of=of)
            write_text(tmp_path / "a", "first")
            make_directory(tmp_path / f"d{number}")
    with monkeypatch.context() as patch:
        synced(patch, errno.EIO, of=of)
        with pytest.raises(OutputError, match=f"cannot write {tmp_path}/a: Input/output error"):
            write_text(tmp_path / "a", "second")
        if of is stat.S_ISDIR:
            with pytest.raises(OSError, match="Input/output error"):
                make_directory(tmp_path / "e")
    assert (tmp_path / "a").read_text() == ("first" if of is stat.S_ISREG else "second")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_directory_that_may_only_be_written_into(tmp_path, monkeypatch):
    """It cannot be opened to be brought to the disk, nor can any on Windows."""
    opened = os.open

    def refused(path, flags, *more):
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", refused)
    write_text(tmp_path / "a", "text")
    make_directory(tmp_path / "b")
    assert (tmp_path / "a").read_text() == "text"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_is_no_file_is_written_into_and_stays(write, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write(pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    write(tmp_path / "file")
    assert os.read(reader, 10_000) == (tmp_path / "file").read_bytes()
    os.close(reader)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pipe"]


def test_the_file_that_a_link_leads_to_is_written(tmp_path):
    (tmp_path / "below").mkdir()
    link = tmp_path / "link"
    link.symlink_to("below/file")
    for text in ("a", "b"):
        write_text(link, text)
        assert (tmp_path / "below" / "file").read_text() == text
    assert link.is_symlink()
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["file"]
