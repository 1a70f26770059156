"""Photographs as networks read them."""

import json

import numpy as np
import pytest
from PIL import Image

from xpnet import Photographs
from xpnet.errors import ArgumentError, DataError, DataNotFoundError, WeightsError

SEEN = Photographs(8, 127, 128)
GREY = np.arange(256, dtype="uint8").reshape(16, 16)


def saved(path, array, **how):
    Image.fromarray(array).save(path, **how)
    return path


def test_the_middle_square_is_read_in_the_networks_numbers(tmp_path):
    """A picture of the network's own size keeps its pixels."""
    picture = np.random.default_rng(0).integers(0, 256, (8, 14, 3)).astype("uint8")
    x = SEEN.read(saved(tmp_path / "p.png", picture))
    assert (x.shape, x.dtype) == ((3, 8, 8), "float32")
    np.testing.assert_array_equal(x, (picture[:, 3:11].transpose(2, 0, 1) - 127.0) / 128)


def test_it_is_scaled_bicubically_by_pillow(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (20, 26, 3)).astype("uint8")
    square = Image.fromarray(picture).crop((3, 0, 23, 20)).resize((8, 8), Image.Resampling.BICUBIC)
    seen = Photographs(8, (1, 2, 3), (4, 5, 6))
    want = (np.asarray(square, "float32") - (1, 2, 3)) / (4, 5, 6)
    got = seen.read(saved(tmp_path / "p.png", picture))
    np.testing.assert_allclose(got, want.transpose(2, 0, 1), rtol=1e-6)
    half = Photographs(8, 0, 1, crop=0.5).read(tmp_path / "p.png")
    square = Image.fromarray(picture).crop((8, 5, 18, 15)).resize((8, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(half, np.asarray(square, "float32").transpose(2, 0, 1))


def test_grey_transparent_and_turned_pictures(tmp_path):
    grey = SEEN.read(saved(tmp_path / "g.png", GREY))
    np.testing.assert_array_equal(grey[0], grey[1])
    np.testing.assert_array_equal(grey[0], grey[2])
    deep = SEEN.read(saved(tmp_path / "d.png", GREY.astype("uint16") * 257))
    np.testing.assert_array_equal(deep, grey)
    clear = np.zeros((16, 16, 4), "uint8")
    clear[8:, :, 3] = 255  # black below, and nothing above
    x = SEEN.read(saved(tmp_path / "c.png", clear))
    assert (x[:, 0].min(), x[:, -1].max()) == (1.0, -127 / 128)
    exif = Image.Exif()
    exif[0x0112] = 6  # its top is at the right
    turned = SEEN.read(saved(tmp_path / "t.png", np.rot90(GREY).copy(), exif=exif))
    np.testing.assert_array_equal(turned, grey)


def test_what_shows_little_is_told_and_what_shows_nothing_refused(tmp_path):
    tiny = np.asarray([[0, 255], [255, 0]], "uint8")
    _, remarks = Photographs(9, 0, 1).read_with_remarks(saved(tmp_path / "t.png", tiny))
    assert remarks == ["shows 2 x 2 pixels to a network of 9 x 9"]
    with pytest.raises(DataError, match=r"p.png shows nothing: its pixels are all nearly alike"):
        SEEN.read(saved(tmp_path / "p.png", np.full((9, 9), 7, "uint8")))
    with pytest.raises(DataError, match=r"p.png shows nothing: its pixels are all nearly alike"):
        SEEN.read(saved(tmp_path / "p.png", np.full((9, 9, 3), (7, 99, 200), "uint8")))
    (tmp_path / "b.png").write_bytes((tmp_path / "t.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"b.png cannot be read as a picture"):
        SEEN.read(tmp_path / "b.png")
    with pytest.raises(DataNotFoundError, match="does not exist"):
        SEEN.read(tmp_path / "no.png")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"size": 0}, "size must be a number of pixels, up to 16384, got 0"),
        ({"size": 2.5}, "size must be a number of pixels, up to 16384, got 2.5"),
        ({"size": 10**9}, "size must be a number of pixels, up to 16384, got 10"),
        ({"mean": 1e39}, "mean must be a number, or .* of at most 1e[+]15, got 1e[+]39"),
        ({"std": 1e39}, "std must be a number, or .* of at most 1e[+]15, got 1e[+]39"),
        ({"std": 1e-320}, "std must be above 0, and not below 1e-15, got 1e-320"),
        (
            {"mean": (1, 2)},
            r"mean must be a number, or one for each of three colours, of at most",
        ),
        (
            {"mean": float("nan")},
            "mean must be a number, or one for each of three colours",
        ),
        ({"std": (1, 0, 1)}, r"std must be above 0, and not below 1e-15, got \(1, 0, 1\)"),
        ({"crop": 1.5}, "crop must be a share above 0 and up to 1, got 1.5"),
        ({"classes": "cat"}, "classes must be names of one line, such as .* got 'cat'"),
        ({"classes": ("cat", 3)}, "classes must be names of one line, such as"),
        ({"classes": 3}, "classes must be names of one line, such as .* got 3"),
        ({"classes": ()}, "classes must be names of one line, such as"),
        ({"classes": ("cat", "a\ndog")}, "classes must be names of one line, such as"),
        ({"classes": ("\x1b[2J", "dog")}, "classes must be names of one line, such as"),
        ({"classes": ("cat", "cat")}, "classes must be names of which no two are alike"),
    ],
)
def test_what_they_are_described_by_is_checked(how, message):
    with pytest.raises(ArgumentError, match=message):
        Photographs(**({"size": 8, "mean": 127, "std": 128} | how))


def test_they_can_be_written_down(tmp_path):
    seen = Photographs(8, (1, 2.5, 3), 7, crop=0.875, classes=["cat", "dog"])
    assert Photographs.from_text(seen.as_text(), tmp_path) == seen
    assert json.loads(seen.as_text())["mean"] == [1, 2.5, 3]
    for text in ("", "[]", "3", '{"size": 8}', '{"size": 8, "mean": 1, "std": 0}', "[" * 9999):
        with pytest.raises(WeightsError, match="says how photographs are read in a way that this"):
            Photographs.from_text(text, tmp_path)


def test_a_thousand_classes_are_not_all_shown():
    few = Photographs(8, 127, 128, classes=("cat", "dog"))
    assert repr(few).endswith("std=(128.0, 128.0, 128.0), crop=1.0, classes=('cat', 'dog'))")
    many = Photographs(8, 127, 128, classes=[f"kind {k}" for k in range(1000)])
    assert repr(many).endswith(" classes=<1000 names, 'kind 0' to 'kind 999'>)")
