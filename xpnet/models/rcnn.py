"""R-CNN: a network that says what is in each of many boxes of a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpnet.arguments import checked
from xpnet.arrays import Device, to_numpy
from xpnet.arrays.values import in_parts
from xpnet.errors import ArgumentError
from xpnet.functions.activations import softmax
from xpnet.functions.boxes import iou, nms
from xpnet.functions.rois import roi_align
from xpnet.models.accuracy import check_finite
from xpnet.models.detections import Detections, Predicts, check_wanted, checked_objects
from xpnet.models.lenet import lenet_layers
from xpnet.models.network import Network
from xpnet.models.parts import image_shape
from xpnet.models.proposals import grey_pictures, proposals

SIDE = 28
"""Pixels a side that a box is warped to."""
CONTEXT = 1 / 12
"""What is seen of its surroundings: so much of its width at the left and at the right, and of its
height above and below."""
POSITIVE, NEGATIVE = 0.5, 0.3
"""A proposal shows the object that it has this much in common with, or more; less than that with
every object, and it shows the background."""
AT_A_TIME = 500
"""Boxes that are warped and looked at together."""
MOST = 2000
"""Boxes of a picture that are looked at, about as many as selective search proposes."""


class RCNN(Network):
    """Regions with CNN features: boxes are proposed, and each is read like a picture of its own.

        proposals -> each warped to 28 x 28 -> LeNet, as it is built today -> a score for each class
        and for the background, the first

    Girshick, Donahue, Darrell, Malik 2014, arXiv:1311.2524, with proposals for light digits on dark
    ground, `proposals`, in place of selective search, and softmax in place of a support vector
    machine for each class; boxes stay as they are proposed. It learns as any other network does,
    from what `training_crops` makes of pictures. Ten classes take 61,791 parameters.

    Parameters
    ----------
    classes : kinds of objects, numbered from 0; the background is none of them
    input_shape : (1, height, width) of pictures, which may have any size: what is read are boxes
    rng : NumPy generator or seed of initial weights
    device, dtype : as in `Network`
    """

    @checked
    def __init__(
        self,
        *,
        classes: int = 10,
        input_shape: Sequence[int] = (1, 64, 64),
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        if classes < 1:
            raise ArgumentError(f"RCNN needs at least one class of objects, got classes={classes}")
        if image_shape("RCNN", input_shape)[0] != 1:
            raise ArgumentError(f"RCNN reads grey pictures, (1, height, width), got {input_shape}")
        image = (1, SIDE, SIDE)
        layers = lenet_layers(
            image,
            classes + 1,
            "relu",
            "max",
            table=False,
            squash_convolutions=True,
            rng=np.random.default_rng(rng),
        )
        super().__init__(layers, input_shape=image, device=device, dtype=dtype)

    @property
    def classes(self) -> int:
        """Kinds of objects."""
        (outputs,) = self.output_shape
        return int(outputs) - 1

    @checked
    def detect(
        self,
        images: Any,
        *,
        score: float = 0.05,
        overlap: float = 0.3,
        most: int = 100,
        boxes: Sequence[Any] | None = None,
        computing: Mapping[str, Predicts] | None = None,
    ) -> list[Detections]:
        """Find objects: for each picture its boxes, the surest first; none is an answer, too.

        Parameters
        ----------
        images : (N, 1, H, W) or (N, H, W) of any size: pixels, uint8, or floats from 0 to 1.
            Objects are 10 to 34 pixels high, and light on dark.
        score : a box is of a class if it is more likely than this; it may be of several
        overlap : of two boxes of one class that overlap more, the surer one stays
        most : detections of a picture at most
        boxes : those that are looked at, (n, 4) for each picture; its `proposals` if None
        computing : what computes for "network", such as an engine; the network itself if None

        Raises
        ------
        ArgumentError
            They are no grey pictures, boxes are not theirs, there are more than 2,000 of a
            picture, or the network's scores are not finite.
        """
        check_wanted(score, overlap, most)
        pictures = grey_pictures(images)
        proposed = proposals(pictures) if boxes is None else _given(boxes, pictures)
        if (largest := max(map(len, proposed), default=0)) > MOST:
            raise ArgumentError(
                f"at most {MOST} boxes of a picture are looked at, and there are {largest} in one; "
                "make it smaller, smooth it, or give fewer boxes"
            )
        rois = _rois(proposed)
        shares = np.zeros((len(rois), self.classes), dtype=self.dtype)
        predict = (self if computing is None else computing["network"]).predict
        for part in in_parts(len(rois), AT_A_TIME):
            x = self.device.asarray(crops(pictures, rois[part], self.dtype))
            found = to_numpy(softmax(predict(x)))
            check_finite(found, part.start, "scores of proposals")
            shares[part] = found[:, 1:]
        ends = np.cumsum([len(each) for each in proposed])
        return [
            _chosen(each, shares[end - len(each) : end], score, overlap, int(most))
            for each, end in zip(proposed, ends, strict=True)
        ]


def _given(boxes: Sequence[Any], pictures: NDArray[Any]) -> list[NDArray[np.float64]]:
    """Boxes of pictures, as a user gives them."""
    several = isinstance(boxes, Sequence) and all(hasattr(each, "__len__") for each in boxes)
    if not several:
        raise ArgumentError(f"boxes are a list, with (n, 4) for each picture, got {boxes!r:.100}")
    some = [(each, np.zeros(len(each), dtype=np.int64)) for each in boxes]
    objects = checked_objects(some, len(pictures), pictures.shape, 1)
    return [each.boxes.astype(np.float64) for each in objects]


def _chosen(
    boxes: NDArray[Any], shares: NDArray[Any], score: float, overlap: float, most: int
) -> Detections:
    """What is left of a picture's boxes (n, 4), given the probabilities (n, classes)."""
    rows, labels = np.nonzero(shares > score)
    if not len(rows):
        return Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int64))
    boxes, scores = boxes[rows], shares[rows, labels]
    kept, there = nms(boxes, scores, overlap, most, classes=labels)
    kept = kept[there]
    return Detections(boxes[kept], scores[kept], labels[kept].astype(np.int64))


