"""How well does a small residual network read MNIST when it is trained in full?

    python scripts/deep_learning_from_scratch/ch08_resnet_trained.py --data mnist

ResNet-20 in the style for small images, with 8, 16 and 32 channels and shortcuts without
parameters, trained as its paper has it, in fewer steps: 10 epochs of momentum 0.9 on batches of
128, the rate 0.1 divided by 10 after a half and after three quarters of them, weight decay 1e-4,
the images framed by 2 zeros and cropped at random.
"""

from _shared import make_trainer, train_in_full
from xpnet import L2, Augmentation, CifarResNet, Momentum
from xpnet.report.experiment import Lab, main

BATCH = 128


def run(lab: Lab) -> None:
    """Train, measure and draw."""
    epochs, images = lab.few(10, 1), lab.few(60_000, 256)
    steps = epochs * -(-images // BATCH)

    def rate(step: int) -> float:
        return 0.1 if step < steps // 2 else 0.01 if step < steps * 3 // 4 else 0.001

    network = CifarResNet(20, width=8, input_shape=(1, 28, 28), rng=lab.seed, device=lab.device)
    network.penalty = L2(1e-4)
    trainer = make_trainer(
        lab,
        network,
        images=images,
        epochs=epochs,
        batch_size=BATCH,
        optimizer=Momentum(0.1),
        schedule=rate,
        augment=Augmentation(crop=2, seed=lab.seed),
        sampling="shuffle",
        evaluate_sample_num_per_epoch=1000,
        verbose=not lab.quick,
    )
    train_in_full(lab, trainer, "ResNet-20, 8 channels")


if __name__ == "__main__":
    main(run, __doc__)
