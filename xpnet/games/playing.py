"""Games that are played to the end of one episode each."""

from collections.abc import Callable

import numpy as np

from xpnet.arrays import Array, to_numpy
from xpnet.games.base import Game, Step, pushed

LIMIT = 27_000
"""Moves of an episode at most, for environments that set no limit: half an hour of Atari's."""


def empty_stack(game: Game, stack: int, seen: Array) -> Array:
    """A stack (E, S, ...) of which all but the last, which is seen, is 0."""
    xp = game.device.xp
    nothing = game.device.zeros((game.games, stack, *game.shape), dtype=game.dtype)
    return pushed(nothing, seen, xp.ones(game.games, dtype=xp.bool, device=game.device.native))


def play_out(
    game: Game,
    choose: Callable[[Array], Array],
    *,
    stack: int = 1,
    look: Callable[[Step], object] | None = None,
) -> np.ndarray:
    """Play the first episode of each game to its end; what each was worth in all, (E,).

    Parameters
    ----------
    choose : the actions (E,) by what is seen, (E, stack, ...)
    look : called after each move with what it led to
    """
    xp = game.device.xp
    state, seen = game.begin()
    over = state["over"]
    seen = empty_stack(game, stack, seen)
    total = game.device.zeros(game.games, dtype="float32")
    for _ in range(LIMIT):
        step = game.step(state, choose(seen))
        if look is not None:
            look(step)
        total = total + xp.where(over, xp.zeros_like(total), step.reward)
        over = over | step.terminal | step.truncated
        if bool(xp.all(over)):  # the one number that is read back in a step
            break
        new = step.terminal | state["over"]
        state, seen = step.state, pushed(seen, step.seen, new)
    return to_numpy(total)
