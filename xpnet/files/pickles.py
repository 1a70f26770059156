"""Reading pickled weights without unpickling them.

A pickle is a program, and Python's unpickler runs it: it may import and call anything. The books
publish their weights as pickles of {name: NumPy array}. This reader follows the few instructions
that such a file needs, on a stack of plain values and the three records below. The functions that
the file names are looked up in a table of words: none is imported and none is called. PyTorch's
files have pickles, too: `xpnet.files.torch_files` reads them with the same machine.

The layout of the instructions is that of Python's `pickletools`; what NumPy writes with them is
read from `pickletools.dis(pickle.dumps({"W": array}, protocol))`, protocols 0 to 5.
"""

import math
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, ClassVar, Literal, NoReturn

import numpy as np

from xpnet.errors import WeightsError

MAX_BYTES = 2**26  # its texts take up to four times as much
MAX_NDIM = 32
_MAX_INSTRUCTIONS = 1_000_000  # an array takes about 40

_WORDS = {"numpy.ndarray": "ndarray", "numpy.dtype": "dtype", "_codecs.encode": "encode"}
for _core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    _WORDS[f"{_core}.multiarray._reconstruct"] = "reconstruct"
    _WORDS[f"{_core}.multiarray.scalar"] = "scalar"
    _WORDS[f"{_core}.numeric._frombuffer"] = "frombuffer"

_CODES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}


@dataclass(frozen=True)
class Name:
    """A function or class that the file names, as a word of our own."""

    word: str


@dataclass
class _DType:
    """A number format: kind and bytes ("f4"), and the order of the bytes."""

    code: str
    order: str = "="


@dataclass
class _Array:
    """An array; None until the instruction that brings its numbers."""

    array: np.ndarray | None = None


def read_pickled_arrays(data: bytes, name: str) -> dict[str, np.ndarray]:
    """Read a pickled dictionary of NumPy arrays; run nothing that the pickle holds.

    Parameters
    ----------
    data : the pickle, of any protocol, as written by Python 2 or 3 and any NumPy
    name : what to call it in an error

    Returns
    -------
    writable arrays of booleans, integers or floats, in C order and native byte order

    Raises
    ------
    WeightsError
        The pickle is damaged, or larger than 64 MiB, or holds anything but a dictionary from
        strings to arrays.
    """
    if len(data) > MAX_BYTES:
        raise WeightsError(
            f"{name} is a pickle of {len(data)} bytes, and of such at most {MAX_BYTES} are read; "
            "save it as safetensors"
        )
    reader = _Reader(name, len(data))
    try:
        value = reader.run(data)
    except WeightsError:
        raise
    except Exception as error:  # a damaged stream can break any line of the reader
        raise WeightsError(
            f"{name} is damaged, or is not a pickle of NumPy arrays; download or save it again"
        ) from error
    if not isinstance(value, dict):
        reader.refuse(f"a value of type {kind(value)}")
    arrays = {}
    for key, item in value.items():
        if not isinstance(item, _Array) or item.array is None:
            reader.refuse(f"a value of type {kind(item)} under '{show(key)}'")
        arrays[key] = item.array
    return arrays


