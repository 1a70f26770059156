"""What the two networks of a Faster R-CNN should have said of pictures, and how far they are off.

Everything is of fixed shape, with masks for what counts, so that nothing is read back from a
device. Objects are rows (x1, y1, x2, y2, class); a class below 0 says that there is none.
"""

from collections.abc import Mapping
from typing import NamedTuple

from xpnet.arrays import Array, array_namespace
from xpnet.functions.boxes import encode, iou
from xpnet.functions.losses import sigmoid_terms, smooth_l1, softmax_loss, weighed
from xpnet.functions.sampling import drawn, first_of, taken
from xpnet.models.detections import NOTHING, Computes
from xpnet.models.faster_rcnn import WEIGHTS, FasterRCNN

ANCHORS, HOLDING = 32, 16
"""Anchors of a picture that are learned from, and those of them at most that hold an object."""
INSIDE, OUTSIDE = 0.6, 0.3
"""Overlaps from which an anchor holds an object, and below which it holds none."""
BOXES, FILLED = 16, 8
"""Boxes of a picture that the second network learns from, and those at most with an object."""
HALF = 0.5
"""Overlap from which a box holds an object; what overlaps less is background."""
BETA, BETA_HEAD = 1 / 9, 1.0
"""Where the losses of the deltas turn from squares to lines."""


class OfAnchors(NamedTuple):
    """What the first network learns from, for each anchor."""

    drawn: Array
    """(N, anchors), bool; the objectness of these is learned."""
    holding: Array
    """(N, anchors), bool; those of them that hold an object, whose deltas are learned."""
    deltas: Array
    """(N, anchors, 4), from the anchors to the objects that they overlap most."""


class OfBoxes(NamedTuple):
    """What the second network learns from."""

    boxes: Array
    """(N, 16, 4); no gradient goes there."""
    there: Array
    """(N, 16), bool; the others are there to fill the array."""
    filled: Array
    """(N, 16), bool; those with an object, whose deltas are learned."""
    classes: Array
    """(N, 16), int64, 0 for the background, 1 for class 0 and so on."""
    deltas: Array
    """(N, 16, 4), from the boxes to their objects, times `WEIGHTS`."""


def draws_of(detector: FasterRCNN, objects: Array) -> tuple[int, int]:
    """The numbers that are drawn for a batch: for each picture, its anchors and its boxes."""
    n, most, _ = objects.shape
    return n, detector.anchors.shape[0] + detector.proposals + most


def of_anchors(detector: FasterRCNN, objects: Array, draws: Array) -> OfAnchors:
    """Match anchors with objects, and draw those that are learned from.

    Parameters
    ----------
    draws : (N, anchors), independent and even from 0 to 1
    """
    xp, anchors = array_namespace(objects), detector.anchors
    boxes, there = _boxes(objects)
    overlaps = iou(anchors, boxes) * xp.astype(there, boxes.dtype)[:, None, :]
    highest = xp.max(overlaps, axis=2)
    best = (overlaps == xp.max(overlaps, axis=1, keepdims=True)) & (overlaps > 0)
    holding = (highest >= INSIDE) | xp.any(best, axis=2)
    empty = (highest < OUTSIDE) & ~holding
    holding = drawn(holding, draws, HOLDING)
    count = xp.sum(xp.astype(holding, xp.int64), axis=1)
    empty = drawn(empty, draws, ANCHORS - count)
    own = taken(boxes, xp.argmax(overlaps, axis=2))
    return OfAnchors(holding | empty, holding, encode(own, anchors))


def of_boxes(
    detector: FasterRCNN, proposed: Array, valid: Array, objects: Array, draws: Array
) -> OfBoxes:
    """Draw the boxes that the second network learns from, of the proposals and the true boxes.

    Parameters
    ----------
    proposed, valid : (N, proposals, 4) and which of them there are
    draws : (N, proposals + objects), independent and even from 0 to 1
    """
    xp = array_namespace(objects)
    boxes, there = _boxes(objects)
    every, valid = xp.concat([proposed, boxes], axis=1), xp.concat([valid, there], axis=1)
    overlaps = iou(every, boxes) * xp.astype(there, boxes.dtype)[:, None, :]
    highest, own = xp.max(overlaps, axis=2), xp.argmax(overlaps, axis=2)
    filled = drawn(valid & (highest >= HALF), draws, FILLED)
    count = xp.sum(xp.astype(filled, xp.int64), axis=1)
    empty = drawn(valid & (highest < HALF), draws, BOXES - count)
    places, there = first_of(filled, empty, count=BOXES)
    every, own, filled = taken(every, places), taken(own, places), taken(filled, places)
    classes = xp.astype(taken(objects[:, :, 4], own), xp.int64) + 1
    return OfBoxes(
        every,
        there,
        filled,
        xp.where(filled, classes, 0),
        encode(taken(boxes, own), every, WEIGHTS),
    )


