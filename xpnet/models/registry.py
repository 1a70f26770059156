"""Networks by name, and how each is trained."""

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any, Literal, NamedTuple, TypeAlias

from xpnet.errors import ArgumentError
from xpnet.files.photographs import Photographs
from xpnet.functions.init import shapes_alone
from xpnet.layers import Shape
from xpnet.models.alexnet import AlexNet
from xpnet.models.an import AnConvNet
from xpnet.models.binary_nets import BinaryConvNet, BinaryMLP
from xpnet.models.captioner import Captioner
from xpnet.models.character import CharacterModel
from xpnet.models.conv_nets import DeepConvNet, SimpleConvNet
from xpnet.models.dcgan import DCGAN
from xpnet.models.dqn import DQN
from xpnet.models.efficientnet import EfficientNetLite0, imagenet_classes
from xpnet.models.faster_rcnn import FasterRCNN
from xpnet.models.fcn import FCN
from xpnet.models.googlenet import GoogLeNet
from xpnet.models.lenet import LeNet
from xpnet.models.multi_layer_net import MultiLayerNet, MultiLayerNetExtend
from xpnet.models.network import Network
from xpnet.models.own import is_own, own
from xpnet.models.rcnn import RCNN
from xpnet.models.resnet import CifarResNet, ResNet
from xpnet.models.segnet import SegNet
from xpnet.models.two_layer_net import TwoLayerNet
from xpnet.models.vgg import VGG
from xpnet.models.vocabulary import SCENE_WORDS

Task: TypeAlias = Literal["classify", "segment", "detect", "caption", "play", "write", "generate"]
"""What a network says of a picture: what it shows; what each pixel shows; what it shows where; the
same in a sentence; of what is seen in a game, what each action is worth; or of a text, how it goes
on. One that generates makes pictures itself."""


class Model(NamedTuple):
    """A kind of network, and how its book or paper trains it."""

    build: Callable[..., Any]
    """Makes a `Network`, or, where several work together, what has them by name as `networks`."""
    optimizer: str
    lr: float
    epochs: int
    images: Shape | None = None
    """The shape of the images that it is for; None if it is for such as it is given."""
    small: str = ""
    """The network to use for smaller images."""
    task: Task = "classify"
    batch_size: int = 100
    schedule: str = "constant"
    """Of the learning rate, by the name that `xpnet train --schedule` has for it."""

    def of(self, networks: Mapping[str, Network], **arguments: Any) -> Any:
        """What `build` makes of several networks that are there already, by its method `of`."""
        given = getattr(self.build, "keywords", {})
        return self.kind.of(networks, **(given | arguments))

    @property
    def kind(self) -> Any:
        """What `build` is, without the arguments that it has already."""
        return getattr(self.build, "func", self.build)


BOOK = {
    "two-layer-net": Model(TwoLayerNet, "sgd", 0.1, 17),
    "multi-layer-net": Model(MultiLayerNet, "sgd", 0.01, 20),
    "multi-layer-net-extend": Model(MultiLayerNetExtend, "sgd", 0.01, 20),
    "simple-convnet": Model(SimpleConvNet, "adam", 0.001, 20),
    "deep-convnet": Model(DeepConvNet, "adam", 0.001, 20),
}
"""The networks of Deep Learning from Scratch."""

SQUARE = (3, 224, 224)
"""The images of ImageNet as most networks see them."""

