import re
from itertools import combinations

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.models.proposals import proposals


def flooded(light):
    """Boxes of the 8-connected components, found pixel by pixel."""
    left, found = {*zip(*map(list, np.nonzero(light)), strict=True)}, []
    while left:
        edge, seen = [left.pop()], []
        while edge:
            y, x = edge.pop()
            seen.append((y, x))
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= around
            edge += around
        ys, xs = zip(*seen, strict=True)
        found.append((min(xs), min(ys), max(xs) + 1, max(ys) + 1))
    return found


def by_the_rule(picture):
    """The rule as it is written, one pair after the other."""
    found = set()
    for threshold in (64, 112, 160):
        parts = flooded(picture > threshold)
        found |= {*parts}
        for a, b in combinations(parts, 2):
            gaps = [max(a[k], b[k]) - min(a[k + 2], b[k + 2]) for k in (0, 1)]
            if max(gaps) <= 3:
                found.add((*map(min, a[:2], b[:2]), *map(max, a[2:], b[2:])))
    return sorted(b for b in found if 10 <= b[3] - b[1] <= 34 and 3 <= b[2] - b[0] <= 34)


@pytest.mark.parametrize(
    ("shape", "share"),
    [((64, 64), 0.12), ((41, 70), 0.2), ((50, 33), 0.4), ((10, 3), 0.8), ((1, 1), 0.5)],
)
def test_proposals_are_the_rule(shape, share):
    """Noise of short strokes, in which components touch by corners, nest and reach the border."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, *shape)) * (rng.random((2, *shape)) < share)
    pictures = np.maximum(pictures, np.roll(pictures, 1, axis=1)).astype(np.uint8)
    pictures = np.concatenate([pictures, np.zeros((1, *shape), np.uint8)])
    found = proposals(pictures[:, np.newaxis])
    assert len(found) == 3
    for boxes, picture in zip(found, pictures, strict=True):
        want = by_the_rule(picture)
        assert boxes.shape == (len(want), 4)
        assert [tuple(box) for box in boxes] == want
    if shape == (64, 64):
        assert sum(map(len, found)) > 12
    for some in (pictures / 255, pictures.astype(np.float32) / np.float32(255)):
        for boxes, others in zip(found, proposals(some), strict=True):
            np.testing.assert_array_equal(boxes, others)


def test_spirals_are_one_component():
    """Whose runs are joined by a long way round."""
    picture = np.zeros((34, 34), np.uint8)
    for k in range(0, 16, 4):
        picture[k, k : -k or None] = picture[33 - k, k : 34 - k] = 200
        picture[k : -k or None, 33 - k] = 200
        picture[k + 2 : 34 - k, k] = 200
        picture[k + 2, k : k + 4] = 200
    assert by_the_rule(picture)[0] == (0, 0, 34, 34)
    assert [tuple(box) for box in proposals(picture[np.newaxis])[0]] == by_the_rule(picture)


def test_fewer_thresholds_and_no_pairs_propose_less():
    rng = np.random.default_rng(0)
    pictures = (rng.random((3, 40, 40)) < 0.25) * rng.integers(0, 256, (3, 40, 40))
    pictures = pictures.astype(np.uint8)
    every = proposals(pictures)
    for options in ({"pairs": False}, {"thresholds": [112]}, {"thresholds": []}):
        fewer = proposals(pictures, **options)
        for a, b in zip(fewer, every, strict=True):
            assert {*map(tuple, a)} < {*map(tuple, b)}


def test_no_pictures():
    assert proposals(np.zeros((0, 1, 64, 64), np.uint8)) == []


def test_pictures_at_a_time_do_not_matter(monkeypatch):
    rng = np.random.default_rng(1)
    pictures = (255 * (rng.random((5, 40, 40)) < 0.3)).astype(np.uint8)
    want = proposals(pictures)
    monkeypatch.setattr("xpnet.models.proposals.AT_A_TIME", 3200)
    for a, b in zip(want, proposals(pictures), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (np.zeros((2, 3, 8, 8), np.uint8), "grey pictures are (N, 1, H, W) or (N, H, W)"),
        (np.zeros((8, 8), np.uint8), "got (8, 8)"),
        (np.full((1, 8, 8), 200.0), "floats from 0 to 1, got float64 from 200.0 to 200.0"),
        (np.full((1, 8, 8), np.nan), "floats from 0 to 1, got float64 from nan"),
        (np.zeros((1, 8, 8), np.int64), "got int64 from 0 to 0"),
    ],
)
def test_other_pictures(images, text):
    with pytest.raises(ArgumentError, match=re.escape(text)):
        proposals(images)
