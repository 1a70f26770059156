"""`xpnet detect`."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from xpnet.arrays import get_device
from xpnet.arrays.values import in_parts
from xpnet.cli.checks import check_enough, check_finds
from xpnet.cli.keeping import Kept
from xpnet.cli.options import (
    DIRECTORY,
    PATH,
    Count,
    FiniteRange,
    data_options,
    device_line,
    device_option,
    engine_options,
    open_data,
)
from xpnet.cli.reading import AT_A_TIME, UNREADABLE, readable
from xpnet.data.scenes import Scenes
from xpnet.data.sets import SETS, data_for
from xpnet.errors import ArgumentError
from xpnet.files.boxed import boxes_in, read_scene, with_boxes
from xpnet.files.masks import palette, picture_of, save_png, sheet
from xpnet.models.detections import Detections, Objects
from xpnet.models.faster_rcnn import STRIDE, FasterRCNN
from xpnet.notice import notice
from xpnet.report.detection import DetectionScores, coco_results, coco_truth
from xpnet.train.detectors import AnyDetector, engines_of, load_detector

if TYPE_CHECKING:
    from PIL.Image import Image

DATA, SIDE = ("digit-scenes",), 64
"""The scenes that detectors are for, and pixels of a side of one."""

LARGEST = 1024
"""Pixels of a side that a picture is seen with at most."""

RESULTS, SCENES, TRUTH, SCORES = (
    "detections.json", "scene-detections.json", "scene-truth.json", "scores.json"
)  # fmt: skip

LEAST = 0.05
"""Scores from here on are measured, whatever is shown."""


@click.command()
@click.option(
    "--weights",
    type=PATH,
    required=True,
    help="The detector is in this file or directory: the directory of a run of --model "
    "faster-rcnn or r-cnn, a model.safetensors, or a checkpoint.",
)
@partial(data_options, sets=DATA, auto=", for the scenes that detectors are for")
@device_option
@engine_options
@click.option(
    "--score",
    type=FiniteRange(0, 1),
    default=0.5,
    metavar="SHARE",
    help="Shown is what is more likely than SHARE, from 0 to 1.",
)
@click.option(
    "--size",
    type=Count(least=16, most=LARGEST),
    default=SIDE,
    metavar="N",
    help="Pictures are seen with N pixels along their longer side; digits should then be 12 to 30 "
    "pixels high, as those of the scenes are.",
)
@click.option(
    "--scenes",
    type=Count(),
    metavar="N",
    help="Digits are found in the first N test scenes as well, and measured, since what is there "
    "is known.",
)
@click.option(
    "--out",
    type=DIRECTORY,
    help="Everything is kept in this new directory; by default in runs/DATE-TIME-detect.",
)
@click.argument("images", type=click.Path(), nargs=-1, metavar="IMAGE...")
def detect(
    weights: str,
    data: str,
    data_dir: str | None,
    device: str,
    engine: str,
    graph: bool,
    threads: int | None,
    precision: str | None,
    skip_engine_check: bool,
    score: float,
    size: int,
    scenes: int | None,
    out: str | None,
    images: tuple[str, ...],
) -> None:
    """Find digits in pictures, and draw a box around each.

    A picture of any size is made grey, and light on dark, and scaled; shadows on paper are taken
    off. Of each is kept NAME-found.png with its boxes, and detections.json has them in COCO's
    format of results: x, y, width and height in the picture's own pixels. Of scenes, what is there
    is drawn beside what was found, which scene-detections.json lists; scene-truth.json has what is
    there as COCO has annotations, and scores.json how well they agree.
    Standard output has a line for each picture; to find nothing is an answer, too. Standard error
    tells how pictures were seen, and which could not be read, in which case the exit code is 2.
    """
    if not images and scenes is None:
        raise click.UsageError("Missing argument 'IMAGE...', or --scenes N for test scenes.")
    files = Kept(out, "detect", "-found.png")
    detector = load_detector(weights, device=get_device(device))
    how: dict[str, Any] = {
        "name": engine, "threads": threads, "precision": precision, "graph": graph,
        "skip_engine_check": skip_engine_check,
    }  # fmt: skip
    names = tuple(map(str, range(detector.classes)))
    dataset = None if scenes is None else _scenes(detector, weights, data, data_dir, scenes)
    if device == "auto":
        notice(device_line(detector.device))
    found = _Found(files, names, score)
    if images:
        seeing = _for_size(detector, size)
        engines = engines_of(seeing, **how)
        for part in in_parts(len(images), AT_A_TIME):
            _look_at(images[part], seeing, engines, size, found)
        if found.paths:
            found.write_pictures()
    if dataset is not None and scenes is not None:
        engines = engines_of(detector, **how)
        for part in in_parts(scenes, AT_A_TIME):
            x, truth = dataset.x_test[part], dataset.objects_test[part]
            finds = detector.detect(x, score=min(score, LEAST), computing=engines)
            for number, image, own, seen in zip(
                range(part.start, part.stop), x, truth, finds, strict=True
            ):
                click.echo(found.scene(f"{dataset.name}-{number:05d}", image, own, seen))
        click.echo(found.write_scenes(dataset.name))
    if files.count:
        click.echo(f"everything is in {files.directory}")
    if len(found.paths) < len(images):
        sys.exit(UNREADABLE)


def _for_size(detector: AnyDetector, size: int) -> AnyDetector:
    """A detector for pictures of this many pixels a side; R-CNN's are of any size."""
    if not isinstance(detector, FasterRCNN) or detector.input_shape[1:] == (size, size):
        return detector
    if size % STRIDE:
        raise ArgumentError(f"--size must be a multiple of {STRIDE}, got {size}")
    return detector.for_images((1, size, size))


