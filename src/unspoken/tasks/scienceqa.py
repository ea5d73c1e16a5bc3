"""ScienceQA: questions of school science with lectures and solutions, about half with an image (arXiv:2209.09513).

The official `problems.json` is one object for all splits, with the images in `<images>/<split>/<id>/image.png`:

    {"1": {"question": "Which ...?", "choices": ["a", "b"], "answer": 0, "hint": "", "image": "image.png",
           "lecture": "...", "solution": "...", "split": "train", ...}, ...}

Set the same file for every split. The rows that MultiCoCo prepared from it are a list, or one a line:

    {"question": "Which ...? Hint: ... Choices are: a, b", "steps": ["...", ...], "answer": "a", "image": "1.png"}

They do not say where a choice with a comma in it ends: when the answer is none of the parts, or there are more parts
than any question has choices, the row is rejected; otherwise such a choice is read as several.

The columns of `problems.json` may also come from a data set, with the images in it (`dataset: derek-thomas/ScienceQA`).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt

from unspoken.errors import DataError
from unspoken.files import parse_json, read_text
from unspoken.records import Example, Ledger, Rejection, Split
from unspoken.tasks.choice_task import ChoiceTask, gold_index
from unspoken.tasks.choices import checked_choices
from unspoken.tasks.read_rows import Row, shown
from unspoken.tasks.rows import (
    enforce,
    examples_from,
    examples_of,
    notes_on_examples,
    question_steps_answer,
    text_field,
    value_of,
    writable,
)
from unspoken.tasks.sentences import sentences

MOST_CHOICES = 5
"""No question of ScienceQA has more."""

_NAMES: Mapping[Split, str] = {"train": "train", "validation": "val", "test": "test"}
_CHOICES = re.compile(r"\s*\bChoices are:")
# 1,000 is one choice
_COMMA = re.compile(r",\s+")
# the first value of the object is a row: in a file of one row a line it is a text
_PROBLEMS = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{')
_ID = re.compile(r"[\w-]+")


class ScienceQA(ChoiceTask):
    """School science with two to five choices; bring files or a data set (12,726 / 4,241 / 4,241 rows)."""

    name: Literal["scienceqa"] = "scienceqa"
    images: Path = Field(default=Path("data/scienceqa/images"), validate_default=False)
    """Folder of the image files; no image outside of it is read."""
    reasoning: Literal["lecture and solution", "solution"] = "lecture and solution"
    """What of `problems.json` becomes steps, a sentence each; prepared rows bring their steps."""
    max_answer_tokens: PositiveInt = 512
    """Longest answer to generate, words of the reasoning included."""

    def examples(self, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The rows of the split's file; those of `problems.json` that are of another split stand in the ledger.

        Or those of the data set, where the split has no file.

        Raises:
            DataError: The split has no source or no row, or more than `max_bad_rows` of its rows are rejected.
        """
        source = self._source(split)
        prefix = f"{self.name}/{split}"
        examples: Sequence[Example]
        if not isinstance(source, Path):
            examples, ledger = examples_of(source, self._parse_loaded, prefix=prefix, max_bad_rows=self.max_bad_rows)
        elif _PROBLEMS.match(text := read_text(source)):
            examples, ledger = self._problems(source, text, split)
        else:
            examples, ledger = examples_from(
                source,
                self._parse_prepared,
                prefix=prefix,
                max_bad_rows=self.max_bad_rows,
                keys=("question", "steps", "answer", "image"),
            )
        return examples, self._with_note_on_repeats(examples, ledger)

    def _problems(self, path: Path, text: str, split: Split) -> tuple[Sequence[Example], Ledger]:
        problems = parse_json(text, str(path))
        kept: list[Example] = []
        bad: list[Rejection] = []
        others: list[Rejection] = []
        for position, (key, row) in enumerate(problems.items(), 1):
            try:
                found = _split_of(key, row)
                if found != split:
                    others.append(Rejection(str(path), position, f"it is of the split {found}; {split} is read"))
                else:
                    name = _text_or_nothing(row, "image")
                    image = f"{_NAMES[split]}/{key}/{name}" if name else None
                    kept.append(writable(self._parse_problem(row, f"{self.name}/{split}/{key}", image)))
            except DataError as error:
                bad.append(Rejection(str(path), position, f"problem {shown(key)}: {error}"))
        if not kept and not bad:
            raise DataError(f"{path} has no row of the split {split} among {len(problems):,}; give a file that has")
        enforce(path, len(kept), bad, self.max_bad_rows)
        rejected = tuple(sorted((*bad, *others), key=lambda rejection: rejection.row))
        return tuple(kept), Ledger(len(problems), len(kept), rejected, tuple(notes_on_examples(kept)))

    def _parse_loaded(self, row: Row, id: str) -> Example:
        """A row of a data set: as in `problems.json`, or prepared; its image is a file in `images`."""
        assert not isinstance(row, str), "the rows of a data set have columns"
        if "choices" not in row:
            return self._parse_prepared(row, id)
        return self._parse_problem(row, id, _text_or_nothing(row, "image") or None)

    def _parse_problem(self, row: Mapping[str, Any], id: str, image: str | None) -> Example:
        question = text_field(row, "question")
        choices = self._checked(value_of(row, "choices"))
        value_of(row, "answer")
        gold = gold_index(row, "answer", choices)
        if hint := _text_or_nothing(row, "hint"):
            question = f"{question} Hint: {hint}"
        lecture, solution = _text_or_nothing(row, "lecture"), _text_or_nothing(row, "solution")
        told = solution if self.reasoning == "solution" else f"{lecture}\n{solution}"
        return self._example(id, question, choices, gold, sentences(told), image)

    def _parse_prepared(self, row: Row, id: str) -> Example:
        fields = question_steps_answer(row)
        assert not isinstance(row, str), "question_steps_answer refuses lines of text"
        starts = list(_CHOICES.finditer(fields.question))
        if not starts:
            raise DataError(f"no 'Choices are:' in {shown(fields.question)}; end the question with it")
        question, listed = fields.question[: starts[-1].start()], fields.question[starts[-1].end() :]
        if not question.strip():
            raise DataError("nothing stands before 'Choices are:'; write the question there")
        choices = self._checked(_COMMA.split(listed))
        answer = " ".join(fields.answer.split())
        if answer not in choices:
            raise DataError(
                f"answer is {shown(answer)}, which is none of the choices {shown(list(choices))}; if a choice holds a "
                "comma, take the row from problems.json"
            )
        name = _text_or_nothing(row, "image") if "image" in row else ""
        steps = [" ".join(step.split()) for step in fields.steps]
        image = self._image(name) if name else None
        return self._example(id, question, choices, choices.index(answer), steps, image)

    def _checked(self, value: Any) -> tuple[str, ...]:
        choices = checked_choices(value, repeated=self.repeated_choices == "keep")
        if len(choices) > MOST_CHOICES:
            raise DataError(
                f"there are {len(choices)} choices, {shown(list(choices))}; ScienceQA has at most {MOST_CHOICES}. If "
                "a choice holds a comma, take the row from problems.json"
            )
        return choices


def _split_of(key: str, row: Any) -> Split:
    if not isinstance(row, dict):
        raise DataError(f"{shown(row)} stands for a row; write an object as ScienceQA has it")
    if not _ID.fullmatch(key):
        raise DataError("an id is made of letters, digits, - and _, for it is the name of a folder; change it")
    name = value_of(row, "split")
    for split, official in _NAMES.items():
        if name == official:
            return split
    raise DataError(f"split is {shown(name)}; it must be train, val or test")


def _text_or_nothing(row: Mapping[str, Any], key: str) -> str:
    """The text of a key that may be empty or null."""
    value = value_of(row, key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{key} is {shown(value)}; it must be a text, or null")
    return (value or "").strip()
