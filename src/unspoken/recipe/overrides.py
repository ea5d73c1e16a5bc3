"""Overrides of a recipe on the command line: `train.epochs=3`, `method={name: cot}`, `train.trainer.ddp_timeout=60`."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from unspoken.errors import RecipeError
from unspoken.recipe.problems import Problem
from unspoken.recipe.strict_yaml import parse_value
from unspoken.tasks.read_rows import shown


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[Problem]]:
    """The values with the overrides applied in order, and what is wrong with those that could not be.

    Args:
        values: Sections by name; not changed.
        overrides: `section.key=value` each; the value is YAML, and `section={...}` replaces a whole section.
    """
    changed, problems = deepcopy(dict(values)), []
    for override in overrides:
        problem = _apply(changed, override)
        if problem is not None:
            problems.append(problem)
    return changed, problems


def _apply(values: dict[str, Any], override: str) -> Problem | None:
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        return Problem(override, "it must have the form section.key=value, e.g. train.epochs=3")
    try:
        value = parse_value(text, override)
    except RecipeError as error:
        return Problem(key.strip(), f"its value is not YAML ({error.problems[0]}); put text with signs in quotes")
    section: Any = values
    for depth, name in enumerate(names[:-1], 1):
        if section.get(name) is None:
            section[name] = {}
        section = section[name]
        if not isinstance(section, dict):
            return Problem(key.strip(), f"{'.'.join(names[:depth])} is {shown(section)} and has no keys; override it")
    section[names[-1]] = value
    return None
