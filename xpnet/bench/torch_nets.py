"""PyTorch as a contestant: eager as its tutorials write it, compiled, and as one CUDA graph."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import nn

from xpnet.bench.cases import Arrays, Case, Piece, Ready, UnavailableError, unbuilt
from xpnet.functions.im2col import pads_of
from xpnet.models.nodes import INPUT

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
}
WARM_UPS = 3
"""Steps before a capture, as PyTorch's documentation asks."""
NAMES = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}
"""PyTorch's names of arrays, where they are others than xpnet's."""
SPARED = ("Convolution", "TransposedConvolution", "BatchNorm", "Affine", "Residual")
"""Layers that need not their output for their gradient, so that an activation can write over it."""
MODES = {"compile": None, "reduce-overhead": "reduce-overhead"}
"""Modes of `torch.compile`, by the way to take a step."""

Function = Callable[..., Any]


class Apply(nn.Module):  # type: ignore[misc]
    """A function of tensors as a layer."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *values: torch.Tensor) -> Any:
        """Its value."""
        return self.function(*values)


class Unpool(nn.Module):  # type: ignore[misc]
    """Values at the places of a pool's maxima.

    Parameters
    ----------
    window : of the pool, whose windows lie side by side
    size : of what the pool read
    """

    def __init__(self, window: Sequence[int], size: Sequence[int]) -> None:
        super().__init__()
        self.window, self.size = tuple(window), tuple(size)

    def forward(self, x: torch.Tensor, pooled: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """The values, and 0 at all other places."""
        _, places = pooled
        return nn.functional.max_unpool2d(x, places, self.window, output_size=self.size)


class Graph(nn.Module):  # type: ignore[misc]
    """Layers that read what others put out.

    Parameters
    ----------
    layers : in an order in which each comes after those that it reads
    inputs : the numbers of the layers that each reads, or `INPUT`
    """

    def __init__(self, layers: Sequence[nn.Module], inputs: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.layers, self.inputs = nn.ModuleList(layers), inputs
        last = {read: number for number, reads in enumerate(inputs) for read in reads}
        self.done = [[read for read in last if last[read] == k] for k in range(len(inputs))]
        """What nobody reads after each layer, whose memory is given back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output of the last layer."""
        values: dict[int, Any] = {INPUT: x}
        for k, layer in enumerate(self.layers):
            given = [values[number] for number in self.inputs[k]]
            if not isinstance(layer, Unpool):  # all others take but the maxima of a pool
                given = [each[0] if isinstance(each, tuple) else each for each in given]
            values[k] = layer(*given)
            for read in self.done[k]:
                del values[read]
        return values[len(self.layers) - 1]


def network(pieces: Sequence[Piece], arrays: Arrays) -> nn.Module:
    """Build the same layers with the same initial parameters; a row of layers as `Sequential`.

    Raises
    ------
    UnavailableError
        PyTorch has no such layer.
    """
    readers = Counter(read for piece in pieces for read in piece.inputs)
    asked = {piece.inputs[1] for piece in pieces if piece.kind == "Unpooled"}
    built = []
    for number, piece in enumerate(pieces):
        read, *_ = piece.inputs
        spare = read != INPUT and readers[read] == 1 and pieces[read].kind in SPARED
        if piece.kind == "Unpooled":
            window = pieces[piece.inputs[1]].settings["window"]
            built.append([Unpool(window, piece.output_shape[1:])])
            continue
        row = _layers(piece, in_place=spare)
        built.append(row)
        if number in asked:
            row[0].return_indices = True
        for key, name in {**piece.params, **piece.state}.items():
            found = (getattr(layer, NAMES.get(key, key), None) for layer in row)
            if (own := next((each for each in found if each is not None), None)) is not None:
                array = torch.from_numpy(arrays[name])
                with torch.no_grad():
                    own.copy_(array.T if key == "W" and piece.kind == "Affine" else array)
    inputs = [piece.inputs for piece in pieces]
    if inputs == [(number - 1,) for number in range(len(pieces))]:
        return nn.Sequential(*chain(*built))
    return Graph([row[0] if len(row) == 1 else nn.Sequential(*row) for row in built], inputs)


def _layers(piece: Piece, *, in_place: bool) -> list[nn.Module]:
    """What computes a piece; one of them has its parameters.

    Parameters
    ----------
    in_place : what it reads may be written over
    """
    told = piece.settings
    match piece.kind:
        case "Convolution" if "table" not in told:
            FN, C, FH, FW = piece.weight_shape
            top, left, bottom, right = pads_of(told["pad"])
            even, groups = (top, left) == (bottom, right), told.get("groups", 1)
            pad, bias = (top, left) if even else 0, told["bias"]
            conv = nn.Conv2d(C * groups, FN, (FH, FW), told["stride"], pad, 1, groups, bias)
            return [conv] if even else [nn.ZeroPad2d((left, right, top, bottom)), conv]
        case "TransposedConvolution":
            C, FN, FH, FW = piece.weight_shape
            top, left, bottom, right = pads_of(told["pad"])
            even, bias = (top, left) == (bottom, right), told["bias"]
            pad, more = (top, left) if even else 0, told["output_pad"]
            up = nn.ConvTranspose2d(C, FN, (FH, FW), told["stride"], pad, more, bias=bias)
            return [up] if even else [up, nn.ZeroPad2d((-left, -right, -top, -bottom))]
        case "MaxPool" if told["ties"] == "first":
            ceil = told["uneven"] == "ceil"
            return [nn.MaxPool2d(told["window"], told["stride"], told["pad"], ceil_mode=ceil)]
        case "AveragePool":
            return [nn.AvgPool2d(told["window"], told["stride"], told["pad"])]
        case "GlobalAveragePool":
            return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        case "Affine":
            linear = nn.Linear(*piece.weight_shape, bias=told["bias"])
            return [nn.Flatten(), linear] if len(piece.input_shape) > 1 else [linear]
        case "BatchNorm" if (told["ddof"], told.get("running_ddof", told["ddof"])) == (0, 1):
            kind = nn.BatchNorm2d if len(piece.input_shape) == 3 else nn.BatchNorm1d
            return [kind(told["features"], told["eps"], 1 - told["momentum"])]
        case "LRN":
            size = told["size"]
            return [nn.LocalResponseNorm(size, told["alpha"] * size, told["beta"], told["k"])]
        case "ReLU" | "ReLU6" as kind:
            return [getattr(nn, kind)(inplace=in_place)]
        case "Sigmoid" | "Tanh" | "Identity" as kind:
            return [getattr(nn, kind)()]
        case "Dropout":
            return [nn.Dropout(told["dropout_ratio"])]
        case "Rescale":
            scale, shift = told["scale"], told["shift"]
            return [Apply(lambda x: x * scale + shift)]
        case "PadShortcut":
            return [Apply(partial(_shortcut, **told))]
        case "Sum" | "Residual":
            return [Apply(lambda first, *others: sum(others, first))]
        case "Concatenate":
            return [Apply(lambda *values: torch.cat(values, 1))]
    raise unbuilt("PyTorch", piece)


def _shortcut(x: torch.Tensor, stride: int, channels: int) -> torch.Tensor:
    """Every so many pixels, between channels of zeros."""
    more = channels - x.shape[1]
    around = (0, 0, 0, 0, more // 2, more - more // 2)
    return nn.functional.pad(x[:, :, ::stride, ::stride], around)


def build(
    case: Case,
    arrays: Arrays,
    *,
    channels_last: bool = False,
    way: str = "eager",
    fused: bool = False,
) -> Ready:
    """Build a network of PyTorch.

    Parameters
    ----------
    channels_last : lays its arrays out so
    way : "eager"; "compile", all but the optimizer compiled; "reduce-overhead", the same in
        this mode; or "graph", a whole step recorded once and replayed
    fused : has the optimizer update all arrays in one call

    Raises
    ------
    UnavailableError
        PyTorch cannot use the GPU, cannot compile for this machine, or has no such layers.
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
    if case.task == "predict":
        step = _prediction(net, case, way)
    else:
        step = _training(net, case, way, fused=fused)
    if way == "graph":
        step = _captured(step, *next(batches))
    elif way != "eager":
        _compile(step, *next(batches))

    def describe() -> dict[str, str | int]:
        return {"torch": torch.__version__, "threads": torch.get_num_threads()}

    finish = torch.cuda.synchronize if case.on_gpu else lambda: None
    return Ready(lambda: step(*next(batches)), describe, finish)


