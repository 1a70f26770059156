"""The reader of pickled weights: what NumPy wrote comes back, and nothing else is done."""

import collections
import operator
import os
import pickle
import random
import re
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

import xpnet.files.pickles
from xpnet.errors import WeightsError
from xpnet.files.pickles import read_pickled_arrays

REMEDY = (
    ", and only dictionaries of NumPy arrays are read; "
    "nothing in it was run; save the parameters alone, as {name: array}"
)
DAMAGED = "w.pkl is damaged, or is not a pickle of NumPy arrays; download or save it again"

W = np.arange(24, dtype="float32").reshape(2, 3, 4)


def same(got, want):
    assert list(got) == list(want)
    for name, array in got.items():
        native = want[name].astype(want[name].dtype.newbyteorder("="))
        np.testing.assert_array_equal(array, native, err_msg=name, strict=True)
        assert array.flags.carray, name  # C order, aligned, writable


@pytest.mark.parametrize("protocol", range(6))
def test_what_numpy_writes_comes_back(protocol):
    params = {
        "C": W,
        "Fortran": np.asfortranarray(W),
        "transposed": W.transpose(2, 0, 1),
        "strided": W[:, ::2],
        "big": W.astype(">f8"),
        "bool": W > 3,
        "half": W.astype("f2"),
        "bytes": W.astype("u1") + 130,  # not ASCII, where protocols 0 to 2 write text
        "0-d": np.array(3.0),
        "scalar": np.float32(3),
        "again": W,
    }
    same(read_pickled_arrays(pickle.dumps(params, protocol), "w.pkl"), params)


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.text(),
        arrays_of.arrays(
            st.sampled_from(["<f4", ">f4", "<f8", "<i8", ">u2", "u1"]),
            arrays_of.array_shapes(min_dims=0, max_dims=4),
        ),
        max_size=3,
    ),
    st.integers(2, 5),
)
def test_any_arrays_come_back(params, protocol):
    same(read_pickled_arrays(pickle.dumps(params, protocol), "w.pkl"), params)


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_both_names_of_numpys_core_are_known(core):
    data = pickle.dumps({"W": W}, 2).replace(b"numpy._core", core)
    same(read_pickled_arrays(data, "w.pkl"), {"W": W})


def test_python_2_pickles_are_read():
    """As Python 2.7 wrote them: bytes as byte strings, flags as integers."""
    state = b"(I1\n(I2\ntcnumpy\ndtype\n(U\x02f4I0\nI1\ntR(I3\nU\x01<NNNI-1\nI-1\nI0\ntb"
    data = (
        b"\x80\x02}U\x02W1cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR"
        + state
        + b"I00\nU\x08"
        + np.array([1.5, -2.5], "<f4").tobytes()
        + b"tbs."
    )
    same(read_pickled_arrays(data, "w.pkl"), {"W1": np.array([1.5, -2.5], "float32")})


class Evil:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


