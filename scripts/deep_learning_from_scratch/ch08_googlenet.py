"""How much does a small GoogLeNet learn from 30,000 digits, each seen once?

    python scripts/deep_learning_from_scratch/ch08_googlenet.py --data mnist

A convolution and four Inception modules, in which filters of three sizes and a pool read the same
maps side by side; the mean of each map, dropout. 300 steps of Adam, lr 0.002, batches of 100, two
seeds. The guide is an independent run's, of seed 0. Drawn are the filters of the first layer.
"""

from _shared import learn_once
from xpnet import GoogLeNet
from xpnet.report import plots
from xpnet.report.experiment import Lab, main

FIRST = "conv1.conv.W"


def run(lab: Lab) -> None:
    """Train, measure and draw."""
    filters = learn_once(
        lab, GoogLeNet.small, 0.002, (0.93, 0.98), guide=0.9544, parameters=38_482, first=FIRST
    )
    plots.draw_filters(lab.figure(7, 3.5).subplots(1, 2), *filters)


if __name__ == "__main__":
    main(run, __doc__)
