"""Where the ink is in a grey picture: what is ground, and what is no part of the digit.

Ground is what a pen has not touched. Where light falls on it unevenly, it is the picture's
morphological closing, in which strokes disappear and shadows stay, edges and all: what is
narrower than `REACH` is ink. Only an uneven ground is taken out; an even one stays as it is.

References
----------
Serra 1982, "Image Analysis and Mathematical Morphology", chapter XII, on top hats.
"""

from typing import NamedTuple

import numpy as np

WORK = 200  # pixels of the longer side of what is looked at, at most
COARSE = 48  # the same, where only light and shade matter, and noise must not
REACH = 0.3  # of the longer side: wider than strokes, narrower than shadows
TINY = 100  # pixels, of which fewer tell nothing of light and noise
FAINT = 0.35  # of the contrast: what differs from the ground by less may lie along the edge
EDGE = 0.1  # of the longer side: how far from it a frame may reach

SEVERAL = "shows several pieces of ink; if they are not one digit, give a picture of each"
UNEVEN = "has an uneven ground, of which some may have been taken for ink"


class Ink(NamedTuple):
    """What was found: (H, W), float32 from 0 to 1; the digit's first and last corner; remarks.

    And whether it is no line, as what light leaves is not; nor is a digit of a few pixels.
    """

    image: np.ndarray
    box: np.ndarray
    remarks: list[str]
    solid: bool


def find_ink(grey: np.ndarray) -> tuple[np.ndarray, list[str]] | None:
    """Tell a digit from its ground, and from frames, specks and shadows.

    Parameters
    ----------
    grey : (H, W), float32, black 0 and white 1

    Returns
    -------
    The digit, cut out, (h, w), float32 from ground 0 to ink 1, and sentences' ends on what makes it
    doubtful; None where nothing stands out. Large pictures are looked at in two steps: the
    whole, made smaller, and the part with the digit.
    """
    place = np.array([[0, 0], grey.shape])
    found: Ink | None = None
    remarks: list[str] = []
    for _ in range(2):
        part = _shrunk(grey[tuple(map(slice, *place))], WORK)
        closer = _look(part)
        if closer is None:
            break
        found, remarks = closer, list(dict.fromkeys([*remarks, *closer.remarks]))
        scale, size = (place[1] - place[0]) / part.shape, np.ptp(found.box, axis=0).max()
        if scale.max() <= 1 or size > 0.5 * max(part.shape):
            break
        margin = 0.4 * size * np.array([[-1], [1]])
        around = np.round((found.box + margin) * scale).astype(int) + place[0]
        place = np.clip(around, place[0], place[1])
    if found is None:
        return None
    if found.solid and UNEVEN not in remarks:
        remarks.append(UNEVEN)
    return found.image[tuple(map(slice, *found.box))], remarks


def evened(grey: np.ndarray, side: int) -> np.ndarray | None:
    """Take uneven light off a page with dark ink; None where the light is even, or ink is light.

    All ink stays, of which strokes are narrower than `REACH`, and no digit is chosen.

    Parameters
    ----------
    grey : (H, W), float32, black 0 and white 1
    side : pixels of the longer side that the result may be reduced to

    Returns
    -------
    (h, w), float32: 0 where the ground is, and the share of its light that is missing elsewhere
    """
    page = _shrunk(grey, max(side, WORK))
    if not _is_light(_shrunk(page, COARSE)):
        return None
    ink, uneven = _stands_out(page, light=True)
    return np.clip(ink, 0, 1).astype(np.float32) if uneven else None


