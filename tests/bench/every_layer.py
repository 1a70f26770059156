"""A small network with every layer that PyTorch's and JAX's networks in the benchmark know."""

import numpy as np

from xpnet import (
    LRN,
    Affine,
    AveragePool,
    BatchNorm,
    Concatenate,
    Convolution,
    Dropout,
    GlobalAveragePool,
    Identity,
    MaxPool,
    Network,
    PadShortcut,
    ReLU,
    ReLU6,
    Rescale,
    Residual,
    Sequential,
    Sigmoid,
    SoftmaxWithLoss,
    Subsampling,
    Sum,
    Tanh,
    TransposedConvolution,
    Unpooled,
)


def network(*, rng, device="cpu", dtype="float32"):
    """Many kinds of convolution and pool, joins and activations, in no sensible order."""
    rng = np.random.default_rng(rng)
    steps = Convolution(
        1, 4, (3, 5), stride=(2, 1), pad=(1, 0, 2, 3), bias=False, uneven="drop", rng=rng
    )
    grouped = Convolution(4, 6, 3, stride=2, pad=1, groups=2, uneven="drop", rng=rng)
    down = Convolution(6, 4, 3, stride=2, pad=1, uneven="drop", bias=False, rng=rng)
    up = TransposedConvolution(4, 6, 3, stride=2, pad=1, output_pad=(1, 0), rng=rng)
    cut = TransposedConvolution(6, 6, (3, 2), pad=(0, 1, 2, 0), bias=False, rng=rng)
    depthwise = Convolution(6, 6, 3, pad=1, groups=6, bias=False, rng=rng)
    layers = {
        "rescale": Rescale(2.0, -1.0),
        "steps": steps,
        "bn": BatchNorm(4, eps=1e-3, momentum=0.8, running_ddof=1),
        "relu": ReLU(),
        "pool": MaxPool(3, stride=2, pad=1, uneven="ceil"),
        "branches": Concatenate(
            [Convolution(4, 2, 1, rng=rng), Sequential([MaxPool(3, pad=1), ReLU6()])]
        ),
        "mixed": Convolution(6, 4, 1, rng=rng),
        "lrn": LRN(size=3, alpha=0.1),
        "shortcut": Residual([grouped, Tanh()], PadShortcut(2, 6)),
        "dropout": Dropout(0.5, rng=rng),
        "unpooled": Unpooled([down, up]),
        "cut": cut,
        "cut_relu": ReLU(),
        "sum": Sum([depthwise, Identity(), Sigmoid()]),
        "mean": AveragePool(2, stride=1, pad=1),
        "ends": Concatenate([GlobalAveragePool(), Affine(6 * 5 * 8, 3, bias=False, rng=rng)]),
        "scores": Affine(9, 10, bias=False, rng=rng),
        "scores_bn": BatchNorm(10, running_ddof=1),
    }
    return Network(layers, input_shape=(1, 28, 28), device=device, dtype=dtype)


def subsampled(*, rng, device="cpu", dtype="float32"):
    """A network with a layer that the others do not have."""
    layers = {"S2": Subsampling(1), "fc": Affine(14 * 14, 10, rng=rng)}
    return Network(layers, input_shape=(1, 28, 28), device=device, dtype=dtype)


def frozen(*, rng, device="cpu", dtype="float32"):
    """A network that does not learn as its layers tell."""
    net = subsampled(rng=rng, device=device, dtype=dtype)
    net.freeze("fc.b")
    return net


def weighted(*, rng, device="cpu", dtype="float32"):
    """A network whose loss weighs classes."""
    loss = SoftmaxWithLoss(class_weights=[1.0] * 9 + [2.0])
    layers = [Affine(28 * 28, 10, rng=rng)]
    return Network(layers, loss, input_shape=(1, 28, 28), device=device, dtype=dtype)
