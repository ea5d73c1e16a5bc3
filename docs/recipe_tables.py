"""Writes the tables of docs/recipes.md from the settings records: `python docs/recipe_tables.py`.

A test compares the page with what this makes, so that no key, default or sentence can drift from the code.
"""

import inspect
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic_core import PydanticUndefined

from unspoken.config import (
    AdversarySettings,
    EvaluateSettings,
    LoraSettings,
    ModelSettings,
    Settings,
    TrainSettings,
    VisionSettings,
)
from unspoken.methods import METHODS
from unspoken.methods.reinforcement import RewardWeights
from unspoken.model.passes import SCHEDULES
from unspoken.tasks import TASKS
from unspoken.thoughts import SOURCES, Policy
from unspoken.thoughts.memory import MEMORIES

PAGE = Path(__file__).with_name("recipes.md")

PLAIN = {
    "ModelSettings.layers": "Blocks of a model from scratch.",
    "ModelSettings.heads": "Attention heads of a model from scratch.",
    "ModelSettings.width": "Width of a model from scratch, a multiple of `heads`.",
    "TrainSettings.epochs": "Epochs of the schedule; training ends after the last.",
    "TrainSettings.learning_rate": "Of AdamW, after the warm-up.",
    "TrainSettings.lr_schedule": "How the learning rate goes on after the warm-up.",
    "TrainSettings.warmup_steps": "Optimizer steps in which the learning rate rises from 0.",
    "TrainSettings.weight_decay": "Of AdamW.",
    "TrainSettings.betas": "Of AdamW.",
    "TrainSettings.seed": "Of weights, order of rows, redrawing, mixing and dropout.",
    "EvaluateSettings.batch_size": "Rows that are generated together.",
    "train": "File of the training rows.",
    "validation": "File of the validation rows.",
    "test": "File of the test rows.",
    "train_rows": "Training rows to generate.",
    "validation_rows": "Validation rows to generate.",
    "test_rows": "Test rows to generate.",
}
"""What fields say that have no sentence in the code because their name says it there."""


def settings_table(kind: type[Settings], *, without: frozenset[str] = frozenset()) -> str:
    """A row for each field of a settings record."""
    rows = []
    for name, field in kind.model_fields.items():
        if name in without or name == "name":
            continue
        default = field.get_default(call_default_factory=True)
        if default is PydanticUndefined:
            raise ValueError(f"{kind.__name__}.{name} has no default")
        text = field.description or PLAIN.get(f"{kind.__name__}.{name}") or PLAIN.get(name)
        if not text:
            raise ValueError(f"{kind.__name__}.{name} is explained neither in the code nor in PLAIN")
        rows.append((name, _values(field.annotation), _shown(default), text))
    return _table(rows)


def sources_table() -> str:
    """A row for each setting of each thought source, of every policy and of each memory."""
    parts = []
    for name, source in SOURCES.items():
        also = " It takes the keys of every policy, too." if issubclass(source, Policy) else ""
        parts.append(f"**`{name}`** {_summary(source)}{also}\n\n{_signature_table(source)}")
    parts.append(f"**every policy** {_summary(Policy)}\n\n{_signature_table(Policy)}")
    parts += [f"**memory `{name}`** {_summary(kind)}\n\n{_signature_table(kind)}" for name, kind in MEMORIES.items()]
    return "\n\n".join(parts)


def _signature_table(kind: type) -> str:
    """A row for each setting that building a module takes."""
    texts, hints = _arguments(inspect.getdoc(kind) or ""), get_type_hints(kind.__init__)
    rows = [
        (key, _values(hints[key]), _shown(parameter.default), texts[key])
        for key, parameter in inspect.signature(kind).parameters.items()
        if key != "width" and parameter.kind != inspect.Parameter.VAR_KEYWORD
    ]
    return _table(rows) if rows else "No settings."


def schedules_table() -> str:
    """A row for each setting of each schedule."""
    parts = []
    for name, schedule in SCHEDULES.items():
        rows = [
            (field.name, "integer", _shown(field.default), "How often all slots are refined.")
            for field in fields(schedule)
        ]
        parts.append(f"**`{name}`** {_summary(schedule)}\n\n{_table(rows) if rows else 'No settings.'}")
    return "\n\n".join(parts)


def tables() -> dict[str, str]:
    """Every table of the page, by the name of its markers."""
    made = {
        "model": settings_table(ModelSettings),
        "lora": settings_table(LoraSettings),
        "vision": settings_table(VisionSettings),
        "thoughts": sources_table(),
        "schedule": schedules_table(),
        "adversary": settings_table(AdversarySettings),
        "train": settings_table(TrainSettings),
        "evaluate": settings_table(EvaluateSettings),
    }
    made["task"] = "\n\n".join(
        f"**`{name}`** {_summary(kind)}\n\n{settings_table(kind)}" for name, kind in TASKS.items()
    )
    made["method"] = "\n\n".join(
        f"**`{name}`** {_summary(kind)}\n\n{settings_table(kind)}" for name, kind in METHODS.items()
    )
    made["rewards"] = settings_table(RewardWeights)
    return made


def refreshed(page: str) -> str:
    """The page with every table made anew."""
    for name, table in tables().items():
        pattern = rf"(<!-- table: {name} -->\n).*?(\n<!-- end: {name} -->)"
        page, count = re.subn(pattern, lambda match, t=table: f"{match[1]}\n{t}\n{match[2]}", page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{PAGE.name} has {count} places for the table {name}")
    return page


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    lines = [f"| `{key}` | {values} | {default} | {_escaped(text)} |" for key, values, default, text in rows]
    return "\n".join(["| key | values | default | what it does |", "| --- | --- | --- | --- |", *lines])


_KINDS = {bool: "true, false", int: "integer", float: "number", str: "text", Path: "path"} | dict.fromkeys(
    (dict, Mapping), "mapping"
)


def _values(annotation: Any) -> str:
    """What a key takes, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{name}`" for name in arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_values(kind) for kind in arguments if kind is not type(None)))
    if origin in (tuple, Sequence):
        return "list"
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return "mapping"
    return _KINDS[origin or annotation]


def _shown(default: Any) -> str:
    if default is MISSING or default is inspect.Parameter.empty:
        return "required"
    if isinstance(default, str) and default.isidentifier():
        return f"`{default}`"
    if isinstance(default, Path):
        default = default.as_posix()
    if isinstance(default, Settings):
        return "the defaults of its keys"
    return f"`{json.dumps(list(default) if isinstance(default, tuple) else default)}`"


def _escaped(text: str) -> str:
    """One line of a table. `<|latent|>` holds bars, which end a cell even in code."""
    return " ".join(text.split()).replace("|", "\\|")


def _summary(kind: type) -> str:
    """The first paragraph of a class's docstring."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def _arguments(doc: str) -> dict[str, str]:
    """The `Args` section of a docstring."""
    section = doc.partition("Args:\n")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        match = re.fullmatch(r" {4}(\*{0,2}\w+): (.+)", line)
        if match:
            name, found[match[1]] = match[1], match[2]
        elif name:
            found[name] += " " + line.strip()
    return found


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