PUBLISHED = {
    "lenet": Model(LeNet, "adam", 0.002, 2),
    "lenet-modern": Model(LeNet.modern, "adam", 0.002, 2),
    "alexnet": Model(AlexNet, "momentum", 0.01, 90, (3, 227, 227), "alexnet-small"),
    "alexnet-torchvision": Model(
        partial(AlexNet, "torchvision"), "momentum", 0.01, 90, SQUARE, "alexnet-small"
    ),
    "alexnet-small": Model(AlexNet.small, "adam", 0.001, 1),
    **{
        f"vgg-{depth}{suffix}": Model(
            partial(VGG, depth, batch_norm=bool(suffix)), "momentum", 0.01, 74, SQUARE, "vgg-small"
        )
        for suffix in ("", "-bn")
        for depth in (11, 13, 16, 19)
    },
    "vgg-small": Model(VGG.small, "adam", 0.001, 1),
    "googlenet": Model(GoogLeNet, "momentum", 0.01, 90, SQUARE, "googlenet-small"),
    "googlenet-torchvision": Model(
        partial(GoogLeNet, batch_norm=True, five=3), "momentum", 0.01, 90, SQUARE, "googlenet-small"
    ),
    "googlenet-small": Model(GoogLeNet.small, "adam", 0.002, 1),
    **{
        f"resnet-{depth}": Model(partial(ResNet, depth), "momentum", 0.1, 90, SQUARE, "resnet-20")
        for depth in (18, 34, 50, 101, 152)
    },
    **{
        f"resnet-{depth}": Model(partial(CifarResNet, depth), "momentum", 0.1, 1)
        for depth in (20, 32, 44, 56, 110)
    },
    **{
        f"plain-{depth}": Model(partial(CifarResNet, depth, shortcut=None), "momentum", 0.1, 1)
        for depth in (20, 56)
    },
    **{
        f"an-{size}x{size}": Model(partial(AnConvNet, size), "adam", 0.001, 150)
        for size in (3, 5, 7)
    },
    "binary-mlp": Model(BinaryMLP, "adam", 0.002, 20),
    "binary-convnet": Model(BinaryConvNet, "adam", 0.002, 20),
    "efficientnet-lite0": Model(EfficientNetLite0, "momentum", 0.01, 90, SQUARE, "resnet-20"),
    **{
        name: Model(build, "adam", 0.002, 8, task="segment", batch_size=20)
        for name, build in (
            ("fcn", FCN.small),
            ("fcn-no-skips", partial(FCN.small, skips=False)),
            ("segnet", SegNet.small),
        )
    },
    **{
        f"fcn-{stride}s": Model(
            partial(FCN, stride), "momentum", 1e-4, 175, SQUARE, "fcn", "segment", 20
        )
        for stride in (32, 16, 8)
    },
    "r-cnn": Model(RCNN, "adam", 0.002, 5, task="detect"),
    "faster-rcnn": Model(
        FasterRCNN, "adam", 0.002, 5, task="detect", batch_size=20, schedule="drop"
    ),
    **{
        f"nic{'' if feed == 'every' else f'-{feed}'}": Model(
            partial(Captioner, feed=feed), "adam", 0.001, 18, task="caption", batch_size=32
        )
        for feed in ("every", "input", "state")
    },
    **{
        name: Model(DQN, "adam", 0.0005, 19, task="play", batch_size=32)
        for name in ("dqn", "double-dqn")
    },
    "character-model": Model(CharacterModel, "adam", 0.002, 10, task="write", batch_size=32),
    "dcgan": Model(DCGAN, "adam", 0.0002, 5, task="generate", batch_size=64),
    "segnet-vgg16": Model(SegNet, "momentum", 0.1, 100, (3, 360, 480), "segnet", "segment", 12),
}
"""Those of the papers. Where the paper's experiments are with other images,
those that are for images of any size are trained as in `scripts/deep_learning_from_scratch`."""

_HEADS = {
    f"{name}-heads": PUBLISHED[name]._replace(build=partial(PUBLISHED[name].build, auxiliary=True))
    for name in ("googlenet", "googlenet-torchvision", "googlenet-small")
}
"""With auxiliary heads while they train."""

MODELS = BOOK | PUBLISHED | _HEADS
"""All networks that have a name, which is the one of the command line and of runs."""

PRETRAINED: dict[str, Callable[..., Network]] = {
    "efficientnet-lite0": EfficientNetLite0.pretrained,
}
"""Those whose weights can be had with them, by name."""

CLASSES = (
    TwoLayerNet, MultiLayerNet, MultiLayerNetExtend, SimpleConvNet, DeepConvNet,
    LeNet, AlexNet, VGG, GoogLeNet, ResNet, CifarResNet,
    AnConvNet, BinaryMLP, BinaryConvNet, EfficientNetLite0, FCN, SegNet, RCNN, DQN,
)  # fmt: skip
"""Networks that are nothing but their layers, whatever made them."""

OFFERED = tuple(name for name in MODELS if not name.startswith("multi-layer"))
"""Those of the command line; the others have more to choose than options can say."""

DIGITS = (1, 28, 28)
"""The shape of the images of digits."""

PRINTABLE = "\n" + "".join(map(chr, range(32, 127)))
"""The characters of a text that is not there yet."""

USUAL: dict[Task, tuple[Shape, int]] = {
    "classify": (DIGITS, 10),
    "segment": ((3, 48, 64), 6),
    "detect": ((1, 64, 64), 10),
    "caption": ((3, 32, 32), len(SCENE_WORDS)),
    "play": ((4, 10, 10), 3),
    "generate": (DIGITS, 10),
}
"""The shape of images, and the number of classes or actions, of what networks are trained on; but
for texts, which are the user's."""


def photographs_of(model: str) -> Photographs | None:
    """How torchvision reads photographs for a network of this name; None if that is for others."""
    if model in PRETRAINED or is_own(model):
        return None
    kind = find_model(model)
    if kind.images != SQUARE or kind.task != "classify":
        return None
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    return Photographs(SQUARE[-1], mean, std, crop=0.875, classes=imagenet_classes())


