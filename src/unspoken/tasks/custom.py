"""Custom: your own rows of question, steps and answer, the format of the released Coconut.

    {"question": "A farmer has 3 pens of 4 hens. How many hens?", "steps": ["3 * 4 = 12"], "answer": "12 hens"}

as a JSON list of such objects or one of them a line. `steps` may be empty, `answer` may be an integer, other keys are
counted and not read. Text that looks like a control token is text. With `images: FOLDER` a row may name one image of
that folder, or several in order, as `image`: "pens/12.jpg" or ["front.jpg", "back.jpg"].
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import PositiveInt, model_validator

from unspoken.config import Count, DataPaths
from unspoken.errors import DataError
from unspoken.records import Example, Ledger, Split, TextFormat
from unspoken.tasks.base import Task
from unspoken.tasks.number import canonical, first_line
from unspoken.tasks.read_rows import Row, shown
from unspoken.tasks.rows import examples_from, question_steps_answer, required_path


class Custom(Task, DataPaths):
    """Any data set of questions with one right answer."""

    name: Literal["custom"] = "custom"
    scoring: Literal["exact", "number"] = "exact"
    """Compare answers as texts, or as numbers (72.0 is 72, see `unspoken.tasks.number`)."""
    images: Path | None = None
    """Folder of the images that rows name as `image`; without it that key is not read."""
    max_answer_tokens: PositiveInt = 128
    """Longest answer to generate, words of the reasoning included."""
    max_bad_rows: Count = 0
    """Rows that may be left out because something is wrong with them; each one is in the ledger."""
    question_end: str = "\n"
    """Follows the question."""
    step_end: str = "\n"
    """Follows each step."""
    answer_start: str = "### "
    """Precedes the answer; where it is empty, the answer is what follows the last `step_end`."""

    @model_validator(mode="after")
    def _one_sign_of_the_answer(self) -> Self:
        if not self.answer_start.strip() and not self.step_end.strip(" "):
            raise ValueError(
                "step_end and answer_start are both spaces, so no answer could be told from its steps; "
                "set answer_start to a sign that stands in no answer"
            )
        return self

    @property
    def has_images(self) -> bool:
        """Where the folder is set."""
        return self.images is not None

    @property
    def image_root(self) -> Path | None:
        """The folder."""
        return self.images

    @property
    def max_new_tokens(self) -> int:
        """As set."""
        return self.max_answer_tokens

    @property
    def text(self) -> TextFormat:
        """As set; the defaults are those of the released Coconut."""
        return TextFormat(question_end=self.question_end, step_end=self.step_end, answer_start=self.answer_start)

    def examples(self, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The rows of the split's file.

        Raises:
            DataError: The split has no file, or more than `max_bad_rows` of its rows are rejected.
        """
        return examples_from(
            required_path(self, split, self.name),
            self._parse,
            prefix=f"{self.name}/{split}",
            max_bad_rows=self.max_bad_rows,
            keys=("question", "steps", "answer", *(["image"] if self.images is not None else [])),
        )

    def read_answer(self, text: str) -> str | None:
        """The normalised answer behind `answer_start`; where that is empty, behind the last step."""
        if self.answer_start.strip():
            return super().read_answer(text)
        return super().read_answer(text.strip().rpartition(self._sign)[2])

    @property
    def _sign(self) -> str:
        """What stands before an answer and in none."""
        return self.answer_start if self.answer_start.strip() else self.step_end.strip(" ")

    def normalise(self, answer: str) -> str:
        """The number on the first line, or nothing when that is no number; with `scoring: exact` as every task."""
        if self.scoring == "exact":
            return super().normalise(answer)
        return canonical(first_line(answer)) or ""

    def _parse(self, row: Row, id: str) -> Example:
        question, steps, answer = question_steps_answer(row)
        if self.read_answer(self.answer_start + answer) != (self.normalise(answer) or "nothing"):
            wanted = "be a number" if self.scoring == "number" else f"have a word and not hold {self._sign!r}"
            raise DataError(f"answer is {shown(answer)}; it must {wanted}, else no output could be right")
        return Example(id, question, steps, answer, images=self._images(row))

    def _images(self, row: Row) -> tuple[str, ...]:
        if self.images is None or isinstance(row, str) or row.get("image") is None:
            return ()
        named = row["image"] if isinstance(row["image"], list) else [row["image"]]
        if not all(isinstance(name, str) and name.strip() for name in named):
            raise DataError(f"image is {shown(row['image'])}; it must be the name of a file, or a list of such names")
        return tuple(named)
