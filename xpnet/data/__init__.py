"""Images of digits, MNIST or a synthetic stand-in where MNIST cannot be had, and scenes."""

from xpnet.data.batches import Batches, hold_out, shuffle_dataset
from xpnet.data.captions import CaptionScenes, caption_scene, caption_scenes
from xpnet.data.dataset import Dataset, load_dataset
from xpnet.data.mnist import load_mnist
from xpnet.data.scenes import Scenes, digit_scene, digit_scenes, road_scene, road_scenes
from xpnet.data.synthetic import synthetic_digits

__all__ = [
    "Batches",
    "CaptionScenes",
    "Dataset",
    "Scenes",
    "caption_scene",
    "caption_scenes",
    "digit_scene",
    "digit_scenes",
    "hold_out",
    "load_dataset",
    "load_mnist",
    "road_scene",
    "road_scenes",
    "shuffle_dataset",
    "synthetic_digits",
]
