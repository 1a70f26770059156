"""Catch: a ball falls, and a paddle must be where it lands."""

from xpnet.arguments import checked
from xpnet.arrays import Array, Device
from xpnet.arrays.random import pick
from xpnet.errors import ArgumentError
from xpnet.games.base import Game, State

SIDE = 10
"""Cells of a side."""
LIGHT = 255


class Catch(Game):
    """A ball falls from the top of 10 x 10 cells, and a paddle of three cells catches it, or not.

    The paddle starts at column 5, the ball at any column of row 0, and it goes by dx columns a
    step, -speed to speed, and comes back from the walls:

        p <- p + a - 1, from 1 to 8;   y <- y + 1;   x <- x + dx

    After nine steps the ball is in row 9: +1 if |x - p| <= 1, otherwise -1. Who does not look at
    the ball has -0.4 on average. With a speed of 1 the paddle can follow it, and one picture
    suffices; with 2 a picture does not tell what matters, which is where the ball goes.

    After Mnih, Heess, Graves, Kavukcuoglu 2014, "Recurrent models of visual attention",
    arXiv:1406.6247.

    Parameters
    ----------
    games, seed, device : as in `Game`
    speed : columns that the ball may go by in a step, 1 to 4
    """

    actions = ("left", "stay", "right")
    shape = (1, SIDE, SIDE)

    @checked
    def __init__(
        self, games: int = 1, *, speed: int = 1, seed: int = 0, device: str | Device = "cpu"
    ) -> None:
        super().__init__(games, seed=seed, device=device)
        if not 1 <= speed <= 4:
            raise ArgumentError(f"speed of Catch must be from 1 to 4, got {speed}")
        self.speed = int(speed)
        self.name = "catch" if speed == 1 else "catch-fast"

    def alike(self, games: int, *, seed: int) -> "Catch":
        """As many other games of the same speed."""
        return type(self)(games, speed=self.speed, seed=seed, device=self.device)

    def _begun(self, episode: Array) -> dict[str, Array]:
        words = self.words(4, episode)
        start = self.device.xp.zeros_like(episode)
        dx = pick(words[:, 1], 2 * self.speed + 1) - self.speed
        return {"x": pick(words[:, 0], SIDE), "y": start, "dx": dx, "paddle": start + 5}

    def _moved(self, state: State, actions: Array) -> tuple[dict[str, Array], Array, Array, Array]:
        xp = self.device.xp
        paddle = xp.clip(state["paddle"] + xp.astype(actions, xp.int64) - 1, 1, SIDE - 2)
        y, x, dx = state["y"] + 1, state["x"] + state["dx"], state["dx"]
        beyond = xp.where(x < 0, -x, xp.where(x >= SIDE, 2 * (SIDE - 1) - x, x))
        dx = xp.where(beyond == x, dx, -dx)
        terminal = y == SIDE - 1
        caught = xp.astype(xp.abs(beyond - paddle) <= 1, xp.float32)
        reward = xp.where(terminal, 2 * caught - 1, xp.zeros_like(caught))
        moved = {"x": beyond, "y": y, "dx": dx, "paddle": paddle}
        return moved, reward, terminal, y < 0

    def _seen(self, state: State) -> Array:
        xp = self.device.xp
        cells = xp.arange(SIDE, dtype=xp.int64, device=self.device.native)
        row, column = xp.reshape(cells, (1, SIDE, 1)), xp.reshape(cells, (1, 1, SIDE))
        y, x, paddle = (xp.reshape(state[k], (-1, 1, 1)) for k in ("y", "x", "paddle"))
        ball = (row == y) & (column == x)
        lit = ball | ((row == SIDE - 1) & (xp.abs(column - paddle) <= 1))
        return xp.expand_dims(xp.astype(lit, xp.uint8) * LIGHT, axis=1)
