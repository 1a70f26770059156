import errno
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet.data import mnist
from xpnet.data.idx import header, write_idx
from xpnet.data.mnist import find_mnist, load_mnist, read_mnist
from xpnet.errors import DataError, DataNotFoundError

REMEDY = "put its four files into a directory and name it by data_dir or XPNET_DATA_DIR"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A four-file MNIST of five images, an empty cache, and no way to the real network."""
    rng = np.random.default_rng(0)
    shapes = [(3, 28, 28), (3,), (2, 28, 28), (2,)]
    arrays = [rng.integers(0, 256 if len(s) == 3 else 10, s, np.uint8) for s in shapes]
    contents = [header(a.shape) + a.tobytes() for a in arrays]
    packed = [gzip.compress(c, mtime=0) for c in contents]
    files = [
        mnist.File(f.name, s, hashlib.sha256(c).hexdigest(), hashlib.sha256(p).hexdigest())
        for f, s, c, p in zip(mnist.FILES, shapes, contents, packed, strict=True)
    ]
    monkeypatch.setattr(mnist, "FILES", files)
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.delenv("XPNET_DATA_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return SimpleNamespace(
        arrays=arrays,
        packed={f"{f.name}.gz": p for f, p in zip(files, packed, strict=True)},
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The directory of MNIST in a cache that is empty."""
    pooch = pytest.importorskip("pooch", reason="pooch is not installed")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "caches" / project)
    return tmp_path / "caches" / "xpnet" / "mnist"


def put(directory, packed):
    directory.mkdir(parents=True)
    for name, data in packed.items():
        (directory / name).write_bytes(data)


def check(tiny, got):
    x_train, t_train, x_test, t_test = got
    assert x_train.shape == (3, 1, 28, 28)
    assert x_test.shape == (2, 1, 28, 28)
    for a, b in zip([x_train[:, 0], t_train, x_test[:, 0], t_test], tiny.arrays, strict=True):
        assert a.dtype == np.uint8
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def server(tiny, cache, monkeypatch):
    """Two mirrors on this machine: a/ and b/ of `replies`, by default both whole.

    A reply is a status, or a body with the length that it announces.
    """
    replies = {f"/{m}/{n}": (p, len(p)) for m in "ab" for n, p in tiny.packed.items()}
    state = SimpleNamespace(replies=replies, seen=[], meet=lambda: None)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.seen.append(self.path)
            state.meet()
            reply = state.replies[self.path]
            if isinstance(reply, int):
                self.send_error(reply)
                return
            body, length = reply
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        base = f"http://127.0.0.1:{httpd.server_port}"
        monkeypatch.setattr(mnist, "MIRRORS", (f"{base}/a/", f"{base}/b/"))
        yield state
        httpd.shutdown()
        thread.join()


# Where the files are


@pytest.mark.parametrize("way", ["argument", "variable", "cache"])
def test_found_in_each_place_without_network(request, tiny, tmp_path, monkeypatch, way):
    directory = request.getfixturevalue("cache") if way == "cache" else tmp_path / "mine"
    put(directory, tiny.packed)
    if way == "variable":
        monkeypatch.setenv("XPNET_DATA_DIR", str(directory))
    argument = directory if way == "argument" else None
    assert find_mnist(argument) == directory
    check(tiny, read_mnist(argument))


@pytest.mark.parametrize(("argument", "variable", "want"), [
    (None, None, None), (None, "", None), (None, "v", "v"), ("a", "v", "a"), ("", "v", "."),
])  # fmt: skip
def test_what_names_the_directory(tiny, monkeypatch, argument, variable, want):
    if variable is not None:
        monkeypatch.setenv("XPNET_DATA_DIR", variable)
    assert mnist.named_directory(argument) == (want and Path(want))


def test_argument_goes_before_variable(tiny, tmp_path, monkeypatch):
    put(tmp_path / "mine", tiny.packed)
    monkeypatch.setenv("XPNET_DATA_DIR", str(tmp_path / "elsewhere"))
    assert find_mnist(str(tmp_path / "mine")) == tmp_path / "mine"


def test_unpacked_files_do_as_well(tiny, tmp_path):
    put(tmp_path / "mine", {n.removesuffix(".gz"): gzip.decompress(p)
                            for n, p in tiny.packed.items()})  # fmt: skip
    check(tiny, read_mnist(tmp_path / "mine"))


