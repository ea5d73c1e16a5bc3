"""ROUGE-L: the longest sequence of words that two captions share, gaps allowed (Lin 2004, W04-1013)."""

from collections.abc import Sequence

from unspoken.evaluation.captions.words import words


def rouge_l(references: Sequence[str], generated: str) -> float:
    """Harmonic mean of the shares that it has of the caption and of the reference; that of the best reference."""
    written = words(generated)
    return max(_f1(words(reference), written) for reference in references)


def _f1(reference: list[str], written: list[str]) -> float:
    # 2PR / (P + R) with P = shared / written and R = shared / reference
    return 2 * shared(reference, written) / max(len(reference) + len(written), 1)


def shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    A row of the usual table grows by at most one from cell to cell, so its bits hold where it does not: an addition
    carries through a whole row at once (Hyyrö 2004). A megabyte is compared in the time of a sentence this way.
    """
    short, long = sorted((one, other), key=len)
    places: dict[str, int] = {}
    for place, word in enumerate(short):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(short)) - 1
    level = everywhere
    for word in long:
        met = level & places.get(word, 0)
        level = ((level + met) | (level - met)) & everywhere
    return len(short) - level.bit_count()
