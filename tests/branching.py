"""Networks that branch, for the tests of all rooms."""

import numpy as np

from xpnet.layers import (
    Affine,
    AuxiliaryHeads,
    BatchNorm,
    Concatenate,
    Convolution,
    GlobalAveragePool,
    Heads,
    HeadsWithLoss,
    MaxPool,
    PadShortcut,
    ReLU,
    Residual,
    Sequential,
    SigmoidWithLoss,
    SoftmaxWithLoss,
    Unpooled,
)
from xpnet.models import Network


def unit(channels, filters, size=3, *, rng, stride=1, eps=1e-5):
    """A convolution without bias, and batch normalization."""
    conv = Convolution(
        channels, filters, size, stride=stride, pad=size // 2, bias=False, uneven="drop", rng=rng
    )
    return conv, BatchNorm(filters, eps=eps)


def block(channels, filters, stride, *, rng, projected):
    """The basic block of a residual network, and the ReLU behind it."""
    body = {}
    body["conv1"], body["bn1"] = unit(channels, filters, stride=stride, rng=rng)
    body["relu"] = ReLU()
    body["conv2"], body["bn2"] = unit(filters, filters, rng=rng)
    shortcut = None
    if stride > 1 or channels != filters:
        shortcut = PadShortcut(stride, filters)
        if projected:
            conv, norm = unit(channels, filters, 1, stride=stride, rng=rng)
            shortcut = Sequential({"0": conv, "1": norm})
    return Residual(body, shortcut)


def stage(channels, filters, blocks, stride, *, rng, projected):
    layers = {}
    for k in range(blocks):
        first = k == 0
        layers[str(k)] = block(
            channels if first else filters,
            filters,
            stride if first else 1,
            rng=rng,
            projected=projected,
        )
        layers[f"relu{k}"] = ReLU()
    return Sequential(layers)


def resnet(widths, blocks, *, classes=10, channels=1, size=14, projected=False, rng=0, **options):
    """Residual network of He et al., in the style for small images."""
    rng = np.random.default_rng(rng)
    layers = {}
    layers["conv1"], layers["bn1"] = unit(channels, widths[0], rng=rng)
    layers["relu"] = ReLU()
    before = widths[0]
    for k, width in enumerate(widths, start=1):
        layers[f"layer{k}"] = stage(
            before, width, blocks, 1 if k == 1 else 2, rng=rng, projected=projected
        )
        before = width
    layers["avgpool"] = GlobalAveragePool()
    layers["fc"] = Affine(before, classes, rng=rng)
    return Network(layers, input_shape=(channels, size, size), **options)


def resnet20(**options):
    """ResNet-20 of width 8, with shortcuts that are padded with zeros."""
    return resnet((8, 16, 32), 3, **options)


def inception_module(channels, rng):
    def conv(channels, filters, size):
        return Convolution(channels, filters, size, pad=size // 2, rng=rng)

    return Concatenate(
        {
            "branch1": Sequential({"conv": conv(channels, 4, 1), "relu": ReLU()}),
            "branch2": Sequential(
                {"0": conv(channels, 3, 1), "relu0": ReLU(), "1": conv(3, 5, 3), "relu1": ReLU()}
            ),
            "branch3": Sequential(
                {"0": conv(channels, 2, 1), "relu0": ReLU(), "1": conv(2, 3, 5), "relu1": ReLU()}
            ),
            "branch4": Sequential(
                {"pool": MaxPool(3, pad=1), "conv": conv(channels, 4, 1), "relu": ReLU()}
            ),
        }
    )


def inception(*, size=8, rng=0, **options):
    """Two Inception modules behind each other."""
    rng = np.random.default_rng(rng)
    layers = {
        "conv": Convolution(1, 6, 3, pad=1, rng=rng),
        "relu": ReLU(),
        "3a": inception_module(6, rng),
        "3b": inception_module(16, rng),
        "avgpool": GlobalAveragePool(),
        "fc": Affine(16, 10, rng=rng),
    }
    return Network(layers, input_shape=(1, size, size), **options)


def unpooled(*, size=9, rng=0, **options):
    """An encoder and a decoder that unpools where the encoder pooled, of odd images."""
    rng = np.random.default_rng(rng)

    def conv(channels, filters):
        return Convolution(channels, filters, 3, pad=1, rng=rng)

    inner = {"enc2": conv(4, 6), "relu2": ReLU()}
    inner["deeper"] = Unpooled({"enc3": conv(6, 6), "relu3": ReLU()})
    inner |= {"dec2": conv(6, 4), "relu1": ReLU()}
    layers = {
        "enc1": conv(2, 4),
        "relu": ReLU(),
        "scope": Unpooled(inner),
        "dec1": conv(4, 3),
        "fc": Affine(3 * size * size, 10, rng=rng),
    }
    return Network(layers, input_shape=(2, size, size), **options)


def heads(*, rng=0, **options):
    """A body, a head that classifies and, half as heavy, one of probabilities."""
    rng = np.random.default_rng(rng)
    layers = {
        "conv": Convolution(1, 4, 3, pad=1, rng=rng),
        "relu": ReLU(),
        "heads": Heads(
            {
                "digit": Sequential({"pool": GlobalAveragePool(), "fc": Affine(4, 10, rng=rng)}),
                "parts": Sequential(
                    {"fc1": Affine(64, 5, rng=rng), "relu": ReLU(), "fc2": Affine(5, 3, rng=rng)}
                ),
            }
        ),
    }
    loss = HeadsWithLoss({"digit": SoftmaxWithLoss(), "parts": SigmoidWithLoss()}, {"parts": 0.5})
    return Network(layers, loss, input_shape=(1, 4, 4), **options)


def auxiliary(*, rng=0, **options):
    """A row with two heads, of which the lower one reads below a layer that the other is above."""
    rng = np.random.default_rng(rng)
    row = {
        "conv1": Convolution(1, 4, 3, pad=1, rng=rng),
        "relu1": ReLU(),
        "conv2": Convolution(4, 5, 3, pad=1, rng=rng),
        "norm": BatchNorm(5),
        "relu2": ReLU(),
        "fc": Affine(80, 10, rng=rng),
    }
    low = Sequential({"conv": Convolution(4, 2, 1, rng=rng), "fc": Affine(32, 10, rng=rng)})
    high = Sequential({"pool": GlobalAveragePool(), "fc": Affine(5, 10, rng=rng)})
    layers = AuxiliaryHeads(row, {"low": ("relu1", low), "high": ("relu2", high)})
    losses = {name: SoftmaxWithLoss() for name in ("main", "low", "high")}
    loss = HeadsWithLoss(losses, {"low": 0.3, "high": 0.5}, main="main")
    return Network(layers, loss, input_shape=(1, 4, 4), **options)


BRANCHING = {
    "residual": resnet20,
    "residual with projections": lambda **o: resnet((4, 6), 1, size=7, projected=True, **o),
    "inception": inception,
    "unpooled": unpooled,
    "heads": heads,
    "auxiliary heads": auxiliary,
}


def by_name(outputs):
    """Outputs of several heads as they are, and one output as "", for one loop over either."""
    return outputs if isinstance(outputs, dict) else {"": outputs}


def batch(network, n, seed=0):
    """Inputs and targets on the host, float64."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, *network.input_shape))
    if "parts" in network.output_shape:
        return x, {
            "digit": rng.integers(10, size=n),
            "parts": rng.integers(2, size=(n, 3)).astype("float64"),
        }
    classes = 10 if isinstance(network.output_shape, dict) else network.output_shape[0]
    return x, rng.integers(classes, size=n)
