"""Greedy and beam search: a worked example, ties, and beside a search without any arrays."""

import math

import numpy as np
import pytest

from xpnet import to_numpy
from xpnet.arrays import array_namespace
from xpnet.errors import ArgumentError
from xpnet.functions.decoding import beam_search, greedy

A, B, END, PAD = 0, 1, 2, 3


def table(probabilities, device):
    """A step whose scores depend on the last word, or on the last two, alone."""
    scores = device.asarray(np.log(np.asarray(probabilities)))

    def step(last, state):
        xp = array_namespace(last)
        (before,) = state
        if scores.ndim == 2:
            return xp.take(scores, last, axis=0), (last,)
        flat = xp.reshape(scores, (-1, scores.shape[-1]))
        return xp.take(flat, before * scores.shape[1] + last, axis=0), (last,)

    return step


def written(search, probabilities, device, n=1, start=3, longest=2, **options):
    first = device.asarray(np.full(n, start))
    step = table(probabilities, device)
    return search(step, (first,), first, end=END, pad=PAD, longest=longest, **options)


EXAMPLE = np.array([(0.4, 0.35, 0.25), (0.05, 0.05, 0.9), (1.0, 1e-9, 1e-9), (0.5, 0.4, 0.1)])


def test_worked_example(device):
    words, scores = written(greedy, EXAMPLE, device, n=2)
    assert to_numpy(words).tolist() == [[A, A]] * 2
    np.testing.assert_allclose(to_numpy(scores), math.log(0.2) / 2, rtol=1e-12)
    words, scores = written(beam_search, EXAMPLE, device, n=2, width=2)
    assert to_numpy(words).tolist() == [[B, END]] * 2
    np.testing.assert_allclose(to_numpy(scores), -0.5108256238, atol=5e-11)
    assert words.dtype == device.asarray(np.zeros(1, np.int64)).dtype


def test_what_is_done_goes_on_as_pad(device):
    certain = np.array([(0.1, 0.8, 0.1), (0.1, 0.1, 0.8), (0.8, 0.1, 0.1), (0.8, 0.1, 0.1)])
    for search, options in ((greedy, {}), (beam_search, {"width": 1}), (beam_search, {"width": 4})):
        words, scores = written(search, certain, device, longest=6, **options)
        assert to_numpy(words).tolist() == [[A, B, END, PAD, PAD, PAD]]
        np.testing.assert_allclose(to_numpy(scores), math.log(0.8), rtol=1e-12)


@pytest.mark.parametrize("width", [1, 2, 3, 30])
def test_of_equal_words_the_first(device, width):
    """All are alike: greedy writes word 0 on and on; a beam that holds <end> has its mean, too."""
    alike = np.full((4, 3), 1 / 3)
    words, scores = written(beam_search, alike, device, longest=3, width=width)
    if width < 3:  # <end> is the last of three, and never among the first two
        assert to_numpy(words).tolist() == [[A, A, A]]
    else:
        assert to_numpy(words).tolist() == [[END, PAD, PAD]]
    np.testing.assert_allclose(to_numpy(scores), math.log(1 / 3), rtol=1e-12)
    assert to_numpy(written(greedy, alike, device, longest=3)[0]).tolist() == [[A, A, A]]


def searched(table, start, width, longest):
    """The definition, by lists of Python."""
    beginnings, done = [(0.0, (), (start, start))], []
    for _ in range(longest):
        some = []
        for total, words, (before, last) in beginnings:
            logp = np.log(table[before, last])
            for word in np.argsort(-logp, kind="stable")[:width].tolist():
                some.append((total + logp[word], (*words, word), (last, word)))
        some = sorted(some, key=lambda each: -each[0])[:width]
        done += [each for each in some if each[1][-1] == END]
        beginnings = [each for each in some if each[1][-1] != END]
        if len(done) >= width:
            break
    best = max(done or beginnings, key=lambda each: each[0] / len(each[1]))
    return list(best[1]), best[0] / len(best[1])


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
def test_beside_lists(device, width):
    """Probabilities by the last two words; several sentences at once, which do not meet."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((6, 6, 6)) * 1.5
    scores[..., END] += 0.3
    scores -= np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    starts = np.array([3, 4, 5, 1, 0, 3])
    first = device.asarray(starts)
    found = beam_search(
        table(np.exp(scores), device), (first,), first, width=width, end=END, pad=0, longest=7
    )
    lengths = set()
    for k, start in enumerate(starts):
        words, score = searched(np.exp(scores), start, width, 7)
        assert to_numpy(found.words)[k].tolist() == words + [0] * (7 - len(words))
        assert to_numpy(found.scores)[k] == pytest.approx(score, rel=1e-12)
        lengths.add(len(words))
    assert len(lengths) > 1
    if width == 1:
        same = greedy(table(np.exp(scores), device), (first,), first, end=END, pad=0, longest=7)
        for one, other in zip(found, same, strict=True):
            np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


def test_nothing_is_read_back(strict_device, unread):
    first = strict_device.asarray(np.array([3, 3]))
    step = table(EXAMPLE, strict_device)
    with unread():
        found = [
            greedy(step, (first,), first, end=END, pad=PAD, longest=3),
            beam_search(step, (first,), first, width=2, end=END, pad=PAD, longest=3),
        ]
    assert to_numpy(found[1].words).tolist() == [[B, END, PAD]] * 2


def test_at_least_one_word():
    from xpnet import get_device

    device = get_device("cpu")
    with pytest.raises(ArgumentError, match="one beginning and one word are needed, got 1 and 0"):
        written(greedy, EXAMPLE, device, longest=0)
    with pytest.raises(ArgumentError, match="got 0 and 2"):
        written(beam_search, EXAMPLE, device, width=0)
