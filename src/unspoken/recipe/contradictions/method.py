"""How many thoughts a method places, and whether there are such thoughts and room for them."""

from collections.abc import Iterator, Mapping
from typing import Any

from unspoken.config import ModelSettings
from unspoken.methods import Method
from unspoken.recipe.contradictions.thoughts import DEFAULT_THOUGHTS
from unspoken.recipe.problems import Problem


def method_problems(
    method: Method, thoughts: Mapping[str, Any] | None, schedule: Mapping[str, Any] | None
) -> Iterator[Problem]:
    """What is wrong with the thoughts that a method places and with their order; a section that is absent is None."""
    settings = method.model_dump()
    most = method.most_thoughts(method.final_stage)
    if thoughts not in (None, DEFAULT_THOUGHTS) and most == 0:
        yield Problem(
            "thoughts",
            f"method {settings['name']} places no thought with these settings, so nothing would come of them; "
            "remove the section, or choose method.name: coconut with thoughts",
        )
    if schedule is not None and schedule.get("name") == "jacobi" and most == 0:
        yield Problem(
            "schedule",
            f"method {settings['name']} places no thought with these settings, so there is nothing to refine; "
            "remove the section, or choose method.name: coconut with thoughts",
        )
    if settings.get("released_counts") and settings.get("pad_thoughts"):
        yield Problem(
            "method.released_counts",
            "it is about rows that get fewer thoughts, and pad_thoughts gives none fewer; "
            "remove it or set method.pad_thoughts: false",
        )


def position_problems(method: Method, model: ModelSettings) -> Iterator[Problem]:
    """Whether thoughts leave room for words."""
    most = method.most_thoughts(method.final_stage)
    if model.path is None and most + 2 >= model.max_positions:
        yield Problem(
            "model.max_positions",
            f"{most} thoughts + 2 markers = {most + 2} leave no place for words among {model.max_positions} positions; "
            "raise it, or lower the thoughts of the method",
        )
