"""The cases that `compare_commits.py` has each side compute: the table CASES.

Everything of xpnet is reached through `_compare_places`. The data are drawn here, so that what
xpnet draws can change one case only.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import _compare_places as places
from _compare_places import its

Found = dict[str, list[Any]]
"""The results of a case: arrays, or texts, by what they are; the names of arrays do not count."""
Case = Callable[[], Found]
Make = Callable[..., Any]

IMAGE = (1, 12, 12)
TEST = 50
SAMPLES = {2: 109, 7: 69, 20: 197, 100: 1000, 103: 1000}
"""The samples by batch size: ten steps an epoch, the last of which is smaller but for 100.

For 2 they are 55: on a GPU, steps are replayed up to 50 at a time.
"""
EPOCHS = 2


# Data


@cache
def images(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw pixels (n, 1, 12, 12) on blank ground, and labels that can be learned from them."""
    patterns = np.random.default_rng(4711).random((10, *IMAGE))
    rng = np.random.default_rng([n, seed])
    t = rng.integers(10, size=n)
    ink = 0.5 * patterns[t] + 0.5 * rng.random((n, *IMAGE))
    return np.round(255 * ink * (ink > 0.45)).astype(np.uint8), t


def labels(t: np.ndarray) -> np.ndarray:
    """Draw targets of a classification."""
    return t


def one_hot(t: np.ndarray) -> np.ndarray:
    """Draw the same as rows."""
    return np.eye(10)[t]


def several(t: np.ndarray) -> np.ndarray:
    """Draw rows with more than one 1."""
    return np.maximum(np.eye(10)[t], np.eye(10)[t * 3 % 10])


def real(t: np.ndarray) -> np.ndarray:
    """Draw rows of a regression."""
    return np.eye(10)[t] - 0.3 * np.eye(10)[t * 7 % 10]


def pixels(n: int, dtype: str) -> np.ndarray:
    """Draw inputs 0..1 that no training has seen."""
    return (images(n, seed=1)[0] / 255).astype(dtype)


def enlarged(x: np.ndarray) -> np.ndarray:
    """Draw such images in the size of the books', (n, 1, 28, 28)."""
    return np.pad(np.kron(x, np.ones((2, 2), x.dtype)), ((0, 0), (0, 0), (2, 2), (2, 2)))


# Networks


def _affine(n_in: int, n_out: int = 10) -> Any:
    return its.Affine(n_in, n_out, rng=n_in + n_out)


def _conv(channels: int, filters: int, window: int | tuple[int, int] = 3, **options: Any) -> Any:
    return its.Convolution(channels, filters, window, rng=channels + filters, **options)


def _network(layers: Any, loss: Any = None, **options: Any) -> Any:
    return its.Network(layers, loss, input_shape=IMAGE, **options)


