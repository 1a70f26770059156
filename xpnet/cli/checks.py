"""Checks that several commands make before there is any work."""

import errno
import os
from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path

from xpnet.data import Dataset
from xpnet.data.sets import SETS
from xpnet.errors import ArgumentError, OutputError
from xpnet.layers.loss import predicted
from xpnet.models.captioner import Captioner
from xpnet.models.dcgan import DCGAN
from xpnet.models.faster_rcnn import FasterRCNN
from xpnet.models.network import Network
from xpnet.models.rcnn import RCNN
from xpnet.train.detectors import AnyDetector

MOST_CLASSES = 255
"""Classes of the pixels of a mask: one number of a byte is for those of none."""


def check_reads(network: Network, weights: str, image: tuple[int, ...], classes: int = 2) -> None:
    """Refuse a network that is not for such images, or that tells fewer classes apart.

    Raises
    ------
    ArgumentError
        It is for something else; the message says for what.
    """
    reads = network.input_shape
    scores = predicted(network.last_layer, network.output_shape)
    if segments(network):
        raise ArgumentError(
            f"the network of {weights} says what each pixel of a picture shows; xpnet segment is "
            "for that"
        )
    if isinstance(network, RCNN):
        raise ArgumentError(
            f"the network of {weights} finds objects in pictures; xpnet detect is for that"
        )
    if reads not in (image, (prod(image),)):
        raise ArgumentError(
            f"the network of {weights} does not read images of {image[-2]} x {image[-1]}: it "
            f"takes {' x '.join(map(str, reads))} numbers; give the weights of one that does"
        )
    if isinstance(scores, dict) or prod(scores) < classes:
        raise ArgumentError(
            f"the network of {weights} has no score for each of {classes} classes or more: its "
            f"output is {scores}; give the weights of one that has"
        )


def segments(network: Network) -> bool:
    """Tell whether a network has scores for every pixel of an image, which are channels."""
    reads, scores = network.input_shape, predicted(network.last_layer, network.output_shape)
    return not isinstance(scores, dict) and len(scores) == 3 and scores[1:] == reads[1:]


def check_segments(network: Network, weights: str) -> int:
    """Count the classes that a network tells pixels of pictures apart by.

    Raises
    ------
    ArgumentError
        It does not, or pictures have other channels than it reads.
    """
    scores = predicted(network.last_layer, network.output_shape)
    if not segments(network):
        raise ArgumentError(
            f"the network of {weights} has no scores for each pixel of a picture: it takes "
            f"{network.input_shape} and its output is {scores}; give the weights of one that has, "
            "such as a run of --model fcn"
        )
    if network.input_shape[0] not in (1, 3):
        raise ArgumentError(
            f"the network of {weights} reads images of {network.input_shape[0]} channels, and "
            "pictures have 1 or 3; give the weights of another"
        )
    if not 2 <= scores[0] <= MOST_CLASSES:
        raise ArgumentError(
            f"the network of {weights} has {scores[0]} scores for each pixel, and 2 to "
            f"{MOST_CLASSES} classes are needed; give the weights of another"
        )
    return int(scores[0])


def check_scenes(network: Network, weights: str, dataset: Dataset) -> None:
    """Refuse a network that is for other pictures, or other classes, than these scenes have.

    Raises
    ------
    ArgumentError
        It is.
    """
    image, classes = dataset.x_test.shape[1:], len(SETS[dataset.name].classes["segment"])
    own = check_segments(network, weights)
    if (network.input_shape, own) != (image, classes):
        raise ArgumentError(
            f"the network of {weights} is for images of {_by(network.input_shape)} and {own} "
            f"classes, and {dataset.name} have {_by(image)} and {classes}; give the weights of one "
            "for them"
        )


def check_enough(dataset: Dataset, count: int) -> None:
    """Refuse more of --scenes than there are to test with.

    Raises
    ------
    ArgumentError
        There are fewer.
    """
    if count > len(dataset.x_test):
        raise ArgumentError(f"--scenes must be at most {len(dataset.x_test)}, got {count}")


