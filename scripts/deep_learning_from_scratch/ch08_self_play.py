"""Can a network learn a game from its rules alone, by playing against itself? (section 8.5.4)

    python scripts/deep_learning_from_scratch/ch08_self_play.py

The book tells of AlphaGo, which learned from 30 million moves of experts before it played against
itself. Here tic-tac-toe is learned from nothing but its rules: the network tells which moves are
promising and what a board is worth, a search in the tree of moves is guided by it, 25 simulations a
move, and the network learns what the search found, and how games ended. Two seeds, 30 epochs of 64
games.

It is then played through whatever an opponent may do: with it as the first and as the second, every
perfect answer to every move (by minimax), and then every answer at all. Nobody can do better than
never to lose. The network alone moves at once where it would look ahead first.
"""

from typing import TYPE_CHECKING

import numpy as np

from _shared import seeds
from xpnet import Trainer
from xpnet.report.experiment import Lab, main
from xpnet.train.self_play import SelfPlay, game_network, lost_games, search

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EPOCHS = 30
BOARDS = {
    "the first move": (0, 0, 0, 0, 0, 0, 0, 0, 0),
    "against a corner": (-1, 0, 0, 0, 0, 0, 0, 0, 0),
    "a win, or a loss": (1, 0, -1, 1, -1, 0, 0, 0, 0),
    "against two corners": (-1, 0, 0, 0, 1, 0, 0, 0, -1),
}
"""Those of the picture, seen by who is to move."""


def shares(learner: SelfPlay, *, perfect: bool) -> float:
    """The share of ends that are lost."""
    lost, ends = lost_games(learner.moves, perfect=perfect)
    return lost / ends


def run(lab: Lab) -> None:
    """Play, learn, count what is lost, and draw."""
    curves, shown = dict[int, list[tuple[float, float]]](), None
    for seed in seeds(lab, 2):
        network = game_network(seed, device=lab.device)
        small = {"games": 8, "batches": 5} if lab.quick else {}
        learner = SelfPlay(network, seed=seed, **small)
        trainer = Trainer.of(learner, lab.few(EPOCHS, 1), verbose=False)
        curve = curves[seed] = []

        def measure(curve: list[tuple[float, float]] = curve, by: SelfPlay = learner) -> None:
            curve.append((shares(by, perfect=True), shares(by, perfect=False)))

        measure()
        trainer.on_epoch = lambda _, measure=measure: measure()
        trainer.train()
        lost, ends = lost_games(learner.moves)
        told = f"games lost to a perfect player, of {ends}, seed {seed}"
        if seed == lab.seed:
            lab.equal("parameters", network.params.count, 94_538)
        lab.check(told, lost, high=None if lab.quick else 0)
        lost, ends = lost_games(learner.moves, perfect=False)
        lab.check(f"games lost to any player, of {ends}, seed {seed}", lost)
        alone, ends = lost_games(lambda b, by=learner: by.judge(b)[0].argmax(axis=1))
        lab.check(
            f"the network alone: games lost to a perfect player, of {ends}, seed {seed}", alone
        )
        lab.check(f"the same share before learning, with the search, seed {seed}", curve[0][0])
        shown = shown or learner
    assert shown is not None
    left, right = lab.figure(12, 4.5).subfigures(1, 2)
    axes = left.subplots()
    for seed, curve in curves.items():
        perfect, anybody = zip(*curve, strict=True)
        (line,) = axes.plot(perfect, ".-", label=f"to a perfect player, seed {seed}")
        axes.plot(anybody, ":", color=line.get_color(), label=f"to any player, seed {seed}")
    axes.set(xlabel="epoch", ylabel="share of games lost", ylim=(0, None))
    axes.legend()
    for panel, (title, board) in zip(right.subplots(2, 2).flat, BOARDS.items(), strict=True):
        draw(panel, title, np.array([board], dtype=float), shown)
    right.suptitle("tries of the search, in percent; x is to move")


def draw(panel: "Axes", title: str, board: np.ndarray, learner: SelfPlay) -> None:
    """Draw a board, and how often each move was tried there."""
    tries = search(board, learner.judge, learner.simulations)[0]
    tries = 100 * tries / tries.sum()
    panel.imshow(tries.reshape(3, 3), cmap="Greens", vmin=0, vmax=100)
    for k, stone in enumerate(board[0]):
        text = {1: "x", -1: "o", 0: f"{tries[k]:.0f}"}[int(stone)]
        panel.text(k % 3, k // 3, text, ha="center", va="center", size=20 if stone else 9)
    panel.set(title=title, xticks=np.arange(2) + 0.5, yticks=np.arange(2) + 0.5)
    panel.grid(color="0.5")
    panel.tick_params(length=0, labelleft=False, labelbottom=False)


if __name__ == "__main__":
    main(run, __doc__)