SMALL: dict[str, Make] = {
    "two-layer-net": lambda **k: its.TwoLayerNet(144, 12, 10, 0.3, rng=0, **k),
    "two-layer-net, sigmoid": lambda **k: its.TwoLayerNet(
        144, 12, 10, 0.5, activation="sigmoid", rng=0, **k
    ),
    "multi-layer-net": lambda **k: its.MultiLayerNet(
        144, [12, 11], 10, "tanh", "xavier", rng=0, **k
    ),
    "multi-layer-net-extend": lambda **k: its.MultiLayerNetExtend(
        144, [12, 11], 10, weight_decay_lambda=0.01, use_dropout=True, dropout_ratio=0.2,
        use_batchnorm=True, rng=0, **k,
    ),
    "regression": lambda **k: _network(
        [_affine(144, 12), its.Tanh(), _affine(12)], its.IdentityWithLoss(), penalty=its.L2(0.01),
        **k,
    ),
    "sigmoid with loss": lambda **k: _network(
        [_affine(144, 12), its.Sigmoid(), _affine(12)], its.SigmoidWithLoss(), **k
    ),
    "average pool": lambda **k: _network(
        [places.pool("AveragePool", 2, 2), its.ReLU(), _affine(36, 12), its.ReLU(), _affine(12)],
        **k,
    ),
}  # fmt: skip
LARGE: dict[str, Make] = {
    "simple-convnet": lambda **k: its.SimpleConvNet(
        IMAGE, {"filter_num": 4, "filter_size": 5}, 12, 10, 0.2, rng=0, **k
    ),
    "deep-convnet": lambda **k: its.DeepConvNet(
        IMAGE, **{f"conv_param_{n}": {"filter_num": 7 + n} for n in range(1, 7)}, hidden_size=12,
        rng=0, **k,
    ),
    "pools without ReLU": lambda **k: _network(
        [_conv(1, 3), places.pool("AveragePool", 2, 2), its.Tanh(), _conv(3, 4, 2),
         places.pool("MaxPool", 2, 2), _affine(16)], **k,
    ),
    "strides and padding": lambda **k: _network(
        [_conv(1, 3, (4, 2), stride=2), its.Sigmoid(), _conv(3, 4, stride=2, pad=1, uneven="drop"),
         _affine(36)], **k,
    ),
    "batch norm of images": lambda **k: _network(
        [its.BatchNorm(1), _conv(1, 8), its.BatchNorm(8), its.ReLU(), places.pool("MaxPool", 2, 2),
         its.Dropout(0.2, rng=1), _affine(200)], **k,
    ),
    "a network in a network": lambda **k: _network(
        {
            "front": its.Sequential([_conv(1, 8), its.Sequential([its.ReLU(), _conv(8, 8)])]),
            "pool": places.pool("MaxPool", 2, 2),
            "back": its.Sequential([_affine(128, 12), its.Dropout(0.4, inverted=True, rng=1),
                                    _affine(12)]),
        },
        its.SoftmaxWithLoss(0.1), penalty=its.L1(0.001), **k,
    ),
}  # fmt: skip
NETWORKS = SMALL | LARGE
TARGETS: dict[str, Make] = {"regression": real, "sigmoid with loss": several}
"""The targets of those networks that learn no labels."""

OPTIMIZERS: dict[str, Make] = {
    "SGD": lambda: its.SGD(0.1),
    "Momentum": lambda: its.Momentum(0.02, 0.9),
    "Nesterov": lambda: its.Nesterov(0.02, 0.9),
    "AdaGrad": lambda: its.AdaGrad(0.03),
    "RMSprop": lambda: its.RMSprop(0.003),
    "Adam": lambda: its.Adam(0.003),
    "Adam, paper": lambda: its.Adam(0.003, form="paper"),
    "AdamW": lambda: its.AdamW(0.003, weight_decay=0.1),
}


# Kinds of cases


def _trainer(
    network: str | Make,
    batch_size: int = 20,
    *,
    optimizer: str = "Adam",
    dtype: str = "float32",
    epochs: int = EPOCHS,
    targets: Make | None = None,
    more: Callable[[], dict[str, Any]] = dict,
    **options: Any,
) -> Any:
    """A fresh trainer of one of the networks.

    Parameters
    ----------
    network : a name of NETWORKS, or what makes one of a dtype
    more : makes the options that are objects of xpnet
    """
    if isinstance(network, str):
        targets, network = targets or TARGETS.get(network), NETWORKS[network]
    x, t = images(SAMPLES[batch_size])
    x_test, t_test = images(TEST, seed=1)
    as_targets = targets or labels
    return places.trainer(
        network(dtype=dtype), x, as_targets(t), x_test, as_targets(t_test), epochs=epochs,
        mini_batch_size=batch_size, optimizer=OPTIMIZERS[optimizer](), **options, **more(),
    )  # fmt: skip


