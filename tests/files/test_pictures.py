"""Pictures of digits: every kind of file gives the same image, made as MNIST's were."""

import gzip
import io
import random
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

import xpnet.files.images
from xpnet.errors import ArgumentError, DataError, DataNotFoundError, OutputError
from xpnet.files.pictures import read_picture, save_picture


def seven(size=(300, 200), *, ink=0, ground=255):
    """A seven, left of the middle."""
    image = Image.new("L", size, ground)
    points = [(60, 40), (130, 40), (90, 160)]
    ImageDraw.Draw(image).line(points, fill=ink, width=14, joint="curve")
    return image


def shape_of(grey, mode):
    """The same picture, in the ways that files hold one."""
    if mode == "I;16":
        return Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    if mode == "RGBA":  # black ink on nothing
        nothing = Image.new("RGBA", grey.size, (0, 0, 0, 0))
        nothing.putalpha(Image.fromarray(255 - np.asarray(grey)))
        return nothing
    if mode == "LA":
        return Image.merge("LA", [Image.new("L", grey.size, 0), shape_of(grey, "RGBA").split()[3]])
    return grey.convert(mode)


@pytest.fixture
def plain(tmp_path):
    seven().save(tmp_path / "plain.png")
    return read_picture(tmp_path / "plain.png")


def test_a_digit_is_placed_as_in_mnist(plain):
    assert (plain.shape, plain.dtype) == ((1, 28, 28), np.float32)
    assert (plain.min(), plain.max()) == (0, 1)
    image = plain[0].astype("float64")
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    assert np.ptp(rows) + 1 == 20  # the taller side fills the box
    assert 11 <= np.ptp(columns) + 1 <= 14  # and the aspect, 82 to 127, stays
    for axis in (0, 1):  # MNIST's own images lie from 13.5 to 14.5
        assert 13.5 <= (image.sum(axis=1 - axis) @ np.arange(28)) / image.sum() <= 14.5
    assert image[rows[0] + 1].sum() > 2 * image[rows[-1] - 1].sum()  # the bar is at the top
    assert ((image > 0.1) & (image < 0.9)).sum() > 0.1 * (image > 0.1).sum()  # antialiased


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "RGBA", "LA", "I;16"])
def test_every_mode_gives_the_same_image(tmp_path, plain, mode):
    shape_of(seven(), mode).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_picture(tmp_path / "a.png"), plain, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "atol"),
    [("BMP", 0), ("GIF", 0), ("PPM", 0), ("WEBP", 0.1), ("JPEG", 0.1)],
)
def test_every_format_gives_the_same_image(tmp_path, plain, kind, atol):
    seven().save(tmp_path / "a.xyz", format=kind)
    np.testing.assert_allclose(read_picture(tmp_path / "a.xyz"), plain, atol=atol + 1e-6)


def test_sixteen_bits_are_not_cut_to_eight(tmp_path, plain):
    values = np.asarray(seven(ink=60, ground=180)).astype("u2") * 257
    (tmp_path / "a.pgm").write_bytes(b"P5 300 200 65535\n" + values.astype(">u2").tobytes())
    np.testing.assert_allclose(read_picture(tmp_path / "a.pgm"), plain, atol=1e-6)


@pytest.mark.parametrize(("ink", "ground"), [(255, 0), (200, 40), (60, 180), (0, 40)])
def test_polarity_and_contrast_do_not_matter(tmp_path, plain, ink, ground):
    seven(ink=ink, ground=ground).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_picture(tmp_path / "a.png"), plain, atol=1e-5)


def test_uneven_light_and_noise_leave_the_ground_empty(tmp_path, plain):
    rng = np.random.default_rng(0)
    light = np.linspace(1, 0.85, 300) + 0.02 * rng.standard_normal((200, 300))
    photo = np.asarray(seven(ink=50, ground=230)) * light
    Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(tmp_path / "a.jpg", quality=80)
    np.testing.assert_allclose(read_picture(tmp_path / "a.jpg"), plain, atol=0.15)


