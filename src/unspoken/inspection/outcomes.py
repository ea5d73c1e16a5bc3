"""What becomes of a question when the model must answer after k thoughts, and what it then writes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from unspoken.evaluation.statistics import wilson
from unspoken.evaluation.subject import Subject
from unspoken.records import Example, Prediction
from unspoken.tasks.prosqa import ProsQA


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The answers after one number of thoughts.

    Attributes:
        num_thoughts: Thoughts before the model was made to write.
        n: Rows.
        classes: Share of each class of outcome: for ProsQA the six of arXiv:2412.06769, else the verdicts.
        accuracy: Share of right answers.
        interval: Of the accuracy.
        tokens_per_answer: Mean tokens written: fewer thoughts leave more to be said in words.
    """

    num_thoughts: int
    n: int
    classes: dict[str, float]
    accuracy: float
    interval: tuple[float, float]
    tokens_per_answer: float


def written_after(subject: Subject, num_thoughts: int) -> list[Prediction]:
    """Make the model write after so many thoughts, as much as it likes; for each row what it wrote."""
    answered = subject.answer(f"{num_thoughts} thoughts", subject.prompts(num_thoughts))
    return [answered[row] for row in range(len(subject.examples))]


def outcomes(subject: Subject, num_thoughts: int, written: Sequence[Prediction]) -> Outcomes:
    """The classes of what was written after so many thoughts."""
    counts = Counter(
        _class(subject, example, each, num_thoughts) for example, each in zip(subject.examples, written, strict=True)
    )
    n, right = len(written), sum(each.verdict == "right" for each in written)
    return Outcomes(
        num_thoughts,
        n,
        {name: count / n for name, count in sorted(counts.items())},
        right / n,
        wilson(right, n),
        sum(each.num_tokens for each in written) / n,
    )


def _class(subject: Subject, example: Example, prediction: Prediction, num_thoughts: int) -> str:
    task = subject.run.recipe.task
    if isinstance(task, ProsQA) and example.graph is not None:
        per_step = getattr(subject.run.recipe.method, "thoughts_per_step", 1) or 1
        return task.classify(example, prediction.text, hidden_steps=num_thoughts // per_step)
    return prediction.verdict
