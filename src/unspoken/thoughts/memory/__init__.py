"""What trajectories read besides their own state. A new memory is one file here and one line in `MEMORIES`."""

import inspect
from collections.abc import Mapping
from typing import Any

from unspoken.thoughts.memory.bank import Bank
from unspoken.thoughts.memory.base import Memory
from unspoken.thoughts.memory.episodic import Episodic
from unspoken.thoughts.memory.graph import Graph

MEMORIES: dict[str, type[Memory]] = {
    "episodic": Episodic,
    "bank": Bank,
    "graph": Graph,
}

__all__ = ["MEMORIES", "Memory", "build_memory"]


def build_memory(settings: Mapping[str, Any], width: int) -> Memory:
    """The memory that `{"name": ..., **settings}` describes.

    Raises:
        ValueError: The name or a setting is unknown, or its value is out of range.
    """
    if not isinstance(settings, Mapping):
        raise ValueError(f"memory is {settings!r}; give a mapping, e.g. {{name: episodic}}")
    name = settings.get("name")
    if name not in MEMORIES:
        raise ValueError(f"unknown memory {name!r}; known: {', '.join(MEMORIES)}")
    chosen = {key: value for key, value in settings.items() if key != "name"}
    known = [key for key in inspect.signature(MEMORIES[name]).parameters if key != "width"]
    unknown = [key for key in chosen if key not in known]
    if unknown:
        raise ValueError(f"unknown key of memory {name}: {', '.join(unknown)}; it takes {', '.join(known)}")
    return MEMORIES[name](width, **chosen)
