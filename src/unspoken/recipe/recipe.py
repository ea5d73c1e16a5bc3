"""One recipe = task + model + method + thoughts + schedule + training + evaluation.

    YAML file -> values -> overrides (`section.key=value`) -> settings, each checked -> checks between them -> Recipe

Every mistake of all steps is reported at once, by the dotted name of its key and the line it stands in.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, SerializeAsAny, ValidationError

from unspoken.config import AdversarySettings, EvaluateSettings, ModelSettings, Settings, TrainSettings
from unspoken.errors import RecipeError
from unspoken.legacy import Translation, is_legacy, translate
from unspoken.methods import METHODS, Method
from unspoken.processes import num_processes
from unspoken.recipe.contradictions import contradictions
from unspoken.recipe.contradictions.model import WIDE
from unspoken.recipe.contradictions.thoughts import DEFAULT_THOUGHTS, default_schedule, source_problems
from unspoken.recipe.overrides import apply_overrides
from unspoken.recipe.problems import Problem, advice, settings_problems
from unspoken.recipe.shipped import find_recipe, run_name
from unspoken.recipe.strict_yaml import read_document, to_yaml
from unspoken.tasks import TASKS, Task
from unspoken.tasks.read_rows import shown

SettingsT = TypeVar("SettingsT", bound=Settings)


class Recipe(Settings):
    """Everything that decides what a run computes."""

    task: SerializeAsAny[Task]
    """The data: `name` chooses it, the other keys are its settings."""
    model: ModelSettings = ModelSettings()
    method: SerializeAsAny[Method]
    """How to train: `name` chooses it, the other keys are its settings."""
    thoughts: dict[str, Any] = Field(default_factory=lambda: dict(DEFAULT_THOUGHTS))
    """What fills a thought slot: `name` chooses it, the other keys are its settings."""
    schedule: dict[str, Any] = Field(default_factory=lambda: {"name": "sequential"})
    """In which order passes fill the slots; default: single where the thoughts read no state, else sequential."""
    adversary: AdversarySettings | None = None
    """A judge of captions beside the loss; without the section there is none."""
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()

    @property
    def source(self) -> str:
        """The recipe as a sparse YAML file; `resolve` makes an equal recipe of it."""
        return to_yaml(sparse(self))


@dataclass(frozen=True, slots=True)
class Source:
    """A recipe, and what its file was.

    Attributes:
        path: The file.
        recipe: The recipe it holds, with the overrides.
        legacy: How it was translated, when it is a file of the released Coconut.
    """

    path: Path
    recipe: Recipe
    legacy: Translation | None

    @property
    def run(self) -> Path:
        """Where it is trained unless said otherwise: `runs/hops-coconut`, as other shipped recipes expect it."""
        return Path("runs") / run_name(self.path) if self.legacy is None else self.legacy.run


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, or the shipped one of this name (`hops/coconut`).

    Args:
        path: The file or name; files of the released Coconut are translated.
        overrides: `section.key=value`, later ones win.

    Raises:
        RecipeError: Names every mistake.
    """
    return open_recipe(path, overrides).recipe


def open_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Source:
    """As `load_recipe`, and how the file was translated.

    Raises:
        RecipeError: Names every mistake.
    """
    file = find_recipe(path)
    values, lines = read_document(file)
    origins = {key: f"line {line}" for key, line in lines.items()}
    legacy = translate(values, world_size=num_processes(), where=str(file)) if is_legacy(values) else None
    if legacy is not None:
        origins = {new: f"{old}, {origins[old]}" for new, old in legacy.origins.items()}
        values = dict(legacy.recipe)
    values, problems = apply_overrides(values, overrides)
    origins |= _override_origins(overrides)
    return Source(file, _resolve(values, str(file), origins, problems), legacy)


def resolve(values: Mapping[str, Any], where: str) -> Recipe:
    """The recipe that these values describe.

    Args:
        values: Sections by name, as in a recipe file.
        where: Where they come from, for messages.

    Raises:
        RecipeError: Names every mistake.
    """
    return _resolve(values, where, {}, [])


