"""A-OKVQA: questions about photographs that need knowledge of the world (arXiv:2206.01718), in two forms.

As the first MultiCoCo prepared it, with the choices in the question and an index as the answer:

    {"image": "images/22jb.jpg", "question": "What is ...? The choices are 0 : a, 1 : b, 2 : c, 3 : d",
     "steps": ["He's smoking while riding.", ...], "answer": "3"}

and the official annotations, with the photographs of COCO, `<images>/000000299207.jpg`:

    {"split": "val", "image_id": 299207, "question_id": "22jb...", "question": "What is ...?", "choices": ["a", ...],
     "correct_choice_idx": 3, "direct_answers": ["cigarette", ...], "difficult_direct_answer": false,
     "rationales": ["He's smoking while riding.", ...]}

The keys of a row say which it is. The annotations may come from a data set, with the photographs in it
(`dataset: HuggingFaceM4/A-OKVQA`). The rationales are by different people and each explains the answer alone: they are
no chain. The labels of the official test split are not published; measure on the validation split.
"""

from ast import literal_eval
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from unspoken.config import Count
from unspoken.errors import DataError
from unspoken.files import sha256_of
from unspoken.records import Example, Ledger, Split
from unspoken.tasks.chance import choose
from unspoken.tasks.choice_task import ChoiceTask, gold_index
from unspoken.tasks.choices import checked_choices, read_choice, split_choices
from unspoken.tasks.read_rows import Row, read_rows, shown
from unspoken.tasks.rows import examples_of, text_field, value_of
from unspoken.tasks.sentences import sentences

CHOICES = 4
"""Choices of every question."""

_PREPARED = frozenset(("image", "steps", "answer"))
_OFFICIAL = frozenset(("image_id", "choices", "correct_choice_idx", "direct_answers", "rationales"))
_NEVER_READ = ("split", "question_id", "difficult_direct_answer")


