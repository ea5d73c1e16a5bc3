"""A-OKVQA: questions about photographs that need knowledge of the world (arXiv:2206.01718), in two forms.

As the first MultiCoCo prepared it, with the choices in the question and an index as the answer:

    {"image": "images/22jb.jpg", "question": "What is ...? The choices are 0 : a, 1 : b, 2 : c, 3 : d",
     "steps": ["He's smoking while riding.", ...], "answer": "3"}

and the official annotations, with the photographs of COCO, `<images>/000000299207.jpg`:

    {"split": "val", "image_id": 299207, "question_id": "22jb...", "question": "What is ...?", "choices": ["a", ...],
     "correct_choice_idx": 3, "direct_answers": ["cigarette", ...], "difficult_direct_answer": false,
     "rationales": ["He's smoking while riding.", ...]}

The keys of a row say which it is. The rationales are by different people and each explains the answer alone: they are
no chain. The labels of the official test split are not published; measure on the validation split.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal

from pydantic import Field

from unspoken.config import Count
from unspoken.errors import DataError
from unspoken.files import sha256_of
from unspoken.records import Example, Ledger, Split
from unspoken.tasks.chance import choose
from unspoken.tasks.choice_task import ChoiceTask, gold_index
from unspoken.tasks.choices import checked_choices, read_choice, split_choices
from unspoken.tasks.read_rows import Row, shown
from unspoken.tasks.rows import examples_from, required_path, text_field, value_of
from unspoken.tasks.sentences import sentences

CHOICES = 4
"""Choices of every question."""

_PREPARED = frozenset(("image", "steps", "answer"))
_OFFICIAL = frozenset(("image_id", "choices", "correct_choice_idx", "direct_answers", "rationales"))
_NEVER_READ = ("split", "question_id", "difficult_direct_answer")


class AOKVQA(ChoiceTask):
    """Photographs with questions, four choices and rationales; bring the files (17,056 / 1,145 / 6,702 rows)."""

    name: Literal["aokvqa"] = "aokvqa"
    images: Path = Field(default=Path("data/aokvqa/images"), validate_default=False)
    """Folder of the image files; no image outside of it is read."""
    rationale: Literal["each", "one", "sentences"] = "sentences"
    """Steps: each rationale is one (as MultiCoCo has it, though they are no chain); or one rationale, as one step; or
    the sentences of one."""
    seed: Count = 0
    """Chooses the one rationale of a row, by what the row says, so that neither its place nor its file matters."""

    @property
    def chance(self) -> float:
        """Expected accuracy of a guess."""
        return 1 / CHOICES

    def examples(self, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The rows of the split's file.

        Raises:
            DataError: The split has no file, or more than `max_bad_rows` of its rows are rejected.
        """
        examples, ledger = examples_from(
            required_path(self, split, self.name),
            self._parse,
            prefix=f"{self.name}/{split}",
            max_bad_rows=self.max_bad_rows,
            keys=("question", *_PREPARED, *_OFFICIAL, *_NEVER_READ),
        )
        return examples, self._with_note_on_repeats(examples, ledger)

    def direct_answers(self, split: Split) -> Mapping[str, Sequence[str]]:
        """What the annotators answered without seeing choices, by id of the example; for `choices.soft_accuracy`.

        Raises:
            DataError: As for `examples`; or a row has no direct answers, as in the prepared form.
        """
        found: dict[str, Sequence[str]] = {}

        def parse(row: Row, id: str) -> Example:
            example = self._parse(row, id)
            assert not isinstance(row, str), "_parse refuses lines of text"
            found[id] = _texts(row, "direct_answers")
            return example

        path = required_path(self, split, self.name)
        examples_from(path, parse, prefix=f"{self.name}/{split}", max_bad_rows=self.max_bad_rows)
        return found

    def _parse(self, row: Row, id: str) -> Example:
        if isinstance(row, str):
            raise DataError(f"{shown(row)} stands for a row; write an object as A-OKVQA has it")
        prepared, official = _PREPARED & row.keys(), _OFFICIAL & row.keys()
        if bool(prepared) == bool(official):
            keys = ", ".join(map(repr, sorted(row)[:12])) or "none"
            raise DataError(
                f"the keys are {keys}; a row has either image, question, steps and answer, or image_id, question, "
                "choices, correct_choice_idx and rationales"
            )
        return self._parse_prepared(row, id) if prepared else self._parse_official(row, id)

    def _parse_prepared(self, row: Mapping[str, Any], id: str) -> Example:
        _refuse_without_gold(row, "answer")
        question, listed = split_choices(text_field(row, "question"), "numbers")
        choices = self._four(list(listed))
        answer = str(row["answer"]) if type(row["answer"]) is int else text_field(row, "answer")
        gold = read_choice(answer, choices, "numbers", "label")
        if gold is None:
            raise DataError(f"answer is {shown(row['answer'])}; it must be 0 to 3, or the text of one of the choices")
        return self._row(id, question, choices, gold, _texts(row, "steps"), self._image(text_field(row, "image")))

    def _parse_official(self, row: Mapping[str, Any], id: str) -> Example:
        _refuse_without_gold(row, "correct_choice_idx")
        choices = self._four(value_of(row, "choices"))
        gold = gold_index(row, "correct_choice_idx", choices)
        number = value_of(row, "image_id")
        if type(number) is not int or number < 0:
            raise DataError(f"image_id is {shown(number)}; it must be the number of an image of COCO")
        question = text_field(row, "question")
        return self._row(id, question, choices, gold, _texts(row, "rationales"), f"{number:012d}.jpg")

    def _four(self, value: Any) -> tuple[str, ...]:
        choices = checked_choices(value, repeated=self.repeated_choices == "keep")
        if len(choices) != CHOICES:
            raise DataError(f"there are {len(choices)} choices, {shown(list(choices))}; write {CHOICES}")
        return choices

    def _row(
        self, id: str, question: str, choices: Sequence[str], gold: int, rationales: Sequence[str], image: str
    ) -> Example:
        if not question.strip():
            raise DataError("nothing stands before the choices; write the question there")
        return self._example(id, question, choices, gold, self._steps(question, choices, rationales), image)

    def _steps(self, question: str, choices: Sequence[str], rationales: Sequence[str]) -> Sequence[str]:
        if self.rationale == "each" or not rationales:
            return rationales
        # not by id, which holds the row's place, nor by image, whose path differs from machine to machine
        content = sha256_of([" ".join(question.split()), list(choices), list(rationales)])
        chosen = choose(rationales, Random(f"{self.seed}/aokvqa/{content}"))
        return (chosen,) if self.rationale == "one" else sentences(chosen)


def _texts(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The texts of a list, on one line each; those without a word are left out."""
    value = value_of(row, key)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DataError(f"{key} is {shown(value)}; it must be a list of texts")
    return tuple(" ".join(text.split()) for text in value if text.strip())


def _refuse_without_gold(row: Mapping[str, Any], key: str) -> None:
    if row.get(key) is None:
        raise DataError(
            f"no gold answer in {key!r}, as in the test split, whose answers are not published; give the train or the "
            "validation file"
        )