def _result(trainer: Any) -> Found:
    """List what a trainer has come to."""
    x = pixels(TEST, trainer.network.dtype)
    if np.prod(trainer.network.input_shape) > x[0].size:
        x = enlarged(x)
    weights, state = map(_copies, places.learned(trainer))
    accuracies = trainer.train_acc_list, trainer.test_acc_list
    means = [metrics.train_loss for metrics in trainer.history]
    return {
        "losses": [np.asarray(trainer.train_loss_list), np.asarray(means)],
        "weights": weights,
        "state": state,
        "scores": _copies([trainer.engine.predict(x), trainer.network.predict(x), *accuracies]),
    }


def _copies(arrays: Sequence[Any]) -> list[np.ndarray]:
    return [np.array(its.to_numpy(a) if hasattr(a, "shape") else a) for a in arrays]


def _ended(make: Callable[[], Any]) -> Found:
    """Train a fresh trainer to its end."""
    made = make()
    made.train()
    return _result(made)


def _trained(*arguments: Any, **options: Any) -> Found:
    """Train twenty steps."""
    return _ended(partial(_trainer, *arguments, **options))


class _Stopped(BaseException):
    """A training that was stopped; no error, and so caught by nobody who looks for errors."""


def _resumed(*arguments: Any, at: int, **options: Any) -> Found:
    """A training that is stopped at a step, and what a fresh trainer makes of the rest."""
    first, second = (_trainer(*arguments, **options) for _ in range(2))

    def stop() -> None:
        if first.steps >= at:
            raise _Stopped

    first.on_step = stop
    try:
        first.train()
    except _Stopped:
        pass
    else:
        raise AssertionError(f"the training was over before step {at}")
    arrays, state = places.saved(first)
    places.restore(second, state)
    second.train()
    found = _result(second)
    _assert_same(
        found, _trained(*arguments, **options), "the run that went on and the unbroken one"
    )
    return found | {"state": [*found["state"], *_copies(arrays)]}


def _assert_same(found: Found, want: Found, what: str) -> None:
    """Demand that things are the same to the bit within a side, too."""
    for group, arrays in want.items():
        got = [(a.dtype, a.shape, a.tobytes()) for a in map(np.asarray, found[group])]
        if got != [(a.dtype, a.shape, a.tobytes()) for a in map(np.asarray, arrays)]:
            raise AssertionError(f"{what} differ in their {group}")


def _passes(network: str, engine: str, threads: int, dtype: str) -> Found:
    """Loss, scores and gradient of single passes, and predictions of any number of samples."""
    net = NETWORKS[network](dtype=dtype)
    computing = its.get_engine(net, engine, threads)
    found: Found = {"losses": [], "gradients": [], "scores": []}
    for n in (7, 100, 103, 1, 7):
        if n == 1 and network in ("multi-layer-net-extend", "batch norm of images"):
            continue  # one value has no variance
        x, t = (images(n, seed=2)[0] / 255).astype(dtype), images(n, seed=2)[1]
        loss, scores, grads = computing.loss_and_gradient(x, TARGETS.get(network, labels)(t))
        found["losses"] += _copies([loss])
        found["gradients"] += _copies(list(grads.values()))
        found["scores"] += _copies([scores])
    for n in (1001, 1, 0) if engine == "auto" else (1001, 1):
        found["scores"] += _copies([computing.predict(pixels(n, dtype))])
    return found


# Functions


