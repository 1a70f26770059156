"""Training."""

from xpnet.report.metrics import EpochMetrics
from xpnet.train.callbacks import Callback
from xpnet.train.early_stopping import EarlyStopping
from xpnet.train.learner import Learner
from xpnet.train.supervised import Supervised
from xpnet.train.trainer import Trainer

__all__ = ["Callback", "EarlyStopping", "EpochMetrics", "Learner", "Supervised", "Trainer"]
