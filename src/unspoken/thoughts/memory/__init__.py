"""What trajectories read besides their own state. A new memory is one file here and one line in `MEMORIES`."""

from collections.abc import Mapping
from typing import Any

from unspoken.thoughts.memory.bank import Bank
from unspoken.thoughts.memory.base import Memory
from unspoken.thoughts.memory.episodic import Episodic
from unspoken.thoughts.memory.graph import Graph
from unspoken.thoughts.settings import setting_problems, takes

MEMORIES: dict[str, type[Memory]] = {
    "episodic": Episodic,
    "bank": Bank,
    "graph": Graph,
}

__all__ = ["MEMORIES", "Memory", "build_memory"]


def build_memory(settings: Mapping[str, Any], width: int) -> Memory:
    """The memory that `{"name": ..., **settings}` describes.

    Raises:
        ValueError: The name or a setting is unknown, or its value is of another type or out of range.
    """
    name = settings.get("name")
    if name not in MEMORIES:
        raise ValueError(f"unknown memory {name!r}; known: {', '.join(MEMORIES)}")
    chosen = {key: value for key, value in settings.items() if key != "name"}
    problems = setting_problems(f"memory {name}", chosen, takes(MEMORIES[name]))
    if problems:
        raise ValueError("; ".join(problems))
    return MEMORIES[name](width, **chosen)