def _drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def _functions() -> Iterator[tuple[str, Case]]:
    def case(name: str, make: Callable[[], Sequence[Any]]) -> tuple[str, Case]:
        return f"functions/{name}", lambda: {"results": _copies(make())}

    kinds = ("float32", "float64")
    for name in (
        "identity_function", "log_softmax", "relu", "sigmoid", "softmax", "step_function", "tanh",
    ):  # fmt: skip
        yield case(
            name,
            lambda name=name: [getattr(its, name)((9 * _drawn(20, 10)).astype(k)) for k in kinds],
        )
    z, t = _drawn(20, 10), images(20)[1]
    for name in ("softmax_cross_entropy", "sigmoid_cross_entropy"):
        yield case(
            name, lambda name=name: [*getattr(its, name)(z, t), *getattr(its, name)(z, one_hot(t))]
        )
    yield case(
        "losses and one-hot rows",
        lambda: [
            its.mean_squared_error(z, one_hot(t)),
            its.cross_entropy_error(its.softmax(z), t),
            its.one_hot(t, 10, dtype=np.float32),
        ],
    )
    yield case(
        "im2col and col2im",
        lambda: [
            columns := its.im2col(_drawn(2, 3, 7, 8), 3, 2, stride=2, pad=1, uneven="drop"),
            its.col2im(columns, (2, 3, 7, 8), 3, 2, stride=2, pad=1, uneven="drop"),
        ],
    )
    yield case(
        "gradients by differences",
        lambda: [
            its.numerical_diff(lambda x: x**3, 2.0),
            its.numerical_gradient(lambda x: (x**3).sum(), _drawn(3, 4)),
            its.gradient_descent(lambda x: (x**2).sum(), _drawn(5), lr=0.1, step_num=20),
        ],
    )
    yield case("gates", lambda: [
        getattr(its, gate)(*inputs)
        for gate in ("AND", "NAND", "OR", "XOR")
        for inputs in ((0, 0), (0, 1), (1, 0), (1, 1))
    ])  # fmt: skip
    yield case("addition and multiplication", lambda: [
        number
        for kind in ("Add", "Mul")
        for z, backward in [getattr(its, kind)().forward(_drawn(3), _drawn(3, seed=1))]
        for number in (z, *backward(_drawn(3, seed=2))[0])
    ])  # fmt: skip
    yield case("the gradient check", lambda: list(
        its.gradient_check(
            its.TwoLayerNet(20, 5, 10, 0.3, rng=0, dtype="float64"), _drawn(3, 20), images(3)[1]
        ).values()
    ))  # fmt: skip
    for kind in kinds:
        grads = {f"W{n}": _drawn(3, n).astype(kind) for n in (1, 2, 3)}
        yield case(
            f"clipping, {kind}",
            lambda grads=grads: [
                a
                for function in ("clip_by_norm", "clip_by_value")
                for limit in (0.5, 100.0)
                for a in getattr(its, function)(grads, limit).values()
            ],
        )
    for name, schedule in SCHEDULES.items():
        yield case(f"schedule {name}", lambda s=schedule: [s()(step) for step in range(30)])
    for kind in kinds:
        for name, options in AUGMENTATIONS.items():
            yield case(
                f"augmentation, {name}, {kind}",
                lambda options=options, kind=kind: [
                    its.Augmentation(**options, seed=3)(pixels(20, kind), np.asarray([step]))
                    for step in (0, 7)
                ],
            )
    yield case("synthetic digits", lambda: its.synthetic_digits(1100, seed=3))
    yield case(
        "shuffling and holding out",
        lambda: [
            *its.shuffle_dataset(*images(69), 5),
            *(part for pair in its.hold_out(*images(69), 9) for part in pair),
        ],
    )
    yield case("an ensemble", lambda: [
        its.Ensemble([NETWORKS[name]() for name in ("two-layer-net", "simple-convnet")]).predict(
            pixels(9, "float32")
        )
    ])  # fmt: skip
    yield "functions/public names", lambda: {"names": sorted(places.public_names())}


# Options of training


SCHEDULES: dict[str, Make] = {
    "constant": lambda: its.Constant(0.05),
    "step decay": lambda: its.StepDecay(0.1, every=6, factor=0.5),
    "exponential decay": lambda: its.ExponentialDecay(0.1, every=5),
    "cosine": lambda: its.Cosine(0.1, steps=18, last=0.001),
    "warm up": lambda: its.WarmUp(its.Cosine(0.1, steps=20), steps=6),
    "one cycle": lambda: its.OneCycle(0.1, steps=20),
}
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "moved": {"rotate": 15, "shift": 2, "scale": 0.1},
    "bent": {"elastic": 1.4, "crop": 1},
    "mirrored": {"flip": True, "brightness": 0.2},
}


