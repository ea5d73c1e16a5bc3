"""Questions with choices: one way to write them, and what an answer to them means.

    What is in the mouth? The choices are 0 : toothpick, 1 : food, 2 : popsicle stick, 3 : cigarette

The answer is written `3`, `cigarette` or `3 : cigarette`. All of these are read, whichever is the gold answer's form.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

from unspoken.errors import DataError
from unspoken.tasks.number import first_line
from unspoken.tasks.read_rows import shown

Labels: TypeAlias = Literal["numbers", "letters"]
AnswerForm: TypeAlias = Literal["label", "text", "both"]

MAX_CHOICES = 26
"""There are no more letters."""
ENOUGH_ANNOTATORS = 3
"""An answer that so many annotators gave is fully right in VQA soft accuracy."""


def label(index: int, labels: Labels) -> str:
    """The label of a choice: 0, 1, 2, ... or A, B, C, ..."""
    return str(index) if labels == "numbers" else chr(ord("A") + index)


def checked_choices(value: Any, *, repeated: bool = False) -> tuple[str, ...]:
    """The choices of a row, with single spaces.

    Args:
        value: What the row holds.
        repeated: Whether two of them may be equal.

    Raises:
        DataError: It is no list of 2 to 26 texts with something in them, or two of them are equal.
    """
    if not isinstance(value, list) or not all(isinstance(choice, str) and choice.strip() for choice in value):
        raise DataError(f"choices is {shown(value)}; it must be a list of texts that are not empty")
    if not 2 <= len(value) <= MAX_CHOICES:
        raise DataError(f"there are {len(value)} choices, {shown(value)}; a row needs 2 to {MAX_CHOICES}")
    choices = tuple(" ".join(choice.split()) for choice in value)
    twice = [choice for choice, count in Counter(choices).items() if count > 1]
    if twice and not repeated:
        raise DataError(
            f"{shown(twice[0])} is a choice more than once; change one of them, or set task.repeated_choices=keep to "
            "count them as one answer"
        )
    return choices


def with_choices(question: str, choices: Sequence[str], labels: Labels) -> str:
    """The question followed by its choices, as `split_choices` takes them apart again.

    Raises:
        DataError: They cannot be taken apart, for a choice holds what stands between choices.
    """
    listed = ", ".join(f"{label(index, labels)} : {choice}" for index, choice in enumerate(choices))
    text = f"{question} The choices are {listed}"
    try:
        whole = split_choices(text, labels) == (question, tuple(choices))
    except DataError:
        whole = False
    if not whole:
        raise DataError(
            f"the choices {shown(list(choices))} hold a label such as ', {label(1, labels)} :'; reword them"
        )
    return text


def split_choices(text: str, labels: Labels) -> tuple[str, tuple[str, ...]]:
    """A question and its choices, of a text that ends with `The choices are 0 : ..., 1 : ...`.

    Raises:
        DataError: The text does not end so, or a label stands in it more than once.
    """
    starts = list(re.finditer(rf"\s*\bThe choices are\s+{label(0, labels)}\s*:", text))
    if not starts:
        raise DataError(f"no 'The choices are {label(0, labels)} : ...' in {shown(text)}; end the question with it")
    question, rest = text[: starts[-1].start()], text[starts[-1].end() :]
    found: list[str] = []
    for index in range(1, MAX_CHOICES + 1):
        parts = re.split(rf",\s*{label(index, labels)}\s*:", rest)
        if len(parts) > 2:
            raise DataError(f"the label ', {label(index, labels)} :' stands {len(parts) - 1} times; write it once")
        found.append(parts[0].strip())
        if len(parts) == 1:
            break
        rest = parts[1]
    return question, tuple(found)


def written(index: int, choices: Sequence[str], labels: Labels, form: AnswerForm) -> str:
    """A choice as an answer is written; of equal choices it is always the first."""
    first = choices.index(choices[index])
    parts = {"label": (label(first, labels),), "text": (choices[first],)}
    return " : ".join(parts.get(form, (*parts["label"], *parts["text"])))


def read_choice(text: str, choices: Sequence[str], labels: Labels, form: AnswerForm) -> int | None:
    """The choice that the first line of a text names by its label, its text or both; of equal choices the first.

    A text is compared as it stands, then without regard to capitals, then without closing punctuation: some questions
    are about these.

    Args:
        text: The answer alone.
        choices: The choices of the question.
        labels: How they are labelled in the question.
        form: How the gold answer is written; it decides what `2` is where 2 is also the text of another choice. In
            the form "both" that is no answer.

    Returns:
        Its index; None when no choice is named, or two different ones are.
    """
    line = " ".join(first_line(text).split())
    by_label, by_text = _labelled(line, choices, labels), _worded(line, choices)
    if by_label is None and by_text is None:
        parts = _BOTH.fullmatch(line)
        if parts is None:
            return None
        by_label, by_text = _labelled(parts["label"], choices, labels), _worded(parts["text"], choices)
        return by_label if by_label == by_text else None
    if by_label is None or by_text is None or by_label == by_text:
        return by_text if by_label is None else by_label
    return {"label": by_label, "text": by_text, "both": None}[form]


def soft_accuracy(answer: str, given: Sequence[str]) -> float:
    """VQA soft accuracy (arXiv:1505.00468): an answer is judged against each set of all annotators but one.

    Against such a set it is worth a third for each annotator who gave it, at most 1; the mean of these counts. (The
    script of A-OKVQA leaves nobody out.) Capitals, spaces and closing punctuation make no difference.

    Args:
        answer: The predicted answer.
        given: The answers of the annotators.

    Raises:
        DataError: There are fewer than two annotators.
    """
    if len(given) < 2:
        raise DataError(f"{len(given)} direct answers; leaving one out needs at least 2")
    same = [_loose(answer) == _loose(other) for other in given]
    return sum(min((sum(same) - left_out) / ENOUGH_ANNOTATORS, 1.0) for left_out in same) / len(given)


def _labelled(word: str, choices: Sequence[str], labels: Labels) -> int | None:
    match = _LABEL.fullmatch(word)
    known = [label(index, labels) for index in range(len(choices))]
    if match is None or match["label"].upper() not in known:
        return None
    return choices.index(choices[known.index(match["label"].upper())])


def _worded(text: str, choices: Sequence[str]) -> int | None:
    for form in _FORMS:
        matches = {choices.index(choice) for choice in choices if form(choice) == form(text)}
        if matches:
            return matches.pop() if len(matches) == 1 else None
    return None


def _loose(text: str) -> str:
    folded = " ".join(text.casefold().split())
    return folded.rstrip(".,;:!? ") or folded


_FORMS: tuple[Callable[[str], str], ...] = (str, str.casefold, _loose)
_LABEL = re.compile(r"\(?(?P<label>\d+|[A-Za-z])[).:]?")
# a full stop needs a space after it: 2.5 is a number
_BOTH = re.compile(r"\(?(?P<label>\d+|[A-Za-z])(?:\s*[:)]\s*|\.\s+)(?P<text>.+)")
