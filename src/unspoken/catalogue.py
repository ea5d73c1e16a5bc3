"""What there is to choose from, one line each: `unspoken list methods|tasks|thoughts|recipes`."""

import inspect
import re

from unspoken.recipe.shipped import shipped_recipes

KINDS = ("methods", "tasks", "thoughts", "recipes")


def catalogue(kind: str) -> dict[str, str]:
    """Every name of a kind and what it is: the first sentence of its docstring, or the first comment of its file.

    Raises:
        ValueError: There is no such kind.
    """
    if kind == "recipes":
        return {name: _first_comment(path.read_text(encoding="utf-8")) for name, path in shipped_recipes().items()}
    if kind == "methods":
        from unspoken.methods import METHODS

        return {name: _first_sentence(method) for name, method in METHODS.items()}
    if kind == "tasks":
        from unspoken.tasks import TASKS

        return {name: _first_sentence(task) for name, task in TASKS.items()}
    if kind == "thoughts":
        from unspoken.thoughts import SOURCES

        return {name: _first_sentence(source) for name, source in SOURCES.items()}
    raise ValueError(f"unknown kind {kind!r}; known are {', '.join(KINDS)}")


def render(entries: dict[str, str]) -> str:
    """A table of two columns."""
    width = max(map(len, entries), default=0)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in entries.items())


def _first_sentence(thing: type) -> str:
    paragraph = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", paragraph)[0]


def _first_comment(text: str) -> str:
    line = text.lstrip("\ufeff").partition("\n")[0]
    return line.removeprefix("#").strip() if line.startswith("#") else ""
