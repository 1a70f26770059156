"""PyTorch's own files of weights: read without running what is in them."""

import importlib
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from xpnet.errors import WeightsError
from xpnet.files.weights import load_weights

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
made = importlib.import_module("_torch_files")
Tensor, tensor = made.Tensor, made.tensor

BASE = np.arange(24)
HALVES = np.asarray([0x3F80, 0xBF00, 0x7F80, 0x0001], "<u2")  # 1, -1/2, infinity, 2^-133
TENSORS = {
    "weight": tensor("0", BASE.astype("f4").reshape(4, 6)),
    "double": tensor("1", BASE / 7),
    "half": tensor("2", BASE.astype("f2").reshape(2, 3, 4)),
    "bfloat16": Tensor("3", HALVES.tobytes(), "BFloat16", 4, [2, 2], [2, 1]),
    "bool": tensor("4", BASE > 3),
    **{f"i{n}": tensor(f"i{n}", BASE.astype(f"i{n}")) for n in (1, 2, 4, 8)},
    "u1": tensor("5", BASE.astype("u1") + 200),
    "number": tensor("6", np.asarray(7)),
    "nothing": tensor("7", np.zeros((0, 3), "f4")),
    "transposed": Tensor("8", BASE.astype("f4").tobytes(), "Float", 24, [6, 4], [1, 6]),
    "part": Tensor("8", BASE.astype("f4").tobytes(), "Float", 24, [2, 3], [12, 2], 5),
}
WANTED = {
    "weight": BASE.astype("f4").reshape(4, 6),
    "double": BASE / 7,
    "half": BASE.astype("f2").reshape(2, 3, 4),
    "bfloat16": np.asarray([[1, -0.5], [np.inf, 2.0**-133]], "f4"),
    "bool": BASE > 3,
    **{f"i{n}": BASE.astype(f"i{n}") for n in (1, 2, 4, 8)},
    "u1": BASE.astype("u1") + 200,
    "number": np.asarray(7),
    "nothing": np.zeros((0, 3), "f4"),
    "transposed": BASE.astype("f4").reshape(4, 6).T,
    "part": np.asarray([[5, 7, 9], [17, 19, 21]], "f4"),
}


def zipped(tensors, pickled=None, **how):
    pickled = made.state_dict(tensors) if pickled is None else pickled
    return made.zipped(pickled, made.storages_of(tensors), **how)


def old(tensors, pickled=None, **how):
    pickled = made.state_dict(tensors, old=True) if pickled is None else pickled
    return made.old_beginning(**how) + pickled + made.old_end(tensors)


def read(tmp_path, contents):
    (tmp_path / "w.pt").write_bytes(contents)
    return load_weights(tmp_path / "w.pt").params


def same(got, want):
    assert list(got) == list(want)
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name, strict=True)
        assert got[name].flags.carray, name  # C order, aligned, writable


@pytest.mark.parametrize("write", [zipped, old])
def test_tensors_of_every_kind_come_back(tmp_path, write):
    same(read(tmp_path, write(TENSORS)), WANTED)


def test_a_file_without_its_byte_order_is_read_as_those_before_2_1(tmp_path):
    same(read(tmp_path, zipped(TENSORS, order=None)), WANTED)


@pytest.mark.parametrize("protocol", ["new", "old"])
def test_what_pytorch_writes_comes_back(tmp_path, protocol):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    base = torch.arange(24.0)
    more = {
        "half": base.half(), "bfloat16": base.bfloat16().reshape(4, 6).T, "double": base.double(),
        "tied": base, "view": base[4:16].reshape(3, 4).T, "bool": base > 3, "none": base[:0],
    }  # fmt: skip
    state = module.state_dict() | more
    optimizer = {  # as that of Adam, which takes seconds to import
        "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3, 2)}},
        "param_groups": [{"lr": 0.001, "betas": (0.9, 0.999), "foreach": None, "params": [0]}],
    }
    whole = {"epoch": 3, "best": torch.tensor(0.5), "optimizer": optimizer}
    for value in (state, whole | {"state_dict": state}):
        torch.save(value, tmp_path / "w.pt", _use_new_zipfile_serialization=protocol == "new")
        got = load_weights(tmp_path / "w.pt").params
        want = {
            name: each.detach().float().numpy()
            if each.dtype == torch.bfloat16
            else each.detach().numpy()
            for name, each in state.items()
        }
        same(got, want)


@pytest.mark.parametrize("name", ["state_dict", "model", "anything"])
def test_a_state_dict_among_other_things_is_taken_and_told(tmp_path, capsys, name):
    tensors = {"weight": TENSORS["weight"]}
    optimizer = pickle.dumps({"state": {0: [1, 0.5, None]}, "lr": (0.1, True)}, 2)
    inside = made.dictionary(optimizer=optimizer, **{name: made.state_dict(tensors)})
    same(read(tmp_path, zipped(tensors, inside)), {"weight": WANTED["weight"]})
    told = f"xpnet: {tmp_path / 'w.pt'} holds more than weights; those under '{name}' are taken\n"
    assert capsys.readouterr().err == told


ONE = {"a": Tensor("0", bytes(8), "Float", 2, [2], [1])}
STATE = made.state_dict(ONE)
ALONE = ", and of PyTorch's files those of tensors alone are read; nothing in it was run; save "
DAMAGED = "w.pt is damaged, or is no PyTorch file of a state_dict; download or save it again"
ORDER = "was written on a big-endian machine, and little-endian files are read; load it by PyT"


