"""Do the initial weights decide whether five layers learn? (Figure 6-15)

    python scripts/deep_learning_from_scratch/ch06_weight_init_compare.py --data mnist

As in Figure 6-9, with SGD at lr 0.01: standard deviation 0.01, Xavier's rule and He's, which is
made for ReLU. The guides are those of an independent float64 run; about its single values, 0.005
and 10 %. Drawn is the first seed.
"""

from _shared import check_mean, seeds, smooth_curve, training_losses
from xpnet import SGD, MultiLayerNet
from xpnet.report.experiment import Lab, main

# Initial weights; of the mean of the last 100 losses, guide and standard deviation over seeds.
INITIAL: dict[str, tuple[float | str, tuple[float, float], float]] = {
    "std 0.01": (0.01, (2.296, 2.306), 0.001),
    "Xavier": ("xavier", (0.31, 0.32), 0.009),
    "He": ("he", (0.207, 0.253), 0.009),
}


def run(lab: Lab) -> None:
    """Train three times, compare and draw."""
    axes = lab.figure(7, 4.5).subplots()
    end = {}
    for (name, (std, guide, sd)), marker in zip(INITIAL.items(), "osD", strict=True):
        ends = []
        for seed in seeds(lab):
            network = MultiLayerNet(
                784, [100] * 4, 10, weight_init_std=std, rng=seed, device=lab.device
            )
            losses = training_losses(lab, network, SGD(lr=0.01), lab.few(2000, 40))
            ends.append(float(losses[-100:].mean()))
            if seed == lab.seed:
                curve = smooth_curve(losses)
                axes.plot(curve, marker=marker, markevery=100, linewidth=1, label=name)
        end[name] = sum(ends) / len(ends)
        check_mean(lab, f"{name}: mean of the last 100 losses", ends, guide, sd)
    lab.holds(
        "He learns faster than Xavier",
        end["He"] < end["Xavier"],
        f"{end['He']:.3f} against {end['Xavier']:.3f}",
        book="He is faster",
        full=True,
    )
    axes.set(xlabel="iterations", ylabel="loss, smoothed", ylim=(0, 2.5))
    axes.legend()


if __name__ == "__main__":
    main(run, __doc__)
