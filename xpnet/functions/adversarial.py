"""The losses of two networks of which one makes what the other is to tell from real samples.

All are of scores l, (N, 1), before the sigmoid s = 1 / (1 + exp(-l)), the probability by which the
discriminator takes a sample for real. With softplus(l) = log(1 + exp(l)), -log s = softplus(-l) and
-log(1 - s) = softplus(l): finite wherever l is.

Goodfellow et al. 2014, "Generative adversarial networks", arXiv:1406.2661.
"""

from typing import Literal, TypeAlias

from xpnet.arguments import check_word, checked
from xpnet.arrays import Array, array_namespace
from xpnet.errors import ArgumentError
from xpnet.functions.losses import sigmoid_cross_entropy

Form: TypeAlias = Literal["non-saturating", "minimax"]
"""The losses that a generator may have."""


@checked
def real_loss(scores: Array, label: float = 1.0) -> tuple[Array, Array]:
    """What the discriminator loses on real samples, and the gradient by their scores.

        L = mean of softplus(l) - label l,   dl = (s - label) / N

    For the label 1 that is the mean of softplus(-l). A label below 1, such as 0.9, keeps the
    discriminator from being too sure (one-sided label smoothing: Salimans et al. 2016, "Improved
    techniques for training GANs", arXiv:1606.03498, section 3.4).

    Parameters
    ----------
    scores : (N, 1)
    label : above 0.5, and 1 at most

    Raises
    ------
    ArgumentError
        The label is another, or the scores are of another shape.
    """
    if not 0.5 < label <= 1.0:
        raise ArgumentError(
            f"the label of real samples must be above 0.5, and 1 at most, got {label}; 0.9 smooths"
        )
    return _against(scores, label)


def fake_loss(scores: Array) -> tuple[Array, Array]:
    """What the discriminator loses on made samples, and the gradient by their scores.

        L = mean of softplus(l),   dl = s / N

    Parameters
    ----------
    scores : (N, 1)

    Raises
    ------
    ArgumentError
        The scores are of another shape.
    """
    return _against(scores, 0.0)


def generator_loss(scores: Array, form: Form = "non-saturating") -> tuple[Array, Array]:
    """What the generator loses on the samples that it made, and the gradient by their scores.

        non-saturating:  L = mean of softplus(-l),      dl = (s - 1) / N
        minimax:         L = mean of log(1 - s) <= 0,   dl = -s / N

    The second is the discriminator's own loss turned round; its gradient vanishes where the
    discriminator is sure, s near 0, which is how it begins. The first has the same aim, and its
    gradient is then largest.

    Parameters
    ----------
    scores : (N, 1)

    Raises
    ------
    ArgumentError
        There is no such form, or the scores are of another shape.
    """
    check_word("form", "a generator", form, "non-saturating", "minimax")
    if form == "non-saturating":
        return _against(scores, 1.0)
    loss, slope = _against(scores, 0.0)
    return -loss, -slope


def _against(scores: Array, label: float) -> tuple[Array, Array]:
    """The cross-entropy of the sigmoid of scores against one label for all."""
    if scores.ndim != 2 or scores.shape[1] != 1:
        raise ArgumentError(
            f"scores of samples being real are one a row, (N, 1), got {tuple(scores.shape)}"
        )
    return sigmoid_cross_entropy(scores, array_namespace(scores).full_like(scores, label))
