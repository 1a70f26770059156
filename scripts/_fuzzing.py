"""Input that `fuzz.py` feeds to xpnet's readers: small valid files, hostile ones, and mutations.

A reader of outside bytes is one entry in READERS. Its input of a given seed and number is always
the same: first come its files as they are, then mutations of them.

A file is held in parts, such as the words of a JSON text, the chunks of a PNG or the instructions
of a pickle, and is joined with the lengths and checksums that its format wants. So a mutation
reaches what lies behind them; others then spoil single bytes of the whole file.
"""

import contextlib
import gzip
import importlib
import io
import json
import math
import os
import pickle
import pickletools
import re
import struct
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import click
import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin
from safetensors.numpy import save

import _torch_files
from _fuzz_large import LARGE, Large, bitmap
from xpnet import cli
from xpnet.arrays import cuda, to_numpy
from xpnet.books.nielsen import load as load_nielsen
from xpnet.data import load_dataset
from xpnet.data.captions import caption_scenes
from xpnet.data.idx import header, read_idx
from xpnet.data.scenes import digit_scenes, road_scenes
from xpnet.data.tiny import read_tiny_images
from xpnet.errors import XPNetError
from xpnet.files.photographs import Photographs
from xpnet.files.pickles import read_pickled_arrays
from xpnet.files.pictures import read_picture
from xpnet.files.weights import load_weights
from xpnet.layers import (
    Affine,
    BatchNorm,
    Concatenate,
    Convolution,
    Dropout,
    Heads,
    HeadsWithLoss,
    Identity,
    ReLU,
    Residual,
    SigmoidWithLoss,
    SoftmaxWithLoss,
    Sum,
    Tanh,
    Unpooled,
)
from xpnet.models import Network, TwoLayerNet, build_network
from xpnet.models.captioner import Captioner
from xpnet.models.faster_rcnn import FasterRCNN
from xpnet.models.fcn import FCN
from xpnet.models.torch_names import load_torch, save_torch
from xpnet.optim import Adam
from xpnet.train import EarlyStopping, Trainer, checkpoint
from xpnet.train.checkpoint import load_checkpoint
from xpnet.train.record import check_record, read_summary
from xpnet.train.saved import load_model

# Readers import these when they need them, and then decorators run code.
importlib.import_module("xpnet.engine.cpu")
importlib.import_module("filelock")
Image.init()

Join = Callable[[Sequence[bytes]], bytes]

BEGINNINGS = ("open", "os.mkdir", "subprocess.Popen", "tempfile.")
"""The first acts of a command that has understood its line: it writes, or starts a process."""
ARGUMENT = 2**17 - 1
"""Bytes of the longest argument that Linux passes to a program."""
MAX_BYTES = 2**20
"""The bytes of a mutation at most: what a small file makes a reader do is the question."""
BOMB = 2**24
"""Bytes that a small part unpacks to."""


class Touched(BaseException):
    """A reader was about to write, to connect, or to run something.

    No reader's `except Exception` may hide it.
    """


class Seed(NamedTuple):
    """A file in parts, of which there is at least one."""

    parts: Sequence[bytes]
    join: Join = b"".join


class Reader(NamedTuple):
    """A reader of outside bytes.

    Parameters
    ----------
    read : reads a file, or raises XPNetError
    valid, hostile : make files that it must accept and must refuse; run once, in a directory of
        their own
    """

    name: str
    read: Callable[[Path], object]
    valid: Callable[[], Sequence[Seed]]
    hostile: Callable[[], Sequence[Seed]]

    @property
    def large(self) -> Sequence[Large]:
        """More of both, which are not mutated: of three, the numbers are -3, -2 and -1."""
        return LARGE.get(self.name, ())


# Mutations.

