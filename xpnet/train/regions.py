"""Learning to say what is in boxes of pictures, for R-CNN."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from xpnet.arguments import checked
from xpnet.data.batches import Batches
from xpnet.data.crops import crops_of
from xpnet.data.scenes import Scenes
from xpnet.engine.threads import in_turn
from xpnet.errors import ArgumentError
from xpnet.models.accuracy import evaluation_batch
from xpnet.models.rcnn import RCNN
from xpnet.optim import Optimizer
from xpnet.report.detection import DetectionScores, MeanAveragePrecision, Recall
from xpnet.report.metrics import Accuracy
from xpnet.train.detection import objects_in, objects_table
from xpnet.train.supervised import Supervised


class Regions(Supervised):
    """Boxes of scenes, and what each shows; the network is measured by what it finds in others.

    A step is that of any classifier, on the crops of `crops_of`; after an epoch the test scenes are
    looked at as `RCNN.detect` does. Of these, the mean average precision decides what is best.

    Parameters
    ----------
    network : on the device where everything happens
    scenes : which tell their objects; those for testing tell some
    batch_size : crops a step
    optimizer, optimizer_param : as in `Supervised`
    seed : of the order of crops
    resident : as in `Batches`
    options : others of `Supervised`, but for metrics

    Attributes
    ----------
    evaluate_samples : test scenes to be looked at; all if None

    Raises
    ------
    ArgumentError
        The scenes tell no objects, or of other classes than the network's.
    """

    @partial(checked, but=("optimizer",))
    def __init__(
        self,
        network: RCNN,
        scenes: Scenes,
        batch_size: int = 100,
        optimizer: str | Optimizer = "Adam",
        optimizer_param: Mapping[str, float] | None = None,
        *,
        seed: int = 0,
        resident: bool | None = None,
        **options: Any,
    ) -> None:
        crops = crops_of(scenes)
        if network.classes != len(scenes.classes) - 1:
            raise ArgumentError(
                f"{scenes.name} have objects of {len(scenes.classes) - 1} classes, and the network "
                f"knows {network.classes}; make one for as many"
            )
        placed: dict[str, Any] = {
            "device": network.device, "dtype": network.dtype, "resident": resident
        }  # fmt: skip
        source = Batches(crops.x_train, crops.t_train, batch_size, seed=seed, **placed)
        super().__init__(
            network, source, None, optimizer, optimizer_param, metrics=[Accuracy()], **options
        )
        if not any(len(labels) for _, labels in scenes.objects_test[: self.evaluate_samples]):
            raise ArgumentError("test scenes need at least one object to be measured by, got none")
        table = objects_table(scenes.objects_test, network.dtype)
        test = Batches(scenes.x_test, table, evaluation_batch(network.device), **placed)
        self.sets, self.best = {"test": test}, "test_map50"
        self.metrics = (MeanAveragePrecision(), Recall())  # type: ignore[assignment]

    @in_turn
    def evaluate(self, source: Batches) -> dict[str, float]:
        """Mean average precision and recall at an overlap of 0.5."""
        network = self.network
        assert isinstance(network, RCNN)
        scores = DetectionScores(network.classes)
        with network.device.guarded():
            size = evaluation_batch(network.device)
            for x, t in source.in_order(size, limit=self.evaluate_samples):
                found = network.detect(x, computing={"network": self.engine})
                scores.update(found, objects_in(t))
        return {"map50": scores.mean_average_precision(), "recall50": scores.recall()}
