"""Do the answers follow the question, and do they follow the thoughts? Questions with one fact changed.

A pair is a question and the same one with one edge of its graph changed so that the answer changes (the minimal pairs
of arXiv:2607.06648). Two things are asked of a model that answers the unchanged question right: does its answer change
with the question; and does it change when the question stays and only the thoughts are those of the changed one?
"""

from dataclasses import dataclass
from random import Random
from typing import Any

from unspoken.audit.interventions import GivenThoughts
from unspoken.audit.subject import Subject
from unspoken.evaluation.statistics import wilson
from unspoken.records import Prediction


@dataclass(frozen=True, slots=True)
class Following:
    """Counts over pairs.

    Attributes:
        pairs: Pairs there are.
        left_out: Questions that no such change was found for.
        right: Pairs whose unchanged question is answered right; the other counts are among these.
        follows: The answer to the changed question is the new one.
        stuck: The answer to the changed question is still the old one.
        follows_thoughts: With the old question and the thoughts of the changed one, the answer is the new one; None
            without thoughts.
    """

    pairs: int
    left_out: int
    right: int
    follows: int
    stuck: int
    follows_thoughts: int | None


def following(subject: Subject, seed: int) -> Following | None:
    """Ask about every pair; None when the task has none."""
    task = subject.run.recipe.task
    changed = [task.counterfactual(example, Random(f"{seed}/{example.id}")) for example in subject.examples]
    rows = [row for row, example in enumerate(changed) if example is not None]
    if not rows:
        return None
    old = Subject.of(subject.run, [subject.examples[row] for row in rows], subject.progress)
    new = Subject.of(subject.run, [example for example in changed if example is not None], subject.progress)
    before = old.answer("unchanged", old.prompts())
    after = new.answer("changed", new.prompts())
    right = [row for row in range(len(rows)) if before[row].verdict == "right"]
    recorded = new.record()
    transplanted: dict[int, Prediction] | None = None
    if any(len(thoughts) for thoughts in recorded.thoughts):
        thoughts = {row: each for row, each in enumerate(recorded.thoughts) if len(each)}
        transplanted = old.answer(
            "thoughts of changed", old.prompts(), GivenThoughts("changed", "content", "the other's thoughts", thoughts)
        )

    def gives(prediction: Prediction, example_row: int, subject: Subject) -> bool:
        return prediction.predicted == task.normalise(subject.examples[example_row].answer)

    return Following(
        pairs=len(rows),
        left_out=len(changed) - len(rows),
        right=len(right),
        follows=sum(gives(after[row], row, new) for row in right),
        stuck=sum(gives(after[row], row, old) for row in right),
        follows_thoughts=(
            None
            if transplanted is None
            else sum(row in transplanted and gives(transplanted[row], row, new) for row in right)
        ),
    )


def as_json(found: Following) -> dict[str, Any]:
    """The shares with their intervals, and a sentence."""
    values: dict[str, Any] = {
        "n": found.pairs,
        "num_left_out": found.left_out,
        "accuracy": found.right / found.pairs,
        "interval": wilson(found.right, found.pairs),
        "num_right": found.right,
    }
    for name, count in (
        ("following", found.follows),
        ("stuck", found.stuck),
        ("thoughts_followed", found.follows_thoughts),
    ):
        known = count is not None and found.right > 0
        values[name] = count / found.right if known and count is not None else None
        values[f"{name}_interval"] = wilson(count, found.right) if known and count is not None else None
    values["sentence"] = _sentence(found)
    return values


def _sentence(found: Following) -> str:
    if not found.right:
        return f"None of {found.pairs:,} unchanged questions is answered right, so there is nothing to follow."
    low, high = wilson(found.follows, found.right)
    text = (
        f"When one fact of a question changes, the answer follows in {found.follows / found.right:.1%} "
        f"[{low:.1%}, {high:.1%}] of {found.right:,} questions that were answered right"
    )
    if found.follows_thoughts is None:
        return text + "."
    low, high = wilson(found.follows_thoughts, found.right)
    share = found.follows_thoughts / found.right
    return f"{text}; when only the thoughts change, in {share:.1%} [{low:.1%}, {high:.1%}]."
