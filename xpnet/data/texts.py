"""Texts as rows of numbers of characters, and blocks of them that go on from one another."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xpnet.arguments import checked
from xpnet.arrays import Array, Device, get_device
from xpnet.errors import ArgumentError, DataError, DataNotFoundError
from xpnet.layers.recurrent import State

MOST = 2**28
"""Bytes of a text; as numbers it takes four times as many."""

TEST_SHARE = 10
"""One part in so many of a text, its end, is not learned from."""


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class Text:
    """A text for training, and its end for testing, as numbers of characters, int32 of shape (L,).

    `name` is the file's whole path; `characters` are those of the whole text, by their codes.
    """

    name: str
    source: str
    characters: str
    x_train: NDArray[np.int32]
    x_test: NDArray[np.int32]

    def __repr__(self) -> str:
        counts = f"{len(self.x_train)} characters and {len(self.x_test)} to test"
        return f"<Text {self.name}: {counts}, {len(self.characters)} different ones>"

    @property
    def sizes(self) -> dict[str, int]:
        """How many characters there are to train on, and to test with."""
        return {"train_characters": len(self.x_train), "test_characters": len(self.x_test)}

    def checksum(self) -> str:
        """Compute the SHA-256 of the whole text, in hexadecimal digits."""
        found = hashlib.sha256(self.characters.encode())
        for ids in (self.x_train, self.x_test):
            found.update(ids.data)
        return found.hexdigest()


def load_text(path: str | Path) -> Text:
    """Load a text file, UTF-8, whose last tenth is for testing.

    Raises
    ------
    DataNotFoundError
        There is no such file.
    DataError
        It cannot be read, is no text, is too long, or has fewer than two different characters.
    """
    path = Path(path)
    if not path.is_file():
        raise DataNotFoundError(f"there is no text {path}; give a text file of yours, in UTF-8")
    try:
        with path.open("rb") as file:
            data = file.read(MOST + 1)
    except OSError as error:
        raise DataError(f"the text {path} cannot be read: {error.strerror}") from error
    if len(data) > MOST:
        raise DataError(f"the text {path} has more than {MOST} bytes; give a part of it")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"the text {path} is not in UTF-8: byte {error.start} is {data[error.start]:#x}; "
            "convert it, or give another"
        ) from error
    codes, ids = np.unique(np.frombuffer(text.encode("utf-32-le"), "<u4"), return_inverse=True)
    if len(codes) < 2:
        raise DataError(
            f"a text needs two different characters at least, and {path} has {len(codes)}; give "
            "another"
        )
    characters = "".join(map(chr, codes.tolist()))
    first = len(ids) - len(ids) // TEST_SHARE
    rows = (np.ascontiguousarray(part, dtype=np.int32) for part in (ids[:first], ids[first:]))
    counts = f"{len(ids)} characters, {len(characters)} different ones"
    return Text(str(path.absolute()), f"{path}: {counts}", characters, *rows)


class Streams:
    """A text in blocks of steps, from N places at once, whose states pass from block to block.

    A text of L characters is read from the places 0, S, 2 S, ... on, with S = floor(L / N), by N
    streams. A batch is a block of T characters of each and, as labels, the characters behind them,
    both (N, T), int32. An epoch is one pass over all whole blocks; the order is always that of the
    text.

    What a recurrent network has come to at the end of a block is kept by `carry` and had by
    `carried`: two states, of the block at hand and of the one before, so that a step that was
    broken off begins again with the same one. They are the `state` of this source.

    Parameters
    ----------
    ids : numbers of characters, (L,)
    batch_size : N
    steps : T
    device : where batches and states are

    Raises
    ------
    ArgumentError
        The text is too short for one block of every stream.
    """

    @checked
    def __init__(
        self, ids: Array, batch_size: int, steps: int, *, device: str | Device = "cpu"
    ) -> None:
        if batch_size < 1 or steps < 1:
            raise ArgumentError(
                "a text is read by at least one stream, in blocks of at least one step, got "
                f"batch_size={batch_size}, steps={steps}"
            )
        L, N = len(ids), int(batch_size)
        S = L // N
        behind = min(S, L - 1 - (N - 1) * S)  # the last stream may end where the text does
        if behind < steps:
            raise ArgumentError(
                f"{N} streams in blocks of {steps} steps need a text of at least "
                f"{N * steps + 1} characters to learn from, got {L}; give a longer one, or "
                f"batch_size={max(1, (L - 1) // steps)}"
            )
        self.device, self.batch_size, self.steps = get_device(device), N, int(steps)
        self.blocks = behind // self.steps
        rows = np.stack([ids[j * S : j * S + self.blocks * self.steps + 1] for j in range(N)])
        with self.device.guarded():
            self._rows = self.device.asarray(np.ascontiguousarray(rows))
        self._kept: list[Mapping[str, State] | None] = [None, None]

    def __repr__(self) -> str:
        return f"Streams({self.batch_size} with {self.blocks} blocks of {self.steps} each)"

    def __len__(self) -> int:
        return self.blocks

    def epoch(self, number: int, *, first: int = 0) -> Iterator[tuple[Array, Array]]:
        """Blocks from number `first` on, with their labels."""
        for block in range(first, self.blocks):
            at = block * self.steps
            yield self._rows[:, at : at + self.steps], self._rows[:, at + 1 : at + self.steps + 1]

    def carried(self, block: int) -> Mapping[str, State] | None:
        """The state at the beginning of a block; None for the first one, which begins with zeros.

        Raises
        ------
        ArgumentError
            The block before it has not left one.
        """
        if not block:
            return None
        if (found := self._kept[block % 2]) is None:
            raise ArgumentError(f"block {block} of a text comes behind block {block - 1}")
        return found

    def carry(self, block: int, state: Mapping[str, State]) -> None:
        """Keep the state for the beginning of a block."""
        self._kept[block % 2] = state

    def state(self) -> dict[str, Array]:
        """Both states, by the parity of their block, the layer, and the number of the array."""
        return {
            f"{parity}.{layer}.{k}": array
            for parity, states in enumerate(self._kept)
            for layer, arrays in (states or {}).items()
            for k, array in enumerate(arrays)
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up what `state` gave, as host arrays."""
        kept: list[dict[str, State]] = [{}, {}]
        for name in sorted(state):
            parity, layer = name.split(".")[0], name.partition(".")[2].rpartition(".")[0]
            arrays = kept[int(parity)].get(layer, ())
            kept[int(parity)][layer] = (*arrays, self.device.asarray(state[name]))
        self._kept = [states or None for states in kept]
