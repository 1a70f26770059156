"""Faster R-CNN: a network that proposes boxes, and one that says what is in them."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, Device, array_namespace, get_device, to_numpy
from xpnet.arrays.values import in_parts
from xpnet.errors import ArgumentError
from xpnet.functions.activations import softmax
from xpnet.functions.boxes import anchors, clip, decode, nms
from xpnet.functions.init import shapes_alone
from xpnet.functions.rois import roi_align
from xpnet.functions.sampling import taken
from xpnet.layers import (
    Affine,
    Convolution,
    Heads,
    Identity,
    Layer,
    MaxPool,
    ReLU,
    Sequential,
)
from xpnet.models.detections import Detections, Predicts, check_wanted, checked_pictures
from xpnet.models.network import Network
from xpnet.models.parts import image_shape, norm
from xpnet.models.together import hand_over, save_networks

WIDTHS = (16, 32, 64, 64, 64)
"""Filters of the backbone's convolutions; a pool follows the second and the fourth."""
STRIDE = 4
"""Pixels between neighbouring places of the map that both networks read."""
WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""What the second network's deltas are multiplied by: 1 / (0.1, 0.1, 0.2, 0.2)."""
OVERLAP = 0.7
"""Of two proposals that overlap more, the likelier one stays."""
POOLED = 5
"""Rows and columns that each box is pooled to."""
UNITS = 128
"""Of the second network's hidden layer."""
NEW = 0.01
"""Standard deviation of the initial weights of what is not the backbone's."""
MOST = 2**22
"""Anchors that a picture may have: they take 100 MB while they are made."""
AT_A_TIME = 50
"""Pictures that are looked at together."""


class Proposals(NamedTuple):
    """Boxes in which something may be, of a fixed number, and which of them there are."""

    boxes: Array
    """(N, count, 4), the most likely first."""
    valid: Array
    """(N, count), bool; what is not valid is a box all the same, and stands for nothing."""


