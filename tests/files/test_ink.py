"""A digit is read alike, whatever lies around it and however light falls on it."""

import numpy as np
import pytest
from PIL import Image

from xpnet.errors import DataError
from xpnet.files.ink import SEVERAL, UNEVEN, find_ink
from xpnet.files.pictures import read_picture, read_picture_with_remarks, save_picture
from xpnet.report.evaluate import SURE, doubt

SIDE = 280
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]


def stroke(image, row, column, to_row, to_column, width=22):
    """Draw a line of ink, 1, with round ends."""
    along = np.array([to_row - row, to_column - column], float)
    length = np.hypot(*along)
    r, c = np.mgrid[: image.shape[0], : image.shape[1]]
    at = np.clip(((r - row) * along[0] + (c - column) * along[1]) / length**2, 0, 1)
    off = np.hypot(r - row - at * along[0], c - column - at * along[1])
    np.maximum(image, np.clip(width / 2 - off + 0.5, 0, 1), out=image)


def four(side=SIDE, *, scale=1.0, row=0, column=0, width=22.0):
    """How much ink there is of a four, from 0 to 1."""
    ink = np.zeros((side, side))
    for line in [(45, 110, 150, 80), (150, 80, 150, 200), (90, 170, 240, 160)]:
        ends = [scale * x + (column if k % 2 else row) for k, x in enumerate(line)]
        stroke(ink, *ends, width=scale * width)
    return ink


FOUR = four()
"""Drawing takes longer than reading."""


def drawn(ink=FOUR, dark=40.0, paper=235.0):
    return paper + (dark - paper) * ink


def read(tmp_path, light, name="a.png"):
    """An image and remarks of a picture with these values; arrays of integers as they are."""
    values = np.asarray(light)
    if values.dtype.kind == "f":
        values = np.clip(np.round(values), 0, 255).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / name)
    return read_picture_with_remarks(tmp_path / name)


@pytest.fixture
def plain(tmp_path):
    image, remarks = read(tmp_path, drawn())
    assert remarks == []
    return image


def framed(width, value=0, sides="tblr", light=None):
    light = drawn() if light is None else light.copy()
    for side in sides:
        index = {"t": np.s_[:width], "b": np.s_[-width:], "l": np.s_[:, :width]}
        light[index.get(side, np.s_[:, -width:])] = value
    return light


def boxed(off, width):
    light = drawn()
    line = np.minimum(np.minimum(ROWS, COLUMNS), SIDE - 1 - np.maximum(ROWS, COLUMNS))
    light[(line >= off) & (line < off + width)] = 40
    return light


def specks():
    light, rng = drawn(), np.random.default_rng(0)
    for row, column, size in zip(*rng.integers(5, 270, (2, 20)), [1, 2, 3, 4, 5] * 4, strict=True):
        light[row : row + size, column : column + size] = 0
    return light


def noisy(light, deviation):
    return light + deviation * np.random.default_rng(0).standard_normal(light.shape)


