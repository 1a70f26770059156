"""What a picture shows, and what a detector finds in it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from xpnet.arrays import Array, array_namespace
from xpnet.arrays.namespace import to_numpy
from xpnet.arrays.values import as_array, kind_of_numbers
from xpnet.errors import ArgumentError

NOTHING = -1
"""The label of a place in a table of objects where there is none."""


class Objects(NamedTuple):
    """The objects that a picture shows.

    Attributes
    ----------
    boxes : (n, 4) floats, each (x1, y1, x2, y2); n may be 0
    labels : (n,) int64, the classes from 0, of which none is the background
    """

    boxes: NDArray[Any]
    labels: NDArray[np.int64]


class Detections(NamedTuple):
    """What a detector found in a picture, the surest first.

    Attributes
    ----------
    boxes : (n, 4) floats, each (x1, y1, x2, y2); n may be 0
    scores : (n,) floats, from 0 to 1
    labels : (n,) int64, the classes from 0, of which none is the background
    """

    boxes: NDArray[Any]
    scores: NDArray[Any]
    labels: NDArray[np.int64]


class Predicts(Protocol):
    """What computes for a network: itself, or an engine."""

    def predict(self, x: Array) -> Any:
        """Scores, or by name those of several heads."""


class Computes(Protocol):
    """What computes a network with its way back: the network itself, or an engine."""

    def forward(self, x: Array, *, train: bool = False) -> tuple[Any, Any]:
        """The outputs, by name if there are several, and their backward."""


def check_wanted(score: float, overlap: float, most: int) -> None:
    """Refuse what no detector can be asked for, whether it would find something or not.

    Raises
    ------
    ArgumentError
        A number is out of range.
    """
    if not (0 <= score <= 1 and 0 <= overlap <= 1) or most < 1:
        raise ArgumentError(
            "detect needs score and overlap from 0 to 1, and most of at least 1, got "
            f"score={score}, overlap={overlap}, most={most}"
        )


class Detector(Protocol):
    """Whatever finds objects in pictures."""

    def detect(
        self,
        images: Any,
        *,
        score: float = 0.05,
        overlap: float = 0.3,
        most: int = 100,
        computing: Mapping[str, Predicts] | None = None,
    ) -> list[Detections]:
        """What is in each of some pictures, (N, C, H, W): pixels, or floats from 0 to 1.

        Parameters
        ----------
        score : what is less sure is left out
        overlap : of two boxes of one class that overlap more, the surer one stays
        most : detections of a picture at most
        computing : what computes for each of its networks, by name, such as engines; they
            themselves if None. One network alone is called "network".
        """


def checked_pictures(images: Any, shape: Sequence[int], remedy: str) -> Array:
    """Pictures (N, C, H, W) as they were given, on the host or on the device.

    Parameters
    ----------
    shape : (C, H, W) of a picture
    remedy : what to do with others

    Raises
    ------
    ArgumentError
        They are of another shape, or neither pixels nor floats from 0 to 1.
    """
    images = as_array(images, "pictures")
    if tuple(images.shape[1:]) != tuple(shape):
        raise ArgumentError(
            f"pictures (N, {', '.join(map(str, shape))}) are needed, got {tuple(images.shape)}; "
            f"{remedy}, or give one as images[None]"
        )
    check_scaled(images)
    return images


def check_scaled(images: Array) -> None:
    """Refuse pictures whose numbers are not those that detectors were made for.

    Raises
    ------
    ArgumentError
        They are neither pixels, uint8, nor floats from 0 to 1.
    """
    kind = kind_of_numbers(images)
    if kind == "pixels":
        return
    xp, some = array_namespace(images), 0 not in images.shape
    if kind == "floats" and (not some or bool(xp.all((images >= 0) & (images <= 1)))):  # nor NaN
        return
    found = f" from {xp.min(images)} to {xp.max(images)}" if some else ""
    raise ArgumentError(
        f"pictures are pixels, uint8, or floats from 0 to 1, got {images.dtype}{found}; divide by "
        "255, for instance"
    )


def checked_objects(
    given: Sequence[Any], pictures: int, shape: Sequence[int], classes: int
) -> list[Objects]:
    """The objects of some pictures, as they are kept, or the first thing that is wrong with them.

    Parameters
    ----------
    given : for each picture boxes (n, 4) and labels (n,), such as `Objects`
    pictures, shape : their number, and (..., height, width) of one
    classes : of the objects

    Raises
    ------
    ArgumentError
        They are no such pairs, or others than one for each picture; a box is empty, or reaches out
        of the picture; or a label is no class.
    """
    pairs = isinstance(given, Sequence) and all(_is_pair(each) for each in given)
    if not pairs:
        raise ArgumentError(
            "objects are a list with boxes (n, 4) and labels (n,) for each picture, such as "
            f"Objects(boxes, labels), got {given!r:.100}"
        )
    if len(given) != pictures:
        raise ArgumentError(
            f"objects are needed for each of {pictures} pictures, got those of {len(given)}; "
            "of a picture without any, give boxes (0, 4) and labels (0,)"
        )
    height, width = shape[-2:]
    found = []
    for number, (boxes, labels) in enumerate(given):
        boxes = to_numpy(as_array(boxes, f"boxes of picture {number}"))
        labels = to_numpy(as_array(labels, f"labels of picture {number}"))
        if not boxes.size:
            boxes, labels = boxes.reshape(-1, 4), labels.astype(np.int64)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
            raise ArgumentError(
                f"picture {number} needs boxes (n, 4) and labels (n,), got {boxes.shape} and "
                f"{labels.shape}"
            )
        x1, y1, x2, y2 = boxes.T
        good = (x1 >= 0) & (y1 >= 0) & (x1 < x2) & (y1 < y2) & (x2 <= width) & (y2 <= height)
        if not good.all():  # nor for NaN
            box = tuple(boxes[int(np.argmin(good))].tolist())
            raise ArgumentError(
                f"boxes are (x1, y1, x2, y2) with x1 < x2 and y1 < y2, within the picture of "
                f"{height} x {width}, got {box} in picture {number}; clip it, or leave it out"
            )
        if kind_of_numbers(labels) not in ("integers", "pixels") or np.any(
            (labels < 0) | (labels >= classes)
        ):
            raise ArgumentError(
                f"labels of objects are whole numbers from 0 to {classes - 1}, got "
                f"{labels.tolist()!r:.80} in picture {number}"
            )
        found.append(Objects(boxes, labels.astype(np.int64)))
    return found


def _is_pair(given: Any) -> bool:
    return isinstance(given, Sequence | np.ndarray) and len(given) == 2


def table_of(
    objects: Sequence[Objects], most: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Lay the objects of several pictures out in tables of one size.

    Parameters
    ----------
    most : objects that a row has room for; as many as a picture has at most if None

    Returns
    -------
    boxes (N, most, 4) and labels (N, most); behind a picture's objects 0 and `NOTHING`

    Raises
    ------
    ArgumentError
        A picture has more objects than that.
    """
    largest = max((len(each.labels) for each in objects), default=0)
    most = largest if most is None else most
    if largest > most:
        raise ArgumentError(f"a picture has {largest} objects, and there is room for {most}")
    boxes = np.zeros((len(objects), most, 4))
    labels = np.full((len(objects), most), NOTHING, dtype=np.int64)
    for k, each in enumerate(objects):
        boxes[k, : len(each.labels)] = each.boxes
        labels[k, : len(each.labels)] = each.labels
    return boxes, labels
