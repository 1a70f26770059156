"""Images moved a little, so that training sees more of them than there are (section 8.1.2).

Everything rests on `sample`, which reads images at any points between their pixels. `warp` is the
affine map over it; `rotate` and `shift` are that map with one argument each. `Augmentation` draws
their arguments at random for each image of a batch.
"""

from dataclasses import dataclass, fields
from functools import partial
from math import inf, isfinite, pi, prod, sqrt
from typing import Any, TypeAlias

import numpy as np

from xpnet.arguments import checked, whole
from xpnet.arrays import Array, array_namespace, device_of
from xpnet.arrays.random import WORD, uniform
from xpnet.arrays.values import kind_of_numbers, scaled
from xpnet.errors import ArgumentError

SPACING = 4
"""Pixels between the points of a coarse grid, and the reach of each; Simard et al. smooth by 4."""

PerImage: TypeAlias = Any
"""A number for all images, or (N,) numbers: an array of x's library, or of NumPy."""


def sample(x: Array, rows: Array, columns: Array) -> Array:
    """Read images at points between their pixels, by bilinear interpolation.

        y[n, c, i, j] = sum over pixels r, k of  h(rows[n, i, j] - r) h(columns[n, i, j] - k)
                        x[n, c, r, k],    h(d) = max(0, 1 - |d|)

    So a point on a pixel is that pixel, and an image is surrounded by zeros.

    Parameters
    ----------
    x : (N, C, H, W), not altered; floats, or what `scaled` makes floats of, such as pixels
    rows, columns : (N, OH, OW), or with 1 for N where all images are read alike; floats on x's
        device. Pixel (0, 0), the top left one, is the point (0, 0).

    Returns
    -------
    (N, C, OH, OW), dtype and device of x; float32 if it has no floats
    """
    x = _images(x)
    xp, (N, C, H, W) = array_namespace(x), x.shape
    # Zeros all around: points outside are moved there, and need no further attention.
    framed = xp.zeros((N, C, H + 2, W + 2), dtype=x.dtype, device=x.device)
    framed[:, :, 1:-1, 1:-1] = x
    pixels = xp.reshape(framed, (N * C * (H + 2) * (W + 2),))
    images = xp.reshape(xp.arange(N * C, dtype=xp.int64, device=x.device), (N, C, 1, 1))

    def split(points: Array, size: int) -> tuple[Array, Array]:
        """Find the pixel of the frame before each point, and how far behind it the point lies."""
        points = xp.clip(xp.expand_dims(points, axis=1) + 1.0, 0.0, size + 1.0)
        before = xp.clip(xp.floor(points), 0.0, float(size))
        return xp.astype(before, xp.int64), points - before

    (top, down), (left, right) = split(rows, H), split(columns, W)
    corner = (images * (H + 2) + top) * (W + 2) + left  # (N, C, OH, OW)

    def at(offset: int) -> Array:
        flat = xp.reshape(corner + offset, (-1,))
        return xp.reshape(xp.take(pixels, flat, axis=0), corner.shape)

    upper = at(0) + right * (at(1) - at(0))
    lower = at(W + 2) + right * (at(W + 3) - at(W + 2))
    return upper + down * (lower - upper)


def warp(
    x: Array,
    *,
    angle: PerImage = 0.0,
    scale: PerImage = 1.0,
    shift: tuple[PerImage, PerImage] = (0.0, 0.0),
) -> Array:
    """Turn and scale images about their centre, then shift them.

    With q a point of an image as (column, row) from its centre, ((W - 1) / 2, (H - 1) / 2), what
    was at q comes to

        p = scale R q + (right, down),     R = [[ cos angle, sin angle],
                                                [-sin angle, cos angle]]

    which turns counter-clockwise, since rows count downwards. Each pixel p of the result is read at
    q = R^T (p - (right, down)) / scale, by `sample`: a shift by whole pixels is exact, and what
    comes from outside is 0.

    Parameters
    ----------
    x : (N, C, H, W), not altered; floats, or what `scaled` makes floats of, such as pixels
    angle : degrees, counter-clockwise
    scale : above 0; 2 doubles lengths
    shift : (down, right), in pixels
        Each is a number, or (N,) numbers, one an image.

    Returns
    -------
    (N, C, H, W), dtype and device of x

    Raises
    ------
    ArgumentError
        The images are no numbers or have another shape, or an argument is neither a number nor one
        for each image, is not finite, or is a scale not above 0. Values that are on another device
        are not looked at.
    """
    x = _images(x)
    return sample(x, *_origins(x, angle, scale, shift))