def _scenes(
    detector: AnyDetector, weights: str, data: str, data_dir: str | None, count: int
) -> Scenes:
    """The scenes of the options, if they are what the detector is for."""
    dataset = open_data(data_for("detect", data), data_dir)
    check_finds(detector, weights, dataset)
    assert isinstance(dataset, Scenes)
    check_enough(dataset, count)
    return dataset


def _look_at(
    paths: Sequence[str], detector: AnyDetector, engines: Any, size: int, found: "_Found"
) -> None:
    """Find what is in some pictures; those that cannot be read are told, and left out."""
    read = readable(paths, lambda path: read_scene(path, size))
    if not read:
        return
    x = np.stack([each.x for _, each in read])
    finds = detector.detect(x, score=min(found.score, LEAST), computing=engines)
    for (path, each), seen in zip(read, finds, strict=True):
        for remark in each.remarks:
            notice(f"{path} {remark}")
        sure = bool((seen.scores > found.score).any())
        if not sure and each.scale < 1 and size < LARGEST and each.x.any():
            notice(
                f"{path} is seen with {size} of its {max(each.size)} pixels; if digits in it are "
                f"small, --size {min(4 * size, LARGEST)} sees them larger"
            )
        own = seen._replace(boxes=boxes_in(each, seen.boxes))
        click.echo(found.picture(path, each.picture, each.size, own))


