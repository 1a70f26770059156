"""Tiny images: read from a file, or drawn."""

import json

import numpy as np
import pytest

from wakui_book import images_of_the_book
from xpnet.data.tiny import (
    FILE,
    draw_tiny_images,
    load_tiny_images,
    parse_images,
    read_tiny_images,
)
from xpnet.errors import ArgumentError, DataError, DataNotFoundError

FIRST = {"rows": ["111", "101", "101", "111"], "label": 0, "target": [1, 0]}
SECOND = {"rows": ["010", "010", "010", "010"], "label": 1, "target": [0, 1]}
WHOLE = {"M1_images_4x3": {"count": 2, "images": [FIRST, SECOND]}}


def test_images_as_text():
    x = parse_images("10/01", "11/00")
    assert x.tolist() == [[[[1, 0], [0, 1]]], [[[1, 1], [0, 0]]]]
    assert x.dtype == np.float64


@pytest.mark.parametrize("texts", [("10/0",), ("10", "1"), ("12",), ("",), ()])
def test_other_texts_are_refused(texts):
    with pytest.raises(ArgumentError) as caught:
        parse_images(*texts)
    assert str(caught.value) == (
        "images are rows of 0 and 1, all of one size, such as '010/010/010/010', "
        f"got {', '.join(map(repr, texts)) or 'none'}"
    )


@pytest.fixture
def path(tmp_path):
    directory = tmp_path / FILE.parent
    directory.mkdir()
    (tmp_path / FILE).write_text(json.dumps(WHOLE))
    return tmp_path / FILE


def test_a_file_is_read(path):
    images = read_tiny_images(path, "M1")
    assert (images.name, images.source) == ("book", f"the book's images from {path}")
    assert images.x.tolist() == parse_images("111/101/101/111", "010/010/010/010").tolist()
    assert images.t.tolist() == [[1, 0], [0, 1]]
    assert images.digits == (0, 1)


@pytest.mark.parametrize(("model", "n", "k"), [("M1", 64, 2), ("M2", 96, 3)])
def test_the_books_file(model, n, k):
    images = images_of_the_book(model)
    assert images.x.shape == (n, 1, *((4, 3) if model == "M1" else (6, 6)))
    assert np.array_equal(images.t, np.repeat(np.eye(k), 32, axis=0))


def changed(**entry):
    images = [FIRST, SECOND | entry]
    return json.dumps({"M1_images_4x3": {"count": 2, "images": images}})


WRONG_IMAGE = "image 2 must be 4 rows of 3 pixels, each 0 or 1, of one of the digits (0, 1), "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected JSON with M1_images_4x3: count and images, each with rows, label and"),
        ("[" * 10**5, "got something else (ValueError: it is nested too deeply"),
        ("\udcff", "got something else (UnicodeDecodeError"),
        ("{}", "got something else (KeyError: 'M1_images_4x3')"),
        ("[]", "got something else (TypeError"),
        ('{"M1_images_4x3": {"count": 1, "images": [{}]}}', "(KeyError: 'rows')"),
        ('{"M1_images_4x3": {"count": 0, "images": []}}', "expected 0 images, got 0; get it"),
        (json.dumps(WHOLE).replace('"count": 2', '"count": 3'), "expected 3 images, got 2; get"),
        (changed(rows=["010"] * 3), WRONG_IMAGE + "with 1 at its place in the target, got '010/"),
        (changed(rows=["01"] * 4), WRONG_IMAGE),
        (changed(rows=["012"] * 4), WRONG_IMAGE),
        (changed(rows=[10] * 4), "got something else (TypeError"),
        (changed(label=2), "got '010/010/010/010', 2 and [0, 1]; get it afresh"),
        (changed(label=2, target=[0, 0]), WRONG_IMAGE),
        (changed(label="1"), WRONG_IMAGE),
        (changed(label="1" * 9999), f" '{'1' * 79}... and [0, 1]; get it afresh"),
        (" " * 2**20 + "{}", "(ValueError: it has more than 1048576 bytes); get it afresh"),
        (changed(target=[1, 0]), WRONG_IMAGE),
        (changed(target=[0, 1, 0]), WRONG_IMAGE),
    ],
)
def test_damaged_files(path, text, message):
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError) as caught:
        read_tiny_images(path, "M1")
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert str(caught.value).endswith("; get it afresh")


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"none\.json: no such file; check the path"):
        read_tiny_images(tmp_path / "none.json", "M1")
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\); check the path"):
        read_tiny_images(tmp_path, "M1")


@pytest.mark.parametrize("f", [draw_tiny_images, lambda model: read_tiny_images("x", model)])
def test_other_models_are_refused(f):
    with pytest.raises(ArgumentError, match="images are those of M1 or M2, got 'M3'; use one of"):
        f("M3")


@pytest.mark.parametrize(
    ("model", "shape", "digits"), [("M1", (4, 3), (0, 1)), ("M2", (6, 6), (1, 2, 3))]
)
def test_drawn_images(model, shape, digits):
    images = draw_tiny_images(model, seed=3)
    assert (images.name, images.source) == ("drawn", "drawn images, seed 3")
    assert images.digits == digits
    assert images.x.shape == (32 * len(digits), 1, *shape)
    assert images.x.dtype == images.t.dtype == np.float64
    assert np.array_equal(images.t, np.repeat(np.eye(len(digits)), 32, axis=0))
    assert set(np.unique(images.x)) == {0, 1}
    assert images.x.sum(axis=(1, 2, 3)).min() >= 2  # no blank sheet
    assert np.array_equal(images.x, draw_tiny_images(model, seed=3).x)
    assert not np.array_equal(images.x, draw_tiny_images(model, seed=4).x)


def test_drawn_digits_look_like_themselves():
    """A 0 has paper in its middle where a 1 has ink, and most differ from each other."""
    zeros, ones = np.split(draw_tiny_images("M1").x, 2)
    middle = (slice(None), 0, slice(1, 3), 1)
    assert zeros[middle].mean() < 0.2 < 0.8 < ones[middle].mean()
    for digit in np.split(draw_tiny_images("M2").x.reshape(96, 36), 3):
        assert len(np.unique(digit, axis=0)) > 20


def test_the_books_file_is_looked_for_in_the_data_directory_and_beside_it(path, monkeypatch):
    root = path.parent.parent
    (root / "mnist").mkdir()
    for directory in (root, root / "mnist"):
        assert load_tiny_images("M1", data_dir=directory).name == "book"
    monkeypatch.setenv("XPNET_DATA_DIR", str(root))
    assert load_tiny_images("M1").name == "book"
    monkeypatch.setenv("XPNET_DATA_DIR", str(root / "mnist" / "deeper"))
    assert load_tiny_images("M1", seed=5).source == "drawn images, seed 5"
    monkeypatch.delenv("XPNET_DATA_DIR")
    assert load_tiny_images("M1").name == "drawn"


def test_a_damaged_file_is_not_passed_over(path):
    path.write_text("{")
    with pytest.raises(DataError, match="get it afresh"):
        load_tiny_images("M1", data_dir=path.parent.parent)


def test_no_arrays_are_shown():
    shown = repr(draw_tiny_images("M1"))
    assert shown == "<TinyImages drawn: 64 images of 4 x 3, digits 0, 1>"
