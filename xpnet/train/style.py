"""Style transfer: a picture that shows one picture's content in another's style."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any, Literal

import numpy as np

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace, to_numpy
from xpnet.arrays.parameters import FlatParams
from xpnet.arrays.random import uniform
from xpnet.arrays.values import scaled
from xpnet.engine import get_engine
from xpnet.engine.threads import TakesTurns, in_turn
from xpnet.errors import ArgumentError, DivergedError
from xpnet.functions.style import content_loss, gram_matrix, style_loss, total_variation
from xpnet.models.network import Network
from xpnet.models.taps import Computes, StyleLayers, Taps, style_layers
from xpnet.optim import Adam
from xpnet.optional import installed, needed

LOSSES = ("loss", "content", "style", "variation")
"""What is known of each evaluation: the weighted sum, and the three terms without their weights."""
NOISE = 0x57A0
"""Second word of the key of the noise that a picture may start from; the first is the seed."""
RATE, MEMORY = 0.02, 10
"""Adam's learning rate, for pixels from 0 to 1, and the pairs of vectors that L-BFGS keeps."""
INSIDE = {"image": (0.0, 1.0)}


class StyleTransfer(TakesTurns):
    """What a picture x is asked for: one picture's content, another's style, and smoothness.

        L = content_weight C + style_weight S + variation_weight V

        C = sum (F - P)^2 / sum P^2                                    at the content layer
        S = mean over the style layers of
            sum (G - A)^2 / (sum A^2 + sum G0^2),   G = F F^T / M      at each style layer
        V = mean squared difference of pixels that are neighbours

    F are the features of x at a layer, C channels of M places; P and G0 are features and Gram
    matrix of the content picture, A is the Gram matrix of the style picture. Up to constant factors
    C and the terms of S are the paper's `content_loss` and `style_loss`; these factors make one set
    of weights serve every network and every pair of pictures. Gatys, Ecker, Bethge 2015,
    arXiv:1508.06576, eqs. 1 to 7, without V.

    Parameters
    ----------
    network : that compares; one that `random_features` makes, a VGG, an EfficientNetLite0, or
        another with its `layers`. Its `photographs` tell how it reads pixels.
    content, style : pictures (3, H, W), each of its own size, uint8 or floats from 0 to 1
    layers : at which it compares; those of `style_layers` if None
    content_weight, style_weight, variation_weight : of the three terms
    threads : of the CPU, as in `get_engine`. What compares on the CPU is its engine, where that can
        run the layers; the layers themselves everywhere else, as a single picture asks for few and
        large products.

    Raises
    ------
    ArgumentError
        A picture has another shape, or numbers beyond 0 to 1, or is too small for the network, or
        shows it nothing; a weight is negative, or all are 0; the network does not know how to read
        pictures, or has no such layers.
    """

    @partial(checked, but=("layers",))
    def __init__(
        self,
        network: Network,
        content: Any,
        style: Any,
        *,
        layers: StyleLayers | None = None,
        content_weight: float = 1.0,
        style_weight: float = 10.0,
        variation_weight: float = 0.001,
        threads: int | None = None,
    ) -> None:
        weights = {"content": content_weight, "style": style_weight, "variation": variation_weight}
        for name, value in weights.items():
            if not (isfinite(value) and value >= 0):
                raise ArgumentError(f"{name}_weight must be a number from 0, got {value}")
        if not any(weights.values()):
            raise ArgumentError("all weights are 0, and any picture would do; make one larger")
        if (seen := network.photographs) is None:
            raise ArgumentError(
                "the network does not say how it reads photographs; set network.photographs to a "
                "Photographs with the mean and std of what it learned from"
            )
        self.network = network
        self.weights = {name: float(value) for name, value in weights.items()}
        self.layers = style_layers(network) if layers is None else StyleLayers(*layers)
        self.taps = Taps(network, [*self.layers.style, self.layers.content])

        def of_colours(values: tuple[float, ...]) -> Array:
            return network.device.asarray(np.reshape(values, (3, 1, 1)), dtype=network.dtype)

        self._mean, self._std = of_colours(seen.mean), of_colours(seen.std)
        self.content = self._picture("content", content)
        of_content = self._features("content", self.content)
        of_style = self._features("style", self._picture("style", style))
        self._P = of_content[self.layers.content]
        self._share = {self.layers.content: self._inverse(self._P)}
        self._grams: dict[str, Array] = {}
        for path in self.layers.style:
            F, other = of_content[path], of_style[path]
            places = [features.shape[-2] * features.shape[-1] for features in (F, other)]
            G0, A = gram_matrix(F) / places[0], gram_matrix(other) / places[1]
            xp = array_namespace(F)
            self._share[f"{path}, style"] = self._inverse(xp.stack([G0, A]))
            self._grams[path] = A
        self._computing = self._engines(of_content, threads)
        self._begin_turns()

    def __repr__(self) -> str:
        _, *shape = self.content.shape
        return f"StyleTransfer({self.network!r}, {shape}, {self.layers!r}, weights {self.weights})"

    def _picture(self, which: str, given: Any) -> Array:
        """A picture as a batch of one on the device."""
        x = self.network.device.asarray(given)
        if x.ndim != 3 or x.shape[0] != 3:
            raise ArgumentError(
                f"the {which} must be a picture of three colours, (3, H, W), got {tuple(x.shape)}"
            )
        x = scaled(x, self._mean.dtype)
        values = to_numpy(x)
        if not np.all((values >= 0) & (values <= 1)):  # nor for NaN
            raise ArgumentError(
                f"the {which} must have pixels of uint8, or floats from 0 to 1; divide by the "
                "largest value that they may have"
            )
        return x[None, ...]

    def _features(self, which: str, x: Array) -> dict[str, Array]:
        """What the network makes of a picture, which must be something."""
        try:
            found = self.taps.forward(self._read(x))[0]
        except ArgumentError as error:
            height, width = x.shape[2:]
            raise ArgumentError(
                f"the {which}, {width} x {height} pixels, does not fit the network: {error}; use a "
                "larger picture, with sides that are multiples of 32"
            ) from error
        if 0 in (size for features in found.values() for size in features.shape):
            height, width = x.shape[2:]
            raise ArgumentError(
                f"the {which} is too small for the network: of {width} x {height} pixels nothing "
                "is left at its last layer; enlarge it"
            )
        return found

    def _engines(
        self, features: Mapping[str, Array], threads: int | None
    ) -> Mapping[str, Computes] | None:
        """What computes the chunks for pictures of the content's size, on the CPU."""
        network, shape = self.network, tuple(self.content.shape[1:])
        if network.device.kind != "cpu":
            return None
        found: dict[str, Computes] = {}
        for path, chunk in self.taps.chunks.items():
            own = deepcopy(chunk.children())  # a layer is one network's
            alone = Network(own, input_shape=shape, device=network.device, dtype=network.dtype)
            found[path], shape = get_engine(alone, threads=threads), tuple(features[path].shape[1:])
        return found

    def _read(self, x: Array) -> Array:
        """Pixels from 0 to 1 as the network takes them."""
        return (255 * x - self._mean) / self._std

    def _inverse(self, values: Array) -> float:
        """1 / the sum of squares of what losses are measured by."""
        total = float(array_namespace(values).sum(values * values))
        if not (isfinite(total) and total > 0):
            raise ArgumentError(
                f"the pictures show the network nothing to compare: its features have squares of "
                f"sum {total}; use other pictures, or other layers"
            )
        return 1 / total

    @in_turn
    def loss_and_gradient(self, x: Array) -> tuple[dict[str, Array], Array]:
        """The losses of a picture, by the names in `LOSSES`, and the gradient of L by its pixels.

        Parameters
        ----------
        x : (1, 3, H, W), of the content's size, on the network's device, floats from 0 to 1

        Returns
        -------
        0-d arrays on the device; the gradient in the shape of x. Nothing is read back.
        """
        content_weight, style_weight, variation_weight = self.weights.values()
        found, back = self.taps.forward(self._read(x), self._computing)
        slopes: dict[str, Array] = {}
        style = self.network.device.zeros((), dtype=self.network.dtype)
        for path, A in self._grams.items():
            F = found[path]
            C, M = F.shape[1], F.shape[2] * F.shape[3]
            E, dF = style_loss(F, M * A)
            # The paper's E has G = F F^T and 4 C^2 M^2, this term F F^T / M and its own divisor.
            factor = 4 * C**2 * self._share[f"{path}, style"] / len(self._grams)
            style = style + factor * E
            slopes[path] = style_weight * factor * dF
        path = self.layers.content
        half, dF = content_loss(found[path], self._P)
        share = self._share[path]
        slope = 2 * content_weight * share * dF
        slopes[path] = slopes[path] + slope if path in slopes else slope
        variation, dx = total_variation(x)
        _, channels, H, W = x.shape
        pairs = max(1, channels * ((H - 1) * W + H * (W - 1)))
        content, variation = 2 * share * half, variation / pairs
        total = content_weight * content + style_weight * style + variation_weight * variation
        gradient = back(slopes) * 255 / self._std + variation_weight / pairs * dx
        losses = (total, content, style, variation)
        return dict(zip(LOSSES, losses, strict=True)), gradient


