"""What fills a thought slot. A new source is one file here and one line in `SOURCES`."""

import inspect
from collections.abc import Mapping
from typing import Any

from unspoken.errors import RecipeError
from unspoken.thoughts.base import History, ThoughtSource
from unspoken.thoughts.last_hidden import LastHidden
from unspoken.thoughts.pause import Pause
from unspoken.thoughts.projection import Projection
from unspoken.thoughts.window import Window

SOURCES: dict[str, type[ThoughtSource]] = {
    "last_hidden": LastHidden,
    "window": Window,
    "pause": Pause,
    "projection": Projection,
}

__all__ = ["SOURCES", "History", "ThoughtSource", "build_source"]


def build_source(settings: Mapping[str, Any], width: int) -> ThoughtSource:
    """The source that `{"name": ..., **settings}` describes, for a model of this width.

    Raises:
        RecipeError: The name or a setting is unknown, or its value is out of range.
    """
    name = settings.get("name")
    if name not in SOURCES:
        raise RecipeError("thoughts", [f"name: unknown source {name!r}; known: {', '.join(SOURCES)}"])
    source = SOURCES[name]
    known = [parameter for parameter in inspect.signature(source).parameters if parameter != "width"]
    chosen = {key: value for key, value in settings.items() if key != "name"}
    unknown = [key for key in chosen if key not in known]
    if unknown:
        takes = ", ".join(known) or "nothing"
        raise RecipeError("thoughts", [f"{key}: unknown key of {name}, which takes {takes}" for key in unknown])
    try:
        return source(width, **chosen)
    except (ValueError, TypeError) as error:
        raise RecipeError("thoughts", [f"{name}: {error}"]) from error
