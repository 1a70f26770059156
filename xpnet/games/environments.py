"""Environments of Gymnasium as games."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, Device, to_numpy
from xpnet.errors import ArgumentError, CheckpointError
from xpnet.games.base import Game, State, Step
from xpnet.optional import installed, needed

PREFIX = "gym:"
"""How the names of environments begin where games of xpnet's own have names, too."""


class Gym(Game):
    """An environment of Gymnasium, several times, on the host; they move one after the other.

    Its actions are numbered, `Discrete`, and what it shows is a `Box` of numbers (K,), or of
    pictures, bytes or bits (H, W) or (H, W, C), which come as bytes (C, H, W). Gymnasium is a
    package of its own, the extra `rl`; what else an environment needs, it says itself. Atari's
    come with ale-py, under licences of their own, which whoever installs it takes on.

    An environment cannot be copied. So a state is known by the number of the episode, by which the
    environment is seeded, and the actions since; where an environment is somewhere else, it begins
    again and makes them anew. One that draws from anything but its seed would come elsewhere.

    Parameters
    ----------
    make : the environment's name, as `gymnasium.make` takes it, or a function that makes one
    games, seed, device : as in `Game`; what is seen is brought to the device
    drawn : whether environments of a name are to be drawn, for `picture`

    Raises
    ------
    ArgumentError
        Gymnasium is not installed, or there is no such environment, or its actions or what it shows
        are of another kind.
    """

    episodes = (10, 100)

    @checked
    def __init__(
        self,
        make: str | Callable[[], Any],
        games: int = 1,
        *,
        seed: int = 0,
        device: str | Device = "cpu",
        drawn: bool = False,
    ) -> None:
        super().__init__(games, seed=seed, device=device)
        if not installed("gymnasium"):
            raise needed("gymnasium", f"the environment {make}")
        self.make = make
        self.name = f"{PREFIX}{make}" if isinstance(make, str) else "gym"
        how = {"render_mode": "rgb_array"} if drawn else {}
        self._environments = [made(make, **how) for _ in range(self.games)]
        space = self._environments[0].action_space
        if type(space).__name__ != "Discrete" or getattr(space, "start", 0) != 0:
            raise ArgumentError(
                f"an environment of numbered actions is needed, Discrete, and {make} has {space}"
            )
        self.actions = tuple(map(str, range(int(space.n))))
        self.shape, self.dtype = _form(make, self._environments[0].observation_space)
        # Where each environment is, episode and moves, and the moves of its last episodes.
        self._at = [(-1, 0)] * self.games
        self._moves: list[dict[int, list[int]]] = [{} for _ in range(self.games)]

    def alike(self, games: int, *, seed: int) -> "Gym":
        """As many others of the same environment."""
        return type(self)(self.make, games, seed=seed, device=self.device)

    def begin(self) -> tuple[State, Array]:
        """The state that each environment begins with, and what is seen there."""
        seen = np.stack([self._reset(e, e) for e in range(self.games)])
        return self._state(np.zeros(self.games, bool)), self.device.asarray(seen)

    def step(self, state: State, actions: Array) -> Step:
        """Make one move in each environment."""
        episodes, moves, over = (to_numpy(state[k]) for k in ("episode", "moves", "over"))
        chosen = to_numpy(actions)
        seen = np.empty((self.games, *self.shape), self.dtype)
        last, reward = seen.copy(), np.zeros(self.games, np.float32)
        terminal, truncated = np.zeros((2, self.games), bool)
        for e, environment in enumerate(self._environments):
            episode, count = int(episodes[e]), int(moves[e])
            self._go_to(e, episode, count)
            if over[e]:
                seen[e] = last[e] = self._reset(e, episode + self.games)
                continue
            self._at[e] = (-1, 0)  # should it fail
            found, reward[e], terminal[e], truncated[e], _ = environment.step(int(chosen[e]))
            self._moves[e][episode][count:] = [int(chosen[e])]
            self._at[e] = (episode, count + 1)
            seen[e] = last[e] = self._as_seen(found)
            if terminal[e]:
                seen[e] = self._reset(e, episode + self.games)
        truncated &= ~terminal
        told = (self.device.asarray(a) for a in (seen, last, reward, terminal, truncated))
        return Step(self._state(truncated), *told)

    def kept(self, state: State) -> dict[str, np.ndarray]:
        """A state with all moves of its episodes, one game's behind the other's."""
        where = zip(self._moves, to_numpy(state["episode"]), to_numpy(state["moves"]), strict=True)
        made = [move for moves, episode, count in where for move in moves[int(episode)][:count]]
        return {**state, "made": np.array(made, np.int64)}

    def restored(self, state: Mapping[str, np.ndarray]) -> State:
        """A state that was kept.

        Raises
        ------
        CheckpointError
            It is of other games.
        """
        names = ("episode", "moves", "over", "made")
        episodes, moves, over, made = (np.asarray(state.get(k, 0)) for k in names)
        whole = {array.shape for array in (episodes, moves, over)} == {(self.games,)}
        if not whole or over.dtype != bool or moves.min() < 0 or made.shape != (moves.sum(),):
            raise CheckpointError(
                f"a checkpoint of other games than {self!r} cannot be used; make them as they were"
            )
        ends = np.cumsum(moves)
        for e in range(self.games):
            self._moves[e] = {int(episodes[e]): made[ends[e] - moves[e] : ends[e]].tolist()}
            self._at[e] = (-1, 0)
        return {"episode": episodes, "moves": moves, "over": over}

    def picture(self, e: int) -> np.ndarray | None:
        """What environment e looks like, (H, W, 3) bytes; None if it cannot be drawn."""
        try:
            drawn = self._environments[e].render()
        except Exception:  # of any library that an environment draws with
            return None
        return drawn if isinstance(drawn, np.ndarray) and drawn.ndim == 3 else None

    def _state(self, over: np.ndarray) -> dict[str, np.ndarray]:
        """How all stand, in arrays of the host."""
        episodes, moves = (np.array(each, np.int64) for each in zip(*self._at, strict=True))
        return {"episode": episodes, "moves": moves, "over": over}

    def _go_to(self, e: int, episode: int, count: int) -> None:
        """Have an environment be where a state is."""
        if self._at[e] == (episode, count):
            return
        made = self._moves[e][episode][:count]
        self._reset(e, episode)
        for move in made:
            self._environments[e].step(move)
        self._moves[e][episode], self._at[e] = made, (episode, count)

    def _reset(self, e: int, episode: int) -> np.ndarray:
        self._at[e] = (-1, 0)  # should it fail
        seed = (self.seed * 1_000_003 + episode) % 2**31  # which some environments keep in 32 bits
        seen, _ = self._environments[e].reset(seed=seed)
        before = episode - self.games  # whose end may be to be done again
        self._moves[e] = {k: made for k, made in self._moves[e].items() if k == before}
        self._moves[e][episode], self._at[e] = [], (episode, 0)
        return self._as_seen(seen)

    def _as_seen(self, given: Any) -> np.ndarray:
        found: np.ndarray = np.asarray(given)
        if self.dtype != "uint8":
            return found.reshape(self.shape).astype(self.dtype)
        if found.dtype == bool:
            found = found.astype(np.uint8) * 255
        planes = found if found.ndim == 3 else found[:, :, None]
        return np.moveaxis(planes, -1, 0)


def made(make: str | Callable[[], Any], **options: Any) -> Any:
    """An environment of a name, or of a function.

    Raises
    ------
    ArgumentError
        There is none.
    """
    import gymnasium

    if not isinstance(make, str):
        return make()  # which says itself how it is drawn
    try:
        return gymnasium.make(make, **options)
    except (gymnasium.error.Error, ImportError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ArgumentError(
            f"Gymnasium has no environment {make!r}: {reason}; give another, such as CartPole-v1, "
            "or install the package that it is of"
        ) from error


def _form(make: Any, space: Any) -> tuple[tuple[int, ...], str]:
    """The shape and dtype of what a space shows."""
    shape: tuple[int, ...] = tuple(space.shape or ())
    dtype = space.dtype
    if type(space).__name__ == "Box" and len(shape) == 1:
        return shape, "float32"
    if type(space).__name__ == "Box" and len(shape) in (2, 3) and dtype in (np.uint8, np.bool_):
        channels = shape[2] if len(shape) == 3 else 1
        return (channels, *shape[:2]), "uint8"
    raise ArgumentError(
        "an environment that shows numbers (K,), or bytes of pictures (H, W) or (H, W, C) is "
        f"needed, and {make} shows {space}"
    )
