"""The transforms of Winograd's convolution, as loops over rows of tiles.

A tile is transformed along one axis, then along the other; `half` holds what is between, of one row
of tiles, which stays in the cache. Images are `Flat`: pixels, each a run of all channels of all
samples, and along these run the inner loops. Transformed tiles are (IN, IN, rows of tiles, numbers
of a row), the numbers of a row being those of its tiles side by side.
"""

from typing import Any

import numpy as np

from xpnet.engine.cpu.fast.vectors import arithmetic, largest, wide_vectors

# The matrices of `toom_cook`, for the points 0, 1, others, and infinity, without what is 0 or 1.


@arithmetic
def _coefficients(BT: np.ndarray) -> Any:
    """What is neither 0 nor 1 of B^T, row by row."""
    return (
        *(BT[0, 0], BT[0, 1], BT[0, 2], BT[0, 3]),
        *(BT[1, 1], BT[1, 2], BT[1, 3], BT[2, 1], BT[2, 2], BT[2, 3]),
        *(BT[3, 1], BT[3, 2], BT[3, 3], BT[4, 1], BT[4, 2], BT[4, 3]),
        *(BT[5, 1], BT[5, 2], BT[5, 3], BT[5, 4]),
    )


@arithmetic
def _powers(AT: np.ndarray) -> Any:
    """What is neither 0 nor 1 of A^T, row by row: powers of three points."""
    return (
        *(AT[1, 2], AT[1, 3], AT[1, 4], AT[2, 2], AT[2, 3], AT[2, 4]),
        *(AT[3, 2], AT[3, 3], AT[3, 4]),
    )


@arithmetic
def _by_BT(c: Any, x0: Any, x1: Any, x2: Any, x3: Any, x4: Any, x5: Any) -> Any:
    """B^T x."""
    return (
        c[0] * x0 + c[1] * x1 + c[2] * x2 + c[3] * x3 + x4,
        c[4] * x1 + c[5] * x2 + c[6] * x3 + x4,
        c[7] * x1 + c[8] * x2 + c[9] * x3 + x4,
        c[10] * x1 + c[11] * x2 + c[12] * x3 + x4,
        c[13] * x1 + c[14] * x2 + c[15] * x3 + x4,
        c[16] * x1 + c[17] * x2 + c[18] * x3 + c[19] * x4 + x5,
    )


@arithmetic
def _by_B(c: Any, v0: Any, v1: Any, v2: Any, v3: Any, v4: Any, v5: Any) -> Any:
    """B v."""
    return (
        c[0] * v0,
        c[1] * v0 + c[4] * v1 + c[7] * v2 + c[10] * v3 + c[13] * v4 + c[16] * v5,
        c[2] * v0 + c[5] * v1 + c[8] * v2 + c[11] * v3 + c[14] * v4 + c[17] * v5,
        c[3] * v0 + c[6] * v1 + c[9] * v2 + c[12] * v3 + c[15] * v4 + c[18] * v5,
        v0 + v1 + v2 + v3 + v4 + c[19] * v5,
        v5,
    )


@arithmetic
def _by_A(a: Any, y0: Any, y1: Any, y2: Any, y3: Any) -> Any:
    """A y: a polynomial's values at the points."""
    return (
        y0,
        y0 + y1 + y2 + y3,
        a[0] * y1 + a[3] * y2 + a[6] * y3 + y0,
        a[1] * y1 + a[4] * y2 + a[7] * y3 + y0,
        a[2] * y1 + a[5] * y2 + a[8] * y3 + y0,
        y3,
    )


@arithmetic
def _by_AT(a: Any, t0: Any, t1: Any, t2: Any, t3: Any, t4: Any, t5: Any) -> Any:
    """A^T t."""
    return (
        t0 + t1 + t2 + t3 + t4,
        a[0] * t2 + a[1] * t3 + a[2] * t4 + t1,
        a[3] * t2 + a[4] * t3 + a[5] * t4 + t1,
        a[6] * t2 + a[7] * t3 + a[8] * t4 + t1 + t5,
    )


