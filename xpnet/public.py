"""All public names, from where they are."""

# mypy: implicit-reexport

from xpnet.arrays import Device, array_namespace, get_device, to_numpy
from xpnet.data import (
    Batches,
    CaptionScenes,
    Dataset,
    Scenes,
    caption_scene,
    caption_scenes,
    digit_scene,
    digit_scenes,
    hold_out,
    load_dataset,
    load_mnist,
    road_scene,
    road_scenes,
    shuffle_dataset,
    synthetic_digits,
)
from xpnet.data.augment import Augmentation
from xpnet.data.replay import Replay
from xpnet.errors import XPNetError
from xpnet.files.photographs import Photographs
from xpnet.functions.activations import (
    identity_function,
    log_softmax,
    relu,
    sigmoid,
    softmax,
    step_function,
    tanh,
)
from xpnet.functions.boxes import anchors, iou, nms
from xpnet.functions.gradients import gradient_descent, numerical_diff, numerical_gradient
from xpnet.functions.im2col import col2im, conv_output_size, im2col
from xpnet.functions.losses import (
    cross_entropy_error,
    mean_squared_error,
    one_hot,
    sigmoid_cross_entropy,
    smooth_l1,
    softmax_cross_entropy,
)
from xpnet.functions.perceptron import AND, NAND, OR, XOR, perceptron
from xpnet.functions.pooling import max_pool, unpool
from xpnet.functions.rois import roi_align, roi_pool
from xpnet.functions.rounding import rounded
from xpnet.functions.style import gram_matrix
from xpnet.games import Catch, Dodge, Game, Gym
from xpnet.layers import (
    GRU,
    LRN,
    LSTM,
    RNN,
    Add,
    Affine,
    AuxiliaryHeads,
    AveragePool,
    BatchNorm,
    BinaryAffine,
    BinaryConvolution,
    Concatenate,
    Convolution,
    Dropout,
    Embedding,
    GlobalAveragePool,
    Heads,
    HeadsWithLoss,
    Identity,
    IdentityWithLoss,
    LeakyReLU,
    MaxPool,
    Mul,
    PadShortcut,
    ReLU,
    ReLU6,
    Rescale,
    Residual,
    ScaledTanh,
    Sequential,
    Sigmoid,
    SigmoidWithLoss,
    Sign,
    SoftmaxWithLoss,
    StepsLast,
    Subsampling,
    Sum,
    Tanh,
    TimeAffine,
    TransposedConvolution,
    Unflatten,
    Unpooled,
)
from xpnet.models import (
    FCN,
    VGG,
    AlexNet,
    AnConvNet,
    CifarResNet,
    DeepConvNet,
    EfficientNetLite0,
    GoogLeNet,
    LeNet,
    MultiLayerNet,
    MultiLayerNetExtend,
    Network,
    ResNet,
    SegNet,
    SimpleConvNet,
    TwoLayerNet,
    load_network,
)
from xpnet.models.binary_nets import BinaryConvNet, BinaryMLP
from xpnet.models.captioner import Captioner
from xpnet.models.dcgan import DCGAN
from xpnet.models.detections import Detections, Objects
from xpnet.models.dqn import DQN
from xpnet.models.ensemble import Ensemble
from xpnet.models.faster_rcnn import FasterRCNN
from xpnet.models.fcn import as_convolution
from xpnet.models.folding import fold_batch_norm
from xpnet.models.half import half_precision
from xpnet.models.packed import PackedNetwork
from xpnet.models.rcnn import RCNN
from xpnet.models.taps import StyleLayers, Taps, random_features
from xpnet.models.torch_names import load_torch, save_torch
from xpnet.optim import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, RMSprop
from xpnet.optim.loss_scale import LossScale
from xpnet.optim.penalties import L1, L2, HalfStorage, MaxNorm
from xpnet.report.captions import CaptionScores
from xpnet.report.detection import DetectionScores, average_precision
from xpnet.report.metrics import (
    R2,
    Accuracy,
    BinaryAccuracy,
    MeanAbsoluteError,
    MeanLoss,
    MeanSquaredError,
    Metric,
)
from xpnet.report.segmentation import (
    FrequencyWeightedIoU,
    MeanClassAccuracy,
    MeanIoU,
    PixelAccuracy,
    median_frequency_weights,
)
from xpnet.testing import gradient_check
from xpnet.train import Callback, EarlyStopping, Learner, Supervised, Trainer
from xpnet.train.deep_q import DeepQ
from xpnet.train.saved import load_model
from xpnet.train.style import StyleTransfer, paint