def of(shape, strides, offset=0, numbers=2, kind="Float", raw=bytes(8)):
    return zipped({"a": Tensor("0", raw, kind, numbers, shape, strides, offset)})


REFUSED = {
    "call": (zipped(ONE, b"\x80\2cos\nsystem\nX\4\0\0\0true\x85R."), f"holds os.system{ALONE}"),
    "module": (zipped(ONE, b"\x80\2ctorch.nn\nLinear\n)\x81."), f"holds torch.nn.Linear{ALONE}"),
    "parameter": (
        zipped(ONE, b"\x80\2ctorch._utils\n_rebuild_parameter\n."),
        f"holds torch._utils._rebuild_parameter{ALONE}",
    ),
    "old call": (old(ONE, b"\x80\2cos\nsystem\nX\4\0\0\0true\x85R."), f"holds os.system{ALONE}"),
    "first call": (
        made.old_beginning()[:15] + b"\x80\2cos\nsystem\n.", f"holds os.system{ALONE}",
    ),
    "complex": (of([1], [1], 0, 1, "ComplexFloat"), f"holds torch.ComplexFloatStorage{ALONE}"),
    "list": (zipped(ONE, b"\x80\2]" + STATE[2:-1] + b"a."), f"holds a value of type list{ALONE}"),
    "number": (
        zipped(ONE, made.dictionary(n=pickle.dumps(3, 2))),
        f"holds a value of type int under 'n'{ALONE}",
    ),
    "nothing": (zipped(ONE, b"\x80\2}."), f"holds nothing{ALONE}"),
    "two": (
        zipped(ONE, made.dictionary(g=STATE, d=STATE)),
        "holds several networks: g, d; save the state_dict of one by torch.save",
    ),
    "key": (zipped(ONE, b"\x80\2}()Nu."), f"holds a key of type tuple{ALONE}"),
    "expanded": (
        of([2**39, 2**39], [0, 0]), "holds a tensor that repeats its numbers, as expand makes it",
    ),
    "big": (zipped(ONE, order=b"big"), ORDER),
    "old big": (old(ONE, little=False), ORDER),
    "compressed": (
        zipped(ONE, compression=zipfile.ZIP_DEFLATED),
        "is a PyTorch file that was compressed, and those are read as torch.save writes them",
    ),
    "script": (zipped(ONE, **{"constants.pkl": b""}), "is a program of TorchScript; save module.s"),
    "version": (old(ONE, version=1000), DAMAGED),
    "beyond": (of([2], [1], 1), DAMAGED),
    "far": (of([2], [2**39]), DAMAGED),
    "backwards": (of([2], [-1], 1), DAMAGED),
    "negative": (of([-1], [1]), DAMAGED),
    "ragged": (of([2, 1], [1]), DAMAGED),
    "vast": (of([2**39], [1], 0, 2**39), DAMAGED),
    "short": (of([2], [1], raw=bytes(7)), DAMAGED),
    "long": (of([2], [1], raw=bytes(9)), DAMAGED),
    "shared": (zipped({f"a{k}": ONE["a"] for k in range(9)}), DAMAGED),
    "two sizes": (zipped(ONE | {"b": Tensor("0", bytes(8), "Half", 4, [4], [1])}), DAMAGED),
    "absent": (made.zipped(STATE, {}), DAMAGED),
    "old absent": (made.old_beginning() + made.state_dict(ONE, old=True), DAMAGED),
    "truncated": (zipped(ONE)[:-30], "is damaged, or is no .npz of arrays"),
    "old truncated": (old(ONE)[:-1], DAMAGED),
    "old count": (old(ONE)[:-16] + bytes(16), DAMAGED),
    "two directories": (
        zipped(ONE).replace(b"PK\6\7\0\0\0\0", b"PK\6\7\0\0\0\0\1"), "is damaged, or is no .npz",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_named_and_never_run(tmp_path, name):
    contents, message = REFUSED[name]
    with pytest.raises(WeightsError) as told:
        read(tmp_path, contents)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_two_names_of_one_tensor_are_read_as_two(tmp_path):
    """As the tied weights of a language model's first and last layer."""
    got = read(tmp_path, zipped(ONE | {"b": ONE["a"]}))
    got["a"][0] = 1
    same(got, {"a": np.asarray([1, 0], "f4"), "b": np.zeros(2, "f4")})


def test_a_pickle_of_many_bytes_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.files.torch_files.MAX_PICKLE", len(STATE) - 1)
    with pytest.raises(WeightsError, match=r"has names and shapes of 1\d\d bytes, and at most"):
        read(tmp_path, zipped(ONE))


def test_bfloat16_of_safetensors_becomes_float32(tmp_path):
    header = b'{"a":{"dtype":"BF16","shape":[2,2],"data_offsets":[4,12]},' \
        b'"b":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}'  # fmt: skip
    numbers = np.asarray(1.5, "<f4").tobytes() + HALVES.tobytes()
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + numbers)
    got = load_weights(tmp_path / "w").params
    np.testing.assert_array_equal(got["a"], WANTED["bfloat16"], strict=True)
    np.testing.assert_array_equal(got["b"], np.asarray(1.5, "f4"), strict=True)
