"""Networks that training left behind: of a weight file, a checkpoint, or a run's directory."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.arguments import check_word
from xpnet.arrays import Device
from xpnet.errors import ArgumentError, CheckpointError, WeightsError, XPNetError
from xpnet.files.weights import CHECKSUM, Weights, check_header, load_weights
from xpnet.functions.init import zeros_within
from xpnet.models import Network, build_network, load_network
from xpnet.models.describing import UNBUILDABLE
from xpnet.models.registry import (
    DIGITS,
    MODELS,
    Task,
    find_model,
    model_arguments,
    photographs_of,
    usual_of,
)
from xpnet.models.saved import budget_of, built, networks_in, restored
from xpnet.models.torch_names import named_by_torch
from xpnet.models.two_layer_net import ACTIVATIONS
from xpnet.notice import notice
from xpnet.train.checkpoint import Checkpoint, Checkpoints, load_checkpoint
from xpnet.train.record import TOLD, check, read_summary
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
    path: str | Path,
    *,
    activation: str | None = None,
    device: str | Device = "cpu",
    model: str | None = None,
) -> Network:
    """The network of a weight file, of a checkpoint, or of the directory of a run.

    Of a directory it is what the run came to last: its `model.safetensors`, or the newest
    checkpoint if the run was stopped after that was written, which is told on standard error.
    Nothing in the directory is changed.

    Parameters
    ----------
    activation : as in `load_network`, of files that do not say
    model : what builds the network: a name, or module:function of your own. Files say it
        themselves, unless they hold layers of your own.

    Raises
    ------
    WeightsError, CheckpointError
        There is no such file, or it is damaged, or no network can be made of it.
    """
    if activation is not None:
        check_word("activation", "a network", activation, *ACTIVATIONS)
    if model is not None:
        find_model(model)
    path, found = _opened(path)
    if model is not None:
        weights = load_weights(path) if found is None else _weights_of(found)
        return _named(model, weights, device, activation)
    return _alone(path, found, device, activation)


def _alone(
    path: Path, found: Checkpoint | None, device: str | Device, activation: str | None = None
) -> Network:
    """The one network of a file, which says itself what that is."""
    if found is None:
        return load_network(path, activation=activation, device=device)
    if activation is not None:
        raise ArgumentError(f"{path} says itself what its activation is; leave out activation")
    return _network_of(found, device)


class Together(NamedTuple):
    """Networks that work together, and what their file says of them.

    Attributes
    ----------
    networks : by name
    about : such as the "model" that they are parts of, and its "arguments"
    """

    networks: dict[str, Network]
    about: dict[str, Any]

    @property
    def task(self) -> Task | None:
        """What the model is for that they are parts of; None if that is not known here."""
        model = self.about.get("model")
        return MODELS[model].task if isinstance(model, str) and model in MODELS else None


def load_networks(path: str | Path, *, device: str | Device = "cpu") -> Together:
    """The networks of a file, a checkpoint or a run's directory that holds several.

    Of a directory they are what `load_model` takes.

    Raises
    ------
    WeightsError, CheckpointError
        There is no such file, it is damaged, or holds one network or none.
    """
    found = _several(*_opened(path), device)
    if found is None:
        raise WeightsError(
            f"{path} does not hold several networks that work together; give the directory of a "
            "run of such, or use what is for one network"
        )
    return found


def load_saved(path: str | Path, *, device: str | Device = "cpu") -> Network | Together:
    """The one network, or the several that work together, of a file, a checkpoint or a run.

    Raises
    ------
    WeightsError, CheckpointError
        As `load_model` raises them.
    """
    opened = _opened(path)
    return _several(*opened, device) or _alone(*opened, device)


def as_model(found: Together, path: str | Path, task: Task, what: str, such: str) -> Any:
    """Put networks together to the model of a task that they are parts of.

    Parameters
    ----------
    path : of their file, for errors
    what, such : what is looked for, and the name of such a model, for errors

    Raises
    ------
    WeightsError
        They are parts of another model, or this version cannot build it.
    """
    arguments, model = found.about.get("arguments"), found.about.get("model")
    joined = found.task == task and hasattr(MODELS[str(model)].kind, "of")
    if not joined or not isinstance(arguments, Mapping):
        raise WeightsError(
            f"{path} holds several networks that work together, and are no {what}; give the "
            f"weights of one, such as a run of --model {such}"
        )
    try:
        return MODELS[str(model)].of(found.networks, **arguments)
    except UNBUILDABLE as error:
        raise WeightsError(
            f"{path} describes a {what} that this version cannot build ({error}); train it "
            "again, or use the version of xpnet that wrote it"
        ) from error


def _several(path: Path, found: Checkpoint | None, device: str | Device) -> Together | None:
    """The networks of a file that holds several; None if it does not say so."""
    if found is None:
        weights = load_weights(path)
        texts: Any = weights.metadata
    else:
        weights, texts = _weights_of(found, ""), found.record.get("run", {})
    if "networks" not in texts:
        return None
    try:
        if found is None:
            texts = {k: json.loads(texts[k]) for k in ("networks", "about") if k in texts}
        check(str(path), texts, TOLD)
    except (ValueError, RecursionError) as error:
        if isinstance(error, XPNetError):
            raise
        raise WeightsError(f"{path} is damaged: what it says of its networks is no JSON") from error
    if not texts["networks"]:
        return None
    networks = networks_in(weights, texts["networks"], device)
    return Together(networks, dict(texts.get("about", {})))


def _opened(path: str | Path) -> tuple[Path, Checkpoint | None]:
    """The file that holds a network, or several, and the checkpoint in it if it is one."""
    path, found = Path(path), None
    _check_given(path)
    if is_directory(path):
        path, found = _newest(path)
    if found is None and _is_checkpoint(path):
        found = load_checkpoint(path)
    return path, found


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


def _named(model: str, weights: Weights, device: str | Device, activation: str | None) -> Network:
    """The network of a name, with these weights."""

    def build(weights: Weights, device: str | Device) -> Network:
        images, usual, classes = usual_of(model)
        arguments = model_arguments(model, images or usual, None, activation, classes=classes)
        doubles = any(array.dtype == "float64" for array in weights.params.values())
        dtype = "float64" if doubles else "float32"
        return build_network(model, arguments, rng=0, device=device, dtype=dtype)

    network = restored(weights, device, build, model=model)
    if network.photographs is None and named_by_torch(weights):
        network.photographs = photographs_of(model)
        if network.photographs is not None:
            notice(f"{weights.path} does not tell how photographs are read; as by torchvision")
    return network


def _weights_of(checkpoint: Checkpoint, of: str = "network") -> Weights:
    """What a checkpoint's network had learned, by the names of its file.

    Parameters
    ----------
    of : the network's name; if "" it is all networks, whose names the arrays' then begin with
    """
    params: dict[str, np.ndarray] = {}
    for key, array in checkpoint.arrays.items():
        name, _, rest = key.partition(".")
        kind, _, inner = rest.partition(".")
        if kind in ("params", "state") and of in ("", name) and array.dtype.kind == "f":
            params[inner if of else f"{name}.{inner}"] = array
    return Weights(params, {}, checkpoint.path)


def _network_of(checkpoint: Checkpoint, device: str | Device) -> Network:
    """The network of a run, as it or its settings describe it, with what it had learned."""
    run, weights = checkpoint.record.get("run", {}), _weights_of(checkpoint)
    if "networks" in run:
        raise CheckpointError(
            f"{checkpoint.path} holds several networks that work together; "
            "xpnet.train.saved.load_networks reads them, `xpnet evaluate` takes them, and `xpnet "
            "detect`, `xpnet caption`, `xpnet play`, `xpnet write` or `xpnet generate` those that "
            "are for it"
        )
    if "network" in run:
        return restored(weights, device, lambda _, device: built(run["network"], device=device))
    try:
        settings: Mapping[str, Any] = run["settings"]
        about = (settings["hidden_size"], settings["activation"])
        arguments = model_arguments(settings["model"], DIGITS, *about)
        kind, placement = settings["model"], {"device": device, "dtype": settings["dtype"]}
        with zeros_within(budget_of(weights)):
            network = build_network(kind, arguments, rng=0, **placement)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint.path} does not tell of which network it is ({error}); restore it in "
            "Python, by the Trainer that it is of"
        ) from error
    network.fill(weights)
    return network
