"""Rows as words instead of tokens: enough to lay them out and measure them, without a tokenizer.

For tokenizers from scratch, one token a word, the counts are exact; for others a word is about `SUBWORDS` tokens.
"""

import re
from collections.abc import Sequence

import numpy as np

from unspoken.records import Example, TextFormat, TokenizedExample, Tokens

SAMPLE_ROWS = 64
SUBWORDS = 1.6
"""Tokens of GPT-2 a word of the released data sets takes."""
END_OF_TEXT = 0

_WORD = re.compile(r"\n|\[\w+\]|\w+|[^\w\s]+")


def num_special_words() -> int:
    """Special tokens of a tokenizer from scratch: padding, end, unknown, and the three of thoughts."""
    return 6


def words_in(text: str) -> list[str]:
    """The words of a text, as `data.tokenizer.WORD` cuts them."""
    return _WORD.findall(text)


def vocabulary_of(examples: Sequence[Example], text: TextFormat) -> set[str]:
    """Every word of the examples and of their format, as `data.tokenizer.words_of` collects them."""
    found = set(words_in(" ".join([text.premise_separator, text.question_end, text.step_end, text.answer_start])))
    for example in examples:
        pieces = (*example.premises, example.question, *example.rewordings, *example.steps, example.answer)
        found.update(words_in(" ".join(pieces)))
    return found


def word_tokens(examples: Sequence[Example], text: TextFormat) -> list[TokenizedExample]:
    """The examples with every word a token: ids in order of appearance, 0 ends a text."""
    ids: dict[str, int] = {}

    def tokens(piece: str) -> Tokens:
        return np.array([ids.setdefault(word, len(ids) + 1) for word in words_in(piece)], dtype=np.int32)

    rows = []
    for example in examples:
        after_premises = text.premise_separator if example.premises else ""
        questions = (example.question, *example.rewordings)
        answer = tokens(text.answer_start + example.answer)
        rows.append(
            TokenizedExample(
                id=example.id,
                start=tokens(""),
                premises=tuple(
                    tokens((text.premise_separator if index else "") + premise)
                    for index, premise in enumerate(example.premises)
                ),
                questions=tuple(tokens(after_premises + question + text.question_end) for question in questions),
                steps=tuple(tokens(step + text.step_end) for step in example.steps),
                answer=np.append(answer, np.int32(END_OF_TEXT)),
                answer_start=len(words_in(text.answer_start)),
                frontiers=tuple(tuple(int(tokens(word)[0]) for word in words) for words in example.frontiers),
            )
        )
    return rows