def rotate(x: Array, angle: PerImage) -> Array:
    """Turn images (N, C, H, W) counter-clockwise about their centre, by degrees; see `warp`."""
    return warp(x, angle=angle)


def shift(x: Array, down: PerImage = 0.0, right: PerImage = 0.0) -> Array:
    """Move images (N, C, H, W) by pixels, negative ones up and to the left; see `warp`."""
    return warp(x, shift=(down, right))


def brighten(x: Array, gain: PerImage = 1.0, offset: PerImage = 0.0) -> Array:
    """Make images (N, C, H, W) of 0..1 brighter or darker: gain x + offset, clipped to 0..1."""
    x = _images(x)
    xp = array_namespace(x)
    factor, term = (
        xp.expand_dims(_per_image(x, name, value), axis=-1)
        for name, value in (("gain", gain), ("offset", offset))
    )
    return xp.clip(factor * x + term, 0.0, 1.0)


def grid_shape(H: int, W: int) -> tuple[int, int]:
    """Count rows and columns of the coarse grid of `smooth_field` that covers H by W pixels."""
    return (H - 2) // SPACING + 2, (W - 2) // SPACING + 2


def smooth_field(noise: Array, H: int, W: int) -> Array:
    """Spread random numbers on a coarse grid into a smooth field over H by W pixels.

        d[..., i, j] = sum over a, b of  w[i, a] w[j, b] noise[..., a, b]
        w[i, a] = exp(-(i - s a)^2 / 2 s^2) / norm[i],    s = SPACING

    with norm such that the squares of w[i, :] sum to 1. So where the noise is independent, of mean
    0 and variance 1, the field has mean 0 and variance 1 at every pixel.

    Parameters
    ----------
    noise : (..., *grid_shape(H, W)) floats

    Returns
    -------
    (..., H, W), dtype and device of noise
    """
    xp = array_namespace(noise)

    def weights(pixels: int, points: int) -> Array:
        i = xp.arange(pixels, dtype=noise.dtype, device=noise.device)
        a = xp.arange(points, dtype=noise.dtype, device=noise.device)
        w = xp.exp(-0.5 * (xp.expand_dims(i / SPACING, axis=1) - a) ** 2)
        return w / xp.sqrt(xp.sum(w**2, axis=1, keepdims=True))

    rows, columns = noise.shape[-2:]
    return weights(H, rows) @ noise @ weights(W, columns).T


