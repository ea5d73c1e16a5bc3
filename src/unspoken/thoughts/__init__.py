"""What fills a thought slot. A new source is one file here and one line in `SOURCES`."""

import inspect
from collections.abc import Mapping
from typing import Any

from unspoken.errors import RecipeError
from unspoken.thoughts.base import History, ThoughtSource
from unspoken.thoughts.dropout import Dropout
from unspoken.thoughts.gaussian import Gaussian
from unspoken.thoughts.last_hidden import LastHidden
from unspoken.thoughts.mixture import Dirichlet, Gumbel, Tokens
from unspoken.thoughts.navigator import Navigator
from unspoken.thoughts.pause import Pause
from unspoken.thoughts.policy import Policy
from unspoken.thoughts.projection import Projection
from unspoken.thoughts.settings import setting_problems, takes
from unspoken.thoughts.vocabulary import Vocabulary
from unspoken.thoughts.window import Window

SOURCES: dict[str, type[ThoughtSource]] = {
    "last_hidden": LastHidden,
    "window": Window,
    "pause": Pause,
    "projection": Projection,
    "gaussian": Gaussian,
    "navigator": Navigator,
    "dropout": Dropout,
    "gumbel": Gumbel,
    "dirichlet": Dirichlet,
    "tokens": Tokens,
}

__all__ = ["SOURCES", "History", "Policy", "ThoughtSource", "Vocabulary", "build_source"]


def build_source(settings: Mapping[str, Any], width: int) -> ThoughtSource:
    """The source that `{"name": ..., **settings}` describes, for a model of this width.

    Raises:
        RecipeError: The name or a setting is unknown, or its value is of another type or out of range.
    """
    name = settings.get("name")
    if name not in SOURCES:
        raise RecipeError("thoughts", [f"name: unknown source {name!r}; known: {', '.join(SOURCES)}"])
    source = SOURCES[name]
    chosen = {key: value for key, value in settings.items() if key != "name"}
    problems = setting_problems(name, chosen, _settings_of(source))
    if problems:
        raise RecipeError("thoughts", problems)
    try:
        return source(width, **chosen)
    except (ValueError, TypeError) as error:  # a source of somebody's own may say nothing of its types
        raise RecipeError("thoughts", [f"{name}: {error}"]) from error


def _settings_of(source: type[ThoughtSource]) -> dict[str, inspect.Parameter]:
    """The settings that a source takes; what it hands on to `Policy` are settings, too."""
    hands_on = any(each.kind == inspect.Parameter.VAR_KEYWORD for each in inspect.signature(source).parameters.values())
    return takes(source, Policy) if hands_on else takes(source)
