"""Pictures of results, as PNG files. Needs matplotlib, the `plot` extra.

Arrays are NumPy's. Images are (N, H, W) or (N, 1, H, W), uint8 or floats from 0 to 1.
"""

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xpnet.errors import ArgumentError
from xpnet.files.atomic import atomic_write
from xpnet.optional import installed, needed
from xpnet.report.metrics import EpochMetrics, spoken

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

GAP = 0.08  # between tiles that are 1 apart
TITLED = 1.15  # rows of tiles with titles are that far apart
FAINT = 1e-4  # of a loss, what a term of it is no longer drawn at
TRUE, READ = "#4dd27a", "#ff6b5e"  # of a label and of a wrong prediction


def available() -> bool:
    """Tell whether matplotlib is installed."""
    return installed("matplotlib")


def learning_curve(path: str | Path, history: Sequence[EpochMetrics]) -> None:
    """Write a picture of the loss against epochs, and of accuracies, or else what was measured."""
    epochs = [metrics.epoch for metrics in history]
    measured = [name for name in history[0].values if name != "train_loss"] if history else []
    kinds = [name.partition("_")[2] for name in measured]
    kind = "accuracy" if "accuracy" in kinds or not kinds else kinds[0]
    figure = _figure(8, 3.5)
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [metrics.train_loss for metrics in history], marker=".")
    left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    for data, style in (("train", "-"), ("test", "--")):
        if (name := f"{data}_{kind}") in measured:
            right.plot(epochs, [m[name] for m in history], style, marker=".", label=data)
    right.set(xlabel="epoch", ylabel=spoken(kind))
    if measured:
        right.legend()
    _write(path, figure)


def painting_curve(
    path: str | Path, history: Sequence[Mapping[str, float]], weights: Mapping[str, float]
) -> None:
    """Write how the losses of a painting fell, each term as it counts; see `draw_painting`."""
    figure = _figure(6, 3.5)
    draw_painting(figure.subplots(), history, weights)
    _write(path, figure)


def draw_painting(
    axes: "Axes", history: Sequence[Mapping[str, float]], weights: Mapping[str, float]
) -> None:
    """Draw on axes the loss of every evaluation, and its terms times their weights.

    Parameters
    ----------
    history : "loss" and the terms of each evaluation
    weights : of the terms, by name; those of weight 0 are left out
    """
    steps, losses = range(1, len(history) + 1), [row["loss"] for row in history]
    axes.plot(steps, losses, color="black", label="loss")
    for name, weight in weights.items():
        if weight:
            label = f"{weight:g} x {name}"
            axes.plot(steps, [weight * row[name] for row in history], linewidth=1, label=label)
    axes.set(xlabel="evaluations", yscale="log")
    if min(losses) > 0:  # the content begins at nothing but rounding
        axes.set_ylim(bottom=FAINT * min(losses))
    axes.legend(fontsize=8)


def image_grid(
    path: str | Path,
    images: np.ndarray,
    *,
    columns: int,
    titles: Sequence[str] | None = None,
    stretch: bool = False,
) -> None:
    """Write images as tiles, row by row, each under its title.

    Black is 0 and white 1 (255 for uint8); with `stretch` they are each tile's own smallest and
    largest number.
    """
    tiles = _tiles(images)
    rows = ceil(len(tiles) / columns)
    pitch = 1.0 if titles is None else TITLED
    figure = _figure(1.1 * columns, 1.1 * pitch * rows)
    _draw(figure.subplots(), tiles, columns, titles, stretch)
    _write(path, figure)


def filters(path: str | Path, before: np.ndarray, after: np.ndarray) -> None:
    """Write filters before and after training side by side (Figure 7-24).

    Each filter's smallest weight is black and its largest white.

    Parameters
    ----------
    before, after : (FN, 1, FH, FW)
    """
    columns = ceil(sqrt(max(len(before), len(after))))
    figure = _figure(1.3 * columns + 0.5, 0.65 * ceil(len(before) / columns) + 0.4)
    figure.set_layout_engine("constrained", wspace=0.08)
    draw_filters(figure.subplots(1, 2), before, after)
    _write(path, figure)