@dataclass(frozen=True)
class Painting:
    """A picture that was painted, and how it came about.

    Attributes
    ----------
    image : (3, H, W), float32 from 0 to 1; of the lowest loss by L-BFGS, the last one by Adam
    history : for each evaluation the losses by the names in `LOSSES`
    reached : those of the image
    accepted : the loss at the start and after each iteration of L-BFGS; all losses of Adam
    optimizer : "lbfgs" or "adam"
    reason : why it ended
    """

    image: np.ndarray
    history: list[dict[str, float]]
    reached: dict[str, float]
    accepted: list[float]
    optimizer: str
    reason: str


class _Enough(Exception):  # noqa: N818, which is no error
    """No more evaluations are to be made."""


@checked
def paint(
    transfer: StyleTransfer,
    *,
    optimizer: Literal["lbfgs", "adam"] | None = None,
    evaluations: int = 200,
    start: Literal["content", "noise"] = "content",
    seed: int = 0,
    go_on: Callable[[int], bool] | None = None,
) -> Painting:
    """Change a picture, pixel by pixel, until it is what a `StyleTransfer` asks for.

    Pixels stay from 0 to 1. L-BFGS, the paper's choice, is SciPy's on the host, in float64, while
    the network computes where it is. Adam, of rate 0.02, keeps the picture on the device, and
    brings pixels back into their range after every update.

    Parameters
    ----------
    optimizer : if None, "lbfgs" on the CPU where SciPy is installed, and else "adam"
    evaluations : of the loss and its gradient at most; L-BFGS may be done earlier
    start : the content, which keeps its shapes best, or even noise
    seed : of the noise
    go_on : is told after each evaluation how many there were; painting ends if it returns False

    Raises
    ------
    ArgumentError
        There is not even one evaluation, or SciPy, of the extra `minimise`, is not installed.
    DivergedError
        The loss is no number.
    """
    if evaluations < 1:
        raise ArgumentError(f"evaluations must be at least 1, got {evaluations}")
    device, like = transfer.network.device, transfer.content
    if optimizer is None:
        optimizer = "lbfgs" if device.kind == "cpu" and installed("scipy") else "adam"
    if start == "noise":
        zero = device.xp.zeros((1,), dtype=device.xp.int64, device=device.native)
        words = uniform(int(np.prod(like.shape)), key=(seed, NOISE), step=zero, device=device)
        x = device.xp.astype(device.xp.reshape(words, like.shape), like.dtype)
    else:
        x = device.xp.asarray(like, copy=True)
    by = _by_lbfgs if optimizer == "lbfgs" else _by_adam
    with device.guarded():
        return by(transfer, x, evaluations, go_on or (lambda _: True))


