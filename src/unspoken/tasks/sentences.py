"""Prose divided into sentences, so that each can be a step."""

import re
from collections.abc import Sequence


def sentences(text: str) -> Sequence[str]:
    """The sentences of a text in order, with single spaces; joined by spaces they hold every word of it.

    A sentence ends at a line break, or at a word that ends with a full stop, an exclamation or a question mark, unless
    that word is an abbreviation, an initial or the number of an item. What follows need not have a capital letter:
    many who write by hand leave it out.
    """
    found: list[str] = []
    for line in text.splitlines():
        words: list[str] = []
        for word in line.split():
            words.append(word)
            if _ends_sentence(word, opens_it=len(words) == 1):
                found.append(" ".join(words))
                words = []
        if words:
            found.append(" ".join(words))
    return tuple(found)


def _ends_sentence(word: str, *, opens_it: bool) -> bool:
    bare = word.strip("\"'()[]\u201c\u201d\u2018\u2019").lower()
    if not bare.endswith((".", "!", "?")) or bare in _ABBREVIATIONS or _INITIALS.fullmatch(bare):
        return False
    return not (opens_it and _ITEM.fullmatch(bare))


_ABBREVIATIONS = frozenset(("mr.", "mrs.", "ms.", "dr.", "st.", "vs.", "approx.", "fig.", "jr.", "sr."))
_INITIALS = re.compile(r"(?:[a-z]\.)+")
_ITEM = re.compile(r"\d+\.")
