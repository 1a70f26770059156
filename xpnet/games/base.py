"""The interface of all games."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, Device, array_namespace, get_device
from xpnet.arrays.random import random_words
from xpnet.errors import ArgumentError, CheckpointError

State: TypeAlias = Mapping[str, Array]
"""How E games stand: arrays by name, whose first axis is that of the games."""

ENVIRONMENT = 0xD902
"""The second word of the keys of what games draw."""


class Step(NamedTuple):
    """What a move of each of E games has led to.

    Attributes
    ----------
    state : what the next move begins with
    seen : (E, ...) what is seen there. Where the move was terminal it is the first of the next
        episode; where the episode was truncated it is the last one of that.
    last : (E, ...) what the move itself led to
    reward : (E,) float32
    terminal, truncated : (E,) bool, whether the move has ended the episode by the rules, or by a
        limit of its steps
    """

    state: State
    seen: Array
    last: Array
    reward: Array
    terminal: Array
    truncated: Array


class Game:
    """E games of one kind, which go on side by side.

    An episode that ends by the rules is followed by the next one at once. One that is truncated is
    not: the next move of that game is not made, and gives no reward, but begins the next episode.
    So the last thing seen of it is seen like all others, as who learns needs it.

    A game of your own has `actions` and `shape`, `_begun`, `_moved` and `_seen`; its states are
    never altered, so that any move can be made again.

    Parameters
    ----------
    games : how many
    seed : of what is drawn; the k-th episode of game e, both from 0, is number k E + e of the seed
    device : where everything is

    Attributes
    ----------
    name : by which the command line knows it
    actions : what each number of an action does
    shape : of what is seen of one game: (C, H, W) of pictures, (K,) of numbers
    dtype : of what is seen: "uint8" for pictures, "float32" for numbers
    episodes : how many are usually played to measure, after an epoch and in the end
    """

    name: str = ""
    actions: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str = "uint8"
    episodes: ClassVar[tuple[int, int]] = (50, 300)

    @checked
    def __init__(self, games: int = 1, *, seed: int = 0, device: str | Device = "cpu") -> None:
        if games < 1:
            raise ArgumentError(f"at least one game is needed, got {games}; give games=1")
        self.games, self.seed, self.device = int(games), int(seed), get_device(device)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.games} games, seed {self.seed})"

    def alike(self, games: int, *, seed: int) -> "Game":
        """As many other games of the same kind, on the same device."""
        return type(self)(games, seed=seed, device=self.device)

    def begin(self) -> tuple[State, Array]:
        """The state that each game begins with, and what is seen there."""
        xp = self.device.xp
        episode = xp.arange(self.games, dtype=xp.int64, device=self.device.native)
        state = self._begun(episode)
        return {**state, "episode": episode, "over": episode < 0}, self._seen(state)

    def step(self, state: State, actions: Array) -> Step:
        """Make one move in each game.

        Parameters
        ----------
        state : of `begin`, or of the step before
        actions : (E,) whole numbers from 0
        """
        xp = self.device.xp
        over, episode = state["over"], state["episode"]
        moved, reward, terminal, truncated = self._moved(state, actions)
        last = self._seen(moved)
        new = terminal | over
        seen = last
        if not self.device.is_host or bool(xp.any(new)):  # where it costs no wait to know
            episode = xp.where(new, episode + self.games, episode)
            moved = renewed(new, self._begun(episode), moved)
            seen = self._seen(moved)
        idle = _spread(over, last.ndim)
        return Step(
            {**moved, "episode": episode, "over": truncated & ~new},
            seen,
            xp.where(idle, seen, last),
            xp.where(over, xp.zeros_like(reward), reward),
            terminal & ~over,
            truncated & ~new,
        )

    def words(self, n: int, episode: Array) -> Array:
        """Draw n words for each of E episodes, (E, n)."""
        step = self.device.xp.reshape(episode, (-1, 1))
        return random_words(n, key=(self.seed, ENVIRONMENT), step=step, device=self.device)

    def kept(self, state: State) -> State:
        """A state as arrays that a checkpoint can keep, of which `restored` makes it again."""
        return state

    def restored(self, state: Mapping[str, np.ndarray]) -> State:
        """A state that was kept, on the device.

        Raises
        ------
        CheckpointError
            It is of other games.
        """
        own, _ = self.begin()
        there = {name: (array.shape, str(array.dtype)) for name, array in state.items()}
        here = {name: (tuple(a.shape), str(a.dtype).split(".")[-1]) for name, a in own.items()}
        if there != here:
            raise CheckpointError(
                f"a checkpoint of other games than {self!r} cannot be used; make them as they were"
            )
        return {name: self.device.asarray(array) for name, array in state.items()}

    def _begun(self, episode: Array) -> dict[str, Array]:
        """How episodes of these numbers, (E,), begin."""
        raise NotImplementedError

    def _moved(self, state: State, actions: Array) -> tuple[dict[str, Array], Array, Array, Array]:
        """The state after a move, what it is worth, and whether it is terminal, and truncated."""
        raise NotImplementedError

    def _seen(self, state: State) -> Array:
        """What is seen of a state, (E, *shape)."""
        raise NotImplementedError


def renewed(new: Array, fresh: State, old: State) -> dict[str, Array]:
    """The fresh state of those games where `new`, (E,), is true, and the old one of the others."""
    xp = array_namespace(new)
    return {name: xp.where(_spread(new, a.ndim), a, old[name]) for name, a in fresh.items()}


def pushed(stack: Array, seen: Array, first: Array) -> Array:
    """Put what is seen behind all but the oldest of a stack; alone where an episode begins.

    Parameters
    ----------
    stack : (E, S, ...), the oldest first
    seen : (E, ...)
    first : (E,) bool, whether it is the first of an episode: what was seen before it counts as 0
    """
    xp = array_namespace(stack)
    seen = xp.expand_dims(seen, axis=1)
    if stack.shape[1] == 1:
        return seen
    older = stack[:, 1:, ...]
    older = xp.where(_spread(first, stack.ndim), xp.zeros_like(older), older)
    return xp.concat([older, seen], axis=1)


def _spread(flags: Array, ndim: int) -> Array:
    """Flags (E,), to go with arrays of so many axes."""
    found: Any = array_namespace(flags).reshape(flags, (-1, *[1] * (ndim - 1)))
    return found
