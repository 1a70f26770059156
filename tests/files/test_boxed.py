"""Pictures as a detector of light digits sees them, and boxes drawn on pictures."""

import numpy as np
import pytest
from PIL import Image

from xpnet.errors import DataError
from xpnet.files.boxed import boxes_in, read_scene, with_boxes
from xpnet.files.masks import HIGHEST, LEAST, sheet, times_of


def picture(path, size, box, ground=20, pen=240, mode="L"):
    image = Image.new("L", size, ground)
    image.paste(pen, box)
    image.convert(mode).save(path)
    return path


@pytest.mark.parametrize("side", [64, 100])
@pytest.mark.parametrize(("width", "height"), [(320, 160), (50, 200), (64, 64), (7, 9)])
def test_a_picture_is_scaled_and_its_boxes_come_back(tmp_path, width, height, side):
    box = (width // 7, height // 3, width // 2, height // 2 + 1)
    read = read_scene(picture(tmp_path / "a.png", (width, height), box), side)
    assert read.x.shape == (1, side, side)
    assert read.x.dtype == np.float32
    assert (read.size, read.remarks) == ((width, height), [])
    assert read.scale == side / max(width, height)
    across, down = round(width * read.scale), round(height * read.scale)
    assert not read.x[0, down:].any()
    assert not read.x[0, :, across:].any()
    light = np.argwhere(read.x[0] > 0.5)
    seen = np.array([*light.min(axis=0)[::-1], *(light.max(axis=0)[::-1] + 1)], float)
    found = boxes_in(read, seen[None])[0]
    np.testing.assert_allclose(found, box, atol=1.01 * max(1, 1 / read.scale))
    beyond = boxes_in(read, np.array([[-5.0, -5, 2 * side, 2 * side]]))
    np.testing.assert_array_equal(beyond, [[0, 0, width, height]])


def test_what_is_dark_on_light_is_seen_light_on_dark(tmp_path):
    light = read_scene(picture(tmp_path / "a.png", (64, 64), (10, 10, 30, 50)), 64)
    dark = read_scene(picture(tmp_path / "b.png", (64, 64), (10, 10, 30, 50), 235, 15), 64)
    np.testing.assert_allclose(dark.x, light.x, atol=1e-6)
    assert dark.remarks == ["is dark on light, and is seen light on dark"]
    assert (light.x.min(), light.x.max()) == (0, 1)


def test_nothing_is_seen_where_nothing_is(tmp_path):
    read = read_scene(picture(tmp_path / "a.png", (30, 20), (3, 3, 9, 9), 100, 110), 64)
    assert not read.x.any()
    assert read.remarks == ["shows hardly any contrast, and is seen as if nothing were on it"]


def test_shadows_on_paper_are_taken_off(tmp_path):
    """Dark strokes on a page that is half as light at one corner; then the page alone."""
    light = np.linspace(0.45, 1, 320) * np.linspace(1, 0.8, 240)[:, np.newaxis]
    page = np.ones((240, 320))
    page[40:120, 40:52] = page[150:162, 200:280] = 0.2
    for name, pixels in {"a": 240 * light * page, "b": 240 * light}.items():
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
    read = read_scene(tmp_path / "a.png", 64)
    assert read.remarks == [
        "is dark on light, and is seen light on dark",
        "lies in uneven light, which is taken off",
    ]
    ink = np.zeros((64, 64), dtype=bool)
    ink[8:24, 8:11] = ink[30:33, 40:56] = True
    assert read.x[0][ink].min() > 0.3  # at the edges, which are less than half ink
    assert read.x[0, 12:20, 9].min() > 0.9
    assert read.x[0, 31, 42:54].min() > 0.9
    ink[7:25, 7:12] = ink[29:34, 39:57] = True
    assert read.x[0][~ink].max() < 0.02
    bare = read_scene(tmp_path / "b.png", 64)
    assert not bare.x.any()
    assert bare.remarks == ["shows hardly any contrast, and is seen as if nothing were on it"]


def test_thin_lines_are_as_light_as_others(tmp_path):
    read = read_scene(picture(tmp_path / "a.png", (640, 640), (100, 100, 103, 400)), 64)
    assert read.x.max() == 1


def test_what_is_no_picture_is_told(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be read as a picture"):
        read_scene(tmp_path / "a.png", 64)


@pytest.mark.parametrize("size", [(640, 480), (64, 64), (3, 2)])
def test_boxes_are_drawn_where_they_are(size):
    red = (250, 0, 0)
    width, height = size
    box = np.array([[width / 4, height / 2, width * 3 / 4, height * 0.9]])
    drawn = with_boxes(Image.new("RGB", size), box, ["7: 0.98"], [red])
    times = max(1, -(-LEAST // width))
    assert drawn.size == (times * width, times * height)
    pixels = np.asarray(drawn)
    x1, _, x2, y2 = (times * box[0]).astype(int)
    middle = (int(times * box[0, 1]) + y2) // 2
    assert np.all(pixels[middle, x1] == red)
    assert np.all(pixels[middle, x2 - 1] == red)
    assert np.all(pixels[middle, (x1 + x2) // 2] == 0)
    assert (pixels == red).all(axis=2).sum() > 4 * (x2 - x1)  # with the ground of the text
    bare = with_boxes(Image.new("RGB", size), box[:0], [], [])
    assert not np.asarray(bare).any()


def test_boxes_of_a_file_are_drawn_on_what_was_made_smaller():
    drawn = with_boxes(
        Image.new("RGB", (400, 400)), np.array([[200.0, 400, 600, 700]]), [""], [(0, 255, 0)], 0.5
    )
    rows, columns = np.nonzero(np.asarray(drawn)[:, :, 1])
    assert (columns.min(), columns.max()) == (100, 299)
    assert rows.max() == 349


def test_a_narrow_picture_is_not_enlarged_beyond_all_measure():
    drawn = with_boxes(Image.new("RGB", (2, 2000)), np.zeros((0, 4)), [], [])
    assert drawn.size == (2, 2000)
    assert sheet([("", Image.new("RGB", (2, 2000)))], []).size[1] < 2 * 2000
    assert times_of(10, 100) == HIGHEST // 100
