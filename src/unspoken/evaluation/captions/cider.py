"""CIDEr-D: how far the n-grams of a caption are those of its references, rare ones counting more (arXiv:1411.5726).

With g_n(c) the n-grams of a caption, each weighed by its count times log(rows / rows whose references hold it),

    CIDEr-D(c) = 10 / 4 sum_n mean_r exp(-(l_c - l_r)^2 / (2 * 6^2)) min(g_n(c), g_n(r)) . g_n(r) / (|g_n(c)| |g_n(r)|)

over n = 1..4 and the references r, with l words each. 10 is the best there is.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import fmean

from unspoken.evaluation.captions.words import Ngram, ngrams, words

_ORDERS = (1, 2, 3, 4)
_SIGMA = 6.0
_SCALE = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Frequencies:
    """What is rare: in how many rows of a corpus of references each n-gram occurs.

    Attributes:
        held: Of each n-gram; one that is missing counts as if a single row had it.
        num_rows: Rows of the corpus; with one alone nothing is rare, and all weights are zero.
    """

    held: Mapping[Ngram, int]
    num_rows: int

    @classmethod
    def of(cls, references: Sequence[Sequence[str]]) -> "Frequencies":
        """Count the rows; all references of a row together are one."""
        held: Counter[Ngram] = Counter()
        for row in references:
            held.update({ngram for text in row for n in _ORDERS for ngram in ngrams(words(text), n)})
        return cls(held, len(references))

    def weight(self, ngram: Ngram) -> float:
        """Log of how many times rarer than in every row it is."""
        return log(self.num_rows / max(self.held.get(ngram, 0), 1))


@dataclass(frozen=True, slots=True, eq=False)
class _Vectors:
    """A caption: its weighed n-grams for each n, their lengths as vectors, and its words."""

    weights: Sequence[Mapping[Ngram, float]]
    norms: Sequence[float]
    num_words: int


def cider_d(references: Sequence[str], generated: str, frequencies: Frequencies) -> float:
    """CIDEr-D of one caption.

    Args:
        references: Its own.
        generated: The caption.
        frequencies: Of the references of a corpus, usually of all rows that are measured.
    """
    written = _vectors(generated, frequencies)
    return _SCALE * fmean(_alike(written, _vectors(reference, frequencies)) for reference in references)


def _vectors(text: str, frequencies: Frequencies) -> _Vectors:
    tokens = words(text)
    weights = [
        {ngram: count * frequencies.weight(ngram) for ngram, count in ngrams(tokens, n).items()} for n in _ORDERS
    ]
    return _Vectors(weights, [sqrt(sum(w * w for w in each.values())) for each in weights], len(tokens))


def _alike(written: _Vectors, right: _Vectors) -> float:
    found = 0.0
    for mine, gold, length, gold_length in zip(written.weights, right.weights, written.norms, right.norms, strict=True):
        if length and gold_length:
            # a caption gains nothing from repeating what the reference says once
            both = sum(min(weight, gold[ngram]) * gold[ngram] for ngram, weight in mine.items() if ngram in gold)
            found += both / (length * gold_length)
    return found / len(_ORDERS) * exp(-((written.num_words - right.num_words) ** 2) / (2 * _SIGMA**2))