def draw_filters(panels: "Sequence[Axes]", before: np.ndarray, after: np.ndarray) -> None:
    """Draw on two axes what `filters` writes."""
    tiles = _tiles(before), _tiles(after)
    columns = ceil(sqrt(max(map(len, tiles))))
    for axes, part, title in zip(panels, tiles, ("before training", "after training"), strict=True):
        _draw(axes, part, columns, stretch=True)
        axes.set_title(title)


def filtered(
    path: str | Path,
    image: np.ndarray,
    filters: np.ndarray,
    outputs: np.ndarray,
    titles: Sequence[str],
) -> None:
    """Write an image, some filters, and below each what it makes of the image (Figure 7-25).

    Each tile's smallest number is black and its largest white.

    Parameters
    ----------
    image : (H, W) or (1, H, W)
    filters : (K, 1, FH, FW)
    outputs : (K, OH, OW)
    titles : K of them, one a filter
    """
    figure = _figure(1.9 * (len(filters) + 2), 4)
    draw_filtered(figure, image, filters, outputs, titles)
    _write(path, figure)


def draw_filtered(
    figure: "Figure | SubFigure",
    image: np.ndarray,
    filters: np.ndarray,
    outputs: np.ndarray,
    titles: Sequence[str],
) -> None:
    """Draw into a figure what `filtered` writes."""
    below = ["its output"] * len(outputs)
    tiles = [*_tiles(filters), *_tiles(outputs)]
    left, right = figure.subplots(1, 2, width_ratios=[2, len(filters)])
    _draw(left, _tiles(image.reshape(1, *image.shape)), 1, ["image"], stretch=True)
    _draw(right, tiles, len(filters), [*titles, *below], stretch=True)


def misclassified(
    path: str | Path,
    images: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    count: int = 20,
    columns: int = 5,
) -> None:
    """Write the first images that were misread (Figure 8-2).

    The label is top left in a tile, the wrong prediction bottom right.

    Raises
    ------
    ArgumentError
        No image was misread.
    """
    wrong = min(count, int(np.sum(labels != predictions)))
    columns = min(columns, max(1, wrong))
    figure = _figure(1.1 * columns, 1.1 * ceil(wrong / columns) + 0.4)
    draw_misclassified(figure.subplots(), images, labels, predictions, count=count, columns=columns)
    _write(path, figure)


def draw_misclassified(
    axes: "Axes",
    images: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    count: int = 20,
    columns: int = 5,
) -> None:
    """Draw on axes what `misclassified` writes."""
    wrong = np.flatnonzero(labels != predictions)[:count]
    if not len(wrong):
        raise ArgumentError("there is nothing to draw: no image was misread")
    _draw(axes, _tiles(images[wrong]), columns)
    font = {"size": 11, "weight": "bold"}
    for k, n in enumerate(wrong):
        top, left = divmod(k, columns)
        axes.text(left + 0.07, top + 0.07, labels[n], font, color=TRUE, va="top")
        axes.text(left + 0.85, top + 0.87, predictions[n], font, color=READ, ha="right")
    axes.set_title("top left: label, bottom right: prediction", size=9)


def confusion_matrix(path: str | Path, matrix: np.ndarray) -> None:
    """Write how often each class was read as each: rows are labels, columns predictions.

    Colour tells errors from each other: the diagonal, which outnumbers them, has none.

    Parameters
    ----------
    matrix : (K, K) counts, from `xpnet.report.evaluate.confusion`
    """
    K = len(matrix)
    errors = matrix * (1 - np.eye(K, dtype=matrix.dtype))
    most = max(1, errors.max())
    figure = _figure(0.55 * K + 1, 0.5 * K + 1)
    axes = figure.subplots()
    axes.imshow(errors, cmap="Reds", vmin=0, vmax=most, aspect="auto")
    for (i, j), number in np.ndenumerate(matrix):
        colour = "white" if errors[i, j] > 0.6 * most else "black" if number else "0.75"
        weight = "bold" if i == j else "normal"
        axes.text(j, i, str(number), color=colour, weight=weight, ha="center", va="center", size=9)
    axes.set(xlabel="prediction", ylabel="label", xticks=range(K), yticks=range(K))
    axes.set_title(f"{errors.sum()} of {matrix.sum()} misread")
    axes.tick_params(length=0)
    _write(path, figure)


