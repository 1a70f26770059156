"""Every public constructor and function refuses arguments of other kinds than it says.

Which those are is read from the signatures, so that what is new is looked at, too.
"""

import inspect
import types
from collections.abc import Callable
from typing import Literal, Union, get_args, get_origin

import numpy as np
import pytest

import xpnet
from xpnet import SGD, Affine, Batches, Network, ReLU, SoftmaxWithLoss, Trainer, TwoLayerNet
from xpnet.arguments import checked
from xpnet.books import nielsen, saitoh, wakui
from xpnet.engine import get_engine
from xpnet.errors import ArgumentError
from xpnet.functions.im2col import conv_output_size
from xpnet.optim import Optimizer, schedules
from xpnet.optim.clipping import clip_by_norm, clip_by_value
from xpnet.optim.penalties import L2, MaxNorm
from xpnet.report.evaluate import confusion, predictions
from xpnet.train.saved import load_model

X, T = np.zeros((6, 4), "float32"), np.array([0, 1, 0, 1, 0, 1])
IMAGES = np.zeros((2, 1, 8, 8), "float32")


def net():
    return TwoLayerNet(4, 3, 2, rng=0)


OTHERS = {
    "get_engine": get_engine, "clip_by_norm": clip_by_norm, "clip_by_value": clip_by_value,
    "Optimizer": Optimizer, "predictions": predictions, "confusion": confusion,
    "nielsen.Network": nielsen.Network, "wakui.train": wakui.train,
    **{f"saitoh.{name}": getattr(saitoh, name) for name in ("Adam", "Momentum", "Dropout")},
    **{name: getattr(schedules, name) for name in (
        "Constant", "StepDecay", "Drop", "ExponentialDecay", "Cosine", "WarmUp", "OneCycle")},
}  # fmt: skip
NEEDED = {
    "Affine": lambda: {"n_in": 4, "n_out": 3},
    "Convolution": lambda: {"channels": 1, "filters": 2, "filter_size": 3},
    "TransposedConvolution": lambda: {"channels": 1, "filters": 2, "filter_size": 3},
    "BinaryAffine": lambda: {"n_in": 4, "n_out": 3},
    "BinaryConvolution": lambda: {"channels": 1, "filters": 2, "filter_size": 3},
    "TimeAffine": lambda: {"n_in": 4, "n_out": 3},
    "Embedding": lambda: {"n_words": 4, "n_out": 3},
    "RNN": lambda: {"n_in": 4, "n_hidden": 3},
    "LSTM": lambda: {"n_in": 4, "n_hidden": 3},
    "GRU": lambda: {"n_in": 4, "n_hidden": 3},
    "Rescale": lambda: {"scale": 2.0, "shift": -1.0},
    "half_precision": lambda: {"network": net()},
    "rounded": lambda: {"x": X},
    "as_convolution": lambda: {"affine": Affine(4, 3), "shape": (1, 2, 2)},
    "MaxPool": lambda: {"window": 2},
    "AveragePool": lambda: {"window": 2},
    "BatchNorm": lambda: {"features": 3},
    "Subsampling": lambda: {"channels": 2},
    "Photographs": lambda: {"size": 8, "mean": 127, "std": 128},
    "PadShortcut": lambda: {"stride": 1, "channels": 2},
    "Residual": lambda: {"layers": [ReLU()]},
    "Sum": lambda: {"branches": [ReLU(), ReLU()]},
    "Concatenate": lambda: {"branches": [ReLU(), ReLU()]},
    "Unpooled": lambda: {"layers": [ReLU()]},
    "L1": lambda: {"strength": 0.1},
    "L2": lambda: {"strength": 0.1},
    "MaxNorm": lambda: {"limit": 1.0},
    "HeadsWithLoss": lambda: {"losses": {"a": SoftmaxWithLoss()}},
    "MeanLoss": lambda: {"loss": SoftmaxWithLoss()},
    "TwoLayerNet": lambda: {"input_size": 4, "hidden_size": 3, "output_size": 2},
    "MultiLayerNet": lambda: {"input_size": 4, "hidden_size_list": [3], "output_size": 2},
    "MultiLayerNetExtend": lambda: {"input_size": 4, "hidden_size_list": [3], "output_size": 2},
    "SimpleConvNet": lambda: {"input_dim": (1, 12, 12)},
    "DeepConvNet": lambda: {"input_dim": (1, 12, 12)},
    "Network": lambda: {"layers": [Affine(4, 2)]},
    "cross_entropy_error": lambda: {"y": np.eye(2), "t": np.eye(2)},
    "numerical_gradient": lambda: {"f": np.sum, "x": np.ones(2)},
    "Batches": lambda: {"x": X, "t": T, "batch_size": 3},
    "hold_out": lambda: {"x": X, "t": T, "count": 2},
    "shuffle_dataset": lambda: {"x": X, "t": T},
    "synthetic_digits": lambda: {"n": 3},
    "load_dataset": lambda: {"name": "synthetic", "train_size": 10, "test_size": 5},
    "digit_scene": lambda: {
        "images": np.zeros((2, 28, 28), np.uint8),
        "labels": T[:2],
        "seed": 0,
        "i": 0,
    },
    "road_scene": lambda: {"seed": 0, "i": 0},
    "caption_scene": lambda: {"seed": 0, "i": 0},
    "EarlyStopping": lambda: {"patience": 3},
    "Gym": lambda: {"make": "CartPole-v1"},
    "Replay": lambda: {"rows": 10, "shape": (1, 10, 10)},
    "DeepQ": lambda: {"network": xpnet.DQN(rng=0), "game": xpnet.Catch()},
    "Supervised": lambda: {"network": net(), "source": Batches(X, T, 3)},
    "Trainer": lambda: {"network": net(), "x_train": X, "t_train": T},
    "Constant": lambda: {"lr": 0.1},
    "StepDecay": lambda: {"lr": 0.1, "every": 2},
    "Drop": lambda: {"lr": 0.1, "steps": 2},
    "ExponentialDecay": lambda: {"lr": 0.1, "every": 2},
    "Cosine": lambda: {"lr": 0.1, "steps": 3},
    "WarmUp": lambda: {"then": schedules.Constant(0.1), "steps": 2},
    "OneCycle": lambda: {"lr": 0.1, "steps": 30},
    "clip_by_norm": lambda: {"grads": {"a": np.ones(2)}, "limit": 1.0},
    "clip_by_value": lambda: {"grads": {"a": np.ones(2)}, "limit": 1.0},
    "get_engine": lambda: {"network": net()},
    "predictions": lambda: {"network": net(), "x": X},
    "confusion": lambda: {"labels": T, "predictions": T},
    "median_frequency_weights": lambda: {"labels": np.zeros((1, 2, 2), int), "n_classes": 2},
    "gradient_descent": lambda: {"f": lambda x: np.sum(x**2), "init_x": np.ones(2)},
    "im2col": lambda: {"input_data": IMAGES, "filter_h": 3, "filter_w": 3},
    "anchors": lambda: {
        "height": 2,
        "width": 3,
        "stride": 4,
        "sizes": (8,),
        "ratios": (1,),
    },
    "max_pool": lambda: {"x": IMAGES, "window": 2},
    "StyleTransfer": lambda: {
        "network": xpnet.random_features((3, 8, 8), rng=0),
        "content": np.full((3, 8, 8), 0.5),
        "style": np.ones((3, 8, 8)),
    },
    "paint": lambda: {"transfer": xpnet.StyleTransfer(**NEEDED["StyleTransfer"]())},
    "DetectionScores": lambda: {"classes": 3},
    "average_precision": lambda: {"precision": [1.0], "recall": [1.0]},
    "nms": lambda: {
        "boxes": np.zeros((2, 4)),
        "scores": np.zeros(2),
        "threshold": 0.5,
        "limit": 2,
    },
    "roi_align": lambda: {"x": IMAGES, "rois": np.zeros((1, 5)), "size": 2, "scale": 0.5},
    "roi_pool": lambda: {"x": IMAGES, "rois": np.zeros((1, 5)), "size": 2, "scale": 0.5},
    "smooth_l1": lambda: {"x": X},
    "conv_output_size": lambda: {"input_size": 8, "filter_size": 3},
    "nielsen.Network": lambda: {"sizes": [2, 3, 2]},
    "wakui.train": lambda: {"net": net(), "x": X, "t": T},
}
NOT_WALKED = {
    "AND", "NAND", "OR", "XOR",  # x1 and x2, which may be arrays
    "numerical_diff",  # at x, which may be one
    "col2im",  # asks the same as im2col, of the image's size
    "load_mnist", "load_model", "load_network", "load_torch", "save_torch",  # of files
    "Dataset", "Scenes", "CaptionScenes", "Device", "EpochMetrics", "Learner", "Callback",
    "Ensemble", "gradient_check", "XPNetError", "iou", "unpool", "one_hot", "perceptron",
    "StyleLayers", "Taps", "gram_matrix",
}  # fmt: skip
NOT_A_NUMBER = ["3", None, [1], 1j, b"3", np.array([1, 2]), SGD]


