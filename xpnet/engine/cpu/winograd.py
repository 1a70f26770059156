"""Winograd's convolution: a 3 x 3 window in a quarter of the products."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from xpnet.engine.cpu.scratch import Scratch
from xpnet.layers import Convolution, Params, Shape

POINTS = (0.0, 1.0, -1 / 2, 7 / 4, -5 / 4)
"""Where the polynomials are evaluated, besides infinity. The usual 0, 1, -1, 2, -2 give float32 an
error 10 times larger. The second must be 1: there, the sum of a tile is one of its numbers."""
OUT, TAPS = 4, 3
IN = OUT + TAPS - 1
AT_ONE = IN + 1
"""Place of the points (1, 1) among the 36 of a transformed tile."""
SMALL = 1_000_000
"""Multiplications up to which OpenBLAS multiplies two matrices without packing them first."""

FEWEST_CHANNELS = 8
LEAST_SAVED = 1.5
"""Below either, one product for each place of the window is faster; measured on 4 to 32 pixels."""

Product = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Two stacks of matrices, and where their products go."""


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


def to_tiles(
    M: np.ndarray, images: np.ndarray, tiles: np.ndarray, scratch: Scratch
) -> list[Product]:
    """Products that leave M d M^T of every tile d of images: first of its columns, then its rows.

    Parameters
    ----------
    M : (IN, k), k the size of a tile; one begins every OUT pixels, so that they overlap if k is 6
    images : (H, W, n, c), every row contiguous
    tiles : (IN, IN, tiles down, tiles across, n, c)
    """
    (H, W, *_), (_, _, down, across, n, c) = images.shape, tiles.shape
    k, pieces = M.shape[1], _pieces(W, n * c)
    half = scratch.get("half", (IN, down, W, n * c), M.dtype)
    rows = images.reshape(H, pieces, -1)
    rows = sliding_window_view(rows, k, axis=0)[::OUT].swapaxes(-1, -2)
    columns = sliding_window_view(half, k, axis=2)[:, :, ::OUT].swapaxes(-1, -2)
    tiles = tiles.reshape(IN, IN, down, across, n * c)
    return [
        (M, rows, half.reshape(IN, down, pieces, -1).transpose(1, 2, 0, 3)),
        (M, columns, tiles.transpose(0, 2, 3, 1, 4)),
    ]


def to_images(
    M: np.ndarray, tiles: np.ndarray, images: np.ndarray, scratch: Scratch
) -> list[Product]:
    """Products that leave M t M^T of every tile t, side by side.

    Parameters
    ----------
    M : (OUT, IN)
    tiles : (IN, IN, tiles down, tiles across, n, c)
    images : (OUT * tiles down, OUT * tiles across, n, c)
    """
    _, _, down, across, n, c = tiles.shape
    W, pieces = OUT * across, _pieces(OUT * across, n * c)
    half = scratch.get("half", (IN, down, W, n * c), M.dtype)
    tiles = tiles.reshape(IN, IN, down, across, n * c)
    return [
        (M, tiles.transpose(0, 2, 3, 1, 4), half.reshape(IN, down, across, OUT, n * c)),
        (
            M,
            half.reshape(IN, down, pieces, -1).transpose(1, 2, 0, 3),
            images.reshape(down, OUT, pieces, -1).transpose(0, 2, 1, 3),
        ),
    ]


def multiply(products: list[Product]) -> None:
    """Carry them out, one after the other."""
    for a, b, out in products:
        np.matmul(a, b, out=out)


