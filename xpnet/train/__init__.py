"""Training."""

from xpnet.report.metrics import EpochMetrics
from xpnet.train.early_stopping import EarlyStopping
from xpnet.train.trainer import Trainer

__all__ = ["EarlyStopping", "EpochMetrics", "Trainer"]