def _layers(make: Callable[[], Sequence[Any]], **options: Any) -> Make:
    """A network of those layers, with a fully connected one behind them."""

    def build(dtype: str) -> Any:
        layers = make()
        features = int(np.prod(its.Sequential(layers).output_shape(IMAGE)))
        made = {name: value() for name, value in options.items()}
        loss = made.pop("loss", None)
        return _network([*layers, _affine(features)], loss, dtype=dtype, **made)

    return build


OPTIONS: dict[str, Callable[..., Any]] = {
    **{
        f"batch norm, ddof {ddof}, {what}": partial(_trainer, _layers(layers))
        for ddof in (0, 1)
        for what, layers in {
            "of rows": lambda ddof=ddof: [_affine(144, 9), its.BatchNorm(9, ddof=ddof), its.ReLU()],
            "of images": lambda ddof=ddof: [
                _conv(1, 4), its.BatchNorm(4, ddof=ddof, momentum=0.8), its.ReLU(),
            ],
        }.items()
    },
    **{
        f"dropout, {'inverted' if inverted else 'plain'}, {ratio}": partial(
            _trainer,
            _layers(lambda inverted=inverted, ratio=ratio: [
                _affine(144, 30), its.ReLU(), its.Dropout(ratio, inverted=inverted, rng=2),
            ]),
        )
        for inverted in (False, True)
        for ratio in (0.5, 0.1)
    },
    **{
        f"penalty {kind}": partial(
            _trainer,
            _layers(
                lambda: [_affine(144, 9)],
                penalty=lambda kind=kind, strength=strength: getattr(its, kind)(strength),
            ),
        )
        for kind, strength in (("L1", 0.01), ("L2", 0.1))
    },
    **{
        f"constraint MaxNorm, {network}": partial(
            _trainer, network, more=lambda: {"constraint": its.MaxNorm(0.5)}
        )
        for network in ("multi-layer-net", "simple-convnet")
    },
    "clip_norm, short": partial(_trainer, "multi-layer-net", optimizer="SGD", clip_norm=0.1),
    "clip_norm, long": partial(_trainer, "multi-layer-net", optimizer="SGD", clip_norm=100.0),
    **{
        f"schedule {name}": partial(
            _trainer, "two-layer-net", optimizer="Momentum",
            more=lambda make=make: {"schedule": make()},
        )
        for name, make in SCHEDULES.items()
    },
    "label smoothing": partial(
        _trainer, _layers(lambda: [_affine(144, 9)], loss=lambda: its.SoftmaxWithLoss(0.1))
    ),
    **{
        f"max pool, ties {ties}": partial(
            _trainer,
            _layers(lambda ties=ties: [_conv(1, 3, 1), places.pool("MaxPool", 2, 2, ties=ties)]),
        )
        for ties in ("first", "all")
    },
    "max pool, uneven, padded": partial(
        _trainer,
        _layers(
            lambda: [
                _conv(1, 3, 2), places.pool("MaxPool", 3, 2, pad=1, uneven="drop"), its.Tanh(),
            ]
        ),
    ),
    "average pool, uneven, padded": partial(
        _trainer,
        _layers(
            lambda: [
                _conv(1, 3, 2), places.pool("AveragePool", 3, 2, pad=1, uneven="drop"), its.Tanh(),
            ]
        ),
    ),
    **{
        f"sampling {sampling}": partial(_trainer, "two-layer-net", sampling=sampling, seed=5)
        for sampling in ("shuffle", "choice")
    },
    "data not resident": partial(_trainer, "two-layer-net", resident=False),
    "rows of targets": partial(_trainer, "multi-layer-net", targets=one_hot),
    "accuracy of some samples": partial(
        _trainer, "two-layer-net", evaluate_sample_num_per_epoch=33
    ),
    **{
        f"augmentation, {name}": partial(
            _trainer, "simple-convnet",
            more=lambda kinds=kinds: {"augment": its.Augmentation(**kinds, seed=1)},
        )
        for name, kinds in AUGMENTATIONS.items()
    },
    "early stopping": partial(
        _trainer, "two-layer-net", epochs=20,
        more=lambda: {"early_stopping": its.EarlyStopping(2, 0.05)},
    ),
}  # fmt: skip

