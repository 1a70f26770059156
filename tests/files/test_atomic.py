"""Files that are there whole or not at all, with the permissions that others have."""

import os
import stat
import threading

import numpy as np
import pytest

from xpnet.errors import OutputError
from xpnet.files.atomic import atomic_write, write_text
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
