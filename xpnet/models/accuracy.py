"""The share of samples that a network classifies rightly."""

from collections.abc import Callable, Mapping
from typing import Any

from xpnet.arrays import Array, Device
from xpnet.errors import ArgumentError

EVALUATION_BATCH, GPU_EVALUATION_BATCH = 200, 1000
"""Images at a time where only scores are wanted: bounds memory, and costs no speed. A GPU is not
filled by as few as are enough for a CPU."""


def evaluation_batch(device: Device) -> int:
    """Images at a time on a device where only scores are wanted."""
    return GPU_EVALUATION_BATCH if device.kind == "cuda" else EVALUATION_BATCH


def share_correct(
    predict: Callable[[Array], Array],
    x: Array,
    t: Array,
    device: Device,
    batch_size: int | None = None,
) -> float:
    """Share of samples whose highest prediction is at the target, in bounded memory."""
    if isinstance(t, Mapping):
        raise _several(t)
    batch_size = evaluation_batch(device) if batch_size is None else batch_size
    xp, t = device.xp, device.asarray(t)
    labels = t if t.ndim == 1 else xp.argmax(t, axis=-1)
    n: int = x.shape[0]
    if n == 0 or labels.shape[0] != n:
        raise ArgumentError(f"accuracy needs one target a sample, got {labels.shape[0]} for {n}")
    correct = device.zeros((), dtype="int64")
    for start in range(0, n, batch_size):
        end = min(n, start + batch_size)
        scores = predict(x[start:end, ...])
        if isinstance(scores, dict):
            raise _several(scores)
        best = xp.argmax(scores, axis=-1)
        correct = correct + xp.sum(xp.astype(best == labels[start:end], xp.int64))
    return int(correct) / n


def _several(outputs: Mapping[str, Any]) -> ArgumentError:
    return ArgumentError(
        f"the network has several outputs, {', '.join(outputs)}, and accuracy is of one; "
        "take the argmax of predict(x)[name]"
    )
