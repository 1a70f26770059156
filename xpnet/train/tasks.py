"""What the tasks of runs need: which data, which network, and who trains it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from xpnet.data import Dataset
from xpnet.data.captions import CaptionScenes
from xpnet.data.scenes import Scenes
from xpnet.data.sets import data_for, is_text, known_of
from xpnet.data.texts import Text, load_text
from xpnet.engine import Engine, get_engine
from xpnet.errors import ArgumentError
from xpnet.games.known import Playing, game_of, plan_of
from xpnet.models.captioner import Captioner
from xpnet.models.character import CharacterModel
from xpnet.models.dcgan import DCGAN
from xpnet.models.faster_rcnn import FasterRCNN
from xpnet.models.fcn import IGNORED
from xpnet.models.network import Network
from xpnet.models.own import is_own
from xpnet.models.proposals import proposals
from xpnet.models.rcnn import RCNN
from xpnet.models.registry import Task, find_model, model_arguments
from xpnet.optim import OPTIMIZERS
from xpnet.optim.schedules import Cosine, Drop, Schedule
from xpnet.report.captions import MEASURES as CAPTION_MEASURES
from xpnet.report.captions import CaptionScores
from xpnet.report.detection import DetectionScores, MeanAveragePrecision, Recall
from xpnet.report.evaluate import confusion
from xpnet.report.generation import judged
from xpnet.report.metrics import Metric, spoken
from xpnet.report.segmentation import (
    MeanClassAccuracy,
    MeanIoU,
    PixelAccuracy,
    class_iou,
    mean_class_accuracy,
    mean_iou,
    pixel_accuracy,
)
from xpnet.train.adversarial import BETA1, Adversarial
from xpnet.train.captioning import Captioning
from xpnet.train.deep_q import DeepQ
from xpnet.train.detection import Detection, ProposalRecall
from xpnet.train.regions import Regions
from xpnet.train.trainer import Trainer
from xpnet.train.writing import Writing

Data: TypeAlias = Dataset | Playing | Text
"""What a run's network learns from."""

LATE, LATE_RATE = 2, 0.25
"""The last epochs of the schedule "drop", and the share of the rate that they have; the first epoch
has the whole rate, so that a short run learns, too."""


_OTHERS: tuple[Task, ...] = ("segment", "play")
"""Tasks, besides the usual one, that networks of the user's own can be for."""


def task_of(model: str, data: str) -> Task:
    """What a network is for; one of the user's own, what its data need.

    Raises
    ------
    ArgumentError
        There is no such network.
    """
    if not is_own(model):
        return find_model(model).task
    if is_text(data):
        raise ArgumentError(f"{model} is for pictures, and {data} is a text; use character-model")
    known = known_of(data).classes
    return next((task for task in _OTHERS if task in known), "classify")


def data_of(model: str, data: str) -> str:
    """The data set that a network learns from: the one of this name, or by "auto" its usual one.

    Raises
    ------
    ArgumentError
        It is for networks of other tasks.
    """
    return data_for(task_of(model, data), data)


