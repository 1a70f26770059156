"""What do networks see in each pixel of a street, and what do skips add? (section 8.4.2)

    python scripts/deep_learning_from_scratch/ch08_segmentation.py

Road scenes, drawn by a program, have sky and the five classes of SegNet: building, road, sidewalk,
tree and vehicle. Three small networks learn 600 of them in 8 epochs of Adam, lr 0.002, batches of
20, pixels from -0.5 to 0.5, and are judged by 200 others: an FCN that enlarges its scores by 8 at
once, one that adds the scores of two earlier stages on the way, and a SegNet. The loss weighs all
pixels alike. Judged is the mean over the classes of intersection over union (IoU), for two seeds;
guides are an independent run's, of the same seeds. Drawn are scenes of the first seed.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from _shared import seeds
from xpnet import FCN, Network, SegNet, Trainer
from xpnet.data.scenes import ROAD_CLASSES, Scenes
from xpnet.files.masks import in_colours, palette
from xpnet.models.fcn import IGNORED
from xpnet.report.evaluate import confusion, predictions
from xpnet.report.experiment import Lab, main
from xpnet.report.segmentation import class_iou, mean_class_accuracy, mean_iou, pixel_accuracy

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

WITHOUT, WITH, SEGNET = "FCN without skips", "FCN with skips", "SegNet"
NETWORKS: dict[str, tuple[Callable[..., Network], int]] = {  # and its parameters
    WITHOUT: (lambda **options: FCN.small(skips=False, **options), 118_902),
    WITH: (FCN.small, 111_714),
    SEGNET: (SegNet.small, 144_918),
}
BANDS = {WITHOUT: (0.78, 0.87), WITH: (0.86, 0.93), SEGNET: (0.84, 0.92)}
"""Of the mean IoU."""
GUIDES = {  # pixel accuracy, mean accuracy of the classes and mean IoU, of seeds 0 and 1
    WITHOUT: ((0.936, 0.896, 0.824), (0.936, 0.891, 0.822)),
    WITH: ((0.963, 0.938, 0.896), (0.957, 0.952, 0.881)),
    SEGNET: ((0.958, 0.932, 0.879), (0.960, 0.923, 0.881)),
}
GAIN, ACCURACY = 0.03, 0.92
"""What skips add to the mean IoU at least, and the least pixel accuracy of all three."""
SHOWN = (1, 4, 11, 17)
"""Test scenes that are drawn."""


def guide(name: str, seed: int, which: int) -> str:
    """What the independent run of a seed measured; nothing of other seeds."""
    return f"guide {GUIDES[name][seed][which]}" if seed < len(GUIDES[name]) else ""


def learned(lab: Lab, scenes: Scenes, name: str, seed: int) -> np.ndarray:
    """Train a network on the scenes; the classes that it sees in the test scenes."""
    make, parameters = NETWORKS[name]
    network = make(rng=seed, device=lab.device)
    if seed == lab.seed:
        lab.equal(f"{name}: parameters", network.params.count, parameters)
    Trainer(
        network,
        scenes.x_train,
        scenes.t_train,
        epochs=lab.few(8, 1),
        mini_batch_size=20,
        optimizer="Adam",
        optimizer_param={"lr": 0.002},
        evaluate_sample_num_per_epoch=1,
        seed=seed,
        verbose=False,
    ).train()
    return predictions(network, scenes.x_test)


def run(lab: Lab) -> None:
    """Train, judge and draw."""
    scenes = lab.scenes("road-scenes", lab.few(600, 40), lab.few(200, 20))
    drawn: dict[str, np.ndarray] = {}
    ious: dict[str, np.ndarray] = {}
    for seed in seeds(lab, 2):
        means = {}
        for name in NETWORKS:
            seen = learned(lab, scenes, name, seed)
            counts = confusion(scenes.t_test, seen, len(ROAD_CLASSES), IGNORED)
            means[name] = mean_iou(counts)
            what = f"{name}: {{}}, seed {seed}"
            lab.check(
                what.format("mean IoU"),
                means[name],
                *BANDS[name],
                book=guide(name, seed, 2),
                full=True,
            )
            lab.check(
                what.format("pixel accuracy"),
                pixel_accuracy(counts),
                ACCURACY,
                book=guide(name, seed, 0),
                full=True,
            )
            lab.check(
                what.format("mean accuracy of classes"),
                mean_class_accuracy(counts),
                book=guide(name, seed, 1),
            )
            if seed == lab.seed:
                drawn[name], ious[name] = seen, class_iou(counts)
        gained = [GUIDES[name][seed][2] for name in (WITH, WITHOUT)] if seed < 2 else []
        lab.check(
            f"what skips add to the mean IoU, seed {seed}",
            means[WITH] - means[WITHOUT],
            GAIN,
            book=f"guide {gained[0] - gained[1]:.3f}" if gained else "",
            full=True,
        )
    upper, lower = lab.figure(9, 9.5).subfigures(2, 1, height_ratios=(2.4, 1))
    draw_scenes(upper, scenes, drawn)
    draw_ious(lower, ious, lab.seed)


def draw_scenes(figure: "SubFigure", scenes: Scenes, drawn: Mapping[str, np.ndarray]) -> None:
    """Some scenes, their truth, and what each network sees, side by side."""
    numbers = [number for number in SHOWN if number < len(scenes.x_test)]
    panels = figure.subplots(len(numbers), 2 + len(drawn), squeeze=False)
    for row, number in zip(panels, numbers, strict=True):
        masks = [scenes.t_test[number], *(seen[number] for seen in drawn.values())]
        shown: list[Any] = [scenes.x_test[number].transpose(1, 2, 0)]
        shown += [in_colours(mask, ROAD_CLASSES) for mask in masks]
        titles = ("scene", "truth", *drawn)
        for axes, image, title in zip(row, shown, titles, strict=True):
            axes.imshow(image, interpolation="nearest")
            axes.set_axis_off()
            if number == numbers[0]:
                axes.set_title(title, fontsize=9)


def draw_ious(figure: "SubFigure", ious: Mapping[str, np.ndarray], seed: int) -> None:
    """The IoU of each class, with the classes' colours as a legend of the masks above."""
    axes = figure.subplots()
    places, width = np.arange(len(ROAD_CLASSES)), 0.26
    for k, (name, values) in enumerate(ious.items()):
        label = f"{name}, mean {np.nanmean(values):.3f}"
        greys = ("0.75", "0.45", "0.15")
        axes.bar(places + (k - 1) * width, values, width * 0.92, color=greys[k], label=label)
    axes.set_xticks(places, ROAD_CLASSES)
    for tick, colour in zip(axes.get_xticklabels(), palette(ROAD_CLASSES), strict=True):
        shade = tuple(part / 255 for part in colour)
        tick.set(bbox={"facecolor": shade, "edgecolor": "none", "pad": 2}, color="white")
    axes.set(ylabel="IoU on test scenes", ylim=(0, 1))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, title=f"seed {seed}")


if __name__ == "__main__":
    main(run, __doc__)
