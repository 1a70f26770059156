"""Winograd's convolution: a 3 x 3 window in a quarter of the products."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from xpnet.arrays import Array
from xpnet.engine.cpu.buffers import Buffers, by_groups, zeros
from xpnet.engine.cpu.kernel import Kernel
from xpnet.layers import Convolution, Shape

POINTS = (0.0, 1.0, -1 / 2, 7 / 4, -5 / 4)
"""Points where the polynomials are evaluated, besides infinity. With the usual 0, 1, -1, 2, -2 the
error of float32 is 2 to 4 times larger. The second must be 1: there a tile's sum is one number."""
OUT, TAPS = 4, 3
IN = OUT + TAPS - 1
AT_ONE = IN + 1
"""Place of the points (1, 1) among the 36 of a transformed tile."""
SMALL = 1_000_000
"""Multiplications up to which OpenBLAS multiplies two matrices without packing them first."""

LEAST_SAVED = 2.0
"""Times fewer products; with less, as in images of 5 x 5, one for each place of the window is as
fast or faster. Measured on 2 to 32 pixels and 2 to 64 channels."""
LEAST_IN_GROUP = 8
"""Channels of a group: with fewer, the transforms cost more than their products save."""

Step = tuple[Callable[..., object], tuple[np.ndarray, ...], np.ndarray]
"""A function of NumPy, its arrays, and where the result goes."""


