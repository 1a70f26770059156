"""Limits of picture files: what is large is made smaller, and what costs too much is refused."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from xpnet.errors import DataError
from xpnet.files import images
from xpnet.files.images import read_image


def blocks(width, height, side=8):
    """(H, W) of uint8, every block of side x side of one value: its mean is exact."""
    rng = np.random.default_rng(0)
    few = rng.integers(0, 256, (-(-height // side), -(-width // side)), np.uint8)
    return np.kron(few, np.ones((side, side), np.uint8))[:height, :width]


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def message(path, contents):
    path.write_bytes(contents)
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path} ")


@pytest.mark.parametrize("size", [(320, 160), (160, 320), (317, 163)])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_a_large_picture_becomes_the_means_of_its_blocks(tmp_path, monkeypatch, size, mode):
    """As if it had been read whole, in strips or at once."""
    values = blocks(*size)
    if mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(values).convert(mode)
    image.save(tmp_path / "a.png")
    whole = np.asarray(read_image(tmp_path / "a.png"))
    monkeypatch.setattr(images, "KEPT_PIXELS", 40 * 20 + 41)
    monkeypatch.setattr(images, "STRIP", 2000)
    got = read_image(tmp_path / "a.png")
    assert got.size == tuple(-(-n // 8) for n in size)
    if mode != "1":  # which is dithered
        np.testing.assert_array_equal(np.asarray(got), whole[::8, ::8])


@pytest.mark.parametrize(("times", "left"), [(2, 1), (4, 1), (8, 1), (16, 2)])
def test_a_large_jpeg_is_made_smaller_while_it_is_decoded(tmp_path, monkeypatch, times, left):
    Image.fromarray(blocks(640, 320, 16)).save(tmp_path / "a.jpg", quality=95)
    monkeypatch.setattr(images, "KEPT_PIXELS", 640 * 320 // times**2)
    seen = []
    within = images._in_few_modes
    monkeypatch.setattr(images, "_in_few_modes", lambda image: seen.append(image) or within(image))
    got = read_image(tmp_path / "a.jpg")
    assert got.size == (640 // times, 320 // times)
    assert {image.width for image in seen} == {640 * left // times}
    means = blocks(640, 320, 16).reshape(320 // times, times, -1, times).mean(axis=(1, 3))
    np.testing.assert_allclose(np.asarray(got), means, atol=6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("kept", [10**6, 800])
def test_a_picture_stands_upright_whatever_its_size(tmp_path, monkeypatch, kind, kept):
    monkeypatch.setattr(images, "KEPT_PIXELS", kept)
    exif = Image.Exif()
    exif[0x0112] = 8  # to be shown turned by 90 degrees counter-clockwise
    values = np.full((160, 320), 255, np.uint8)
    values[:, 160:] = 0  # the right half, which comes to the top
    Image.fromarray(values).convert("RGB").save(tmp_path / "a", kind, exif=exif)
    got = np.asarray(read_image(tmp_path / "a").convert("L"))
    assert got.shape[0] == 2 * got.shape[1]
    assert got[: len(got) // 2 - 1].max() < 10
    assert got[len(got) // 2 + 1 :].min() > 245


def test_files_have_a_size_that_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 2**20)
    (tmp_path / "a").write_bytes(b"BM" + bytes(2**20))
    assert message(tmp_path / "a", b"BM" + bytes(2**20)) == "has more than 1 MiB; save it smaller"


def png(width, height, *chunks, packed=b""):
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (head, *chunks, b"IDAT" + packed, b"IEND")
    )


def test_a_side_can_be_too_long(tmp_path):
    assert message(tmp_path / "a", png(65_536, 1)) == (
        "is more than 65535 pixels wide or high; cut the digit out of it"
    )


def test_what_comes_before_the_pixels_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_HEAD", 2**20)
    want = "has more than 1 MiB before its pixels; save it again as PNG or JPEG"
    assert message(tmp_path / "a", png(40, 30, b"teST" + bytes(2**20))) == want
    jpeg = encoded(Image.new("L", (40, 30)), "JPEG")
    notes = (b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)) * 17
    assert message(tmp_path / "a", jpeg[:2] + notes + jpeg[2:]) == want


def in_pieces(kind, count):
    white = Image.new("L", (40, 30), 255)
    if kind == "PNG":
        return png(40, 30, *[b"teST"] * count)
    if kind == "GIF":
        plain = encoded(white, "GIF")
        at = 13 + 3 * 2 ** ((plain[10] & 7) + 1)
        return plain[:at] + b"!\xfe" + b"\1a" * count + b"\0" + plain[at:]
    if kind == "PPM":
        return b"P5 " + b"#\n" * count + b"40 30 255\n" + bytes(1200)
    palette = b"".join(bytes([k, k, k, 0]) for k in range(256))
    data = b"\xff\1" * count
    sizes = struct.pack("<IiiHHIIiiII", 40, 40, 30, 1, 8, 1, 0, 0, 0, 0, 0)
    at = 54 + len(palette)
    return struct.pack("<2sIHHI", b"BM", at + len(data), 0, 0, at) + sizes + palette + data


@pytest.mark.parametrize("kind", ["PNG", "GIF", "PPM", "BMP"])
def test_pieces_are_counted(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(images, "HEAD_READS", 2000)
    monkeypatch.setattr(images, "BODY_READS", 2000)
    want = "is cut into more than 2000 pieces; save it again as PNG or JPEG"
    assert message(tmp_path / "a", in_pieces(kind, 2100)) == want


@pytest.mark.parametrize("magic", [b"P1", b"P2", b"P3"])
def test_comments_in_a_picture_of_digits_cost_nothing(tmp_path, magic):
    """Pillow copies what follows once for each of them: a minute for a million."""
    numbers = {b"P1": b"1 " * 1200, b"P2": b"7 " * 1200, b"P3": b"7 " * 3600}[magic]
    head = magic + b" 40 30" + (b"" if magic == b"P1" else b" 7")
    (tmp_path / "a").write_bytes(head + b"\n# a comment 1\r" * 100_000 + b"\n" + numbers)
    got = read_image(tmp_path / "a")
    assert got.size == (40, 30)
    assert set(np.asarray(got).flat) == {0 if magic == b"P1" else 255}


def test_a_comment_may_be_as_long_as_it_likes(tmp_path):
    """Blocks are looked at one by one."""
    lines = [b"#" * 2**16, b"# " + b"7 " * 2**17, b"7 8#9", b"#", b"8 # 9"]
    for end in (b"\n", b"\r", b"\r\n"):
        text = end.join(lines)
        assert images._without_comments(io.BytesIO(text)).split() == [b"7", b"8", b"8"]


def test_a_text_can_be_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_TEXT", 2**20)
    assert message(tmp_path / "a", b"P2 40 30 255\n" + b" " * 2**20) == (
        "is a text of more than 1 MiB; save it again as PNG or JPEG"
    )


@pytest.mark.parametrize("head", [b"P2 1001 1000 255\n", b"P5 1001 1000 99\n"])
def test_what_is_decoded_in_python_has_a_limit_of_its_own(tmp_path, head):
    assert message(tmp_path / "a", head) == (
        "has more than 1 million pixels in a form that is slow to read; save it smaller"
    )


def test_floats_are_no_picture(tmp_path):
    Image.new("F", (40, 30)).save(tmp_path / "a", "PPM")
    assert "cannot be read as a picture" in message(tmp_path / "a", (tmp_path / "a").read_bytes())


@pytest.mark.parametrize("options", [{"lossless": True}, {}, {"exact": True, "icc_profile": b"x"}])
def test_webp_is_measured_before_it_is_opened(tmp_path, monkeypatch, options):
    def opened(*arguments, **keywords):
        raise AssertionError

    contents = encoded(Image.new("RGB", (40, 30)), "WEBP", **options)
    assert images._webp_pixels(contents[:30]) == 1200
    monkeypatch.setattr(images, "MAX_WEBP", 1199e-6)
    monkeypatch.setattr(Image, "open", opened)
    assert message(tmp_path / "a", contents).startswith("has more than 0.0 million pixels in WebP")


def many_scans(count, mode="L"):
    jpeg = encoded(Image.new(mode, (80, 60), "white"), "JPEG", progressive=True)
    parts = re.split(rb"(?=\xff[\xc0-\xfe])", jpeg)
    drawn = [part for part in parts if part.startswith(b"\xff\xda")]
    at = parts.index(min(drawn, key=len))
    return b"".join([*parts[:at], *[parts[at]] * (1 + count - len(drawn)), *parts[at + 1 :]])


def test_scans_times_pixels_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_DRAWN", 80 * 60 * 30)
    (tmp_path / "a").write_bytes(many_scans(30))
    assert read_image(tmp_path / "a").size == (80, 60)
    want = "draws its picture more than 30 times; save it again"
    assert message(tmp_path / "a", many_scans(31)) == want


def test_only_what_is_decoded_counts_as_a_scan(tmp_path):
    """Telephones hang films on pictures, and small pictures stand in the notes of large ones."""
    plain = many_scans(10)
    note = b"\xff\xe5\x10\x02" + b"\xff\xda" * 2048
    (tmp_path / "a").write_bytes(plain[:2] + note + plain[2:] + b"\xff\xda\0\2" * 1000)
    assert read_image(tmp_path / "a").size == (80, 60)


def test_four_inks_have_fewer_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 1300)
    contents = encoded(Image.new("CMYK", (40, 30)), "JPEG")
    monkeypatch.setattr(
        images, "_check_pixels", lambda path, n, most=1300, what="": limits.append(most)
    )
    limits = []
    (tmp_path / "a").write_bytes(contents)
    read_image(tmp_path / "a")
    assert limits == [1300, 975]
