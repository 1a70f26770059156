"""Does a network that proposes boxes itself find more than one that is given them? (section 8.5.3)

    python scripts/deep_learning_from_scratch/ch08_faster_rcnn.py --data mnist

Faster R-CNN on digit scenes: one network proposes 16 boxes of a scene, by what the second one then
reads, too: a map of features. It learns from 1200 scenes, in 5 epochs of Adam with lr 0.002, a
quarter of it in the last two, on batches of 20; another 300 scenes, of other digits, are what is
measured. Two seeds; guides are an independent run's, of seed 0. R-CNN learns from the same scenes,
as in ch08_rcnn.py, where boxes are proposed by a rule and each is read by itself.

The same networks are also asked with fewer and with more proposals. A scene has four digits at
most, but several proposals are of one: 4 find as much as R-CNN does, 8 nearly as much as 16, and 32
no more. Drawn are the first scenes, and curves of the first seed.
"""

from _shared import draw_boxes, draw_precision_recall, learned_rcnn, seeds
from xpnet import FasterRCNN, Trainer
from xpnet.data.crops import crops_of
from xpnet.data.scenes import Scenes, digit_scenes
from xpnet.report.detection import DetectionScores
from xpnet.report.experiment import Lab, main
from xpnet.report.metrics import EpochMetrics
from xpnet.train.detection import Detection

EPOCHS, LATE = 5, 2
LR, LATE_LR = 0.002, 0.0005
PROPOSALS = (2, 4, 8, 16, 32)
"""Numbers of proposals that the networks are asked with; they learn with 16."""
SHOWN, SURE = 8, 0.3
"""Scenes in the picture, and the score from which a find is drawn."""


def learned(lab: Lab, scenes: Scenes, seed: int) -> tuple[FasterRCNN, list[EpochMetrics]]:
    """Train a detector; itself, and what was measured after each epoch."""
    detector = FasterRCNN(rng=seed, device=lab.device)
    epochs, batches = lab.few(EPOCHS, 1), -(-len(scenes.x_train) // 20)
    late = (epochs - LATE) * batches
    learner = Detection(
        detector,
        scenes.x_train,
        scenes.objects_train,
        scenes.x_test,
        scenes.objects_test,
        seed=seed,
        schedule=lambda step: LR if step < late else LATE_LR,
    )
    return detector, Trainer.of(learner, epochs, verbose=not lab.quick).train()


def scored(detector: FasterRCNN, scenes: Scenes) -> DetectionScores:
    """What a detector finds, beside the truth."""
    scores = DetectionScores(detector.classes)
    scores.update(detector.detect(scenes.x_test), scenes.objects_test)
    return scores


def judge(lab: Lab, scores: DetectionScores, history: list[EpochMetrics], seed: int) -> float:
    """State how well objects are found; the mean average precision."""
    mean, last = scores.mean_average_precision, history[-1]
    guides = {"low": 0.95, "full": True}
    what = f"mAP at IoU {{}}, seed {seed}"
    lab.check(what.format(0.5), mean(), 0.90, 0.97, book="guide 0.942", full=True)
    lab.check(f"{what.format(0.5)}, 11-point", mean(rule="11-point"), book="guide 0.901")
    lab.check(what.format(0.75), mean(0.75), book="guide 0.826")
    lab.check(f"recall at IoU 0.5, seed {seed}", scores.recall(), **guides)
    value = last["test_proposal_recall50"]
    lab.check(f"recall of proposals, seed {seed}", value, **guides, book="guide 0.971")
    first = history[0]
    for name, guide in (("map50", "guide 0.602"), ("proposal_recall50", "guide 0.898")):
        lab.check(f"{name} after epoch 1, seed {seed}", first[f"test_{name}"], book=guide)
    return mean()


def run(lab: Lab) -> None:
    """Train, measure, compare and draw."""
    scenes = digit_scenes(lab.few(1200, 40), lab.few(300, 10), digits=lab.digits)
    crops = crops_of(scenes)
    for seed in seeds(lab, 2):
        detector, history = learned(lab, scenes, seed)
        if seed == lab.seed:
            lab.equal("parameters", detector.count, 343_133)
        learned_with, scores = detector.proposals, dict[str, DetectionScores]()
        for number in PROPOSALS:
            detector.proposals = number
            found = scores[f"Faster R-CNN, {number} proposals"] = scored(detector, scenes)
            mean, recall = found.mean_average_precision(), found.recall()
            lab.check(f"mAP at IoU 0.5 with {number} proposals, seed {seed}", mean)
            lab.check(f"recall at IoU 0.5 with {number} proposals, seed {seed}", recall)
        detector.proposals = learned_with
        own = scores[f"Faster R-CNN, {learned_with} proposals"]
        mean = judge(lab, own, history, seed)
        other = DetectionScores(detector.classes)
        reads = learned_rcnn(lab, crops, seed)
        other.update(reads.detect(scenes.x_test), scenes.objects_test)
        scores["R-CNN"] = other
        rcnn = other.mean_average_precision()
        lab.check(f"R-CNN of the same scenes: mAP at IoU 0.5, seed {seed}", rcnn)
        told = f"{mean:.4f} and {rcnn:.4f}"
        lab.holds(f"better than R-CNN, seed {seed}", mean > rcnn, told, full=True)
        if seed == lab.seed:
            draw(lab, detector, scenes, scores)


def draw(
    lab: Lab, detector: FasterRCNN, scenes: Scenes, scores: dict[str, DetectionScores]
) -> None:
    """Draw scenes with what is there, proposed and found, and curves of precision and recall."""
    left, right = lab.figure(15, 8).subfigures(1, 2, width_ratios=(9, 5))
    places = left.subplots(SHOWN // 2, 6).reshape(SHOWN, 3)
    shown = scenes.x_test[:SHOWN]
    found, proposed = detector.detect(shown, score=SURE), detector.proposed(shown)
    for k, (there, boxes, finds) in enumerate(places):
        truth, seen = scenes.objects_test[k], found[k]
        draw_boxes(there, shown[k], truth.boxes, truth.labels, "tab:green")
        draw_boxes(boxes, shown[k], proposed[k], [""] * len(proposed[k]), "tab:blue")
        texts = [f"{t}: {s:.2f}" for s, t in zip(seen.scores, seen.labels, strict=True)]
        draw_boxes(finds, shown[k], seen.boxes, texts, "tab:orange")
    left.suptitle(
        f"green: what is there; blue: proposals; orange: what was found, with scores from {SURE}"
    )
    curves, counts = right.subplots(2, 1)
    chosen = {name: each for name, each in scores.items() if "32" not in name}
    draw_precision_recall(curves, chosen, "IoU 0.5")
    rows = [scores[f"Faster R-CNN, {number} proposals"] for number in PROPOSALS]
    counts.plot(PROPOSALS, [each.mean_average_precision() for each in rows], ".-", label="mAP")
    counts.plot(PROPOSALS, [each.recall() for each in rows], ".--", label="recall")
    rcnn = scores["R-CNN"].mean_average_precision()
    counts.axhline(rcnn, color="gray", linestyle=":", label="mAP of R-CNN")
    counts.set(xscale="log", xticks=PROPOSALS, xticklabels=PROPOSALS, xlabel="proposals a scene")
    counts.set(ylabel="at IoU 0.5", ylim=(None, 1.01))
    counts.minorticks_off()
    counts.legend(loc="lower right")


if __name__ == "__main__":
    main(run, __doc__)