def arguments_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what the network of a run is built from.

    Raises
    ------
    ArgumentError
        It has no such size or activation to choose, or is for other data.
    """
    model, data = settings["model"], data_of(settings["model"], settings["data"])
    if task_of(model, data) == "write":
        return model_arguments(
            model,
            (),
            settings["hidden_size"],
            settings["activation"],
            characters=load_text(data).characters,
        )
    known = known_of(data)
    return model_arguments(
        model,
        known.image,
        settings["hidden_size"],
        settings["activation"],
        classes=len(known.classes[task_of(model, data)]),
    )


def trainer_of(settings: Mapping[str, Any], model: Any, dataset: Data, **engine: Any) -> Trainer:
    """The trainer of a fresh network for its task.

    Parameters
    ----------
    model : a `Network`, or what has several as `networks`
    engine : what computes, as `Trainer` takes it
    """
    task = task_of(settings["model"], settings["data"])
    return TRAINERS[task](settings, model, dataset, **engine)


def _supervised(
    settings: Mapping[str, Any],
    network: Network,
    dataset: Dataset,
    *,
    metrics: Sequence[Metric] | None = None,
    **engine: Any,
) -> Trainer:
    """Of one network that learns from pictures with targets."""
    trainer = Trainer(
        network,
        dataset.x_train,
        dataset.t_train,
        dataset.x_test,
        dataset.t_test,
        settings["epochs"],
        settings["batch_size"],
        settings["optimizer"],
        {"lr": settings["lr"]},
        settings["evaluate_samples"],
        seed=settings["seed"],
        precision=settings["precision"],
        metrics=metrics,
        **engine,
    )
    trainer.schedule = _schedule(settings, len(trainer.train_batches))
    return trainer


def _schedule(settings: Mapping[str, Any], batches: int) -> Schedule | None:
    """The learning rate by the steps done, of an epoch of so many batches; None for a constant."""
    lr, epochs = settings["lr"], settings["epochs"]
    if settings["schedule"] == "cosine":
        return Cosine(lr, steps=epochs * batches)
    if settings["schedule"] == "drop":
        return Drop(lr, steps=max(1, epochs - LATE) * batches, factor=LATE_RATE)
    return None


def _segmenting(
    settings: Mapping[str, Any], network: Network, *rest: Any, **engine: Any
) -> Trainer:
    """Of one that learns from masks: the mean IoU says which epoch is best."""
    metrics = [kind(ignore=IGNORED) for kind in (MeanIoU, PixelAccuracy, MeanClassAccuracy)]
    return _supervised(settings, network, *rest, metrics=metrics, **engine)


def _detecting(
    settings: Mapping[str, Any], detector: RCNN | FasterRCNN, scenes: Scenes, **engine: Any
) -> Trainer:
    """Of one that learns where objects are: from boxes one by one, or from whole pictures."""
    options = {name: settings[name] for name in ("seed", "precision", "evaluate_samples")} | engine
    learner: Regions | Detection
    if isinstance(detector, RCNN):
        arguments = settings["batch_size"], settings["optimizer"], {"lr": settings["lr"]}
        learner = Regions(detector, scenes, *arguments, **options)
    else:
        learner = Detection(
            detector,
            scenes.x_train,
            scenes.objects_train,
            scenes.x_test,
            scenes.objects_test,
            settings["batch_size"],
            OPTIMIZERS[settings["optimizer"]](lr=settings["lr"]),
            **options,
        )
    learner.schedule = _schedule(settings, len(learner.source))
    return Trainer.of(learner, settings["epochs"])


def _captioning(
    settings: Mapping[str, Any], captioner: Captioner, scenes: CaptionScenes, **engine: Any
) -> Trainer:
    """Of one that learns to say what pictures show."""
    learner = Captioning(
        captioner,
        scenes.x_train,
        scenes.captions_train,
        scenes.x_test,
        scenes.captions_test,
        settings["batch_size"],
        OPTIMIZERS[settings["optimizer"]](lr=settings["lr"]),
        seed=settings["seed"],
        precision=settings["precision"],
        evaluate_samples=settings["evaluate_samples"],
        **engine,
    )
    learner.schedule = _schedule(settings, len(learner.source))
    return Trainer.of(learner, settings["epochs"])


def _playing(
    settings: Mapping[str, Any], network: Network, data: Playing, **engine: Any
) -> Trainer:
    """Of one that learns from what it plays."""
    game = game_of(data.name, seed=settings["seed"], device=network.device)
    learner = DeepQ(
        network,
        game,
        settings["batch_size"],
        OPTIMIZERS[settings["optimizer"]](lr=settings["lr"]),
        double=settings["model"] == "double-dqn",
        evaluate_samples=min(settings["evaluate_samples"], game.episodes[0]),
        seed=settings["seed"],
        precision=settings["precision"],
        **plan_of(game)._asdict(),
        **engine,
    )
    learner.schedule = _schedule(settings, len(learner.source))
    return Trainer.of(learner, settings["epochs"])


def _writing(
    settings: Mapping[str, Any], model: CharacterModel, text: Text, **engine: Any
) -> Trainer:
    """Of one that learns to write like a text."""
    learner = Writing(
        model,
        text.x_train,
        text.x_test,
        settings["batch_size"],
        optimizer=OPTIMIZERS[settings["optimizer"]](lr=settings["lr"]),
        evaluate_samples=settings["evaluate_samples"],
        precision=settings["precision"],
        **engine,
    )
    learner.schedule = _schedule(settings, len(learner.source))
    return Trainer.of(learner, settings["epochs"])


def _generating(
    settings: Mapping[str, Any], gan: DCGAN, dataset: Dataset, **engine: Any
) -> Trainer:
    """Of a generator and a discriminator: nothing but the pictures is learned from."""
    rule = OPTIMIZERS[settings["optimizer"]]
    averages = {"beta1": BETA1} if "beta1" in rule().arguments() else {}
    learner = Adversarial(
        gan,
        dataset.x_train,
        settings["batch_size"],
        rule(lr=settings["lr"], **averages),
        seed=settings["seed"],
        precision=settings["precision"],
        **engine,
    )
    learner.schedule = _schedule(settings, len(learner.source))
    return Trainer.of(learner, settings["epochs"])


TRAINERS: dict[Task, Callable[..., Trainer]] = {
    "classify": _supervised,
    "segment": _segmenting,
    "detect": _detecting,
    "caption": _captioning,
    "play": _playing,
    "write": _writing,
    "generate": _generating,
}
"""For each task what makes the trainer, of settings, what was built, and data.

