"""Pictures, looked at as far as a test can."""

import numpy as np
import pytest
from PIL import Image

from xpnet import synthetic_digits
from xpnet.errors import ArgumentError, OutputError
from xpnet.report import plots

WEIGHTS = np.random.default_rng(0).standard_normal((6, 1, 5, 5))


@pytest.fixture(scope="module")
def digits():
    return synthetic_digits(30, seed=0)


@pytest.fixture
def picture(tmp_path):
    """The path of a picture to be, and a function that reads it as (H, W, 3) bytes."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / "picture.png"

    def read():
        with Image.open(path) as opened:
            assert opened.format == "PNG"
            pixels = np.asarray(opened.convert("RGB"))
        assert all(100 < side < 2000 for side in pixels.shape[:2]), pixels.shape
        assert pixels.std() > 20, "the picture is nearly empty"
        return pixels

    return path, read


def dark_tiles(pixels):
    """Columns and rows of dark tiles on white: runs of lines of pixels that are mostly dark."""
    counts = []
    for axis in (0, 1):
        dark = (pixels.max(axis=2) < 80).mean(axis=axis) > 0.3
        counts.append(int(np.sum(dark[1:] & ~dark[:-1]) + dark[0]))
    return tuple(counts)


@pytest.mark.parametrize("titles", [None, [f"number {n}" for n in range(12)]])
def test_image_grid(picture, digits, titles):
    path, read = picture
    plots.image_grid(path, digits[0][:12] // 4, columns=4, titles=titles)
    assert dark_tiles(read()) == (4, 3)


def test_stretching_makes_faint_images_plain(picture, digits):
    path, read = picture
    faint = digits[0][:4] / np.float32(2550)
    plots.image_grid(path, faint, columns=2)
    plain = read()
    plots.image_grid(path, faint, columns=2, stretch=True)
    assert read().mean() > plain.mean() + 5


def test_filters(picture):
    path, read = picture
    plots.filters(path, 0.01 * WEIGHTS, WEIGHTS)
    pixels = read()
    height, width = pixels.shape[:2]
    # Each tile has its own black and white, so a factor is not seen.
    left, right = (pixels[:, side : side + width // 2].mean() for side in (0, width // 2))
    assert abs(left - right) < 3
    assert width > height


def test_filtered(picture, digits):
    path, read = picture
    outputs = np.random.default_rng(1).standard_normal((6, 24, 24))
    plots.filtered(path, digits[0][0], WEIGHTS, outputs, [f"filter {k}" for k in range(6)])
    read()


def test_misclassified_shows_what_was_misread(picture, digits):
    path, read = picture
    x, t = digits
    wrong = t.copy()
    wrong[5:17] = (t[5:17] + 1) % 10
    plots.misclassified(path, x // 4, t, wrong)
    assert dark_tiles(read()) == (5, 3)
    plots.misclassified(path, x // 4, t, wrong, count=3)
    assert dark_tiles(read()) == (3, 1)
    with pytest.raises(ArgumentError, match="nothing to draw: no image was misread"):
        plots.misclassified(path, x, t, t)


def test_confusion_matrix_colours_the_worst_error_most(picture):
    path, read = picture
    matrix = np.diag(np.full(10, 90))
    matrix[0, 9] = 8  # top right
    plots.confusion_matrix(path, matrix)
    pixels = read().astype(int)
    red = (pixels[..., 0] - pixels[..., 2] > 60).nonzero()
    assert red[0].max() < 0.3 * pixels.shape[0]
    assert red[1].min() > 0.7 * pixels.shape[1]


def test_augmented(picture, digits):
    path, read = picture
    x = digits[0][:3] // 4
    plots.augmented(path, x, {"mirrored": x[..., ::-1], "upside down": x[..., ::-1, :]})
    assert dark_tiles(read()) == (3, 3)


def test_colour_images_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"one channel .* got \(2, 3, 8, 8\)"):
        plots.image_grid(tmp_path / "a.png", np.zeros((2, 3, 8, 8)), columns=2)


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "available", lambda: False)
    with pytest.raises(ArgumentError, match=r"needs matplotlib.*: pip install 'xpnet\[plot\]'"):
        plots.filters(tmp_path / "a.png", WEIGHTS, WEIGHTS)


def test_a_place_that_is_not_there(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    with pytest.raises(OutputError, match="cannot write"):
        plots.filters(tmp_path / "no" / "a.png", WEIGHTS, WEIGHTS)
