import re

import numpy as np
import pytest

from xpnet.data import Dataset, load_dataset, mnist, synthetic_digits
from xpnet.errors import ArgumentError, DataError, DataNotFoundError


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    """No network, no directory named."""
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.delenv("XPNET_DATA_DIR", raising=False)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The directory of MNIST in an empty cache."""
    pooch = pytest.importorskip("pooch", reason="pooch is not installed")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    return tmp_path / "cache" / "mnist"


def test_synthetic():
    data = load_dataset("synthetic", seed=3, train_size=40, test_size=20)
    assert (data.name, data.source) == ("synthetic", "synthetic digits, seed 3")
    want = synthetic_digits(40, seed=3)
    np.testing.assert_array_equal(data.x_train, want[0])
    np.testing.assert_array_equal(data.t_train, want[1])
    assert (data.x_test.shape, data.t_test.shape) == ((20, 1, 28, 28), (20,))
    assert not {x.tobytes() for x in data.x_train} & {x.tobytes() for x in data.x_test}


def test_sizes_do_not_move_the_other_part():
    a = load_dataset("synthetic", train_size=10, test_size=20)
    b = load_dataset("synthetic", train_size=30, test_size=10)
    np.testing.assert_array_equal(a.x_train, b.x_train[:10])
    np.testing.assert_array_equal(b.x_test, a.x_test[:10])


def test_auto_says_why_it_is_not_mnist(cache):
    data = load_dataset(train_size=1, test_size=1, download=False)
    assert data.name == "synthetic"
    assert data.source == (
        "synthetic digits, seed 0, instead of MNIST: "
        f"MNIST is not in {cache}; `xpnet data` downloads it; or "
        "put its four files into a directory and name it by data_dir or XPNET_DATA_DIR"
    )


@pytest.mark.usefixtures("cache")
def test_mnist_asked_for_by_name_is_not_replaced():
    with pytest.raises(DataNotFoundError, match=r"^MNIST could not be downloaded"):
        load_dataset("mnist")


@pytest.mark.parametrize("way", ["argument", "variable"])
def test_named_directory_is_not_replaced(tmp_path, monkeypatch, way):
    if way == "variable":
        monkeypatch.setenv("XPNET_DATA_DIR", str(tmp_path))
    with pytest.raises(DataNotFoundError, match=r"train-images-idx3-ubyte\.gz is missing"):
        load_dataset(data_dir=tmp_path if way == "argument" else None)


def test_damaged_mnist_is_not_replaced(cache):
    cache.mkdir(parents=True)
    for file in mnist.FILES:
        (cache / file.name).write_bytes(b"<html>")
    with pytest.raises(DataError, match="expected an IDX file") as caught:
        load_dataset()
    assert not isinstance(caught.value, DataNotFoundError)


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_mnist(mnist_dir, name):
    data = load_dataset(name, data_dir=mnist_dir)
    assert isinstance(data, Dataset)
    assert (data.name, data.source) == ("mnist", f"MNIST from {mnist_dir}")
    assert data.x_train.shape == (60000, 1, 28, 28)
    assert data.t_test[:3].tolist() == [7, 2, 1]


def test_unknown_name():
    text = 'load_dataset: expected "auto", "mnist" or "synthetic", got \'cifar\'; use one of these'
    with pytest.raises(ArgumentError, match=re.escape(text)):
        load_dataset("cifar")


@pytest.mark.parametrize("bad", [{"seed": -1}, {"train_size": -1}, {"test_size": -1}])
def test_bad_sizes(bad):
    with pytest.raises(ArgumentError, match="to be an integer from 0, got -1"):
        load_dataset("synthetic", **{"train_size": 1, "test_size": 1, **bad})


def test_no_arrays_are_shown():
    data = load_dataset("synthetic", train_size=40, test_size=20)
    assert repr(data) == "<Dataset synthetic: 40 training and 20 test images>"
