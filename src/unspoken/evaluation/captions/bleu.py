"""BLEU of the whole corpus, up to four words (Papineni et al. 2002, ACL), as sacrebleu counts it.

Its tokens are those of sacrebleu's default, in lower case; the figure is a share here, not a percentage.

Shapes: N rows, R resamples, S sums.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from unspoken.errors import RecipeError
from unspoken.evaluation.captions.statistics import Array, Summed

_ORDERS = 4
_SMOOTHING = "exp"


def sacrebleu_bleu() -> Any:
    """The metric of sacrebleu, which is imported when it is needed.

    Raises:
        RecipeError: It is not installed.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ModuleNotFoundError as error:
        raise RecipeError("captions", ["BLEU needs sacrebleu, which is missing; install unspoken[caption]"]) from error
    # the order of a row concerns its own score, which nobody reads; so does the warning that False would bring
    return BLEU(lowercase=True, effective_order=True)


def signature() -> str:
    """The settings and the version of sacrebleu, as it writes them.

    Raises:
        RecipeError: It is not installed.
    """
    metric = sacrebleu_bleu()
    return f"case:lc|eff:no|tok:{metric.tokenizer.signature()}|smooth:{_SMOOTHING}|version:{version('sacrebleu')}"


def bleu(references: Sequence[Sequence[str]], generated: Sequence[str]) -> Summed:
    """BLEU-4 of captions.

    Args:
        references: Those of each row.
        generated: One for each row.

    Raises:
        RecipeError: sacrebleu is not installed.
    """
    metric = sacrebleu_bleu()
    rows = [metric.sentence_score(text, list(right)) for text, right in zip(generated, references, strict=True)]
    rows_NS = np.array([[*row.counts, *row.totals, row.sys_len, row.ref_len] for row in rows], dtype=np.float64)

    def of(sums_RS: Array) -> Array:
        return np.array([_of_sums(metric, [round(each) for each in sums]) for sums in sums_RS.tolist()])

    return Summed(rows_NS, of)


def _of_sums(metric: Any, sums: list[int]) -> float:
    score: float = metric.compute_bleu(
        correct=sums[:_ORDERS],
        total=sums[_ORDERS : 2 * _ORDERS],
        sys_len=sums[-2],
        ref_len=sums[-1],
        smooth_method=_SMOOTHING,
        effective_order=False,
    ).score
    return score / 100
