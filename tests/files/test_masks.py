"""Masks: what is read of pictures for them, how they are drawn, and how COCO's files have them."""

import numpy as np
import pytest
from PIL import Image

from xpnet.errors import DataError, DataNotFoundError
from xpnet.files.masks import (
    COLOURS,
    GROUND,
    LEFT_OUT,
    enlarged_labels,
    overlay,
    palette,
    read_whole,
    run_lengths,
    save_png,
    sheet,
)
from xpnet.files.masks import mask_of as coloured

SHAPE = (3, 12, 16)


def lengths_of(text):
    """The numbers of a text of run lengths, by the rules of COCO's format."""
    found, place = [], 0
    while place < len(text):
        number, shift, more = 0, 0, True
        while more:
            bits = ord(text[place]) - 48
            number |= (bits & 31) << shift
            more, shift, place = bits & 32, shift + 5, place + 1
        if bits & 16:
            number -= 1 << shift
        found.append(number + (found[-2] if len(found) > 2 else 0))
    return found


def mask_of(found):
    """The mask of run lengths."""
    height, width = found["size"]
    runs = [np.full(n, k % 2, bool) for k, n in enumerate(lengths_of(found["counts"]))]
    return np.concatenate([np.zeros(0, bool), *runs]).reshape(width, height).T


def test_run_lengths_are_known_ones():
    """Those of pycocotools 2.0 for the same masks."""
    mask = np.zeros((3, 4), bool)
    mask[1:, 1:3] = True
    assert run_lengths(mask) == {"size": [3, 4], "counts": "42102"}
    assert run_lengths(~mask)["counts"] == "042M02"
    assert lengths_of(run_lengths(mask)["counts"]) == [4, 2, 1, 2, 3]
    assert lengths_of(run_lengths(~mask)["counts"]) == [0, 4, 2, 1, 2, 3]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (30, 41), (48, 64)])
def test_run_lengths_give_the_mask_again(shape):
    rng = np.random.default_rng(0)
    for share in (0.0, 0.03, 0.5, 0.97, 1.0):
        mask = rng.random(shape) < share
        np.testing.assert_array_equal(mask_of(run_lengths(mask)), mask)
    large = np.zeros((300, 400), bool)
    large[:, 7:9] = large[5, 20:] = True
    np.testing.assert_array_equal(mask_of(run_lengths(large)), large)