def grain():
    small = np.random.default_rng(0).uniform(0.5, 1, (SIDE // 2, SIDE // 2))
    return np.kron(small, np.ones((2, 2)))


SHADE = np.where((ROWS + COLUMNS) / SIDE < 0.6, 0.5, 1.0)
FALL = 1 - 0.65 * COLUMNS / (SIDE - 1)
CENTRE = 0.5 + 0.25 * (((ROWS - 140) / 140) ** 2 + ((COLUMNS - 140) / 140) ** 2)

SEEN = {
    "outline of 1": framed(1),
    "outline of 3": framed(3),
    "outline of 6": framed(6),
    "grey outline of 20": framed(20, 120),
    "white outline on black": framed(4, 255, light=drawn(dark=220, paper=30)),
    "a scan's edge": framed(5, 10, "b"),
    "two edges": framed(4, 0, "tl"),
    "an outline 2 from the edge": boxed(2, 4),
    "an outline 2 from the edge, on a blackboard": 255 - boxed(2, 4),
    "a box": boxed(20, 4),
    "a box that the digit touches": boxed(26, 3),
    "specks": specks(),
    "specks on a blackboard": 255 - specks(),
    "a corner in shadow": drawn() * SHADE,
    "a corner of a blackboard in shadow": drawn(dark=230, paper=90) * SHADE,
    "light that falls to 35 %": drawn() * FALL,
    "light that falls downward": drawn() * FALL.T,
    "a dark middle": drawn() * CENTRE,
    "dark corners": drawn() * (1.35 - CENTRE / 1.4),
    "a shadow across": drawn() * np.where(np.abs(COLUMNS - 140) < 45, 0.6, 1),
    "noise": noisy(drawn(), 40),
    "shadow and noise": noisy(drawn() * SHADE, 12),
    "pencil": drawn(FOUR * grain(), 110),
    "pencil in light that falls": drawn(FOUR * grain(), 110) * FALL,
    "outline, pencil, noise, light that falls": framed(
        3, light=noisy(drawn(FOUR * grain(), 90) * (0.4 + 0.6 * FALL), 6)
    ),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_is_around_a_digit_is_not_read(tmp_path, plain, name):
    """Edges of strokes may be half a pixel off; a frame or a shadow would move all of them."""
    image, remarks = read(tmp_path, SEEN[name])
    assert np.mean(np.abs(image - plain)) < 0.05
    assert remarks == []


@pytest.mark.parametrize("grey", [180, 190, 200, 215])
def test_a_faint_outline_is_no_ground(tmp_path, plain, grey):
    """As the edge of a scan, or a line of squared paper there."""
    image, remarks = read(tmp_path, np.pad(drawn(), 1, constant_values=grey))
    assert (np.mean(np.abs(image - plain)) < 0.03, remarks) == (True, [])


def test_a_grey_pixel_far_away_is_no_ink(tmp_path):
    """It is in a corner of a picture in which the digit is small."""
    light = drawn(four(600, scale=0.5, row=230, column=230))
    want, _ = read(tmp_path, light)
    light[15, 20] = 60
    image, remarks = read(tmp_path, light)
    np.testing.assert_allclose(image, want, atol=1e-6)
    assert remarks == []


@pytest.mark.parametrize("around", [60.0, 110.0, 170.0])
def test_a_sheet_on_something_darker_is_the_ground(tmp_path, plain, around):
    light = np.full((400, 420), around)
    light[60:340, 70:350] = drawn()
    image, remarks = read(tmp_path, light)
    assert np.mean(np.abs(image - plain)) < 0.05
    assert remarks == []


def test_a_small_digit_is_found_in_a_large_picture(tmp_path, plain):
    image, remarks = read(tmp_path, drawn(four(900, scale=0.3, row=610, column=20)))
    assert np.mean(np.abs(image - plain)) < 0.03
    assert remarks == []


def test_a_digit_of_a_few_pixels_of_what_is_looked_at_first_is_a_line(tmp_path):
    page = np.zeros((1500, 2000))
    page[2:32, 2:32] = four(30, scale=0.1)
    assert read(tmp_path, drawn(page))[1] == []


@pytest.mark.parametrize(("scale", "row", "column"), [(0.1, 4, 4), (0.05, 0, 13), (0.13, -5, -4)])
def test_28_pixels_that_are_not_laid_out_as_mnists_are_fitted(tmp_path, plain, scale, row, column):
    """Moved, half as large in a corner, 26 pixels high; as they are they would all differ."""
    ink = four(28, scale=scale, row=row, column=column, width=26)
    image, _ = read(tmp_path, 255 * ink)
    assert np.mean(np.abs(image - 255 * ink / 255)) > 0.05
    assert np.mean(np.abs(image - plain)) < 0.06


def test_mnists_layout_stays(tmp_path, plain):
    save_picture(tmp_path / "a.png", plain)
    again, remarks = read_picture_with_remarks(tmp_path / "a.png")
    np.testing.assert_allclose(again, plain, atol=0.5 / 255)
    assert remarks == []


# Modes of files.


def test_white_ink_on_nothing_is_read(tmp_path, plain):
    """The pixels around a stroke are half black, as drawing programs leave them."""
    alpha = Image.fromarray(np.round(255 * FOUR).astype(np.uint8))
    for name, ink in {"white": np.full_like(FOUR, 255), "fringed": 255 * FOUR}.items():
        grey = Image.fromarray(np.round(ink).astype(np.uint8))
        Image.merge("RGBA", [grey, grey, grey, alpha]).save(tmp_path / f"{name}.png")
        Image.merge("LA", [grey, alpha]).save(tmp_path / f"{name}-la.png")
        for mode in ("", "-la"):
            image, remarks = read_picture_with_remarks(tmp_path / f"{name}{mode}.png")
            assert np.mean(np.abs(image - plain)) < 0.03
            assert remarks == []


def test_a_card_with_clear_corners_is_no_white_ink(tmp_path, plain):
    grey = Image.fromarray(drawn(dark=150).astype(np.uint8))
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:20, :20] = 0
    Image.merge("LA", [grey, Image.fromarray(alpha)]).save(tmp_path / "a.png")
    assert np.mean(np.abs(read_picture(tmp_path / "a.png") - plain)) < 0.03


@pytest.mark.parametrize(
    ("dtype", "most"), [(np.uint16, 255), (np.uint16, 1023), (np.uint16, 65535), (np.uint8, 1)]
)
def test_contrast_is_judged_by_the_depth_that_is_used(tmp_path, plain, dtype, most):
    image, _ = read(tmp_path, np.round(most * (1 - FOUR)).astype(dtype))
    assert np.mean(np.abs(image - plain)) < 0.03


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_print_and_film_colours(tmp_path, plain, mode):
    picture = Image.fromarray(drawn().astype(np.uint8)).convert("RGB").convert(mode)
    picture.save(tmp_path / "a.jpg", quality=95)
    assert np.mean(np.abs(read_picture(tmp_path / "a.jpg") - plain)) < 0.03


@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        ((40, 60, 180), (250, 250, 240)),
        ((200, 60, 60), (60, 131, 60)),
        ((255, 255, 0), (250, 250, 250)),
    ],
)
def test_colours_tell_where_brightness_does_not(tmp_path, plain, ink, paper):
    bands = [drawn(dark=a, paper=b) for a, b in zip(ink, paper, strict=True)]
    Image.fromarray(np.stack(bands, axis=-1).astype(np.uint8)).save(tmp_path / "a.png")
    assert np.mean(np.abs(read_picture(tmp_path / "a.png") - plain)) < 0.03