def crops(pictures: NDArray[Any], rois: NDArray[Any], dtype: str = "float32") -> NDArray[Any]:
    """What R-CNN sees of boxes: each with its context, warped to a square without regard to shape.

    Read bilinearly, with 0 beyond the picture's edge.

    Parameters
    ----------
    pictures : (N, H, W), pixels or floats from 0 to 1
    rois : (K, 5), the number of the picture and the box, by rising number

    Returns
    -------
    (K, 1, 28, 28), from 0 to 1
    """
    if not len(rois):
        return np.zeros((0, 1, SIDE, SIDE), dtype=dtype)
    first, last = int(rois[0, 0]), int(rois[-1, 0])
    scale = 255 if pictures.dtype == np.uint8 else 1
    x = np.asarray(pictures[first : last + 1], dtype=dtype) / np.asarray(scale, dtype=dtype)
    # Within a dark edge, beyond which all is as dark; so there are no others beyond it.
    x = np.pad(x, ((0, 0), (1, 1), (1, 1)))[:, np.newaxis]
    number, x1, y1, x2, y2 = rois.T
    across, down = CONTEXT * (x2 - x1), CONTEXT * (y2 - y1)
    corners = (number - first, x1 - across + 1, y1 - down + 1, x2 + across + 1, y2 + down + 1)
    return to_numpy(roi_align(x, np.stack(corners, axis=1), SIDE, 1.0, samples=1)[0])


def training_crops(
    images: Any, objects: Sequence[Any], classes: int = 10
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What R-CNN learns from: the crops of all proposals and objects, and what each shows.

    A proposal is of the class of the object that it has most in common with, if the IoU is 0.5 or
    more, and of the background if it is below 0.3; those between are left out.

    Parameters
    ----------
    images : as for `RCNN.detect`
    objects : for each picture its boxes and labels, such as `Objects`
    classes : of the objects

    Returns
    -------
    (M, 1, 28, 28), float32 from 0 to 1, and (M,): 0 for the background, else label + 1

    Raises
    ------
    ArgumentError
        They are no grey pictures, or the objects are not theirs.
    """
    pictures = grey_pictures(images)
    truth = checked_objects(objects, len(pictures), pictures.shape, classes)
    boxes, targets = [], []
    for proposed, (real, labels) in zip(proposals(pictures), truth, strict=True):
        shared = iou(proposed, real.astype(np.float64))
        best = shared.max(axis=1, initial=0.0)
        told = np.zeros(len(proposed), dtype=np.int64)
        if len(real):
            told = np.where(best >= POSITIVE, labels[shared.argmax(axis=1)] + 1, 0)
        used = (best >= POSITIVE) | (best < NEGATIVE)
        boxes.append(np.concatenate([proposed[used], real]))
        targets.append(np.concatenate([told[used], labels + 1]))
    rois = _rois(boxes)
    found = np.empty((len(rois), 1, SIDE, SIDE), dtype=np.float32)
    for part in in_parts(len(rois), AT_A_TIME):
        found[part] = crops(pictures, rois[part])
    return found, np.concatenate([np.zeros(0, dtype=np.int64), *targets])


def _rois(boxes: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """The boxes of several pictures as rows (picture, x1, y1, x2, y2)."""
    numbered = [np.insert(each, 0, k, axis=1) for k, each in enumerate(boxes)]
    return np.concatenate([np.zeros((0, 5)), *numbered])