def _shrunk(grey: np.ndarray, side: int) -> np.ndarray:
    """Average blocks of pixels, so that the longer side has no more of them than `side`."""
    from PIL import Image

    factor = -(-max(grey.shape) // side)
    return np.asarray(Image.fromarray(np.ascontiguousarray(grey)).reduce(factor))


def _look(grey: np.ndarray) -> Ink | None:
    frame = _frame(grey)
    (top, left), (bottom, right) = frame[:, 0], grey.shape - frame[:, 1]
    inside = grey[top:bottom, left:right]
    light = _is_light(_shrunk(inside, COARSE))
    found = _separate(inside, light) or _separate(inside, not light)
    if found is None:
        return None
    image = np.zeros(grey.shape, np.float32)
    image[top:bottom, left:right] = found.image
    return found._replace(image=image, box=found.box + frame[:, 0])


def _frame(grey: np.ndarray) -> np.ndarray:
    """Count the lines that are an outline, or a scan's edge: [[top, bottom], [left, right]].

    They differ from what is further inside all along the edge, and end soon. They begin at the
    edge, or all four a little further inside, as a digit's ink does not.
    """
    peel, off = np.zeros((2, 2), int), np.zeros((2, 2), int)
    deep = int(EDGE * max(grey.shape)) + 1
    if min(grey.shape) < 4 * deep:
        return peel
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in grey.shape)
    off_edge = np.minimum(rows[:, None], columns)
    band = grey[(off_edge >= deep) & (off_edge < 2 * deep)]
    inner, contrast = np.median(band), np.ptp(np.percentile(grey, [0.5, 99.5]))
    for axis, end in np.ndindex(2, 2):
        lines = grey.T if axis else grey
        differs = np.abs((lines[::-1] if end else lines)[: deep + 1] - inner)
        steps = np.median(differs, axis=1)
        first = np.argmax(steps > 0.5 * steps.max())
        step = steps[first : first + 2].max()  # of a line that is half of each
        outline = differs[first:, first : differs.shape[1] - first]
        if (
            step > 0.3 * contrast
            and np.mean(outline[:2].max(axis=0) > 0.5 * step) > 0.95
            and np.mean(np.abs(band - inner) < 0.5 * step) > 0.75
        ):
            ends = np.flatnonzero(np.mean(outline[1:] > 0.5 * step, axis=1) < 0.5)
            if len(ends):
                off[axis, end] = first
                peel[axis, end] = first + ends[0] + 2  # and the line that is half of each
    return peel if peel.all() or not off.any() else np.where(off, 0, peel)


def border_of(x: np.ndarray) -> np.ndarray:
    """Return the outermost pixels, all round."""
    return np.concatenate([x[0], x[-1], x[:, 0], x[:, -1]])


def _is_light(grey: np.ndarray) -> bool:
    """Tell whether ink is darker than its ground, which the border shows.

    Where it shows what a sheet of paper lies on, the sheet is ground. Where light falls unevenly
    it may show anything. What is left beside a quadratic surface, fitted so that what is far from
    it counts little, is then ink.
    """
    border = border_of(grey)
    ground, (low, high) = np.median(border), np.percentile(grey, [0.1, 99.9])
    even = np.ptp(np.percentile(border, [15, 85])) < 0.2 * (high - low)
    if even and np.mean(np.abs(grey - ground) < 0.1 * (high - low)) > 0.3:
        light = bool(ground - low > high - ground)
        far = ground - grey if light else grey - ground
        return light != _is_sheet(far > 0.5 * max(ground - low, high - ground))
    rows, columns = (np.linspace(-1, 1, n) for n in grey.shape)
    r, c = (x.ravel() for x in np.meshgrid(rows, columns, indexing="ij"))
    basis = np.stack([np.ones_like(r), r, c, r * r, r * c, c * c], axis=1)
    y, weight = grey.ravel().astype(np.float64), np.ones_like(r)
    for _ in range(10):
        fit = np.linalg.lstsq(basis * weight[:, np.newaxis], y * weight, rcond=None)[0]
        off = y - basis @ fit
        weight = 1 / np.hypot(1, off / max(0.02, 1.5 * np.median(np.abs(off))))
    low, high = np.percentile(off, [0.5, 99.5])
    return bool(-low > high)


def _separate(grey: np.ndarray, light: bool) -> Ink | None:
    """Find the digit's ink on a ground that is light, or dark; None if there is none."""
    ink, evened = _stands_out(grey, light)
    if (noise := _noise(ink)) > 0.05:
        ink = _smooth(ink)
        noise = _noise(ink)
    least = max(0.03, 4.5 * noise)
    if not (ink > least).any():
        return None
    there = ink >= max(least, 0.5 * np.percentile(ink[ink > least], 90))
    names, pieces = _pieces(there)
    if _take_boxes(there, names, pieces):
        names, pieces = _pieces(there)
    kept, several = _choose(pieces)
    digit = there & kept[names]
    # Uneven light leaves a haze on the ground, so the lowest quarter counts as paper.
    ink = np.clip(2 * ink / np.percentile(ink[digit], 75) - 0.5, 0, 1).astype(np.float32)
    near = _extreme(np.pad(digit, 2), 5, np.maximum)
    haze = np.sum((ink > 0.1) & ~near) / digit.sum()
    ink[~near] = 0
    lines = [np.flatnonzero(digit.any(axis=axis)) for axis in (1, 0)]
    box = np.array([[n[0] for n in lines], [n[-1] + 1 for n in lines]])
    solid = digit.sum() > 0.6 * np.ptp(box, axis=0).max() ** 2
    remarks = [SEVERAL] * several + [UNEVEN] * bool(evened and haze > 0.3)
    return Ink(ink, box, remarks, bool(solid))


