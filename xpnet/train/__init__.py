"""Training."""

from xpnet.train.trainer import EpochMetrics, Trainer

__all__ = ["EpochMetrics", "Trainer"]
