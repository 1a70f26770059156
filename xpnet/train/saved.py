"""Networks that training left behind: of a weight file, a checkpoint, or a run's directory."""

from collections.abc import Mapping
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

from xpnet.arguments import check_word
from xpnet.arrays import Device
from xpnet.errors import ArgumentError, CheckpointError, WeightsError
from xpnet.files.weights import CHECKSUM, Weights, check_header
from xpnet.functions.init import zeros_within
from xpnet.models import Network, build_network, load_network
from xpnet.models.saved import budget_of
from xpnet.models.two_layer_net import ACTIVATIONS
from xpnet.notice import notice
from xpnet.train.checkpoint import Checkpoint, Checkpoints, load_checkpoint
from xpnet.train.record import read_summary
from xpnet.train.run_directory import (
    CHECKPOINTS,
    EVALUATION,
    LOCK,
    METRICS,
    MODEL,
    PICTURE,
    SUMMARY,
    run_within,
)

BESIDE = (EVALUATION, LOCK, METRICS, PICTURE, SUMMARY)
"""What else is in a run's directory."""


def load_model(
    path: str | Path, *, activation: str | None = None, device: str | Device = "cpu"
) -> Network:
    """The network of a weight file, of a checkpoint, or of the directory of a run.

    Of a directory it is what the run came to last: its `model.safetensors`, or the newest
    checkpoint if the run was stopped after that was written, which is told on standard error.
    Nothing in the directory is changed.

    Parameters
    ----------
    activation : as in `load_network`, of files that do not say

    Raises
    ------
    WeightsError, CheckpointError
        There is no such file, or it is damaged, or no network can be made of it.
    """
    if activation is not None:
        check_word("activation", "a network", activation, *ACTIVATIONS)
    path = Path(path)
    found = None
    _check_given(path)
    if is_directory(path):
        path, found = _newest(path)
    if found is None and _is_checkpoint(path):
        found = load_checkpoint(path)
    if found is None:
        return load_network(path, activation=activation, device=device)
    if activation is not None:
        raise ArgumentError(f"{path} says itself what its activation is; leave out activation")
    return _network_of(found, device)


def _check_given(path: Path) -> None:
    """Refuse what is not there, and what a run keeps beside its network."""
    with suppress(OSError):  # which its reader tells
        if not path.exists():
            raise WeightsError(
                f"{path} does not exist; give a file that `save_params` wrote, or the directory of "
                "a run"
            )
        if path.name in BESIDE and path.is_file():
            raise WeightsError(f"{path} holds no network; give the directory {path.parent}")


def is_directory(path: Path) -> bool:
    """Tell whether a path is a directory's; what else is wrong with it, its reader tells."""
    with suppress(OSError):  # of a name that is too long, for instance
        return path.is_dir()
    return False


def model_arguments(
    model: str, image: tuple[int, ...], hidden_size: int | None, activation: str | None
) -> dict[str, Any]:
    """Tell what the network of a run is built from."""
    if model == "two-layer-net":
        return {
            "input_size": prod(image),
            "hidden_size": 50 if hidden_size is None else hidden_size,
            "output_size": 10,
            "activation": activation or "relu",
        }
    if activation is not None:
        raise ArgumentError(f"{model} uses ReLU; --activation is for two-layer-net")
    hidden = {} if hidden_size is None else {"hidden_size": hidden_size}
    return {"input_dim": list(image), "output_size": 10} | hidden


def _newest(directory: Path) -> tuple[Path, Checkpoint | None]:
    """The file of a run's last network, and the checkpoint in it if it is one."""
    run = directory.parent if directory.name == CHECKPOINTS else directory
    model, problem = run / MODEL, None
    done = read_summary(run / SUMMARY).get("steps", 0) if model.is_file() else -1
    for path in reversed(Checkpoints(run / CHECKPOINTS).paths()):
        if int(path.stem.removeprefix("step-")) <= done:
            break
        try:
            found = load_checkpoint(path)
        except CheckpointError as error:
            problem = problem or error
            continue
        about = f"{found.record['steps']} steps, {len(found.record['history'])} epochs"
        notice(f"{problem or f'{run} is not finished'}; its network is taken from {path}: {about}")
        return path, found
    if model.is_file():
        return model, None
    if problem is not None:
        raise problem
    raise WeightsError(
        f"{directory} holds neither {MODEL} nor a checkpoint, as a run's directory does; "
        + run_within(directory, "give one that does, or a weight file")
    )


def _is_checkpoint(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file():  # a pipe would be waited at
            return False
        check_header(path)
        with safe_open(path, framework="numpy") as file:
            return CHECKSUM in (file.metadata() or {})
    except (SafetensorError, OSError, ValueError, TypeError):
        return False


def _network_of(checkpoint: Checkpoint, device: str | Device) -> Network:
    """The network of a run, as its settings describe it, with what it had learned."""
    arrays, record, path = checkpoint
    try:
        settings: Mapping[str, Any] = record["run"]["settings"]
        about = (settings["hidden_size"], settings["activation"])
        arguments = model_arguments(settings["model"], (1, 28, 28), *about)
        kind, placement = settings["model"], {"device": device, "dtype": settings["dtype"]}
        with zeros_within(budget_of(Weights(arrays, {}, path))):
            network = build_network(kind, arguments, rng=0, **placement)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not tell of which network it is ({error}); restore it in Python, by the "
            "Trainer that it is of"
        ) from error
    names = {
        f"network.{kind}.{k}": k for kind in ("params", "state") for k in network.file_arrays()
    }
    params = {names[name]: array for name, array in arrays.items() if name in names}
    network.fill(Weights(params, {}, path))
    return network
