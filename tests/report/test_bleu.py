"""BLEU and exact matches, by worked examples."""

from math import exp

import pytest

from xpnet.errors import ArgumentError
from xpnet.report.captions import MEASURES, Bleu, CaptionScores
from xpnet.report.metrics import DIRECTIONS

CAT = ("the cat is on the mat", "there is a cat on the mat")
CIRCLE = (
    "a small red circle is left of a large blue circle",
    "a large blue circle is right of a small red circle",
)
C1 = "a small red circle is left of a large blue square"
CROSS = ("a large green cross",)


def scored(*pairs):
    scores = CaptionScores()
    for written, right in pairs:
        scores.update([written], [right])
    return scores


def values(scores):
    return [scores.bleu(n) for n in (1, 2, 3, 4)]


def test_a_word_counts_as_often_as_a_right_sentence_has_it():
    scores = scored((" ".join(["the"] * 7), CAT))
    assert scores.counts()[0] == (2, 7)
    assert values(scores) == pytest.approx([2 / 7, 0, 0, 0], abs=0)


def test_runs_of_words():
    scores = scored((C1, CIRCLE))
    assert scores.counts() == [(10, 11), (9, 10), (8, 9), (7, 8)]
    want = [0.9090909091, 0.9045340337, 0.8992886260, 0.8931539818]
    assert values(scores) == pytest.approx(want, abs=5e-11)


def test_a_corpus_is_summed_before_it_is_divided():
    scores = CaptionScores()
    scores.update([C1, "a green cross"], [CIRCLE, CROSS])
    assert scores.counts() == [(13, 14), (10, 12), (8, 10), (7, 8)]
    want = [0.8645582954, 0.8190228170, 0.7935122788, 0.7987520637]
    assert values(scores) == pytest.approx(want, abs=5e-11)
    assert scores.bleu(1) / (13 / 14) == pytest.approx(exp(1 - 15 / 14), rel=1e-12)
    one_by_one = scored((C1, CIRCLE), ("a green cross", CROSS))
    assert values(one_by_one) == values(scores)
    assert repr(scores) == "CaptionScores(2 sentences)"


def test_of_two_lengths_as_near_the_shorter_one_counts():
    """Three words beside two and four: no penalty."""
    scores = scored(("a b c", ["a b", "a b c d"]))
    assert scores.bleu(3) == pytest.approx(1)
    assert scored(("a b c", ["a b c d"])).bleu(3) == pytest.approx(exp(1 - 4 / 3))
    assert scored(("a b c d", ["a b c"])).bleu(1) == pytest.approx(3 / 4)  # none for long ones


def test_a_corpus_beside_itself():
    scores = scored(*((sentence, [sentence]) for sentence in (*CIRCLE, *CROSS)))
    assert values(scores) == [1, 1, 1, 1]
    assert scores.exact_match() == 1


def test_exact_match_is_any_right_sentence_as_a_whole():
    scores = scored((CIRCLE[1], CIRCLE), (C1, CIRCLE), ("a large  green cross ", CROSS))
    assert scores.exact_match() == pytest.approx(2 / 3)
    scores.reset()
    scores.update(["", "a"], [["a"], ["a"]])
    assert (scores.exact_match(), scores.bleu(1)) == (0.5, pytest.approx(exp(1 - 2)))


def test_nothing_written_is_worth_nothing():
    assert values(scored(("", CAT))) == [0, 0, 0, 0]


def test_measures_have_names_and_directions():
    names = [measure.name for measure in MEASURES]
    assert names == ["exact_match", "bleu1", "bleu2", "bleu3", "bleu4"]
    assert all(measure.direction == DIRECTIONS[measure.name] == "max" for measure in MEASURES)
    scores = scored((C1, CIRCLE))
    assert [measure.value(scores) for measure in MEASURES] == [0, *values(scores)]
    assert Bleu().n == 4


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda s: s.update(["a"], []), "got 0 for 1"),
        (lambda s: s.update(["a"], [[]]), r"one at least, is needed .* got \[\]"),
        (lambda s: s.update(["a"], ["a"]), "one at least, is needed .* got 'a'"),
        (lambda s: s.bleu(), "at least one sentence"),
        (lambda s: s.exact_match(), "at least one sentence"),
        (lambda s: (s.update(["a"], [["a"]]), s.bleu(5)), "from 1 to 4, got 5"),
    ],
)
def test_what_cannot_be_measured(use, told):
    with pytest.raises(ArgumentError, match=told):
        use(CaptionScores())
