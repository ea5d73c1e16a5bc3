"""Multiplication: two numbers, digit by digit, least significant digit first (the task of iCoT, arXiv:2405.14838).

    question  5 6 3 2 * 7 4 3 4                      2365 * 4347
    steps     5 5 5 6 1                              2365 * 7, a zero in front of it where it is short of five digits
              + 0 0 6 4 9 0 ( 5 5 1 1 1 1 )          2365 * 40, and the sum so far
              + 0 0 5 9 0 7 0 ( 5 5 6 0 2 8 0 )      2365 * 300, and the sum so far
              + 0 0 0 0 6 4 9 0                      2365 * 4000; the sum is the answer
    answer    5 5 6 0 8 2 0 1

A file holds a row a line, with the separators that are also this task's text format:

    5 6 3 2 * 7 4 3 4||5 5 5 6 1 + 0 0 6 4 9 0 ( 5 5 1 1 1 1 ) + ... #### 5 5 6 0 8 2 0 1
"""

import random
import re
from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, PositiveInt

from unspoken.config import Count, DataPaths
from unspoken.errors import DataError
from unspoken.records import Example, Ledger, Split, TextFormat
from unspoken.tasks.base import Task
from unspoken.tasks.read_rows import Row, shown
from unspoken.tasks.rows import examples_from, path_of

Factors: TypeAlias = tuple[int, int]

_SPLITS: tuple[Split, ...] = ("test", "validation", "train")
"""Drawn in this order, so that asking for more training rows never changes what is tested."""

_TEXT = TextFormat(question_end="||", step_end=" ", answer_start="#### ")
_QUESTION = re.compile(r"([0-9](?: [0-9])*) \* ([0-9](?: [0-9])*)")


