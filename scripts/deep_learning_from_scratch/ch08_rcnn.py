"""Does reading every proposed box find the objects in a picture? (section 8.4.1)

    python scripts/deep_learning_from_scratch/ch08_rcnn.py --data mnist

R-CNN on digit scenes: boxes are proposed, each is warped to 28 x 28, and the modern LeNet says
which digit it shows, or none. It learns from the boxes of 800 scenes, in 5 epochs of Adam with lr
0.002 on batches of 100; another 300 scenes, of other digits, are what is measured. Two seeds;
guides are an independent run's, of seed 0.

Proposed are boxes around the 8-connected components of pixels above 64, of those above 112, and of
those above 160, and around any two of one threshold that are at most 3 pixels apart in x and in y:
all that are 10 to 34 pixels high and 3 to 34 wide, each once. What is not proposed cannot be found,
so that the same networks are also asked about less, components alone, and about the true boxes,
which no detector knows. Pairs hardly add to what is found; what is lost is lost with objects that
nothing is proposed for. Drawn are the first scenes, and curves of the first seed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from _shared import draw_boxes, draw_precision_recall, learned_rcnn, seeds
from xpnet import RCNN
from xpnet.data.crops import crops_of
from xpnet.data.scenes import Scenes, digit_scenes
from xpnet.functions.boxes import iou
from xpnet.models.proposals import proposals
from xpnet.report.detection import DetectionScores
from xpnet.report.experiment import Lab, main

RULE = "the rule"
LESS: dict[str, dict[str, Any]] = {
    "components above 112": {"thresholds": (112,), "pairs": False},
    "components of three thresholds": {"pairs": False},
}
"""What else is proposed, as `proposals` takes it."""
SHOWN, SURE = 8, 0.3
"""Scenes in the picture, and the score from which a find is drawn."""


def propose(lab: Lab, scenes: Scenes) -> dict[str, list[np.ndarray]]:
    """Propose boxes in all ways, and state how many objects are among them."""
    found = {name: proposals(scenes.x_test, **options) for name, options in LESS.items()}
    found[RULE] = proposals(scenes.x_test)
    objects = sum(len(truth.labels) for truth in scenes.objects_test)
    for name, boxes in found.items():
        hits = sum(
            int(np.sum(iou(proposed, truth.boxes).max(axis=0, initial=0) >= 0.5))
            for proposed, truth in zip(boxes, scenes.objects_test, strict=True)
        )
        each = np.mean([len(proposed) for proposed in boxes])
        if name == RULE:
            what = "objects, and those with a proposal at IoU 0.5"
            lab.equal(what, [objects, hits], [738, 664], full=True)
            guides: dict[str, Any] = {"low": 0.88, "high": 0.92, "book": "guide 0.900"}
            number: dict[str, Any] = {"low": 9.35, "high": 9.45, "book": "guide 9.4"}
        else:
            guides = number = {}
        lab.check(f"{name}: recall of proposals", hits / objects, full=True, **guides)
        lab.check(f"{name}: proposals a scene", each, full=True, **number)
    return found


def judge(lab: Lab, scores: DetectionScores, seed: int) -> None:
    """State how well objects are found among the proposals."""
    mean = scores.mean_average_precision
    what = f"mAP at IoU {{}}, seed {seed}"
    lab.check(what.format(0.5), mean(), 0.79, 0.87, book="guide 0.834", full=True)
    lab.check(f"{what.format(0.5)}, 11-point", mean(rule="11-point"), book="guide 0.807")
    lab.check(what.format(0.75), mean(0.75), book="guide 0.753")
    lab.check(f"recall at IoU 0.5, seed {seed}", scores.recall())


def scored(network: RCNN, scenes: Scenes, boxes: Sequence[np.ndarray] | None) -> DetectionScores:
    """What a network finds among boxes, beside the truth."""
    scores = DetectionScores(network.classes)
    scores.update(network.detect(scenes.x_test, boxes=boxes), scenes.objects_test)
    return scores


def run(lab: Lab) -> None:
    """Propose, train, measure and draw."""
    scenes = digit_scenes(lab.few(800, 40), lab.few(300, 10), digits=lab.digits)
    crops, proposed = crops_of(scenes), propose(lab, scenes)
    lab.check("boxes to learn from", len(crops.t_train))
    lab.check("share of them that show the background", np.mean(crops.t_train == 0))
    true = [truth.boxes for truth in scenes.objects_test]
    for seed in seeds(lab, 2):
        network = learned_rcnn(lab, crops, seed)
        scores = {RULE: scored(network, scenes, proposed[RULE])}
        judge(lab, scores[RULE], seed)
        for name, boxes in [*((name, proposed[name]) for name in LESS), ("the true boxes", true)]:
            scores[name] = scored(network, scenes, boxes)
            value = scores[name].mean_average_precision()
            lab.check(f"mAP at IoU 0.5 among {name}, seed {seed}", value)
        if seed == lab.seed:
            draw(lab, network, scenes, scores)


def draw(lab: Lab, network: RCNN, scenes: Scenes, scores: dict[str, DetectionScores]) -> None:
    """Draw scenes with what is there and what was found, and curves of precision and recall."""
    left, right = lab.figure(13, 7).subfigures(1, 2, width_ratios=(3, 2))
    places = left.subplots(SHOWN // 2, 4).reshape(SHOWN, 2)
    found = network.detect(scenes.x_test[:SHOWN], score=SURE)
    for k, (there, finds) in enumerate(places):
        truth, seen = scenes.objects_test[k], found[k]
        draw_boxes(there, scenes.x_test[k], truth.boxes, truth.labels, "tab:green")
        texts = [f"{t}: {s:.2f}" for s, t in zip(seen.scores, seen.labels, strict=True)]
        draw_boxes(finds, scenes.x_test[k], seen.boxes, texts, "tab:orange")
    left.suptitle(f"green: what is there; orange: what was found, with scores from {SURE}")
    draw_precision_recall(right.subplots(), scores, "IoU 0.5, proposed by")


if __name__ == "__main__":
    main(run, __doc__)
