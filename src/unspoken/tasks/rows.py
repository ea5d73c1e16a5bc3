"""From the rows of a file to examples: every row becomes one, or the ledger says where it stands and what is wrong.

train.json: 2 of 500 rows rejected, 498 kept; mend them, or set task.max_bad_rows=2 to leave them out
  row 17: no 'answer'; found the keys 'question', 'steps'; add it, or rename the key that holds it
  row 340: steps is the text '2+3=5'; it must be a list of texts, one for each step, or []
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from unspoken.config import DataPaths
from unspoken.errors import DataError
from unspoken.records import Example, Ledger, Rejection, Split
from unspoken.tasks.read_rows import Row, Rows, read_rows, shown
from unspoken.tasks.shared import contradictions, exactly, number_of

Parse: TypeAlias = Callable[[Row, str], Example]
"""Makes an example of a row and of the id it is to have; raises DataError with what is wrong and what to do."""

MAX_NAMED = 20
"""Rejected rows that an error message spells out; the ledger holds them all."""

MAX_CONTRADICTIONS = 5
"""Pairs of rows with one question and two answers that a note names."""


class Fields(NamedTuple):
    """The three fields of a row, checked."""

    question: str
    steps: tuple[str, ...]
    answer: str


def examples_from(
    path: Path, parse: Parse, *, prefix: str, max_bad_rows: int = 0, keys: Collection[str] | None = None
) -> tuple[tuple[Example, ...], Ledger]:
    """The examples that the rows of a file make, and the account of every row.

    Args:
        path: A JSON list, JSON lines, or lines of text.
        parse: Makes an example of a row; a row for which it raises DataError is rejected.
        prefix: An example's id is this, a slash, and the row number.
        max_bad_rows: Up to so many rows may be rejected and are then left out; one more is an error.
        keys: Keys that `parse` reads; other keys are counted in the notes. None: do not look at keys.

    Raises:
        DataError: The file cannot be read or holds no row; or too many rows are rejected, and one error names them.
    """
    return examples_of(read_rows(path), parse, prefix=prefix, max_bad_rows=max_bad_rows, keys=keys)


def examples_of(
    rows: Rows, parse: Parse, *, prefix: str, max_bad_rows: int = 0, keys: Collection[str] | None = None
) -> tuple[tuple[Example, ...], Ledger]:
    """As `examples_from`, for rows that are read.

    Raises:
        DataError: Too many rows are rejected, and one error names them.
    """
    kept: list[Example] = []
    rejected = list(rows.unreadable)
    for number, row in rows.found:
        try:
            kept.append(writable(parse(row, f"{prefix}/{number}")))
        except DataError as error:
            rejected.append(Rejection(rows.source, number, str(error)))
    rejected.sort(key=lambda rejection: rejection.row)
    enforce(rows.source, len(kept), rejected, max_bad_rows)
    notes = (*notes_on_examples(kept), *_notes_on_rows([row for _, row in rows.found], keys))
    ledger = Ledger(len(kept) + len(rejected), len(kept), tuple(rejected), notes)
    return tuple(kept), ledger


def path_of(paths: DataPaths, split: Split) -> Path | None:
    """The file of a split, or None when none is set."""
    return {"train": paths.train, "validation": paths.validation, "test": paths.test}[split]


def required_path(paths: DataPaths, split: Split, task: str) -> Path:
    """The file of a split of a task that has no generator.

    Raises:
        DataError: None is set.
    """
    path = path_of(paths, split)
    if path is None:
        raise DataError(f"task {task} has no {split} file; set task.{split} to the path of one")
    return path


def question_steps_answer(row: Row) -> Fields:
    """The fields of a row, their text unchanged. Steps without text (the release writes none as `[""]`) are left out.

    Raises:
        DataError: A field is missing, empty, or of another type.
    """
    if isinstance(row, str):
        raise DataError(f"{shown(row)} stands for a row; write an object with question, steps and answer")
    steps = value_of(row, "steps")
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise DataError(f"steps is {shown(steps)}; it must be a list of texts, one for each step, or []")
    return Fields(text_field(row, "question"), tuple(step for step in steps if step.strip()), _answer(row))


def text_field(row: Mapping[str, Any], key: str) -> str:
    """The value of a key that must hold a text with something in it.

    Raises:
        DataError: The key is missing, or its value is empty or no text.
    """
    value = value_of(row, key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{key} is {shown(value)}; it must be a text that is not empty")
    return value


def _answer(row: Mapping[str, Any]) -> str:
    value = value_of(row, "answer")
    # a truth value is an int in Python, but none that anyone would write as an answer
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"answer is {shown(value)}; it must be a text that is not empty, or an integer")
    return value


def value_of(row: Mapping[str, Any], key: str) -> Any:
    """What a row holds under a key.

    Raises:
        DataError: The key is not there; the keys that are, are named.
    """
    if key not in row:
        found = ", ".join(repr(name) for name in sorted(row)[:10]) or "none"
        raise DataError(f"no {key!r}; found the keys {found}; add it, or rename the key that holds it")
    return row[key]


def writable(example: Example) -> Example:
    """The example itself, unless it holds half a surrogate pair or NUL, which no tokenizer gives back unchanged."""
    further = (*chain(*example.other_steps), *example.choices, *example.direct_answers)
    for text in (*example.premises, example.question, *example.steps, example.answer, *further):
        match = _UNWRITABLE.search(text)
        if match:
            raise DataError(f"the character U+{ord(match[0]):04X} stands in {shown(text)}; remove or replace it")
    return example


_UNWRITABLE = re.compile("[\0\ud800-\udfff]")


def enforce(source: str | Path, num_kept: int, rejected: Sequence[Rejection], max_bad_rows: int) -> None:
    """Refuse a file with more rejected rows than allowed, or without any other.

    Raises:
        DataError: Names the first `MAX_NAMED` rejected rows, and counts the others.
    """
    if num_kept and len(rejected) <= max_bad_rows:
        return
    remedy = f"mend them, or set task.max_bad_rows={len(rejected)} to leave them out" if num_kept else "mend them"
    lines = [
        f"{source}: {len(rejected)} of {num_kept + len(rejected)} rows rejected, {num_kept} kept; {remedy}",
        *(f"row {rejection.row}: {rejection.reason}" for rejection in rejected[:MAX_NAMED]),
    ]
    if len(rejected) > MAX_NAMED:
        lines.append(f"and {len(rejected) - MAX_NAMED} more")
    raise DataError("\n  ".join(lines))


def notes_on_examples(examples: Sequence[Example]) -> list[str]:
    """Remarks on rows that are kept: those without steps, repeated questions, and what contradicts itself."""
    notes = []
    without_steps = sum(not example.steps for example in examples)
    if without_steps:
        notes.append(f"{_rows(without_steps)} without steps: a curriculum has nothing to replace by thoughts there")
    repeated = len(examples) - len({exactly(example) for example in examples})
    if repeated:
        notes.append(f"{_rows(repeated)} with the question of an earlier row; kept")
    pairs = contradictions(examples)
    if pairs:
        named = [
            f"row {number_of(row)} ({shown(row.answer)}) and row {number_of(earlier)} ({shown(earlier.answer)})"
            for row, earlier in pairs[:MAX_CONTRADICTIONS]
        ]
        more = [f"and {len(pairs) - len(named):,} more"] if len(pairs) > len(named) else []
        notes.append(f"{_rows(len(pairs))} of these with another answer than it: {', '.join([*named, *more])}")
    return notes


def _notes_on_rows(rows: Sequence[Row], keys: Collection[str] | None) -> list[str]:
    objects = [row for row in rows if not isinstance(row, str)]
    notes = []
    empty_steps = sum(_has_empty_step(row.get("steps")) for row in objects)
    if empty_steps:
        notes.append(f"{_rows(empty_steps)} with a step without text, which is left out")
    if keys is not None:
        unread = Counter(key for row in objects for key in row if key not in keys)
        for key, count in sorted(unread.items()):
            remark = "images are not read by this task" if key == "image" else "it is not read"
            notes.append(f"{_rows(count)} with the key {key!r}: {remark}")
    return notes


def _has_empty_step(steps: Any) -> bool:
    return isinstance(steps, list) and any(isinstance(step, str) and not step.strip() for step in steps)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
