"""Networks in files."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from xpnet.arguments import check_word
from xpnet.arrays import Device, to_numpy
from xpnet.errors import ArgumentError, WeightsError, shown
from xpnet.files.weights import Weights, load_weights
from xpnet.functions.init import Budget, OverBudgetError, zeros_within
from xpnet.layers import Affine, Layer
from xpnet.models.conv_nets import DeepConvNet, SimpleConvNet
from xpnet.models.describing import UNBUILDABLE, ForeignKindError, described
from xpnet.models.learning import learn_as, learning_of
from xpnet.models.network import Network
from xpnet.models.registry import CLASSES, build_network
from xpnet.models.torch_names import fill_torch, named_by_torch
from xpnet.models.two_layer_net import ACTIVATIONS
from xpnet.notice import notice


def load_network(
    path: str | Path, *, activation: str | None = None, device: str | Device = "cpu"
) -> Network:
    """The network of a weight file.

    A file that `Network.save_params` wrote says what its network is. Any other file, such as the
    pickles that the books publish, holds W1, b1, W2, b2, ...: filters first make it a SimpleConvNet
    or a DeepConvNet for MNIST's images. Matrices alone make it fully connected layers; what the
    file cannot tell is the activation between them, which is the sigmoid of the book's published
    network if `activation` is None. What is assumed is told on standard error.

    Raises
    ------
    WeightsError
        The file cannot be read, or its arrays do not make up a network of the library's layers.
    """
    if activation is not None:
        check_word("activation", "a network", activation, *ACTIVATIONS)
    weights = load_weights(path)
    if "networks" in weights.metadata:
        raise WeightsError(
            f"{path} holds several networks that work together; xpnet.train.saved.load_networks "
            "reads them, and `xpnet evaluate`, `xpnet detect`, `xpnet caption`, `xpnet play`, "
            "`xpnet write` and `xpnet generate` take those that are for them"
        )
    if not {"network", "model"} & weights.metadata.keys():
        if getattr(weights.params.get("W1"), "ndim", 0) == 4:
            return _conv_network(weights, activation, device)
        if activation is None:
            network = _dense_network(weights, "sigmoid", device)
            notice(f"{path} does not tell the activation between its layers; sigmoid is assumed")
            return network
        return _dense_network(weights, activation, device)
    if activation is not None:
        raise ArgumentError(f"{path} says itself what its activation is; leave out activation")
    return restored(weights, device, _described_network)


def networks_in(
    weights: Weights, texts: Mapping[str, str], device: str | Device
) -> dict[str, Network]:
    """Networks that were described, by name, with weights whose names begin with the network's.

    Raises
    ------
    WeightsError
        One cannot be built, or the weights do not fit.
    """
    parts: dict[str, dict[str, Any]] = {name: {} for name in texts}
    for key, array in weights.params.items():
        name, _, inner = key.partition(".")
        if name not in parts:
            raise WeightsError(
                f"{weights.path} holds {shown(key)}, which is of none of its networks; take another"
            )
        parts[name][inner] = array
    found = {}
    for name, text in texts.items():

        def build(_: Weights, device: str | Device, text: str = text) -> Network:
            return built(text, device=device)

        found[name] = restored(Weights(parts[name], {}, weights.path), device, build)
    return found


def restored(
    weights: Weights,
    device: str | Device,
    build: Callable[[Weights, str | Device], Network],
    *,
    model: str | None = None,
) -> Network:
    """The network that `build` makes, with these weights, which may have PyTorch's names.

    Parameters
    ----------
    model : the name that `build` follows, where it is not what the file itself describes

    Raises
    ------
    WeightsError
        It cannot be made, or the weights do not fit.
    ArgumentError
        What `model` names makes no network, whatever the weights.
    """
    path = weights.path
    try:
        with zeros_within(budget_of(weights)):
            network = build(weights, device)
    except ForeignKindError as error:
        raise WeightsError(
            f"{path} holds a network with {error}, which is not one of xpnet's; build it yourself "
            "and give it the file with load_params, or name the function that builds it: "
            "--model module:function, load_model(path, model=...)"
        ) from error
    except UNBUILDABLE as error:
        if model is not None:
            if not any(isinstance(each, OverBudgetError) for each in (error, error.__cause__)):
                raise
            raise WeightsError(
                f"{path} is not of {model} ({error}); leave out model, or name the network that "
                "the file is of"
            ) from error
        raise WeightsError(
            f"{path} describes a network that this version cannot build ({error}); "
            "train it again, or use the version of xpnet that wrote it"
        ) from error
    if named_by_torch(weights):
        fill_torch(network, weights)
    else:
        network.fill(weights)
    return network


def copied(network: Network, *, device: str | Device, dtype: str) -> Network:
    """The same network on another device, or with other digits; it shares nothing with the first.

    What is frozen there is frozen here.

    Raises
    ------
    ArgumentError
        A layer or the loss is none of the library's.
    """
    other = built(network.description(), device=device, dtype=dtype)
    for own, others in ((network.params, other.params), (network.state, other.state)):
        for name, array in own.items():
            kind_of = str(others[name].dtype).rpartition(".")[2]
            others[name][...] = other.device.asarray(to_numpy(array), dtype=kind_of)
    learn_as(other, learning_of(network))
    other.photographs = network.photographs
    return other


def budget_of(weights: Weights) -> Budget:
    """Room for what the file holds: it is damaged if it describes more.

    All together twice as much, so that a network that does not fit is told by its shapes.
    """
    sizes = [array.size for array in weights.params.values()]
    return Budget(largest=max(sizes, default=0), left=2 * sum(sizes))


def built(text: str, **placement: Any) -> Network:
    """A network that was described; one of the books' is made of the layers that it had then."""
    name, arguments = described(text)
    kinds = {kind.__name__: kind for kind in (Network, *CLASSES)}
    if name not in kinds:
        raise ForeignKindError(name)
    network = Network.__new__(kinds[name])
    Network.__init__(network, **(arguments | placement))
    return network