def _by_lbfgs(
    transfer: StyleTransfer, x: Array, evaluations: int, go_on: Callable[[int], bool]
) -> Painting:
    """Paint by SciPy's L-BFGS with bounds."""
    try:
        from scipy.optimize import Bounds, minimize
    except ModuleNotFoundError as error:
        raise needed("scipy", 'optimizer="lbfgs"') from error
    device, dtype = transfer.network.device, transfer.network.dtype
    best, history = 0, list[dict[str, float]]()
    image = to_numpy(x)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best, image
        if len(history) == evaluations:
            raise _Enough(f"{evaluations} evaluations were made")
        picture = device.asarray(np.reshape(values, x.shape), dtype=dtype)
        losses, gradient = transfer.loss_and_gradient(picture)
        history.append(_numbers(losses))
        found = history[-1]["loss"]
        if found < history[best]["loss"]:
            best, image = len(history) - 1, to_numpy(picture)
        if not go_on(len(history)):
            raise _Enough("it was stopped")
        return found, np.reshape(to_numpy(gradient), (-1,)).astype(np.float64)

    accepted: list[float] = []

    def note(intermediate_result: Any) -> None:
        accepted.append(float(intermediate_result.fun))

    start = np.reshape(to_numpy(x), (-1,)).astype(np.float64)
    options = {"maxiter": evaluations, "maxfun": evaluations, "maxcor": MEMORY}
    try:
        reason = minimize(
            loss,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(0, 1),
            callback=note,
            options=options,
        ).message
    except _Enough as enough:
        reason = str(enough)
    accepted = [history[0]["loss"], *accepted]
    return Painting(_picture_of(image), history, history[best], accepted, "lbfgs", str(reason))


def _by_adam(
    transfer: StyleTransfer, x: Array, evaluations: int, go_on: Callable[[int], bool]
) -> Painting:
    """Paint by Adam; the picture is a parameter with bounds."""
    device, network, losses = transfer.network.device, transfer.network, []
    params = FlatParams({"image": tuple(x.shape)}, device, network.dtype, bounds=INSIDE)
    params["image"], rule = x, Adam(RATE)
    reason = f"{evaluations} evaluations were made"
    for number in range(1, evaluations + 1):
        found, gradient = transfer.loss_and_gradient(params["image"])
        losses.append(found)
        if not go_on(number):
            reason = "it was stopped"
            break
        if number < evaluations:  # or the picture would be one that was not measured
            rule.update(params, {"image": gradient})
    history = list(map(_numbers, losses))
    image, accepted = _picture_of(to_numpy(params["image"])), [row["loss"] for row in history]
    return Painting(image, history, history[-1], accepted, "adam", reason)


def _numbers(losses: dict[str, Array]) -> dict[str, float]:
    """Losses as numbers of the host; they must be some."""
    found = {name: float(loss) for name, loss in losses.items()}
    if not isfinite(found["loss"]):
        raise DivergedError(
            f"the picture has a loss that is no number, {found['loss']}; use smaller weights"
        )
    return found


def _picture_of(x: np.ndarray) -> np.ndarray:
    """A batch of one as a picture."""
    picture: np.ndarray = np.clip(x[0].astype(np.float32), 0, 1)
    return picture
