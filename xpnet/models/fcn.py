"""Fully convolutional networks: scores of each class for every pixel of an image."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Self

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Device, array_namespace
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import Pad
from xpnet.functions.init import shapes_alone
from xpnet.layers import (
    Affine,
    Convolution,
    Dropout,
    Layer,
    MaxPool,
    ReLU,
    Rescale,
    Sequential,
    Shape,
    SoftmaxWithLoss,
    Sum,
    TransposedConvolution,
    leaves,
)
from xpnet.models.network import Network
from xpnet.models.parts import image_shape, normed, numbered
from xpnet.models.vgg import CONVOLUTIONS, VGG, WIDTHS

IGNORED = 255
"""The label of pixels that belong to no class, or of which nobody can say to which."""

HIDDEN = 4096
"""Filters of fc6 and fc7, which are VGG's hidden units."""

SMALL = (16, 32, 64)
"""Filters of the small network's stages."""


class FCN(Network):
    """VGG-16 whose affine layers are convolutions, and what enlarges their scores again.

        stage1 to stage5 of VGG-16, each with its pool; fc6 of 7 x 7 and fc7 of 1 x 1, 4,096 filters
        each; score of 1 x 1, a filter for each class. From there, to the size of the image:

        FCN-32s:  up by 32
        FCN-16s:  up by 2, plus scores of stage4; up by 16
        FCN-8s:   up by 2, plus scores of stage4; up by 2, plus scores of stage3; up by 8

    Long, Shelhamer, Darrell 2015, "Fully convolutional networks for semantic segmentation",
    arXiv:1411.4038. Transposed convolutions enlarge. They begin as bilinear interpolation, and the
    last of them stays so, frozen; scores begin at 0. The paper frames images by 100 pixels and
    crops what comes out; here fc6 is framed by 3, and sizes are divisible by 32. For 21 classes
    FCN-32s has 134,346,581 parameters that learn, and 1,806,336 that do not.

    Parameters
    ----------
    stride : 32, 16 or 8, by which the last step enlarges
    classes : number of classes
    input_shape : channels, height and width of an image
    class_weights : of the loss, as in `SoftmaxWithLoss`; pixels labelled 255 count nothing
    rng : NumPy generator or seed of initial weights, which are He's, and of dropout
    device, dtype : as in `Network`

    Raises
    ------
    ArgumentError
        The image cannot be halved so often.
    """

    @checked
    def __init__(
        self,
        stride: int = 8,
        *,
        classes: int = 21,
        input_shape: Sequence[int] = (3, 224, 224),
        class_weights: Sequence[float] | None = None,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        if stride not in (8, 16, 32):
            raise ArgumentError(f"FCN enlarges by 32, 16 or 8 in its last step, got {stride}")
        image, rng = image_shape("FCN", input_shape), np.random.default_rng(rng)
        check_halved("FCN", image, len(WIDTHS))
        channels, stages = image[0], list[Layer]()
        for filters, count in zip(WIDTHS, CONVOLUTIONS[16], strict=True):
            found = list[Layer]()
            for _ in range(count):
                found += [Convolution(channels, filters, 3, pad=1, rng=rng), ReLU()]
                channels = filters
            stages.append(Sequential(numbered([*found, MaxPool(2, stride=2)])))
        top: dict[str, Layer] = {
            "fc6": Convolution(channels, HIDDEN, 7, pad=3, rng=rng),
            "relu6": ReLU(),
            "drop6": Dropout(0.5, inverted=True, rng=rng),
            "fc7": Convolution(HIDDEN, HIDDEN, 1, rng=rng),
            "relu7": ReLU(),
            "drop7": Dropout(0.5, inverted=True, rng=rng),
            "score": Convolution(HIDDEN, classes, 1, std=0.0),
        }
        scores = {
            k: Convolution(WIDTHS[k - 1], classes, 1, std=0.0) for k in (3, 4) if 2**k >= stride
        }
        super().__init__(
            _enlarged(stages, top, scores, classes),
            SoftmaxWithLoss(ignore=IGNORED, class_weights=class_weights),
            input_shape=image,
            device=device,
            dtype=dtype,
        )
        self.freeze(f"up{stride}")

    @classmethod
    @checked
    def small(
        cls,
        skips: bool = True,
        *,
        classes: int = 6,
        input_shape: Sequence[int] = (3, 48, 64),
        class_weights: Sequence[float] | None = None,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> Self:
        """One for small images, with BatchNorm: 111,714 parameters, or 118,902 without skips.

        Pixels from 0 to 1 become -0.5 to 0.5. Three stages follow, of two convolutions and a pool,
        with 16, 32 and 64 filters; one convolution more, the scores, and three steps up by 2, with
        the scores of stage2 and stage1 between them, or without skips one step up by 8. All of it
        learns. Sizes are divisible by 8; other arguments are those of `FCN`.
        """
        image, rng = image_shape("FCN.small", input_shape), np.random.default_rng(rng)
        check_halved("FCN.small", image, len(SMALL))
        channels, stages = image[0], list[Layer]()
        for filters in SMALL:
            found = [*normed(channels, filters, rng=rng), *normed(filters, filters, rng=rng)]
            stages.append(Sequential(numbered([*found, MaxPool(2, stride=2)])))
            channels = filters
        top: dict[str, Layer] = {
            "top": Sequential(numbered(normed(channels, channels, rng=rng))),
            "score": Convolution(channels, classes, 1, rng=rng),
        }
        scores = {k: Convolution(SMALL[k - 1], classes, 1, rng=rng) for k in (1, 2) if skips}
        network = cls.__new__(cls)
        Network.__init__(
            network,
            {"rescale": Rescale(1.0, -0.5)} | _enlarged(stages, top, scores, classes),
            SoftmaxWithLoss(ignore=IGNORED, class_weights=class_weights),
            input_shape=image,
            device=device,
            dtype=dtype,
        )
        return network

    @checked
    def take_vgg(self, vgg: VGG) -> None:
        """Take what a VGG-16 has learned, but for its scores: affine layers become convolutions.

        So the paper begins. Images have the same channels; those of the VGG have 224 x 224 pixels,
        of which its last pool leaves 7 x 7.

        Raises
        ------
        ArgumentError
            One of the two is another network; nothing is taken then.
        """
        own, theirs = (
            [layer for _, layer in leaves(net._body) if isinstance(layer, Convolution)]
            for net in (self, vgg)
        )
        affine = [layer for _, layer in leaves(vgg._body) if isinstance(layer, Affine)]
        units = (WIDTHS[-1], 7, 7), (HIDDEN, 1, 1)
        shapes, wanted = ([layer.params["W"].shape for layer in row[:13]] for row in (own, theirs))
        shapes += [(prod(unit), HIDDEN) for unit in units]
        wanted += [layer.params["W"].shape for layer in affine[:-1]]
        if shapes != wanted or len(vgg.params) != 32:  # more where there is BatchNorm
            raise ArgumentError(
                "FCN takes what a VGG-16 without BatchNorm has learned from 224 x 224 pixels, with "
                f"the filters of its own stages, which are not small, got {vgg!r} for {self!r}"
            )
        theirs += [as_convolution(*pair) for pair in zip(affine, units, strict=False)]
        for layer, other in zip(own, theirs, strict=False):
            for key, array in layer.params.items():
                array[...] = self.device.asarray(other.params[key], dtype=self.dtype)


@checked
def as_convolution(affine: Affine, shape: Shape, *, pad: Pad = 0) -> Convolution:
    """An affine layer over images as the convolution that puts out the same, over any larger ones.

        W[f, c, y, x] = W_affine[(c H + y) W + x, f]

    An image of the given shape has one place for such a window; a larger one has many, and at each
    of them is what the affine layer puts out for that part of the image. Saitoh, "Deep Learning
    from Scratch", section 8.4.2: 100 units on 32 x 10 x 10 are 100 filters of 32 x 10 x 10.

    Parameters
    ----------
    affine : not altered, and its numbers are copied
    shape : (C, H, W) of the images that the affine layer takes
    pad : as in `Convolution`

    Raises
    ------
    ArgumentError
        The affine layer takes another number of inputs than such an image has.
    """
    W = affine.params["W"]
    n_in, n_out = W.shape
    if len(shape) != 3 or prod(shape) != n_in:
        raise ArgumentError(
            f"an affine layer of {n_in} inputs takes images (C, H, W) of as many numbers, got "
            f"{tuple(shape)}"
        )
    channels, *window = shape
    with shapes_alone():
        conv = Convolution(
            channels, n_out, (window[0], window[1]), pad=pad, bias="b" in affine.params
        )
    xp = array_namespace(W)
    conv.params["W"] = xp.asarray(xp.reshape(W.T, (n_out, *shape)), copy=True)
    if "b" in affine.params:
        conv.params["b"] = xp.asarray(affine.params["b"], copy=True)
    return conv


def check_halved(network: str, image: Shape, times: int) -> None:
    """Refuse images whose height or width cannot be halved so often without a rest.

    Raises
    ------
    ArgumentError
        One of them cannot.
    """
    _, height, width = image
    least = 2**times
    if height % least or width % least:
        near = " x ".join(str(max(1, round(size / least)) * least) for size in (height, width))
        raise ArgumentError(
            f"{network} halves images {times} times and enlarges them again: height and width must "
            f"be divisible by {least}, got {height} x {width}; use {near}, for instance"
        )


def _enlarged(
    stages: Sequence[Layer],
    top: Mapping[str, Layer],
    scores: Mapping[int, Layer],
    classes: int,
) -> dict[str, Layer]:
    """Stages that each halve the image, scores, and the way up to the size of the image.

    Parameters
    ----------
    top : what stands on the last stage and puts out its scores
    scores : what puts out those of other stages by their numbers, from 1, to be added on the way
    """
    found, factor = dict(top), 1
    for k in range(len(stages), 0, -1):
        if k in scores:
            found[f"up{factor}"] = TransposedConvolution.bilinear(classes, factor)
            found = {f"with{k}": Sum({"deep": Sequential(found), f"score{k}": scores[k]})}
            factor = 1
        found = {f"stage{k}": stages[k - 1]} | found
        factor *= 2
    return found | {f"up{factor}": TransposedConvolution.bilinear(classes, factor)}
