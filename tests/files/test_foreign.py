"""Weight files of other programs: NumPy's are read, the others are named with what to do."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

import xpnet.files.foreign
from test_weights import read_mutated
from xpnet import load_torch
from xpnet.books import nielsen
from xpnet.errors import WeightsError
from xpnet.files.weights import load_weights, save_weights
from xpnet.layers import Affine
from xpnet.models import Network

PARAMS = {
    "W1": np.arange(6, dtype=">f4").reshape(2, 3).T, "b1": np.ones(2), "k": np.asarray(3, "int8"),
}  # fmt: skip


def npz(write=np.savez, **arrays):
    stream = io.BytesIO()
    write(stream, **(arrays or PARAMS))
    return stream.getvalue()


def zipped(**files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in files.items():
            archive.writestr(name, contents)
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["w.npz", "w.safetensors", "w.pkl"])
@pytest.mark.parametrize(
    "contents",
    [npz(), npz(np.savez_compressed), gzip.compress(pickle.dumps(PARAMS, 2))],
    ids=["savez", "savez_compressed", "gzip"],
)
def test_what_numpy_wrote_is_read(tmp_path, contents, name):
    path = tmp_path / name
    path.write_bytes(contents)
    weights = load_weights(path)
    assert weights.metadata == {}
    assert list(weights.params) == list(PARAMS)
    for key, array in PARAMS.items():
        got = weights.params[key]
        assert got.flags.writeable
        assert got.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(got, array)


def picture(form):
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(stream, form)
    return stream.getvalue()


def json_of_nielsen(path):
    nielsen.Network([2, 3, 2], rng=0).save(path)
    return path.read_bytes()


KINDS = {
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "is an HDF5 file, as Keras and MATLAB write; save"),
    "keras": (zipped(**{"config.json": "{}", "model.weights.h5": "x"}), "is a Keras file, and no"),
    "torch": (zipped(**{"a/data.pkl": "x"}), "is a PyTorch file that was compressed, and those"),
    "old torch": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "is damaged, or is no PyTorch f"),
    "zip": (zipped(**{"readme.txt": "x"}), "is a ZIP archive, and no .npz; save its arrays by"),
    "npy": (npy(np.ones(3)), r"is a single NumPy array; save its arrays by numpy\.savez, as W1"),
    "onnx": (b"\x08\x08\x12\x07pytorch", "is an ONNX file; save its arrays by numpy.savez"),
    "tflite": (b"\x1c\0\0\0TFL3", "is a TensorFlow Lite file"),
    "gguf": (b"GGUF\3\0\0\0", "is a GGUF file"),
    "matlab": (b"MATLAB 5.0 MAT-file", "is a MATLAB file"),
    "database": (b"SQLite format 3\0", "is a database; give the network that was trained"),
    "idx": (b"\0\0\x08\3\0\0\0\1", "is an IDX file, as MNIST's images are; give a weight file"),
    "web page": (b"<!DOCTYPE html><html>", "is a web page; download the file itself"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS; fetch"),
    "pdf": (b"%PDF-1.7", "is a PDF"),
    "csv": (b"W1,b1\n0.1,0.2\n", "is text; save its arrays by numpy.savez"),
    "letters": ("Gewichte für é\n".encode() * 60, "is text; save its arrays"),
    "json": (json.dumps({"W1": [[0.1]]}).encode(), "is JSON; save its arrays by numpy.savez"),
    "bz2": (bz2.compress(b"x"), "is a compressed file; unpack it first"),
    "xz": (lzma.compress(b"x"), "is a compressed file; unpack it first"),
    "gzip of text": (gzip.compress(b"\0\0\x08\3\0\0"), "is, unpacked, an IDX file, as MNIST's"),
    "objects": (zipped(**{"W1.npy": npy(np.array([None]))}), "holds 'W1' of type object, and"),
    **{form: (picture(form), "is a picture; give it as IMAGE") for form in ("PNG", "JPEG", "TIFF")},
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("read", [load_weights, Network.load_params, load_torch])
def test_other_kinds_are_named_with_what_to_do(tmp_path, name, read):
    contents, message = KINDS[name]
    path = tmp_path / "w.safetensors"
    path.write_bytes(contents)
    with pytest.raises(WeightsError, match=message) as told:
        read(path) if read is load_weights else read(Network([Affine(2, 2)]), path)
    assert str(told.value).startswith(f"{path} ")
    assert "\n" not in str(told.value)


def test_a_network_of_nielsens_book_is_named(tmp_path):
    path = tmp_path / "net.json"
    json_of_nielsen(path)
    with pytest.raises(WeightsError, match=r"is JSON, as xpnet\.books\.nielsen saves .*n\.load"):
        load_weights(path)


def test_a_compressed_safetensors_file_is_named(tmp_path):
    save_weights(tmp_path / "w", PARAMS, {})
    (tmp_path / "w.gz").write_bytes(gzip.compress((tmp_path / "w").read_bytes()))
    with pytest.raises(WeightsError, match="is a compressed safetensors file; unpack it first"):
        load_weights(tmp_path / "w.gz")


@pytest.mark.parametrize(
    "contents",
    [npz(np.savez_compressed, W=np.zeros(5000)), gzip.compress(pickle.dumps([bytes(40_001)]))],
    ids=["npz", "gzip"],
)
def test_more_than_there_is_room_for_is_not_unpacked(tmp_path, monkeypatch, contents):
    monkeypatch.setattr(xpnet.files.foreign, "MAX_UNPACKED", 40_000)
    (tmp_path / "w").write_bytes(contents)
    with pytest.raises(WeightsError, match="is larger than 40000 bytes when unpacked; save it"):
        load_weights(tmp_path / "w")


def test_a_zip_of_very_many_files_is_not_listed(tmp_path):
    (tmp_path / "w").write_bytes(zipped(**{f"{k:0200}.npy": b"" for k in range(5000)}))
    with pytest.raises(WeightsError, match="holds too many files for a network's; give another"):
        load_weights(tmp_path / "w")


def test_a_shape_that_the_numbers_do_not_fill_makes_no_room(tmp_path):
    contents = npy(np.ones(3)).replace(b"(3,)", b"(9**19,)".replace(b"9**19", b"99999999999"))
    (tmp_path / "w").write_bytes(zipped(**{"W1.npy": contents}))
    with pytest.raises(WeightsError, match=r"is damaged, or is no \.npz of arrays"):
        load_weights(tmp_path / "w")


@pytest.mark.parametrize(
    "contents",
    [npz(), npz(np.savez_compressed), gzip.compress(pickle.dumps(PARAMS))],
    ids=["savez", "savez_compressed", "gzip"],
)
def test_mutated_files_give_weights_or_the_librarys_error(tmp_path, contents):
    (tmp_path / "w").write_bytes(contents)
    _, messages = read_mutated(tmp_path / "w", 100, kept=1)
    assert messages
    assert not any("\n" in message for message in messages)
