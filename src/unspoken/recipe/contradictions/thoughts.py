"""Thought sources and schedules: whether they are known, well set, and fit each other.

Torch is needed to see what any source but the default would be, and is imported when there is such a one.
"""

from collections.abc import Mapping
from typing import Any

from unspoken.errors import RecipeError
from unspoken.recipe.problems import Problem

DEFAULT_THOUGHTS: Mapping[str, Any] = {"name": "last_hidden"}


def default_schedule(thoughts: Mapping[str, Any]) -> dict[str, Any]:
    """Single where the thoughts read no state, else sequential."""
    return {"name": "sequential" if _reads_states(thoughts) else "single"}


def source_problems(
    thoughts: Mapping[str, Any] | None, schedule: Mapping[str, Any] | None, width: int
) -> list[Problem]:
    """What is wrong with the thought source and the schedule.

    The default of both is known to be right; any other is built to see, which needs torch.

    Args:
        thoughts: The section; None where it could not be read.
        schedule: The section; None where there is none.
        width: Of the model.
    """
    of_source = [] if thoughts in (None, DEFAULT_THOUGHTS) else _build(thoughts, width)
    return [*of_source, *_schedule(schedule, None if of_source else thoughts)]


def is_policy(name: str) -> bool:
    """Whether thoughts of this name are drawn by chance, so that rewards can teach them."""
    from unspoken.thoughts import SOURCES, Policy

    return name in SOURCES and issubclass(SOURCES[name], Policy)


def _build(thoughts: Mapping[str, Any], width: int) -> list[Problem]:
    import torch

    from unspoken.thoughts import build_source

    try:
        with torch.device("meta"):
            build_source(thoughts, width)
    except RecipeError as error:
        return [_within("thoughts", problem) for problem in error.problems]
    return []


def _schedule(schedule: Mapping[str, Any] | None, thoughts: Mapping[str, Any] | None) -> list[Problem]:
    """What is wrong with a schedule, alone and with thoughts, if these are known to be right."""
    if schedule is None or schedule == {"name": "sequential"}:
        return []
    if schedule == {"name": "single"}:
        if thoughts is None or not _reads_states(thoughts):
            return []
        why = f"one pass needs thoughts that read no state, {thoughts.get('name')} reads them"
        return [Problem("schedule.name", f"{why}; set schedule.name: sequential, or thoughts: {{name: pause}}")]
    if schedule.get("name") == "jacobi" and thoughts and thoughts.get("faithful"):
        why = "the released contextual thoughts know no jacobi order"
        return [Problem("schedule.name", f"{why}; set schedule.name: sequential, or thoughts.faithful: false")]
    if schedule.get("name") == "jacobi" and thoughts and is_policy(str(thoughts.get("name"))):
        why = f"jacobi refines all thoughts together, {thoughts['name']} draws one after the other"
        return [Problem("schedule.name", f"{why}; set schedule.name: sequential, or thoughts: {{name: last_hidden}}")]
    return _build_schedule(schedule)


def _build_schedule(schedule: Mapping[str, Any]) -> list[Problem]:
    from unspoken.model.passes import build_schedule
    from unspoken.thoughts.pause import Pause

    try:
        build_schedule(schedule, Pause(1))
    except RecipeError as error:
        return [_within("schedule", problem) for problem in error.problems]
    return []


def _within(section: str, problem: str) -> Problem:
    key, colon, message = problem.partition(": ")
    return Problem(f"{section}.{key}", message) if colon else Problem(section, problem)


def _reads_states(thoughts: Mapping[str, Any]) -> bool:
    if thoughts == DEFAULT_THOUGHTS:
        return True
    from unspoken.thoughts import SOURCES

    return SOURCES[thoughts["name"]].reads_states
