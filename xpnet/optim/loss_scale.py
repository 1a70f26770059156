"""Gradients of 16 bits, made larger on their way so that small ones do not become 0."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from xpnet.arguments import checked
from xpnet.arrays import Array, array_namespace
from xpnet.errors import ArgumentError, DivergedError
from xpnet.optim.rules import Optimizer

SMALLEST = 2.0**-24
"""The smallest number of float16, below which no scale helps."""


class LossScale:
    """The factor by which a loss is scaled while its gradient has 16 bits.

    The gradient of the scores is multiplied by it, which scales all others, and they are divided by
    it before the update. Where one of them is infinite or NaN, the factor was too large: it is
    halved, and there is no update. After `patience` updates in a row it is doubled. Micikevicius et
    al. 2018, "Mixed precision training", arXiv:1710.03740, section 3.2. A step of a training loop,
    with `half` made by `half_precision`:

        scores, backward = half.forward(x, train=True)
        loss, loss_backward = half.last_layer.forward(scores, t)
        _, grads = backward(loss_scale.scaled(loss_backward()), need_dx=False)
        loss_scale.update(optimizer, half.params, grads)

    Parameters
    ----------
    scale : the factor at first
    patience : updates until it is doubled

    Attributes
    ----------
    scale : the factor of the next step
    good : updates since it last changed
    skipped : steps without an update, of all
    """

    @checked
    def __init__(self, scale: float = 2.0**15, *, patience: int = 2000) -> None:
        if not (isfinite(scale) and scale > 0) or patience < 1:
            raise ArgumentError(
                "LossScale needs a positive scale and a patience of at least 1, got "
                f"scale={scale}, patience={patience}"
            )
        self.scale, self.patience = float(scale), patience
        self.good = self.skipped = 0

    def __repr__(self) -> str:
        return f"LossScale({self.scale:g}, patience={self.patience})"

    def scaled(self, dy: Any) -> Any:
        """The gradient of a network's scores, or of each of its heads by name, scaled."""
        if isinstance(dy, Mapping):
            return {name: each * self.scale for name, each in dy.items()}
        return dy * self.scale

    def update(
        self, optimizer: Optimizer, params: Mapping[str, Array], grads: Mapping[str, Array]
    ) -> bool:
        """Take one step with gradients that are still scaled; whether there was one.

        Whether they are finite is read back from the device.

        Raises
        ------
        DivergedError
            Not even with the smallest scale are they finite.
        """
        if not _finite(grads):
            self.scale, self.good, self.skipped = self.scale / 2, 0, self.skipped + 1
            if self.scale < SMALLEST:
                raise DivergedError(
                    f"gradients are not finite, with a loss scale of {2 * self.scale:g} even; use "
                    "a smaller learning rate"
                )
            return False
        optimizer.update(params, {name: grad / self.scale for name, grad in grads.items()})
        self.good += 1
        if self.good == self.patience:
            self.scale, self.good = self.scale * 2, 0
        return True


def _finite(grads: Mapping[str, Array]) -> bool:
    """Tell whether there is neither infinity nor NaN; one number is read."""
    found = [array_namespace(g).all(array_namespace(g).isfinite(g)) for g in grads.values()]
    return not found or bool(array_namespace(found[0]).all(array_namespace(found[0]).stack(found)))
