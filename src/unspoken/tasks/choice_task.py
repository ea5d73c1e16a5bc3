"""What tasks of questions with choices about images share: settings, images, how an answer is written and scored."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt

from unspoken.config import Count, DataPaths
from unspoken.errors import DataError
from unspoken.records import Example, Ledger, Score, Split
from unspoken.tasks.base import Task
from unspoken.tasks.choices import (
    AnswerForm,
    Labels,
    read_choice,
    soft_accuracy,
    split_choices,
    with_choices,
    written,
)
from unspoken.tasks.dataset_rows import dataset_rows
from unspoken.tasks.read_rows import Rows, shown
from unspoken.tasks.rows import path_of


class ChoiceTask(Task, DataPaths):
    """Base of tasks whose rows hold a question, choices of which one is right, and perhaps an image."""

    images: Path = Field(default=Path("data/images"), validate_default=False)
    """Folder of the image files; no image outside of it is read."""
    image_paths: Literal["whole", "name"] = "whole"
    """What counts of an image path in a row: all of it, or the file name alone (rows from another machine)."""
    dataset: str | None = None
    """Id or folder of a `datasets` data set, for splits without a file; its images are written into `images`."""
    dataset_revision: str | None = None
    """Commit, branch or tag of `dataset`, when it is an id."""
    choice_labels: Labels = "numbers"
    """How choices are labelled, whatever the source: 0, 1, 2 or A, B, C."""
    answer: AnswerForm = "both"
    """How the answer is written: `2`, `dog` or `2 : dog`. All are read; a label with another text is no answer."""
    repeated_choices: Literal["reject", "keep"] = "reject"
    """Whether rows with two equal choices are bad; kept, the two are one answer, written with the first label."""
    max_answer_tokens: PositiveInt = 128
    """Longest answer to generate, words of the reasoning included."""
    max_bad_rows: Count = 0
    """Rows that may be left out because something is wrong with them; each one is in the ledger."""

    @property
    def has_images(self) -> bool:
        """See `Task.has_images`."""
        return True

    @property
    def image_root(self) -> Path:
        """The folder `images`."""
        return self.images

    @property
    def max_new_tokens(self) -> int:
        """As set."""
        return self.max_answer_tokens

    def choices(self, example: Example) -> tuple[str, ...]:
        """The choices that the question offers, in order.

        Raises:
            DataError: The question offers none.
        """
        return split_choices(example.question, self.choice_labels)[1]

    def score(self, example: Example, text: str) -> Score:
        """Judge by the choice that the text names after its last `answer_start`; none or two of them is no answer.

        An answer to a question that offers no choices is judged word by word, see `Task.score`.
        """
        if not example.choices:
            return super().score(example, text)
        named = self._named(text, self.choices(example))
        if named is None:
            return Score("no answer", None)
        return Score("right" if named == self.normalise(example.answer) else "wrong", named)

    def credit(self, example: Example, predicted: str | None) -> float | None:
        """VQA soft accuracy of the answer's words where annotators answered, too, see `choices.soft_accuracy`."""
        if len(example.direct_answers) < 2:
            return None
        if predicted is None:
            return 0.0
        words = self.choices(example)[example.choices.index(predicted)] if example.choices else predicted
        return soft_accuracy(words, example.direct_answers)

    def normalise(self, answer: str) -> str:
        """Single spaces and nothing else: choices may differ by a comma or a capital."""
        return " ".join(answer.split())

    def _named(self, text: str, choices: Sequence[str]) -> str | None:
        _, marker, answer = text.rpartition(self.text.answer_start.strip())
        index = read_choice(answer, choices, self.choice_labels, self.answer) if marker else None
        return None if index is None else written(index, choices, self.choice_labels, self.answer)

    def _source(self, split: Split) -> Path | Rows:
        """The file of a split, or its rows in the data set.

        Raises:
            DataError: There is neither, or the data set cannot be read.
        """
        path = path_of(self, split)
        if path is not None:
            return path
        if self.dataset is None:
            raise DataError(
                f"task {self.name} has no {split} file; set task.{split} to the path of one, or task.dataset to the id "
                "of a data set"
            )
        return dataset_rows(self.dataset, self.dataset_revision, split, self.images)

    def _example(
        self, id: str, question: str, choices: Sequence[str], gold: int, steps: Sequence[str], image: str | None
    ) -> Example:
        """A row in the one form.

        Raises:
            DataError: Its choices cannot be told apart, or no output could give its gold answer.
        """
        asked = with_choices(" ".join(question.split()), choices, self.choice_labels)
        answer = written(gold, choices, self.choice_labels, self.answer)
        if self._named(self.text.answer_start + answer, choices) != answer:
            raise DataError(
                f"the gold answer, {shown(answer)}, would not be read as that choice, so no output could be right; "
                "reword the choices, or set task.choice_labels or task.answer to another form"
            )
        return Example(
            id,
            asked,
            tuple(steps),
            answer,
            images=() if image is None else (image,),
            choices=tuple(written(index, choices, self.choice_labels, self.answer) for index in range(len(choices))),
        )

    def _image(self, path: str) -> str:
        return path if self.image_paths == "whole" else path.replace("\\", "/").rpartition("/")[2]

    def _with_note_on_repeats(self, examples: Sequence[Example], ledger: Ledger) -> Ledger:
        if self.repeated_choices == "reject":
            return ledger
        count = sum(len(set(offered)) < len(offered) for offered in map(self.choices, examples))
        note = f"{count:,} {'row' if count == 1 else 'rows'} with two equal choices, which count as one answer; kept"
        return replace(ledger, notes=(*ledger.notes, note)) if count else ledger


def gold_index(row: Mapping[str, Any], key: str, choices: Sequence[str]) -> int:
    """The index that a key holds, within the choices.

    Raises:
        DataError: It is none.
    """
    value = row[key]
    # a truth value is an int in Python
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < len(choices):
        raise DataError(f"{key} is {shown(value)}; it must be a whole number from 0 to {len(choices) - 1}")
    return value