def anchor_losses(z: Array, d: Array, wanted: OfAnchors) -> tuple[dict[str, Array], Array, Array]:
    """The losses of objectness z, (N, anchors), and deltas d, (N, anchors, 4), and gradients.

    rpn_objectness = 1 / (32 N) sum over the drawn anchors of the sigmoid's cross-entropy
    rpn_boxes      = 1 / (32 N) sum over those with an object of smooth L1 of d - deltas
    """
    xp, count = array_namespace(z), ANCHORS * z.shape[0]
    terms, slopes = sigmoid_terms(z, xp.astype(wanted.holding, z.dtype))
    drawn = xp.astype(wanted.drawn, z.dtype) / count
    values, slopes_of = smooth_l1(d - wanted.deltas, BETA)
    holding = xp.astype(wanted.holding, z.dtype)[:, :, None] / count
    losses = {"rpn_objectness": xp.sum(terms * drawn), "rpn_boxes": xp.sum(values * holding)}
    return losses, slopes * drawn, slopes_of * holding


def box_losses(
    scores: Array, d: Array, wanted: OfBoxes
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The losses of scores (N 16, classes + 1) and deltas (N 16, 4), and gradients by name.

    class = 1 / M sum over the M drawn boxes of the softmax's cross-entropy
    boxes = 1 / M sum over those with an object of smooth L1 of d - deltas
    """
    xp = array_namespace(scores)
    there = xp.reshape(wanted.there, (-1,))
    labels = xp.where(there, xp.reshape(wanted.classes, (-1,)), NOTHING)
    loss, slopes = softmax_loss(scores, weighed(labels, scores, ignore=NOTHING))
    count = xp.clip(xp.sum(xp.astype(there, scores.dtype)), min=1.0)
    values, slopes_of = smooth_l1(d - xp.reshape(wanted.deltas, (-1, 4)), BETA_HEAD)
    filled = xp.astype(xp.reshape(wanted.filled, (-1, 1)), scores.dtype) / count
    losses = {"class": loss, "boxes": xp.sum(values * filled)}
    return losses, {"scores": slopes, "deltas": slopes_of * filled}


def joined(
    detector: FasterRCNN,
    computing: Mapping[str, Computes],
    x: Array,
    objects: Array,
    draws: Array,
    boxes: OfBoxes | None = None,
) -> tuple[dict[str, Array], dict[str, Mapping[str, Array]]]:
    """One training pass: the losses, and the gradients of each network's parameters.

    The second network's gradient by the features is added to what the first one's own losses give.

    Parameters
    ----------
    draws : as `draws_of` has their shape, even from 0 to 1
    boxes : what the second network learns from, if it is not to be drawn here
    """
    count = detector.anchors.shape[0]
    outputs, rpn_back = computing["rpn"].forward(x, train=True)
    z, d = detector.by_anchor(outputs)
    losses, dz, dd = anchor_losses(z, d, of_anchors(detector, objects, draws[:, :count]))
    if boxes is None:
        boxes = of_boxes(detector, *detector.propose(z, d), objects, draws[:, count:])
    pooled, pool_back = detector.pool(outputs["features"], boxes.boxes)
    answers, head_back = computing["head"].forward(pooled, train=True)
    more, slopes = box_losses(answers["scores"], answers["deltas"], boxes)
    d_pooled, of_head = head_back(slopes)
    d_outputs = {"features": pool_back(d_pooled), **detector.by_place(dz, dd)}
    _, of_rpn = rpn_back(d_outputs, need_dx=False)
    losses |= more
    total = losses["rpn_objectness"] + losses["rpn_boxes"] + losses["class"] + losses["boxes"]
    return {"loss": total, **losses}, {"rpn": of_rpn, "head": of_head}


def _boxes(objects: Array) -> tuple[Array, Array]:
    """Boxes (N, M, 4), and which there are; for the others one of a pixel, which has logarithms."""
    xp = array_namespace(objects)
    there = objects[:, :, 4] >= 0
    pixel = xp.asarray([0.0, 0.0, 1.0, 1.0], dtype=objects.dtype, device=objects.device)
    return xp.where(there[:, :, None], objects[:, :, :4], pixel), there
