"""Words as numbers, as networks read and write them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpnet.arrays import to_numpy
from xpnet.arrays.values import as_array, kind_of_numbers
from xpnet.errors import ArgumentError

PAD, START, END = range(3)
"""What stands behind a sentence's end where others go on; before its first word; after its last."""
MARKS = ("<pad>", "<start>", "<end>")
"""What these are called."""
LEFT_OUT = -1
"""The target at places behind a sentence's end, which no loss counts."""

SCENE_WORDS = (
    *MARKS, "a", "small", "large", "red", "green", "blue", "yellow", "purple", "white", "circle",
    "square", "triangle", "cross", "is", "left", "right", "of", "above", "below",
)  # fmt: skip
"""The words of captions of drawn scenes."""
LONGEST = 12
"""Numbers of the longest sentence about a scene, with its <end>."""


class Vocabulary:
    """The words that sentences are made of, numbered from 0; a sentence is words and spaces.

    Parameters
    ----------
    words : each once, the first three being <pad>, <start> and <end>

    Attributes
    ----------
    words : the words, in their order

    Raises
    ------
    ArgumentError
        There are others, one comes twice, or one is no word.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        if isinstance(words, str) or not all(isinstance(word, str) for word in self.words):
            raise ArgumentError(f"a vocabulary is a list of words, got {words!r:.100}")
        if self.words[:3] != MARKS or len(self.words) == 3:
            raise ArgumentError(
                f"a vocabulary begins with {', '.join(MARKS)}, and then come its words, got "
                f"{self.words!r:.100}"
            )
        self._numbers = {word: number for number, word in enumerate(self.words)}
        if len(self._numbers) < len(self.words):
            twice = next(word for word in self.words if self.words.count(word) > 1)
            raise ArgumentError(f"a vocabulary has each word once, and {twice!r} is in it twice")
        if wrong := [word for word in self.words if word.split() != [word]]:
            raise ArgumentError(f"a word has letters and no spaces, got {wrong[0]!r}")

    def __len__(self) -> int:
        """Words, with the three marks."""
        return len(self.words)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} words)"

    def numbers(self, sentences: Iterable[str], length: int | None = None) -> NDArray[np.int64]:
        """Sentences as rows of numbers: the words, <end>, and then `LEFT_OUT`.

        Parameters
        ----------
        length : numbers of a row; those of the longest sentence if None

        Raises
        ------
        ArgumentError
            A word is in none of the vocabulary's, or a sentence is too long.
        """
        given = list(sentences)
        rows = [self._row(sentence) for sentence in given]
        longest = max(map(len, rows), default=1)
        length = longest if length is None else length
        if longest > length:
            sentence = given[max(range(len(rows)), key=lambda k: len(rows[k]))]
            raise ArgumentError(
                f"sentences have at most {length - 1} words here, got {sentence!r:.200}"
            )
        found = np.full((len(rows), length), LEFT_OUT, dtype=np.int64)
        for k, row in enumerate(rows):
            found[k, : len(row)] = row
        return found

    def _row(self, sentence: str) -> list[int]:
        if not isinstance(sentence, str):
            raise ArgumentError(f"a sentence is text, got {sentence!r:.100}")
        words = sentence.split()
        for word in words:
            if self._numbers.get(word, 0) < len(MARKS):
                raise ArgumentError(
                    f"the vocabulary has no word {word!r}, which is in {sentence!r:.200}; use "
                    f"those of {', '.join(self.words[len(MARKS) :])}"
                )
        return [*(self._numbers[word] for word in words), END]

    def sentences(self, numbers: Any) -> list[str]:
        """Sentences of rows of numbers (N, T), each up to its first <end>, or to a row's end.

        Raises
        ------
        ArgumentError
            A number before that is no word's.
        """
        rows = to_numpy(as_array(numbers, "words"))
        if rows.ndim != 2 or kind_of_numbers(rows) == "floats":
            raise ArgumentError(
                f"words are whole numbers (N, T), a row a sentence, got {rows.shape} {rows.dtype}"
            )
        found = []
        for row in rows.tolist():
            words = row[: row.index(END)] if END in row else row
            if words and not 0 <= min(words) <= max(words) < len(self):
                raise ArgumentError(f"words are numbers from 0 to {len(self) - 1}, got {words}")
            found.append(" ".join(self.words[word] for word in words))
        return found
