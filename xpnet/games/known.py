"""Games by name, and how each is usually learned."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from xpnet.arrays import Device, to_numpy
from xpnet.games.base import Game
from xpnet.games.catch import Catch
from xpnet.games.dodge import Dodge
from xpnet.games.environments import PREFIX, Gym

GAMES: dict[str, Callable[..., Game]] = {
    "catch": Catch,
    "catch-fast": partial(Catch, speed=2),
    "dodge": Dodge,
}
"""Those of xpnet's own, by the names of the command line."""

NAMED = re.compile(rf"{PREFIX}[^\s\x00-\x1f]{{1,200}}")


class Plan(NamedTuple):
    """How a game is usually learned, as `DeepQ` takes it."""

    updates: int
    """Of an epoch."""
    memory: int = 20_000
    warm_up: int = 1_000
    every: int = 2
    target_every: int = 250
    explore: int = 6_000
    epsilon: float = 0.05


PLANS = {
    "catch": Plan(500),
    "catch-fast": Plan(500),
    "dodge": Plan(2_500, 100_000, explore=20_000, epsilon=0.01, target_every=500),
}
"""By the names of games; an epoch of Catch is 1,000 frames, and 19 make 20,000."""
NUMBERS = Plan(750, 50_000)
"""Of environments that show numbers; 19 epochs are 29,500 frames."""
PICTURES = Plan(2_500, 100_000, 5_000, target_every=1_000, explore=100_000, epsilon=0.1)
"""Of those that show pictures: in 19 epochs 100,000 frames, which is little for most of them."""


def is_game(name: str) -> bool:
    """Tell whether a name is one of a game, or may be one of an environment."""
    return name in GAMES or NAMED.fullmatch(name) is not None


def game_of(
    name: str, games: int = 1, *, seed: int = 0, device: str | Device = "cpu", drawn: bool = False
) -> Game:
    """So many games of this name.

    Parameters
    ----------
    drawn : whether an environment is to be drawn, too

    Raises
    ------
    ArgumentError
        There is no such environment, or it is of another kind.
    """
    if name in GAMES:
        return GAMES[name](games, seed=seed, device=device)
    return Gym(name.removeprefix(PREFIX), games, seed=seed, device=device, drawn=drawn)


def plan_of(game: Game) -> Plan:
    """How a game is usually learned."""
    return PLANS.get(game.name, NUMBERS if game.dtype == "float32" else PICTURES)


def inputs_of(game: Game) -> tuple[int, ...]:
    """What a network usually sees of a game: four grey pictures, or what there is at once."""
    return (4, *game.shape[1:]) if len(game.shape) == 3 and game.shape[0] == 1 else game.shape


@dataclass(frozen=True)
class Playing:
    """A game in the place of a data set: what a run tells of what its network learns from."""

    name: str

    @property
    def source(self) -> str:
        """Where what is learned from comes from, in one line."""
        if self.name in GAMES:
            return f"{self.name}, a game that xpnet plays"
        return f"{self.name.removeprefix(PREFIX)}, an environment of Gymnasium"

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many episodes are measured on in the end."""
        return {"test_episodes": game_of(self.name).episodes[1]}

    def checksum(self) -> str:
        """Compute the SHA-256 of some frames and rewards, in hexadecimal digits."""
        game, found = game_of(self.name, 2), hashlib.sha256(self.name.encode())
        state, seen = game.begin()
        found.update(np.ascontiguousarray(to_numpy(seen)).data)
        for move in range(64):
            chosen: Any = np.array([move, move // 2]) % len(game.actions)
            step = game.step(state, game.device.asarray(chosen))
            state = step.state
            for array in (step.seen, step.reward, step.terminal):
                found.update(np.ascontiguousarray(to_numpy(array)).data)
        return found.hexdigest()