RESUMED: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"two-layer-net, {name}": ("two-layer-net", {"optimizer": name}) for name in OPTIMIZERS},
    "multi-layer-net-extend": ("multi-layer-net-extend", {}),
    "simple-convnet, augmented": (
        "simple-convnet",
        {"more": lambda: {"augment": its.Augmentation(rotate=15, elastic=1.4)}},
    ),
    "a network in a network": ("a network in a network", {"optimizer": "Nesterov"}),
    "choice and a schedule": (
        "multi-layer-net",
        {"sampling": "choice", "more": lambda: {"schedule": its.Cosine(0.1, steps=20)}},
    ),
    "clipped and constrained": (
        "multi-layer-net",
        {"clip_norm": 0.1, "more": lambda: {"constraint": its.MaxNorm(0.5)}},
    ),
    "data not resident": ("batch norm of images", {"resident": False}),
}


# The GPU's engine

PRECISIONS = {
    "float32": {}, "tf32": {"precision": "tf32"}, "bfloat16": {"precision": "bfloat16"},
    "float64": {"dtype": "float64"},
}  # fmt: skip
FULL_SIZE: dict[str, Make] = {
    "two-layer-net": lambda **k: its.TwoLayerNet(784, 50, 10, rng=0, **k),
    "simple-convnet": lambda **k: its.SimpleConvNet(rng=0, **k),
    "deep-convnet": lambda **k: its.DeepConvNet(rng=0, **k),
}


def _written(make: Callable[..., Any]) -> Found:
    """Sources, and launches by run, of steps: replayed or one by one, clipped or not."""
    sources: list[str] = []
    launches: list[str] = []
    for graph in (True, False):
        for clip_norm in (None, 1.0):
            driver = places.Noting()
            make(driver=driver, graph=graph, clip_norm=clip_norm).train()
            sources += [source for source in driver.sources if source not in sources]
            launches.append("\n".join(driver.launches))
    return {"sources": sources, "launches": launches}


def _full_size(network: str, n: int, *, dtype: str = "float32", **options: Any) -> Any:
    """A trainer of a network of the books, four steps an epoch, the last of which is smaller."""
    size = 4 * n - 1
    x, t = images(size)
    large = enlarged(x)
    return places.trainer(
        FULL_SIZE[network](dtype=dtype), large, t, large[:TEST], t[:TEST], epochs=1,
        mini_batch_size=n, optimizer=its.Adam(), evaluate_sample_num_per_epoch=1, **options,
    )  # fmt: skip


def _kernels() -> Path:
    """Find where a side keeps its kernels, once they are compiled."""
    return Path(os.environ["XPNET_COMPARE_KERNELS"])


def _on_stand_in(network: str, **options: Any) -> Found:
    """Take ten steps by the kernels, compiled for this processor."""
    directory = _kernels()
    found = _trained(network, 7, epochs=1, driver=places.stand_in(directory), **options)
    if options.get("dtype") == "float64":  # for the others it would only take long
        driver = places.stand_in(directory, backwards=True)
        other = _trained(network, 7, epochs=1, driver=driver, graph=False, **options)
        _assert_same(found, other, "replayed steps and steps one by one, backwards,")
    return found


def _resumed_on_stand_in() -> Found:
    """A training that is stopped between two replays of recorded steps."""
    driver = places.stand_in(_kernels())
    return _resumed("two-layer-net", 2, at=50, epochs=1, driver=driver)


