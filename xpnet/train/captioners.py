"""Captioners that training left behind."""

from pathlib import Path
from typing import Any

from xpnet.arrays import Device
from xpnet.engine import Engine, get_engine
from xpnet.errors import WeightsError
from xpnet.models.captioner import Captioner
from xpnet.models.network import Network
from xpnet.train.saved import Together, as_model, load_saved


def load_captioner(path: str | Path, *, device: str | Device = "cpu") -> Captioner:
    """The captioner of a file, of a checkpoint, or of the directory of a run.

    Raises
    ------
    WeightsError, CheckpointError
        There is no such file, it is damaged, or holds something else.
    """
    found = load_saved(path, device=device)
    if isinstance(found, Network):
        raise WeightsError(
            f"{path} holds one network, {type(found).__name__}, and no captioner; give the weights "
            "of one, such as a run of --model nic"
        )
    return as_captioner(found, path)


def as_captioner(found: Together, path: str | Path) -> Captioner:
    """The captioner that a file, `path`, holds.

    Raises
    ------
    WeightsError
        The networks that it holds are none.
    """
    made: Captioner = as_model(found, path, "caption", "captioner", "nic")
    return made


def encoder_of(captioner: Captioner, name: str = "auto", **options: Any) -> dict[str, Engine]:
    """What computes for a captioner's encoder, as `get_engine` takes it; for the rest layers do."""
    return {"encoder": get_engine(captioner.networks["encoder"], name, **options)}