def find_model(name: str) -> Model:
    """The network of this name, or of a user's function.

    Raises
    ------
    ArgumentError
        There is none.
    """
    if name in MODELS:
        return MODELS[name]
    if is_own(name):
        return Model(own(name), "adam", 0.001, 20)
    raise ArgumentError(
        f"model {name!r} is unknown; use {', '.join(MODELS)}, or module:function of your own"
    )


def build_network(model: str, arguments: Mapping[str, Any], **placement: Any) -> Network:
    """A fresh network, from arguments that its file keeps and from rng, device and dtype.

    Raises
    ------
    ArgumentError
        There is no such network, or it is several that work together.
    """
    found = find_model(model).build(**arguments, **placement)
    if hasattr(found, "networks"):
        raise ArgumentError(
            f"{model} is several networks, {', '.join(found.networks)}; one is needed here"
        )
    network: Network = found
    return network


def networks_of(model: Any) -> dict[str, Network]:
    """The networks of what a `Model` builds, by name; one alone is called "network"."""
    return dict(getattr(model, "networks", {"network": model}))


def model_arguments(
    model: str,
    image: Shape,
    hidden_size: int | None = None,
    activation: str | None = None,
    *,
    classes: int = 10,
    characters: str | None = None,
) -> dict[str, Any]:
    """Tell what a network for so many classes of images, or for these characters, is built from.

    Raises
    ------
    ArgumentError
        It is for other images; or it has no such size or activation to choose.
    """
    if model == "two-layer-net":
        return {
            "input_size": prod(image),
            "hidden_size": 50 if hidden_size is None else hidden_size,
            "output_size": classes,
            "activation": activation or "relu",
        }
    if activation is not None:
        uses = "uses ReLU" if model in BOOK else "has activations of its own"
        raise ArgumentError(f"{model} {uses}; --activation is for two-layer-net")
    if not is_own(model) and find_model(model).task == "write":
        hidden = {} if hidden_size is None else {"hidden_size": hidden_size}
        return {"characters": PRINTABLE if characters is None else characters} | hidden
    if model in BOOK:
        hidden = {} if hidden_size is None else {"hidden_size": hidden_size}
        return {"input_dim": list(image), "output_size": classes} | hidden
    if hidden_size is not None:
        raise ArgumentError(f"{model} has layers of given sizes; leave out --hidden-size")
    if is_own(model) or (found := find_model(model)).images is None:
        # Words of captions are those of scenes.
        named = {"play": "actions", "generate": "", "caption": ""}
        choices = "classes" if is_own(model) else named.get(found.task, "classes")
        return {"input_shape": list(image)} | ({choices: classes} if choices else {})
    if found.images != image:
        raise ArgumentError(
            f"{model} is for images of {_by(found.images)}, and these are {_by(image)}; use "
            f"{found.small}"
        )
    return {}


def outline(
    model: str,
    image: Shape | None = None,
    hidden_size: int | None = None,
    activation: str | None = None,
) -> Network:
    """A network for its names, shapes and counts; no weights are drawn or laid out.

    Parameters
    ----------
    image : the shape of an image; that of the network's own, or the usual one, if None
    hidden_size, activation : as in `model_arguments`
    """
    with shapes_alone():
        return build_network(model, _arguments(model, image, hidden_size, activation), rng=0)


def outlines(
    model: str,
    image: Shape | None = None,
    hidden_size: int | None = None,
    activation: str | None = None,
) -> dict[str, Network]:
    """As `outline`, by name, also of several networks that work together."""
    arguments = _arguments(model, image, hidden_size, activation)
    with shapes_alone():
        return networks_of(find_model(model).build(**arguments, rng=0))


def _arguments(
    model: str, image: Shape | None, hidden_size: int | None, activation: str | None
) -> dict[str, Any]:
    """Arguments for images of a shape, also where a network is for others by itself."""
    images, usual, classes = usual_of(model)
    found = model_arguments(
        model, images or image or usual, hidden_size, activation, classes=classes
    )
    return found if images is None or image is None else {"input_shape": image}


def usual_of(model: str) -> tuple[Shape | None, Shape, int]:
    """The images that a network is for by itself, or those of its task, and its task's classes."""
    if is_own(model):
        return None, *USUAL["classify"]
    kind = find_model(model)
    if kind.task == "write":
        return None, (), len(PRINTABLE)
    return kind.images, *USUAL[kind.task]


def _by(shape: Shape) -> str:
    return " x ".join(map(str, shape))