STAND_IN: dict[str, tuple[str, dict[str, Any]]] = {
    "two-layer-net, SGD": ("two-layer-net", {"optimizer": "SGD"}),
    "two-layer-net, Adam, tf32": ("two-layer-net", PRECISIONS["tf32"]),
    "two-layer-net, AdamW, bfloat16": (
        "two-layer-net", {"optimizer": "AdamW"} | PRECISIONS["bfloat16"],
    ),
    "multi-layer-net, Momentum, clipped": (
        "multi-layer-net", {"optimizer": "Momentum", "clip_norm": 0.1},
    ),
    "multi-layer-net-extend, Adam, paper": (
        "multi-layer-net-extend", {"optimizer": "Adam, paper", "dtype": "float64"},
    ),
    "regression, Nesterov, clipped, float64": (
        "regression", {"optimizer": "Nesterov", "clip_norm": 0.1, "dtype": "float64"},
    ),
    "sigmoid with loss, AdaGrad": ("sigmoid with loss", {"optimizer": "AdaGrad"}),
    "simple-convnet, Adam, clipped": ("simple-convnet", {"clip_norm": 0.1}),
    "pools without ReLU, RMSprop, float64": (
        "pools without ReLU", {"optimizer": "RMSprop", "dtype": "float64"},
    ),
    "batch norm of images, SGD": ("batch norm of images", {"optimizer": "SGD"}),
    "a network in a network, Adam": ("a network in a network", {}),
}  # fmt: skip


# The command line


