"""Captions against their references: figures with intervals, and the difference between two systems."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from unspoken.errors import DataError
from unspoken.evaluation.captions.bleu import bleu
from unspoken.evaluation.captions.cider import Frequencies, cider_d
from unspoken.evaluation.captions.rouge import rouge_l
from unspoken.evaluation.captions.statistics import Distinct, Figure, Share, Statistic, Summed, mean
from unspoken.evaluation.captions.words import is_whole, ngrams, words


@dataclass(frozen=True, slots=True)
class Written:
    """How a caption came about, beside its text.

    Attributes:
        ended: Whether the model ended it, by the end of sequence, not the limit.
        log_likelihood: In nats, of the reference under the model.
        num_tokens: Of the reference, those that the log-likelihood sums over.
    """

    ended: bool
    log_likelihood: float | None = None
    num_tokens: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Captions:
    """What is known about the captions of a system, row by row.

    Attributes:
        statistics: By name, as in `docs/metrics.md`.
        n: Rows.
    """

    statistics: Mapping[str, Statistic]
    n: int

    def figures(self) -> dict[str, Figure]:
        """Each with its 95% interval."""
        return {name: statistic.figure() for name, statistic in self.statistics.items()}

    def less(self, other: "Captions") -> dict[str, Figure]:
        """These figures less those of another system on the same rows; those that both have.

        Raises:
            ValueError: The rows are not equally many.
        """
        both = [name for name in self.statistics if name in other.statistics]
        return {name: self.statistics[name].less(other.statistics[name]) for name in both}


def measure(
    references: Sequence[Sequence[str]],
    generated: Sequence[str],
    *,
    written: Sequence[Written] | None = None,
    frequencies: Frequencies | None = None,
) -> Captions:
    """Measure captions against references.

    Args:
        references: Of each row, one or more.
        generated: A caption for each row; empty where there is none, which counts as a bad one.
        written: How each came about, where a model wrote them.
        frequencies: How rare n-grams are, for CIDEr-D; default: in the references of these rows.

    Raises:
        DataError: The rows are fewer than two or not equally many, or a row has no reference.
        RecipeError: sacrebleu is not installed.
    """
    n = len(references)
    if n != len(generated) or (written is not None and n != len(written)):
        raise DataError(f"{n} rows of references need as many captions, found {len(generated)}; give one for each row")
    if n < 2:
        raise DataError(f"captions are measured on at least 2 rows, found {n}; give more")
    for row, texts in enumerate(references, 1):
        if not texts:
            raise DataError(f"row {row} has no reference caption; add one or leave the row out")
    frequencies = frequencies or Frequencies.of(references)
    pairs = list(zip(references, generated, strict=True))
    tokens = [words(text) for text in generated]
    statistics: dict[str, Statistic] = {
        "bleu_4": bleu(references, generated),
        "rouge_l": mean([rouge_l(row, text) for row, text in pairs]),
        "cider_d": mean([cider_d(row, text, frequencies) for row, text in pairs]),
        "distinct_1": Distinct([ngrams(each, 1) for each in tokens]),
        "distinct_2": Distinct([ngrams(each, 2) for each in tokens]),
        "whole": Share([is_whole(text) for text in generated]),
        "words": mean([len(each) for each in tokens]),
    }
    if written is not None:
        statistics["ended"] = Share([each.ended for each in written])
        statistics["finished"] = Share(
            [each.ended and is_whole(text) for each, text in zip(written, generated, strict=True)]
        )
        weighed = [(each.log_likelihood, each.num_tokens) for each in written]
        known = [(value, count) for value, count in weighed if value is not None and count is not None]
        if len(known) == n:
            statistics["perplexity"] = perplexity(*zip(*known, strict=True))
    return Captions(statistics, n)


def perplexity(log_likelihoods: Sequence[float], num_tokens: Sequence[int]) -> Summed:
    """The exponential of the mean negative log-likelihood of a token, over all tokens of all rows.

    Args:
        log_likelihoods: Of each row, in nats, summed over its tokens.
        num_tokens: How many those are.

    Raises:
        DataError: A row has no token.
    """
    if min(num_tokens) < 1:
        raise DataError(f"row {[*num_tokens].index(min(num_tokens)) + 1} has no token to be weighed; leave it out")
    rows_NS = np.array([log_likelihoods, num_tokens], dtype=np.float64).T
    return Summed(rows_NS, lambda sums_RS: np.exp(-sums_RS[:, 0] / sums_RS[:, 1]))


def plain(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Figures as plain values, for a file."""
    return {name: asdict(figure) for name, figure in figures.items()}


def table(conditions: Mapping[str, Mapping[str, Any]], differences: Mapping[str, Mapping[str, Any]]) -> str:
    """Plain figures as lines of text: for each metric one line for each condition.

    Args:
        conditions: Figures by condition; the first is what the others are compared with.
        differences: By condition, the figures of the first less those of the condition.
    """
    first, *_ = conditions
    lines = [f"{'metric':<11} {'condition':<18} {'value':>8}  {'95% interval':<18} {'lost':>8}  {'95% interval':<18}"]
    for metric in conditions[first]:
        for name, figures in conditions.items():
            if metric not in figures:
                continue
            cells = [_cells(figures[metric]), *(_cells(differences[name][metric]) for _ in [0] if name in differences)]
            shown = "as trained" if name == "none" else name.replace("_", " ")
            lines.append(f"{metric if name == first else '':<11} {shown:<18} {' '.join(cells)}".rstrip())
    return "\n".join(line.rstrip() for line in lines)


def _cells(figure: Mapping[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['value']:>8.3f}  {f'[{low:.3f}, {high:.3f}]':<18}"
