"""Captions: how much of what was written is right."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import ClassVar

from xpnet.arguments import checked
from xpnet.errors import ArgumentError
from xpnet.report.metrics import DIRECTIONS, Direction

ORDERS = 4
"""Words of the longest runs that are compared."""


class CaptionScores:
    """Sentences that were written, beside those that are right: shares of runs of words, and BLEU.

        p_n = sum over sentences of min(count of a run of n words, its highest count in any right
              sentence) / sum of its counts
        BLEU-n = min(1, exp(1 - r / c)) (p_1 ... p_n)^(1/n)

    c is the number of words written, r that of the right sentences whose lengths come closest, the
    shorter one of two. All counts are summed over the corpus before they are divided; a sentence of
    less than n words has no run of n, and where p_n is 0, or there is none, so is BLEU-n. Words are
    what spaces separate.

    Papineni, Roukos, Ward, Zhu 2002, "BLEU: a method for automatic evaluation of machine
    translation", ACL, section 2. NLTK counts a run of n in shorter sentences, too, and gives less.
    """

    def __init__(self) -> None:
        self.reset()

    def __repr__(self) -> str:
        return f"CaptionScores({self.sentences} sentences)"

    def reset(self) -> None:
        """Begin anew, with no sentences."""
        self.sentences = self._exact = self._written = self._right = 0
        self._common, self._total = [0] * ORDERS, [0] * ORDERS

    def update(self, written: Sequence[str], right: Sequence[Sequence[str]]) -> None:
        """Take in some sentences.

        Parameters
        ----------
        written : sentences
        right : for each, all sentences that would be right

        Raises
        ------
        ArgumentError
            There are more of one than of the other, or there is nothing right for one.
        """
        if len(written) != len(right):
            raise ArgumentError(
                f"right sentences are needed for each that was written, got {len(right)} for "
                f"{len(written)}"
            )
        for sentence, references in zip(written, right, strict=True):
            if isinstance(references, str) or not references:
                raise ArgumentError(
                    "a list of right sentences, one at least, is needed for each that was written, "
                    f"got {references!r:.200}"
                )
            self._add(sentence.split(), [reference.split() for reference in references])

    def _add(self, words: list[str], references: list[list[str]]) -> None:
        self.sentences += 1
        self._exact += words in references
        self._written += len(words)
        self._right += min(map(len, references), key=lambda n: (abs(n - len(words)), n))
        for n in range(1, ORDERS + 1):
            runs, most = _runs(words, n), Counter[tuple[str, ...]]()
            for reference in references:
                most |= _runs(reference, n)
            self._common[n - 1] += (runs & most).total()
            self._total[n - 1] += runs.total()

    def exact_match(self) -> float:
        """The share of the sentences that are right from the first word to the last."""
        self._check()
        return self._exact / self.sentences

    def counts(self) -> list[tuple[int, int]]:
        """Runs of 1, 2, 3 and 4 words: those that are right, and all that were written."""
        return list(zip(self._common, self._total, strict=True))

    @checked
    def bleu(self, n: int = ORDERS) -> float:
        """BLEU-n, from 0 to 1.

        Raises
        ------
        ArgumentError
            There are no sentences, or n is not from 1 to 4.
        """
        self._check()
        if not 1 <= n <= ORDERS:
            raise ArgumentError(f"BLEU-n is of n from 1 to {ORDERS}, got {n}")
        if not all(self._common[:n]):
            return 0.0
        shares = sum(log(a / b) for a, b in self.counts()[:n]) / n
        return exp(min(0.0, 1 - self._right / self._written) + shares)

    def _check(self) -> None:
        if not self.sentences:
            raise ArgumentError("captions need at least one sentence to be measured on, got none")


def _runs(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of n words comes."""
    return Counter(zip(*(words[k:] for k in range(n)), strict=False))


@dataclass(frozen=True)
class ExactMatch:
    """The share of the captions that are right from the first word to the last."""

    name: ClassVar[str] = "exact_match"
    direction: ClassVar[Direction] = "max"

    def value(self, scores: CaptionScores) -> float:
        """The number."""
        return scores.exact_match()


@dataclass(frozen=True)
class Bleu:
    """Runs of up to so many words that captions share with right ones: see `CaptionScores`."""

    n: int = ORDERS
    direction: ClassVar[Direction] = "max"

    @property
    def name(self) -> str:
        """Such as "bleu4"."""
        return f"bleu{self.n}"

    def value(self, scores: CaptionScores) -> float:
        """The number."""
        return scores.bleu(self.n)


MEASURES: tuple[ExactMatch | Bleu, ...] = (ExactMatch(), *(Bleu(n) for n in range(1, ORDERS + 1)))
"""What captions are measured by; the first says what is best."""

DIRECTIONS.update({measure.name: measure.direction for measure in MEASURES})
