"""Networks that work together, in one file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpnet.arrays import to_numpy
from xpnet.errors import ArgumentError
from xpnet.files.weights import save_weights
from xpnet.models.network import Network


def hand_over(model: Any, networks: Mapping[str, Network], arguments: Mapping[str, Any]) -> None:
    """Have a fresh model take networks that are there already, such as those of a file.

    Parameters
    ----------
    model : whose `networks` are replaced
    arguments : what it was made of, for errors

    Raises
    ------
    ArgumentError
        They are others than the model's own.
    """
    own: Mapping[str, Network] = model.networks
    if networks.keys() != own.keys():
        raise ArgumentError(f"networks called {' and '.join(own)} are needed, got {networks}")
    for name, network in own.items():
        if networks[name].description() != network.description():
            raise ArgumentError(f"{networks[name]} is not the {name} that {arguments} make")
    model.networks = {name: networks[name] for name in own}


def save_networks(
    path: str | Path, networks: Mapping[str, Network], about: Mapping[str, Any]
) -> None:
    """Write networks that work together into one file, and what they are.

    Of one alone, called "network", it is what `Network.save_params` writes.

    Parameters
    ----------
    networks : by names without dots
    about : what the file says of them, as JSON has it, such as the model that they are parts of

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    if list(networks) == ["network"]:
        networks["network"].save_params(path)
        return
    arrays = {
        f"{name}.{key}": to_numpy(array)
        for name, network in networks.items()
        for key, array in network.file_arrays().items()
    }
    texts = {name: network.description() for name, network in networks.items()}
    save_weights(path, arrays, {"networks": json.dumps(texts), "about": json.dumps(about)})