def test_a_picture_is_seen_whole(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 32, 3), dtype="uint8")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    seen = read_whole(tmp_path / "a.png", SHAPE)
    assert (seen.x.shape, seen.x.dtype, seen.size, seen.remarks) == (SHAPE, np.uint8, (32, 24), [])
    np.testing.assert_array_equal(np.asarray(seen.picture), pixels)
    means = pixels.reshape(12, 2, 16, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    assert np.corrcoef(seen.x.reshape(-1), means.reshape(-1))[0, 1] > 0.9
    same = read_whole(tmp_path / "a.png", (3, 24, 32))
    np.testing.assert_array_equal(same.x, pixels.transpose(2, 0, 1))  # as scenes go in
    grey = read_whole(tmp_path / "a.png", (1, 24, 32))
    assert grey.x.shape == (1, 24, 32)


def test_pictures_of_all_kinds(tmp_path):
    grey = np.tile(np.arange(0, 240, 10, dtype="uint8"), (18, 1))
    clear = np.dstack([*[grey] * 3, np.full_like(grey, 128)])
    clear[0] = 0
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(clear).save(tmp_path / "clear.png")
    Image.fromarray(grey.astype("uint16") * 257).save(tmp_path / "deep.png")
    Image.fromarray(grey).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    seen = read_whole(tmp_path / "grey.png", (3, 18, 24))
    np.testing.assert_array_equal(seen.x, [grey] * 3)
    np.testing.assert_array_equal(read_whole(tmp_path / "deep.png", (1, 18, 24)).x[0], grey)
    on_white = read_whole(tmp_path / "clear.png", (3, 18, 24)).x
    assert on_white[:, 0].min() == 255
    assert abs(int(on_white[0, 5, 3]) - (30 * 128 + 255 * 127) / 255) < 2
    turned = read_whole(tmp_path / "turned.jpg", (1, 24, 18))
    assert turned.size == turned.picture.size == (18, 24)
    np.testing.assert_allclose(turned.x[0], np.rot90(grey, -1), atol=6)


def test_large_pictures_keep_their_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("L", (2500, 1999), 90).save(tmp_path / "large.png", exif=exif)
    seen = read_whole(tmp_path / "large.png", (1, 8, 8))
    assert seen.size == (1999, 2500)
    assert seen.picture.size == (1000, 1250)


def test_doubtful_pictures_are_remarked_upon(tmp_path):
    for size, told in (
        ((3, 2), ["shows 3 x 2 pixels to a network of 16 x 12"]),
        ((60, 12), ["is 60 x 12 pixels, and is seen stretched to 16 x 12"]),
        ((16, 12), []),
        ((20, 12), []),
    ):
        Image.new("RGB", size).save(tmp_path / "a.png")
        assert read_whole(tmp_path / "a.png", SHAPE).remarks == told


def test_what_is_no_picture_is_refused(tmp_path):
    with pytest.raises(DataNotFoundError, match="does not exist"):
        read_whole(tmp_path / "none.png", SHAPE)
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(DataError, match="cannot be read as a picture"):
        read_whole(tmp_path / "a.png", SHAPE)


def test_masks_are_brought_to_the_size_of_the_picture():
    scores = np.zeros((3, 4, 6))
    scores[0, :, :3] = scores[1, :, 3:] = 1.0
    same = enlarged_labels(scores, (6, 4))
    np.testing.assert_array_equal(same, scores.argmax(axis=0))
    large = enlarged_labels(scores, (60, 40))
    np.testing.assert_array_equal(large, np.tile(np.arange(60) >= 30, (40, 1)))
    assert enlarged_labels(scores, (2, 1)).tolist() == [[0, 1]]
    assert large.dtype == np.uint8
    assert not enlarged_labels(np.zeros((5, 4, 4)), (9, 9)).any()  # the first of equals


def test_classes_have_colours_of_their_own():
    names = ("background", *map(str, range(40)))
    found = palette(names)
    assert found[0] == GROUND
    assert found[1] == COLOURS[1]
    assert len(set(found)) == len(names)
    assert LEFT_OUT not in found


def test_masks_are_files_of_numbers_in_colours(tmp_path):
    labels = np.array([[0, 1, 2], [2, 255, 0]], dtype="uint8")
    save_png(tmp_path / "m.png", coloured(labels, ("sky", "road", "tree")))
    with Image.open(tmp_path / "m.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), labels)
        colours = np.asarray(picture.convert("RGB"))
    assert [tuple(colours[0, k]) for k in range(3)] == list(COLOURS[:3])
    assert tuple(colours[1, 1]) == LEFT_OUT


def test_the_background_is_shown_as_it_is():
    picture = Image.new("RGB", (2, 1), (100, 100, 100))
    mixed = np.asarray(overlay(picture, np.array([[0, 1]], "uint8"), ("background", "a")))
    assert mixed[0, 0].tolist() == [100, 100, 100]
    assert np.abs(mixed[0, 1] - (100 + np.array(COLOURS[1])) / 2).max() <= 1


def test_a_sheet_has_pictures_side_by_side_and_a_legend():
    red, blue = Image.new("RGB", (8, 6), (255, 0, 0)), Image.new("RGB", (8, 6), (0, 0, 255))
    page = sheet([("one", red), ("two", blue)], [((0, 200, 0), "trees 10.0 %")])
    pixels = np.asarray(page).reshape(-1, 3)
    counts = [int((pixels == colour).all(axis=1).sum()) for colour in ((255, 0, 0), (0, 0, 255))]
    assert counts == [320 * 240] * 2  # enlarged 40 times
    assert (pixels == (0, 200, 0)).all(axis=1).sum() > 100
    alone = sheet([("", Image.new("RGB", (700, 20)))], [])
    assert alone.size == (716, 36)
