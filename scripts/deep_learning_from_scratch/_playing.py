"""What experiments with games share."""

from typing import Any, NamedTuple

import numpy as np

from xpnet import DQN, Adam, DeepQ, Game, Trainer, to_numpy
from xpnet.games import play_out
from xpnet.report.experiment import Lab
from xpnet.train.learner import Batch
from xpnet.train.players import play_best


class Watched(DeepQ):
    """Notes the largest value that any batch of moves had."""

    largest = -np.inf

    def step(self, batch: Batch) -> Any:
        """As `DeepQ`'s, with one number read back."""
        values = super().step(batch)
        self.largest = max(self.largest, float(values["largest_q"]))
        return values


class Learned(NamedTuple):
    """What came of learning a game.

    Attributes
    ----------
    frames, curve : after every epoch, and the mean return then
    final : the mean return in the end, of more episodes
    largest : value that any batch of moves had
    """

    network: DQN
    game: Game
    frames: list[int]
    curve: list[float]
    final: float
    largest: float

    def after(self, frames: int) -> float:
        """The mean return that was measured after so many frames, or before if it was not then."""
        return [r for f, r in zip(self.frames, self.curve, strict=True) if f <= frames][-1]


def learned(
    lab: Lab,
    game: Game,
    frames: int,
    *,
    stack: int = 4,
    batch_size: int = 32,
    lr: float = 0.0005,
    epoch: int = 1_000,
    warm_up: int = 1_000,
    **options: Any,
) -> Learned:
    """Learn a game over so many frames, and measure after every `epoch` of them.

    Parameters
    ----------
    stack : pictures that are seen at once
    options : of `DeepQ`
    """
    shape = (stack * game.shape[0], *game.shape[1:])
    network = DQN(len(game.actions), input_shape=shape, rng=game.seed, device=lab.device)
    every = options.get("every", 2)
    learner = Watched(
        network,
        game,
        batch_size,
        Adam(lr),
        seed=game.seed,
        warm_up=lab.few(warm_up, 50),
        updates=lab.few(epoch // every, 5),
        evaluate_samples=lab.few(game.episodes[0], 2),
        **options,
    )
    epochs = lab.few((frames - warm_up) // epoch, 2)
    trainer, reached = Trainer.of(learner, epochs, verbose=False), list[int]()
    trainer.on_epoch = lambda metrics: reached.append(learner.source.frames)
    history = trainer.train()
    learner.evaluate_samples = lab.few(game.episodes[1], 2)
    final = learner.evaluate(learner.sets["test"])["return"]
    curve = [metrics["test_return"] for metrics in history]
    return Learned(network, game, reached, curve, final, learner.largest)


def by_chance(game: Game, episodes: int, seed: int) -> np.ndarray:
    """What episodes bring to who plays at random."""
    rng, games = np.random.default_rng(seed), game.alike(episodes, seed=seed)
    chosen = len(game.actions)
    return play_out(games, lambda seen: game.device.asarray(rng.integers(chosen, size=episodes)))


def episode(found: Learned, seed: int) -> tuple[list[np.ndarray], np.ndarray, float]:
    """An episode by the best actions: what is seen, the values of each move, and its return."""
    seen, values = list[np.ndarray](), list[np.ndarray]()

    def before(worth: Any, shown: Any) -> None:
        seen.append(to_numpy(shown)[0].copy())
        values.append(to_numpy(worth)[0].copy())

    total = play_best(found.network, found.game.alike(1, seed=seed), before=before)
    return seen, np.array(values), float(total[0])