class _Found:
    """What was found, file by file.

    Parameters
    ----------
    files : where it is kept
    names : of the classes
    score : what is less sure is not shown
    """

    def __init__(self, files: Kept, names: tuple[str, ...], score: float) -> None:
        self.files, self.names, self.colours = files, names, palette(names)
        self.score, self.paths = score, list[str]()
        self._pictures: list[tuple[int, str, tuple[int, int], Detections]] = []
        self._scenes: list[tuple[int, str, Objects, Detections]] = []

    def picture(self, path: str, shown: "Image", size: tuple[int, int], found: Detections) -> str:
        """Write a picture with its boxes; what was found, in words."""
        stem = self.files.stem(Path(path).stem)
        self.paths.append(path)
        sure = _surer(found, self.score)
        self._pictures.append((self.files.count, path, size, sure))
        drawn = self._drawn(shown, sure, shown.width / size[0])
        save_png(self.files.directory / f"{stem}-found.png", drawn)
        return f"{path}: {self._told(found)}"

    def scene(self, name: str, image: np.ndarray, truth: Objects, found: Detections) -> str:
        """Write a scene with what is there beside what was found; the same in words."""
        stem = self.files.stem(name)
        self._scenes.append((self.files.count, name, truth, found))
        shown, sure = picture_of(image).convert("RGB"), _surer(found, self.score)
        panels = [
            (f"there: {len(truth.labels)}", self._drawn(shown, truth)),
            (f"found: {len(sure.labels)}", self._drawn(shown, sure)),
        ]
        save_png(self.files.directory / f"{stem}-found.png", sheet(panels, []))
        there = " ".join(self.names[k] for k in truth.labels) or "nothing"
        return f"{name}: there {there}; {self._told(found)}"

    def write_pictures(self) -> None:
        """Write what was found in all pictures."""
        numbers, paths, _, found = zip(*self._pictures, strict=True)
        self.files.write(RESULTS, _with_files(coco_results(found, numbers), numbers, paths))

    def write_scenes(self, data: str) -> str:
        """Write what was found in all scenes, and how well; the same in words."""
        numbers, names, truth, found = zip(*self._scenes, strict=True)
        self.files.write(SCENES, _with_files(coco_results(found, numbers), numbers, names))
        _, height, width = SETS[data].image
        sizes = [(height, width)] * len(numbers)
        self.files.write(TRUTH, coco_truth(truth, numbers, sizes, self.names, names))
        scores = DetectionScores(len(self.names))
        scores.update(found, truth)
        about = {"data": data, "scenes": len(numbers)}
        if not any(len(own.labels) for own in truth):
            self.files.write(SCORES, about)
            return "nothing is there to be found, and nothing can be measured"
        each = dict(zip(self.names, scores.average_precisions(), strict=True))
        mean, recall = scores.mean_average_precision(), scores.recall()
        known = {name: None if np.isnan(ap) else round(ap, 6) for name, ap in each.items()}
        self.files.write(
            SCORES,
            {**about, "map50": mean, "map75": scores.mean_average_precision(0.75),
             "recall50": recall, "average_precision": known},
        )  # fmt: skip
        told = ", ".join(f"{name} {ap:.3f}" for name, ap in known.items() if ap is not None)
        return (
            f"at an IoU of 0.5: mAP {mean:.4f}, recall {recall:.4f}, of all that is surer than "
            f"{min(self.score, LEAST):g}   AP of {told}"
        )

    def _drawn(self, shown: "Image", found: Detections | Objects, scale: float = 1.0) -> "Image":
        """A picture with boxes, each with its class, and its score if it was found."""
        texts = [self.names[k] for k in found.labels]
        if isinstance(found, Detections):
            texts = [
                f"{text}: {share:.2f}" for text, share in zip(texts, found.scores, strict=True)
            ]
        return with_boxes(shown, found.boxes, texts, [self.colours[k] for k in found.labels], scale)

    def _told(self, found: Detections) -> str:
        """What is sure enough, in words; or the surest, if it is half as sure as that."""
        if not (found.scores > self.score / 2).any():
            return "nothing found"
        each = [
            f"{self.names[k]}: {share:.2f} at ({', '.join(f'{part:.0f}' for part in box)})"
            for box, share, k in zip(found.boxes, found.scores, found.labels, strict=True)
        ]
        sure = each[: int((found.scores > self.score).sum())]  # they come by falling score
        if not sure:
            return f"nothing found that is surer than {self.score:g}; the surest is {each[0]}"
        return f"found {'  '.join(sure)}"


def _surer(found: Detections, score: float) -> Detections:
    """Those that are surer than this."""
    sure = found.scores > score
    return Detections(*(part[sure] for part in found))


def _with_files(
    results: list[dict[str, Any]], numbers: Sequence[int], files: Sequence[str]
) -> list[dict[str, Any]]:
    """Results with the names of their pictures, which COCO's readers pass over."""
    named = dict(zip(numbers, files, strict=True))
    return [{**each, "file_name": named[each["image_id"]]} for each in results]
