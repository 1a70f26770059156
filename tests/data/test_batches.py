"""The batch loader."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnet import Batches, to_numpy
from xpnet.errors import ArgumentError

N = 23
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 1, 4, 4)).astype(np.uint8)
LABELS = np.arange(N, dtype=np.uint8)


def collected(batches, number=0):
    parts = [(to_numpy(x), to_numpy(t)) for x, t in batches.epoch(number)]
    return [len(t) for _, t in parts], *(np.concatenate(part) for part in zip(*parts, strict=True))


@pytest.mark.parametrize("resident", [True, False])
def test_an_epoch_is_every_sample_once_scaled_and_matched(device, resident):
    sizes, x, t = collected(Batches(IMAGES, LABELS, 5, device=device, resident=resident))
    assert sizes == [5, 5, 5, 5, 3]
    assert x.dtype == np.float32
    assert sorted(t) == list(range(N))
    np.testing.assert_array_equal(x, IMAGES[t].astype(np.float32) / 255)


@pytest.mark.parametrize("resident", [True, False])
def test_the_order_is_the_same_on_every_device(device, resident):
    _, _, t = collected(Batches(IMAGES, LABELS, 5, device=device, seed=7, resident=resident), 3)
    np.testing.assert_array_equal(t, np.random.default_rng([7, 3]).permutation(N))


@given(n=st.integers(1, 40), data=st.data())
def test_batches_cover_the_epoch_for_any_sizes(n, data):
    size = data.draw(st.integers(1, n))
    batches = Batches(np.zeros((n, 2)), np.arange(n), size)
    sizes, _, t = collected(batches)
    assert len(sizes) == len(batches)
    assert sum(sizes) == n
    assert set(sizes[:-1]) <= {size}
    assert sorted(t) == list(range(n))


def test_epochs_and_seeds_differ_and_repeat():
    def order(seed, epoch):
        return Batches(IMAGES, LABELS, 5, seed=seed).order(epoch).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert order(0, 1) != order(1, 0)


def test_choice_draws_with_replacement():
    drawn = Batches(IMAGES, LABELS, 5, sampling="choice").order(0)
    assert len(drawn) == N
    assert len(set(drawn.tolist())) < N
    assert set(drawn.tolist()) <= set(range(N))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(("limit", "sizes"), [(None, [8, 8, 7]), (10, [8, 2]), (99, [8, 8, 7])])
def test_in_order_evaluation(device, resident, limit, sizes):
    batches = Batches(IMAGES, LABELS, 5, device=device, resident=resident)
    parts = [to_numpy(t) for _, t in batches.in_order(8, limit=limit)]
    assert [len(part) for part in parts] == sizes
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(sum(sizes)))


def test_floats_and_one_hot_targets_are_taken_as_they_are(device):
    x, t = np.linspace(-3, 900, N * 2).reshape(N, 2), np.eye(N)
    _, got, hot = collected(Batches(x, t, 4, device=device, dtype="float64"))
    np.testing.assert_array_equal(got, x[np.argmax(hot, axis=1)])


def test_a_memory_map_is_streamed(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, IMAGES)
    mapped = np.load(path, mmap_mode="r")
    _, x, t = collected(Batches(mapped, LABELS, 5, resident=False))
    np.testing.assert_array_equal(x, IMAGES[t].astype(np.float32) / 255)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "the batch size must be from 1 on, got 0"),
        ({"batch_size": 100.0}, "batch_size of Batches must be a whole number, .* got 100.0"),
        ({"x": IMAGES[:0], "t": LABELS[:0]}, "at least one sample is needed, got none"),
        ({"x": 3, "t": LABELS}, r"samples \(N, ...\) and targets \(N, ...\) are needed, got a num"),
        ({"x": IMAGES.astype(complex)}, "numbers are needed, real ones, got complex128"),
        ({"x": IMAGES.astype(object)}, "numbers are needed, real ones, got object"),
        ({"x": [[1, 2], [3]], "t": [0, 1]}, "got list that becomes none: setting an"),
        ({"x": np.ma.masked_array(IMAGES)}, "an array without a mask is needed, got a masked one"),
        ({"t": np.ma.masked_array(LABELS)}, "an array without a mask is needed, got a masked one"),
        ({"t": ["a"] * N}, r"got text \(<U1\); where these are names of classes, number them"),
        ({"t": None}, "an array of numbers is needed, got NoneType"),
        ({"t": LABELS[:-1]}, "one target a sample is needed, got 23 and 22"),
        ({"t": LABELS.astype(int) - 1}, "labels must be 0 or more, got -1"),
        ({"sampling": "random"}, "sampling must be 'shuffle' or 'choice', got 'random'"),
    ],
)
def test_misuse_is_told(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Batches(**({"x": IMAGES, "t": LABELS, "batch_size": 5} | arguments))


@pytest.mark.parametrize("epoch", [-1, 1.5, "0", True])
def test_epochs_have_numbers(epoch):
    with pytest.raises(ArgumentError, match="epochs are numbered from 0 on, got"):
        next(Batches(IMAGES, LABELS, 5).epoch(epoch))


@pytest.mark.parametrize(("size", "limit"), [(0, None), (-5, None), (5, 0), (5, -1)])
def test_no_evaluation_is_of_nothing(size, limit):
    with pytest.raises(ArgumentError, match="have a sample at least"):
        next(Batches(IMAGES, LABELS, 5).in_order(size, limit=limit))
