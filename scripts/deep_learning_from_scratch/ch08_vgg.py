"""How much does a small VGG learn from 30,000 digits, each seen once?

    python scripts/deep_learning_from_scratch/ch08_vgg.py --data mnist

Three stages of two 3 x 3 convolutions, with 16, 32 and 64 filters, a pool behind each; 128 units
with dropout. 300 steps of Adam, lr 0.001, batches of 100, two seeds. The guide is an independent
run's, of seed 0. Drawn are the filters of the first layer. `ch08_vgg_trained.py` trains it in full.
"""

from _shared import learn_once
from xpnet import VGG
from xpnet.report import plots
from xpnet.report.experiment import Lab, main

FIRST = "features.0.W"


def run(lab: Lab) -> None:
    """Train, measure and draw."""
    filters = learn_once(
        lab, VGG.small, 0.001, (0.965, 0.988), guide=0.9773, parameters=146_938, first=FIRST
    )
    plots.draw_filters(lab.figure(7, 3.5).subplots(1, 2), *filters)


if __name__ == "__main__":
    main(run, __doc__)
