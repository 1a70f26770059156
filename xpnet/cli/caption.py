"""`xpnet caption`."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from xpnet.arrays import get_device
from xpnet.arrays.values import in_parts
from xpnet.cli.checks import check_captions
from xpnet.cli.keeping import Kept
from xpnet.cli.options import (
    DIRECTORY,
    PATH,
    Count,
    OneOf,
    device_line,
    device_option,
    engine_options,
    open_data,
)
from xpnet.cli.reading import AT_A_TIME, UNREADABLE, readable
from xpnet.data.captions import CaptionScenes
from xpnet.data.sets import data_for
from xpnet.errors import ArgumentError
from xpnet.files.captioned import RIGHT, WRITTEN, WRONG, with_captions
from xpnet.files.masks import picture_of, read_whole, save_png
from xpnet.models.captioner import Caption, Captioner
from xpnet.notice import notice
from xpnet.report.captions import MEASURES, CaptionScores
from xpnet.train.captioners import encoder_of, load_captioner

if TYPE_CHECKING:
    from PIL.Image import Image

WIDEST = 100
"""Beginnings of a sentence that can be kept at a time."""
RESULTS, SCENES, SCORES = "captions.json", "scene-captions.json", "scores.json"


@click.command()
@click.option(
    "--weights",
    type=PATH,
    required=True,
    help="The captioner is in this file or directory: the directory of a run of --model nic, a "
    "model.safetensors, or a checkpoint.",
)
@device_option
@engine_options
@click.option(
    "--beam",
    type=Count(most=WIDEST),
    default=1,
    metavar="N",
    help="The N likeliest beginnings of a sentence are kept at a time; with 1, it is the likeliest "
    "word each time.",
)
@click.option(
    "--scenes",
    type=Count(),
    metavar="N",
    help="The first N scenes of --part are captioned as well, and measured, since what is right is "
    "known.",
)
@click.option(
    "--part",
    type=OneOf(["test", "novel"]),
    default="test",
    help="The scenes of --scenes are for testing, or show combinations of shape and colour that "
    "are in no scene that was learned from.",
)
@click.option(
    "--out",
    type=DIRECTORY,
    help="Everything is kept in this new directory; by default in runs/DATE-TIME-caption.",
)
@click.argument("images", type=click.Path(), nargs=-1, metavar="IMAGE...")
def caption(
    weights: str,
    device: str,
    engine: str,
    graph: bool,
    threads: int | None,
    precision: str | None,
    skip_engine_check: bool,
    beam: int,
    scenes: int | None,
    part: str,
    out: str | None,
    images: tuple[str, ...],
) -> None:
    """Say in a sentence what pictures show.

    A picture of any size is stretched to the captioner's; it knows one or two plain shapes on a
    dark ground, and says nothing else of any other. Of each is kept NAME-captioned.png with the
    sentence under it, and captions.json has the sentences with how sure they are: the mean of log p
    over their words. Under a scene its sentence is green or red, with what is right under that;
    scene-captions.json lists both, and scores.json has the share that is right, and BLEU.
    Standard output has a line for each picture. Standard error tells how pictures were seen, and
    which could not be read, in which case the exit code is 2.
    """
    if not images and scenes is None:
        raise click.UsageError("Missing argument 'IMAGE...', or --scenes N for test scenes.")
    files = Kept(out, "caption", "-captioned.png")
    captioner = load_captioner(weights, device=get_device(device))
    dataset = None if scenes is None else _scenes(captioner, weights, scenes, part)
    if device == "auto":
        notice(device_line(captioner.device))
    computing = encoder_of(
        captioner,
        engine,
        threads=threads,
        precision=precision,
        graph=graph,
        skip_engine_check=skip_engine_check,
    )
    write = partial(captioner.caption, beam=beam, computing=computing)
    found = _Found(files)
    for some in in_parts(len(images), AT_A_TIME):
        read = readable(images[some], lambda path: read_whole(path, captioner.input_shape))
        if not read:
            continue
        written = write(np.stack([each.x for _, each in read]))
        for (path, each), own in zip(read, written, strict=True):
            for remark in each.remarks:
                notice(f"{path} {remark}")
            click.echo(found.picture(path, each.picture, own))
    if found.pictures:
        files.write(RESULTS, found.pictures)
    if dataset is not None and scenes is not None:
        x, captions = getattr(dataset, f"x_{part}"), getattr(dataset, f"captions_{part}")
        for k, own in enumerate(write(x[:scenes])):
            name = f"{dataset.name}-{part}-{k:05d}"
            click.echo(found.scene(name, x[k], captions[k], own))
        click.echo(found.write_scenes(dataset.name, part))
    if files.count:
        click.echo(f"everything is in {files.directory}")
    if len(found.pictures) < len(images):
        sys.exit(UNREADABLE)


def _scenes(captioner: Captioner, weights: str, count: int, part: str) -> CaptionScenes:
    """The scenes of the options, if they are what the captioner is for."""
    dataset = open_data(data_for("caption", "auto"), None)
    check_captions(captioner, weights, dataset)
    assert isinstance(dataset, CaptionScenes)
    there = len(getattr(dataset, f"x_{part}"))
    if count > there:
        raise ArgumentError(f"--scenes must be at most {there}, got {count}")
    return dataset


class _Found:
    """What was written, file by file."""

    def __init__(self, files: Kept) -> None:
        self.files = files
        self.pictures: list[dict[str, Any]] = []
        self._scenes: list[dict[str, Any]] = []
        self._scores = CaptionScores()

    def picture(self, path: str, shown: "Image", written: Caption) -> str:
        """Write a picture with its sentence; the same in words."""
        stem = self.files.stem(Path(path).stem)
        drawn = with_captions(shown, [(written.text, WRITTEN)])
        save_png(self.files.directory / f"{stem}-captioned.png", drawn)
        self.pictures.append({"file_name": path, **_kept(written)})
        return f"{path}: {written.text}"

    def scene(self, name: str, image: np.ndarray, right: Sequence[str], written: Caption) -> str:
        """Write a scene with its sentence, and what is right; the same in words."""
        stem = self.files.stem(name)
        is_right = written.text in right
        under = [(written.text, RIGHT if is_right else WRONG)]
        under += [] if is_right else [(f"right: {right[0]}", WRITTEN)]
        drawn = with_captions(picture_of(image), under)
        save_png(self.files.directory / f"{stem}-captioned.png", drawn)
        self._scores.update([written.text], [right])
        self._scenes.append(
            {"file_name": name, **_kept(written), "right": list(right), "is_right": is_right}
        )
        return f"{name}: {written.text}" + ("" if is_right else f"   (right: {right[0]})")

    def write_scenes(self, data: str, part: str) -> str:
        """Write what was said of all scenes, and how well; the same in words."""
        self.files.write(SCENES, self._scenes)
        scores = {each.name: each.value(self._scores) for each in MEASURES}
        about = {"data": data, "part": part, "scenes": len(self._scenes)}
        self.files.write(SCORES, {**about, **scores})
        exact, *bleu = scores.values()
        told = ", ".join(f"BLEU-{n} {value:.4f}" for n, value in enumerate(bleu, start=1))
        return f"right as a whole: {exact:.4f} of {len(self._scenes)} {part} scenes   {told}"


def _kept(written: Caption) -> dict[str, Any]:
    return {"caption": written.text, "score": round(written.score, 6)}