@pytest.mark.parametrize("place", ["", "mnist", "MNIST/raw", "raw", "MNIST", "mnist/raw"])
@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("home", [False, True])
def test_found_in_every_usual_layout(tiny, tmp_path, monkeypatch, place, dot, packed, home):
    """As published, as many programs unpack it, and as torchvision keeps it."""
    files = {}
    for name, data in tiny.packed.items():
        name = name.replace("-idx", ".idx") if dot else name
        files[name if packed else name.removesuffix(".gz")] = (
            data if packed else gzip.decompress(data)
        )
    put(tmp_path / "data" / place, files)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XPNET_DATA_DIR", "~/data" if home else str(tmp_path / "data"))
    assert find_mnist() == tmp_path / "data" / place
    check(tiny, read_mnist())
    check(tiny, read_mnist("~/data" if home else tmp_path / "data"))


def refusal(directory):
    with pytest.raises(DataNotFoundError) as caught:
        find_mnist(directory)
    return str(caught.value)


def test_what_is_wrong_with_a_directory_is_said(tmp_path, tiny):
    path = tmp_path / "no"
    assert refusal(path) == (
        f"{path}: there is no such directory; name the one that holds MNIST's four files"
    )
    path.write_bytes(b"")
    assert refusal(path) == f"{path}: it is a file; name the directory that it is in"
    assert refusal("~nobody-of-this-name/x") == (
        "~nobody-of-this-name/x: there is no such home directory; write its path without ~"
    )
    assert "no such directory" in refusal("a\nb" * 10)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_directory_that_may_not_be_read(tmp_path, tiny):
    (tmp_path / "mine").mkdir(mode=0)
    assert "cannot be read (Permission denied)" in refusal(tmp_path / "mine")


@pytest.mark.parametrize(
    "name", ["train-images-idx3-ubyte (1).gz", "Train_Images.IDX", "trainimages"]
)
def test_a_file_of_nearly_the_name_is_named(tmp_path, tiny, name):
    put(tmp_path / "mine", tiny.packed)
    (tmp_path / "mine" / "train-images-idx3-ubyte.gz").rename(tmp_path / "mine" / name)
    assert refusal(tmp_path / "mine") == (
        f"{tmp_path / 'mine'}: train-images-idx3-ubyte or train-images-idx3-ubyte.gz is missing; "
        f"if {name} is it, rename it"
    )


@pytest.mark.parametrize(("given", "held"), [
    ("torch", "torch/other"), ("torch", "torch/my/raw"),
    ("torch/MNIST/processed", "torch/MNIST/raw"),
])  # fmt: skip
def test_a_directory_nearby_that_holds_them_is_named(tmp_path, tiny, given, held):
    put(tmp_path / held, tiny.packed)
    (tmp_path / given).mkdir(exist_ok=True)
    assert refusal(tmp_path / given).endswith(f"; name {tmp_path / held}, where all four are")


@pytest.mark.parametrize("way", ["argument", "variable"])
def test_named_directory_is_neither_completed_nor_passed_over(
    server, tiny, cache, tmp_path, monkeypatch, way
):
    put(cache, tiny.packed)
    put(tmp_path / "mine", tiny.packed)
    (tmp_path / "mine" / "t10k-labels-idx1-ubyte.gz").unlink()
    if way == "variable":
        monkeypatch.setenv("XPNET_DATA_DIR", str(tmp_path / "mine"))
    text = (
        f"{tmp_path / 'mine'}: t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz is missing; "
        "put MNIST's four files there or name another directory"
    )
    with pytest.raises(DataNotFoundError, match=f"^{re.escape(text)}$"):
        find_mnist(tmp_path / "mine" if way == "argument" else None)
    assert len(list((tmp_path / "mine").iterdir())) == 3
    assert server.seen == []


def test_nothing_is_downloaded_when_forbidden(server, tiny, cache):
    text = f"MNIST is not in {cache}; `xpnet data` downloads it; or {REMEDY}"
    with pytest.raises(DataNotFoundError, match=f"^{re.escape(text)}$"):
        find_mnist(download=False)
    assert server.seen == []


def test_without_pooch_there_is_no_cache(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataNotFoundError, match=f"pooch is not installed; install it, or {REMEDY}"):
        find_mnist()


# Downloads


def test_download_then_cache(server, tiny, cache):
    import pooch

    level = pooch.get_logger().level
    check(tiny, read_mnist())
    assert pooch.get_logger().level == level
    assert server.seen == [f"/a/{name}" for name in tiny.packed]
    check(tiny, read_mnist())
    assert len(server.seen) == 4
    assert sorted(p.name for p in cache.iterdir()) == sorted(tiny.packed)