class Machine:
    """The stack machine of one pickle: the instructions that move plain values about.

    What the values of a kind of file are, a subclass says: `look_up`, `call`, `build` and
    `persistent` are told of what the pickle would have Python do.
    """

    words: ClassVar[Mapping[str, str]] = {}
    """The functions and classes that a file may name, and our words for them."""
    lists = False
    """Whether there may be lists, and numbers as keys."""
    only = "only plain values are read"
    remedy = "save plain values"

    def __init__(self, name: str) -> None:
        self.name = name
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # one stack for each open mark
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes | IO[bytes]) -> object:
        """Follow one pickle to its end, and give what it leaves."""
        for count, (opcode, arg, _) in enumerate(pickletools.genops(data)):
            if count == _MAX_INSTRUCTIONS:
                self.refuse(f"more than {_MAX_INSTRUCTIONS} instructions")
            self.step(opcode.name, arg)
        return self.stack.pop()

    def step(self, op: str, arg: Any) -> None:
        """Follow one instruction."""
        pop, push = self.stack.pop, self.stack.append
        match op:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE":
                push(None)
            case "NEWTRUE" | "NEWFALSE":
                push(op == "NEWTRUE")
            case "INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1" | "LONG4":
                push(arg)
            case "FLOAT" | "BINFLOAT" | "STRING" | "BINSTRING" | "SHORT_BINSTRING":
                push(arg)
            case "UNICODE" | "SHORT_BINUNICODE" | "BINUNICODE" | "BINUNICODE8":
                push(arg)
            case "SHORT_BINBYTES" | "BINBYTES" | "BINBYTES8" | "BYTEARRAY8":
                push(arg)

            case "MARK":
                self.outer.append(self.stack)
                self.stack = []
            case "EMPTY_TUPLE":
                push(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [pop() for _ in range(int(op[-1]))]
                push(tuple(reversed(items)))
            case "TUPLE":
                items = self.pop_to_mark()
                self.stack.append(tuple(items))

            case "EMPTY_DICT":
                push({})
            case "DICT":
                items = self.pop_to_mark()
                self.stack.append({})
                self.set_items(items)
            case "SETITEM":
                value, key = pop(), pop()
                self.set_items([key, value])
            case "SETITEMS":
                self.set_items(self.pop_to_mark())

            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[arg] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                push(self.memo[arg])

            case "GLOBAL":
                push(self.look_up(arg.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                attribute, module = pop(), pop()
                push(self.look_up(".".join([module, attribute])))
            case "REDUCE":
                args, function = pop(), pop()
                push(self.call(function, args))
            case "BUILD":
                state = pop()
                self.build(self.stack[-1], state)

            case "INST":
                self.refuse(show(arg.replace(" ", ".", 1)))
            case "EMPTY_LIST" | "LIST" if not self.lists:
                self.refuse("a list")
            case "EMPTY_LIST":
                push([])
            case "LIST":
                items = self.pop_to_mark()
                self.stack.append(items)
            case "APPEND":
                self.append([pop()])
            case "APPENDS":
                self.append(self.pop_to_mark())
            case "BINPERSID":
                push(self.persistent(pop()))
            case _:
                self.refuse(f"the instruction {op}")

    def pop_to_mark(self) -> list[Any]:
        """Close the last mark; what was pushed since."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def set_items(self, items: list[Any]) -> None:
        """Fill the dictionary on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise TypeError("items are set on something that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if self.lists and isinstance(key, int | float):
                key = str(key)
            if not isinstance(key, str):
                self.refuse(f"a key of type {kind(key)}")
            if self.lists and key in target:
                raise ValueError("a key stands twice in a dictionary")
            target[key] = value

    def append(self, items: list[Any]) -> None:
        """Lengthen the list on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, list):
            raise TypeError("something is appended to what is not a list")
        target += items

    def look_up(self, name: str) -> Name:
        """Our word for a function or class that the file names; it is not imported."""
        if name not in self.words:
            self.refuse(show(name))
        return Name(self.words[name])

    def call(self, function: object, args: object) -> object:
        """Record what a function would make of arguments."""
        raise NotImplementedError

    def build(self, target: object, state: object) -> None:
        """Complete a record."""
        raise NotImplementedError

    def persistent(self, key: object) -> object:
        """Record what is kept outside the pickle."""
        self.refuse("the instruction BINPERSID")

    def refuse(self, what: str) -> NoReturn:
        """Name what the file holds and may not."""
        raise WeightsError(
            f"{self.name} holds {what}, and {self.only}; nothing in it was run; {self.remedy}"
        )


class _Reader(Machine):
    """The machine of a pickle of NumPy arrays."""

    words = _WORDS
    only = "only dictionaries of NumPy arrays are read"
    remedy = "save the parameters alone, as {name: array}"

    def __init__(self, name: str, size: int) -> None:
        super().__init__(name)
        self.room = size  # the arrays together cannot be larger than their file

    def call(self, function: object, args: object) -> object:
        """Record what NumPy would make of function(*args)."""
        match function, args:
            case Name("encode"), (str(text), "latin1"):
                return text  # how protocols 0 to 2 write bytes; `make` encodes it
            case Name("dtype"), (str(code), *_):
                if code not in _CODES:
                    self.refuse(f"values of dtype {show(code)}")
                return _DType(code)
            case Name("reconstruct"), (Name("ndarray"), *_):
                return _Array()
            case Name("scalar"), (_DType() as dtype, data):
                return _Array(self.make((), dtype, data, "C"))
            case Name("frombuffer"), (data, _DType() as dtype, tuple(shape), "C" | "F" as order):
                return _Array(self.make(shape, dtype, data, order))
            case (
                Name("frombuffer"),
                (data, _DType() as dtype, tuple(shape), "K", tuple(axes)),
            ) if all(type(axis) is int for axis in axes):
                transposed = self.make(shape, dtype, data, "C").transpose(axes)
                return _Array(np.ascontiguousarray(transposed))
        raise ValueError("a call that NumPy does not write")

    def build(self, target: object, state: object) -> None:
        """Complete a record, once."""
        match target, state:
            case _DType(), (int(), "<" | ">" | "|" | "=" as order, None, None, None, *_):
                target.order = order
            case _Array(array=None), (int(), tuple(shape), _DType() as dtype, int(fortran), data):
                target.array = self.make(shape, dtype, data, "F" if fortran else "C")
            case _:
                raise ValueError("a state that NumPy does not write")

    def make(
        self, shape: tuple[Any, ...], dtype: _DType, data: object, order: Literal["C", "F"]
    ) -> np.ndarray:
        """Give an array of its own memory, every argument checked first."""
        raw = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(raw, bytes | bytearray):
            raise TypeError("the numbers of an array are not bytes")
        if len(shape) > MAX_NDIM or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
            raise ValueError("a shape that no array has")
        if math.prod(shape) * int(dtype.code[1:]) != len(raw):
            raise ValueError("shape and data disagree")
        self.room -= len(raw)
        if self.room < 0:
            raise ValueError("one piece of data serves for many arrays")
        numbers = np.frombuffer(raw, dtype.order + dtype.code).reshape(shape, order=order)
        return np.array(numbers, dtype=dtype.code, order="C")


def kind(value: object) -> str:
    """The type of a value, in one word."""
    return type(value).__name__.strip("_").lower()


def show(text: str) -> str:
    """One short printable line for text from the file."""
    return ascii(text[:80])[1:-1]
