"""Writing sentences, word after word, with what scores the next one.

All shapes are fixed by the number of sentences and of words at most, and nothing is read back from
a device. Where several words, or several sentences, are equally good, the first of them is taken.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from xpnet.arrays import Array, array_namespace
from xpnet.errors import ArgumentError
from xpnet.functions.activations import log_softmax
from xpnet.functions.sampling import taken

State: TypeAlias = tuple[Array, ...]
"""What is known of the words so far: arrays (N, ...)."""

Step: TypeAlias = Callable[[Array, State], tuple[Array, State]]
"""The last words (N,), and the state before them, to scores (N, V) of the next one and the state.

The softmax of the scores is the probability of each word."""

INF = float("inf")


class Sentences(NamedTuple):
    """Sentences as they were found.

    Attributes
    ----------
    words : (N, T) int64; <end> is among them, and <pad> stands behind it
    scores : (N,), the mean over a sentence's words, <end> being one, of log p
    """

    words: Array
    scores: Array


def greedy(
    step: Step, state: Sequence[Array], start: Array, *, end: int, pad: int, longest: int
) -> Sentences:
    """Take the likeliest word each time, until it is <end>.

    Parameters
    ----------
    step : scores the next word
    state : before the first word, arrays (N, ...)
    start : (N,) integers, the words to begin after
    end, pad : the numbers of <end>, and of what a sentence that is done goes on with
    longest : words at most, <end> being one

    Raises
    ------
    ArgumentError
        There is not even one word to be written.
    """
    _check(1, longest)
    xp, state, last = array_namespace(start), tuple(state), start
    done, words = xp.zeros_like(start, dtype=xp.bool), []
    total = count = 0.0
    for _ in range(longest):
        scores, state = step(last, state)
        best = xp.argmax(scores, axis=1)
        reached = taken(log_softmax(scores), best[:, None])[:, 0]
        total = total + xp.where(done, xp.zeros_like(reached), reached)
        count = count + xp.astype(~done, reached.dtype)
        last = xp.where(done, xp.full_like(best, pad), best)
        words.append(last)
        done = done | (last == end)
    return Sentences(xp.stack(words, axis=1), total / count)


def beam_search(
    step: Step,
    state: Sequence[Array],
    start: Array,
    *,
    width: int,
    end: int,
    pad: int,
    longest: int,
) -> Sentences:
    """Keep the `width` likeliest beginnings at a time; of the sentences that end, give the best.

    Each beginning goes on with its `width` likeliest words, and of all that come of this the
    `width` likeliest are kept. Those that end with <end> are done and make room for others; when
    `width` are done, or no word more may come, the one with the highest mean of log p over its
    words is given. One that is not done is given where none is. With a width of 1 this is `greedy`.

    Parameters
    ----------
    width : beginnings of a sentence that are kept
    step, state, start, end, pad, longest : as for `greedy`; the step is asked for the beginnings of
        all sentences together

    Raises
    ------
    ArgumentError
        There is no beginning or no word to be written.

    References
    ----------
    Vinyals, Toshev, Bengio, Erhan 2015, "Show and tell", arXiv:1411.4555, section 3.1, with 20
    beginnings. There the sum of log p is compared, here its mean, which long sentences can win.
    """
    _check(width, longest)
    xp, state, last, n = array_namespace(start), tuple(state), start, start.shape[0]
    words = xp.zeros((n, 1, 0), dtype=start.dtype, device=start.device)
    before: Any = 0.0  # log p of the beginnings, (N, B, 1)
    ended = xp.zeros_like(start)
    scores, sentences = [], []  # of what is done, the first ones first
    for count in range(1, longest + 1):
        z, state = step(last, state)
        likely = _highest(z, width)
        reached = xp.reshape(taken(log_softmax(z), likely), (n, -1, likely.shape[1])) + before
        reached, likely = xp.reshape(reached, (n, -1)), xp.reshape(likely, (n, -1))
        kept = _highest(reached, width)
        logp, word = taken(reached, kept), xp.astype(taken(likely, kept), start.dtype)
        parent = kept // (likely.shape[1] // words.shape[1])
        state = tuple(_moved(each, parent) for each in state)
        words = xp.concat([taken(words, parent), word[:, :, None]], axis=2)

        ends = (word == end) & (logp > -INF)
        ended = ended + xp.sum(xp.astype(ends, ended.dtype), axis=1)
        rest = xp.full((*word.shape, longest - count), pad, dtype=word.dtype, device=word.device)
        scores.append(xp.where(ends, logp / count, -INF))
        sentences.append(xp.concat([words, rest], axis=2))
        if count == longest:  # what is not done counts where nothing is
            scores.append(xp.where((ended == 0)[:, None], logp / count, -INF))
            sentences.append(words)
        # Who is done makes room: a beginning of the probability 0 is none.
        there = ~ends & (ended < width)[:, None]
        before = xp.where(there, logp, -INF)[:, :, None]
        last = xp.reshape(xp.where(there, word, pad), (-1,))
    best = xp.argmax(xp.concat(scores, axis=1), axis=1)[:, None]
    return Sentences(
        taken(xp.concat(sentences, axis=1), best)[:, 0, :],
        taken(xp.concat(scores, axis=1), best)[:, 0],
    )


def _highest(x: Array, count: int) -> Array:
    """Where the highest numbers of each row are, (N, count) or fewer; of equal ones the first."""
    return array_namespace(x).argsort(-x, axis=1, stable=True)[:, : min(count, x.shape[1])]


def _moved(x: Array, parent: Array) -> Array:
    """What is known of each beginning (N B, ...), for those that come of them, by (N, B') of B."""
    xp, (n, count) = array_namespace(x), parent.shape
    of_each = xp.reshape(x, (n, -1, *x.shape[1:]))
    return xp.reshape(taken(of_each, parent), (n * count, *x.shape[1:]))


def _check(width: int, longest: int) -> None:
    if width < 1 or longest < 1:
        raise ArgumentError(
            f"at least one beginning and one word are needed, got {width} and {longest}"
        )
