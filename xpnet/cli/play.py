"""`xpnet play`."""

from collections.abc import Callable
from typing import NamedTuple

import click
import numpy as np

from xpnet.arrays import Array, get_device, to_numpy
from xpnet.cli.keeping import Kept
from xpnet.cli.options import DIRECTORY, PATH, Count, DataName, device_line, device_option
from xpnet.cli.watching import bar
from xpnet.data.sets import data_for
from xpnet.files.animation import game_frame, save_gif
from xpnet.games import Game, Gym, Step
from xpnet.games.known import GAMES, game_of
from xpnet.notice import notice
from xpnet.train.deep_q import APART
from xpnet.train.players import load_player, play_best

RETURNS, ANIMATION = "returns.json", "game.gif"
MOST, SHOWN = 600, 20
"""Pictures that an animation has at most, and episodes."""
SHORT, LONG = 100, 700
"""Milliseconds that a move is shown, and the last one of an episode."""


@click.command()
@click.option(
    "--data",
    type=DataName(["auto", *GAMES]),
    default="auto",
    help="This game is played, or this environment of Gymnasium, gym:CartPole-v1; auto is the game "
    "that was learned.",
)
@device_option
@click.option(
    "--episodes",
    type=Count(most=10_000),
    default=5,
    metavar="N",
    help="N episodes are played.",
)
@click.option(
    "--seed",
    type=Count(0, 2**31 - 1),
    default=APART,
    metavar="N",
    help="N decides the games. A run with --seed S is measured on those of S + 10000.",
)
@click.option(
    "--out",
    type=DIRECTORY,
    help="Everything is kept in this new directory; by default in runs/DATE-TIME-play.",
)
@click.argument("run", type=PATH, metavar="RUN")
def play(data: str, device: str, episodes: int, seed: int, out: str | None, run: str) -> None:
    """Play games with a network that has learned to, and show them.

    RUN is the directory of a run of --model dqn or double-dqn, or a file of it. Always the best
    action is taken. game.gif shows what is seen, and beside it what the network thinks that each
    action is worth; returns.json has what each episode brought in all. An environment that shows
    numbers is drawn by its own package.
    """
    files = Kept(out, "play", ".gif")
    network, name = load_player(run, device=get_device(device))
    name = name if data == "auto" else data_for("play", data)
    game = game_of(name, episodes, seed=seed, device=network.device, drawn=True)
    if device == "auto":
        notice(device_line(network.device))
    watched = _Watched(game)
    with bar("move") as moved:

        def after(step: Step) -> None:
            watched.after(step)
            moved()

        returns = play_best(network, game, before=watched.before, after=after)
    for number, (value, moves) in enumerate(zip(returns, watched.moves, strict=True), 1):
        click.echo(f"episode {number}: {moves} moves, return {value:g}")
    click.echo(f"mean return: {returns.mean():.4f} in {episodes} episodes of {name}")
    files.stem("game")
    with bar("picture") as drawn:
        watched.save(files, drawn)
    record = {
        "weights": str(run),
        "data": name,
        "seed": seed,
        "mean_return": float(returns.mean()),
        "episodes": [
            {"return": float(value), "moves": moves}
            for value, moves in zip(returns, watched.moves, strict=True)
        ],
    }
    files.write(RETURNS, record)
    click.echo(f"everything is in {files.directory}")


class _Shown(NamedTuple):
    """What is shown of a moment of a game."""

    picture: np.ndarray | None
    values: np.ndarray
    title: str
    milliseconds: int


class _Watched:
    """Episodes of games side by side, to be shown one behind the other.

    Attributes
    ----------
    moves : of each episode so far
    """

    def __init__(self, game: Game) -> None:
        self._game, self.moves = game, [0] * game.games
        self._over, self._returns = np.zeros(game.games, bool), np.zeros(game.games)
        self._shown: list[list[_Shown]] = [[] for _ in range(min(SHOWN, game.games))]

    def before(self, values: Array, seen: Array) -> None:
        """Keep what is shown before a move, of the games that go on."""
        worth, pictures = to_numpy(values), to_numpy(seen)
        for e, shown in enumerate(self._shown):
            if not self._over[e] and len(shown) < MOST:
                shown.append(self._moment(e, self._picture(e, pictures[e]), worth[e], SHORT))

    def after(self, step: Step) -> None:
        """Count a move, and keep what it led to if it was the last of a game that shows that."""
        ends = to_numpy(step.terminal | step.truncated)
        self._returns += np.where(self._over, 0.0, to_numpy(step.reward))
        for e in np.flatnonzero(~self._over).tolist():
            self.moves[e] += 1
            if ends[e] and e < len(self._shown) and len(step.last.shape) == 4:
                last, values = to_numpy(step.last)[e], self._shown[e][-1].values
                self._shown[e].append(self._moment(e, last, values, LONG))
        self._over |= ends

    def save(self, files: Kept, drawn: Callable[[], object]) -> None:
        """Write the animation, if there is anything to be seen in it."""
        moments = [moment for shown in self._shown for moment in shown][:MOST]
        values = np.stack([moment.values for moment in moments])
        bounds = float(values.min()), float(values.max())
        if moments[0].picture is None:
            notice(f"{self._game.name} cannot be drawn here; {ANIMATION} shows values alone")
        frames = []
        for moment in moments:
            frames.append(
                game_frame(moment.picture, moment.title, self._game.actions, moment.values, bounds)
            )
            drawn()
        save_gif(files.directory / ANIMATION, frames, [moment.milliseconds for moment in moments])

    def _moment(
        self, e: int, picture: np.ndarray | None, values: np.ndarray, milliseconds: int
    ) -> _Shown:
        title = f"episode {e + 1}   move {self.moves[e]}   return {self._returns[e]:.3g}"
        return _Shown(
            None if picture is None else picture.copy(), values.copy(), title, milliseconds
        )

    def _picture(self, e: int, seen: np.ndarray) -> np.ndarray | None:
        """What is seen, if that is a picture, or what an environment draws."""
        if seen.ndim == 3:
            return seen
        drawn = self._game.picture(e) if isinstance(self._game, Gym) else None
        return None if drawn is None else np.moveaxis(drawn, -1, 0)