def test_a_picture_turned_by_its_camera_stands_upright(tmp_path, plain):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    turned = seven().transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_allclose(read_picture(tmp_path / "a.png"), plain, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 2), (5000, 1), (27, 28), (56, 56)])
def test_any_size_is_read(tmp_path, size):
    image = Image.new("L", size, 255)
    image.putpixel((size[0] // 2, size[1] // 2), 0)
    image.save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").max() == 1


def test_a_long_digit_stays_inside(tmp_path):
    """Nearly all ink at one end: the centre of mass cannot reach the middle."""
    image = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(image).line([(20, 20), (20, 180)], width=3)
    ImageDraw.Draw(image).rectangle([10, 20, 180, 60], fill=0)
    image.save(tmp_path / "a.png")
    rows = np.flatnonzero(read_picture(tmp_path / "a.png")[0].any(axis=1))
    assert rows[-1] == 27


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28)])
def test_a_saved_image_comes_back_exactly(tmp_path, dtype, shape):
    image = np.zeros((28, 28), np.uint8)
    image[8:20, 4:24] = 200  # as MNIST's lie
    image[12:16, 7:21] = np.arange(56).reshape(4, 14) * 255 // 55
    saved = image if dtype == "uint8" else image.astype(dtype) / 255
    save_picture(tmp_path / "a.png", saved.reshape(shape))
    got = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(np.round(got[0] * 255), image)


def test_mnist_comes_back_exactly(tmp_path, mnist_dir):
    raw = gzip.decompress((mnist_dir / "t10k-images-idx3-ubyte.gz").read_bytes())
    for image in np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)[:100]:
        save_picture(tmp_path / "a.png", image)
        want = image[np.newaxis].astype("float32") / image.max()
        np.testing.assert_allclose(read_picture(tmp_path / "a.png"), want, rtol=0, atol=1e-6)


DAMAGED = (
    "{path} cannot be read as a picture: it is damaged or of another kind; "
    "save it again as PNG or JPEG"
)


def encoded(kind):
    stream = io.BytesIO()
    seven().save(stream, format=kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"no picture",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",  # never given to Ghostscript
        encoded("PNG")[:300],
        encoded("JPEG")[:-500],
        encoded("BMP")[:-500],
    ],
)
def test_a_damaged_picture_is_one_line(tmp_path, contents):
    path = tmp_path / "a.png"
    path.write_bytes(contents)
    with pytest.raises(DataError) as caught:
        read_picture(path)
    assert str(caught.value) == DAMAGED.format(path=path)