def _tiles(size: int) -> int:
    """Tiles that cover so many pixels."""
    return -(-size // OUT)


def _pieces(columns: int, width: int) -> int:
    """Into how many equal pieces to cut rows of `columns` pixels of `width` numbers each.

    So few that the product of a transform with one piece stays small.
    """
    divisors = (k for k in range(1, columns + 1) if columns % k == 0)
    return next(k for k in divisors if IN * IN * columns * width // k <= SMALL or k == columns)


class Winograd:
    """F(4 x 4, 3 x 3): 36 products for the 16 outputs of a tile, instead of 144.

        Y = A^T [(G w G^T) * (B^T x B)] A,   summed over the channels

    The sum makes each of the 36 places one matrix product over all tiles, (tiles, C) (C, FN).
    Backward is the same in the transformed domain: with e = A dY A^T and the transformed images V,
    which are kept, dW = G^T [V^T e] G; dX is the convolution of dY with the filters turned round.

    A sum that is exactly 0 in the reference, as on blank ground before biases have been learned,
    may come out as 1e-8 here, which ReLU lets pass.

    For windows of 3 x 3, stride 1 and padding up to 2. `toom_cook` names the sources.
    """

    method = "Winograd F(4x4,3x3)"

    @staticmethod
    def fits(layer: Convolution, shape: Shape) -> bool:
        """Whether this kernel can be used, and saves enough products to be worth its transforms."""
        FN, C, FH, FW = layer.params["W"].shape
        _, OH, OW = layer.output_shape(shape)
        possible = (FH, FW) == (TAPS, TAPS) and layer.stride == 1 and layer.pad < TAPS
        # A tile costs 36 products, however many of its 16 outputs are used.
        saved = TAPS * TAPS * OH * OW / (IN * IN * _tiles(OH) * _tiles(OW))
        return possible and min(C, FN) >= FEWEST_CHANNELS and saved >= LEAST_SAVED

    def __init__(
        self,
        layer: Convolution,
        shape: Shape,
        n: int,
        grads: Params,
        scratch: Scratch,
        *,
        need_dx: bool,
    ) -> None:
        (C, H, W), (FN, OH, OW), pad = shape, layer.output_shape(shape), layer.pad
        kind = layer.params["W"].dtype
        self._filters = layer.params["W"].reshape(FN * C, TAPS * TAPS).T
        self._b, self._dW, self._db = layer.params["b"], grads["W"], grads["b"]
        BT, G, AT = toom_cook(POINTS, OUT, TAPS)
        turned = G[:, ::-1]
        # G w G^T of a filter's 9 numbers in a row; below, the same of the filter turned round
        GG = np.concatenate([np.kron(G, G), np.kron(turned, turned)]).astype(kind)
        self._GG, self._to_w = GG[: IN * IN], GG if need_dx else GG[: IN * IN]
        BT, A, AT = (np.ascontiguousarray(matrix, dtype=kind) for matrix in (BT, AT.T, AT))
        self._w = np.empty((len(self._to_w), FN, C), dtype=kind)

        # Tiles that cover the output, and those that cover the input, which is dX
        tiles, tiles_dx = (_tiles(OH), _tiles(OW)), (_tiles(H), _tiles(W))

        def places(tiles: np.ndarray) -> np.ndarray:
            """(36, tiles, channels)"""
            return tiles.reshape(IN * IN, -1, tiles.shape[-1])

        x = np.zeros((*(OUT * k + TAPS - 1 for k in tiles), n, C), dtype=kind)
        y = scratch.get("images", (*(OUT * k for k in tiles), n, FN), kind)
        V = np.empty((IN, IN, *tiles, n, C), dtype=kind)
        Y = scratch.get("product", (IN, IN, *tiles, n, FN), kind)
        self.x, self.y = x[pad : pad + H, pad : pad + W], y[:OH, :OW]
        self._V, self._Y = places(V), places(Y)
        self._enter, self._leave = to_tiles(BT, x, V, scratch), to_images(AT, Y, y, scratch)

        # dY stands inside a border that is as wide as windows turned round need it.
        border = TAPS - 1 - pad
        size = (
            max(border + OUT * k, OUT * k_dx + TAPS - 1)
            for k, k_dx in zip(tiles, tiles_dx, strict=True)
        )
        dy = np.zeros((*size, n, FN), dtype=kind)
        self.dy = dy[border : border + OH, border : border + OW]
        inside = dy[border : border + OUT * tiles[0], border : border + OUT * tiles[1]]
        self._enter_dy = to_tiles(A, inside, Y, scratch)
        self._ones = np.ones(self._V.shape[1], dtype=kind)
        self._dw = scratch.get("filters", (IN * IN, FN, C), kind)

        self.dx: np.ndarray | None = None
        if need_dx:
            dx = scratch.get("images", (*(OUT * k for k in tiles_dx), n, C), kind)
            D = scratch.get("product", (IN, IN, *tiles_dx, n, FN), kind)
            E = scratch.get("product back", (IN, IN, *tiles_dx, n, C), kind)
            seen = dy[: OUT * tiles_dx[0] + TAPS - 1, : OUT * tiles_dx[1] + TAPS - 1]
            self.dx = dx[:H, :W]
            self._D, self._E = places(D), places(E)
            self._enter_dx = to_tiles(BT, seen, D, scratch)
            self._leave_dx = to_images(AT, E, dx, scratch)

    def prepare(self) -> None:
        """Transform the filters, as they are now."""
        np.matmul(self._to_w, self._filters, out=self._w.reshape(len(self._w), -1))

    def forward(self) -> None:
        """From x to y."""
        multiply(self._enter)
        np.matmul(self._V, self._w[: IN * IN].transpose(0, 2, 1), out=self._Y)
        self._Y[AT_ONE] += self._b  # which reaches every output with the factor 1
        multiply(self._leave)

    def backward(self) -> None:
        """From dy to the gradients and dx."""
        multiply(self._enter_dy)
        e = self._Y  # its memory: Y itself has been used up
        np.matmul(self._ones, e[AT_ONE], out=self._db)  # where the sum of each tile is
        np.matmul(e.transpose(0, 2, 1), self._V, out=self._dw)
        dW = self._dW.reshape(-1, TAPS * TAPS)
        np.matmul(self._dw.reshape(IN * IN, -1).T, self._GG, out=dW)
        if self.dx is not None:
            multiply(self._enter_dx)
            np.matmul(self._D, self._w[IN * IN :], out=self._E)
            multiply(self._leave_dx)
