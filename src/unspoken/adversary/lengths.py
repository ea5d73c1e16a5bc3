"""True and false captions of one length: how long a caption is tells a discriminator nothing."""

from collections.abc import Sequence

import numpy as np

from unspoken.records import Tokens


def matched(one: Tokens, other: Tokens) -> tuple[Tokens, Tokens]:
    """The beginnings of two captions, without their ends of sequence, as long as each other.

    They are one token shorter than the shorter caption: of two that are cut where one ends, the other would be known by
    stopping in the middle. A caption of one token or none stays as it is.
    """
    kept = without_end(min(len(one), len(other)))
    return one[:kept], other[:kept]


def without_end(length: int) -> int:
    """How many tokens are shown of a caption of this length."""
    return max(length - 1, 1)


def side_by_side(captions: Sequence[Tokens]) -> tuple[Tokens, np.ndarray]:
    """Captions as rows, padded on the right with 0, and where they have a token; at least one column."""
    shape = (len(captions), max([1, *map(len, captions)]))
    tokens, is_word = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=bool)
    for row, caption in enumerate(captions):
        tokens[row, : len(caption)], is_word[row, : len(caption)] = caption, True
    return tokens, is_word