# From images to tiles


@arithmetic
def enter(
    x: np.ndarray, row: int, column: int, half: np.ndarray, V: np.ndarray, BT: np.ndarray, at: int
) -> None:
    """B^T d B of every tile d of images x, for the rows of tiles from number `at` on.

    Parameters
    ----------
    x, row, column : images (OUT down + 2, OUT across + 2), `Flat`
    half : (IN, OUT, numbers of a row and of one pixel): every fourth column side by side
    V : where the tiles go
    """
    wide_vectors()
    c, across = _coefficients(BT), V.shape[3]
    L = half.shape[2] - across
    for r in range(V.shape[2]):
        for w in range(4 * (across // L) + 2):
            p = 4 * (at + r) * row + w * column
            x0, x1, x2 = x[p : p + L], x[p + row : p + row + L], x[p + 2 * row : p + 2 * row + L]
            p += 3 * row
            x3, x4, x5 = x[p : p + L], x[p + row : p + row + L], x[p + 2 * row : p + 2 * row + L]
            m, q = w % 4, (w // 4) * L
            h0, h1, h2 = half[0, m, q : q + L], half[1, m, q : q + L], half[2, m, q : q + L]
            h3, h4, h5 = half[3, m, q : q + L], half[4, m, q : q + L], half[5, m, q : q + L]
            for k in range(L):
                h0[k], h1[k], h2[k], h3[k], h4[k], h5[k] = _by_BT(
                    c, x0[k], x1[k], x2[k], x3[k], x4[k], x5[k]
                )
        for a in range(6):
            h0, h1, h2 = half[a, 0, :across], half[a, 1, :across], half[a, 2, :across]
            h3, h4, h5 = half[a, 3, :across], half[a, 0, L:], half[a, 1, L:]
            v0, v1, v2 = V[a, 0, r, :across], V[a, 1, r, :across], V[a, 2, r, :across]
            v3, v4, v5 = V[a, 3, r, :across], V[a, 4, r, :across], V[a, 5, r, :across]
            for k in range(across):
                v0[k], v1[k], v2[k], v3[k], v4[k], v5[k] = _by_BT(
                    c, h0[k], h1[k], h2[k], h3[k], h4[k], h5[k]
                )


@arithmetic
def _enter_row(h: np.ndarray, e: np.ndarray, r: int, a: Any) -> None:
    """The second half: columns, (IN, OUT, numbers of a row), to the points of a row of tiles."""
    wide_vectors()
    N = e.shape[3]
    for i in range(6):
        h0, h1, h2, h3 = h[i, 0, :N], h[i, 1, :N], h[i, 2, :N], h[i, 3, :N]
        e0, e1, e2 = e[i, 0, r, :N], e[i, 1, r, :N], e[i, 2, r, :N]
        e3, e4, e5 = e[i, 3, r, :N], e[i, 4, r, :N], e[i, 5, r, :N]
        for k in range(N):
            e0[k], e1[k], e2[k], e3[k], e4[k], e5[k] = _by_A(a, h0[k], h1[k], h2[k], h3[k])


@arithmetic
def enter_dy(
    dy: np.ndarray, row: int, column: int, y: Any, row_y: int, column_y: int,
    size: tuple[int, int], zeros: np.ndarray, half: np.ndarray, e: np.ndarray, AT: np.ndarray,
    at: int,
) -> None:  # fmt: skip
    """A d A^T of every tile d of gradients dy, or of what ReLU lets pass of them.

    What it stops is multiplied by 0, so that NaN goes on, as in the layers.

    Parameters
    ----------
    dy, row, column, size : images, `Flat`, and how large they are; what tiles have beyond is 0
    y, row_y, column_y : what ReLU has put out; None for all of dy
    zeros : (numbers of a pixel)
    half : (IN, OUT, numbers of a row): every fourth column side by side
    e : where the tiles go
    """
    wide_vectors()
    a, L, (H, W), one = _powers(AT), len(zeros), size, zeros.dtype.type(1)
    for r in range(e.shape[2]):
        top = 4 * (at + r)
        for w in range(4 * (e.shape[3] // L)):
            down = H - top if w < W else 0
            p = top * row + w * column
            d0 = dy[p : p + L] if down > 0 else zeros
            d1 = dy[p + row : p + row + L] if down > 1 else zeros
            d2 = dy[p + 2 * row : p + 2 * row + L] if down > 2 else zeros
            d3 = dy[p + 3 * row : p + 3 * row + L] if down > 3 else zeros
            m, q = w % 4, (w // 4) * L
            h0, h1, h2 = half[0, m, q : q + L], half[1, m, q : q + L], half[2, m, q : q + L]
            h3, h4, h5 = half[3, m, q : q + L], half[4, m, q : q + L], half[5, m, q : q + L]
            if y is None:
                for k in range(L):
                    h0[k], h1[k], h2[k], h3[k], h4[k], h5[k] = _by_A(a, d0[k], d1[k], d2[k], d3[k])
            else:
                p, f = top * row_y + w * column_y, row_y
                y0 = y[p : p + L] if down > 0 else zeros
                y1 = y[p + f : p + f + L] if down > 1 else zeros
                y2 = y[p + 2 * f : p + 2 * f + L] if down > 2 else zeros
                y3 = y[p + 3 * f : p + 3 * f + L] if down > 3 else zeros
                for k in range(L):
                    s0 = d0[k] * (one if y0[k] > 0 else zeros[k])
                    s1 = d1[k] * (one if y1[k] > 0 else zeros[k])
                    s2 = d2[k] * (one if y2[k] > 0 else zeros[k])
                    s3 = d3[k] * (one if y3[k] > 0 else zeros[k])
                    h0[k], h1[k], h2[k], h3[k], h4[k], h5[k] = _by_A(a, s0, s1, s2, s3)
        _enter_row(half, e, r, a)


@arithmetic
def enter_dy_pooled(
    dy: np.ndarray, row: int, column: int, places: np.ndarray, zeros: np.ndarray,
    half: np.ndarray, e: np.ndarray, AT: np.ndarray, at: int,
) -> None:  # fmt: skip
    """A d A^T of every tile d of what a pool of 2 x 2 and ReLU hand back of gradients dy.

    Parameters
    ----------
    dy, row, column : images of half the size, `Flat`
    places : (H, W, numbers of a pixel), where in its window each maximum was, 0 to 3, if it was
        positive
    zeros, half, e : as in `enter_dy`
    """
    wide_vectors()
    a, L, (H, W, _), one = _powers(AT), len(zeros), places.shape, zeros.dtype.type(1)
    for r in range(e.shape[2]):
        top = 2 * (at + r)
        for w in range(2 * (e.shape[3] // L)):
            m, q = 2 * (w % 2), (w // 2) * L
            p = top * row + w * column
            for x in range(2):
                h0, h1 = half[0, m + x, q : q + L], half[1, m + x, q : q + L]
                h2, h3 = half[2, m + x, q : q + L], half[3, m + x, q : q + L]
                h4, h5 = half[4, m + x, q : q + L], half[5, m + x, q : q + L]
                if w >= W:
                    h0[:], h1[:], h2[:], h3[:], h4[:], h5[:] = 0, 0, 0, 0, 0, 0
                    continue
                upper, lower = x, 2 + x
                c0, d0 = places[top, w], dy[p : p + L]
                within = top + 1 < H
                c1 = places[top + 1, w] if within else c0
                d1 = dy[p + row : p + row + L] if within else zeros
                for k in range(L):
                    zero = zeros[k]
                    s0 = d0[k] * (one if c0[k] == upper else zero)
                    s1 = d0[k] * (one if c0[k] == lower else zero)
                    s2 = d1[k] * (one if c1[k] == upper else zero)
                    s3 = d1[k] * (one if c1[k] == lower else zero)
                    h0[k], h1[k], h2[k], h3[k], h4[k], h5[k] = _by_A(a, s0, s1, s2, s3)
        _enter_row(half, e, r, a)


# From tiles to images


@arithmetic
def leave(
    Y: np.ndarray, half: np.ndarray, y: np.ndarray, row: int, column: int, size: tuple[int, int],
    spare: np.ndarray, AT: np.ndarray, least: Any, at: int,
) -> None:  # fmt: skip
    """max(A^T t A, least) of every tile t.

    Parameters
    ----------
    half : (OUT, IN, numbers of a row)
    y, row, column, size : images, `Flat`, and how large they are: what tiles have beyond is dropped
    spare : (OUT, numbers of a pixel), where that goes
    least : 0 for ReLU, minus infinity for what tiles have as it is
    """
    wide_vectors()
    a, L, (H, W) = _powers(AT), spare.shape[1], size
    for r in range(Y.shape[2]):
        _leave_rows(Y, r, half, a)
        for i in range(min(4, H - 4 * (at + r))):
            for t in range(Y.shape[3] // L):
                q = t * L
                h0, h1, h2 = half[i, 0, q : q + L], half[i, 1, q : q + L], half[i, 2, q : q + L]
                h3, h4, h5 = half[i, 3, q : q + L], half[i, 4, q : q + L], half[i, 5, q : q + L]
                p, rest = (4 * (at + r) + i) * row + 4 * t * column, W - 4 * t
                y0 = y[p : p + L]
                y1 = y[p + column : p + column + L] if rest > 1 else spare[1]
                y2 = y[p + 2 * column : p + 2 * column + L] if rest > 2 else spare[2]
                y3 = y[p + 3 * column : p + 3 * column + L] if rest > 3 else spare[3]
                for k in range(L):
                    s0, s1, s2, s3 = _by_AT(a, h0[k], h1[k], h2[k], h3[k], h4[k], h5[k])
                    y0[k] = least if s0 < least else s0  # a NaN stays
                    y1[k] = least if s1 < least else s1
                    y2[k] = least if s2 < least else s2
                    y3[k] = least if s3 < least else s3


@arithmetic
def leave_pooled(
    Y: np.ndarray, half: np.ndarray, y: np.ndarray, row: int, column: int, places: np.ndarray,
    spare: np.ndarray, spare_places: np.ndarray, AT: np.ndarray, at: int,
) -> None:  # fmt: skip
    """The largest of each 2 x 2 window of A^T t A of every tile t, or 0 if that is larger.

    Parameters
    ----------
    half : (OUT, IN, numbers of a row)
    y, row, column : images of half the size, `Flat`
    places : (H, W, numbers of a pixel) of the same size: where in its window each maximum was, the
        first of equals, row by row; 4 if it was not positive
    spare, spare_places : (numbers of a pixel), for what is beyond the images
    """
    wide_vectors()
    a, L, (H, W, _) = _powers(AT), len(spare), places.shape
    for r in range(Y.shape[2]):
        _leave_rows(Y, r, half, a)
        for i in range(min(2, H - 2 * (at + r))):
            top = 2 * (at + r) + i
            for t in range(Y.shape[3] // L):
                q, u, v = t * L, 2 * i, 2 * i + 1
                h0, h1, h2 = half[u, 0, q : q + L], half[u, 1, q : q + L], half[u, 2, q : q + L]
                h3, h4, h5 = half[u, 3, q : q + L], half[u, 4, q : q + L], half[u, 5, q : q + L]
                g0, g1, g2 = half[v, 0, q : q + L], half[v, 1, q : q + L], half[v, 2, q : q + L]
                g3, g4, g5 = half[v, 3, q : q + L], half[v, 4, q : q + L], half[v, 5, q : q + L]
                p, both = top * row + 2 * t * column, 2 * t + 1 < W
                y0 = y[p : p + L]
                y1 = y[p + column : p + column + L] if both else spare
                c0 = places[top, 2 * t]
                c1 = places[top, 2 * t + 1] if both else spare_places
                for k in range(L):
                    u0, u1, u2, u3 = _by_AT(a, h0[k], h1[k], h2[k], h3[k], h4[k], h5[k])
                    v0, v1, v2, v3 = _by_AT(a, g0[k], g1[k], g2[k], g3[k], g4[k], g5[k])
                    y0[k], c0[k] = largest(u0, u1, v0, v1)
                    y1[k], c1[k] = largest(u2, u3, v2, v3)


@arithmetic
def _leave_rows(Y: np.ndarray, r: int, half: np.ndarray, a: Any) -> None:
    """The first half: the points of a row of tiles to rows, (OUT, IN, numbers of a row)."""
    wide_vectors()
    N = Y.shape[3]
    for j in range(6):
        t0, t1, t2 = Y[0, j, r, :N], Y[1, j, r, :N], Y[2, j, r, :N]
        t3, t4, t5 = Y[3, j, r, :N], Y[4, j, r, :N], Y[5, j, r, :N]
        h0, h1, h2, h3 = half[0, j, :N], half[1, j, :N], half[2, j, :N], half[3, j, :N]
        for k in range(N):
            h0[k], h1[k], h2[k], h3[k] = _by_AT(a, t0[k], t1[k], t2[k], t3[k], t4[k], t5[k])


@arithmetic
def leave_dx(
    V: np.ndarray, half: np.ndarray, dx: np.ndarray, row: int, column: int, L: int, BT: np.ndarray,
    at: int,
) -> None:  # fmt: skip
    """B v B^T of every tile v, added where tiles overlap.

    Rows of tiles come one after the other: each adds to what the one above has left.

    Parameters
    ----------
    half : (IN, IN, numbers of a row)
    dx, row, column : images (OUT down + 2, OUT across + 2), `Flat`
    L : numbers of a pixel
    """
    wide_vectors()
    c, N = _coefficients(BT), V.shape[3]
    for r in range(V.shape[2]):
        for j in range(6):
            v0, v1, v2 = V[0, j, r, :N], V[1, j, r, :N], V[2, j, r, :N]
            v3, v4, v5 = V[3, j, r, :N], V[4, j, r, :N], V[5, j, r, :N]
            h0, h1, h2 = half[0, j, :N], half[1, j, :N], half[2, j, :N]
            h3, h4, h5 = half[3, j, :N], half[4, j, :N], half[5, j, :N]
            for k in range(N):
                h0[k], h1[k], h2[k], h3[k], h4[k], h5[k] = _by_B(
                    c, v0[k], v1[k], v2[k], v3[k], v4[k], v5[k]
                )
        for i in range(6):
            first = 4 * (at + r) + i
            added = i < 2 and first > 1
            if not added:
                for p in (first * row, first * row + column):
                    dx[p : p + L] = 0
            for t in range(N // L):
                q = t * L
                h0, h1, h2 = half[i, 0, q : q + L], half[i, 1, q : q + L], half[i, 2, q : q + L]
                h3, h4, h5 = half[i, 3, q : q + L], half[i, 4, q : q + L], half[i, 5, q : q + L]
                p, b = first * row + 4 * t * column, column
                d0, d1, d2 = dx[p : p + L], dx[p + b : p + b + L], dx[p + 2 * b : p + 2 * b + L]
                p += 3 * b
                d3, d4, d5 = dx[p : p + L], dx[p + b : p + b + L], dx[p + 2 * b : p + 2 * b + L]
                if added:
                    for k in range(L):
                        s0, s1, s2, s3, s4, s5 = _by_B(c, h0[k], h1[k], h2[k], h3[k], h4[k], h5[k])
                        d0[k] += s0
                        d1[k] += s1
                        d2[k] += s2
                        d3[k] += s3
                        d4[k] += s4
                        d5[k] += s5
                else:
                    for k in range(L):
                        s0, s1, s2, s3, s4, s5 = _by_B(c, h0[k], h1[k], h2[k], h3[k], h4[k], h5[k])
                        d0[k] += s0
                        d1[k] += s1
                        d2[k] = s2
                        d3[k] = s3
                        d4[k] = s4
                        d5[k] = s5
