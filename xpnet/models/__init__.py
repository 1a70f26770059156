"""Networks."""

from xpnet.models.alexnet import AlexNet
from xpnet.models.an import AnConvNet
from xpnet.models.conv_nets import DeepConvNet, SimpleConvNet
from xpnet.models.efficientnet import EfficientNetLite0
from xpnet.models.fcn import FCN
from xpnet.models.googlenet import GoogLeNet
from xpnet.models.lenet import LeNet
from xpnet.models.multi_layer_net import MultiLayerNet, MultiLayerNetExtend
from xpnet.models.network import Network
from xpnet.models.registry import MODELS, build_network
from xpnet.models.resnet import CifarResNet, ResNet
from xpnet.models.saved import load_network
from xpnet.models.segnet import SegNet
from xpnet.models.two_layer_net import TwoLayerNet
from xpnet.models.vgg import VGG

__all__ = [
    "FCN",
    "MODELS",
    "VGG",
    "AlexNet",
    "AnConvNet",
    "CifarResNet",
    "DeepConvNet",
    "EfficientNetLite0",
    "GoogLeNet",
    "LeNet",
    "MultiLayerNet",
    "MultiLayerNetExtend",
    "Network",
    "ResNet",
    "SegNet",
    "SimpleConvNet",
    "TwoLayerNet",
    "build_network",
    "load_network",
]
