"""What happens to digits on their way into a picture file: kinds of damage to one of MNIST.

Each kind takes an image of MNIST, 28 x 28 and uint8, and a generator, and gives a Pillow image.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

Kind = Callable[[np.ndarray, np.random.Generator], Image.Image]

INK, PAPER = 40, 235
SIDE = 280


def enlarged(digit: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Return how much ink there is, from 0 to 1, for MNIST's 28 pixels scaled to `side`."""
    large = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(large, np.float32) / 255


def drawn(
    ink: np.ndarray, dark: float | np.ndarray = INK, light: float | np.ndarray = PAPER
) -> np.ndarray:
    """Draw ink on paper: what light each pixel gives, from 0 to 255."""
    drawing: np.ndarray = light + (dark - light) * ink
    return drawing


def picture(light: np.ndarray) -> Image.Image:
    """Round to a grey picture."""
    return Image.fromarray(np.clip(np.round(light), 0, 255).astype(np.uint8))


def filtered(ink: np.ndarray, which: ImageFilter.Filter) -> np.ndarray:
    """Run one of Pillow's filters."""
    return np.asarray(picture(255 * ink).filter(which), np.float32) / 255


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> np.ndarray:
    """Draw noise of about one unit whose grains are as large as `cell` pixels."""
    few = rng.standard_normal((shape[0] // cell + 2, shape[1] // cell + 2)).astype(np.float32)
    large = Image.fromarray(few).resize(shape[::-1], Image.Resampling.BICUBIC)
    return np.asarray(large)


def ramp(rng: np.random.Generator, side: int, darkest: float) -> np.ndarray:
    """Light that falls evenly to its `darkest`, in any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:side, :side] / (side - 1) - 0.5
    along = np.cos(angle) * columns + np.sin(angle) * rows
    along = (along - along.min()) / np.ptp(along)
    light: np.ndarray = 1 - (1 - darkest) * along
    return light


def corner(rng: np.random.Generator, side: int) -> np.ndarray:
    """Light that a straight edge halves in one corner."""
    rows, columns = np.mgrid[:side, :side]
    shade = np.where((rows + columns) / side < rng.uniform(0.4, 0.8), 0.5, 1.0)
    turned: np.ndarray = np.rot90(shade, rng.integers(4))
    return turned


def as_it_is(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """MNIST's own 28 x 28 pixels."""
    return Image.fromarray(digit)


def plain(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Dark grey on light grey, 280 x 280."""
    return picture(drawn(enlarged(digit)))


def thin(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A thin pen: most of each stroke's width is gone."""
    ink = filtered((enlarged(digit) > 0.5).astype(np.float32), ImageFilter.MinFilter(9))
    core = np.maximum(ink, enlarged(digit) > 0.85)  # where the stroke is thinner than that
    return picture(drawn(filtered(core, ImageFilter.GaussianBlur(1))))


def thick(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A felt pen: 10 pixels are added to a stroke's width, which is 25 or so."""
    return picture(drawn(filtered(enlarged(digit), ImageFilter.MaxFilter(11))))


def grain(rng: np.random.Generator, side: int) -> np.ndarray:
    """The part of the paper that a pencil reaches."""
    part: np.ndarray = np.clip(0.75 + 0.25 * smooth_noise(rng, (side, side), 2), 0, 1)
    return part


def pencil(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Grey and grainy."""
    return picture(drawn(enlarged(digit) * grain(rng, SIDE), 130))


def faint(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A light grey, 40 of 255 away from the paper."""
    return picture(drawn(enlarged(digit), PAPER - 40))


def small(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """80 to 160 pixels anywhere in a picture of 600 x 600."""
    ink = np.zeros((600, 600), np.float32)
    side = int(rng.integers(80, 161))
    top, left = rng.integers(0, 600 - side, 2)
    ink[top : top + side, left : left + side] = enlarged(digit, side)
    return picture(drawn(ink))


def moved(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """28 x 28, light on dark, moved by four pixels."""
    there = np.zeros((36, 36), np.uint8)
    down, right = rng.choice([0, 8], 2)
    there[down : down + 28, right : right + 28] = digit
    return Image.fromarray(there[4:32, 4:32])


def half(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """28 x 28, light on dark, half as large in a corner."""
    there = np.zeros((28, 28), np.uint8)
    top, left = 14 * rng.integers(0, 2, 2)
    less = Image.fromarray(digit).resize((14, 14), Image.Resampling.HAMMING)
    there[top : top + 14, left : left + 14] = np.asarray(less)
    return Image.fromarray(there)


def filling(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """28 x 28, light on dark, 24 to 28 pixels along its longer side."""
    rows, columns = (np.flatnonzero(digit.any(axis=axis)) for axis in (1, 0))
    cut = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    longer = int(rng.integers(24, 29))
    size = [max(1, round(n * longer / max(cut.shape))) for n in cut.shape[::-1]]
    large = Image.fromarray(cut).resize(size, Image.Resampling.BICUBIC)
    there = Image.new("L", (28, 28))
    there.paste(large, (int(rng.integers(0, 29 - size[0])), int(rng.integers(0, 29 - size[1]))))
    return there


def colour(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """One colour on another, with at least 100 between them in one of red, green, blue."""
    while True:
        ink, paper = rng.integers(0, 256, (2, 3))
        if np.abs(ink - paper).max() >= 100:
            bands = [
                picture(drawn(enlarged(digit), *pair)) for pair in zip(ink, paper, strict=True)
            ]
            return Image.merge("RGB", bands)


def blackboard(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Chalk: light on dark, and the board is smudged."""
    board = 50 + 8 * smooth_noise(rng, (SIDE, SIDE), 40)
    return picture(drawn(enlarged(digit) * grain(rng, SIDE), 220, board))


def transparent(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """White ink on nothing."""
    white = Image.new("L", (SIDE, SIDE), 255)
    return Image.merge("LA", [white, picture(255 * enlarged(digit))])


def framed(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A black outline of 1 to 6 pixels at the picture's edge."""
    light, width = drawn(enlarged(digit)), int(rng.integers(1, 7))
    whole = np.zeros_like(light)
    whole[width:-width, width:-width] = light[width:-width, width:-width]
    return picture(whole)


def boxed(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A box round the digit, as on a form, of 2 to 5 pixels and 10 to 30 off the edge."""
    ink, width, off = enlarged(digit), int(rng.integers(2, 6)), int(rng.integers(10, 31))
    box = np.zeros_like(ink)
    box[off:-off, off:-off] = 1
    box[off + width : -off - width, off + width : -off - width] = 0
    return picture(drawn(np.maximum(ink, box)))


def specks(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Up to 30 specks of dust, of 1 to 7 pixels."""
    ink = enlarged(digit)
    for _ in range(rng.integers(1, 31)):
        size = int(rng.integers(1, 8))
        top, left = rng.integers(0, SIDE - size, 2)
        ink[top : top + size, left : left + size] = 1
    return picture(drawn(ink))


def shade(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A corner in shadow: half as light."""
    return picture(drawn(enlarged(digit)) * corner(rng, SIDE))


def gradient(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Light that falls to 35 % from one side to the other."""
    return picture(drawn(enlarged(digit)) * ramp(rng, SIDE, 0.35))


def noisy_shade(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A corner in shadow, and noise of 15."""
    light = drawn(enlarged(digit)) * corner(rng, SIDE)
    return picture(light + 15 * rng.standard_normal(light.shape))


def pencil_gradient(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Pencil in light that falls to 35 %."""
    light = drawn(enlarged(digit) * grain(rng, SIDE), 130) * ramp(rng, SIDE, 0.35)
    return picture(light)


def noise(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Noise of 40 in every pixel."""
    light = drawn(enlarged(digit))
    return picture(light + 40 * rng.standard_normal(light.shape))


def jpeg(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """JPEG at quality 5, of 112 x 112."""
    stream = io.BytesIO()
    picture(drawn(enlarged(digit, 112))).save(stream, "JPEG", quality=5)
    return Image.open(stream)


def turned(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Turned by up to 15 degrees."""
    image = picture(drawn(enlarged(digit)))
    angle = float(rng.uniform(-15, 15))
    return image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=PAPER)


def deep(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """16 bits, of which 8 are used."""
    return Image.fromarray(np.asarray(plain(digit, rng)).astype(np.uint16))


def photo(digit: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A pen on paper, seen aslant, in uneven light, not quite sharp, with noise, as JPEG."""
    side = 480
    ink = np.zeros((side, side), np.float32)
    size = int(rng.integers(200, 400))
    top, left = rng.integers(20, side - size - 19, 2)
    ink[top : top + size, left : left + size] = enlarged(digit, size)
    corners = np.array([[0, 0], [0, side], [side, side], [side, 0]], float)
    seen = corners + rng.uniform(-40, 40, (4, 2))
    rows = []
    for (x, y), (u, v) in zip(corners, seen, strict=True):  # the map from here to there
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    aslant = np.linalg.solve(np.array(rows), seen.ravel())
    how = Image.Transform.PERSPECTIVE, tuple(aslant), Image.Resampling.BICUBIC
    ink = np.asarray(picture(255 * ink).transform((side, side), *how), np.float32) / 255
    light = drawn(ink, rng.uniform(30, 90), rng.uniform(190, 240))
    light = light * ramp(rng, side, rng.uniform(0.5, 0.9))
    light = light * (1 + 0.05 * smooth_noise(rng, (side, side), 120))
    light = np.asarray(picture(light).filter(ImageFilter.GaussianBlur(2)), np.float32)
    light = light + rng.uniform(4, 12) * rng.standard_normal(light.shape)
    stream = io.BytesIO()
    tint = np.array([1, 0.96, 0.85])
    bands = [picture(light * part) for part in tint]
    Image.merge("RGB", bands).save(stream, "JPEG", quality=75)
    return Image.open(stream)


# fmt: off
KINDS: dict[str, Kind] = {
    kind.__name__.replace("_", " "): kind
    for kind in (
        thin, thick, pencil, faint, small, moved, half, filling, colour, blackboard, transparent,
        framed, boxed, specks, shade, gradient, noisy_shade, pencil_gradient, noise, jpeg, turned,
        deep, photo,
    )
}
# fmt: on
