"""What there is to choose from, one line each: `unspoken list methods|tasks|thoughts|recipes|pretrained`."""

import inspect
import re

from unspoken.pretrained import CARD, pretrained_models
from unspoken.recipe.shipped import shipped_recipes

KINDS = ("methods", "tasks", "thoughts", "recipes", "pretrained")


def catalogue(kind: str) -> dict[str, str]:
    """Every name of a kind and what it is: the first sentence of its docstring or of its card, or the first
    comment of its file.

    Raises:
        ValueError: There is no such kind.
    """
    if kind == "recipes":
        return {name: _first_comment(path.read_text(encoding="utf-8")) for name, path in shipped_recipes().items()}
    if kind == "pretrained":
        cards = {name: path / CARD for name, path in pretrained_models().items()}
        return {name: _first_words(card.read_text(encoding="utf-8")) for name, card in cards.items()}
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
    return _sentence((inspect.getdoc(thing) or "").partition("\n\n")[0])


def _sentence(paragraph: str) -> str:
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", " ".join(paragraph.split()))[0]


def _first_words(card: str) -> str:
    """The first sentence below the title of a model card."""
    return _sentence(re.split(r"^# .*\n+", card, maxsplit=1, flags=re.MULTILINE)[-1].partition("\n\n")[0])


def _first_comment(text: str) -> str:
    line = text.lstrip("\ufeff").partition("\n")[0]
    return line.removeprefix("#").strip() if line.startswith("#") else ""
