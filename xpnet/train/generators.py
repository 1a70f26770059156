"""Generators that training left behind."""

from collections.abc import Mapping
from pathlib import Path

from xpnet.arrays import Device
from xpnet.errors import WeightsError
from xpnet.models.dcgan import DCGAN
from xpnet.models.describing import UNBUILDABLE
from xpnet.models.network import Network
from xpnet.train.saved import Together, load_saved


def load_gan(path: str | Path, *, device: str | Device = "cpu") -> DCGAN:
    """The generator and discriminator of a file, of a checkpoint, or of the directory of a run.

    Raises
    ------
    WeightsError, CheckpointError
        There is no such file, it is damaged, or holds something else.
    """
    found = load_saved(path, device=device)
    if isinstance(found, Network):
        raise WeightsError(
            f"{path} holds one network, and that makes no images, {type(found).__name__}; give the "
            "weights of a run of --model dcgan"
        )
    return as_gan(found, path)


def is_gan(found: Together) -> bool:
    """Tell whether networks that work together say that they are generator and discriminator."""
    return found.about.get("model") == "dcgan"


def as_gan(found: Together, path: str | Path) -> DCGAN:
    """The generator and discriminator that a file, `path`, holds.

    Raises
    ------
    WeightsError
        The networks that it holds are none.
    """
    arguments = found.about.get("arguments")
    if not is_gan(found) or not isinstance(arguments, Mapping):
        raise WeightsError(
            f"{path} holds several networks that work together, and none makes images; give the "
            "weights of a run of --model dcgan"
        )
    try:
        return DCGAN.of(found.networks, **arguments)
    except UNBUILDABLE as error:
        raise WeightsError(
            f"{path} describes a generator that this version cannot build ({error}); train it "
            "again, or use the version of xpnet that wrote it"
        ) from error
