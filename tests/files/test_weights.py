"""Weight files: what is saved comes back, and what cannot be read says why in one line."""

import json
import pickle
import random
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

import xpnet.files.weights
from xpnet import Affine, Network, save_torch
from xpnet.errors import OutputError, WeightsError
from xpnet.files.weights import load_weights, save_weights

PARAMS = {"W1": np.arange(6, dtype="float32").reshape(2, 3), "b1": np.ones(3)}


def safetensors(kind, size, shape=(2,)):
    """A file of one tensor, by the published layout."""
    entry = {"dtype": kind, "shape": shape, "data_offsets": [0, size]}
    header = json.dumps({"W\n": entry}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0" * size


@settings(deadline=None, max_examples=50)
@given(
    params=st.dictionaries(
        st.text(max_size=5).filter(lambda name: name != "__metadata__"),
        arrays_of.arrays(
            st.sampled_from(["float32", "float64", "float16", ">f4", "int64", "uint8", "bool"]),
            arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0),
        ),
        max_size=3,
    ),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
def test_what_is_saved_comes_back(tmp_path_factory, params, metadata):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_weights(path, params, metadata)
    weights = load_weights(path)
    assert (weights.path, weights.metadata) == (path, metadata)
    assert set(weights.params) == set(params)
    for name, array in params.items():
        got = weights.params[name]
        assert (got.dtype, got.flags.writeable) == (array.dtype.newbyteorder("="), True)
        np.testing.assert_array_equal(got, array, strict=array.dtype.isnative)


def test_views_are_saved_as_they_read(tmp_path):
    W = np.arange(24.0).reshape(2, 3, 4)
    views = {"T": W.T, "step": W[:, ::2], "row": np.broadcast_to(W[0, 0], (3, 4))}
    save_weights(tmp_path / "w", views, {})
    for name, array in load_weights(tmp_path / "w").params.items():
        np.testing.assert_array_equal(array, views[name], strict=True)


def test_equal_contents_give_equal_bytes(tmp_path):
    """In another process, whose hashes differ: safetensors alone shuffles the metadata."""
    metadata = {letter: letter for letter in "qwertyuiop"}
    save_weights(tmp_path / "a", {"W": np.ones(2)}, metadata)
    code = (
        "import numpy as np, xpnet.files.weights as w; "
        f"w.save_weights('b', {{'W': np.ones(2)}}, {dict(reversed(metadata.items()))})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["w.pkl", "w.PICKLE", "w.safetensors"])
def test_a_pickle_is_known_by_content_or_name(tmp_path, name, protocol):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(PARAMS, protocol))
    weights = load_weights(str(path))
    assert (weights.path, weights.metadata) == (path, {})
    for key, array in PARAMS.items():
        np.testing.assert_array_equal(weights.params[key], array, strict=True)


@pytest.mark.parametrize("extra", range(0, 400, 8))
def test_safetensors_is_known_whatever_its_first_byte(tmp_path, extra):
    """Its header's length can begin as a pickle does, and its name can be a pickle's."""
    save_weights(tmp_path / "w", PARAMS, {"note": "x" * extra})
    path = (tmp_path / "w").rename(tmp_path / "w.pkl")
    assert load_weights(path).metadata == {"note": "x" * extra}


DAMAGED = (
    "{path} is damaged, or is neither a safetensors file nor a pickle of NumPy arrays; "
    "download or save it again"
)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "{path} is empty; download or save it again"),
        (b"\x1f\x8b not weights", DAMAGED),
        (safetensors("F32", 8)[:-1], DAMAGED),
        (safetensors("F32", 8) + b"\0", DAMAGED),
        (safetensors("F32", 8, (-2,)), DAMAGED),
        (safetensors("F32", 8, (3,)), DAMAGED),
        (b"\xff" * 7 + b"\x7f" + b"{}", DAMAGED),
        *(
            (
                safetensors(kind, size),
                f"{{path}} holds 'W\\n' of type {kind}, and booleans, integers and "
                "floats of 16 to 64 bits are read; save it as F32",
            )
            for kind, size in [("F8_E4M3", 2), ("C64", 16), ("F4", 1)]
        ),
        (
            b"\x80\x04broken",
            "{path} is damaged, or is not a pickle of NumPy arrays; download or save it again",
        ),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, contents, message):
    path = tmp_path / "w"
    path.write_bytes(contents)
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    assert str(caught.value) == message.format(path=path)


def test_a_path_that_is_no_file_says_so(tmp_path):
    with pytest.raises(WeightsError) as caught:
        load_weights(tmp_path / "no")
    assert str(caught.value) == (
        f"{tmp_path / 'no'} does not exist; give a file that `save_params` wrote"
    )
    with pytest.raises(WeightsError) as caught:
        load_weights(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not a file; give a weight file, or, of a run's directory, take the network "
        "by xpnet.load_model"
    )