def _described_network(weights: Weights, device: str | Device) -> Network:
    metadata = weights.metadata
    if "network" in metadata:
        return built(metadata["network"], device=device)
    # Written by xpnet 0.1.0.
    arguments = json.loads(metadata["arguments"])
    return build_network(metadata["model"], arguments, device=device, dtype=metadata["dtype"])


def _dense_network(weights: Weights, activation: str, device: str | Device) -> Network:
    sizes = _dense_sizes(weights)
    layers: list[Layer] = []
    for n_in, n_out in pairwise(sizes):
        layers += [Affine(n_in, n_out, std=0.0), ACTIVATIONS[activation]()]
    network = Network(layers[:-1], names="book", device=device)
    network.fill(weights)
    return network


def _conv_network(weights: Weights, activation: str | None, device: str | Device) -> Network:
    if activation is not None:
        raise ArgumentError("the book's convolutional networks use ReLU; leave out activation")
    shapes = [array.shape for name, array in sorted(weights.params.items()) if name.startswith("W")]
    kinds = [len(shape) for shape in shapes]
    try:
        with zeros_within(budget_of(weights)):
            network = _book_network(shapes, kinds, device)
    except ArgumentError as error:
        raise WeightsError(
            f"{weights.path} begins with filters, but is neither a SimpleConvNet nor a DeepConvNet "
            f"for 28 x 28 images ({error})"
        ) from error
    network.fill(weights)
    notice(f"{weights.path} does not tell the activation between its layers; ReLU is assumed")
    return network


def _book_network(
    shapes: Sequence[tuple[int, ...]], kinds: Sequence[int], device: str | Device
) -> Network:
    """SimpleConvNet or DeepConvNet with weights of these shapes."""
    if kinds == [4, 2, 2]:
        (filters, channels, size, _), (_, hidden), (_, outputs) = shapes
        param = {"filter_num": filters, "filter_size": size}
        return SimpleConvNet((channels, 28, 28), param, hidden, outputs, device=device)
    if kinds != [4] * 6 + [2, 2]:
        raise ArgumentError(f"its weights have {kinds} axes")
    sizes: dict[str, Any] = {"hidden_size": shapes[6][1], "output_size": shapes[7][1]}
    for k, (filters, _, size, _) in enumerate(shapes[:6], start=1):
        sizes[f"conv_param_{k}"] = {"filter_num": filters, "filter_size": size}
    return DeepConvNet((shapes[0][1], 28, 28), **sizes, device=device)


def _dense_sizes(weights: Weights) -> list[int]:
    """Units of each layer, read off W1, W2, ..."""
    params = weights.params
    count = len(params) // 2
    expected = [f"{kind}{k}" for k in range(1, count + 1) for kind in "Wb"]
    if not count or set(params) != set(expected):
        raise WeightsError(
            f"{weights.path} must hold W1, b1, W2, b2, ... of fully connected layers, "
            f"got {', '.join(map(ascii, sorted(params)[:8])) or 'nothing'}; other names, such as "
            "PyTorch's, are for load_torch, or load_params of a network that has them; or name the "
            "network: --model NAME, load_model(path, model=...)"
        )
    matrices = [params[f"W{k}"] for k in range(1, count + 1)]
    for k, W in enumerate(matrices, start=1):
        if W.ndim != 2 or 0 in W.shape:
            raise WeightsError(f"{weights.path}: W{k} must be a matrix, got shape {W.shape}")
    for k, (W, after) in enumerate(pairwise(matrices), start=1):
        if W.shape[1] != after.shape[0]:
            raise WeightsError(
                f"{weights.path}: W{k} {W.shape} and W{k + 1} {after.shape} do not fit together"
            )
    return [matrices[0].shape[0], *(W.shape[1] for W in matrices)]
