"""How well does a small VGG read MNIST when it is trained in full?

    python scripts/deep_learning_from_scratch/ch08_vgg_trained.py --data mnist

Six convolutions of 3 x 3 with 16, 16, 32, 32, 64 and 64 filters, a pool behind every second, then
128 units with dropout 0.5: 12 epochs of Adam, batches of 100, the rate rising to 0.002 and falling
again in one cycle, the images turned by up to 10 degrees, resized by up to a tenth and moved by up
to 2 pixels.
"""

from _shared import make_trainer, train_in_full
from xpnet import VGG, Adam, Augmentation
from xpnet.optim.schedules import OneCycle
from xpnet.report.experiment import Lab, main

BATCH = 100


def run(lab: Lab) -> None:
    """Train, measure and draw."""
    epochs, images = lab.few(12, 1), lab.few(60_000, 500)
    network = VGG.small(rng=lab.seed, device=lab.device)
    trainer = make_trainer(
        lab,
        network,
        images=images,
        epochs=epochs,
        batch_size=BATCH,
        optimizer=Adam(0.002),
        schedule=OneCycle(0.002, epochs * images // BATCH),
        augment=Augmentation(rotate=10, scale=0.1, shift=2, seed=lab.seed),
        sampling="shuffle",
        evaluate_sample_num_per_epoch=1000,
        verbose=not lab.quick,
    )
    train_in_full(lab, trainer, "small VGG")


if __name__ == "__main__":
    main(run, __doc__)