def test_the_public_names_need_no_more_packages():
    names = "filelock", "safetensors", "tqdm", "click", "PIL", "pooch", "threadpoolctl"
    code = f"import sys, xpnet.public; print([n for n in {names} if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_a_name_that_cannot_be_looked_up_is_one_line():
    with pytest.raises(WeightsError) as caught:
        load_weights("a" * 5000)
    assert str(caught.value) == (
        f"{'a' * 5000} cannot be read: File name too long; check its name and permissions"
    )


def test_a_file_over_the_limit_is_not_read(tmp_path, monkeypatch):
    save_weights(tmp_path / "w", PARAMS, {})
    size = (tmp_path / "w").stat().st_size
    monkeypatch.setattr(xpnet.files.weights, "MAX_BYTES", size - 1)
    with pytest.raises(WeightsError) as caught:
        load_weights(tmp_path / "w")
    assert str(caught.value) == (
        f"{tmp_path / 'w'} has {size} bytes, and at most {size - 1} are read; "
        "give the weights of a smaller network"
    )


@pytest.mark.parametrize("dtype", ["complex64", "object", "U3", "longdouble"])
def test_other_dtypes_are_not_saved(tmp_path, dtype):
    array = np.zeros(2, dtype)
    with pytest.raises(WeightsError) as caught:
        save_weights(tmp_path / "w", {"W1": array}, {})
    assert str(caught.value) == (
        f"save_weights: W1 has dtype {array.dtype}, and a weight file holds "
        "booleans, integers and floats of at most 64 bits; convert it to float32"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("end", ["npz", "NPY", "pt", "pth", "h5", "onnx", "json"])
def test_names_of_other_formats_are_not_given(tmp_path, end):
    network = Network([Affine(2, 1, rng=0)])
    for save in (network.save_params, partial(save_torch, network)):
        with pytest.raises(WeightsError) as caught:
            save(str(tmp_path / f"a.b.{end}"))
        assert str(caught.value) == (
            f"{tmp_path}/a.b.{end} would be a safetensors file, and .{end.lower()} is the end of "
            f"another format's names; call it {tmp_path}/a.b.safetensors"
        )
    assert not list(tmp_path.iterdir())


def test_the_books_name_is_taken_and_told(tmp_path, capsys):
    network, path = Network([Affine(2, 1, rng=0)]), tmp_path / "params.pkl"
    network.save_params(path)
    assert "params.pkl is a safetensors file; load_params reads it" in capsys.readouterr().err
    other = Network([Affine(2, 1, rng=1)])
    other.load_params(path)
    assert np.array_equal(other.params.flat, network.params.flat)


def test_a_directory_that_is_missing_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="No such file or directory; choose a directory"):
        save_weights(tmp_path / "no" / "w", PARAMS, {})


def read_mutated(path, times, kept=0):
    """Damage a file again and again, of which so many bytes stay; how often it was read, errors."""
    rng, contents = random.Random(0), path.read_bytes()
    read, messages = 0, []
    for _ in range(times):
        data = bytearray(contents)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(kept, len(data)) :]
        path.write_bytes(data)
        try:
            load_weights(path)
            read += 1
        except WeightsError as error:
            messages.append(str(error))
    return read, messages


def test_mutated_files_give_weights_or_the_librarys_error(tmp_path):
    save_weights(tmp_path / "w", PARAMS, {"model": "TwoLayerNet"})
    read, messages = read_mutated(tmp_path / "w", 600)
    assert min(read, len(messages)) > 50
    assert not any("\n" in message for message in messages)


def test_no_arrays_are_shown(tmp_path):
    save_weights(tmp_path / "w", PARAMS, {})
    assert repr(load_weights(tmp_path / "w")) == f"<Weights of {tmp_path / 'w'}: W1, b1>"


def test_headers_and_numbers_of_arrays_are_bounded(tmp_path, monkeypatch):
    """Six hundred thousand arrays of nothing take four seconds and half a gigabyte."""
    path = tmp_path / "w"
    save_weights(path, {f"W{k}": np.ones(0) for k in range(20)}, {"note": "x" * 3000})
    size = int.from_bytes(path.read_bytes()[:8], "little")
    monkeypatch.setattr(xpnet.files.weights, "MAX_ARRAYS", 20)
    monkeypatch.setattr(xpnet.files.weights, "MAX_HEADER", size)
    assert len(load_weights(path).params) == 20
    monkeypatch.setattr(xpnet.files.weights, "MAX_ARRAYS", 19)
    with pytest.raises(WeightsError, match=r"holds 20 arrays, and at most 19 are read; save"):
        load_weights(path)
    monkeypatch.setattr(xpnet.files.weights, "MAX_HEADER", size - 1)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(WeightsError, match=rf"a header of {size} bytes, and at most {size - 1} "):
        load_weights(path)
    before = path.read_bytes()
    with pytest.raises(WeightsError, match=rf"take {size} bytes, and {size - 1} are read again"):
        save_weights(path, {f"W{k}": np.ones(0) for k in range(20)}, {"note": "x" * 3000})
    assert path.read_bytes() == before
