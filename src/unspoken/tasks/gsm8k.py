r"""GSM8K: word problems of grade school, the answer a number (arXiv:2110.14168), in three formats.

GSM8K-Aug, as iCoT published it (arXiv:2405.14838), a row a line:

    John cuts his grass ... How much does he pay per year?||<<4-2=2>> <<2/.5=4>> <<12/4=3>> <<100*3=300>> #### 300

The same as the released Coconut prepares it:

    {"question": "John cuts his grass ...", "steps": ["<<4-2=2>>", "<<2/.5=4>>", "<<12/4=3>>", "<<100*3=300>>"],
     "answer": "300"}

The original, sentences with equations in them:

    {"question": "Weng earns $12 an hour for babysitting. ...",
     "answer": "Weng earns 12/60 = $<<12/60=0.2>>0.2 per minute.\nWorking 50 minutes, she earned ...\n#### 10"}

which is also what the columns of the data set hold (`dataset: openai/gsm8k`, `dataset_config: main`). It has training
and test rows only: `held_out` takes validation rows from the former.

A generated text is right when the number after its last `###` equals the gold answer exactly. That number must fill
its line: `72.0`, `$72`, `1,080.` and `72%` are read as numbers, `72 apples` and `70 or 72` are no answer. See
`unspoken.tasks.number` for every rule. The release compares texts instead, so that 72.0 is wrong there, and without a
`#` it takes the whole text for the answer.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import model_validator

from unspoken.config import Count, DataPaths
from unspoken.errors import DataError
from unspoken.records import Example, Ledger, Split
from unspoken.tasks.base import Task
from unspoken.tasks.dataset_rows import text_rows
from unspoken.tasks.number import canonical, first_line
from unspoken.tasks.read_rows import Row, Rows, read_rows, shown
from unspoken.tasks.rows import Fields, examples_of, path_of, question_steps_answer, text_field

_EQUATION = re.compile(r"<<.*?>>")
# an equation is one step even with a space in it; whatever else stands between spaces is one too
_STEP = re.compile(r"<<.*?>>|\S+")


class GSM8K(Task, DataPaths):
    """Grade-school word problems; bring files (GSM8K-Aug has 385,620 / 500 / 1,319 rows) or a data set."""

    name: Literal["gsm8k"] = "gsm8k"
    steps: Literal["equations", "sentences"] = "equations"
    """What a step of the original format is: each `<<48/2=24>>`, or each line without them. Others hold one kind."""
    dataset: str | None = None
    """Id or folder of a `datasets` data set with the columns of a row, for splits without a file."""
    dataset_config: str | None = None
    """Which of its configurations, where it has several: `main` of openai/gsm8k."""
    dataset_revision: str | None = None
    """Commit, branch or tag of `dataset`, when it is an id."""
    held_out: Count = 0
    """Training rows, the last ones, that are validation rows instead; openai/gsm8k has none of its own."""
    max_bad_rows: Count = 0
    """Rows that may be left out because something is wrong with them; each one is in the ledger."""

    @model_validator(mode="after")
    def _one_source_of_validation_rows(self) -> Self:
        if self.held_out and self.validation is not None:
            raise ValueError(
                f"validation names a file and held_out takes {self.held_out} training rows for the same; "
                "leave one of them out"
            )
        return self

    @property
    def max_new_tokens(self) -> int:
        """In tokens of GPT-2 the longest training row takes 82 with equations, 280 with sentences."""
        return 128 if self.steps == "equations" else 320

    def examples(self, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The rows of the split's file, or those of the data set.

        Raises:
            DataError: The split has neither, or more than `max_bad_rows` of its rows are rejected.
        """
        return examples_of(
            self._rows(split),
            self._parse,
            prefix=f"{self.name}/{split}",
            max_bad_rows=self.max_bad_rows,
            keys=("question", "steps", "answer"),
        )

    def normalise(self, answer: str) -> str:
        """The number on the first line, in one spelling; nothing when that is no number."""
        return canonical(first_line(answer)) or ""

    def _rows(self, split: Split) -> Rows:
        if not self.held_out or split == "test":
            return self._source(split)
        rows = self._source("train")
        numbers = sorted([*(number for number, _ in rows.found), *(each.row for each in rows.unreadable)])
        if len(numbers) <= self.held_out:
            raise DataError(
                f"{rows.source} has {len(numbers)} rows, of which task.held_out={self.held_out} would leave none for "
                "training; set it to fewer"
            )
        first = numbers[-self.held_out]

        def belongs(number: int) -> bool:
            return (number >= first) == (split == "validation")

        return replace(
            rows,
            found=tuple((number, row) for number, row in rows.found if belongs(number)),
            unreadable=tuple(each for each in rows.unreadable if belongs(each.row)),
        )

    def _source(self, split: Split) -> Rows:
        path = path_of(self, split)
        if path is not None:
            return read_rows(path)
        if self.dataset is None:
            raise DataError(
                f"task {self.name} has no {split} file; set task.{split} to the path of one, or task.dataset to the id "
                "of a data set"
            )
        return text_rows(self.dataset, self.dataset_config, self.dataset_revision, split)

    def _parse(self, row: Row, id: str) -> Example:
        if isinstance(row, str):
            fields = _from_line(row)
        elif "steps" in row:
            fields = question_steps_answer(row)
        else:
            fields = _from_original(row, self.steps)
        if not self.normalise(fields.answer):
            raise DataError(f"answer is {shown(fields.answer)}; it must be a number, else no output could be right")
        return Example(id, fields.question, fields.steps, fields.answer)


def _from_line(line: str) -> Fields:
    question, bar, rest = line.partition("||")
    if not bar:
        raise DataError(f"no || in {shown(line)}; write question||step step #### answer")
    if "||" in rest:
        raise DataError("|| stands more than once; it may only end the question")
    solution, answer = _split_answer(rest)
    if not question.strip():
        raise DataError("nothing stands before ||; write the question there")
    return Fields(question, tuple(_STEP.findall(solution)), answer)


def _from_original(row: Mapping[str, Any], kind: Literal["equations", "sentences"]) -> Fields:
    text = text_field(row, "answer")
    if "####" not in text:
        raise DataError(f"no 'steps', and no #### in answer, {shown(text)}; add the one or the other")
    solution, answer = _split_answer(text)
    if kind == "equations":
        steps = _EQUATION.findall(solution)
    else:
        steps = [line.strip() for line in _EQUATION.sub("", solution).split("\n") if line.strip()]
    return Fields(text_field(row, "question"), tuple(steps), answer)


def _split_answer(text: str) -> tuple[str, str]:
    """What stands before and after the one `####`."""
    count = text.count("####")
    if count != 1:
        found = "no #### stands" if count == 0 else f"#### stands {count} times"
        raise DataError(f"{found} in {shown(text)}; write it once, before the answer")
    solution, _, answer = text.partition("####")
    return solution, answer.strip()