def _prediction(net: nn.Module, case: Case, way: str) -> Function:
    net.eval()
    scores = _as_asked(net, case, way)

    def predict(x: torch.Tensor, _: torch.Tensor) -> None:
        with torch.inference_mode():
            scores(x)

    return predict


def _training(net: nn.Module, case: Case, way: str, *, fused: bool = False) -> Function:
    cross_entropy = nn.CrossEntropyLoss()
    loss = _as_asked(lambda x, t: cross_entropy(net(x), t), case, way)
    more: dict[str, bool] = {"fused": True} if fused else {}
    if way == "graph" and case.optimizer == "adam":
        # Adam counts its steps on the host, unless it is told that a graph will replay them.
        more = {"capturable": True, "fused": True}
    optimizer = OPTIMIZERS[case.optimizer](net.parameters(), lr=case.lr, **more)

    def train(x: torch.Tensor, t: torch.Tensor) -> None:
        loss(x, t).backward()
        optimizer.step()
        optimizer.zero_grad()  # at the end: a capture has to begin without gradients

    return train


def _as_asked(function: Function, case: Case, way: str) -> Function:
    """Compile it, and lower the precision of products, if wanted."""
    if way in MODES:
        function = torch.compile(function, mode=MODES[way])
    if case.precision == "bfloat16":
        # Without its cache, which could outlive a capture: every weight is cast once a step anyway.
        function = torch.autocast("cuda", torch.bfloat16, cache_enabled=False)(function)
    return function


def _compile(step: Function, *batch: torch.Tensor) -> None:
    """Take a first step, in which PyTorch compiles."""
    from torch._dynamo.exc import BackendCompilerFailed  # eager steps need not wait for it

    try:
        step(*batch)
    except BackendCompilerFailed as error:
        first, *_ = str(error).splitlines()
        raise UnavailableError(f"torch.compile does not work here: {first}") from None


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
