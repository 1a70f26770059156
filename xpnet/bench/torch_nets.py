"""PyTorch as a contestant: eager as its tutorials write it, compiled, and as one CUDA graph."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import torch
from torch import nn

from xpnet.bench.cases import Arrays, Case, Piece, Ready, UnavailableError

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
WARM_UPS = 3
"""Steps before a capture, as PyTorch's documentation asks."""

Function = Callable[..., Any]


def network(pieces: Sequence[Piece], arrays: Arrays) -> nn.Sequential:
    """Build the same layers with the same initial parameters."""
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


def build(case: Case, arrays: Arrays, *, channels_last: bool = False, way: str = "eager") -> Ready:
    """Build a network of PyTorch.

    Parameters
    ----------
    channels_last : lays its arrays out so
    way : "eager"; "reduce-overhead", all but the optimizer compiled; or "graph", a whole step
        recorded once and replayed

    Raises
    ------
    UnavailableError
        PyTorch cannot use the GPU.
    """
    if case.on_gpu and not torch.cuda.is_available():
        raise UnavailableError(
            f"PyTorch {torch.__version__} can use no GPU; install a build with CUDA"
        )
    if case.on_gpu:
        torch.cuda.set_device(case.device)
    torch.set_num_threads(case.threads)
    _set_precision(case.precision)
    torch.backends.cudnn.benchmark = True  # shapes never change
    device = torch.device(case.device)
    net = network(case.pieces, arrays).to(device)
    x, t = torch.from_numpy(arrays["x"]).to(device), torch.from_numpy(arrays["t"]).to(device)
    x, t = x if x.is_floating_point() else x.float() / 255, t.long()
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    batches = case.batches(x, t)
    step = _prediction(net, case, way) if case.task == "predict" else _training(net, case, way)
    if way == "graph":
        step = _captured(step, *next(batches))

    def describe() -> dict[str, str | int]:
        return {"torch": torch.__version__, "threads": torch.get_num_threads()}

    finish = torch.cuda.synchronize if case.on_gpu else lambda: None
    return Ready(lambda: step(*next(batches)), describe, finish)


def _prediction(net: nn.Sequential, case: Case, way: str) -> Function:
    net.eval()
    scores = _as_asked(net, case, way)

    def predict(x: torch.Tensor, _: torch.Tensor) -> None:
        with torch.inference_mode():
            scores(x)

    return predict


def _training(net: nn.Sequential, case: Case, way: str) -> Function:
    cross_entropy = nn.CrossEntropyLoss()
    loss = _as_asked(lambda x, t: cross_entropy(net(x), t), case, way)
    # Adam counts its steps on the host, unless it is told that a graph will replay them.
    told = {"capturable": True, "fused": True}
    more = told if way == "graph" and case.optimizer == "adam" else {}
    optimizer = OPTIMIZERS[case.optimizer](net.parameters(), lr=case.lr, **more)

    def train(x: torch.Tensor, t: torch.Tensor) -> None:
        loss(x, t).backward()
        optimizer.step()
        optimizer.zero_grad()  # at the end: a capture has to begin without gradients

    return train


def _as_asked(function: Function, case: Case, way: str) -> Function:
    """Compile it, and lower the precision of products, if wanted."""
    if way == "reduce-overhead":
        function = torch.compile(function, mode="reduce-overhead")
    if case.precision == "bfloat16":
        # Without its cache, which could outlive a capture: every weight is cast once a step anyway.
        function = torch.autocast("cuda", torch.bfloat16, cache_enabled=False)(function)
    return function


def _captured(step: Function, x: torch.Tensor, t: torch.Tensor) -> Function:
    """A step that copies its batch to where the graph of `step` reads it, and replays the graph."""
    fixed = x.clone(), t.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            step(*fixed)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(*fixed)

    def replay(x: torch.Tensor, t: torch.Tensor) -> None:
        fixed[0].copy_(x)
        fixed[1].copy_(t)
        graph.replay()

    return replay


def _set_precision(precision: str) -> None:
    """Set the precision of float32 products and convolutions."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