def wrong(name, annotation):
    """Values that an annotation does not admit; nothing of one that is not looked at."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (
        annotation,)  # fmt: skip
    plain = {bool, int, float, str, types.NoneType, np.random.Generator}
    if not all(kind in plain or get_origin(kind) in (Literal, Callable) for kind in kinds):
        return []
    found = [each for each in NOT_A_NUMBER if each is not None or types.NoneType not in kinds]
    if str in kinds:
        found = [each for each in found if not isinstance(each, str)]
    if any(get_origin(kind) is Literal for kind in kinds) or str in kinds:
        found += [3] if int not in kinds and float not in kinds else []
    if any(get_origin(kind) is Literal for kind in kinds):
        found.append("dropp")
    if int in kinds or float in kinds:
        found.append(True)
    if int in kinds and float not in kinds:
        found += [2.5, float("nan"), float("inf")]
    if bool in kinds:
        found = [each for each in found if each is not True] + ["False", 2, 0.0]
    if name in ("seed", "rng"):
        found = [-1, *found]
    return found


def public():
    named = {name: getattr(xpnet, name) for name in xpnet.__all__ if name not in NOT_WALKED}
    for name, what in (named | OTHERS).items():
        try:
            parameters = inspect.signature(what).parameters
        except ValueError:  # of an exception
            continue
        for parameter in parameters.values():
            several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if not several and wrong(parameter.name, parameter.annotation):
                yield pytest.param(name, what, parameter, id=f"{name}-{parameter.name}")


@pytest.mark.parametrize(("name", "what", "parameter"), list(public()))
def test_other_kinds_are_refused(name, what, parameter):
    needed = NEEDED.get(name, dict)()
    for value in wrong(parameter.name, parameter.annotation):
        with pytest.raises(ArgumentError) as told:
            what(**needed | {parameter.name: value})
        shown = getattr(value, "__name__", None) or f"{value!r}"
        assert shown in str(told.value) or isinstance(value, np.ndarray), str(told.value)


def test_enough_is_looked_at():
    walked = [found.id for found in public()]
    assert len(walked) > 150
    for one in ("Convolution-uneven", "MaxPool-ties", "Adam-form", "Trainer-sampling", "Adam-lr"):
        assert one in walked


TWO, THREE = "'error' or 'drop'", "'error', 'drop' or 'ceil'"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda uneven: xpnet.MaxPool(2, uneven=uneven), THREE),
        (lambda uneven: xpnet.AveragePool(2, uneven=uneven), TWO),
        (lambda uneven: xpnet.Convolution(1, 1, 3, uneven=uneven), TWO),
        (lambda uneven: conv_output_size(8, 3, uneven=uneven), THREE),
        (lambda uneven: xpnet.im2col(IMAGES, 3, 3, uneven=uneven), TWO),
        (lambda uneven: xpnet.col2im(np.zeros((72, 9)), IMAGES.shape, 3, 3, uneven=uneven), TWO),
    ],
)
def test_what_to_do_with_the_rest_is_one_of_a_few_words(make, words):
    for word in ("error", "drop", *(["ceil"] if words == THREE else [])):
        make(word)
    for word in ("dropp", *([] if words == THREE else ["ceil"])):
        with pytest.raises(ArgumentError, match=f"uneven must be {words}, got '{word}'"):
            make(word)


@pytest.mark.parametrize(
    "make",
    [
        lambda **given: xpnet.MaxPool(3, **given),
        lambda **given: xpnet.AveragePool(3, **given),
        lambda **given: xpnet.Convolution(1, 1, 3, **given),
        lambda **given: xpnet.im2col(IMAGES, 3, 3, **given),
    ],
)
@pytest.mark.parametrize("name", ["stride", "pad"])
def test_steps_and_padding_are_whole_numbers_one_or_several(make, name):
    make(**{name: np.int64(1)})
    make(**{name: [1, 1]})
    make(**{name: np.array([1, 1])})
    for value in (
        "3", None, 1j, True, 2.5, float("nan"), (1,), (1, 1, 1), (1, 1.0), (1, "1"), (1, True),
        (1, None), np.array(1.0), np.ones(2), {}, SGD,
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=f"{name} of .* must be a whole number, such as 3"):
            make(**{name: value})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Network([Affine(4, 2)], penalty=L2), "penalty must have value"),
        (lambda: Network([Affine(4, 2)], SoftmaxWithLoss), r"loss must have forward\(x, t\)"),
        (
            lambda: Network([Affine]),
            r"must have forward\(x, train=\.\.\.\), .* got the class Affine",
        ),
        (
            lambda: trainer(constraint=MaxNorm),
            r"constraint .* apply, .*class MaxNorm; give MaxNorm",
        ),
        (
            lambda: trainer(schedule=schedules.Cosine),
            r"schedule of Trainer must be a function, got ",
        ),
        (lambda: trainer(schedule=0.1), r"schedule of Trainer must be a function, got 0\.1"),
        (lambda: trainer(augment=xpnet.Augmentation), "augment of Trainer must be a function, got"),
        (lambda: trainer(optimizer=SGD), r"got <class .*SGD'>; give 'sgd' or SGD\(lr=0\.01\)"),
        (
            lambda: setattr(trainer(), "optimizer", SGD),
            "an optimizer is a name or an instance of Optimizer, got",
        ),
        (
            lambda: trainer(optimizer=None),
            "an optimizer is a name or an instance of Optimizer, got",
        ),
        (
            lambda: trainer(optimizer_param={"learning_rate": 0.1}),
            "has no argument 'learning_rate'",
        ),
        (
            lambda: trainer(optimizer_param={"lr": "0.1"}),
            r"lr of SGD must be a number, .* got '0\.1'",
        ),
        (lambda: trainer(optimizer=SGD(0.1), optimizer_param={"lr": 0.1}), "has its own; leave it"),
        (
            lambda: trainer(mini_batch_size=100.0),
            "mini_batch_size of Trainer must be a whole number",
        ),
        (lambda: Trainer(5, X, T), "network of Trainer must be a Network, got 5"),
        (lambda: xpnet.BatchNorm(3, eps=float("inf")), "a positive eps"),
        (
            lambda: schedules.Cosine(0.1, 5, float("nan")),
            "last rate of Cosine must be from 0 on, got",
        ),
        (lambda: schedules.Cosine(0.1, 5, -1), "last rate of Cosine must be from 0 on, got -1"),
        (lambda: xpnet.EarlyStopping(2.5), "needs a patience of at least 1 epoch"),
        (lambda: xpnet.EarlyStopping(3, float("inf")), "and a min_delta of 0 or more"),
        (lambda: xpnet.MultiLayerNet(4, b"x", 2), "hidden_size_list must be whole numbers, such"),
        (
            lambda: xpnet.MaxPool(True),
            "window of MaxPool must be a whole number, or two for height",
        ),
        (lambda: xpnet.Ensemble("ab"), "an ensemble is of networks, got 'a'"),
        (
            lambda: xpnet.load_network("none", activation="zzz"),
            "must be 'relu', 'sigmoid' or 'tanh'",
        ),
        (lambda: load_model("none", activation="zzz"), "activation must be 'relu', 'sigmoid' or"),
        (lambda: net().scale_rate(True), "must be a positive number, got True"),
        (lambda: net().accuracy(X, T, 2.5), "batch_size of accuracy must be a whole number"),
        (lambda: Network([Affine(4, 2)], input_shape=0), "input_shape must be whole numbers, such"),
        (lambda: Batches(X, T, 3, dtype="zzz"), "dtype 'zzz' is not one of"),
        (lambda: clip_by_norm(None, 1.0), "gradients by their names are needed, got NoneType"),
    ],
)
def test_misuse_is_told(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize("call", [xpnet.hold_out, xpnet.shuffle_dataset])
def test_a_number_is_no_samples(call):
    more = {"count": 1} if call is xpnet.hold_out else {}
    for x, t in ((3, T), (X, 3)):
        with pytest.raises(ArgumentError, match="are needed, got a number"):
            call(x, t, **more)
    with pytest.raises(ArgumentError, match="are needed, got a number"):
        predictions(net(), 3.0)


@pytest.mark.parametrize("sizes", [{"train_size": 10**30}, {"test_size": 10**30}])
def test_more_images_than_any_memory_holds_are_not_begun(sizes):
    with pytest.raises(ArgumentError, match="at most 10000000 images are drawn, got n=1000"):
        xpnet.load_dataset("synthetic", **{"train_size": 1, "test_size": 1} | sizes)


def trainer(**options):
    return Trainer(net(), X, T, **options)


def test_kinds_of_numpy_will_do():
    xpnet.Affine(
        np.int64(2), np.uint8(3), std=np.float32(0.1), bias=np.bool_(False), rng=np.int8(3)
    )
    xpnet.Adam(np.float64(0.1), 0, np.float32(0.5))
    xpnet.Affine(2, 2, bias=0)


def test_what_python_tells_better_python_tells():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'n_out'"):
        xpnet.Affine(3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'n_outs'"):
        xpnet.Affine(3, n_outs=3)


def test_a_function_stays_what_it_says():
    @checked
    def f(x, n: int = 3, *more: int, how: "str" = "a") -> int:
        """Text."""
        return n

    assert (f(None), f(None, 4, "x"), f(None, n=5, how=3)) == (3, 4, 5)
    assert (f.__name__, f.__doc__, list(inspect.signature(f).parameters)) == (
        "f", "Text.", ["x", "n", "more", "how"],
    )  # fmt: skip
    with pytest.raises(ArgumentError, match="n of f must be a whole number, such as 3, got 'x'"):
        f(None, "x")