class Plain:
    """Pickles as NEWOBJ and BUILD."""

    def __init__(self):
        self.W = W


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("value", "what"),
    [
        (Evil(os.system, "touch owned"), f"{os.name}.system"),
        (Evil(os.mkdir, "owned"), f"{os.name}.mkdir"),
        (Evil(exec, "open('owned', 'w')"), "builtins.exec"),
        (Evil(eval, "open('owned', 'w')"), "builtins.eval"),
        (Evil(np.load, "owned"), "numpy.load"),
        (Evil(np.fromfile, "owned"), "numpy.fromfile"),
        (operator.attrgetter("__class__"), "operator.attrgetter"),
        (collections.OrderedDict(W=W), "collections.OrderedDict"),
        (Plain(), None),  # copyreg's helper in protocols 0 and 1, the class itself after
        ([W], "a list"),
        ({"W": [W]}, "a list"),
        ({"W": {"W": W}}, "a value of type dict under 'W'"),
        ({"lr": 0.1}, "a value of type float under 'lr'"),
        ({1: W}, "a key of type int"),
        ({"t": np.array(["a"])}, "values of dtype U1"),
        ({"t": np.array([1j])}, "values of dtype c16"),
        ({"t": np.array([None])}, "values of dtype O8"),
        (W, "a value of type array"),
        (None, "a value of type nonetype"),
    ],
)
def test_anything_else_is_named_and_never_run(tmp_path, monkeypatch, protocol, value, what):
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({"W": value} if isinstance(value, Evil) else value, protocol)
    data = data.replace(b"__builtin__", b"builtins")  # their name in protocols 0 to 2
    with pytest.raises(WeightsError, match=r"^w.pkl holds .*\Z") as caught:
        read_pickled_arrays(data, "w.pkl")
    if what:
        assert str(caught.value) == f"w.pkl holds {what}{REMEDY}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"(S'true'\nios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nS'true'\no.", "os.system"),
        (b"cnumpy\nndarray\n)\x81.", "the instruction NEWOBJ"),
        (b"(cnumpy\nndarray\no.", "the instruction OBJ"),
        (b"(inumpy\nndarray\n.", "numpy.ndarray"),
        (b"\x82\x01.", "the instruction EXT1"),
        (b"Pname\n.", "the instruction PERSID"),
        (b"Nq\x00Q.", "the instruction BINPERSID"),
        (b"\x97.", "the instruction NEXT_BUFFER"),
        (b"\x8f.", "the instruction EMPTY_SET"),
        (b"\x8c\x04a\nb\x1b\x8c\x03c\xc3\xa9\x93.", r"a\nb\x1b.c\xe9"),
        (b"}\x8c\x01Wcnumpy\ndtype\ns.", "a value of type name under 'W'"),
        (b"N" * 1_000_001 + b".", "more than 1000000 instructions"),
    ],
)
def test_other_instructions_are_refused(data, what):
    with pytest.raises(WeightsError) as caught:
        read_pickled_arrays(data, "w.pkl")
    assert str(caught.value) == f"w.pkl holds {what}{REMEDY}"


def one_array(shape=b"K\x02\x85", code=b"f4", order=b"<", data=b"\0" * 8):
    """A pickle of {"W": array} from the instructions for its shape and three texts."""
    text = [b"\x8c" + struct.pack("B", len(part)) + part for part in (code, order)]
    return (
        b"}\x8c\x01Wcnumpy._core.numeric\n_frombuffer\n(C" + struct.pack("B", len(data)) + data
        + b"cnumpy\ndtype\n" + text[0] + b"\x85R(K\x03" + text[1] + b"NNNtb" + shape
        + b"\x8c\x01CtRs."
    )  # fmt: skip


def test_the_array_that_the_next_test_spoils_is_read():
    same(read_pickled_arrays(one_array(), "w.pkl"), {"W": np.zeros(2, "float32")})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80\x04",
        b"garbage",
        one_array()[:-1],
        one_array(shape=b"K\x03\x85"),  # more than the data
        one_array(shape=b"J\xfe\xff\xff\xff\x85"),  # -2
        one_array(shape=b"G@\x00\x00\x00\x00\x00\x00\x00\x85"),  # 2.0
        one_array(shape=b"\x88K\x02\x86"),  # True
        one_array(shape=b"K\x02"),  # no tuple
        one_array(shape=b"K\x00\x8a\x08" + b"\xff" * 7 + b"\x7f\x86", data=b""),
        one_array(shape=b"(K\x02" + b"K\x01" * 40 + b"t"),
        one_array(order=b"x"),
        one_array(code=b"f4", order=b"<f8,"),
        b"}\x8c\x01W}s}u.",  # items set without a mark
        b"}\x8c\x01WNs\x86.",  # two items wanted of one
        b"h\x07.",
        b"r\xff\xff\xff\x7f.",
        b"}r\xff\xff\xff\x7f",  # a huge index in the memo, and no end
        b"\x8e" + b"\xff" * 7 + b"\x7f" + b"abc.",  # BINBYTES8
        b"\x96" + b"\xff" * 8 + b"abc.",  # BYTEARRAY8
        b"\x8b" + b"\xff\xff\xff\x7f.",  # LONG4
        b"L" + b"9" * 5000 + b"L\n.",
        b"NN}b.",
        b"cnumpy\nndarray\n}b.",
        b"cnumpy\ndtype\n}\x8c\x0c__setstate__Nsb.",
        b"cnumpy\ndtype\nN}\x8c\x08__code__Ns\x86b.",
        b"cnumpy\ndtype\n)R.",
        b"cnumpy\ndtype\n\x8c\x02f4\x85R}b.",
        b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\ndtype\n\x85R.",
        b"cnumpy._core.multiarray\nscalar\n(cnumpy\nndarray\nNtR.",
        b"c_codecs\nencode\n\x8c\x01a\x8c\x03rot\x86R.",
        b"NNR.",
        b"}}R.",
    ],
)
def test_a_damaged_pickle_is_one_line(data):
    with pytest.raises(WeightsError) as caught:
        read_pickled_arrays(data, "w.pkl")
    assert str(caught.value) == DAMAGED