class Multiplication(Task, DataPaths):
    """Products of two numbers; a split with a file is read from it, any other is generated and repeats none of theirs.

    The published training file has 80,800 rows, and 1,000 each for validation and test.
    """

    name: Literal["multiplication"] = "multiplication"
    first_digits: Annotated[int, Field(ge=1, le=20)] = 4
    """Digits of the first factor; the last is never 0, as in the published file."""
    second_digits: Annotated[int, Field(ge=1, le=20)] = 4
    """Digits of the second factor: one step each."""
    train_rows: PositiveInt = 80_800
    validation_rows: PositiveInt = 1_000
    test_rows: PositiveInt = 1_000
    seed: Count = 0
    """Seed of the generated rows; no two factors are in two splits, in either order, but other factors may have the
    same product."""
    max_bad_rows: Count = 0
    """Rows of a file that may be left out because something is wrong with them; each one is in the ledger."""

    @property
    def max_new_tokens(self) -> int:
        """The words of a whole row, all rows being equally long, and a token more for each separator."""
        row = example_of("", 0, 0, self.first_digits, self.second_digits)
        return len(line_of(row).split()) + len(row.steps)

    @property
    def text(self) -> TextFormat:
        """The separators of the published file: the pieces of an example, joined, are its line."""
        return _TEXT

    def words(self) -> Sequence[str]:
        """The digits, then the signs."""
        return (*"0123456789", "*", "+", "(", ")", _TEXT.question_end, _TEXT.answer_start.strip())

    def examples(self, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The rows of the split's file, or as many generated ones as set.

        Raises:
            DataError: More than `max_bad_rows` rows of a file are rejected, or there are too few products to generate.
        """
        if path_of(self, split) is not None:
            return self._read(split)
        read = [factors_of(row.question) for other in _SPLITS if path_of(self, other) for row in self._read(other)[0]]
        # the same question with its factors swapped has the same answer
        taken = {*read, *((second, first) for first, second in read)}
        for drawn in (name for name in _SPLITS if path_of(self, name) is None):
            factors = self._draw(drawn, taken)
            taken.update(factors, [(second, first) for first, second in factors])
            if drawn == split:
                break
        examples = tuple(
            example_of(f"{self.name}/{split}/{index}", *pair, self.first_digits, self.second_digits)
            for index, pair in enumerate(factors)
        )
        return examples, Ledger(rows_in=len(examples), rows_kept=len(examples))

    def _read(self, split: Split) -> tuple[tuple[Example, ...], Ledger]:
        path = path_of(self, split)
        assert path is not None, "the caller has looked"
        return examples_from(path, self._parse, prefix=f"{self.name}/{split}", max_bad_rows=self.max_bad_rows)

    def _parse(self, row: Row, id: str) -> Example:
        example = parse_line(row, id)
        first, second = (len(digits.split()) for digits in example.question.split("*"))
        if first > self.first_digits or second > self.second_digits:
            raise DataError(
                f"factors of {first} and {second} digits, more than the {self.first_digits} and {self.second_digits} "
                "that are set; raise task.first_digits and task.second_digits"
            )
        return example

    def _draw(self, split: Split, taken: set[Factors]) -> list[Factors]:
        """Distinct pairs of factors, none of them taken; more rows of one seed begin with the fewer."""
        # of a random generator only random() gives the same numbers in every version of Python
        uniform = random.Random(f"multiplication/{self.seed}/{split}").random
        low, high = 10 ** (self.first_digits - 1), 10 ** (self.second_digits - 1)
        free = 9 * low * 9 * high - sum(
            low <= first < 10 * low and high <= second < 10 * high for first, second in taken
        )
        if self._rows(split) > free:
            raise DataError(
                f"task.{split}_rows asks for {self._rows(split):,} products, and only {free:,} are in no other split; "
                "ask for fewer, or raise task.first_digits"
            )
        drawn: dict[Factors, None] = {}
        while len(drawn) < self._rows(split):
            pair = low + int(uniform() * 9 * low), high + int(uniform() * 9 * high)
            if pair not in taken:
                drawn[pair] = None
        return list(drawn)

    def _rows(self, split: Split) -> int:
        return {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}[split]


def example_of(id: str, first: int, second: int, first_digits: int, second_digits: int) -> Example:
    """The example of a product: a step for each digit of the second factor, every step a digit longer than the last.

    Example:
        >>> example_of("1", 12, 34, 2, 2).steps
        ('8 4 0', '+ 0 6 3 0')
    """
    steps, total = [], 0
    for place in range(second_digits):
        partial = first * (second // 10**place % 10) * 10**place
        total += partial
        width = first_digits + 1 + place
        step = spaced(partial, width)
        if place:
            step = f"+ {step}"
        if 0 < place < second_digits - 1:
            step = f"{step} ( {spaced(total, width)} )"
        steps.append(step)
    question = f"{spaced(first, first_digits)} * {spaced(second, second_digits)}"
    return Example(id, question, tuple(steps), spaced(total, first_digits + second_digits))


def line_of(example: Example) -> str:
    """The example as a line of a file."""
    steps = "".join(step + _TEXT.step_end for step in example.steps)
    return example.question + _TEXT.question_end + steps + _TEXT.answer_start + example.answer


def parse_line(row: Row, id: str) -> Example:
    """The example of a line, which must be, to the character, the line that its two factors make.

    Raises:
        DataError: It is not, or it has no two factors.
    """
    if not isinstance(row, str):
        raise DataError("a JSON object; this task reads lines of text: question||step + step #### answer")
    question = row.partition("||")[0]
    match = _QUESTION.fullmatch(question)
    if match is None or "||" not in row:
        raise DataError(f"{shown(row)} does not begin with two factors and ||; write them as in 5 6 3 2 * 7 4 3 4||")
    example = example_of(id, *factors_of(question), len(match[1].split()), len(match[2].split()))
    expected = line_of(example)
    if row != expected:
        pairs = enumerate(zip(row, expected, strict=False))
        same = next((place for place, (has, wants) in pairs if has != wants), min(len(row), len(expected)))
        raise DataError(
            f"after {shown(row[:same][-20:])} comes {shown(row[same:])}, but in the product of the factors "
            f"{shown(expected[same:])}; correct the line"
        )
    return example


def factors_of(question: str) -> Factors:
    """The two numbers of a question, written least significant digit first."""
    first, second = (int("".join(reversed(digits.split()))) for digits in question.split("*"))
    return first, second


def spaced(number: int, width: int) -> str:
    """Digits, least significant first, with zeros up to a width.

    Example:
        >>> spaced(120, 4)
        '0 2 1 0'
    """
    return " ".join(reversed(f"{number:0{width}d}"))