def _stands_out(grey: np.ndarray, light: bool) -> tuple[np.ndarray, bool]:
    """Measure how far each pixel is from its ground; whether the ground had to be evened."""
    sign = 1 if light else -1
    coarse = sign * _shrunk(grey, COARSE)
    ground = _closing(coarse)
    middle, contrast = np.median(ground), np.percentile(ground - coarse, 99.5)
    spread = np.ptp(np.percentile(ground, [3, 97]))
    odd = np.abs(ground - middle) > 0.4 * spread
    # Ink as wide as shadows is told by its darkness: none is as dark as ink, if there is any.
    inky = ground[odd] - np.percentile(sign * grey, 1) < 0.06 * np.ptp(coarse)
    inky &= contrast > 0.2 * np.ptp(coarse)
    wide = np.mean(border_of(odd)) > 0.15 or np.mean(np.abs(ground - middle) > 0.25 * spread) > 0.2
    uneven = spread > max(0.08, 0.25 * contrast) and wide and inky.mean() < 0.5
    if grey.size < TINY or not uneven:
        level = np.median(border_of(grey))
        # A faint outline, or a line of squared paper at the edge, is no ground: it is nearer to the
        # ink than most of the picture is, and not by much.
        inked = sign * (np.median(grey) - level)
        if 0 < inked < FAINT * np.ptp(np.percentile(grey, [0.5, 99.5])):
            level = np.median(grey)
        return sign * (level - grey), False
    calm = _median(grey)
    level = sign * _closing(sign * calm)
    level -= np.median(level - calm)  # noise lifts a closing
    # Light multiplies, so that ink is a share of its ground.
    return sign * (level - grey) / np.maximum(level, 0.02 if light else 0.1), True


def _noise(ink: np.ndarray) -> float:
    """Estimate the standard deviation of the ground, which is a quarter of the pixels or more."""
    if ink.size < TINY:
        return 0.0
    return float(np.percentile(np.abs(ink), 25)) / 0.3186  # the quartile of a normal variable


def _median(grey: np.ndarray) -> np.ndarray:
    """Return the median of each 5 x 5 pixels, which keeps the edges of shadows; 8 bits will do."""
    from PIL import Image, ImageFilter

    image = Image.fromarray(np.clip(255 * grey, 0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.MedianFilter(5)), np.float32) / 255


def _smooth(x: np.ndarray) -> np.ndarray:
    """Return the mean of each 3 x 3 pixels."""
    for _ in range(2):
        wide = np.pad(x, ((1, 1), (0, 0)), mode="edge")
        x = ((wide[:-2] + wide[1:-1] + wide[2:]) / 3).T
    return x


def _extreme(x: np.ndarray, size: int, choose: np.ufunc) -> np.ndarray:
    """Return the largest, or least, of each `size` x `size` pixels of which none is outside."""
    for _ in range(2):
        width = 1
        while width < size:
            step = min(width, size - width)
            x = choose(x[:-step], x[step:])
            width += step
        x = x.T
    return x


def _closing(x: np.ndarray) -> np.ndarray:
    """Fill what is darker than all around it and narrower than `REACH`; edges go on outside."""
    size = 2 * int(REACH * max(x.shape) / 2) + 1
    wide = np.pad(x, size - 1, mode="edge")
    return _extreme(_extreme(wide, size, np.maximum), size, np.minimum)


