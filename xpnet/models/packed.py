"""Binarized networks computed with bits: products by xor and counting, thresholds for the rest."""

from collections.abc import Callable, Iterator, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, Device, array_namespace, to_numpy
from xpnet.arrays.values import in_parts, scaled
from xpnet.errors import ArgumentError
from xpnet.functions.bits import differing_bits, packed_bits, unpacked_signs
from xpnet.functions.im2col import contiguous, im2col
from xpnet.layers import (
    Affine,
    BatchNorm,
    BinaryAffine,
    BinaryConvolution,
    Convolution,
    Layer,
    MaxPool,
    Shape,
    Sign,
)
from xpnet.models.accuracy import share_correct
from xpnet.models.network import Network
from xpnet.models.nodes import INPUT, Node
from xpnet.models.placing import in_shape
from xpnet.models.plain import check_plain

EXACT = {"float32": 2**24, "float64": 2**53}
"""Whole numbers up to these are exact."""

COLUMNS = 2**24
"""Numbers of im2col at most, but those of one image: larger batches are gone through in parts."""

Step = Callable[[Array], Array]


class PackedNetwork:
    """What a binarized network predicts, with a bit for each of its binary weights.

    Where both factors are -1 and 1, a product is a count of bits: see `xpnet.functions.bits`. What
    `BatchNorm` and `Sign` make of that whole number z is one comparison for each feature,

        z >= threshold where gamma > 0,   z < threshold where gamma < 0,

    or always the same. The thresholds are found by asking the network's own layer, so that each z
    falls on the side on which it falls there, ties and rounding included. A first layer of real
    inputs multiplies them with the signs; what is not binary is computed as it is. So scores are,
    bit for bit, those of the network's own `predict` for the same batch.

    It is a copy: what the network learns later is not in it. A sample of which the network makes
    NaN has NaN for scores here, too.

    Parameters
    ----------
    network : layers in a row, with `BinaryAffine` or `BinaryConvolution` among them

    Attributes
    ----------
    bits : the binary weights by the paths of their layers, uint8 with 8 of them in each: (n_out,
        ceil(n_in / 8)), or (filters, ceil(channels FH FW / 8))
    nbytes : of these, in all

    Raises
    ------
    ArgumentError
        The network branches, computes otherwise than its layers do, holds NaN or infinity, or has
        no binary weights.
    """

    @checked
    def __init__(self, network: Network) -> None:
        _check(network)
        self.device, self.dtype = network.device, network.dtype
        self.input_shape = network.input_shape
        self.bits: dict[str, Array] = {}
        self._steps = list(self._compiled(network.nodes()))
        if not self.bits:
            raise ArgumentError(
                "a network without BinaryAffine and BinaryConvolution has nothing to pack; "
                "save_params(path, dtype='float16') halves its file"
            )

    def __repr__(self) -> str:
        return (
            f"PackedNetwork({', '.join(self.bits)}: {self.nbytes} bytes of weights, {self.dtype} "
            f"on {self.device.name})"
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the binary weights."""
        return sum(prod(bits.shape) for bits in self.bits.values())

    def predict(self, x: Any) -> Array:
        """Scores of every class, (N, K), as `Network.predict` gives them."""
        xp, lost = self.device.xp, None
        y = in_shape(
            scaled(self.device.asarray(x), getattr(xp, self.dtype)), self.input_shape, single=True
        )
        single = y.ndim == len(self.input_shape)
        y = y[None, ...] if single else y
        for step in self._steps:
            y = step(y)
            if isinstance(step, _AsItIs) and type(step.layer) is Sign:  # bits cannot be NaN
                more = xp.any(xp.isnan(xp.reshape(y, (y.shape[0], -1))), axis=1)
                lost = more if lost is None else lost | more
        if lost is not None:
            nan = xp.full_like(y, xp.nan)
            y = xp.where(xp.reshape(lost, (-1,) + (1,) * (y.ndim - 1)), nan, y)
        return y[0, ...] if single else y

    @checked
    def accuracy(self, x: Any, t: Any, batch_size: int | None = None) -> float:
        """Share of samples whose highest score is at the target, as `Network.accuracy` has it."""
        return share_correct(self.predict, x, t, self.device, batch_size)

    def _compiled(self, nodes: Sequence[Node]) -> Iterator[Step]:
        """What is done with each layer, or with two."""
        signs, largest = False, 0  # is what comes next -1 and 1, or whole, and how large?
        followed: list[Node | None] = [*nodes[1:], None]
        done = False
        for node, after in zip(nodes, followed, strict=True):
            layer: Any = deepcopy(node.layer)
            kind = type(layer)
            if done:  # with the one before
                done = False
            elif kind in (BinaryAffine, BinaryConvolution):
                W = layer.params["W"]
                self.bits[node.name] = bits = packed_bits(_rows(W) >= 0)
                count = _count(tuple(W.shape))
                if not signs or count > EXACT[self.dtype]:
                    yield _OfReals(layer, bits)
                    count = 0
                elif kind is BinaryAffine:
                    yield _RowsOfSigns(layer, bits)
                else:
                    yield _ImagesOfSigns(layer, bits, node.input_shape)
                signs, largest = False, count
            elif largest and kind is BatchNorm and after and type(after.layer) is Sign:
                yield _Thresholds(layer, largest, len(node.input_shape) == 3, self.device)
                signs, largest, done = True, 0, True
            else:
                yield _AsItIs(layer)
                if kind is not MaxPool:  # which chooses among numbers
                    signs, largest = kind is Sign, 0


@dataclass(frozen=True)
class _AsItIs:
    """A layer that is not binary."""

    layer: Layer

    def __call__(self, x: Array) -> Array:
        return self.layer.forward(x)[0]


class _OfReals:
    """A layer of binary weights whose inputs are not: a product with the signs."""

    def __init__(self, layer: Affine | Convolution, bits: Array) -> None:
        self._bits, W = bits, layer.params["W"]
        self._shape, self._dtype = tuple(W.shape), W.dtype
        self._layer: Any = object.__new__(Affine if isinstance(layer, Affine) else Convolution)
        self._layer.__dict__ |= layer.__dict__ | {"params": {}}

    def __call__(self, x: Array) -> Array:
        xp, shape = array_namespace(x), self._shape
        rows = unpacked_signs(self._bits, _count(shape), self._dtype)
        # In the order in memory of the layer's own, on which the rounding of products depends.
        W = contiguous(rows.T) if len(shape) == 2 else xp.reshape(rows, shape)
        layer = copy(self._layer)
        layer.__dict__["params"] = {"W": W}
        return layer.forward(x)[0]


class _RowsOfSigns:
    """A `BinaryAffine` that reads -1 and 1."""

    def __init__(self, layer: BinaryAffine, bits: Array) -> None:
        self._bits, self._count = bits, _count(tuple(layer.params["W"].shape))

    def __call__(self, x: Array) -> Array:
        xp = array_namespace(x)
        a = packed_bits(xp.reshape(x, (x.shape[0], -1)))
        return xp.astype(self._count - 2 * differing_bits(a, self._bits), x.dtype)


class _ImagesOfSigns:
    """A `BinaryConvolution` that reads -1 and 1, and zeros around them.

    With p the bits of what is not padding in a window, whose bits a are 0 where it is,

        a . w = popcount(w) + popcount(p xor w) - 2 popcount(a xor w)
    """

    def __init__(self, layer: BinaryConvolution, bits: Array, shape: Shape) -> None:
        W = layer.params["W"]
        self._bits, (self._filters, _, FH, FW) = bits, W.shape
        self._stride, self._pad, self._uneven = layer.stride, layer.pad, layer.uneven
        self._size, self._groups = (FH, FW), layer.groups
        _, self._OH, self._OW = layer.output_shape(shape)
        xp = array_namespace(W)
        image = self._columns(xp.ones((1, *shape), dtype=W.dtype, device=W.device))
        self._constant = self._differing(image) + self._differing(xp.zeros_like(image))

    def _columns(self, x: Array) -> Array:
        return im2col(x, *self._size, self._stride, self._pad, uneven=self._uneven)

    def _differing(self, columns: Array) -> Array:
        """Bits that differ of every window, a row, and every filter, a column."""
        xp, found = array_namespace(columns), []
        K, F = columns.shape[1] // self._groups, self._filters // self._groups
        for g in range(self._groups):
            a = packed_bits(columns[:, g * K : (g + 1) * K])
            found.append(differing_bits(a, self._bits[g * F : (g + 1) * F, :]))
        return xp.concat(found, axis=1)

    def __call__(self, x: Array) -> Array:
        xp, N, places = array_namespace(x), x.shape[0], self._OH * self._OW
        step = max(1, COLUMNS // (places * x.shape[1] * prod(self._size)))
        y = xp.empty((N, places, self._filters), dtype=x.dtype, device=x.device)
        for part in in_parts(N, step):
            differing = self._differing(self._columns(x[part, ...]))
            z = self._constant - 2 * xp.reshape(differing, (-1, places, self._filters))
            y[part, ...] = xp.astype(z, x.dtype)
        maps = xp.reshape(y, (N, self._OH, self._OW, self._filters))
        return xp.permute_dims(maps, (0, 3, 1, 2))


class _Thresholds:
    """A `BatchNorm` of whole numbers from -largest to largest, and the `Sign` behind it.

    The layer never falls as z grows, or never rises, rounding included: it is asked for both ends
    and then, by halves, for where the sign changes.
    """

    def __init__(self, layer: BatchNorm, largest: int, images: bool, device: Device) -> None:
        dtype = layer.params["gamma"].dtype
        (features,) = layer.params["gamma"].shape
        shape = (1, features, 1, 1) if images else (1, features)

        def is_up(z: np.ndarray) -> np.ndarray:
            y, _ = layer.forward(device.xp.astype(device.asarray(z.reshape(shape)), dtype))
            return to_numpy(y).reshape(features) >= 0

        low, high = np.full(features, -largest), np.full(features, largest)
        first, last = is_up(low), is_up(high)
        while (high - low > 1).any():
            middle = (low + high) // 2
            as_first = is_up(middle) == first
            low, high = np.where(as_first, middle, low), np.where(as_first, high, middle)
        # Where both ends are alike, so is all between them: z is never below -largest.
        threshold = np.where(first == last, -largest, high)
        falls = np.where(first == last, ~first, first)
        self._threshold = device.xp.astype(device.asarray(threshold.reshape(shape)), dtype)
        self._falls = device.asarray(falls.reshape(shape))

    def __call__(self, z: Array) -> Array:
        xp = array_namespace(z)
        up = (z >= self._threshold) != self._falls
        return 2 * xp.astype(up, z.dtype) - 1


def _count(shape: Shape) -> int:
    """The products that an output is the sum of, by the shape of W."""
    return shape[0] if len(shape) == 2 else prod(shape[1:])


def _rows(W: Array) -> Array:
    """W as a matrix with a row for each output."""
    return W.T if W.ndim == 2 else array_namespace(W).reshape(W, (W.shape[0], -1))


def _check(network: Network) -> None:
    """Refuse what cannot be packed."""
    check_plain(network)
    for number, node in enumerate(network.nodes()):
        if node.inputs != (number - 1 if number else INPUT,):
            raise ArgumentError(
                f"layers in a row can be packed, and {node.name} reads others than the one before"
            )
    xp = network.device.xp
    for name, array in network.file_arrays().items():
        if not bool(xp.all(xp.isfinite(array))):
            raise ArgumentError(f"{name} holds NaN or infinity, and cannot be packed")
