"""Networks."""

from xpnet.models.conv_nets import DeepConvNet, SimpleConvNet
from xpnet.models.multi_layer_net import MultiLayerNet, MultiLayerNetExtend
from xpnet.models.network import Network
from xpnet.models.saved import MODELS, build_network, load_network
from xpnet.models.two_layer_net import TwoLayerNet

__all__ = [
    "MODELS",
    "DeepConvNet",
    "MultiLayerNet",
    "MultiLayerNetExtend",
    "Network",
    "SimpleConvNet",
    "TwoLayerNet",
    "build_network",
    "load_network",
]
