"""Questions that stand in two sets of rows, or twice in one: what was trained on is no test."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from unspoken.records import Example

Question: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
"""Images and texts of a question: the same words about another picture ask something else."""


class Shared(NamedTuple):
    """A row whose question stands elsewhere.

    Attributes:
        row: The row.
        other: The first row there that asks the same.
        is_exact: Whether it does so to the letter; else case, spaces or the order of premises differ.
    """

    row: Example
    other: Example
    is_exact: bool


def shared(known: Sequence[Example], asked: Iterable[Example]) -> list[Shared]:
    """The rows of `asked` whose question stands among the `known`, in their order."""
    exact = {exactly(example): example for example in reversed(known)}
    loose = {_loosely(example): example for example in reversed(known)}
    found = []
    for example in asked:
        same = exact.get(exactly(example))
        other = same or loose.get(_loosely(example))
        if other is not None:
            found.append(Shared(example, other, same is not None))
    return found


def contradictions(examples: Iterable[Example]) -> list[tuple[Example, Example]]:
    """Rows with the question of an earlier row and another answer, each with the first row that asks it."""
    first: dict[Question, Example] = {}
    pairs = ((example, first.setdefault(exactly(example), example)) for example in examples)
    return [(example, earlier) for example, earlier in pairs if example.answer != earlier.answer]


def remark_on_shared(split: str, count: int) -> str:
    """What to say of rows of a split that ask what training rows ask."""
    rows, they = ("row asks", "it") if count == 1 else ("rows ask", "they")
    remark = f"{count:,} {split} {rows} what a training row asks, so {they} may be remembered"
    return f"{remark}; `unspoken data check` names them"


def number_of(example: Example) -> str:
    """The number of a row in its file, which ends its id."""
    return example.id.rpartition("/")[2]


def exactly(example: Example) -> Question:
    """What a row asks, to the letter."""
    return example.images, (*example.premises, example.question)


def _loosely(example: Example) -> Question:
    texts = (*sorted(example.premises), example.question)
    return example.images, tuple(" ".join(text.casefold().split()) for text in texts)
