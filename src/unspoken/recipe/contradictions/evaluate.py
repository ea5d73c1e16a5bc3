"""Controls of an evaluation."""

from collections.abc import Iterator

from unspoken.config import EvaluateSettings
from unspoken.controls import CONTROLS
from unspoken.recipe.problems import Problem, advice


def evaluate_problems(evaluate: EvaluateSettings) -> Iterator[Problem]:
    """What is wrong with the controls."""
    for control in evaluate.controls:
        if control not in CONTROLS:
            yield Problem("evaluate.controls", f"unknown control {control!r}; {advice(control, [*CONTROLS])}")
    if "another_row" in evaluate.controls and evaluate.batch_size < 2:
        yield Problem("evaluate.batch_size", "another_row exchanges thoughts between rows; set it to 2 or more")