@pytest.mark.parametrize(
    ("contents", "kind"),
    [
        (encoded("TIFF"), "a TIFF picture, or a camera's raw one"),
        (b"MM\0*" + bytes(100), "a TIFF picture, or a camera's raw one"),
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", "a HEIC picture, as phones take"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0", "a HEIC picture, as phones take"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "an AVIF picture"),
        (b"\0\0\0\x20ftypmp42\0\0\0\0", "a film"),
        (b"\xff\x0a\xfa", "a JPEG XL picture"),
        (encoded("JPEG2000"), "a JPEG 2000 picture"),
        (encoded("ICO"), "an icon"),
        (b"8BPS\0\1", "a Photoshop picture"),
        (b"%PDF-1.7\n", "a PDF"),
        (b'<?xml version="1.0"?>\n<svg width="9">', "an SVG drawing"),
        (b"<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_other_kinds_are_named(tmp_path, contents, kind):
    path = tmp_path / "a.png"
    path.write_bytes(contents)
    with pytest.raises(DataError) as caught:
        read_picture(path)
    assert str(caught.value) == f"{path} is {kind}, which is not read; export it as PNG or JPEG"


def test_a_path_that_is_no_file_says_so(tmp_path):
    with pytest.raises(DataNotFoundError) as caught:
        read_picture(tmp_path / "no")
    assert str(caught.value) == f"{tmp_path / 'no'} does not exist; give the path of a picture file"
    with pytest.raises(DataError) as caught:
        read_picture(str(tmp_path))
    assert str(caught.value) == f"{tmp_path} is not a file; give the path of a picture file"


def test_a_name_that_cannot_be_looked_up_is_one_line():
    with pytest.raises(DataError) as caught:
        read_picture("a" * 5000)
    assert str(caught.value) == (
        f"{'a' * 5000} cannot be read: File name too long; check its name and permissions"
    )


@pytest.mark.parametrize("size", [(28, 28), (300, 200), (1, 1)])
@pytest.mark.parametrize("ink", [255, 231])
def test_a_uniform_picture_shows_no_digit(tmp_path, size, ink):
    path = tmp_path / "a.png"
    seven(size, ink=ink).save(path)
    with pytest.raises(DataError) as caught:
        read_picture(path)
    assert str(caught.value) == (
        f"{path} shows no digit: its pixels are all nearly alike; give a picture with more contrast"
    )


@pytest.mark.parametrize("side", [8001, 10_000, 30_000])  # Pillow's own limits lie between
def test_too_many_pixels_are_refused_before_they_are_read(tmp_path, side):
    path = tmp_path / "a.ppm"
    path.write_bytes(f"P5 {side} {side} 255\n".encode())
    with pytest.raises(DataError) as caught:
        read_picture(path)
    assert str(caught.value) == f"{path} has more than 64 million pixels; save it smaller"


def progressive(kind, scans):
    """The seven with its shortest scan, a refinement, until there are so many."""
    stream = io.BytesIO()
    seven().save(stream, kind, progressive=True, **MORE[kind])
    parts = re.split(rb"(?=\xff[\xc0-\xfe])", stream.getvalue())
    first = parts[: next(k for k, part in enumerate(parts) if part.startswith(b"\xff\xd9"))]
    drawn = [part for part in first if part.startswith(b"\xff\xda")]
    at = parts.index(min(drawn, key=len))
    return b"".join([*parts[:at], *[parts[at]] * (1 + scans - len(drawn)), *parts[at + 1 :]])


MORE = {"JPEG": {}, "MPO": {"save_all": True, "append_images": [seven()]}}
"""Of what a file of several JPEG pictures, as some cameras write, needs to be one."""


@pytest.mark.parametrize("kind", MORE)
def test_a_jpeg_that_draws_its_picture_again_and_again_is_refused(tmp_path, kind):
    """A kilobyte of scans keeps the decoder busy as long as millions of pixels do."""
    path = tmp_path / "a.jpg"
    path.write_bytes(progressive(kind, 100))
    assert read_picture(path).max() == 1
    path.write_bytes(progressive(kind, 101))
    with pytest.raises(DataError) as caught:
        read_picture(path)
    assert str(caught.value) == f"{path} draws its picture more than 100 times; save it again"


def test_the_limit_itself_is_read(tmp_path, monkeypatch, plain):
    seven().save(tmp_path / "a.png")
    monkeypatch.setattr(xpnet.files.images, "MAX_PIXELS", 300 * 200)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), plain)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((2, 28, 28)),
            "an image is (28, 28) or (1, 28, 28), got (2, 28, 28); give one image, reshaped",
        ),
        (
            np.full((28, 28), 1.5),
            "floats must lie from 0 to 1; divide by the largest value",
        ),
        (
            np.full((28, 28), np.nan),
            "floats must lie from 0 to 1; divide by the largest value",
        ),
        (
            np.zeros((28, 28), "int64"),
            "an image is uint8 or floats from 0 to 1, got int64; convert it",
        ),
    ],
)
def test_only_images_are_saved(tmp_path, image, message):
    with pytest.raises(ArgumentError) as caught:
        save_picture(tmp_path / "a.png", image)
    assert str(caught.value) == f"save_picture: {message}"


def test_a_directory_that_is_missing_is_an_output_error(tmp_path):
    with pytest.raises(OutputError):
        save_picture(tmp_path / "no" / "a.png", np.zeros((28, 28)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM"])
def test_mutated_pictures_give_an_image_or_the_librarys_error(tmp_path, kind):
    rng = random.Random(0)
    path, contents = tmp_path / "a", encoded(kind)
    messages = []
    for _ in range(60):
        data = bytearray(contents)
        for _ in range(rng.randint(1, 5)):
            data[rng.randrange(min(len(data), 400))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            image = read_picture(path)
        except DataError as error:
            messages.append(str(error))
        else:
            assert image.shape == (1, 28, 28)
            assert 0 <= image.min() <= image.max() == 1
    assert not any("\n" in message for message in messages)