# What is doubtful is told.


def two(scale=0.5, column=140):
    ink = np.maximum(four(scale=0.5, row=60), four(scale=scale, row=60, column=column))
    return drawn(ink)


@pytest.mark.parametrize("light", [two(), two(0.3, 170), np.rot90(two())])
def test_several_digits_are_told(tmp_path, capsys, light):
    _, remarks = read(tmp_path, light)
    assert remarks == [SEVERAL]
    read_picture(tmp_path / "a.png")
    assert capsys.readouterr().err == f"xpnet: {tmp_path / 'a.png'} {SEVERAL}\n"


def test_what_is_no_line_is_told(tmp_path):
    """A patch of light or shade that was taken for ink."""
    patch = np.hypot(ROWS - 140, COLUMNS - 140) < 45
    assert read(tmp_path, drawn(patch, dark=120))[1] == [UNEVEN]


EMPTY = {
    "noise": noisy(np.full((SIDE, SIDE), 200.0), 20),
    "light that falls": 200 * FALL,
    "an outline": framed(3, light=np.full((SIDE, SIDE), 200.0)),
    "28 pixels of noise": noisy(np.full((28, 28), 100.0), 30),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_page_shows_no_digit(tmp_path, name):
    with pytest.raises(DataError) as caught:
        read(tmp_path, EMPTY[name])
    assert str(caught.value) == (
        f"{tmp_path / 'a.png'} shows no digit: nothing stands out from its ground; "
        "give a picture with more contrast"
    )


def test_pieces_are_those_of_a_flood_fill():
    """Against the definition: names spread from pixel to pixel, corners included."""
    from xpnet.files.ink import _pieces

    rng = np.random.default_rng(0)
    for shape, share in [((1, 1), 1), ((7, 1), 0.5), ((30, 40), 0.4), ((30, 40), 0.6), ((9, 9), 0)]:
        there = rng.random(shape) < share
        want = np.where(there, 1 + np.arange(there.size).reshape(shape), 0)
        while True:
            wide = np.pad(want, 1)
            near = [wide[r : r + shape[0], c : c + shape[1]] for r in range(3) for c in range(3)]
            spread = np.where(there, np.max(near, axis=0), 0)
            if np.array_equal(spread, want):
                break
            want = spread
        names, pieces = _pieces(there)
        found = np.unique(want[there])
        assert len(pieces) == len(found)
        for value in found:
            rows, columns = np.nonzero(want == value)
            (number,) = set(names[want == value].tolist())
            box = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            assert pieces[number].tolist() == [len(rows), *box]
        assert np.all(names[~there] == -1)


def test_nothing_is_found_in_nothing():
    assert find_ink(np.ones((50, 40), np.float32)) is None


def test_an_unsure_answer_is_doubted():
    assert doubt(np.array([1 - SURE, SURE])) is None
    assert doubt(np.array([0.1, 0.4, 0.5])) == (
        "may be wrongly read: 2 with probability 0.50, 1 with 0.40"
    )
