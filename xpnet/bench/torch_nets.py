"""PyTorch as a contestant: eager, as its tutorials write it."""

from collections.abc import Sequence
from itertools import count

import numpy as np
import torch
from torch import nn

from xpnet.bench.cases import Arrays, Case, Piece, Ready

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


def network(pieces: Sequence[Piece], arrays: Arrays) -> nn.Sequential:
    """The same layers with the same initial parameters."""
    layers: list[nn.Module] = []
    numbers = count(1)
    for piece, before in zip(pieces, [None, *pieces], strict=False):
        settings = piece.settings
        match piece.kind:
            case "Convolution":
                FN, C, FH, FW = piece.weight_shape
                stride, pad = settings["stride"], settings["pad"]
                layers.append(nn.Conv2d(C, FN, (FH, FW), stride=stride, padding=pad))
            case "MaxPool":
                layers.append(nn.MaxPool2d(settings["window"], settings["stride"]))
            case "Affine":
                if before is not None and len(before.output_shape) > 1:
                    layers.append(nn.Flatten())
                layers.append(nn.Linear(*piece.weight_shape))
            case "Dropout":
                layers.append(nn.Dropout(settings["dropout_ratio"]))
            case "ReLU":
                layers.append(nn.ReLU())
        if piece.weight_shape:
            number = next(numbers)
            W, b = (torch.from_numpy(arrays[f"{kind}{number}"]) for kind in "Wb")
            with torch.no_grad():
                layers[-1].weight.copy_(W.T if piece.kind == "Affine" else W)
                layers[-1].bias.copy_(b)
    return nn.Sequential(*layers)


def build(case: Case, arrays: Arrays, *, channels_last: bool = False) -> Ready:
    """A network of PyTorch, in another layout of its arrays if wanted."""
    torch.set_num_threads(case.threads)
    net = network(case.pieces, arrays)
    x, t = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["t"].astype(np.int64))
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    batches = case.batches(x, t)

    def describe() -> dict[str, str | int]:
        return {"torch": torch.__version__, "threads": torch.get_num_threads()}

    if case.task == "predict":
        net.eval()

        def predict() -> None:
            with torch.inference_mode():
                net(next(batches)[0])

        return Ready(predict, describe)
    loss_function = nn.CrossEntropyLoss()
    optimizer = OPTIMIZERS[case.optimizer](net.parameters(), lr=case.lr)

    def train() -> None:
        x, t = next(batches)
        optimizer.zero_grad()
        loss_function(net(x), t).backward()
        optimizer.step()

    return Ready(train, describe)
