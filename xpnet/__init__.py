"""Neural networks from scratch on the Python array API: the same lines on NumPy and CuPy.

The public names. They are imported when the first one is asked for, so that the command line can
listen to Ctrl-C before; that needs NumPy and array-api-compat only.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xpnet.public import *

__version__ = "0.1.0"

__all__ = [
    "AND",
    "FCN",
    "L1",
    "L2",
    "LRN",
    "NAND",
    "OR",
    "R2",
    "RCNN",
    "SGD",
    "VGG",
    "XOR",
    "Accuracy",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Add",
    "Affine",
    "AlexNet",
    "AnConvNet",
    "Augmentation",
    "AuxiliaryHeads",
    "AveragePool",
    "BatchNorm",
    "Batches",
    "BinaryAccuracy",
    "BinaryAffine",
    "BinaryConvNet",
    "BinaryConvolution",
    "BinaryMLP",
    "Callback",
    "CifarResNet",
    "Concatenate",
    "Convolution",
    "Dataset",
    "DeepConvNet",
    "DetectionScores",
    "Detections",
    "Device",
    "Dropout",
    "EarlyStopping",
    "EfficientNetLite0",
    "Ensemble",
    "FasterRCNN",
    "GlobalAveragePool",
    "GoogLeNet",
    "HalfStorage",
    "Heads",
    "HeadsWithLoss",
    "Identity",
    "IdentityWithLoss",
    "LeNet",
    "Learner",
    "LossScale",
    "MaxNorm",
    "MaxPool",
    "MeanAbsoluteError",
    "MeanLoss",
    "MeanSquaredError",
    "Metric",
    "Momentum",
    "Mul",
    "MultiLayerNet",
    "MultiLayerNetExtend",
    "Nesterov",
    "Network",
    "Objects",
    "PackedNetwork",
    "PadShortcut",
    "Photographs",
    "RMSprop",
    "ReLU",
    "ReLU6",
    "ResNet",
    "Rescale",
    "Residual",
    "ScaledTanh",
    "Scenes",
    "SegNet",
    "Sequential",
    "Sigmoid",
    "SigmoidWithLoss",
    "Sign",
    "SimpleConvNet",
    "SoftmaxWithLoss",
    "Subsampling",
    "Sum",
    "Supervised",
    "Tanh",
    "Trainer",
    "TransposedConvolution",
    "TwoLayerNet",
    "Unpooled",
    "XPNetError",
    "anchors",
    "array_namespace",
    "as_convolution",
    "average_precision",
    "col2im",
    "conv_output_size",
    "cross_entropy_error",
    "digit_scene",
    "digit_scenes",
    "fold_batch_norm",
    "get_device",
    "gradient_check",
    "gradient_descent",
    "half_precision",
    "hold_out",
    "identity_function",
    "im2col",
    "iou",
    "load_dataset",
    "load_mnist",
    "load_model",
    "load_network",
    "load_torch",
    "log_softmax",
    "max_pool",
    "mean_squared_error",
    "nms",
    "numerical_diff",
    "numerical_gradient",
    "one_hot",
    "perceptron",
    "relu",
    "road_scene",
    "road_scenes",
    "roi_align",
    "roi_pool",
    "rounded",
    "save_torch",
    "shuffle_dataset",
    "sigmoid",
    "sigmoid_cross_entropy",
    "smooth_l1",
    "softmax",
    "softmax_cross_entropy",
    "step_function",
    "synthetic_digits",
    "tanh",
    "to_numpy",
    "unpool",
]


def __getattr__(name: str) -> object:
    """A public name, or a room of the house."""
    from importlib import import_module

    if name in __all__:
        public = import_module("xpnet.public")
        globals().update({each: getattr(public, each) for each in __all__})
        return globals()[name]
    if not name.startswith("_"):
        try:
            return import_module(f"xpnet.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"xpnet.{name}":
                raise
    raise AttributeError(f"module 'xpnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