INTEGERS = (
    0, 1, 2, 3, 127, 128, 255, 256, 1000, 8000, 2**15 - 1, 2**15, 2**16 - 1, 2**16, 2**24, 2**30,
    2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
"""Numbers where formats and machines have their limits; in decimal notation, or over bytes."""
ODD = (
    b"", b"-", b"--", b"0", b"-1", b"0.5", b"1e999", b"-1e-999", b"nan", b"NaN", b"Infinity",
    b"null", b"true", b"[]", b"{}", b'""', b"[1]", b'{"a":1}', b"9" * 400, b"9" * 5000, b"a" * 5000,
    b"float64", b"f8", b"U8", b"BF16", b"\xff", b"\xed\xa0\x80", b"\xc3\xa9", b"\n", b"%s", b"/",
    b".", b"..", b"~", b"/dev/null", b"/proc/self/mem",
)  # fmt: skip
"""Texts in place of a part."""


def _number(rng: Random, data: bytes) -> bytes:
    """Another integer: in decimal notation, or over one, two, four or eight bytes."""
    value = rng.choice(INTEGERS)
    if (found := list(re.finditer(rb"-?\d+", data))) and rng.random() < 0.5:
        place = rng.choice(found)
        return data[: place.start()] + b"%d" % rng.choice((value, -value)) + data[place.end() :]
    width = rng.choice((1, 2, 4, 8))
    order = rng.choice(("<", ">"))
    packed = struct.pack(f"{order}Q", value % 2 ** (8 * width))
    packed = packed[:width] if order == "<" else packed[8 - width :]
    at = rng.choice((0, rng.randrange(max(1, len(data)))))
    return data[:at] + packed + data[at + width :]


def _flip(rng: Random, data: bytes) -> bytes:
    """Flip one bit."""
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _overwrite(rng: Random, data: bytes) -> bytes:
    """Overwrite a few bytes with random ones."""
    at = rng.randrange(len(data))
    some = rng.randbytes(rng.choice((1, 2, 4, 8)))
    return data[:at] + some + data[at + len(some) :]


def _truncate(rng: Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _extend(rng: Random, data: bytes) -> bytes:
    """Add trailing bytes."""
    return data + rng.choice((b"\0", rng.randbytes(16), bytes(4096), data))


def _cut(rng: Random, data: bytes) -> bytes:
    """Leave out some bytes in the middle."""
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + data[end:]


def _repeat(rng: Random, data: bytes) -> bytes:
    """Repeat some bytes again and again."""
    start = rng.randrange(len(data))
    end = start + rng.choice((1, 2, 8, 64))
    return data[:end] + data[start:end] * rng.choice((1, 10, 1000)) + data[end:]


ON_BYTES = (_number, _number, _flip, _flip, _overwrite, _truncate, _extend, _cut, _repeat)


def _on_parts(rng: Random, parts: list[bytes], other: Sequence[bytes]) -> None:
    """Spoil one part, or move parts, or take parts of another file."""
    at = rng.randrange(len(parts))
    match rng.randrange(8):
        case 0 | 1 | 2:
            parts[at] = rng.choice(ON_BYTES)(rng, parts[at] or b"\0")
        case 3:
            parts[at] = rng.choice(ODD)
        case 4 if len(parts) > 1:
            del parts[at : at + rng.choice((1, 1, 2, 4))]
            parts += [] if parts else [b""]
        case 5:  # nested a hundred thousand times, where the part opens something
            times = min(rng.choice((1, 2, 10, 100_000)), MAX_BYTES // (len(parts[at]) or 1))
            parts[at:at] = [parts[at] * times]
        case 6:
            parts.insert(rng.randrange(len(parts)), parts.pop(at))
        case _:
            start = rng.randrange(len(other))
            parts[at : at + rng.randrange(3)] = other[start : start + rng.choice((1, 2, 5, 50))]


def _mutated(rng: Random, files: Sequence[Seed]) -> bytes:
    seed, other = rng.choice(files), rng.choice(files)
    parts = list(seed.parts)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        _on_parts(rng, parts, other.parts)
    data = seed.join(parts)
    if rng.random() < 0.05:  # two whole files, spliced
        more = other.join(other.parts)
        data = data[: rng.randrange(len(data) + 1)] + more[rng.randrange(len(more) + 1) :]
    for _ in range(rng.choice((0, 0, 0, 1, 1, 3))):
        data = rng.choice(ON_BYTES)(rng, data or b"\0")
    return data[:MAX_BYTES]


def make_input(reader: str, files: Sequence[Seed], seed: int, number: int) -> bytes:
    """Make the bytes of an input, from the files of its reader."""
    if number < len(files):
        return files[number].join(files[number].parts)
    return _mutated(Random(f"{reader} {seed} {number}"), files)


# IDX, plain and packed.


def _idx(shape: tuple[int, ...], values: bytes) -> list[bytes]:
    head = header(shape)
    return [*(head[k : k + 4] for k in range(0, len(head), 4)), values]


def _packed(parts: Sequence[bytes]) -> bytes:
    return gzip.compress(b"".join(parts), 1, mtime=0)


def _valid_idx(join: Join) -> list[Seed]:
    images = bytes(range(256)) * 6 + bytes(32)
    files = (_idx((3,), b"\5\0\4"), _idx((2, 28, 28), images), _idx((0, 28, 28), b""))
    return [Seed(parts, join) for parts in files]


def _hostile_idx(join: Join) -> list[Seed]:
    files = (
        _idx((2**31, 28, 28), b""),
        _idx((2**30,), b"\0"),
        _idx((0, 2**32 - 1, 2**32 - 1), b""),
        [b"\0\0\x0d\1", *_idx((3,), bytes(12))[1:]],  # of float32
    )
    return [Seed(parts, join) for parts in files]


def _hostile_gzip() -> list[Seed]:
    zeros = gzip.compress(bytes(2**20), mtime=0)
    return [
        *_hostile_idx(_packed),
        Seed([_packed(_idx((3,), b"\5\0\4")), *[zeros] * 2000]),  # 2 GiB more than promised
        Seed(_blocks(_packed(_idx((2**30,), bytes(BOMB))))),
    ]


def _blocks(data: bytes) -> list[bytes]:
    """Parts for want of better ones: pairs of bytes, and longer ones behind the first 64."""
    ends = [*range(0, min(64, len(data)), 2), *range(64, len(data), 64), len(data)]
    return [data[start:end] for start, end in pairwise(ends)]


# Weights.

_MATRICES: dict[str, np.ndarray] = {
    "W1": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3),
    "b1": np.zeros(3, np.float32),
    "W2": np.ones((3, 2)),
    "b2": np.zeros(2),
}
"""The matrices of a network of two layers."""


def _words(text: bytes) -> list[bytes]:
    return re.findall(rb"\d+|[A-Za-z_]+|[^\dA-Za-z_]", text)


def _tensors(parts: Sequence[bytes]) -> bytes:
    """A safetensors file of the words of its header and, last of all, its numbers."""
    *words, numbers = parts
    text = b"".join(words)
    return len(text).to_bytes(8, "little") + text + numbers


def _tensor_parts(contents: bytes) -> list[bytes]:
    end = 8 + int.from_bytes(contents[:8], "little")
    return [*_words(contents[8:end]), contents[end:]]


def _valid_weights() -> list[Seed]:
    kinds = ("bool", "i1", "i8", "u2", "f2", "f4", "f8")
    each = {kind: np.arange(4).astype(kind).reshape(2, 2) for kind in kinds}
    nothing = {"empty": np.zeros((0, 3), np.float32), "number": np.array(3.0)}
    files = [save(_MATRICES, {"model": "two-layer-net"}), save(each), save(nothing), save({})]
    return [*(Seed(_tensor_parts(file), _tensors) for file in files), _one_tensor("BF16", [4], 8)]


def _one_tensor(kind: str, shape: Sequence[int], end: int) -> Seed:
    text = json.dumps({"W1": {"dtype": kind, "shape": shape, "data_offsets": [0, end]}})
    return Seed([*_words(text.encode()), bytes(8)], _tensors)


def _hostile_weights() -> list[Seed]:
    lengths = (2**31, 2**40, 2**63, 2**64 - 1)
    return [
        *(Seed([n.to_bytes(8, "little"), b"{}"]) for n in lengths),
        Seed([b"[" * 100_000, b""], _tensors),
        Seed([b'{"__metadata__":', b'{"a":' * 100_000, b""], _tensors),
        _one_tensor("F32", [2**62, 4], 8),
        _one_tensor("F32", [2**31], 2**33),
        _one_tensor("F8_E4M3", [8], 8),
    ]


def _pickle(value: object, protocol: int) -> Seed:
    return Seed(_instructions(pickle.dumps(value, protocol)))


def _instructions(data: bytes) -> list[bytes]:
    starts = [at for _, _, at in pickletools.genops(data) if at is not None]
    ends = [*starts[1:], len(data)]
    return [data[start:end] for start, end in zip(starts, ends, strict=True)]


def _valid_pickles() -> list[Seed]:
    columns = {"W1": np.asfortranarray(_MATRICES["W1"]), "b1": np.float32(1), "t": np.arange(3) > 1}
    return [_pickle(value, k) for value in (_MATRICES, columns) for k in range(6)]


def _hostile_pickles() -> list[Seed]:
    texts = (
        b"cos\nsystem\n(S'true'\ntR.",
        b'cbuiltins\nexec\n(S\'open("owned", "w")\'\ntR.',
        b"cnumpy\nfromfile\n(S'w.pkl'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x82\x01.",
        b"\x8c\x01a\x94h\0\x86.",
    )
    others = (
        b"})" + b"\x85" * 50_000 + b"Ns.",  # tuples in tuples
        b"})" + b"q\0h\0\x86" * 100 + b"Ns.",  # doubled each time
        b"\x8e" + b"\xff" * 7 + b"\x7fabc.",
        b"\x8b\xff\xff\xff\x7f.",
        b"(" * 20_000 + b".",
        b"L" + b"9" * 100_000 + b"L\n.",
    )
    return [*(Seed(_instructions(text)) for text in texts), *map(_block, others)]


def _block(data: bytes) -> Seed:
    return Seed(_blocks(data))


def _read_pickle(path: Path) -> object:
    return read_pickled_arrays(path.read_bytes(), path.name)


def _archive(parts: Sequence[bytes]) -> bytes:
    """A ZIP archive of parts by turns: a name, its contents."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that comes twice
        for at in range(0, len(parts) - 1, 2):
            name = parts[at].decode("latin1").replace("\0", "")[:30_000]
            archive.writestr(zipfile.ZipInfo(name), parts[at + 1], zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def _valid_npz() -> list[Seed]:
    columns = {"W1": np.asfortranarray(_MATRICES["W1"]), "b1": np.float32(1), "t": np.arange(3) > 1}
    named = [
        [part for name, array in arrays.items() for part in (f"{name}.npy".encode(), _npy(array))]
        for arrays in (_MATRICES, columns)
    ]
    return [
        *(Seed(parts, _archive) for parts in named),
        *(_block(_archive(each)) for each in named),
    ]


def _hostile_npz() -> list[Seed]:
    vast = _npy(np.ones(3)).replace(b"(3,)", b"(2**62,)")
    wide = _npy(np.ones(333)).replace(b"(333,)", b"(2147483647, 2147483647)")
    return [
        Seed([b"W1.npy", _npy(np.array([{}], dtype=object))], _archive),
        Seed([b"W1.npy", vast], _archive),
        Seed([b"W1.npy", wide], _archive),
        Seed([b"W1.npy", bytes(BOMB)], _archive),
        Seed([b"model/data.pkl", b"\x80\2}."], _archive),
        Seed([b"../../W1", _npy(np.ones(3))], _archive),
    ]


def _valid_packed_pickles() -> list[Seed]:
    return [Seed(seed.parts, _packed) for seed in _valid_pickles()]


def _hostile_packed_pickles() -> list[Seed]:
    return [Seed(seed.parts, _packed) for seed in _hostile_pickles()]


# Networks: their arrays, and a JSON text that describes them.

_CONV = {"filter_num": 2, "filter_size": 3, "pad": 1, "stride": 1}
_NETWORKS: dict[str, dict[str, object]] = {
    "two-layer-net": {"input_size": 4, "hidden_size": 3, "output_size": 2, "activation": "relu"},
    "multi-layer-net": {"input_size": 4, "hidden_size_list": [3, 3], "output_size": 2},
    "multi-layer-net-extend": {
        "input_size": 4, "hidden_size_list": [3, 2], "output_size": 2, "activation": "tanh",
        "weight_init_std": 0.01, "weight_decay_lambda": 0.1, "use_dropout": True,
        "dropout_ratio": 0.5, "use_batchnorm": True,
    },
    "simple-convnet": {"input_dim": [1, 8, 8], "conv_param": _CONV, "hidden_size": 3},
    "deep-convnet": {
        "input_dim": [1, 12, 12],
        **{f"conv_param_{k}": {**_CONV, "pad": 1 + (k == 4)} for k in range(1, 7)},
        "hidden_size": 3,
    },
}  # fmt: skip


@cache
def _network(model: str) -> bytes:
    """The file that a small network of the model is kept in."""
    return _file_of(build_network(model, _NETWORKS[model], rng=0))


def _file_of(network: Network) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.safetensors")
        network.save_params(path)
        return path.read_bytes()


@cache
def _branching() -> bytes:
    """The file of a network with shortcuts, branches and heads."""
    layers = {
        "conv": Convolution(1, 2, 3, pad=1, bias=False, rng=0),
        "norm": BatchNorm(2),
        "block": Residual([Convolution(2, 2, 1, rng=1)], Sum([Identity(), ReLU()])),
        "wide": Concatenate([Unpooled([Tanh()]), Dropout(0.2, rng=2)]),
        "heads": Heads({"a": Affine(64, 2, rng=3), "b": Affine(64, 3, rng=4)}),
    }
    loss = HeadsWithLoss({"a": SoftmaxWithLoss(), "b": SigmoidWithLoss()}, {"b": 0.3})
    return _file_of(Network(layers, loss, input_shape=(1, 4, 4)))


@cache
def _old_network(model: str) -> bytes:
    """The same as xpnet 0.1.0 wrote it, which tells the model and its arguments."""
    network = build_network(model, _NETWORKS[model], rng=0)
    arrays = {name: to_numpy(array) for name, array in network.file_arrays().items()}
    arguments = json.dumps(_NETWORKS[model])
    return _retold(save(arrays), model=model, arguments=arguments, dtype=network.dtype)


def _retold(contents: bytes, **texts: str) -> bytes:
    """The file with other texts in its header, in an order that does not depend on hashes."""
    end = 8 + int.from_bytes(contents[:8], "little")
    head = json.loads(contents[8:end])
    head["__metadata__"] = head.get("__metadata__", {}) | texts
    return _tensors([json.dumps(head).encode(), contents[end:]])


def _described(contents: bytes, key: str, parts: Sequence[bytes]) -> bytes:
    """The file with another text that describes its network."""
    return _retold(contents, **{key: b"".join(parts).decode(errors="replace")})


def _description(model: str, arguments: str) -> Seed:
    """A file of 0.1.0 with these arguments."""
    return Seed(_words(arguments.encode()), partial(_described, _old_network(model), "arguments"))


def _network_text(contents: bytes, text: str | None = None) -> Seed:
    """A file with this description of its network, or with its own."""
    if text is None:
        head = json.loads(contents[8 : 8 + int.from_bytes(contents[:8], "little")])
        text = head["__metadata__"]["network"]
    return Seed(_words(text.encode()), partial(_described, contents, "network"))


def _layers(*kinds: tuple[str, object]) -> Seed:
    """A file whose network has these layers."""
    layers = {f"l{k}": {"$kind": kind, "arguments": a} for k, (kind, a) in enumerate(kinds)}
    arguments = {"layers": layers, "input_shape": [1, 4, 4]}
    text = json.dumps({"$kind": "Network", "arguments": arguments})
    return _network_text(_branching(), text)


def _photographs(text: str) -> Seed:
    """A file that tells so how its network reads photographs."""
    join = partial(_described, _network("two-layer-net"), "photographs")
    return Seed(_words(text.encode()), join)


def _valid_networks() -> list[Seed]:
    return [
        _photographs(Photographs(8, 127, (1, 2, 3), classes=("a", "b")).as_text()),
        *(Seed(_tensor_parts(_network(model)), _tensors) for model in _NETWORKS),
        Seed(_tensor_parts(_branching()), _tensors),
        _network_text(_branching()),
        *(_network_text(_network(model)) for model in _NETWORKS),
        *(_description(model, json.dumps(arguments)) for model, arguments in _NETWORKS.items()),
        Seed(_tensor_parts(save(_MATRICES)), _tensors),
        *(_pickle(_MATRICES, k) for k in (2, 4)),
    ]


def _hostile_networks() -> list[Seed]:
    two = partial(_description, "two-layer-net")
    many = partial(_description, "multi-layer-net")
    conv = partial(_description, "simple-convnet")
    deep: object = {"$kind": "ReLU", "arguments": {}}
    for _ in range(100):
        deep = {"$kind": "Residual", "arguments": {"layers": {"x": deep}}}
    return [
        _layers(("Affine", {"n_in": 1_000_000, "n_out": 1_000_000})),
        _layers(("BatchNorm", {"features": 10**12})),
        _layers(("Affine", {"n_in": 2**62, "n_out": 2**62})),
        _layers(("Convolution", {"channels": 1, "filters": 1, "filter_size": [1, "2"]})),
        _layers(("TransposedConvolution", {**UP, "output_pad": [0, "1"]})),
        _layers(("TransposedConvolution", {**UP, "stride": 2**62, "std": "bilinear"})),
        _layers(("TransposedConvolution", {**UP, "stride": 2**62, "filter_size": [2**63] * 2})),
        _layers(("Sum", {"branches": [deep, deep]})),
        _layers(("Sequential", {"layers": {}}), ("Heads", {"branches": 7})),
        _layers(("Dropout", {"key": [-1, 2**40]})),
        _layers(("PadShortcut", {"stride": 1, "channels": 2**62})),
        _layers(("os.system", {"command": "true"})),
        _network_text(_branching(), '{"$kind": "Network"}'),
        _photographs("[" * 100_000),
        _photographs('{"size": 8}'),
        _photographs('{"size": 1e999, "mean": 0, "std": 1}'),
        _photographs('{"size": 8, "mean": [0, 0], "std": NaN}'),
        _network_text(_branching(), '{"$kind":' * 100_000),
        two('{"input_size": 1000000, "hidden_size": 1000000, "output_size": 2}'),
        two('{"input_size": 4, "hidden_size": NaN, "output_size": 2}'),
        two("[" * 100_000),
        many(f'{{"input_size": 1, "hidden_size_list": {[1] * 200_000}, "output_size": 1}}'),
        conv('{"input_dim": [1, 8, 8], "conv_param": {"stride": 0}}'),
        conv('{"input_dim": [1, 8, 8], "conv_param": {"pad": 1000000000}}'),
        conv('{"input_dim": []}'),
        conv('{"input_dim": [1, 1e999, 8], "hidden_size": 3}'),
        conv('{"input_dim": [1, 8, 8], "weight_init_std": "he"}'),
    ]


UP = {"channels": 1, "filters": 1, "filter_size": 2}
_TORCH = {"l1": Affine(4, 3, rng=0), "l2": BatchNorm(3)}


def _read_torch(path: Path) -> object:
    return load_torch(Network(_TORCH), path)


def _valid_torch() -> list[Seed]:
    path = Path("torch.safetensors")
    save_torch(Network(_TORCH), path)
    return [Seed(_tensor_parts(path.read_bytes()), _tensors), *_valid_torch_files()[:1]]


def _hostile_torch() -> list[Seed]:
    return [Seed(_tensor_parts(save({"l1.weight": np.full((3, 4), np.nan)})), _tensors)]


# PyTorch's files: the instructions of a pickle, and then the storages.

_TENSORS = {
    "l1.weight": _torch_files.tensor("0", np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)),
    "l1.bias": _torch_files.Tensor("1", bytes(8), "BFloat16", 4, [3], [1], 1),
    "l2.weight": _torch_files.Tensor("1", bytes(8), "BFloat16", 4, [3], [1]),
    "l2.bias": _torch_files.tensor("2", np.ones(3)),
    "l2.running_mean": _torch_files.tensor("3", np.zeros(3, np.float16)),
    "l2.running_var": _torch_files.tensor("4", np.ones(3, np.float32)),
    "l2.num_batches_tracked": _torch_files.tensor("5", np.asarray(7)),
}


def _torch_zip(names: Sequence[str], parts: Sequence[bytes]) -> bytes:
    """An archive of a pickle and, last of all, the storages of these names."""
    at = max(0, len(parts) - len(names))
    storages = dict(zip(names, parts[at:], strict=False))
    return _torch_files.zipped(b"".join(parts[:at]), storages)


def _torch_seed(pickled: bytes, tensors: Mapping[str, _torch_files.Tensor]) -> Seed:
    storages = _torch_files.storages_of(tensors)
    return Seed([*_instructions(pickled), *storages.values()], partial(_torch_zip, [*storages]))


def _valid_torch_files() -> list[Seed]:
    pickled = _torch_files.state_dict(_TENSORS)
    inside = _torch_files.dictionary(
        epoch=pickle.dumps(3, 2), lrs=pickle.dumps([{0: 0.1}], 2), state_dict=pickled
    )
    old = _torch_files.state_dict(_TENSORS, old=True)
    parts = [
        _torch_files.old_beginning(), *_instructions(old), *_blocks(_torch_files.old_end(_TENSORS)),
    ]  # fmt: skip
    return [
        _torch_seed(pickled, _TENSORS),
        _torch_seed(inside, _TENSORS),
        _block(_torch_files.zipped(pickled, _torch_files.storages_of(_TENSORS))),
        Seed(parts),
        Seed(parts),  # of which as many mutations are to be
    ]


def _hostile_torch_files() -> list[Seed]:
    tensor = _torch_files.Tensor
    vast = [
        tensor("0", bytes(8), "Float", 2, [2**39, 2**39], [0, 0]),
        tensor("0", bytes(8), "Float", 2**39, [2**39], [1]),
        tensor("0", bytes(8), "Float", 2, [2], [2**39]),
        tensor("0", bytes(8), "Float", 2, [2], [1], 2**39),
        tensor("0", bytes(8), "ComplexDouble", 1, [1], [1]),
    ]
    one = {"a": tensor("0", bytes(8), "Float", 2, [2], [1])}
    many = {f"a{k}": one["a"] for k in range(1000)}
    called = [
        b"\x80\2cos\nsystem\nX\4\0\0\0true\x85R.",
        b"\x80\2ctorch._utils\n_rebuild_parameter\n)R.",
        b"\x80\2ctorch\nload\nX\1\0\0\0a\x85R.",
        b"\x80\2ctorch\nFloatStorage\n)R.",
        b"\x80\2" + b"]" * 100_000 + b".",
        b"\x80\2X\1\0\0\0aQ.",
    ]
    bomb = _torch_files.zipped(
        _torch_files.state_dict({"a": tensor("0", b"", "Float", BOMB // 4, [BOMB // 4], [1])}),
        {"0": bytes(BOMB)}, compression=zipfile.ZIP_DEFLATED,
    )  # fmt: skip
    return [
        *(_torch_seed(_torch_files.state_dict({"a": each}), {"a": each}) for each in vast),
        _torch_seed(_torch_files.state_dict(many), many),
        *(_torch_seed(each, one) for each in called),
        *(Seed([_torch_files.old_beginning(), *_instructions(each)]) for each in called),
        _block(bomb),
        Seed([_torch_files.old_beginning(version=3)]),
        Seed([_torch_files.old_beginning(little=False)]),
    ]


def _nielsen(**changes: object) -> Seed:
    record = {
        "sizes": [2, 3, 1],
        "weights": [[[0.5, -1e-3]] * 3, [[1, 2, 3]]],
        "biases": [[[0.0]] * 3, [[1.5]]],
        "cost": "QuadraticCost",
    }
    return Seed(_words(json.dumps(record | changes).encode()))


def _valid_nielsen() -> list[Seed]:
    return [_nielsen(), _nielsen(cost="CrossEntropyCost"), _nielsen(cost="LogLikelihoodCost")]


def _hostile_nielsen() -> list[Seed]:
    deep: object = 1
    for _ in range(500):
        deep = [deep]
    return [
        _nielsen(sizes=[10**6, 10**6], weights=[], biases=[]),
        _nielsen(sizes=[2, 10**9, 1]),
        _nielsen(sizes=[1] * 5001, weights=[[[1]]] * 5000, biases=[[[1]]] * 5000),
        _nielsen(weights=[[[10**400] * 2] * 3, [[1, 2, 3]]]),
        _nielsen(weights=[deep, deep]),
        _nielsen(weights=["a" * 5000, [[1, 2, 3]]]),
        _nielsen(cost="builtins.exec"),
        Seed([b"[" * 100_000]),
        Seed([b'{"sizes":' * 100_000]),
    ]


# Checkpoints: arrays, a JSON text, and a checksum of both, which whoever changes them can mend.


def _summed(parts: Sequence[bytes]) -> bytes:
    """A checkpoint with that text and the checksum that fits."""
    arrays, text = {"epoch_losses": np.zeros(2)}, b"".join(parts).decode(errors="replace")
    return _retold(save(arrays), record=text, sha256=checkpoint._digest(arrays, text))


def _valid_checkpoints() -> list[Seed]:
    history = [{"epoch": 1, "test_accuracy": 0.5}]
    record = {"format": checkpoint.FORMAT, "steps": 3, "history": history}
    words = _words(json.dumps(record).encode())
    return [Seed(words, _summed), Seed(_tensor_parts(_summed(words)), _tensors)]


def _hostile_checkpoints() -> list[Seed]:
    texts = (b"", b"[]", b"{}", b"3", b'{"format": 0}', b"[" * 100_000, b'{"format": NaN}')
    return [Seed([text], _summed) for text in texts]


# Runs: checkpoints whose fields are parts, "run.settings.lr=" and what JSON writes of the value, so
# that most mutations are values of another kind, below a checksum that fits. What arrays there are
# is told in the same way.


def _fields(value: object, name: str = "") -> list[bytes]:
    if isinstance(value, dict) and value:
        return [part for k, v in value.items() for part in _fields(v, f"{name}/{k}")]
    return [f"{name}=".encode(), json.dumps(value).encode()]


def _values(parts: Sequence[bytes]) -> dict[str, Any]:
    """The record that fields make; what is no JSON is a text."""
    record: dict[str, Any] = {}
    names: list[str] = []
    for part in parts:
        text = part.decode(errors="replace")
        if text.startswith("/") and text.endswith("="):
            names = text[1:-1].split("/")[:9]
        elif names:
            place = record
            for name in names[:-1]:
                place = place if isinstance(place.get(name, {}), dict) else {}
                place = place.setdefault(name, {})
            place[names[-1]] = text
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(text)
                json.dumps(value)
                place[names[-1]] = value
    return record


def _arrays(described: object) -> dict[str, np.ndarray]:
    """Arrays of these dtypes, shapes and values; such as are none, or not small, are left out."""
    arrays = {}
    for name, about in described.items() if isinstance(described, dict) else ():
        with contextlib.suppress(Exception):  # whatever NumPy says of such a dtype
            kind, shape, value = about
            if math.prod(float(n) for n in shape) < 10_000 and np.dtype(kind).kind in "biuf":
                arrays[name] = np.full(tuple(shape), value, dtype=np.dtype(kind).newbyteorder("="))
                save({name: arrays[name]})
    return arrays


def _run(parts: Sequence[bytes]) -> bytes:
    record = _values(parts)
    arrays = _arrays(record.pop("arrays", {}))
    text = json.dumps(record)
    return _retold(save(arrays), record=text, sha256=checkpoint._digest(arrays, text))


def _trainer() -> Trainer:
    rows = np.zeros((4, 784), dtype=np.float32)
    stopping = EarlyStopping(9, metric="train_loss", restore_best=True)
    return Trainer(
        TwoLayerNet(784, 2, 10, rng=0), rows, np.arange(4), None, None, 2, 2, Adam(),
        verbose=False, engine="reference", early_stopping=stopping,
    )  # fmt: skip


def _valid_runs() -> list[Seed]:
    """Of a trainer after an epoch, and in the next one."""
    trainer, states = _trainer(), []
    trainer.on_step = lambda: states.append(trainer.state())
    trainer.on_epoch = lambda _: states.append(trainer.state())
    trainer.train()
    settings = {
        "model": "two-layer-net", "hidden_size": 2, "activation": None, "data": "mnist",
        "optimizer": "adam", "lr": 0.001, "schedule": "constant", "epochs": 2, "batch_size": 2,
        "evaluate_samples": 4, "dtype": "float32", "precision": None, "seed": 0,
    }  # fmt: skip
    run = {
        "settings": settings,
        "data_sha256": "0" * 64,
        "xpnet": "0.1.0",
        "computed_by": {"threads": 1},
    }
    seeds = []
    for arrays, record in states[2:4]:
        about = {name: [a.dtype.str, list(a.shape), 0] for name, a in arrays.items()}
        about["callback.EarlyStopping.epoch"] = ["<i8", [], 1]
        whole = {"format": checkpoint.FORMAT, **record, "run": run, "arrays": about}
        # What took how long differs from run to run.
        whole = json.loads(
            json.dumps(whole),
            object_hook=lambda found: found | ({"seconds": 0.5} if "seconds" in found else {}),
        )
        seeds.append(Seed(_fields(whole), _run))
    return seeds * 4  # of which most mutations are to be


def _hostile_runs() -> list[Seed]:
    parts, seeds = _valid_runs()[0].parts, []
    for name, values in {
        "/steps=": (b"-1", b"%d" % 2**70, b'"3"', b"1e999"),
        "/lr/network=": (b"-1", b"NaN"),
        "/run/settings/schedule=": (b'"unknown"', b"[]"),
        "/arrays/train_losses=": (b'["<f4", [], 0]', b'["<i8", [2], 0]', b'["<f8", [2], NaN]'),
    }.items():
        for value in values:
            seeds.append(Seed([*parts, name.encode(), value], _run))
    return seeds * 4  # of which most mutations are to be


def _go_on(path: Path) -> None:
    """Do with a checkpoint what commands do, and train on from it."""
    found = load_checkpoint(path)
    check_record(path, found.record, of_run=True)
    load_model(path)
    trainer = _trainer()
    trainer.restore(found.arrays, found.record)
    trainer.train(1)


def _summary(parts: Sequence[bytes]) -> bytes:
    return json.dumps(_values(parts)).encode()


def _valid_summaries() -> list[Seed]:
    record = {"model": "two-layer-net", "epochs": 2, "steps": 60, "versions": {"xpnet": "0.1.0"}}
    return [Seed(_fields(record), _summary), Seed(_words(json.dumps(record).encode()))]


# The images of a few pixels.


def _tiny(*images: dict[str, object], count: int = 1) -> Seed:
    text = json.dumps({"M1_images_4x3": {"count": count, "images": images}})
    return Seed(_words(text.encode()))


_RING = {"rows": ["111", "101", "101", "111"], "label": 0, "target": [1, 0]}


def _valid_tiny() -> list[Seed]:
    bar = {"rows": ["010"] * 4, "label": 1, "target": [0, 1]}
    return [_tiny(_RING), _tiny(_RING, bar, count=2)]


def _hostile_tiny() -> list[Seed]:
    wrong = ({"rows": ["1" * 100_000]}, {"rows": [[]]}, {"label": 1}, {"target": {}})
    return [
        *(_tiny(_RING | change) for change in wrong),
        _tiny(_RING, count=2**31),
        Seed([b"[" * 100_000]),
        Seed([b'{"M1_images_4x3":', b"9" * 100_000, b"}"]),
    ]


def _read_tiny(path: Path) -> object:
    return read_tiny_images(path, "M1")


# Pictures.


def _digit() -> Image.Image:
    image = Image.new("L", (40, 30), 255)
    ImageDraw.Draw(image).line([(8, 6), (20, 6), (14, 25)], fill=0, width=3)
    return image


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _chunked(parts: Sequence[bytes]) -> bytes:
    """A PNG file of chunks, whose names come first."""
    chunks = (struct.pack(">I", len(p[4:])) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunks(png: bytes) -> list[bytes]:
    found, at = [], 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        found.append(png[at + 4 : at + 8 + size])
        at += 12 + size
    return found


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _valid_pngs() -> list[Seed]:
    digit = _digit()
    note = PngImagePlugin.PngInfo()
    note.add_text("note", "a digit", zip=True)
    deep = Image.fromarray(np.asarray(digit).astype(np.uint16) * 257)
    clear = Image.merge("LA", [digit, digit.point(lambda value: 255 - value)])
    pngs = [
        _encoded(digit, "PNG", exif=_exif(), pnginfo=note),
        _encoded(deep, "PNG"),
        _encoded(clear, "PNG"),
        _encoded(digit.convert("P"), "PNG", transparency=255),
        _encoded(digit.convert("RGB"), "PNG", icc_profile=bytes(200)),
        _encoded(digit, "PNG", save_all=True, append_images=[digit.rotate(90)]),
    ]
    return [Seed(_chunks(png), _chunked) for png in pngs]


def _valid_jpegs() -> list[Seed]:
    digit = _digit()
    jpegs = [
        _encoded(digit, "JPEG", exif=_exif()),
        _encoded(digit, "JPEG", exif=_exif(), progressive=True),
        _encoded(digit.convert("RGB"), "JPEG", progressive=True, icc_profile=bytes(200)),
        _encoded(digit.convert("CMYK"), "JPEG", restart_marker_blocks=2),
        _encoded(digit, "MPO", save_all=True, append_images=[digit]),
    ]
    return [Seed(_segments(jpeg)) for jpeg in jpegs]


def _segments(jpeg: bytes) -> list[bytes]:
    return re.split(rb"(?=\xff[\xc0-\xfe])", jpeg)


def _valid_gifs() -> list[Seed]:
    digit = _digit()
    clear = digit.convert("P")
    options = ({}, {"transparency": 255, "comment": b"a digit" * 50}, {"interlace": 0})
    gifs = [_encoded(clear, "GIF", **each) for each in options]
    gifs.append(_encoded(digit, "GIF", save_all=True, append_images=[digit.rotate(90)] * 3))
    return [_block(gif) for gif in gifs]


def _valid_bmps() -> list[Seed]:
    digit = _digit()
    modes = ("L", "1", "P", "RGB", "RGBA")
    plain = [_encoded(digit.convert(mode), "BMP") for mode in modes]
    lengths = (b"\x28\xff\0\0" * 10 + b"\x14\0\x14\xff\0\0" * 20 + b"\0\1", 1)
    return [*map(_block, plain), _block(bitmap(40, 30, *lengths))]


def _valid_webps() -> list[Seed]:
    digit = _digit()
    webps = [
        _encoded(digit, "WEBP"),
        _encoded(digit.convert("RGBA"), "WEBP", lossless=True, exif=_exif().tobytes()),
        _encoded(digit, "WEBP", save_all=True, append_images=[digit.rotate(90)]),
    ]
    return [_block(webp) for webp in webps]


def _valid_ppms() -> list[Seed]:
    digit = _digit()
    binary = [_encoded(digit.convert(mode), "PPM") for mode in ("1", "L", "RGB")]
    numbers = b" ".join(b"%d" % value for value in digit.tobytes())
    texts = [
        b"P2 # a comment\n40 30\n255\n" + numbers,
        b"P3 40 10 255\n" + numbers,
        b"P1 40 30 " + b" ".join(b"%d" % (value < 128) for value in digit.tobytes()),
        b"P5 40 30 65535\n" + (np.asarray(digit).astype(">u2") * 257).tobytes(),
        b"P5 40 30 99\n" + digit.point(lambda value: value * 99 // 255).tobytes(),
    ]
    return [*map(_block, binary), *(Seed(_words(text)) for text in texts)]


def _hostile_jpegs() -> list[Seed]:
    """A file of 16 million pixels that draws them ten thousand times."""
    wide = _encoded(Image.new("L", (4000, 4000), 255), "JPEG", progressive=True)
    parts = _segments(wide)
    at = min(
        (k for k, part in enumerate(parts) if part[:2] == b"\xff\xda"), key=lambda k: len(parts[k])
    )
    return [Seed([*parts[:at], *[parts[at]] * 10_000, *parts[at:]])]


def _hostile_pngs() -> list[Seed]:
    bomb = zlib.compress(bytes(BOMB))
    head, *_ = _chunks(_encoded(_digit(), "PNG"))
    vast = b"IHDR" + struct.pack(">II", 60_000, 60_000) + head[12:]
    wide = b"IHDR" + struct.pack(">II", 2**31 - 1, 1) + head[12:]
    files = (
        [head, b"IDAT" + bomb[: len(bomb) // 2]],  # zeros, as black all over
        [head, b"zTXtnote\0\0" + bomb, b"IDAT" + bomb],
        [head, b"iCCPnote\0\0" + bomb, b"IEND"],
        [vast, b"IDAT" + bomb, b"IEND"],
        [wide, b"IDAT" + bomb, b"IEND"],
    )
    return [Seed(parts, _chunked) for parts in files]


def _hostile_gifs() -> list[Seed]:
    gif = _encoded(_digit(), "GIF")
    return [_block(gif[:6] + b"\xff" * 4 + gif[10:]), _block(gif[: len(gif) // 2])]


def _hostile_bmps() -> list[Seed]:
    bmp = _encoded(_digit(), "BMP")
    return [
        _block(bmp[:18] + struct.pack("<ii", 60_000, 60_000) + bmp[26:]),
        _block(bmp[:18] + struct.pack("<ii", 2**31 - 1, -1) + bmp[26:]),
        _block(bitmap(1000, 1001, b"\0\0")),
    ]


def _hostile_webps() -> list[Seed]:
    webp = _encoded(_digit().convert("RGBA"), "WEBP", exif=_exif().tobytes())
    return [_block(webp[:24] + b"\xff" * 6 + webp[30:]), _block(webp[:100])]


def _hostile_ppms() -> list[Seed]:
    texts = (b"P5 60000 60000 255\n", b"P2 40 30 255\n" + b"9" * 100_000, b"P3 1000 1001 255\n")
    other = Seed([b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%%BoundingBox: 0 0 9 9\n"])
    return [*(Seed(_words(text)) for text in texts), other]


# The command line, whose arguments stand in a file, each ended by a zero as in /proc/self/cmdline.


def _value(option: click.Parameter) -> list[str]:
    """Something that the option takes."""
    if option.name in ("weights", "images"):
        return ["w.safetensors" if option.name == "weights" else "digit.png"]
    if isinstance(option.type, click.Choice):
        return [str(option.type.choices[0])]
    kinds = option.type.types if isinstance(option.type, click.Tuple) else [option.type]
    return [{"whole": "1", "number": "0.5"}.get(kind.name.split()[0], "auto") for kind in kinds]


def _line(command: str) -> list[str]:
    """A command with all its options."""
    words = [command]
    for option in cli.commands.commands[command].params:
        name = option.opts[0] if isinstance(option, click.Option) else "--"
        flag = isinstance(option, click.Option) and option.is_flag
        words += [name, *([] if flag else _value(option))]
    return words


def _arguments(parts: Sequence[bytes]) -> bytes:
    return b"".join(part + b"\0" for part in parts)


def _valid_lines() -> list[Seed]:
    """Lines that are understood; the files they name are written, and the data made small.

    There is neither a GPU nor a network: both would run code of others.
    """
    # Commands import these when they need them, and then decorators run code.
    from xpnet.bench import report, run  # noqa: F401
    from xpnet.train import search as tune  # noqa: F401

    os.environ.pop("XPNET_DATA_DIR", None)
    os.environ["XDG_CACHE_HOME"] = str(Path.cwd())
    nothing = cuda.Diagnosis(problem="it is not looked for", remedy="run the command by itself")
    cuda.diagnose = lambda: nothing
    few = partial(load_dataset, train_size=200, test_size=20, download=False)
    cli.options.load_dataset = few
    digits = few("synthetic")
    makers = {
        "road-scenes": partial(road_scenes, 20, 5),
        "digit-scenes": partial(digit_scenes, 20, 5, digits=digits),
        "caption-scenes": partial(caption_scenes, 20, 5, 5),
    }
    cli.options.load_scenes = lambda name, data_dir=None: makers[name]()
    sizes = {"input_size": 784, "hidden_size": 3, "output_size": 10}
    network = build_network("two-layer-net", sizes, rng=0)
    network.save_params("w.safetensors")
    FCN.small(rng=0).save_params("fcn.safetensors")
    FasterRCNN(rng=0).save_params("boxes.safetensors")
    Captioner(rng=0).save_params("captions.safetensors")
    _digit().save("digit.png")
    lines = [
        ["--version"],
        ["train", "--help"],
        ["train", "--data", "synthetic", "--model", "two-layer-net", "--seed", "1", "--lr", "0.1"],
        ["train", "--model", "simple-convnet", "--hidden-size", "5", "--schedule", "cosine"],
        ["evaluate", "--weights", "w.safetensors", "--data", "synthetic"],
        ["predict", "--weights", "w.safetensors", "--threads", "1", "digit.png", "digit.png"],
        ["train", "--model", "segnet", "--data", "road-scenes", "--batch-size", "5"],
        ["evaluate", "--weights", "fcn.safetensors"],
        ["segment", "--weights", "fcn.safetensors", "--scenes", "2", "digit.png"],
        ["train", "--model", "faster-rcnn", "--batch-size", "5", "--schedule", "drop"],
        ["detect", "--weights", "boxes.safetensors", "--scenes", "2", "--size", "96", "digit.png"],
        ["train", "--model", "nic-state", "--batch-size", "7", "--evaluate-samples", "3"],
        ["evaluate", "--weights", "captions.safetensors"],
        [
            "caption",
            "--weights",
            "captions.safetensors",
            "--scenes",
            "2",
            "--beam",
            "3",
            "--part",
            "novel",
            "digit.png",
        ],
        ["summary", "--model", "two-layer-net", "--hidden-size", "7", "--activation", "tanh"],
        ["tune", "--data", "synthetic", "--trials", "2", "--lr", "1e-3", "1e-2"],
        ["data", "--data", "synthetic", "--export", "pictures", "--count", "3"],
        ["bench", "--model", "two-layer-net", "--batch-size", "10", "--rounds", "2"],
        ["info"],
        ["evaluate", "--weights", "w.safetensors", "--threads", str(2**31)],
    ]
    return [Seed([word.encode() for word in line], _arguments) for line in lines]


def _hostile_lines() -> list[Seed]:
    lines = [
        *([*_line(command), "--none"] for command in cli.commands.commands),
        ["train", "--hidden-size", str(2**31 - 1)],
        ["train", "--epochs", str(2**63)],
        ["train", "--out", "a" * 5000, "--lr", "1e999"],
        ["summary", "--hidden-size", str(2**63)],
        ["predict", "--weights", "w.safetensors", "a" * 5000],
        ["evaluate", "--weights", "a" * 5000],
    ]
    return [Seed([word.encode() for word in line], _arguments) for line in lines]


def _run_line(path: Path) -> None:
    """Run the command up to where it begins to write; its error is raised again."""
    words = path.read_bytes().split(b"\0")[:-1]
    sys.argv = ["xpnet", *(os.fsdecode(word[:ARGUMENT]) for word in words)]
    code: object = 0
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        except Touched as touched:
            if not str(touched).startswith(BEGINNINGS):
                raise
    err.flush()
    text = err.buffer.getvalue().decode()
    if code:
        assert code == cli.USAGE_ERROR, f"exit code {code}"
        # predict goes on with the next picture
        assert re.fullmatch(r"(xpnet: [^\n]+\n)+", text), f"no single lines: {text}"
        assert "xpnet: error: " in text, f"no error: {text}"
        raise XPNetError(text)


READERS = {
    reader.name: reader
    for reader in (
        Reader("idx", read_idx, partial(_valid_idx, b"".join), partial(_hostile_idx, b"".join)),
        Reader("gzip", read_idx, partial(_valid_idx, _packed), _hostile_gzip),
        Reader("weights", load_weights, _valid_weights, _hostile_weights),
        Reader("pickles", _read_pickle, _valid_pickles, _hostile_pickles),
        Reader("npz", load_weights, _valid_npz, _hostile_npz),
        Reader("packed-pickles", load_weights, _valid_packed_pickles, _hostile_packed_pickles),
        Reader("networks", load_model, _valid_networks, _hostile_networks),
        Reader("torch-names", _read_torch, _valid_torch, _hostile_torch),
        Reader("torch-files", load_weights, _valid_torch_files, _hostile_torch_files),
        Reader("nielsen", load_nielsen, _valid_nielsen, _hostile_nielsen),
        Reader("checkpoints", load_checkpoint, _valid_checkpoints, _hostile_checkpoints),
        Reader("runs", _go_on, _valid_runs, _hostile_runs),
        # It takes every damage for a summary that is not there.
        Reader("summaries", read_summary, _valid_summaries, list),
        Reader("tiny-images", _read_tiny, _valid_tiny, _hostile_tiny),
        Reader("png", read_picture, _valid_pngs, _hostile_pngs),
        Reader("jpeg", read_picture, _valid_jpegs, _hostile_jpegs),
        Reader("gif", read_picture, _valid_gifs, _hostile_gifs),
        Reader("bmp", read_picture, _valid_bmps, _hostile_bmps),
        Reader("webp", read_picture, _valid_webps, _hostile_webps),
        Reader("ppm", read_picture, _valid_ppms, _hostile_ppms),
        Reader("command-line", _run_line, _valid_lines, _hostile_lines),
    )
}
"""The readers by name: another reader is another line here."""