def toom_cook(
    points: Sequence[float], outputs: int, taps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices B^T, G, A^T of minimal filtering, with infinity as one more point.

        y = A^T [(G w) * (B^T x)],   y_i = sum over k of w_k x_(i + k)

    for `outputs` values y, `taps` weights w, and as many products as there are values x. G and A^T
    evaluate polynomials at the points; B^T is the transpose of interpolation, and its rows hold the
    coefficients of Lagrange's polynomials without their denominators, which G takes over.

    Returns
    -------
    (n, n), (n, taps), (outputs, n) with n = outputs + taps - 1 = len(points) + 1, float64

    References
    ----------
    Winograd 1980, "Arithmetic complexity of computations". Lavin, Gray 2015, "Fast algorithms for
    convolutional neural networks", arXiv:1509.09308. Barabasz, Anderson, Soodhalter, Gregg 2018,
    "Error analysis and improving the accuracy of Winograd convolution", arXiv:1803.10986.
    """
    n = len(points) + 1
    BT, G, AT = np.zeros((n, n)), np.zeros((n, taps)), np.zeros((outputs, n))
    for j, a in enumerate(points):
        others = [b for i, b in enumerate(points) if i != j]
        BT[j, : n - 1] = np.poly(others)[::-1]
        G[j] = a ** np.arange(taps) / np.prod([a - b for b in others])
        AT[:, j] = a ** np.arange(outputs)
    BT[-1], G[-1, -1], AT[-1, -1] = np.poly(points)[::-1], 1.0, 1.0
    return BT, G, AT


def to_tiles(M: np.ndarray, images: np.ndarray, tiles: np.ndarray, buffers: Buffers) -> list[Step]:
    """M d M^T of every tile d of images: first of its columns, then of its rows.

    Parameters
    ----------
    M : (IN, k), k the size of a tile; one begins every OUT pixels, so that they overlap if k is IN
    images : (H, W, n, c), every row contiguous
    tiles : (IN, IN, tiles down, tiles across, n, c)
    """
    (H, W, n, c), (_, _, down, _, _, _), k = images.shape, tiles.shape, M.shape[1]
    half = buffers.scratch("half", (IN, down, W, n * c))
    pieces = _pieces(W, n * c)
    rows = sliding_window_view(images.reshape(H, pieces, -1), k, axis=0)[::OUT]
    columns = sliding_window_view(half, k, axis=2)[:, :, ::OUT]
    return [
        (np.matmul, (M, rows.swapaxes(-1, -2)), _by_rows(half, pieces)),
        (np.matmul, (M, columns.swapaxes(-1, -2)), _by_columns(tiles)),
    ]


def to_images(M: np.ndarray, tiles: np.ndarray, images: np.ndarray, buffers: Buffers) -> list[Step]:
    """M t M^T of every tile t: first of its rows, then of its columns.

    Images are put together from tiles that begin every OUT pixels. Where they overlap, they are
    added: what hangs over the next tile is computed by itself.

    Parameters
    ----------
    M : (k, IN), k the size of a tile of the images, OUT or IN
    tiles : (IN, IN, tiles down, tiles across, n, c)
    images : (OUT * tiles down + k - OUT, OUT * tiles across + k - OUT, n, c)
    """
    (_, _, down, across, n, c), (H, W, *_) = tiles.shape, images.shape
    over, pieces = len(M) - OUT, _pieces(W, n * c)
    half = buffers.scratch("half", (IN, down, W, n * c))
    tiles, rows = _by_columns(tiles), _by_rows(half, pieces)
    images = images.reshape(H, pieces, -1)

    def side_by_side(array: np.ndarray, axis: int, count: int) -> np.ndarray:
        """The first pixels of an axis, OUT for each tile."""
        inside = array[(slice(None),) * axis + (slice(OUT * count),)]
        return inside.reshape(*array.shape[:axis], count, OUT, *array.shape[axis + 1 :])

    columns_half = side_by_side(half, 2, across)
    rows_images = side_by_side(images, 0, down)
    steps: list[Step] = [(np.matmul, (M[:OUT], tiles), columns_half)]
    if over:
        more = buffers.scratch("over", (IN, down, across, over, n * c))
        next_columns = columns_half[:, :, 1:, :over]
        steps += [
            (np.matmul, (M[OUT:], tiles), more),
            (np.add, (next_columns, more[:, :, :-1]), next_columns),
            (np.positive, (more[:, :, -1],), half[:, :, OUT * across :]),
        ]
    steps.append((np.matmul, (M[:OUT], rows), rows_images.swapaxes(1, 2)))
    if over:
        more = buffers.scratch("over", (down, over, *images.shape[1:]))
        next_rows = rows_images[1:, :over]
        steps += [
            (np.matmul, (M[OUT:], rows), more.swapaxes(1, 2)),
            (np.add, (next_rows, more[:-1]), next_rows),
            (np.positive, (more[-1],), images[OUT * down :]),
        ]
    return steps


def take(steps: list[Step]) -> None:
    """One after the other."""
    for function, arrays, out in steps:
        function(*arrays, out=out)


def _by_rows(half: np.ndarray, pieces: int) -> np.ndarray:
    """(IN, tiles down, W, n c) as matrices of IN rows, in pieces: (tiles down, pieces, IN, ...)."""
    return half.reshape(IN, half.shape[1], pieces, -1).transpose(1, 2, 0, 3)


def _by_columns(tiles: np.ndarray) -> np.ndarray:
    """Tiles as matrices of IN rows: (IN, tiles down, tiles across, IN, n c)."""
    return tiles.reshape(*tiles.shape[:4], -1).transpose(0, 2, 3, 1, 4)


def _tiles(size: int) -> int:
    """Tiles that cover so many pixels."""
    return -(-size // OUT)


def _pieces(columns: int, width: int) -> int:
    """Count the equal pieces of rows of `columns` pixels of `width` numbers each.

    So few that the product of a transform with one piece stays small.
    """
    divisors = (k for k in range(1, columns + 1) if columns % k == 0)
    return next(k for k in divisors if IN * IN * columns * width // k <= SMALL or k == columns)


class Winograd(Kernel):
    """F(4 x 4, 3 x 3): 36 products for the 16 outputs of a tile, instead of 144.

        Y = A^T [(G w G^T) * (B^T x B)] A,   summed over the channels

    The sum makes each of the 36 places one matrix product over all tiles, (tiles, C) (C, FN), or
    one for each group of channels.
    Each step is linear, and backward is its transpose. With e = A dY A^T and the transformed images
    V, which are kept,

        dW = G^T [V^T e] G,   dX = sum over the tiles, where they overlap, of B [e w^T] B^T

    A sum that is exactly 0 in the reference, as on blank ground before biases have been learned,
    may come out as 1e-8 here, which ReLU lets pass.

    For windows of 3 x 3 and stride 1. `toom_cook` names the sources.
    """

    owns_x = owns_y = shares_prepared = True
    method = "Winograd F(4x4,3x3)"

    @staticmethod
    def fits(layer: Convolution, shape: Shape) -> bool:
        """Tell whether the kernel can be used, and saves more products than its transforms cost."""
        _, channels, FH, FW = layer.params["W"].shape
        _, OH, OW = layer.output_shape(shape)
        possible = (FH, FW) == (TAPS, TAPS) and layer.strides == (1, 1)
        possible = possible and (layer.groups == 1 or channels >= LEAST_IN_GROUP)
        # A tile costs 36 products, however many of its 16 outputs are used.
        saved = TAPS * TAPS * OH * OW / (IN * IN * _tiles(OH) * _tiles(OW))
        return possible and saved >= LEAST_SAVED

    def build(self) -> None:
        """Images that tiles cover, and the tiles transformed."""
        self._build_filters()
        buffers, n, kind, tiles = self.buffers, self.buffers.n, self.buffers.dtype, self.tiles
        ((C, H, W),), (FN, OH, OW) = self.op.input_shapes, self.op.output_shape
        (top, left, *_), groups = self._layer.pads, self._layer.groups
        x = zeros(self.covered(TAPS - 1, C), kind)
        y = buffers.value(self.number, self.covered(0, FN))
        whole = y.shape[:2] == (OH, OW)  # else the pixels beyond must be 0 and stay so
        dy = buffers.gradient(self.number) if whole else zeros(y.shape, kind)
        inside = (slice(top, top + H), slice(left, left + W))
        self.x, self.y, self.dy = x[inside], y[:OH, :OW], dy[:OH, :OW]

        V = zeros((IN, IN, *tiles, n, C), kind)
        Y = buffers.scratch("product", (IN, IN, *tiles, n, FN))
        by_place, self._Y_by_place = V.reshape(IN * IN, -1, C), Y.reshape(IN * IN, -1, FN)
        self._V, self._Y = by_groups(by_place, groups), by_groups(self._Y_by_place, groups)
        self._ones = np.ones(by_place.shape[1], dtype=kind)
        self._enter = to_tiles(self._BT, x, V, buffers)
        self._leave = to_images(self._AT, Y, y, buffers)
        A, B = (np.ascontiguousarray(matrix.T) for matrix in (self._AT, self._BT))
        self._enter_dy = to_tiles(A, dy, Y, buffers)
        self.dx: Array = None
        if any(self.op.need_dx):
            dx = buffers.passed(self.number, x.shape)
            self.dx = dx[inside]
            self._leave_dx = to_images(B, V, dx, buffers)

    def _build_filters(self) -> None:
        """Filters transformed, in the order of either way, and the tiles that cover the output."""
        layer, buffers, kind = self.op.layer, self.buffers, self.buffers.dtype
        assert isinstance(layer, Convolution)
        self._layer = layer
        FN, C, *_ = layer.params["W"].shape
        _, OH, OW = self.op.nodes[0].output_shape
        self.tiles = _tiles(OH), _tiles(OW)
        self._BT, G, self._AT = (m.astype(kind) for m in toom_cook(POINTS, OUT, TAPS))
        self._GG = np.kron(G, G)  # G w G^T of a filter's 9 numbers in a row
        self._filters = layer.params["W"].reshape(-1, TAPS * TAPS).T
        self._b = layer.params.get("b")
        groups = (layer.groups, FN // layer.groups) if layer.groups > 1 else (FN,)
        places, forth, back = IN * IN, (*groups[:-1], C, groups[-1]), (*groups, C)
        # Products are twice as fast where no matrix of theirs has to be turned round.
        self._w_rows = buffers.prepared(self, 2 * places, FN * C)
        self._w_forth = self._w_rows[places:].reshape(places, *forth)
        self._w = self._w_rows[:places].reshape(places, *back)
        self._turned = np.moveaxis(layer.params["W"].reshape(*groups, C, -1), (-1, -2), (0, -2))
        self._dw_rows = buffers.scratch("filters", (places, FN * C))
        self._dw = self._dw_rows.reshape(places, *back)

    def covered(self, over: int, channels: int) -> tuple[int, ...]:
        """Shape of images that the tiles cover, with some pixels over."""
        return (*(OUT * k + over for k in self.tiles), self.buffers.n, channels)

    def prepare(self) -> None:
        """Transform the filters, as they are now."""
        places = IN * IN
        np.matmul(self._GG, self._filters, out=self._w_rows[:places])
        turned = self.buffers.scratch("turned", self._turned.shape)
        np.copyto(turned, self._turned)
        rows = turned.reshape(TAPS * TAPS, -1)
        np.matmul(self._GG, rows, out=self._w_rows[places:])

    def forward(self) -> None:
        """Compute y from x."""
        take(self._enter)
        np.matmul(self._V, self._w_forth, out=self._Y)
        if self._b is not None:
            self._Y_by_place[AT_ONE] += self._b  # which reaches every output with the factor 1
        take(self._leave)

    def backward(self, need_dx: Sequence[bool], need_grads: bool) -> None:
        """Compute the gradients and dx from dy."""
        take(self._enter_dy)
        e = self._Y  # the same memory: Y itself has been used up
        if need_grads:
            if self._b is not None:  # the sums of the tiles
                np.matmul(self._ones, self._Y_by_place[AT_ONE], out=self.grads["b"])
            np.matmul(e.swapaxes(-1, -2), self._V, out=self._dw)
            self._give_dw()
        if need_dx[0]:
            np.matmul(e, self._w, out=self._V)  # V has been used up, too
            take(self._leave_dx)

    def _give_dw(self) -> None:
        """The filters' gradient, from that of the transformed ones."""
        dW = self.grads["W"].reshape(-1, TAPS * TAPS)
        np.matmul(self._dw_rows.T, self._GG, out=dW)
