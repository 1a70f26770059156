"""Networks that play, which training left behind, and how well they do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.arrays import Array, Device
from xpnet.engine import get_engine
from xpnet.errors import WeightsError
from xpnet.games import Game, Step, play_out
from xpnet.games.known import is_game
from xpnet.models.network import Network
from xpnet.train.deep_q import as_inputs, stack_of
from xpnet.train.saved import Together, load_saved


def load_player(path: str | Path, *, device: str | Device = "cpu") -> tuple[Network, str]:
    """The network of a run that played, and the name of its game.

    Raises
    ------
    WeightsError, CheckpointError
        There is no such file, it is damaged, or holds something else.
    """
    return as_player(load_saved(path, device=device), path)


def as_player(found: Network | Together, path: str | Path) -> tuple[Network, str]:
    """The network that plays, and the name of its game, of what a file, `path`, holds.

    Raises
    ------
    WeightsError
        It is something else.
    """
    if not isinstance(found, Together) or not plays(found):
        raise WeightsError(
            f"{path} holds no network that plays; give the directory of a run that does, such as "
            "of --model dqn"
        )
    return found.networks["online"], str(found.about["data"])


def plays(found: Together) -> bool:
    """Tell whether networks that work together are those of a game."""
    data = found.about.get("data")
    return isinstance(data, str) and is_game(data) and "online" in found.networks


def play_best(
    network: Network,
    game: Game,
    *,
    before: Callable[[Array, Array], object] | None = None,
    after: Callable[[Step], object] | None = None,
    **engine: Any,
) -> np.ndarray:
    """What an episode of each game brings by the best actions alone, (E,).

    Parameters
    ----------
    before : called before each move with the values of all actions, (E, actions), and what is seen
    after : called after it with what it led to
    engine : what computes, as in `get_engine`

    Raises
    ------
    ArgumentError
        The network is for other games.
    """
    stack, computing = stack_of(network, game), get_engine(network, **engine)

    def choose(seen: Array) -> Array:
        values = computing.predict(as_inputs(network, seen))
        if before is not None:
            before(values, seen[:, -1, ...])
        return game.device.xp.argmax(values, axis=1)

    return play_out(game, choose, stack=stack, look=after)
