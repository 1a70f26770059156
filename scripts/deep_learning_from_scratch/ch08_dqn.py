"""Does a network learn to play a game that it only sees pictures of? (section 8.5.4)

    python scripts/deep_learning_from_scratch/ch08_dqn.py

Deep Q-learning as the book describes it: a network is shown the last four pictures, and says what
each action is worth. The game is Catch, 10 x 10 cells: a ball falls, and a paddle must be where it
lands, for +1 rather than -1. Who does not look has -0.4. Of 20,000 frames the first 1,000 are
played at random, then there is an update at every second one, by 32 moves out of the last 20,000:
Adam, lr 0.0005, discount 0.99, Huber's loss, the target copied every 250 updates, epsilon from 1 to
0.05 over 6,000 frames. Judged are 300 episodes of other games, always by the best action; curves
are of 50. No return is above 1, so values should not be far above it, either.

With a ball that is twice as fast, a paddle that sees one picture cannot tell where the ball goes;
with four it can. Guides are an independent run's, of one seed each, or two.
"""

from typing import TYPE_CHECKING

import numpy as np

from _playing import Learned, by_chance, episode, learned
from _shared import seeds
from xpnet import Catch
from xpnet.report.experiment import Lab, main

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

FRAMES = 20_000
NAMES = {("slow", 4): "Catch", ("fast", 4): "fast Catch", ("fast", 1): "fast Catch, one picture"}
CHANCE, ERROR = -0.4, 0.09
"""What who plays at random has, and three standard errors of 1,000 episodes."""
SHOWN = 20_003
"""The seed of the episode in the picture."""


def judge(lab: Lab, found: Learned, name: str, seed: int, least: float | None, guide: str) -> None:
    """State what came of one run."""
    what = f"{name}: {{}}, seed {seed}"
    lab.check(what.format("return in the end"), found.final, least, book=guide, full=True)
    lab.check(what.format("largest value"), found.largest, high=2.0, full=True)


def run(lab: Lab) -> None:
    """Learn, judge and draw."""
    lab.play()
    chance = float(by_chance(Catch(device=lab.device), 1_000, 7).mean())
    lab.check("return of chance", chance, CHANCE - ERROR, CHANCE + ERROR, book="-0.4")
    runs: dict[str, list[Learned]] = {name: [] for name in NAMES.values()}
    for seed in seeds(lab, 3):
        found = learned(lab, Catch(seed=seed, device=lab.device), FRAMES)
        runs[NAMES["slow", 4]].append(found)
        if seed == lab.seed:
            lab.equal("parameters", found.network.params.count, 132_179)
        judge(lab, found, NAMES["slow", 4], seed, 1.0, "guide 1.000")
        after = found.after(8_000)
        guide = {0: "guide 0.92", 1: "guide 0.76"}.get(seed, "")
        lab.check(
            f"Catch: return after 8,000 frames, seed {seed}", after, 0.5, book=guide, full=True
        )
    for seed in seeds(lab, 2):
        finals = {}
        for stack, least, guide in ((4, 0.9, "guide 1.000"), (1, None, "guide 0.347")):
            game, name = Catch(speed=2, seed=seed, device=lab.device), NAMES["fast", stack]
            found = learned(lab, game, FRAMES, stack=stack)
            runs[name].append(found)
            finals[stack] = found.final
            judge(lab, found, name, seed, least, guide if seed == 0 else "")
        lab.check(
            f"what three pictures more bring, seed {seed}",
            finals[4] - finals[1],
            0.3,
            book="guide 0.653" if seed == 0 else "",
            full=True,
        )
    left, right = lab.figure(12, 5.5).subfigures(1, 2)
    draw_curves(left.subplots(), runs)
    draw_episode(right, runs[NAMES["fast", 4]][0])


def draw_curves(axes: "Axes", runs: dict[str, list[Learned]]) -> None:
    """The mean return by the frames that were played."""
    for k, (name, found) in enumerate(runs.items()):
        for number, each in enumerate(found):
            axes.plot(each.frames, each.curve, ".-", color=f"C{k}", label="" if number else name)
    axes.axhline(CHANCE, color="0.5", linestyle="--", label="chance")
    axes.set(xlabel="frames", ylabel="mean return of 50 episodes", ylim=(-1.05, 1.05))
    axes.legend(loc="lower right")


def draw_episode(figure: "SubFigure", found: Learned) -> None:
    """What is seen in an episode, and what the actions are worth before each move."""
    seen, values, total = episode(found, SHOWN)
    upper, lower = figure.subfigures(2, 1, height_ratios=(2, 1.6))
    panels = upper.subplots(2, (len(seen) + 1) // 2, squeeze=False).reshape(-1)
    for axes in panels:
        axes.set_axis_off()
    for move, (axes, picture) in enumerate(zip(panels, seen, strict=False)):
        axes.imshow(picture[0], cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"{move}: {found.game.actions[int(np.argmax(values[move]))]}", fontsize=9)
    axes = lower.subplots()
    for k, name in enumerate(found.game.actions):
        axes.plot(values[:, k], ".-", label=name)
    axes.set(xlabel="move", ylabel="value", title=f"an episode of fast Catch, return {total:g}")
    axes.legend()


if __name__ == "__main__":
    main(run, __doc__)
