"""Rows as words instead of tokens: enough to lay them out and measure them, without a tokenizer.

For tokenizers from scratch, one token a word, the counts are exact; for others a word is about `SUBWORDS` tokens.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from unspoken.errors import DataError
from unspoken.files import read_json
from unspoken.records import Example, Split, TextFormat, TokenizedExample, Tokens
from unspoken.tasks.base import Task

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SAMPLE_ROWS = 64
SUBWORDS = 1.6
"""Tokens of GPT-2 a word of the released data sets takes."""
END_OF_TEXT, IMAGE_SLOT = 0, -4

_WORD = re.compile(r"\n|\[\w+\]|\w+|[^\w\s]+")


@dataclass(frozen=True, slots=True)
class Data:
    """What is known of the rows of a task before they are tokenised.

    Attributes:
        sample: Some rows to measure.
        rows: Training rows; None where the data is not given yet.
        words: Different words; None where they are not known yet.
        num_images: Different images of the training rows; None where the data is not given yet.
        files: The rows of each split that is read from a file.
    """

    sample: Sequence[Example] = ()
    rows: int | None = None
    words: int | None = None
    num_images: int | None = None
    files: Mapping[Split, Sequence[Example]] = field(default_factory=dict)


def read_data(task: Task) -> Data:
    """What is known of the rows of a task.

    Raises:
        DataError: Data files that are given cannot be used, or a split that training needs has none.
    """
    settings, fixed = task.describe(), task.words()
    words = None if fixed is None else len(set(fixed))
    files = _read_files(task, settings)
    if settings.get("train") is None and "train_rows" in settings:
        # rows of another split measure as well, and need not be drawn by the thousand
        sample, rows = task.examples("validation")[0][:SAMPLE_ROWS], settings["train_rows"]
        return Data(sample, rows, words, round(_num_images(sample) / len(sample) * rows), files)
    if settings.get("train") is None:
        return Data(words=words, files=files)
    examples = files["train"]
    words = words or len(vocabulary_of(examples, task.text))
    return Data(examples[:SAMPLE_ROWS], len(examples), words, _num_images(examples), files)


def _read_files(task: Task, settings: Mapping[str, Any]) -> Mapping[Split, Sequence[Example]]:
    """The rows of the splits that have a file, and the complaint about one that needs a file and has none."""
    splits: list[Split] = [split for split in SPLITS if settings.get(split) is not None]
    makes_its_own = "validation_rows" in settings or settings.get("dataset") is not None
    if "train" in splits and "validation" not in splits and not makes_its_own:
        splits.insert(1, "validation")
    found: dict[Split, Sequence[Example]] = {}
    problems = []
    for split in splits:
        try:
            found[split] = task.examples(split)[0]
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    return found


def tokens_per_word(tokenizer: str | None) -> float:
    """Tokens that a word takes; exact for tokenizers from scratch and those of runs that began from scratch.

    Args:
        tokenizer: Its folder or Hugging Face id; None for one from scratch.
    """
    if tokenizer is None:
        return 1.0
    file = Path(tokenizer) / "tokenizer.json"
    is_of_words = file.is_file() and read_json(file).get("model", {}).get("type") == "WordLevel"
    return 1.0 if is_of_words else SUBWORDS


def _num_images(examples: Sequence[Example]) -> int:
    return len({image for example in examples for image in example.images})


def num_special_words() -> int:
    """Special tokens of a tokenizer from scratch: padding, end, unknown, and the three of thoughts."""
    return 6


def words_in(text: str) -> list[str]:
    """The words of a text, as `data.tokenize.WORD` cuts them."""
    return _WORD.findall(text)


def vocabulary_of(examples: Sequence[Example], text: TextFormat) -> set[str]:
    """Every word of the examples and of their format, as `data.tokenizer.words_of` collects them."""
    found = set(words_in(" ".join([text.premise_separator, text.question_end, text.step_end, text.answer_start])))
    for example in examples:
        steps = chain(example.steps, *example.other_steps)
        answers = (example.answer, *example.choices)
        pieces = (*example.premises, example.question, *example.rewordings, *steps, *answers)
        found.update(words_in(" ".join(pieces)))
    return found


def word_tokens(examples: Sequence[Example], text: TextFormat, slots: int = 0) -> list[TokenizedExample]:
    """The examples with every word a token: ids in order of appearance, 0 ends a text.

    Args:
        examples: The rows.
        text: How their pieces are written.
        slots: Positions that an image takes, in front of the text.
    """
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
                start=np.full(slots * len(example.images), IMAGE_SLOT, dtype=np.int32),
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
