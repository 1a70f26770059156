"""`xpnet segment`."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from xpnet.arrays import get_device, to_numpy
from xpnet.arrays.values import in_parts
from xpnet.cli.checks import check_enough, check_segments
from xpnet.cli.keeping import Kept
from xpnet.cli.options import (
    DIRECTORY,
    Count,
    data_options,
    device_line,
    device_option,
    engine_options,
    open_data,
    weights_options,
)
from xpnet.cli.reading import AT_A_TIME, UNREADABLE, readable
from xpnet.data import Dataset
from xpnet.data.scenes import SCENES
from xpnet.data.sets import SETS, set_of
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.files.masks import (
    LEFT_OUT,
    Colour,
    enlarged_labels,
    in_colours,
    mask_of,
    overlay,
    palette,
    picture_of,
    read_whole,
    run_lengths,
    save_png,
    sheet,
)
from xpnet.layers.loss import probabilities_of
from xpnet.models.fcn import IGNORED
from xpnet.notice import notice
from xpnet.report.evaluate import confusion
from xpnet.report.segmentation import class_iou, mean_iou, pixel_accuracy
from xpnet.train.saved import load_model

if TYPE_CHECKING:
    from PIL.Image import Image

RESULTS, SCORES = "segments.json", "scores.json"


@click.command()
@partial(weights_options, more=" It has scores for each pixel, as fcn and segnet have.")
@partial(data_options, sets=SCENES, auto=", or the scenes that the network was made for")
@device_option
@engine_options
@click.option(
    "--scenes",
    type=Count(),
    metavar="N",
    help="The first N test scenes are segmented as well, and measured, since their truth is known.",
)
@click.option(
    "--out",
    type=DIRECTORY,
    help="Masks and pictures are kept in this new directory; by default in runs/DATE-TIME-segment.",
)
@click.argument("images", type=click.Path(), nargs=-1, metavar="IMAGE...")
def segment(
    weights: str,
    model: str | None,
    activation: str | None,
    data: str,
    data_dir: str | None,
    device: str,
    engine: str,
    graph: bool,
    threads: int | None,
    precision: str | None,
    skip_engine_check: bool,
    scenes: int | None,
    out: str | None,
    images: tuple[str, ...],
) -> None:
    """Tell what each pixel of pictures shows.

    A picture of any size is stretched to the network's, and its mask brought back to its own. Of
    each are kept NAME-mask.png, with the number of a class at each pixel, and NAME-overlay.png,
    the picture in the classes' colours and what they stand for; segments.json has the pixels of
    every class in COCO's format of results. Of scenes, NAME-beside.png has the mask beside the
    truth, and scores.json how well they agree. Standard output has a line for each picture, with
    the classes' shares. Standard error tells which pictures could not be read, in which case the
    exit code is 2, and which masks are doubtful.
    """
    if not images and scenes is None:
        raise click.UsageError("Missing argument 'IMAGE...', or --scenes N for test scenes.")
    files = Kept(out, "segment", "-mask.png")
    network = load_model(weights, activation=activation, device=get_device(device), model=model)
    classes = check_segments(network, weights)
    made_for = set_of(network.input_shape, classes, "segment")
    names = tuple(map(str, range(classes)))
    if made_for is not None:
        names = SETS[made_for].classes["segment"]
    dataset = None
    if scenes is not None:
        dataset = _scenes(made_for, data, data_dir, network.input_shape, classes)
        check_enough(dataset, scenes)
    probabilities = probabilities_of(network.last_layer, "segment")
    computing = get_engine(
        network,
        engine,
        threads,
        precision=precision,
        graph=graph,
        skip_engine_check=skip_engine_check,
    )
    if device == "auto":
        notice(device_line(network.device))
    kept = _Segments(files, names)

    def scores_of(x: np.ndarray) -> np.ndarray:
        return to_numpy(probabilities(computing.predict(x)))

    for part in in_parts(len(images), AT_A_TIME):
        read = readable(images[part], lambda path: read_whole(path, network.input_shape))
        if not read:
            continue
        scores = scores_of(np.stack([seen.x for _, seen in read]))
        for (path, seen), own in zip(read, scores, strict=True):
            if not np.all(np.isfinite(own)):
                notice(f"error: {path} has no mask: the network's scores are not finite")
                continue
            for remark in seen.remarks:
                notice(f"{path} {remark}")
            shares = kept.picture(path, seen.picture, seen.size, own)
            _, height, width = network.input_shape
            click.echo(
                f"{path}: {seen.size[0]} x {seen.size[1]}, seen as {width} x {height}   {shares}"
            )
    if dataset is not None and scenes is not None:
        for part in in_parts(scenes, AT_A_TIME):
            x, truth = dataset.x_test[part], dataset.t_test[part]
            numbers = range(part.start, part.stop)
            for number, own, image, labels in zip(numbers, scores_of(x), x, truth, strict=True):
                click.echo(kept.scene(f"{dataset.name}-{number:05d}", image, labels, own))
        click.echo(kept.measured(dataset.name))
    kept.finish()
    if files.count:
        click.echo(f"everything is in {files.directory}")
    if len(kept.paths) < len(images):
        sys.exit(UNREADABLE)


def _scenes(
    made_for: str | None, data: str, data_dir: str | None, image: tuple[int, ...], classes: int
) -> Dataset:
    """The scenes of the options, if they are what the network reads."""
    if data == "auto" and made_for is not None:
        data = made_for
    if data == "auto" or set_of(image, classes, "segment") != data:
        told = "no scenes" if data == "auto" else f"{data}"
        raise ArgumentError(
            f"the network is for images of {' x '.join(map(str, image))} and {classes} classes, "
            f"as {told} are not; leave out --scenes, or give the weights of one for them"
        )
    return open_data(data, data_dir)


class _Segments:
    """What is kept of pictures and scenes, file by file.

    Parameters
    ----------
    files : where it is kept
    names : of the classes
    """

    def __init__(self, files: Kept, names: tuple[str, ...]) -> None:
        self.files, self.names, self.colours = files, names, palette(names)
        self.paths: list[str] = []
        self.results: list[dict[str, Any]] = []
        self.matrix = np.zeros((len(names), len(names)), dtype=np.int64)

    def picture(self, path: str, shown: "Image", size: tuple[int, int], scores: np.ndarray) -> str:
        """Write a picture's mask and overlay; the shares of its classes, in words."""
        from PIL import Image

        labels = enlarged_labels(scores, shown.size)
        self.paths.append(path)
        stem = self.files.stem(Path(path).stem)
        told = [f"{100 * np.mean(labels == k):.1f} %" for k in range(len(self.names))]
        legend = self._legend(told, labels)
        drawn = sheet([("", overlay(shown, labels, self.names))], legend)
        if size != shown.size:  # of a picture that was made smaller while it was read
            labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
        save_png(self.files.directory / f"{stem}-mask.png", mask_of(labels, self.names))
        save_png(self.files.directory / f"{stem}-overlay.png", drawn)
        self._note(path, labels, scores)
        return ", ".join(text for _, text in legend)

    def scene(self, name: str, image: np.ndarray, truth: np.ndarray, scores: np.ndarray) -> str:
        """Write a scene beside its truth and the network's mask; how well they agree, in words."""
        labels = scores.argmax(axis=0).astype(np.uint8)
        shown = picture_of(image).convert("RGB")
        stem = self.files.stem(name)
        matrix = confusion(truth, labels, len(self.names), IGNORED)
        told = [f"IoU {iou:.2f}" for iou in class_iou(matrix)]
        legend = self._legend(told, labels, truth)
        panels = {"scene": shown, "truth": in_colours(truth, self.names)}
        panels["network"] = in_colours(labels, self.names)
        save_png(self.files.directory / f"{stem}-mask.png", mask_of(labels, self.names))
        save_png(self.files.directory / f"{stem}-beside.png", sheet(list(panels.items()), legend))
        self._note(name, labels, scores)
        self.matrix += matrix
        return (
            f"{name}: mean IoU {mean_iou(matrix):.4f}, pixel accuracy {pixel_accuracy(matrix):.4f}"
        )

    def measured(self, data: str) -> str:
        """Write how well all scenes together were told; the same in words."""
        ious = {
            name: None if np.isnan(iou) else round(float(iou), 6)
            for name, iou in zip(self.names, class_iou(self.matrix), strict=True)
        }
        found = {"mean_iou": mean_iou(self.matrix), "pixel_accuracy": pixel_accuracy(self.matrix)}
        self.files.write(SCORES, {"data": data, **found, "iou": ious})
        each = ", ".join(f"{name} {iou:.3f}" for name, iou in ious.items() if iou is not None)
        mean, accuracy = found.values()
        return f"mean IoU: {mean:.4f}, pixel accuracy: {accuracy:.4f}   IoU of {each}"

    def finish(self) -> None:
        """Write the pixels of all classes."""
        if self.files.count:
            self.files.write(RESULTS, self.results)

    def _legend(self, told: Sequence[str], *masks: np.ndarray) -> list[tuple[Colour, str]]:
        """The classes of masks with their colours, and what is told of each."""
        found = []
        for k, (name, colour) in enumerate(zip(self.names, self.colours, strict=True)):
            if any((mask == k).any() for mask in masks):
                found.append((colour, f"{name} {told[k]}"))
        if any((mask == IGNORED).any() for mask in masks):
            found.append((LEFT_OUT, "left out"))
        return found

    def _note(self, path: str, labels: np.ndarray, scores: np.ndarray) -> None:
        """Keep the pixels of each class as COCO has them, and how sure the network is of them."""
        answers = scores.argmax(axis=0)
        for k in np.unique(labels).tolist():
            mask, own = labels == k, scores[k][answers == k]
            self.results.append(
                {
                    "image_id": self.files.count,
                    "file_name": path,
                    "category_id": k,
                    "category": self.names[k],
                    "segmentation": run_lengths(mask),
                    "area": int(mask.sum()),
                    "score": round(float(own.mean() if own.size else scores[k].max()), 6),
                }
            )