def override(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """The recipe with some settings changed.

    Args:
        recipe: Left as it is.
        changes: `section.key=value`, later ones win.

    Raises:
        RecipeError: Names every mistake.
    """
    values, problems = apply_overrides(dump(recipe), changes)
    return _resolve(values, "command line", _override_origins(changes), problems)


def resolve_task(name: str, overrides: Sequence[str]) -> Task:
    """The task of this name alone, without a recipe.

    Args:
        name: A key of `TASKS`.
        overrides: `key=value`, settings of the task.

    Raises:
        RecipeError: Names every mistake.
    """
    values, problems = apply_overrides({"task": {"name": name}}, [f"task.{override}" for override in overrides])
    reader = _Reader(list(problems))
    task = reader.choose("task", values["task"], TASKS)
    if reader.problems:
        raise RecipeError(f"task {name}", [_line_of(problem, {}) for problem in reader.problems])
    assert task is not None, "it is there or has left a problem"
    return task


def dump(recipe: Recipe) -> dict[str, Any]:
    """Every setting as plain values, defaults included; `resolve` makes an equal recipe of them."""
    return recipe.model_dump(mode="json")


def sparse(recipe: Recipe) -> dict[str, Any]:
    """The settings that are not their class's default, and the names; `resolve` makes an equal recipe of them."""
    values = dump(recipe)
    kept: dict[str, Any] = {}
    for section in ("task", "model", "method", "train", "evaluate"):
        defaults = type(getattr(recipe, section))().model_dump(mode="json")
        named = {"name": values[section]["name"]} if "name" in values[section] else {}
        kept[section] = named | {key: value for key, value in values[section].items() if value != defaults[key]}
    if recipe.thoughts != DEFAULT_THOUGHTS:
        kept["thoughts"] = values["thoughts"]
    if recipe.thoughts != DEFAULT_THOUGHTS or recipe.schedule != {"name": "sequential"}:
        kept["schedule"] = values["schedule"]
    if recipe.adversary is not None:
        changed = recipe.adversary.model_dump(mode="json", exclude_defaults=True)
        kept["adversary"] = {"signal": recipe.adversary.signal, **changed}
    return {key: kept[key] for key in values if kept.get(key)}


def _resolve(values: Mapping[str, Any], where: str, origins: Mapping[str, str], problems: Sequence[Problem]) -> Recipe:
    reader = _Reader(list(problems))
    reader.check_sections(values)
    task = reader.choose("task", values.get("task"), TASKS)
    model = reader.read(ModelSettings, "model", values.get("model"))
    method = reader.choose("method", values.get("method"), METHODS)
    given = values.get("adversary")
    adversary = None if given is None else reader.read(AdversarySettings, "adversary", given)
    train = reader.read(TrainSettings, "train", values.get("train"))
    evaluate = reader.read(EvaluateSettings, "evaluate", values.get("evaluate"))
    chosen = values.get("thoughts")
    thoughts = dict(DEFAULT_THOUGHTS) if chosen in (None, {}) else reader.mapping("thoughts", chosen)
    schedule = reader.mapping("schedule", values.get("schedule"))
    # how wide a checkpoint is, is not known here: what is too wide for it is found when it is loaded
    width = model.width if model and model.path is None else WIDE
    reader.problems += source_problems(thoughts, schedule, width)
    reader.problems += contradictions(
        task=task,
        model=model,
        method=method,
        train=train,
        evaluate=evaluate,
        thoughts=thoughts,
        schedule=schedule,
        adversary=adversary,
    )
    if reader.problems:
        raise RecipeError(where, [_line_of(problem, origins) for problem in reader.problems])
    assert task is not None, "each of them is there or has left a problem"
    assert model is not None
    assert thoughts is not None
    assert method is not None
    assert train is not None
    assert evaluate is not None
    return Recipe(
        task=task,
        model=model,
        method=method,
        thoughts=thoughts,
        schedule=schedule or default_schedule(thoughts),
        adversary=adversary,
        train=train,
        evaluate=evaluate,
    )


def _override_origins(overrides: Sequence[str]) -> dict[str, str]:
    """Marks the keys of overrides, and those that are none as a whole."""
    keys = [override.partition("=")[0].strip() for override in overrides]
    return dict.fromkeys([*keys, *overrides], "override")


def _line_of(problem: Problem, origins: Mapping[str, str]) -> str:
    """`train.epochs (line 7): what is wrong`; a key that stands nowhere itself has the line of its section."""
    key = problem.key
    while key not in origins and "." in key:
        key = key.rpartition(".")[0]
    origin = f" ({origins[key]})" if key in origins else ""
    return f"{problem.key}{origin}: {problem.message}"


@dataclass(slots=True)
class _Reader:
    """Turns sections into settings and collects the problems."""

    problems: list[Problem]

    def check_sections(self, values: Mapping[str, Any]) -> None:
        for key in values:
            if key not in Recipe.model_fields:
                self.problems.append(Problem(key, f"unknown section; {advice(key, list(Recipe.model_fields))}"))

    def mapping(self, section: str, values: Any) -> dict[str, Any] | None:
        if values is None:
            return None
        if isinstance(values, Mapping):
            return dict(values)
        self.problems.append(
            Problem(section, f"it is {shown(values)}; write a mapping of settings, e.g. {section}: {{name: ...}}")
        )
        return None

    def choose(self, section: str, values: Any, classes: Mapping[str, type[SettingsT]]) -> SettingsT | None:
        """The settings whose class `name` chooses."""
        known = ", ".join(classes)
        if values is None:
            self.problems.append(Problem(f"{section}.name", f"it is missing; choose one of {known}"))
            return None
        settings = self.mapping(section, values)
        if settings is None:
            return None
        name = settings.get("name")
        if not isinstance(name, str) or name not in classes:
            found = "it is missing" if name is None else f"unknown {section} {name!r}"
            close = get_close_matches(str(name), classes, n=1)
            hint = f"did you mean {close[0]}? Known are" if close else "known are"
            self.problems.append(Problem(f"{section}.name", f"{found}; {hint} {known}"))
            return None
        owners: dict[str, str] = {}
        for other in classes:
            for key in classes[other].model_fields.keys() - classes[name].model_fields.keys():
                owners[key] = f"{owners[key]}, {other}" if key in owners else other
        return self.read(classes[name], section, settings, owners)

    def read(
        self, kind: type[SettingsT], section: str, values: Any, owners: Mapping[str, str] | None = None
    ) -> SettingsT | None:
        """The settings of one class.

        Args:
            kind: The class.
            section: Its section.
            values: What the recipe says there.
            owners: Which other choice of this section has a key.
        """
        settings = self.mapping(section, values) if values is not None else {}
        if settings is None:
            return None
        try:
            # JSON mode is strict about types and still reads lists as tuples and texts as paths
            return kind.model_validate_json(json.dumps(settings), strict=True)
        except ValidationError as error:
            self.problems += settings_problems(error, kind, section, settings, owners or {})
        except (TypeError, ValueError) as error:
            self.problems.append(Problem(section, f"it holds values that are not plain data ({error}); write them out"))
        return None