class AOKVQA(ChoiceTask):
    """Photographs with questions, four choices and rationales; bring files or a data set (17,056 / 1,145 / 6,702)."""

    name: Literal["aokvqa"] = "aokvqa"
    images: Path = Field(default=Path("data/aokvqa/images"), validate_default=False)
    """Folder of the image files; no image outside of it is read."""
    rationale: Literal["each", "one", "sentences"] = "sentences"
    """Steps: each rationale is one (as MultiCoCo has it, though they are no chain); or one rationale, as one step; or
    the sentences of one."""
    rationale_per: Literal["row", "epoch"] = "row"
    """Whether a row keeps its one rationale, or in training takes another one each epoch until it has had all."""
    ask: Literal["choices", "direct"] = "choices"
    """Whether the question offers its choices, or none: then the answer is the commonest direct answer, in words."""
    seed: Count = 0
    """Chooses the one rationale of a row, by what the row says, so that neither its place nor its file matters."""

    @model_validator(mode="after")
    def _one_of_several_can_be_taken(self) -> Self:
        if self.rationale == "each" and self.rationale_per == "epoch":
            raise ValueError(
                "rationale: each makes all rationales steps at once, rationale_per: epoch takes one of them an epoch; "
                "set rationale to one or sentences, or rationale_per to row"
            )
        return self

    @property
    def chance(self) -> float:
        """Expected accuracy of a guess."""
        return 1 / CHOICES

    def examples(self, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The rows of the split's file, or those of the data set.

        Raises:
            DataError: The split has neither, or more than `max_bad_rows` of its rows are rejected.
        """
        source = self._source(split)
        examples, ledger = examples_of(
            read_rows(source) if isinstance(source, Path) else source,
            self._parse if isinstance(source, Path) else self._parse_loaded,
            prefix=f"{self.name}/{split}",
            max_bad_rows=self.max_bad_rows,
            keys=("question", *_PREPARED, *_OFFICIAL, *_NEVER_READ),
        )
        return examples, self._with_note_on_repeats(examples, ledger)

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

    def _parse_loaded(self, row: Row, id: str) -> Example:
        """A row of a data set: its image is a file in `images`, and there are as many columns as its makers liked."""
        assert not isinstance(row, str), "the rows of a data set have columns"
        if not _OFFICIAL & row.keys():
            return self._parse_prepared(row, id)
        return self._parse_annotations(_with_listed_answers(row), id, text_field(row, "image"))

    def _parse_prepared(self, row: Mapping[str, Any], id: str) -> Example:
        _refuse_without_gold(row, "answer")
        question, listed = split_choices(text_field(row, "question"), "numbers")
        choices = self._four(list(listed))
        answer = str(row["answer"]) if type(row["answer"]) is int else text_field(row, "answer")
        gold = read_choice(answer, choices, "numbers", "label")
        if gold is None:
            raise DataError(f"answer is {shown(row['answer'])}; it must be 0 to 3, or the text of one of the choices")
        example = self._row(id, question, choices, gold, _texts(row, "steps"), self._image(text_field(row, "image")))
        return example if self.ask == "choices" else _asked_directly(example, question)

    def _parse_official(self, row: Mapping[str, Any], id: str) -> Example:
        number = value_of(row, "image_id")
        if type(number) is not int or number < 0:
            raise DataError(f"image_id is {shown(number)}; it must be the number of an image of COCO")
        return self._parse_annotations(row, id, f"{number:012d}.jpg")

    def _parse_annotations(self, row: Mapping[str, Any], id: str, image: str) -> Example:
        _refuse_without_gold(row, "correct_choice_idx")
        choices = self._four(value_of(row, "choices"))
        gold = gold_index(row, "correct_choice_idx", choices)
        question = text_field(row, "question")
        example = self._row(id, question, choices, gold, _texts(row, "rationales"), image)
        given = _texts(row, "direct_answers") if "direct_answers" in row else ()
        example = replace(example, direct_answers=given)
        return example if self.ask == "choices" else _asked_directly(example, question)

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
        if self.rationale == "each" or not rationales:
            return self._example(id, question, choices, gold, rationales, image)
        # not by id, which holds the row's place, nor by image, whose path differs from machine to machine
        content = sha256_of([" ".join(question.split()), list(choices), list(rationales)])
        chosen = choose(range(len(rationales)), Random(f"{self.seed}/aokvqa/{content}"))
        example = self._example(id, question, choices, gold, self._steps(rationales[chosen]), image)
        if self.rationale_per == "row":
            return example
        others = (self._steps(text) for place, text in enumerate(rationales) if place != chosen)
        return replace(example, other_steps=tuple(others))

    def _steps(self, rationale: str) -> tuple[str, ...]:
        return (rationale,) if self.rationale == "one" else tuple(sentences(rationale))


def _asked_directly(example: Example, question: str) -> Example:
    """The row without its choices; its answer is the one that most annotators gave, of several the first."""
    if not example.direct_answers:
        raise DataError("it has no direct_answers, so nobody answered it without choices; set task.ask=choices")
    answer = Counter(example.direct_answers).most_common(1)[0][0]
    return replace(example, question=" ".join(question.split()), answer=answer, choices=())


def _texts(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The texts of a list, on one line each; those without a word are left out."""
    value = value_of(row, key)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DataError(f"{key} is {shown(value)}; it must be a list of texts")
    return tuple(" ".join(text.split()) for text in value if text.strip())


def _with_listed_answers(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with its direct answers as a list, where a data set has them as the text of one."""
    text = row.get("direct_answers")
    if not isinstance(text, str):
        return row if text is not None else {key: row[key] for key in row if key != "direct_answers"}
    try:
        return {**row, "direct_answers": literal_eval(text) if text.strip() else []}
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"direct_answers is {shown(text)}; it must be a list of texts, or the text of one") from error


def _refuse_without_gold(row: Mapping[str, Any], key: str) -> None:
    if row.get(key) is None:
        raise DataError(
            f"no gold answer in {key!r}, as in the test split, whose answers are not published; give the train or the "
            "validation file"
        )
