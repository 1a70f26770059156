"""What R-CNN learns from: boxes of scenes, each a small picture of its own."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from xpnet.data.dataset import Dataset
from xpnet.data.scenes import Scenes
from xpnet.errors import ArgumentError
from xpnet.models.rcnn import training_crops


@dataclass(frozen=True, eq=False, repr=False)
class Crops(Dataset):
    """Boxes of scenes, warped to 28 x 28, and what each shows: 0 is the background.

    Crops are float32 of shape (N, 1, 28, 28), from 0 to 1.

    Attributes
    ----------
    scenes : of which they are
    """

    x_train: NDArray[Any]
    t_train: NDArray[Any]
    x_test: NDArray[Any]
    t_test: NDArray[Any]
    scenes: Scenes | None = None

    def __repr__(self) -> str:
        counts = f"{len(self.x_train)} training and {len(self.x_test)} test crops"
        return f"<Crops of {self.name}: {counts}>"

    def checksum(self) -> str:
        """Compute the scenes' SHA-256, in hexadecimal digits: crops follow from these."""
        return super().checksum() if self.scenes is None else self.scenes.checksum()


def crops_of(scenes: Scenes) -> Crops:
    """Cut scenes into proposals and objects, as `training_crops` does.

    Raises
    ------
    ArgumentError
        The scenes tell no objects.
    """
    if not isinstance(scenes, Scenes) or not scenes.objects_train:
        raise ArgumentError(
            f"R-CNN learns from scenes with objects, such as digit-scenes, got {scenes!r:.100}"
        )
    classes = len(scenes.classes) - 1
    train = training_crops(scenes.x_train, scenes.objects_train, classes)
    test = training_crops(scenes.x_test, scenes.objects_test, classes)
    return Crops(scenes.name, f"boxes of {scenes.source}", *train, *test, scenes)
