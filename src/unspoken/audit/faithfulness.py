"""Do the answers follow the question, and do they follow the thoughts? Questions with one fact changed.

A pair is a question and the same one with one edge of its graph changed so that the answer changes (the minimal pairs
of arXiv:2607.06648). Two things are asked of a model that answers the unchanged question right: does its answer change
with the question; and does it change when the question stays and only the thoughts are those of the changed one?
"""

from dataclasses import dataclass
from random import Random
from typing import Any

from unspoken.audit.interventions import GivenThoughts
from unspoken.evaluation.statistics import wilson
from unspoken.evaluation.subject import Subject
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
        exchanged: Pairs answered right whose two questions have equally many thoughts, at least one: in these the
            thoughts of the changed question can be given to the old one.
        follows_thoughts: Of the exchanged, the answer to the old question is then the new one.
    """

    pairs: int
    left_out: int
    right: int
    follows: int
    stuck: int
    exchanged: int
    follows_thoughts: int


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
    prompts = old.prompts()
    thoughts = {
        row: each for row, each in enumerate(new.record().thoughts) if len(each) == prompts[row].num_thoughts > 0
    }
    exchange = GivenThoughts("changed", "content", "the thoughts of the changed question", thoughts)
    exchanged = old.answer("thoughts of changed", prompts, exchange)

    def gives(prediction: Prediction, example_row: int, subject: Subject) -> bool:
        return prediction.predicted == task.normalise(subject.examples[example_row].answer)

    return Following(
        pairs=len(rows),
        left_out=len(changed) - len(rows),
        right=len(right),
        follows=sum(gives(after[row], row, new) for row in right),
        stuck=sum(gives(after[row], row, old) for row in right),
        exchanged=sum(row in exchanged for row in right),
        follows_thoughts=sum(row in exchanged and gives(exchanged[row], row, new) for row in right),
    )


def as_json(found: Following) -> dict[str, Any]:
    """The shares with their intervals, and a sentence."""
    values: dict[str, Any] = {
        "n": found.pairs,
        "num_left_out": found.left_out,
        "accuracy": found.right / found.pairs,
        "interval": wilson(found.right, found.pairs),
        "num_right": found.right,
        "num_exchanged": found.exchanged,
    }
    for name, count, n in (
        ("following", found.follows, found.right),
        ("stuck", found.stuck, found.right),
        ("thoughts_followed", found.follows_thoughts, found.exchanged),
    ):
        values[name] = count / n if n else None
        values[f"{name}_interval"] = wilson(count, n) if n else None
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
    if not found.exchanged:
        return text + "."
    low, high = wilson(found.follows_thoughts, found.exchanged)
    share = f"{found.follows_thoughts / found.exchanged:.1%} [{low:.1%}, {high:.1%}]"
    return f"{text}; when only the thoughts change, in {share} of {found.exchanged:,}."