class FasterRCNN:
    """Two networks: the first proposes boxes, the second tells what is in each and mends it.

        rpn:   conv 3 x 3, BatchNorm, ReLU with 16, 32, pool, 64, 64, pool, 64 maps: the features
               conv 3 x 3 with 64, ReLU; 1 x 1 to A objectness scores and to 4 A deltas
        head:  RoI align of the features to 5 x 5, Affine 1600-128, ReLU; Affine to a score of each
               class and of the background, and to 4 deltas

    At every place of the features, which are 4 pixels apart, stand A anchors, each size with each
    ratio of height to width. Objectness says whether something is there, deltas what box it has.
    The best `candidates` become boxes; of those that overlap by more than 0.7 the better one stays,
    and the first `proposals` go to the second network. Its deltas mend the boxes, whatever their
    class is. One picture of 1 x 64 x 64 and ten classes take 343,133 parameters.

    Ren, He, Girshick, Sun 2015, "Faster R-CNN: towards real-time object detection with region
    proposal networks", arXiv:1506.01497, with a small backbone in place of VGG's, RoI align (He et
    al. 2017, arXiv:1703.06870) in place of RoI pooling, and deltas that are the same for all
    classes. Weights of the backbone start as He's rule has them, all others at N(0, 0.01).

    Parameters
    ----------
    classes : kinds of objects, numbered from 0; the background is none of them
    input_shape : channels, height and width of a picture; sides are multiples of 4
    sizes, ratios : of the anchors: square roots of areas in pixels, heights / widths
    candidates, proposals : how many boxes of a picture are looked at, and how many are left
    rng : NumPy generator or seed of initial weights
    device, dtype : as in `Network`

    Attributes
    ----------
    networks : "rpn", whose outputs are features, rpn.objectness and rpn.deltas; and "head", whose
        outputs are scores, of which the first is the background's, and deltas
    anchors : (places A, 4): rows, columns, ratios, sizes
    """

    @checked
    def __init__(
        self,
        *,
        classes: int = 10,
        input_shape: Sequence[int] = (1, 64, 64),
        sizes: Sequence[float] = (14.0, 20.0),
        ratios: Sequence[float] = (1.0, 1.5, 2.5),
        candidates: int = 60,
        proposals: int = 16,
        rng: np.random.Generator | int | None = None,
        device: str | Device = "cpu",
        dtype: str = "float32",
    ) -> None:
        image, rng = image_shape("FasterRCNN", input_shape), np.random.default_rng(rng)
        if any(side % STRIDE for side in image[1:]):
            raise ArgumentError(
                f"FasterRCNN needs pictures whose sides are multiples of {STRIDE}, got "
                f"{image[1]} x {image[2]}; add a margin"
            )
        if np.size(sizes) * np.size(ratios) * image[1] * image[2] > MOST * STRIDE**2:
            raise ArgumentError(
                f"FasterRCNN has up to {MOST} anchors, and pictures of {image[1]} x {image[2]} "
                "would have more; scale them"
            )
        if min(classes, candidates, proposals) < 1:
            raise ArgumentError(
                "FasterRCNN needs at least one class, candidate and proposal, got "
                f"classes={classes}, candidates={candidates}, proposals={proposals}"
            )
        self.classes, self.input_shape = int(classes), image
        self.device, self.dtype = get_device(device), dtype
        rows, columns = (side // STRIDE for side in image[1:])
        self.anchors = self.device.asarray(
            anchors(rows, columns, STRIDE, sizes, ratios), dtype=dtype
        )
        self.sizes, self.ratios = tuple(map(float, sizes)), tuple(map(float, ratios))
        self.candidates = min(int(candidates), self.anchors.shape[0])
        self.proposals = min(int(proposals), self.candidates)
        placed: dict[str, Any] = {"device": self.device, "dtype": dtype}
        features = (WIDTHS[-1], rows, columns)
        per_place = len(self.sizes) * len(self.ratios)
        self.networks = {
            "rpn": Network(_rpn(image[0], per_place, rng), input_shape=image, **placed),
            "head": Network(
                _head(classes, rng), input_shape=(features[0], POOLED, POOLED), **placed
            ),
        }

    @classmethod
    def of(cls, networks: Mapping[str, Network], **arguments: Any) -> Self:
        """A detector of two networks that are there already, such as those of a file.

        Parameters
        ----------
        arguments : as for the constructor, but for rng, device and dtype

        Raises
        ------
        ArgumentError
            The networks are others than these arguments make.
        """
        given = networks.get("rpn")
        shape = tuple(arguments.get("input_shape", getattr(given, "input_shape", ())))
        if given is None or given.input_shape != shape:
            raise ArgumentError(
                f"networks called rpn and head, for pictures of {shape}, are needed, got {networks}"
            )
        placed: dict[str, Any] = {"device": given.device, "dtype": given.dtype}
        with shapes_alone():
            detector = cls(**arguments, **placed)
        hand_over(detector, networks, arguments)
        return detector

    def arguments(self) -> dict[str, Any]:
        """Classes, shape of a picture, anchors, numbers of boxes, and dtype."""
        return {
            "classes": self.classes,
            "input_shape": self.input_shape,
            "sizes": self.sizes,
            "ratios": self.ratios,
            "candidates": self.candidates,
            "proposals": self.proposals,
            "dtype": self.dtype,
        }

    def __repr__(self) -> str:
        return (
            f"FasterRCNN({self.input_shape}, {self.classes} classes, {self.count} parameters, "
            f"{self.dtype} on {self.device.name})"
        )

    @property
    def count(self) -> int:
        """The numbers that both networks learn."""
        return sum(network.params.count for network in self.networks.values())

    def by_anchor(self, outputs: Mapping[str, Array]) -> tuple[Array, Array]:
        """Objectness (N, anchors) and deltas (N, anchors, 4), of maps (N, A, H, W), (N, 4 A, H, W).

        At each place the deltas of an anchor stand together: a x, a y, a width, a height, and so on
        for the next.
        """
        z, d = outputs["rpn.objectness"], outputs["rpn.deltas"]
        xp, (n, per_place, rows, columns) = array_namespace(z), z.shape
        d = xp.reshape(d, (n, per_place, 4, rows, columns))
        return (
            xp.reshape(xp.permute_dims(z, (0, 2, 3, 1)), (n, -1)),
            xp.reshape(xp.permute_dims(d, (0, 3, 4, 1, 2)), (n, -1, 4)),
        )

    def by_place(self, z: Array, d: Array) -> dict[str, Array]:
        """The way back of `by_anchor`, for gradients."""
        xp, n = array_namespace(z), z.shape[0]
        rows, columns = (side // STRIDE for side in self.input_shape[1:])
        z = xp.reshape(z, (n, rows, columns, -1))
        d = xp.reshape(d, (n, rows, columns, -1, 4))
        maps = xp.permute_dims(d, (0, 3, 4, 1, 2))
        return {
            "rpn.objectness": xp.permute_dims(z, (0, 3, 1, 2)),
            "rpn.deltas": xp.reshape(maps, (n, -1, rows, columns)),
        }

    def propose(self, objectness: Array, deltas: Array) -> Proposals:
        """The boxes that the first network proposes; no gradient goes through them.

        Parameters
        ----------
        objectness, deltas : (N, anchors) and (N, anchors, 4)
        """
        xp, n = array_namespace(objectness), objectness.shape[0]
        best = xp.argsort(-objectness, axis=1, stable=True)[:, : self.candidates]
        anchors = xp.reshape(xp.take(self.anchors, _flat(best), axis=0), (n, -1, 4))
        boxes = self._within(decode(taken(deltas, best), anchors))
        kept, valid = nms(boxes, taken(objectness, best), OVERLAP, self.proposals)
        boxes = taken(boxes, kept)
        valid = valid & xp.all(boxes[..., 2:] > boxes[..., :2], axis=-1)
        return Proposals(xp.where(valid[..., None], boxes, self.anchors[0, :]), valid)

    def pool(self, features: Array, boxes: Array) -> Any:
        """Features of each box, (N K, C, 5, 5), of boxes (N, K, 4), and the way back to features.

        All boxes of a picture, of the next, and so on.
        """
        xp, (n, k, _) = array_namespace(features), boxes.shape
        picture = xp.arange(n, dtype=boxes.dtype, device=boxes.device)[:, None, None]
        rois = xp.concat([xp.broadcast_to(picture, (n, k, 1)), boxes], axis=2)
        return roi_align(features, xp.reshape(rois, (-1, 5)), POOLED, 1 / STRIDE)

    def mend(self, boxes: Array, deltas: Array) -> Array:
        """The boxes (..., 4) moved by what the second network found, within the picture."""
        return self._within(decode(deltas, boxes, WEIGHTS))

    def _within(self, boxes: Array) -> Array:
        return clip(boxes, *self.input_shape[1:])

    @checked
    def detect(
        self,
        images: Any,
        *,
        score: float = 0.05,
        overlap: float = 0.3,
        most: int = 100,
        computing: Mapping[str, Predicts] | None = None,
    ) -> list[Detections]:
        """Find objects: for each picture its boxes, the surest first; none is an answer, too.

        Parameters
        ----------
        images : (N, C, H, W): pixels, uint8, or floats from 0 to 1
        score : a box is of a class if it is more likely than this; it may be of several
        overlap : of two boxes of one class that overlap more, the surer one stays
        most : detections of a picture at most
        computing : what computes for "rpn" and "head", such as engines; the networks if None

        Raises
        ------
        ArgumentError
            The pictures are of another shape, a number is out of range, or what a network puts out
            is not finite.
        """
        check_wanted(score, overlap, most)
        computing, found = computing or self.networks, list[Detections]()
        for each in self._proposing(images, computing):
            found += self._read(*each, computing["head"], score, overlap, most)
        return found

    @checked
    def proposed(
        self, images: Any, *, computing: Mapping[str, Predicts] | None = None
    ) -> list[np.ndarray]:
        """The boxes that the first network proposes of each picture, (n, 4), the likeliest first.

        Parameters
        ----------
        images, computing : as for `detect`
        """
        found: list[np.ndarray] = []
        for _, proposed in self._proposing(images, computing or self.networks):
            found += _kept(proposed)
        return found

    def found_and_proposed(
        self, images: Any, computing: Mapping[str, Predicts] | None = None
    ) -> tuple[list[Detections], list[np.ndarray]]:
        """What `detect` finds by default, and what was `proposed`, looking at each picture once."""
        computing = computing or self.networks
        found, boxes = list[Detections](), list[np.ndarray]()
        for outputs, proposed in self._proposing(images, computing):
            found += self._read(outputs, proposed, computing["head"])
            boxes += _kept(proposed)
        return found, boxes

    def checked_images(self, images: Any) -> Array:
        """Pictures (N, C, H, W) as they were given, on the host or on the device.

        Raises
        ------
        ArgumentError
            They are of another shape, or neither pixels nor floats from 0 to 1.
        """
        remedy = "scale them, make a detector for their size with for_images"
        return checked_pictures(images, self.input_shape, remedy)

    def _proposing(
        self, images: Any, computing: Mapping[str, Predicts]
    ) -> Iterator[tuple[Mapping[str, Array], Proposals]]:
        """What the first network puts out, and what it proposes, for some pictures at a time."""
        images = self.checked_images(images)
        for part in in_parts(images.shape[0], AT_A_TIME):
            x = self.networks["rpn"].place(images[part, ...])
            outputs = _finite(computing["rpn"].predict(x))
            yield outputs, self.propose(*self.by_anchor(outputs))

    def _read(
        self,
        outputs: Mapping[str, Array],
        proposed: Proposals,
        head: Predicts,
        score: float = 0.05,
        overlap: float = 0.3,
        most: int = 100,
    ) -> list[Detections]:
        """What the second network says of proposals, one picture after the other."""
        pooled, _ = self.pool(outputs["features"], proposed.boxes)
        answers = _finite(head.predict(pooled))
        xp, n = array_namespace(pooled), proposed.boxes.shape[0]
        shares = xp.reshape(softmax(answers["scores"])[:, 1:], (n, -1, self.classes))
        boxes = self.mend(proposed.boxes, xp.reshape(answers["deltas"], proposed.boxes.shape))
        inside = xp.all(boxes[..., 2:] > boxes[..., :2], axis=-1)  # what is left of a box
        sure = (shares > score) & (proposed.valid & inside)[:, :, None]
        # Every class of every proposal by itself, with the same box.
        shape, labels = shares.shape, xp.arange(self.classes, dtype=xp.int64, device=boxes.device)
        labels = xp.reshape(xp.broadcast_to(labels, shape), (n, -1))
        boxes = xp.reshape(xp.broadcast_to(boxes[:, :, None, :], (*shape, 4)), (n, -1, 4))
        shares, sure = (xp.reshape(each, (n, -1)) for each in (shares, sure))
        kept, there = nms(boxes, shares, overlap, min(most, shares.shape[1]), labels, sure)
        found = [to_numpy(taken(each, kept)) for each in (boxes, shares, labels)]
        chosen = to_numpy(there)
        return [Detections(*(each[k][chosen[k]] for each in found)) for k in range(n)]

    def for_images(self, input_shape: Sequence[int]) -> "FasterRCNN":
        """The same detector for pictures of another size; it has a copy of the weights.

        Anchors keep their sizes in pixels: what is larger in a larger picture is not found. There
        are as many more candidates and proposals as pixels, up to 2,000 and 300, the paper's.
        """
        arguments = self.arguments() | {"input_shape": tuple(input_shape), "device": self.device}
        more = max(1.0, prod(input_shape[1:]) / prod(self.input_shape[1:]))
        for name, most in (("candidates", 2000), ("proposals", 300)):
            arguments[name] = max(arguments[name], min(most, round(more * arguments[name])))
        other = FasterRCNN(**arguments, rng=0)
        for name, network in self.networks.items():
            for key, array in network.file_arrays().items():
                other.networks[name].file_arrays()[key][...] = array
        return other

    @checked
    def save_params(self, path: str | Path) -> None:
        """Write both networks as safetensors, of which `load_detector` makes a detector again.

        Raises
        ------
        WeightsError
            The name is one of another format.
        OutputError
            The file cannot be written.
        """
        arguments = {name: each for name, each in self.arguments().items() if name != "dtype"}
        save_networks(path, self.networks, {"model": "faster-rcnn", "arguments": arguments})


def _rpn(channels: int, per_place: int, rng: np.random.Generator) -> dict[str, Layer]:
    """The layers of the first network."""
    layers: dict[str, Layer] = {}
    for k, width in enumerate(WIDTHS, start=1):
        layers |= {
            f"conv{k}": Convolution(channels, width, 3, pad=1, bias=False, rng=rng),
            f"norm{k}": norm(width),
            f"relu{k}": ReLU(),
        }
        if k in (2, 4):
            layers[f"pool{k // 2}"] = MaxPool(2, stride=2)
        channels = width
    maps: dict[str, Layer] = {
        "objectness": Convolution(channels, per_place, 1, std=NEW, rng=rng),
        "deltas": Convolution(channels, 4 * per_place, 1, std=NEW, rng=rng),
    }
    rpn: dict[str, Layer] = {
        "conv": Convolution(channels, channels, 3, pad=1, std=NEW, rng=rng),
        "relu": ReLU(),
        "heads": Heads(maps),
    }
    return layers | {"heads": Heads({"features": Identity(), "rpn": Sequential(rpn)})}


def _head(classes: int, rng: np.random.Generator) -> dict[str, Layer]:
    """The layers of the second network."""
    return {
        "affine": Affine(WIDTHS[-1] * POOLED**2, UNITS, std=NEW, rng=rng),
        "relu": ReLU(),
        "heads": Heads(
            {
                "scores": Affine(UNITS, classes + 1, std=NEW, rng=rng),
                "deltas": Affine(UNITS, 4, std=NEW, rng=rng),
            }
        ),
    }


def _kept(proposed: Proposals) -> list[np.ndarray]:
    """The boxes of each picture that there are, (n, 4)."""
    boxes, valid = map(to_numpy, proposed)
    return [each[there] for each, there in zip(boxes, valid, strict=True)]


def _finite(outputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Outputs by name, all of which are numbers: others would be no detections, and no error."""
    for name, each in outputs.items():
        xp = array_namespace(each)
        if not xp.all(xp.isfinite(each)):
            raise ArgumentError(
                f"nothing can be detected: {name} that the networks put out are not finite; check "
                "that pictures and weights are"
            )
    return outputs


def _flat(x: Array) -> Array:
    return array_namespace(x).reshape(x, (-1,))
