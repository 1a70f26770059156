"""What are weights worth that were learned on other digits? (section 8.2.5)

    python scripts/deep_learning_from_scratch/ch08_transfer.py --data mnist

The modern LeNet is trained for two epochs on the digits 0 to 4, gets a new output layer and learns
5 to 9 from a few images of each, in 300 steps on batches of up to 50: once from scratch and once
from those weights, both by Adam with lr 0.001, and once the output layer alone, with lr 0.01. Three
seeds, each with other images; accuracies are of all test images of 5 to 9. Guides are the means of
three seeds of an independent run. At 10 images of each digit seeds differ by as much as these ways
do, so that the same is told of nine seeds, too.
"""

from dataclasses import replace
from itertools import islice

import numpy as np

from _shared import accuracy_of, endless, make_trainer, seeds
from xpnet import Adam, LeNet
from xpnet.data import Dataset
from xpnet.report.experiment import Lab, main

HEAD, BODY = "output", ("C1", "C3", "C5", "F6")
GUIDES = {  # images of each digit: from scratch, fine-tuned, body frozen
    1: (0.519, 0.535, 0.422),
    5: (0.766, 0.834, 0.736),
    10: (0.831, 0.884, 0.818),
    50: (0.936, 0.950, 0.887),
    100: (0.954, 0.964, 0.899),
}
SEEDS, MORE = 3, 9
CLOSER = 10
"""The number of images of which more seeds are told."""
LOWEST = {10: (0.86, 0.02), 100: (0.955, 0.0)}
"""Of the fine-tuned network, and of what it is ahead of the one from scratch."""
WAYS = ("from scratch", "fine-tuned", "body frozen")


def only(digits: Dataset, first: int) -> Dataset:
    """The five digits from `first` on, called 0 to 4."""
    train, test = ((t >= first) & (t < first + 5) for t in (digits.t_train, digits.t_test))
    return replace(
        digits,
        x_train=digits.x_train[train],
        t_train=digits.t_train[train] - first,
        x_test=digits.x_test[test],
        t_test=digits.t_test[test] - first,
    )


def some(digits: Dataset, each: int, seed: int) -> Dataset:
    """Choose so many training images of each digit."""
    rng = np.random.default_rng([seed, each])
    rows = [rng.choice(np.flatnonzero(digits.t_train == k), each, replace=False) for k in range(5)]
    chosen = np.concatenate(rows)
    return replace(digits, x_train=digits.x_train[chosen], t_train=digits.t_train[chosen])


def learned(lab: Lab, body: LeNet, few: Dataset, way: str, seed: int) -> float:
    """Learn from a few images; the accuracy on all test images."""
    network = LeNet.modern(classes=5, rng=seed + 100, device=lab.device)
    if way != "from scratch":
        network.take(body, except_=(HEAD,))
    if way == "body frozen":
        network.freeze(*BODY)
    trainer = make_trainer(
        lab,
        network,
        digits=few,
        batch_size=min(50, len(few.x_train)),
        optimizer=Adam(0.01 if way == "body frozen" else 0.001),
        seed=seed,
        sampling="shuffle",
    )
    for x, t in islice(endless(trainer.train_batches), lab.few(300, 2)):
        trainer.train_step(x, t)
    return accuracy_of(network, few.x_test, few.t_test)


def judge(lab: Lab, number: int, rows: list[list[float]]) -> None:
    """State how the three ways compare, from rows of accuracies, one a seed."""
    told = f"5 to 9 from {number} of each, mean of {len(rows)} seeds"
    scratch, tuned, frozen = np.mean(rows, axis=0)
    least, ahead = LOWEST.get(number, (None, None))
    for way, value, guide, low in zip(
        WAYS, (scratch, tuned, frozen), GUIDES[number], (None, least, None), strict=True
    ):
        lab.check(f"{told}: {way}", value, low, book=f"guide {guide}", full=True)
    if ahead is not None:
        what = f"{told}: fine-tuned less from scratch"
        lab.check(what, tuned - scratch, ahead, full=True)
    if number >= 10:
        order = f"{frozen:.4f}, {tuned:.4f}"
        lab.holds(f"{told}: body frozen is below fine-tuned", frozen < tuned, order, full=True)


def run(lab: Lab) -> None:
    """Train, transfer, compare and draw."""
    low, high = only(lab.digits, 0), only(lab.digits, 5)
    numbers = tuple(GUIDES)[: lab.few(5, 2)]
    found: dict[int, list[list[float]]] = {number: [] for number in numbers}
    for k, seed in enumerate(seeds(lab, MORE)):
        body = LeNet.modern(classes=5, rng=seed, device=lab.device)
        options = {"seed": seed, "sampling": "shuffle", "evaluate_sample_num_per_epoch": 1}
        make_trainer(lab, body, digits=low, epochs=2, optimizer=Adam(0.002), **options).train()
        if k < SEEDS:
            accuracy = accuracy_of(body, low.x_test, low.t_test)
            what = f"0 to 4: test accuracy, seed {seed}"
            lab.check(what, accuracy, book="guide 0.996 to 0.997")
        for number in numbers if k < SEEDS else (CLOSER,):
            few = some(high, number, seed)
            found[number].append([learned(lab, body, few, way, seed) for way in WAYS])

    for number, rows in found.items():
        judge(lab, number, rows[:SEEDS])
        if len(rows) > SEEDS:
            judge(lab, number, rows)

    axes = lab.figure(7, 5).subplots()
    for k, way in enumerate(WAYS):
        (line,) = axes.plot(numbers, [np.mean(found[n], axis=0)[k] for n in numbers], label=way)
        for number, rows in found.items():
            each = [row[k] for row in rows]
            axes.plot([number] * len(each), each, ".", color=line.get_color())
    axes.set(xscale="log", xticks=numbers, xticklabels=numbers, ylabel="accuracy on 5 to 9")
    axes.set(xlabel="images of each digit", title="lines: means; dots: each seed")
    axes.minorticks_off()
    axes.legend(loc="lower right")


if __name__ == "__main__":
    main(run, __doc__)
