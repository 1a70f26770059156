"""What does Deep Q-learning need for games that are harder? (section 8.5.4)

    python scripts/deep_learning_from_scratch/ch08_dqn_long.py

Dodge shows rows of blocks that fall through 10 x 10 cells: each that arrives is +0.1, and one that
hits the player is -1 and the end. Of Catch's 20,000 frames nothing comes here: a player at random
dies at the second row, so that the memory holds hardly anything of what comes later, and the last
0.05 of moves at random are fatal to who would live through 31 rows. With double Q-learning, 100,000
frames, a memory of all of them, epsilon from 1 to 0.01 over 20,000 and the target copied every 500
updates it is learned; the best possible is 3.1, and a player who looks four rows ahead has 2.2.

CartPole is given 60,000 frames, at a lower rate, 0.0003, and with a target that is copied every
1,000 updates, so that values move more slowly; the goal is a mean of 475 of at most 500.
"""

from typing import Any

from _playing import Learned, by_chance, learned
from _shared import seeds
from xpnet import Dodge, Game, Gym
from xpnet.optional import installed, missing
from xpnet.report.experiment import Lab, main

DODGE: dict[str, Any] = {
    "warm_up": 2_000, "epoch": 5_000, "memory": 100_000, "double": True, "explore": 20_000,
    "epsilon": 0.01, "target_every": 500,
}  # fmt: skip
CARTPOLE: dict[str, Any] = {
    "stack": 1, "batch_size": 64, "memory": 50_000, "double": True, "epoch": 2_950, "lr": 0.0003,
    "target_every": 1_000,
}  # fmt: skip


def run(lab: Lab) -> None:
    """Learn, judge and draw."""
    lab.play()
    panels = lab.figure(11, 4).subplots(1, 2)
    chance = float(by_chance(Dodge(device=lab.device), 1_000, 7).mean())
    lab.check("Dodge: return of chance", chance, -0.94, -0.86, book="-0.9")
    lines: list[tuple[Any, str, Game, int, dict[str, Any], float]] = [
        (panels[0], "Dodge", Dodge(seed=seed, device=lab.device), 102_000, DODGE, 1.0)
        for seed in seeds(lab, 2)
    ]
    if installed("gymnasium"):
        lines += [
            (panels[1], "CartPole", Gym("CartPole-v1", seed=seed, device=lab.device), 60_000,
             CARTPOLE, 475.0)
            for seed in seeds(lab, 2)
        ]  # fmt: skip
    else:
        lab.skip("CartPole: best return", missing("gymnasium"), band="at least 475")
    for axes, name, game, frames, settings, goal in lines:
        found: Learned = learned(lab, game, frames, **settings)
        best = max(found.curve)
        if name == "Dodge":
            lab.check(f"{name}: return in the end, seed {game.seed}", found.final, goal, full=True)
        else:
            lab.check(f"{name}: best return, seed {game.seed}", best, goal, full=True)
            reached = found.frames[found.curve.index(best)]
            lab.check(f"{name}: frames until then, seed {game.seed}", reached)
            lab.check(f"{name}: return in the end, seed {game.seed}", found.final)
        axes.plot(found.frames, found.curve, ".-", label=f"seed {game.seed}")
        axes.set(xlabel="frames", ylabel=f"mean return of {name}")
        axes.legend()


if __name__ == "__main__":
    main(run, __doc__)