@partial(checked, but=("crop", "seed"))
@dataclass(frozen=True)
class Augmentation:
    """Images changed at random, every image of every training step differently.

    With every u drawn evenly from [-1, 1), an image is, in this order,

        mirrored       left to right, with probability 1/2, if `flip`
        turned         by  rotate u  degrees
        scaled         by  1 + scale u
        shifted        by  shift u  pixels down, and by another  shift u  to the right
        cropped        framed by `crop` zeros on each side and cut to its size again at random:
                       shifted by whole pixels, -crop ... crop, down and to the right
        bent           every pixel is read from a place nearby, off by  elastic d  pixels down and
                       another  elastic d  to the right: d is a `smooth_field` of variance 1
        brightened     x <- (1 + brightness u) x, clipped to 0..1

    Scaling, turning and moving are one reading between pixels (see `warp`), so that an image is
    blurred once at most. What strength 0 leaves out is left out exactly.

    The draws are a function of the seed, the step and the image's place in the batch, and bit for
    bit the same on every device. Each kind has its own: another kind, or its strength, does not
    change them.

    Parameters
    ----------
    rotate : largest angle, in degrees
    shift : largest shift, in pixels
    scale : largest change of size, as a share of it; below 1
    crop : width of the frame to crop from, in whole pixels
    elastic : standard deviation of the displacements, in pixels
    brightness : largest change of brightness, as a share of it; up to 1
    flip : whether to mirror images, which a digit does not survive
    seed : from 0 to 2^32 - 1

    References
    ----------
    Simard, Steinkraus, Platt 2003, "Best practices for convolutional neural networks applied to
    visual document analysis": elastic distortions. Their alpha = 34 is elastic = 1.4 here.
    """

    rotate: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    crop: int = 0
    elastic: float = 0.0
    brightness: float = 0.0
    flip: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in ("crop", "seed") and not whole(value):
                raise ArgumentError(f"{name} must be a whole number, got {value!r}")
            if not (isfinite(value) and value >= 0):
                raise ArgumentError(f"{name} must be finite and 0 or more, got {value}")
        if self.scale >= 1:
            raise ArgumentError(f"scale must be below 1, got {self.scale}; try 0.1")
        if self.brightness > 1:
            raise ArgumentError(f"brightness must be at most 1, got {self.brightness}; try 0.2")
        if self.seed > WORD:
            raise ArgumentError(f"seed must be below 2^32, got {self.seed}")

    def __repr__(self) -> str:
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        changed = (f"{name}={now!r}" for name, (now, default) in values.items() if now != default)
        return f"Augmentation({', '.join(changed)})"

    def __call__(self, x: Array, step: Array) -> Array:
        """Change the images (N, C, H, W) of a training step.

        Parameters
        ----------
        x : floats of 0..1, not altered
        step : int64, shape (1,), on the device, so that nothing is read back to the host
        """
        x = _images(x)
        xp, (N, _, H, W) = array_namespace(x), x.shape

        def draw(kind: int, shape: tuple[int, ...]) -> Array:
            """Draw numbers of [0, 1), in x's dtype."""
            u = uniform(prod(shape), key=(self.seed, kind), step=step, device=device_of(x))
            return xp.astype(xp.reshape(u, shape), x.dtype)

        # One call for all that is a number an image, each in its own column whether used or not.
        u = draw(0, (N, 8))
        angle, size, *shifts, light = xp.unstack(2 * u[:, :5] - 1, axis=1)
        top, left, mirrored = xp.unstack(u[:, 5:], axis=1)

        if self.flip:
            x = xp.where(xp.reshape(mirrored < 0.5, (N, 1, 1, 1)), xp.flip(x, axis=3), x)
        if any((self.rotate, self.shift, self.scale, self.crop, self.elastic)):
            down, right = (
                self.shift * s + xp.floor((2 * self.crop + 1) * c) - self.crop
                for s, c in zip(shifts, (top, left), strict=True)
            )
            rows, columns = _origins(x, self.rotate * angle, 1 + self.scale * size, (down, right))
            if self.elastic:
                noise = sqrt(3) * (2 * draw(1, (N, 2, *grid_shape(H, W))) - 1)  # of variance 1
                d = self.elastic * smooth_field(noise, H, W)
                rows, columns = rows + d[:, 0, ...], columns + d[:, 1, ...]
            x = sample(x, rows, columns)
        return brighten(x, 1 + self.brightness * light) if self.brightness else x


def _origins(
    x: Array, angle: PerImage, scale: PerImage, shift: tuple[PerImage, PerImage]
) -> tuple[Array, Array]:
    """Rows and columns at which `warp` reads, (N, H, W) or (1, H, W) each."""
    xp, (H, W) = array_namespace(x), x.shape[2:]
    turn = _per_image(x, "angle", angle) * (pi / 180)
    down, right = (
        _per_image(x, f"shift {name}", value)
        for name, value in zip(("down", "right"), shift, strict=True)
    )
    cos, sin = xp.cos(turn), xp.sin(turn)
    size = _per_image(x, "scale", scale, above=0.0)
    row, column = (H - 1) / 2, (W - 1) / 2
    v = xp.reshape(xp.arange(H, dtype=x.dtype, device=x.device), (1, H, 1)) - row - down
    u = xp.reshape(xp.arange(W, dtype=x.dtype, device=x.device), (1, 1, W)) - column - right
    return (sin * u + cos * v) / size + row, (cos * u - sin * v) / size + column


def _images(x: Array) -> Array:
    """Images as floats: as they are, or what `scaled` makes of other numbers, in float32."""
    if x.ndim != 4:
        raise ArgumentError(
            f"images are (N, C, H, W), got {tuple(x.shape)}; reshape them, "
            "for instance to (N, 1, 28, 28)"
        )
    return x if kind_of_numbers(x) == "floats" else scaled(x, array_namespace(x).float32)


def _per_image(x: Array, name: str, value: PerImage, above: float = -inf) -> Array:
    """The argument as (N, 1, 1) or (1, 1, 1), with dtype and device of x."""
    on_host = isinstance(value, np.ndarray | np.generic | int | float | list | tuple)
    if on_host and not (np.isfinite(value) & (np.asarray(value) > above)).all():
        bound = "" if above == -inf else f" and above {above:g}"
        raise ArgumentError(f"{name} must be finite{bound}, got {value}")
    device, N = device_of(x), x.shape[0]
    numbers = device.xp.astype(device.asarray(value), x.dtype)
    if numbers.ndim and numbers.shape != (N,):
        raise ArgumentError(
            f"{name} must be one number or one for each of {N} images, "
            f"got shape {tuple(numbers.shape)}"
        )
    return device.xp.reshape(numbers, (-1, 1, 1))