def check_finds(detector: AnyDetector, weights: str, dataset: Dataset) -> None:
    """Refuse a detector that is for other pictures, or other classes, than these scenes have.

    Raises
    ------
    ArgumentError
        It is.
    """
    known = SETS[dataset.name]
    classes = len(known.classes["detect"])
    shape = detector.input_shape if isinstance(detector, FasterRCNN) else known.image
    if (shape, detector.classes) != (known.image, classes):
        raise ArgumentError(
            f"the detector of {weights} is for pictures of {_by(shape)} and {detector.classes} "
            f"classes, and {dataset.name} have {_by(known.image)} and {classes}; give the weights "
            "of one for them"
        )


def check_captions(captioner: Captioner, weights: str, dataset: Dataset) -> None:
    """Refuse a captioner that is for other pictures, or has other words, than these scenes have.

    Raises
    ------
    ArgumentError
        It is.
    """
    image, words = dataset.x_test.shape[1:], SETS[dataset.name].classes["caption"]
    if captioner.input_shape != image:
        raise ArgumentError(
            f"the captioner of {weights} is for pictures of {_by(captioner.input_shape)}, and "
            f"{dataset.name} have {_by(image)}; give the weights of one for them"
        )
    if captioner.vocabulary.words != words:
        raise ArgumentError(
            f"the captioner of {weights} has other words than the captions of {dataset.name}; give "
            "the weights of one that learned from such"
        )


def check_makes(gan: DCGAN, weights: str, dataset: Dataset) -> None:
    """Refuse a generator of other images than these.

    Raises
    ------
    ArgumentError
        It is.
    """
    image = tuple(dataset.x_test.shape[1:])
    if gan.input_shape != image:
        raise ArgumentError(
            f"the generator of {weights} makes images of {_by(gan.input_shape)}, and those of "
            f"{dataset.name} are {_by(image)}; give the weights of one that makes such"
        )


def _by(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def check_photographs(network: Network, weights: str) -> None:
    """Refuse a network that does not take photographs as it says that it reads them.

    Raises
    ------
    ArgumentError
        Shapes of inputs, or numbers of classes, differ.
    """
    seen, scores = network.photographs, predicted(network.last_layer, network.output_shape)
    assert seen is not None
    if network.input_shape != (3, seen.size, seen.size):
        raise ArgumentError(
            f"the network of {weights} says that it sees 3 x {seen.size} x {seen.size} numbers of "
            f"a photograph, and takes {' x '.join(map(str, network.input_shape))}; set its "
            "photographs anew, and save it"
        )
    classes = None if seen.classes is None else len(seen.classes)
    if isinstance(scores, dict) or prod(scores) < 2 or classes not in (None, prod(scores)):
        raise ArgumentError(
            f"the network of {weights} has no score for each of its classes, of which "
            f"{classes or 'two or more'} are needed: its output is {scores}; set its photographs "
            "anew, and save it"
        )


def check_writable(path: str | Path, option: str) -> None:
    """Refuse a place where nothing can be written, before there is work for it; make nothing.

    Raises
    ------
    OutputError
        What is there is no directory, or may not be written to.
    """
    try:
        place = Path(path).absolute()
        while not place.exists():
            place = place.parent
        code = 0 if os.access(place, os.W_OK | os.X_OK) else errno.EACCES
        if code and hasattr(os, "statvfs") and os.statvfs(place).f_flag & os.ST_RDONLY:
            code = errno.EROFS
        code = code if place.is_dir() else errno.ENOTDIR
    except OSError as error:
        code = error.errno or errno.EIO
    if code:
        raise OutputError(f"cannot create {path}: {os.strerror(code)}; choose another {option}")


def check_replaceable(path: Path, option: str, what: str, is_own: Callable[[Path], bool]) -> None:
    """Refuse to write over a file that holds something else, before there is work for it.

    Parameters
    ----------
    what : what may be written over, which `is_own` knows

    Raises
    ------
    OutputError
        There is such a file, which is neither empty nor that.
    """
    if path.is_file() and path.stat().st_size and not is_own(path):
        raise OutputError(
            f"{path} is there and is not {what}; nothing is written over it: choose another "
            f"{option}, or move it away"
        )