def test_an_array_is_completed_only_once():
    data = pickle.dumps({"W": W[:, ::2]}, 2)
    assert (data[-5:-4], data[-3:]) == (pickle.BINPUT, b"bs.")
    again = data[:-2] + pickle.BINGET + data[-4:-3] + b"bs."
    with pytest.raises(WeightsError) as caught:
        read_pickled_arrays(again, "w.pkl")
    assert str(caught.value) == DAMAGED


def test_a_dictionary_that_holds_itself_is_refused():
    value: dict[str, object] = {}
    value["W"] = value
    with pytest.raises(WeightsError, match="a value of type dict under 'W'"):
        read_pickled_arrays(pickle.dumps(value), "w.pkl")


@pytest.mark.parametrize(
    "nest",
    [
        b"\x85" * 200_000,  # a tuple in a tuple in a tuple
        b"q\x00h\x00\x86" * 100,  # doubled each time
    ],
)
def test_deep_tuples_are_harmless(nest):
    """Python's own reader can crash or hang on these when they become a key."""
    with pytest.raises(WeightsError, match="a key of type tuple"):
        read_pickled_arrays(b"})" + nest + b"Ns.", "w.pkl")


def test_data_shared_by_many_arrays_does_not_multiply():
    one = one_array(shape=b"K\x28\x85", data=bytes(160))[1:-1]
    first = one.replace(bytes(160), bytes(160) + b"q\x00")
    others = one.replace(b"C\xa0" + bytes(160), b"h\x00").replace(b"\x01W", b"\x03%03d")
    few, many = (b"}" + first + b"".join(others % i for i in range(n)) + b"." for n in (1, 100))
    assert list(read_pickled_arrays(few, "w.pkl")) == ["W", "000"]
    with pytest.raises(WeightsError) as caught:
        read_pickled_arrays(many, "w.pkl")
    assert str(caught.value) == DAMAGED


def test_mutated_pickles_give_arrays_or_the_librarys_error():
    rng = random.Random(0)
    seeds = [pickle.dumps({"W1": W, "b1": W[0, 0]}, protocol) for protocol in range(6)]
    read, messages = 0, []
    for _ in range(1500):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        try:
            params = read_pickled_arrays(bytes(data), "w.pkl")
        except WeightsError as error:
            messages.append(str(error))
        else:
            assert all(type(array) is np.ndarray for array in params.values())
            read += 1
    assert min(read, len(messages)) > 100
    assert all(re.fullmatch(r"[ -~]*", message) for message in messages)


def test_a_pickle_has_a_size_that_is_read(monkeypatch):
    data = pickle.dumps({"W": np.ones(10)})
    monkeypatch.setattr(xpnet.files.pickles, "MAX_BYTES", len(data))
    assert read_pickled_arrays(data, "w.pkl")["W"].shape == (10,)
    with pytest.raises(WeightsError) as caught:
        read_pickled_arrays(data + b" ", "w.pkl")
    assert str(caught.value) == (
        f"w.pkl is a pickle of {len(data) + 1} bytes, and of such at most {len(data)} are read; "
        "save it as safetensors"
    )