def test_only_missing_files_are_downloaded(server, tiny, cache):
    put(cache, dict(list(tiny.packed.items())[1:]))
    check(tiny, read_mnist())
    assert server.seen == ["/a/train-images-idx3-ubyte.gz"]


@pytest.mark.parametrize("fault", ["missing", "broken", "other bytes", "cut off", "short"])
def test_second_mirror_serves_where_the_first_fails(server, tiny, cache, fault):
    name = "train-images-idx3-ubyte.gz"
    whole = tiny.packed[name]
    server.replies[f"/a/{name}"] = {
        "missing": 404,
        "broken": 500,
        "other bytes": (whole[:-1] + b"!", len(whole)),
        "cut off": (whole[:100], len(whole)),
        "short": (whole[:100], 100),
    }[fault]
    check(tiny, read_mnist())
    assert server.seen[:2] == [f"/a/{name}", f"/b/{name}"]
    assert sorted(p.name for p in cache.iterdir()) == sorted(tiny.packed)


def test_every_mirror_failing_ends_at_the_first_file(server, tiny, cache):
    server.replies = dict.fromkeys(server.replies, 404)
    with pytest.raises(DataNotFoundError) as caught:
        find_mnist()
    assert server.seen == [f"/{m}/train-images-idx3-ubyte.gz" for m in "ab"]
    text = str(caught.value)
    assert text.startswith(f"MNIST could not be downloaded into {cache} (127.0.0.1: HTTPError")
    assert text.endswith(f"); {REMEDY}")
    assert "\n" not in text
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("cache")
def test_no_network(tiny, monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as httpd:
        port = httpd.server_port  # free again, so that it refuses
    monkeypatch.setattr(mnist, "MIRRORS", (f"http://127.0.0.1:{port}/",) * 2)
    with pytest.raises(
        DataNotFoundError,
        match=r"^MNIST could not be downloaded into .* \(127.0.0.1: ConnectionError: .*refused\)",
    ):
        find_mnist()


def test_cache_that_cannot_be_made(server, tiny, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file in the way")
    text = f"{cache}, where MNIST is to be kept, cannot be written (File exists); {REMEDY}"
    with pytest.raises(DataNotFoundError, match=f"^{re.escape(text)}$"):
        find_mnist()
    cache.unlink()
    cache.parent.rmdir()
    cache.parent.write_text("a file in the way")
    with pytest.raises(DataNotFoundError, match=r"cannot be written \(Not a directory\); put"):
        find_mnist()
    assert server.seen == []


def test_a_disk_that_is_full_is_not_the_servers_fault(server, tiny, cache, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataNotFoundError) as caught:
        find_mnist()
    assert f"{cache}, where MNIST is to be kept, cannot be written (No space" in str(caught.value)
    assert len(server.seen) == 1


def test_two_processes_at_once(server, tiny, cache):
    barrier = threading.Barrier(2)
    server.meet = lambda: barrier.wait(timeout=120)  # each file is sent to both at one time
    script = """
import json, pathlib, sys, pooch
from xpnet.data import mnist
files, mnist.MIRRORS, cache = json.loads(sys.argv[1])
mnist.FILES = [mnist.File(name, tuple(shape), *hashes) for name, shape, *hashes in files]
pooch.os_cache = lambda project: pathlib.Path(cache) / project
print(sum(int(a.sum()) for a in mnist.read_mnist()))
"""
    what = json.dumps([mnist.FILES, mnist.MIRRORS, str(cache.parents[1])])
    command = [sys.executable, "-c", script, what]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]
    want = (f"{sum(int(a.sum()) for a in tiny.arrays)}\n", "")  # and not a word from pooch
    assert [process.communicate(timeout=240) for process in both] == [want, want]
    assert len(server.seen) == 8
    assert sorted(p.name for p in cache.iterdir()) == sorted(tiny.packed)


def test_progress_bar_on_a_terminal_alone(server, tiny, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    find_mnist()
    assert "100%" in terminal.getvalue()


# Damaged files


def test_damaged_cached_file_is_named_and_not_used(server, tiny, cache):
    put(cache, tiny.packed)
    path = cache / "t10k-labels-idx1-ubyte.gz"
    write_idx(path, np.array([1, 2], np.uint8))
    want = mnist.FILES[3].sha256[:12]
    got = hashlib.sha256(header((2,)) + b"\1\2").hexdigest()[:12]
    text = (
        f"{path}: this is not MNIST's: expected contents of SHA-256 {want}..., got {got}...; "
        "delete it and run again, and it is downloaded"
    )
    with pytest.raises(DataError, match=f"^{re.escape(text)}$") as caught:
        read_mnist()
    assert not isinstance(caught.value, DataNotFoundError)
    path.unlink()
    check(tiny, read_mnist())


def test_file_of_another_shape(tiny, tmp_path):
    put(tmp_path / "mine", tiny.packed)
    path = tmp_path / "mine" / "train-images-idx3-ubyte.gz"
    path.write_bytes(tiny.packed["t10k-images-idx3-ubyte.gz"])
    text = (
        f"{path}: this is not MNIST's: expected shape (3, 28, 28), got (2, 28, 28); "
        "put MNIST's own there or name another directory"
    )
    with pytest.raises(DataError, match=f"^{re.escape(text)}$"):
        read_mnist(tmp_path / "mine")


@pytest.mark.parametrize("shape", [(3, 28, 28), (2, 28, 28)])
def test_what_is_not_mnist_but_has_its_names_is_named_and_never_to_be_deleted(
    tiny, tmp_path, monkeypatch, shape
):
    packed = gzip.compress(header(shape) + bytes(784 * shape[0]), mtime=0)
    put(tmp_path / "mine", {**tiny.packed, "train-images-idx3-ubyte.gz": packed})
    path = tmp_path / "mine" / "train-images-idx3-ubyte.gz"

    def told():
        with pytest.raises(DataError) as caught:
            read_mnist(tmp_path / "mine")
        return str(caught.value)

    remedy = "put MNIST's own there or name another directory"
    assert told().startswith(f"{path}: this is not MNIST's: expected ")
    assert told().endswith(f"; {remedy}")
    monkeypatch.setitem(mnist.RELATED, hashlib.md5(packed).hexdigest(), "Fashion-MNIST")
    assert told() == f"{path}: this is Fashion-MNIST, not MNIST; {remedy}"
    path.write_bytes(packed[:-9])
    assert told() == f"{path}: truncated, the gzip data end early; get it afresh"


def test_a_damaged_file_in_the_cache_may_be_deleted(tiny, cache):
    put(cache, {**tiny.packed, "t10k-labels-idx1-ubyte.gz": b"\x1f\x8b\x08"})
    with pytest.raises(DataError, match=r"; delete it and run again, and it is downloaded$"):
        read_mnist()


def test_related_data_are_known_by_their_published_sums():
    assert len(mnist.RELATED) == 8
    assert all(re.fullmatch("[0-9a-f]{32}", key) for key in mnist.RELATED)


# As in the book


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("flatten", [True, False])
@pytest.mark.parametrize("one_hot", [True, False])
def test_load_mnist_forms(tiny, tmp_path, normalize, flatten, one_hot):
    put(tmp_path / "mine", tiny.packed)
    sets = load_mnist(normalize, flatten, one_hot, data_dir=tmp_path / "mine")
    for (x, t), images, labels in zip(sets, tiny.arrays[::2], tiny.arrays[1::2], strict=True):
        n = len(images)
        assert x.shape == ((n, 784) if flatten else (n, 1, 28, 28))
        assert x.dtype == (np.float32 if normalize else np.uint8)
        want = images.astype(np.float32) / np.float32(255) if normalize else images
        np.testing.assert_array_equal(x.reshape(images.shape), want)
        assert t.shape == ((n, 10) if one_hot else (n,))
        assert t.dtype == (np.float32 if one_hot else np.uint8)
        want = [[float(k == label) for k in range(10)] for label in labels] if one_hot else labels
        np.testing.assert_array_equal(t, want)


def test_the_real_files(mnist_dir):
    """Their first labels, class counts and mean are facts about MNIST, not of this reader."""
    x_train, t_train, x_test, t_test = read_mnist(mnist_dir)
    assert x_train.shape == (60000, 1, 28, 28)
    assert x_test.shape == (10000, 1, 28, 28)
    assert t_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert t_test[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(t_train).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert float(x_train.mean() / 255) == pytest.approx(0.1307, abs=5e-5)
    assert float(x_train.std() / 255) == pytest.approx(0.3081, abs=5e-5)


def test_published_hashes_are_of_the_real_files(mnist_dir):
    for file in mnist.FILES:
        path = mnist_dir / f"{file.name}.gz"
        if path.exists():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == file.gz_sha256
