"""Sentences under pictures."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from xpnet.files.captioned import RIGHT, WRITTEN, WRONG, broken, with_captions
from xpnet.files.masks import TEXT

LONG = "a small red circle is left of a large blue square and of much else besides"


def test_lines_are_no_longer_than_there_is_room():
    font = ImageFont.load_default(TEXT)
    lines = broken(LONG, font, 120)
    assert " ".join(lines) == LONG
    assert 2 < len(lines) < 8
    assert all(font.getlength(line) <= 120 for line in lines)
    assert broken("incomprehensibilities it", font, 20) == ["incomprehensibilities", "it"]
    assert broken("", font, 20) == [""]


@pytest.mark.parametrize("size", [(32, 32), (1500, 40), (30, 2000), (640, 480), (3, 5)])
def test_a_picture_stands_above_its_sentences(size):
    picture = Image.new("RGB", size, (0, 0, 250))
    one = with_captions(picture, [(LONG, WRITTEN)])
    two = with_captions(picture, [(LONG, WRONG), ("right: a ball", RIGHT)])
    assert one.width == two.width <= 640 + 16
    assert one.height < two.height
    pixels = np.asarray(two).reshape(-1, 3)
    for colour in (WRONG, RIGHT, (0, 0, 250)):
        assert (pixels == colour).all(axis=1).any()
    blue = (np.asarray(one) == (0, 0, 250)).all(axis=2)
    rows = np.flatnonzero(blue.any(axis=1))
    black = np.flatnonzero((np.asarray(one) == WRITTEN).all(axis=2).any(axis=1))
    assert rows.max() < black.min()
