"""Scenes with captions: the pictures and sentences that a seed makes, on every device."""

import hashlib
import re

import numpy as np
import pytest

from xpnet import get_device, to_numpy
from xpnet.arrays.random import random_words
from xpnet.data.captions import (
    PURPOSE,
    CaptionScenes,
    _drawn,
    _laid_out,
    _told,
    caption_scene,
    caption_scenes,
)
from xpnet.errors import ArgumentError
from xpnet.models.vocabulary import SCENE_WORDS, Vocabulary

FIRST = {
    "train": ("a small white triangle", 69_549, "ccbcee277c64da1e"),
    "test": ("a small yellow circle is below a large white square", 165_879, "26f6990c112dc4eb"),
    "novel": (
        "a large green triangle is right of a small yellow cross",
        98_041,
        "411f0eb7475b589a",
    ),
}
HUNDRED = {"train": "3f73749a567b35ed", "test": "160c19b8d8bc36e2", "novel": "b2098753960d42bb"}
HELD_OUT = re.compile("red cross|green triangle|blue circle")


def sha(images):
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()[:16]


def test_words_that_scenes_are_drawn_by():
    host = get_device("cpu")
    words = random_words(4, key=(0, PURPOSE), step=np.zeros(1, np.int64), device=host)
    assert words.tolist() == [232401053, 3108556445, 1526952189, 2324542142]


@pytest.mark.parametrize("part", FIRST)
def test_first_scenes(part):
    scene = caption_scene(0, 0, part)
    caption, total, start = FIRST[part]
    assert scene.captions[0] == caption
    assert (scene.image.sum(), sha(scene.image)) == (total, start)
    assert scene.image.shape == (3, 32, 32)
    assert scene.image.dtype == np.uint8


def test_converse_sentences():
    assert (
        caption_scene(0, 0, "test").captions[1]
        == "a large white square is above a small yellow circle"
    )
    assert caption_scene(0, 0, "train").captions == ("a small white triangle",)


@pytest.mark.parametrize("part", HUNDRED)
def test_a_hundred_scenes_on_every_device(part, device):
    layout = _laid_out(0, part, np.arange(100), device)
    assert sha(to_numpy(_drawn(layout, device))) == HUNDRED[part]
    host = get_device("cpu")
    assert _told(layout) == _told(_laid_out(0, part, np.arange(100), host))


def test_a_set():
    scenes = caption_scenes(600, 30, 100)
    assert isinstance(scenes, CaptionScenes)
    assert repr(scenes) == "<CaptionScenes: 600 training, 30 test and 100 novel pictures>"
    shapes = [a.shape for a in (scenes.x_train, scenes.t_train, scenes.x_novel, scenes.t_novel)]
    assert shapes == [(600, 3, 32, 32), (600, 12), (100, 3, 32, 32), (100, 12)]
    words = Vocabulary(scenes.words)
    assert scenes.words == SCENE_WORDS
    for part in ("train", "test", "novel"):
        captions = getattr(scenes, f"captions_{part}")
        first = [own[0] for own in captions]
        assert words.sentences(getattr(scenes, f"t_{part}")) == first
        k = len(captions) - 1
        assert caption_scene(0, k, part).captions == captions[k]
        np.testing.assert_array_equal(
            caption_scene(0, k, part).image, getattr(scenes, f"x_{part}")[k]
        )
        said = " ".join(sentence for own in captions for sentence in own)
        if part == "novel":
            assert all(HELD_OUT.search(" ".join(own)) for own in captions)
        else:
            assert not HELD_OUT.search(said)
    assert {word for own in scenes.captions_train for word in " ".join(own).split()} == set(
        SCENE_WORDS[3:]
    )
    alone = [len(own) == 1 for own in scenes.captions_train]
    assert 0.2 < np.mean(alone) < 0.3
    assert {len(own[0].split()) for own in scenes.captions_train} == {4, 10, 11}


def test_a_set_is_known_by_its_checksum():
    one, same, other = caption_scenes(5, 2, 1), caption_scenes(5, 2, 1), caption_scenes(5, 2, 2)
    assert one.checksum() == same.checksum() != other.checksum()
    assert caption_scenes(5, 2, 1, seed=1).checksum() != one.checksum()
    assert caption_scenes(0, 1, 0).x_train.shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (lambda: caption_scene(0, -1), "from 0 on, got -1"),
        (lambda: caption_scene(2**32, 0), r"below 2\*\*32, got 4294967296"),
        (lambda: caption_scene(0, 0, "other"), "part must be 'train', 'test' or 'novel'"),
        (lambda: caption_scenes(-1), "train_size must be a whole number from 0, got -1"),
        (lambda: caption_scenes(1, 1, 1, seed=-1), "a whole number from 0"),
    ],
)
def test_what_cannot_be_drawn(draw, told):
    with pytest.raises(ArgumentError, match=told):
        draw()
