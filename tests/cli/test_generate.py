"""`xpnet generate`."""

import json

import numpy as np
import pytest
from PIL import Image

from test_cli import assert_refused, without_gpu
from xpnet import DCGAN, TwoLayerNet, to_numpy


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    DCGAN(rng=0).save_params(tmp_path / "gan.safetensors")
    return without_gpu(capsys, monkeypatch, tmp_path)


def size(path):
    with Image.open(path) as picture:
        return picture.size


def tile(path, row, column, side=28):
    """An image of a sheet, as bytes."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    top, left = (2 + k * (side + 2) for k in (row, column))
    return pixels[top : top + side, left : left + side]


def test_images_are_those_of_the_latent_vectors(run, tmp_path):
    made = ("generate", "--device", "cpu", "gan.safetensors", "--seed", 3)
    code, out, err = run(*made, "--count", 5, "--interpolate", 2, "--out", "seen")
    assert code == 0, err
    assert "5 images are made; everything is in seen" in out
    gan = DCGAN(rng=0)
    want = np.round(255.0 * to_numpy(gan.generate(gan.latent(5, seed=3)))).astype(np.uint8)
    assert size("seen/generated.png") == (3 * 30 + 2, 2 * 30 + 2)
    for k in range(5):
        np.testing.assert_array_equal(tile("seen/generated.png", *divmod(k, 3)), want[k, 0])
    assert (tile("seen/generated.png", 1, 2) == 255).all()  # nothing
    # Rows begin and end with latent vectors that are there, too.
    assert size("seen/between.png") == (10 * 30 + 2, 2 * 30 + 2)
    for row, column, k in ((0, 0, 0), (0, 9, 1), (1, 0, 2), (1, 9, 3)):
        found = tile("seen/between.png", row, column).astype(int)
        assert np.abs(found - want[k, 0]).max() <= 1
    record = json.loads((tmp_path / "seen" / "generated.json").read_text())
    assert record == {
        "weights": "gan.safetensors", "seed": 3, "count": 5, "interpolate": 2, "way": "circle"
    }  # fmt: skip
    code, _, err = run(*made, "--count", 1, "--interpolate", 1, "--way", "straight", "--out", "b")
    assert code == 0, err
    assert (tile("b/between.png", 0, 5) != tile("seen/between.png", 0, 5)).any()


def test_misuse_is_told(run, tmp_path):
    TwoLayerNet(784, 5, 10, rng=0).save_params("other.safetensors")
    assert_refused(run("generate", "other.safetensors"), "holds one network, and that makes no im")
    assert_refused(run("generate", "nothing.safetensors"), "does not exist")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert_refused(run("generate", "gan.safetensors", "--out", "full"), "full is not empty")
    assert_refused(run("generate", "gan.safetensors", "--count", 0), "--count")
