"""Words as numbers and back."""

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.models.vocabulary import LEFT_OUT, SCENE_WORDS, Vocabulary

FEW = ("<pad>", "<start>", "<end>", "a", "red", "ball")


def test_sentences_are_rows_with_an_end():
    words = Vocabulary(FEW)
    assert (len(words), repr(words)) == (6, "Vocabulary(6 words)")
    rows = words.numbers(["a red ball", "ball", ""])
    assert rows.tolist() == [[3, 4, 5, 2], [5, 2, -1, -1], [2, -1, -1, -1]]
    assert words.sentences(rows) == ["a red ball", "ball", ""]
    assert words.numbers(["ball"], 4).tolist() == [[5, 2, LEFT_OUT, LEFT_OUT]]
    assert words.numbers([]).shape == (0, 1)


def test_what_stands_behind_the_end_is_passed_over():
    words = Vocabulary(FEW)
    assert words.sentences([[3, 5, 2, 99], [3, 4, 5, 5]]) == ["a ball", "a red ball ball"]


def test_the_words_of_scenes():
    assert len(Vocabulary(SCENE_WORDS)) == 22
    assert SCENE_WORDS.index("above") == 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("<pad>", "a list of words, got '<pad>'"),
        ([1, 2, 3], r"a list of words, got \[1, 2, 3\]"),
        (("a", "b"), r"begins with <pad>, <start>, <end>, and then come its words"),
        (FEW[:3], "begins with <pad>"),
        ((*FEW, "red"), "'red' is in it twice"),
        ((*FEW, "light red"), "no spaces, got 'light red'"),
        ((*FEW, ""), "no spaces, got ''"),
    ],
)
def test_words_that_make_no_vocabulary(words, told):
    with pytest.raises(ArgumentError, match=told):
        Vocabulary(words)


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda w: w.numbers(["a blue ball"]), "no word 'blue', which is in 'a blue ball'; use th"),
        (lambda w: w.numbers(["a <end>"]), "no word '<end>'"),
        (lambda w: w.numbers(["a red ball"], 3), "at most 2 words here, got 'a red ball'"),
        (lambda w: w.numbers([3]), "a sentence is text, got 3"),
        (lambda w: w.sentences([[3, 6]]), r"from 0 to 5, got \[3, 6\]"),
        (lambda w: w.sentences([[-1, 2]]), "from 0 to 5"),
        (lambda w: w.sentences([3, 4]), r"whole numbers \(N, T\), a row a sentence, got \(2,\)"),
        (lambda w: w.sentences(np.ones((1, 2))), "whole numbers"),
    ],
)
def test_what_is_no_sentence(use, told):
    with pytest.raises(ArgumentError, match=told):
        use(Vocabulary(FEW))
