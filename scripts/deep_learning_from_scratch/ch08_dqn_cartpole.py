"""Does the same way of learning keep a pole upright? (section 8.5.4)

    python scripts/deep_learning_from_scratch/ch08_dqn_cartpole.py

CartPole-v1 of Gymnasium shows four numbers, and every step is worth 1, up to 500. A network of two
hidden layers of 128 learns by double Q-learning over 30,000 frames: 1,000 at random, an update at
every second one, by 64 moves out of the last 50,000; Adam, lr 0.0005, the target copied every 250
updates, epsilon from 1 to 0.05 over 6,000 frames. Episodes that are cut off at 500 steps are not
ended by the rules: what comes next counts in their last move, too.

It learns, and falls back, as this way of learning does; what is judged is the best of the ten
evaluations, of ten episodes each, for that network can be kept. Guides are an independent run's.
"""

from _playing import by_chance, learned
from _shared import seeds
from xpnet import Gym
from xpnet.optional import installed, missing
from xpnet.report.experiment import Lab, main

FRAMES, EPOCH = 30_000, 2_900
SETTINGS = {"stack": 1, "batch_size": 64, "memory": 50_000, "double": True, "epoch": EPOCH}
LEAST = 195.0


def run(lab: Lab) -> None:
    """Learn, judge and draw."""
    lab.play()
    if not installed("gymnasium"):
        lab.skip("best return", missing("gymnasium"), band=f"at least {LEAST:g}")
        return
    chance = float(by_chance(Gym("CartPole-v1"), lab.few(300, 20), 7).mean())
    lab.check("return of chance", chance, 19, 24, book="guide 21.5", full=True)
    axes = lab.figure(7, 4).subplots()
    for seed in seeds(lab, 2):
        game = Gym("CartPole-v1", seed=seed, device=lab.device)
        found = learned(lab, game, FRAMES, **SETTINGS)
        if seed == lab.seed:
            lab.equal("parameters", found.network.params.count, 17_410)
        best, guide = max(found.curve), "guide 352" if seed == 0 else ""
        lab.check(f"best return, seed {seed}", best, LEAST, book=guide, full=True)
        frames = found.frames[found.curve.index(best)]
        lab.check(f"frames until then, seed {seed}", frames)
        guide = "guide 146.6" if seed == 0 else ""
        lab.check(f"return in the end, 100 episodes, seed {seed}", found.final, book=guide)
        axes.plot(found.frames, found.curve, ".-", label=f"seed {seed}")
    axes.axhline(LEAST, color="0.5", linestyle=":")
    axes.axhline(chance, color="0.5", linestyle="--", label="chance")
    axes.set(xlabel="frames", ylabel="mean return of 10 episodes", ylim=(0, 510))
    axes.legend()


if __name__ == "__main__":
    main(run, __doc__)
