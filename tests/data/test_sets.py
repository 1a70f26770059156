"""Data sets by name, and the tasks that they are for."""

import numpy as np
import pytest

from xpnet.data.dataset import load_dataset
from xpnet.data.scenes import SCENES, digit_scenes, road_scenes
from xpnet.data.sets import SETS, data_for, known_of, load_scenes, set_of
from xpnet.errors import ArgumentError
from xpnet.models.registry import USUAL


def test_what_is_known_beforehand_is_so():
    """Of scenes; digits are watched by all that trains on them."""
    digits = load_dataset("synthetic", train_size=20, test_size=10)
    for scenes in (road_scenes(2, 1), digit_scenes(2, 1, digits=digits)):
        known = SETS[scenes.name]
        assert scenes.x_train.shape[1:] == known.image
        assert scenes.classes == known.classes["segment"]
        found = set(np.unique(scenes.t_train)) - {255}
        assert found <= set(range(len(known.classes["segment"])))
    for task, (image, classes) in USUAL.items():
        known = known_of(data_for(task, "auto"))
        assert (known.image, len(known.classes[task])) == (image, classes)


def test_data_are_for_tasks():
    assert [data_for(task, "auto") for task in ("classify", "segment", "detect")] == [
        "auto", "road-scenes", "digit-scenes",
    ]  # fmt: skip
    assert data_for("segment", "digit-scenes") == "digit-scenes"
    with pytest.raises(ArgumentError, match="data road-scenes are to segment, and the network is"):
        data_for("detect", "road-scenes")
    with pytest.raises(ArgumentError, match=r"are to detect or segment, .* use mnist or sy"):
        data_for("classify", "digit-scenes")


def test_networks_tell_their_data_by_shapes():
    assert set_of((3, 48, 64), 6, "segment") == "road-scenes"
    assert set_of((1, 64, 64), 11, "segment") == "digit-scenes"
    assert set_of((1, 64, 64), 10, "segment") is None
    assert set_of((1, 64, 64), 10, "detect") == "digit-scenes"


def test_the_directory_is_for_digits_alone(monkeypatch):
    monkeypatch.setitem(SCENES, "digit-scenes", lambda **options: options)
    monkeypatch.setitem(SCENES, "road-scenes", lambda **options: options)
    assert load_scenes("digit-scenes", data_dir="there") == {"data_dir": "there"}
    assert load_scenes("road-scenes", data_dir="there") == {}
