"""Detectors that training left behind."""

from pathlib import Path
from typing import Any, TypeAlias

from xpnet.arrays import Device
from xpnet.engine import Engine, get_engine
from xpnet.errors import WeightsError
from xpnet.models.faster_rcnn import FasterRCNN
from xpnet.models.network import Network
from xpnet.models.rcnn import RCNN
from xpnet.models.registry import networks_of
from xpnet.train.saved import Together, as_model, load_saved

AnyDetector: TypeAlias = RCNN | FasterRCNN


def load_detector(path: str | Path, *, device: str | Device = "cpu") -> AnyDetector:
    """The detector of a file, of a checkpoint, or of the directory of a run.

    Raises
    ------
    WeightsError, CheckpointError
        There is no such file, it is damaged, or holds something else.
    """
    found = load_saved(path, device=device)
    if isinstance(found, Network) and not isinstance(found, RCNN):
        raise WeightsError(
            f"{path} holds a network that does not find objects, {type(found).__name__}; give the "
            "weights of one that does, such as a run of --model faster-rcnn"
        )
    return as_detector(found, path)


def as_detector(found: RCNN | Together, path: str | Path) -> AnyDetector:
    """The detector that a file, `path`, holds.

    Raises
    ------
    WeightsError
        The networks that it holds are none.
    """
    if isinstance(found, RCNN):
        return found
    made: FasterRCNN = as_model(found, path, "detect", "detector", "faster-rcnn")
    return made


def engines_of(detector: AnyDetector, name: str = "auto", **options: Any) -> dict[str, Engine]:
    """What computes for each network of a detector, as `get_engine` takes it."""
    return {
        key: get_engine(network, name, **options) for key, network in networks_of(detector).items()
    }