def _pieces(there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the pieces of ink: what touches, over corners too, is one.

    Returns
    -------
    (H, W), the number of each pixel's piece, -1 on the ground; and (pieces, 5), area and box:
    top, left, and bottom and right, which are no more in it
    """
    width = there.shape[1]
    # A row's runs of ink, from start to end; a place is row (W + 1) + column.
    steps = np.diff(there.astype(np.int8), axis=1, prepend=0, append=0).ravel()
    start, end = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    # Those that touch a run lie in the next row, one beside the other.
    first = np.searchsorted(end, start + width + 1, "left")
    count = np.searchsorted(start, end + width + 1, "right") - first
    above = np.repeat(np.arange(len(start)), count)
    below = np.arange(len(above)) + np.repeat(first - np.cumsum(count) + count, count)
    name, before = np.arange(len(start)), None
    while before is None or not np.array_equal(name, before):
        before, name = name, name.copy()
        least = np.minimum(before[above], before[below])
        np.minimum.at(name, before[above], least)
        np.minimum.at(name, before[below], least)
        name = name[name]
    found, name = np.unique(name, return_inverse=True)
    names = np.full(there.shape, -1)
    names[there] = np.repeat(name, end - start)
    table = np.zeros((len(found), 5), int)
    table[:, 0] = np.bincount(name, end - start, len(found))
    table[:, 1:3] = there.shape
    row, left = np.divmod(start, width + 1)
    np.minimum.at(table[:, 1], name, row)
    np.minimum.at(table[:, 2], name, left)
    np.maximum.at(table[:, 3], name, row + 1)
    np.maximum.at(table[:, 4], name, end - row * (width + 1))
    return names, table


def _least_side(piece: np.ndarray, deep: int, wide: int) -> float:
    """Find the least share of a box's four sides near which there is ink."""
    sides = (
        piece[:deep].any(0),
        piece[-deep:].any(0),
        piece[:, :wide].any(1),
        piece[:, -wide:].any(1),
    )
    return float(min(side.mean() for side in sides))


def _is_sheet(there: np.ndarray) -> bool:
    """Tell whether the largest piece is a sheet with something on it, rather than a digit."""
    _, pieces = _pieces(there)
    if not len(pieces):
        return False
    area, top, left, bottom, right = pieces[np.argmax(pieces[:, 0])]
    height, width = bottom - top, right - left
    sheet = there[top:bottom, left:right]
    if (
        area < 0.6 * height * width
        or min(np.array([height, width]) / there.shape) < 0.4
        or _least_side(sheet, 1 + height // 8, 1 + width // 8) < 0.8
    ):
        return False
    hole, up, west, down, east = _pieces(~sheet)[1].T
    within = (up > 0) & (west > 0) & (down < height) & (east < width)
    return bool(np.any(within & (hole > 0.01 * height * width)))


def _take_boxes(there: np.ndarray, names: np.ndarray, pieces: np.ndarray) -> bool:
    """Take out, in place, boxes that are drawn round a digit; tell whether there were any.

    A box has ink near the whole of its four sides. Either nothing else hangs on it, or its sides
    are straight lines of rows and columns.
    """
    taken = False
    for number in np.argsort(-pieces[:, 0])[:3]:
        _, top, left, bottom, right = pieces[number]
        height, width = bottom - top, right - left
        piece = names[top:bottom, left:right] == number
        a, b = int(0.12 * height), int(0.12 * width)
        if min(a, b) < 2:
            continue
        if _least_side(piece, a, b) < 0.85:
            continue
        rows, columns = piece.mean(axis=1) > 0.7, piece.mean(axis=0) > 0.7
        if not piece[2 * a : -2 * a, 2 * b : -2 * b].any():
            others = there[top + a : bottom - a, left + b : right - b] & ~piece[a:-a, b:-b]
            if others.any(axis=1).sum() < 0.2 * height:
                continue
            lines = piece
        elif all(part.any() for part in (rows[:a], rows[-a:], columns[:b], columns[-b:])):
            rows[a:-a], columns[b:-b] = False, False
            lines = piece & (rows[:, np.newaxis] | columns)
        else:
            continue
        there[top:bottom, left:right] &= ~lines
        taken = True
    return taken


def _choose(pieces: np.ndarray) -> tuple[np.ndarray, bool]:
    """Choose the pieces that are the digit; tell whether several may be digits.

    Beside the largest, those are kept that are not much smaller than it, or lie near; specks
    are neither.
    """
    area, top, left, bottom, right = pieces.T
    main = int(np.argmax(area))
    height = bottom - top
    size = max(height[main], right[main] - left[main])
    apart = np.maximum(np.maximum(top - bottom[main], top[main] - bottom), 0)
    aside = np.maximum(np.maximum(left - right[main], left[main] - right), 0)
    gap, share = np.hypot(apart, aside) / size, area / area[main]
    kept = (share > 0.01) & ((share > 0.1) | (gap < 0.1)) & (share > 0.3 * gap)
    kept[main] = True
    digits = (share > 0.3) | ((share > 0.1) & (~kept | (height > 0.5 * height[main])))
    digits[main] = False
    return kept, bool(digits.any())
