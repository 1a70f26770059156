"""Images of digits: MNIST, and a synthetic stand-in for where MNIST cannot be had."""

from xpnet.data.batches import Batches, hold_out, shuffle_dataset
from xpnet.data.dataset import Dataset, load_dataset
from xpnet.data.mnist import load_mnist
from xpnet.data.synthetic import synthetic_digits

__all__ = [
    "Batches",
    "Dataset",
    "hold_out",
    "load_dataset",
    "load_mnist",
    "shuffle_dataset",
    "synthetic_digits",
]
