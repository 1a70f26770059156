"""Replay: a memory of moves, from which batches are drawn."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, Device, get_device
from xpnet.arrays.random import StepWords, pick
from xpnet.errors import ArgumentError, CheckpointError

SAMPLING = 0xD901
"""The second word of the key of what is drawn from a memory."""


class Moves(NamedTuple):
    """Moves that were drawn, n of them.

    Attributes
    ----------
    seen, then : (n, S, ...), the stack of what was seen before the move, and after it; what comes
        after a terminal move is of another episode
    action : (n,) int8
    reward : (n,) float32
    terminal : (n,) bool
    """

    seen: Array
    action: Array
    reward: Array
    terminal: Array
    then: Array


class Replay:
    """A ring of the last moves of E games: row t has what is seen at time t, and the next move.

    What is seen is kept once; a stack of S is gathered when it is drawn, and what was seen before
    its episode began counts as 0 in it. What follows a move is the stack of the next row. So these
    are not drawn: the newest row, the oldest S - 1 where rows before them are overwritten, and the
    row of what a truncated episode led to, from where no move was made. A draw that meets the last
    kind takes the row before it, or where that is too old the one behind it.

    Time is told by the caller, and nothing is kept of it here: what is written again at the same
    time is the same as if it were written once.

    Mnih et al. 2015, "Human-level control through deep reinforcement learning", Nature 518.

    Parameters
    ----------
    rows : that the ring has for each game
    shape, dtype : of what is seen of one game
    games : how many
    stack : S
    seed : of what is drawn from it
    device : where the ring is

    Raises
    ------
    ArgumentError
        There are too few rows for a stack and a move from it.
    """

    @partial(checked, but=("shape",))
    def __init__(
        self,
        rows: int,
        shape: tuple[int, ...],
        games: int = 1,
        *,
        stack: int = 4,
        dtype: str = "uint8",
        seed: int = 0,
        device: str | Device = "cpu",
    ) -> None:
        if stack < 1 or games < 1 or rows < stack + 2:
            raise ArgumentError(
                "a memory needs one game or more, a stack of one or more, and two rows more than "
                f"that, got {games} games, a stack of {stack} and {rows} rows; give it more rows"
            )
        self.rows, self.games, self.stack = int(rows), int(games), int(stack)
        self.device, self.seed = get_device(device), int(seed)
        self._words: dict[int, StepWords] = {}
        kinds = {"action": "int8", "reward": "float32"}
        kinds |= dict.fromkeys(("terminal", "first", "extra"), "bool")
        each = (self.rows, self.games)
        self._arrays = {
            "seen": self.device.zeros((*each, *shape), dtype=dtype),
            **{name: self.device.zeros(each, dtype=kind) for name, kind in kinds.items()},
        }

    def __repr__(self) -> str:
        return f"Replay({self.rows} rows, {self.games} games, stack {self.stack})"

    def write(
        self,
        time: int,
        seen: Array,
        action: Array,
        reward: Array,
        terminal: Array,
        first: Array,
        extra: Array,
    ) -> None:
        """Write the row of time `time`, from 0 on.

        Parameters
        ----------
        seen : (E, ...)
        action, reward, terminal : (E,), of the move from there
        first : (E,) whether an episode begins there
        extra : (E,) whether a truncated episode ends there, and no move was made
        """
        given = {
            "seen": seen, "action": action, "reward": reward,
            "terminal": terminal, "first": first, "extra": extra,
        }  # fmt: skip
        row, xp = time % self.rows, self.device.xp
        for name, array in self._arrays.items():
            array[row, ...] = xp.astype(given[name], array.dtype)

    def drawable(self, time: int, since: int = 0) -> range:
        """The times whose rows can be drawn, those of truncated ends among them.

        Parameters
        ----------
        time : of the next row
        since : of the first row that was written, with nothing from before it
        """
        oldest = max(since, time - self.rows)
        if since or time >= self.rows:
            oldest += self.stack - 1
        return range(oldest, max(oldest, time - 1))

    def draw(self, n: int, time: int, *, step: int, since: int = 0) -> Moves:
        """Draw n moves with replacement, by the words of (seed, 0xD901) and the number of a step.

        Raises
        ------
        ArgumentError
            There is none that can be drawn yet.
        """
        xp, native = self.device.xp, self.device.native
        found = self.drawable(time, since)
        if not found:
            raise ArgumentError(
                f"a memory of {time - since} rows has no move to be drawn; write more first"
            )
        if n not in self._words:
            self._words[n] = StepWords(n, key=(self.seed, SAMPLING), device=self.device)
        drawn = pick(self._words[n].of(step), len(found) * self.games)
        times, game = found.start + drawn // self.games, drawn % self.games
        extra = self._of("extra", times, game)
        other = xp.where(times > found.start, times - 1, times + 1)
        times = xp.where(extra, other, times)
        # Both stacks at once, of S + 1 times for each move.
        back = xp.arange(-self.stack + 1, 2, dtype=xp.int64, device=native)
        around = xp.reshape(times, (-1, 1)) + back
        games = xp.zeros_like(around) + xp.reshape(game, (-1, 1))
        flat_times, flat_games = xp.reshape(around, (-1,)), xp.reshape(games, (-1,))
        seen = self._of("seen", flat_times, flat_games)
        seen = xp.reshape(seen, (*around.shape, *seen.shape[1:]))
        first = xp.reshape(self._of("first", flat_times, flat_games), around.shape)
        return Moves(
            self._cut(seen[:, :-1, ...], first[:, :-1]),
            self._of("action", times, game),
            self._of("reward", times, game),
            self._of("terminal", times, game),
            self._cut(seen[:, 1:, ...], first[:, 1:]),
        )

    def state(self) -> dict[str, Array]:
        """All rows, by name."""
        return dict(self._arrays)

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up what `state` gave, as host arrays.

        Raises
        ------
        CheckpointError
            It is of another memory.
        """
        for name, array in self._arrays.items():
            given, kind = state.get(name), str(array.dtype).rpartition(".")[2]
            if given is None or given.shape != tuple(array.shape) or str(given.dtype) != kind:
                raise CheckpointError(
                    f"a checkpoint of another memory than {self!r} cannot be used; make it as it "
                    "was"
                )
        for name, array in self._arrays.items():
            array[...] = self.device.asarray(state[name])

    def _of(self, name: str, times: Array, games: Array) -> Array:
        """What rows of some times, (n,), and games have."""
        array = self._arrays[name]
        flat = self.device.xp.reshape(array, (-1, *array.shape[2:]))
        return self.device.xp.take(flat, times % self.rows * self.games + games, axis=0)

    def _cut(self, seen: Array, first: Array) -> Array:
        """A stack (n, S, ...) with 0 for what is before the first of its last episode."""
        xp = self.device.xp
        parts = [seen[:, -1, ...]]
        there = xp.ones_like(first[:, -1])
        for k in range(self.stack - 2, -1, -1):
            there = there & ~first[:, k + 1]
            kept = xp.reshape(there, (-1, *[1] * (seen.ndim - 2)))
            parts.append(xp.where(kept, seen[:, k, ...], xp.zeros_like(seen[:, k, ...])))
        return xp.stack(parts[::-1], axis=1)
