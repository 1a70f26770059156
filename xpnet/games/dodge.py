"""Dodge: rows of blocks fall, and a player must be where there is none."""

from xpnet.arrays import Array
from xpnet.games.base import Game, State

SIDE = 10
"""Cells of a side."""
LIGHT, PLAYER = 255, 128
LIMIT, PERIOD = 100, 3
"""Steps of an episode, and from one row of blocks to the next."""
ROWS = -(-LIMIT // PERIOD)
"""Rows that fall in an episode."""


class Dodge(Game):
    """Rows of blocks fall through 10 x 10 cells, and a player of one cell in row 9 dodges them.

    In each step the player goes by a - 1 columns, from 0 to 9, then all blocks fall by a row, and
    in steps 1, 4, 7, ... row 0 fills, each cell with probability 1/2. A block on the player is -1,
    and ends the episode. Otherwise a row of blocks that arrives in row 9 is +0.1. After 100 steps
    an episode is truncated, when 31 rows have arrived. Who does not look has -0.9 on average.

    Parameters
    ----------
    games, seed, device : as in `Game`
    """

    name = "dodge"
    actions = ("left", "stay", "right")
    shape = (1, SIDE, SIDE)

    def _begun(self, episode: Array) -> dict[str, Array]:
        xp, start = self.device.xp, self.device.xp.zeros_like(episode)
        words = self.words(ROWS * SIDE, episode)
        rows = xp.reshape(words < 2**31, (-1, ROWS, SIDE))
        return {"rows": rows, "steps": start, "player": start + SIDE // 2}

    def _moved(self, state: State, actions: Array) -> tuple[dict[str, Array], Array, Array, Array]:
        xp = self.device.xp
        player = xp.clip(state["player"] + xp.astype(actions, xp.int64) - 1, 0, SIDE - 1)
        moved = {"rows": state["rows"], "steps": state["steps"] + 1, "player": player}
        lowest = self._blocks(moved, SIDE - 1)[:, 0, :]
        hit = xp.any(lowest & self._at(player), axis=1)
        counts = xp.astype(xp.any(lowest, axis=1), xp.float32)
        reward = xp.where(hit, -xp.ones_like(counts), 0.1 * counts)
        return moved, reward, hit, (moved["steps"] >= LIMIT) & ~hit

    def _seen(self, state: State) -> Array:
        xp = self.device.xp
        shown = xp.astype(self._blocks(state), xp.uint8) * LIGHT
        lowest = shown[:, -1, :]
        own = xp.where(self._at(state["player"]), xp.full_like(lowest, PLAYER), lowest)
        shown = xp.concat([shown[:, :-1, :], xp.expand_dims(own, axis=1)], axis=1)
        return xp.expand_dims(shown, axis=1)

    def _at(self, player: Array) -> Array:
        """Where the player is, (E, columns)."""
        xp = self.device.xp
        columns = xp.arange(SIDE, dtype=xp.int64, device=self.device.native)
        return xp.reshape(player, (-1, 1)) == columns

    def _blocks(self, state: State, first: int = 0) -> Array:
        """The blocks, (E, rows from `first` on, columns): those of row y came y steps ago."""
        xp, place = self.device.xp, self.device.native
        y = xp.arange(first, SIDE, dtype=xp.int64, device=place)
        age = xp.reshape(state["steps"], (-1, 1)) - 1 - y
        there = (age >= 0) & (age % PERIOD == 0)
        games = xp.reshape(xp.arange(age.shape[0], dtype=xp.int64, device=place), (-1, 1))
        which = games * ROWS + xp.where(there, age // PERIOD, xp.zeros_like(age))
        rows = xp.take(xp.reshape(state["rows"], (-1, SIDE)), xp.reshape(which, (-1,)), axis=0)
        return xp.reshape(rows, (*age.shape, SIDE)) & xp.expand_dims(there, axis=2)
