"""What of a caption is compared: its words, without case and punctuation."""

import re
from collections import Counter
from unicodedata import normalize

Ngram = tuple[str, ...]

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_ENDS = tuple(".!?\u2026\u3002\uff01\uff1f")
_CLOSING = "\"'\u2019\u201d\u00bb)]"


def words(text: str) -> list[str]:
    """Letters, digits and apostrophes between them, in lower case; equal letters are written as equal characters."""
    return _WORD.findall(normalize("NFC", text).lower())


def ngrams(tokens: list[str], n: int) -> Counter[Ngram]:
    """How often each sequence of `n` words occurs."""
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


def is_whole(text: str) -> bool:
    """Whether a caption has words and stops where a sentence does: at its mark, quotes and brackets aside."""
    return bool(_WORD.search(text)) and text.rstrip().rstrip(_CLOSING).endswith(_ENDS)
