"""Training."""

from xpnet.train.early_stopping import EarlyStopping
from xpnet.train.trainer import EpochMetrics, Trainer

__all__ = ["EarlyStopping", "EpochMetrics", "Trainer"]