def augmented(path: str | Path, originals: np.ndarray, variants: Mapping[str, np.ndarray]) -> None:
    """Write images and what was made of them: an image a row, a variant a column (Figure 8-4).

    Parameters
    ----------
    variants : title -> images, as many as there are originals
    """
    figure = _figure(1.2 * (1 + len(variants)), 1.1 * len(originals) + 0.5)
    draw_augmented(figure.subplots(), originals, variants)
    _write(path, figure)


def draw_augmented(axes: "Axes", originals: np.ndarray, variants: Mapping[str, np.ndarray]) -> None:
    """Draw on axes what `augmented` writes."""
    columns = {"original": _tiles(originals)}
    columns |= {title: _tiles(images) for title, images in variants.items()}
    tiles = [tile for row in zip(*columns.values(), strict=True) for tile in row]
    _draw(axes, tiles, len(columns), list(columns))


def search_curves(
    path: str | Path,
    curves: Sequence[tuple[Sequence[float], Sequence[float]]],
    *,
    columns: int = 5,
) -> None:
    """Write how the best trials of a search learned, the best first (Figure 6-24).

    Parameters
    ----------
    curves : validation and training accuracy after every epoch, of each trial

    Raises
    ------
    ArgumentError
        There are none.
    """
    if not curves:
        raise ArgumentError("there is nothing to draw: no trial was completed")
    rows = ceil(len(curves) / columns)
    figure = _figure(1.8 * columns, 1.6 * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for k, axes in enumerate(grid.flat):
        if k >= len(curves):
            axes.set_axis_off()
            continue
        validation, train = curves[k]
        epochs = range(1, len(validation) + 1)
        axes.plot(epochs, validation, label="validation")
        axes.plot(epochs, train, "--", label="train")
        axes.set(ylim=(0, 1))
        axes.set_title(f"Best-{k + 1}", size=10)
    grid[0, 0].legend(fontsize=7)
    figure.supxlabel("epoch", size=10)
    figure.supylabel("accuracy", size=10)
    _write(path, figure)


def _tiles(images: np.ndarray) -> list[np.ndarray]:
    """Each image as (H, W) floats; pixels 0..255 become 0..1."""
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    if images.ndim != 3 or not len(images):
        raise ArgumentError(
            "images with one channel are needed, (N, H, W) or (N, 1, H, W), "
            f"got {images.shape}; draw one channel at a time"
        )
    if images.dtype == np.uint8:
        images = images / np.float32(255)
    return list(images)


def _draw(
    axes: "Axes",
    tiles: Sequence[np.ndarray],
    columns: int,
    titles: Sequence[str] | None = None,
    stretch: bool = False,
) -> None:
    """Draw grey tiles in rows, each in a square of side 1 - GAP, on axes that count downwards.

    Squares are 1 apart, but rows TITLED where there are titles between them.
    """
    pitch = TITLED if titles is not None and len(titles) > columns else 1.0
    black, white = (None, None) if stretch else (0, 1)
    for k, tile in enumerate(tiles):
        row, left = divmod(k, columns)
        top = pitch * row
        height, width = ((1 - GAP) * size / max(tile.shape) for size in tile.shape)
        right, bottom = left + width, top + height
        extent = (left, right, bottom, top)
        axes.imshow(tile, cmap="gray", vmin=black, vmax=white, extent=extent)
        outline = ([left, right, right, left, left], [top, top, bottom, bottom, top])
        axes.plot(*outline, color="0.6", linewidth=0.7, clip_on=False)  # white ends at the page
        if titles is not None and k < len(titles):
            axes.annotate(
                titles[k],
                (left + width / 2, top),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                size=9,
            )
    rows = ceil(len(tiles) / columns)
    axes.set(xlim=(0, columns - GAP), ylim=(pitch * (rows - 1) + 1 - GAP, 0))
    axes.set_axis_off()


def _figure(width: float, height: float) -> "Figure":
    """An empty figure of a size in inches."""
    if not available():
        raise needed("matplotlib", "a picture")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _write(path: str | Path, figure: "Figure") -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight", pad_inches=0.15)
