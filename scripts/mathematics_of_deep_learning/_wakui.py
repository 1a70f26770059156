"""Parts that several experiments share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xpnet import Network, to_numpy
from xpnet.books.wakui import worksheet
from xpnet.data.tiny import TinyImages
from xpnet.report.experiment import Lab

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHODS = ("BFGS", "L-BFGS-B", "CG")


def check_training(
    lab: Lab,
    name: str,
    net: Network,
    images: TinyImages,
    costs: Sequence[float],
    *,
    least: float,
    end: tuple[float, str] | None = None,
) -> None:
    """State what training came to: on any images a little, on the book's own all of it.

    `least` is the share that must be right of any images, and `end` the cost that must be reached
    on the book's, with what it prints.
    """
    right = net.accuracy(images.x, images.t)
    lab.check(f"{name}: C_T at the end, by C_T at the start", costs[-1] / costs[0], high=0.5)
    lab.check(f"{name}: share of training images right", right, low=least)
    lab.check(f"{name}: all {len(images.x)} right", right, 1, 1, full=True)
    if end is not None:
        lab.check(f"{name}: C_T at the end", costs[-1], high=end[0], book=end[1], full=True)


def check_costs(
    lab: Lab,
    costs: Sequence[float],
    published: Mapping[int, tuple[float, float]],
    images: TinyImages,
    each: float,
) -> None:
    """State the published costs, iteration -> C_T and its tolerance, and the last one an image."""
    for iteration, (cost, atol) in published.items():
        lab.equal(f"C_T of iteration {iteration}", costs[iteration - 1], cost, atol=atol, full=True)
    lab.equal("the last one by images", costs[-1] / len(images.x), each, atol=5e-4, full=True)


def check_layers(
    lab: Lab,
    what: str,
    net: Network,
    image: np.ndarray,
    printed: Mapping[str, tuple[Sequence[float], float]],
    *,
    full: bool = False,
) -> None:
    """State what layers give for an image: name -> values and their tolerance."""
    # The target, here the first class, matters to the cost and the errors alone.
    outputs = worksheet(net, image, np.array([0])).outputs
    for name, (want, atol) in printed.items():
        got = to_numpy(outputs[name]).reshape(-1)
        lab.equal(f"{what}: {name}", got, np.reshape(want, -1), atol=atol, full=full)


def draw_image(axes: "Axes", image: np.ndarray, title: str) -> None:
    """Draw a black and white image (1, 1, H, W), ink dark."""
    axes.imshow(image[0, 0], cmap="Greys", vmin=0, vmax=1.4)
    axes.set(xticks=(), yticks=(), title=title)


def draw_weights(panels: Iterable["Axes"], weights: np.ndarray, name: str) -> None:
    """Draw the weights (K, H, W) of a first layer as each unit or filter sees an image."""
    for k, (axes, w) in enumerate(zip(panels, weights, strict=True), 1):
        axes.imshow(w, cmap="RdBu_r", vmin=-abs(w).max(), vmax=abs(w).max())
        axes.set(xticks=(), yticks=(), title=f"{name} {k}")


def draw_costs(axes: "Axes", curves: Mapping[str, Sequence[float]]) -> None:
    """Draw C_T against iterations from 1."""
    for name, costs in curves.items():
        axes.plot(
            range(1, len(costs) + 1), costs, ".-", label=f"{name}, {costs[-1]:.3g} at the end"
        )
    axes.set(xlabel="iteration", ylabel="C$_T$")
    axes.legend()
