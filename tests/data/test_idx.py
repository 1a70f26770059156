import gzip
import re

import numpy as np
import pytest

from xpnet.data.idx import header, read_idx, write_idx
from xpnet.errors import ArgumentError, DataError, DataNotFoundError

LABELS = bytes.fromhex("00000801 00000003 050004")  # three labels, written out by hand


def test_reads_bytes_written_by_hand(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(LABELS)
    got = read_idx(path)
    assert got.dtype == np.uint8
    assert got.tolist() == [5, 0, 4]


@pytest.mark.parametrize("packed", [False, True])
def test_last_dimension_runs_fastest_and_contents_tell_gzip(tmp_path, packed):
    data = bytes.fromhex("00000803 00000001 00000002 00000003 010203 040506")
    path = tmp_path / ("plain-in-name" if packed else "packed-in-name.gz")
    path.write_bytes(gzip.compress(data) if packed else data)
    assert read_idx(path).tolist() == [[[1, 2, 3], [4, 5, 6]]]


@pytest.mark.parametrize("name", ["a", "a.gz"])
@pytest.mark.parametrize("shape", [(3,), (0,), (2, 3, 4), (0, 28, 28)])
def test_written_and_read_again(tmp_path, name, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    write_idx(tmp_path / name, array)
    got = read_idx(tmp_path / name)
    assert got.shape == shape
    np.testing.assert_array_equal(got, array)
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


def test_written_gzip_does_not_depend_on_the_clock(tmp_path, monkeypatch):
    for name, now in [("a.gz", 1e9), ("b.gz", 2e9)]:
        monkeypatch.setattr("time.time", lambda now=now: now)
        write_idx(tmp_path / name, np.arange(5, dtype=np.uint8))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.mark.parametrize(
    ("array", "got"),
    [(np.zeros(3), "float64 of 1"), (np.zeros((2, 2), np.uint8), "uint8 of 2")],
)
def test_write_refuses_other_arrays(tmp_path, array, got):
    text = (
        f"write_idx: expected a uint8 array of 1 or 3 dimensions, got {got}; convert or reshape it"
    )
    with pytest.raises(ArgumentError, match=re.escape(text)):
        write_idx(tmp_path / "a", array)
    assert list(tmp_path.iterdir()) == []


PACKED = gzip.compress(LABELS, mtime=0)
MAGIC = "expected an IDX file of bytes (00000801 or 00000803), plain or gzip, got one starting with"
DAMAGED = {
    "empty": (b"", f"{MAGIC} nothing; get it afresh"),
    "web page": (b"<!DOCTYPE html>", f"{MAGIC} 3c21444f; get it afresh"),
    "float32 values": (b"\0\0\x0d\1" + LABELS[4:], f"{MAGIC} 00000d01; get it afresh"),
    "gzip of something else": (gzip.compress(b"text"), f"{MAGIC} 74657874; get it afresh"),
    "short header": (LABELS[:6], "expected 1 sizes, but it ends early; get it afresh"),
    "short": (LABELS[:-1], "expected 3 values for (3,), got 2; get it afresh"),
    "long": (LABELS + b"\0", "expected 3 values for (3,), but more follow; get it afresh"),
    "gzip cut off": (PACKED[:-1], "truncated, the gzip data end early"),
    "gzip checksum": (
        PACKED[:-8] + bytes(4) + PACKED[-4:],
        "cannot be read (CRC check failed",
    ),
    "gzip damaged": (
        PACKED[:10] + b"\xff" * 9 + PACKED[19:],
        "cannot be read (Error -3 while decompressing data",
    ),
    "gzip bomb": (
        gzip.compress(header((3,)) + bytes(10**7)),
        "expected 3 values for (3,), but more follow",
    ),
    "2**31 images": (
        header((2**31, 28, 28)),
        "expected at most 402653184 values, its header promises (2147483648, 28, 28); get it",
    ),
    "empty but huge": (header((0, 2**32 - 1, 2**32 - 1)), "expected at most"),
    "many that never come": (
        header((3 * 2**27,)) + b"\0",
        f"expected {3 * 2**27} values for (402653184,), got 1",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_file_is_refused_by_name(tmp_path, case):
    path = tmp_path / "file"
    data, text = DAMAGED[case]
    path.write_bytes(data)
    with pytest.raises(DataError, match=re.escape(f"{path}: {text}")):
        read_idx(path)


def test_no_file_and_no_right_to_one(tmp_path):
    with pytest.raises(DataNotFoundError, match=re.escape("none: no such file; check the path")):
        read_idx(tmp_path / "none")
    with pytest.raises(DataError, match=r"Is a directory.*get it afresh"):
        read_idx(tmp_path)


def test_mutated_files_are_read_or_refused(tmp_path):
    """Whatever the bytes are, an array or DataError comes, never another error."""
    rng = np.random.default_rng(0)
    whole = header((4, 3, 2)) + bytes(24)
    path = tmp_path / "file"
    outcomes = {"read": 0, "refused": 0}
    for i in range(600):
        data = bytearray([whole, gzip.compress(whole, mtime=0), PACKED, LABELS][i % 4])
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(256)
        path.write_bytes(data[: rng.integers(1, 2 * len(data))])
        try:
            assert read_idx(path).dtype == np.uint8
            outcomes["read"] += 1
        except DataError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 30, outcomes
