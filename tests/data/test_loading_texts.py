"""Texts: what is read, streams and their blocks, and states that pass from block to block."""

import numpy as np
import pytest

from xpnet.arrays import to_numpy
from xpnet.data.texts import Streams, load_text
from xpnet.errors import ArgumentError, DataError, DataNotFoundError


def test_a_text(tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes("\ufeffabäc\r\nb".encode() * 5)  # a mark of UTF-8, which only begins it once
    text = load_text(path)
    assert text.characters == "\nabcä\ufeff"
    whole = np.concatenate([text.x_train, text.x_test])
    assert "".join(text.characters[k] for k in whole[:6]) == "abäc\nb"
    assert (len(text.x_train), len(text.x_test)) == (31, 3)
    assert text.name == str(path)
    assert text.source == f"{path}: 34 characters, 6 different ones"
    other = tmp_path / "other.txt"
    other.write_bytes(path.read_bytes()[:-1] + b"a")
    assert load_text(path).checksum() == text.checksum() != load_text(other).checksum()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abc\xff", r"is not in UTF-8: byte 3 is 0xff; convert it"),
        (b"", "needs two different characters at least, and .* has 0"),
        (b"aaa", "has 1; give another"),
    ],
)
def test_what_is_no_text(tmp_path, data, message):
    path = tmp_path / "own.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        load_text(path)
    with pytest.raises(DataNotFoundError, match=r"there is no text .*none\.txt; give a text file"):
        load_text(tmp_path / "none.txt")


@pytest.mark.parametrize("length", [24, 25, 26, 27])
def test_streams(device, length):
    """Three streams at 0, S and 2 S; the last has no label behind the end of the text."""
    ids = np.arange(length, dtype=np.int32)
    streams, S = Streams(ids, 3, 2, device=device), length // 3
    batches = [tuple(map(to_numpy, batch)) for batch in streams.epoch(0)]
    assert len(batches) == len(streams) == (3 if length == 24 else 4)
    for k, (x, t) in enumerate(batches):
        want = np.add.outer([0, S, 2 * S], [2 * k, 2 * k + 1])
        np.testing.assert_array_equal(x, want)
        np.testing.assert_array_equal(t, want + 1)
    later = [tuple(map(to_numpy, batch)) for batch in streams.epoch(5, first=1)]
    np.testing.assert_array_equal(later, batches[1:])


def test_states_pass_from_block_to_block(device):
    streams = Streams(np.arange(40, dtype=np.int32), 2, 5, device=device)
    state = {k: {"a.b": (device.asarray([k]), device.asarray([-k]))} for k in (1, 2, 3)}
    assert streams.carried(0) is None
    with pytest.raises(ArgumentError, match="block 1 of a text comes behind block 0"):
        streams.carried(1)
    for k, each in state.items():
        streams.carry(k, each)
        assert streams.carried(k) is each
    assert streams.carried(2) is state[2]  # a step that is taken again has it once more
    other = Streams(np.arange(40, dtype=np.int32), 2, 5, device=device)
    other.restore({name: to_numpy(array) for name, array in streams.state().items()})
    for k in (2, 3):
        assert [int(to_numpy(each)[0]) for each in other.carried(k)["a.b"]] == [k, -k]
    other.restore({})
    assert other.state() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 4), r"of at least 13 characters to learn from, got 12; give .* or batch_size=2"),
        ((0, 4), "by at least one stream, in blocks of at least one step, got batch_size=0"),
        ((20, 1), r"got 12; give a longer one, or batch_size=11"),
    ],
)
def test_a_text_that_is_too_short(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Streams(np.arange(12), *arguments)