A task of several networks has a function here that gives `Trainer.of` its `Learner`, whose
`networks` are those of the `model`; a checkpoint has all of them, and `models.together` writes
them. The `Learner` may have `evaluate_samples`, of each set, which is None at the end.
"""


def measured(
    trainer: Trainer, model: Any, dataset: Data, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """All that the learner measures, of whole data sets: "train_accuracy" and so on.

    And by class the IoU where masks are compared, or the average precision where objects are.

    Parameters
    ----------
    model : what was trained, as `trainer_of` takes it
    """
    task = task_of(settings["model"], dataset.name)
    learner, found = trainer.learner, dict[str, Any]()
    if isinstance(model, RCNN | FasterRCNN) and isinstance(dataset, Scenes):
        engines = getattr(learner, "engines", {"network": getattr(learner, "engine", None)})
        return measured_objects(model, dataset, engines)  # what the learner measures, and more
    if isinstance(learner, Captioning) and isinstance(dataset, CaptionScenes):
        return measured_captions(model, dataset, learner.engines)
    if hasattr(learner, "evaluate_samples"):
        learner.evaluate_samples = None
    for data, source in learner.sets.items():
        for name, value in learner.evaluate(source).items():
            found[f"{data}_{name}"] = value
        for metric in learner.metrics:
            if isinstance(metric, MeanIoU):
                names = known_of(dataset.name).classes[task]
                found[f"{data}_iou"] = _by_class(class_iou(metric.matrix), names)
    return found


def measured_objects(
    detector: RCNN | FasterRCNN, scenes: Scenes, engines: Mapping[str, Engine]
) -> dict[str, Any]:
    """How well objects of the test set are found, at an IoU of 0.5."""
    scores = DetectionScores(detector.classes)
    if isinstance(detector, FasterRCNN):
        found, proposed = detector.found_and_proposed(scenes.x_test, engines)
    else:
        proposed = proposals(scenes.x_test)
        found = detector.detect(scenes.x_test, boxes=proposed, computing=engines)
    scores.update(found, scenes.objects_test)
    names = known_of(scenes.name).classes["detect"]
    return {
        **{f"test_{each.name}": each.value(scores) for each in (MeanAveragePrecision(), Recall())},
        "test_proposal_recall50": ProposalRecall().of(proposed, scenes.objects_test),
        "test_average_precision": _by_class(scores.average_precisions(), names),
    }


def measured_captions(
    captioner: Captioner, scenes: CaptionScenes, engines: Mapping[str, Engine], beam: int = 1
) -> dict[str, float]:
    """How much of what is written about scenes is right, of the test set and of novel ones.

    Parameters
    ----------
    beam : as for `Captioner.caption`
    """
    found, scores = dict[str, float](), CaptionScores()
    for part, x, right in (
        ("test", scenes.x_test, scenes.captions_test),
        ("novel", scenes.x_novel, scenes.captions_novel),
    ):
        scores.reset()
        written = captioner.caption(x, beam=beam, computing=engines)
        scores.update([text for text, _ in written], right)
        if scores.sentences:
            found |= {f"{part}_{each.name}": each.value(scores) for each in CAPTION_MEASURES}
    return found


class MeasuredImages(NamedTuple):
    """What a judge says of images that were made."""

    found: dict[str, Any]
    """As `measured` tells it of the test set."""
    judge: str
    """The judge, by the `digest` of its parameters."""


def measured_images(
    gan: DCGAN, dataset: Dataset, judge: Network, how: Mapping[str, Any]
) -> MeasuredImages:
    """How good the images of a generator are, as many as there are test images.

    Of latent vectors number 0 and so on of seed 0.

    Parameters
    ----------
    how : what makes them, as `get_engine` takes it
    """
    engine = get_engine(gan.networks["generator"], **how)
    images = gan.generate(gan.latent(len(dataset.x_test)), engine.predict)
    told = judged(judge, images, dataset.x_test)
    names = known_of(dataset.name).classes["generate"]
    found = {
        "test_class_score": told.class_score,
        "test_frechet_distance": told.frechet_distance,
        "test_class_shares": _by_class(told.shares, names),
    }
    return MeasuredImages(found, told.judge)


def measured_masks(truth: np.ndarray, read: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """How well masks agree with the truth, as `measured` tells it of the test set."""
    matrix = confusion(truth, read, len(names), IGNORED)
    return {
        "test_mean_iou": mean_iou(matrix),
        "test_pixel_accuracy": pixel_accuracy(matrix),
        "test_mean_class_accuracy": mean_class_accuracy(matrix),
        "test_iou": _by_class(class_iou(matrix), names),
    }


def _by_class(values: Iterable[float], names: Sequence[str]) -> dict[str, float | None]:
    """A number of each class by its name; None of one that has none, such as one not there."""
    return {
        name: None if np.isnan(value) else float(value)
        for name, value in zip(names, values, strict=True)
    }


def lines_of(found: Mapping[str, Any], sizes: Mapping[str, int]) -> list[str]:
    """What was measured, a line each.

    Parameters
    ----------
    sizes : how many there are, as `Dataset.sizes` tells it: "test_images"
    """
    told = {}
    for name, size in sizes.items():
        data, _, what = name.partition("_")
        told[data] = f"{size} {what}"
    lines = []
    for name, value in found.items():
        data, _, what = name.partition("_")
        if isinstance(value, Mapping):
            each = (f"{k} {v:.3f}" for k, v in value.items() if v is not None)
            lines.append(f"{data} {spoken(what)} of classes: {', '.join(each)}")
        else:
            lines.append(f"{data} {spoken(what)}: {value:.4f} on {told[data]}")
    return lines