def _xpnet(*arguments: Any) -> str:
    """Run a command; it works in this directory. Return what it says."""
    ran = subprocess.run(
        [sys.executable, "-m", "xpnet", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        last = (ran.stderr.strip() or "nothing").splitlines()[-1]
        raise RuntimeError(f"`xpnet {arguments[0]}` ended with {ran.returncode}: {last}")
    return ran.stdout


def _run(directory: str) -> Found:
    """List what a run leaves."""
    place = Path(directory)
    lines = (place / "metrics.csv").read_text(encoding="utf-8").splitlines()[1:]
    summary = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    weights, names = places.weights_file(place / "model.safetensors")
    newest = max((place / "checkpoints").glob("step-*.safetensors"))
    return {
        "losses": [np.asarray([row.split(",")[:-1] for row in lines], dtype=np.float64)],
        "weights": weights,
        "state": places.weights_file(newest)[0],
        "scores": [np.asarray([summary["train_accuracy"], summary["test_accuracy"]])],
        "names": names,
    }


def _command_line(model: str, epochs: int, stopped_at: int, *more: Any) -> Found:
    """Train, go on with what a run that was stopped in an epoch has left, evaluate and predict."""
    from PIL import Image

    placement = ("--device", "cpu", "--threads", 2)
    options = (
        *placement, "--data", "synthetic", "--model", model, "--batch-size", 1030, "--epochs",
        epochs, "--evaluate-samples", 500, "--checkpoint-steps", 7, "--keep", 100, *more,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        before = Path.cwd()
        os.chdir(directory)
        try:
            _xpnet("train", *options, "--out", "whole")
            found = _run("whole")
            kept = Path("stopped/checkpoints")
            shutil.copytree("whole/checkpoints", kept)
            for path in kept.glob("step-*"):
                if int(path.stem.removeprefix("step-")) > stopped_at:
                    path.unlink()
            stopped, _ = places.weights_file(kept / f"step-{stopped_at:08d}.safetensors")
            _xpnet("train", *options, "--resume", "stopped")
            _assert_same(_run("stopped"), found, "the run that went on and the unbroken one")
            weights = "whole/model.safetensors"
            _xpnet("evaluate", "--weights", weights, *placement, "--data", "synthetic")
            accuracy = json.loads(Path("whole/evaluation.json").read_text(encoding="utf-8"))
            pictures = [f"{k}.png" for k in range(5)]
            for picture, x in zip(pictures, its.synthetic_digits(5, seed=0)[0], strict=True):
                Image.fromarray(x[0]).save(picture)
            said = _xpnet("predict", "--weights", weights, *placement, *pictures)
        finally:
            os.chdir(before)
    shares = [float(number) for number in re.findall(r"\d\.\d{3}", said)]
    found["state"] += stopped
    found["scores"] += [np.asarray(accuracy["test_accuracy"]), np.asarray(shares)]
    return found


# The table


def _all() -> Iterator[tuple[str, Case]]:
    """Names, of which the part before the first / is the section, and what to do."""
    optimizers = list(OPTIMIZERS)
    yield from _functions()
    for network in NETWORKS:
        for engine, threads, dtype in (
            ("reference", 1, "float64"), ("auto", 1, "float32"), ("auto", 2, "float32"),
        ):  # fmt: skip
            name = f"passes/{network}, {engine}, {threads} threads, {dtype}"
            yield name, partial(_passes, network, engine, threads, dtype)
    for network in NETWORKS:
        for optimizer in optimizers:
            for dtype in ("float32", "float64"):
                run = partial(_trained, network, optimizer=optimizer, dtype=dtype, threads=1)
                yield f"optimizers/{network}, {optimizer}, {dtype}", run
    for number, network in enumerate(NETWORKS):
        for engine in ("reference", "auto"):
            for threads in (1, 2):
                for dtype in ("float32", "float64"):
                    for batch_size in (7, 100, 103):
                        yield (
                            f"engines/{network}, {engine}, {threads} threads, {dtype}, "
                            f"batch {batch_size}",
                            partial(
                                _trained, network, batch_size, engine=engine, threads=threads,
                                dtype=dtype, optimizer=optimizers[number % len(optimizers)],
                            ),
                        )  # fmt: skip
    for network in FULL_SIZE:
        for threads in (1, 2):
            make = partial(_full_size, network, 25, threads=threads)
            yield f"engines/{network} at full size, auto, {threads} threads", partial(_ended, make)
    for name, make in OPTIONS.items():
        for engine in ("reference", "auto"):
            of_engine = partial(make, engine=engine, threads=1)
            yield f"options/{name}, {engine}", partial(_ended, of_engine)
    for name, (network, options) in RESUMED.items():
        for engine, at in (("reference", 3), ("auto", 14)):
            yield (
                f"resumed/{name}, {engine}, from step {at}",
                partial(_resumed, network, at=at, engine=engine, threads=2, **options),
            )
    for number, network in enumerate(NETWORKS):
        for precision, options in PRECISIONS.items():
            optimizer = optimizers[number % len(optimizers)]
            make = partial(_trainer, network, epochs=1, optimizer=optimizer, **options)
            yield f"CUDA sources/{network}, {precision}", partial(_written, make)
    for optimizer in optimizers:
        make = partial(_trainer, "two-layer-net", epochs=1, optimizer=optimizer)
        yield f"CUDA sources/two-layer-net, {optimizer}", partial(_written, make)
    for network in FULL_SIZE:
        for n in (10, 100, 1000):
            for precision, options in PRECISIONS.items():
                make = partial(_full_size, network, n, **options)
                yield (
                    f"CUDA sources/{network} at full size, batch {n}, {precision}",
                    partial(_written, make),
                )
    for name, (network, options) in STAND_IN.items():
        yield f"CUDA results/{name}", partial(_on_stand_in, network, **options)
    yield "CUDA results/two-layer-net, Adam, from step 50", _resumed_on_stand_in
    yield "command line/two-layer-net", partial(_command_line, "two-layer-net", 2, 27)
    yield (
        "command line/simple-convnet",
        partial(
            _command_line, "simple-convnet", 1, 14, "--hidden-size", 20, "--schedule", "cosine"
        ),
    )


CASES: dict[str, Case] = dict(_all())
