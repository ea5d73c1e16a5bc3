"""Settings of the released Coconut (facebookresearch/coconut and forks) or of MultiCoCo, translated into a recipe.

    coconut: True            ->  method: {name: coconut, thoughts_per_step: 2, max_stage: 3, epochs_per_stage: 3}
    c_thought: 2                 train: {learning_rate: 1.0e-4, first_epoch: 3, ...}
    lr: !!float "1e-4"           task: {name: custom, train: data/gsm_train.json, ...}
    ...                          and one sentence for every key that says what became of it

Settings are translated as values: nothing is loaded, and what they say is judged where every recipe is judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unspoken.errors import RecipeError
from unspoken.legacy.multimodal import MultimodalTranslator, is_multimodal
from unspoken.legacy.released import KEYS, Translator

_SECTIONS = frozenset({"task", "model", "method", "thoughts", "schedule", "adversary", "train", "evaluate"})


@dataclass(frozen=True, slots=True)
class Translation:
    """What a released file says, in the words of a recipe.

    Attributes:
        recipe: Sections of a recipe, for `recipe.resolve`.
        run: The run directory, `save_path/name`.
        said: One line a key: what it became, or why it has no effect here.
        origins: The released key behind each dotted key of the recipe.
        only_eval: The file evaluates `load_model_path` on its validation file instead of training.
        load_model_path: The weights to begin with, or to evaluate.
        stage: With `only_eval`, the stage that `resume` names: it decides the number of thoughts.
    """

    recipe: Mapping[str, Any]
    run: Path
    said: tuple[str, ...]
    origins: Mapping[str, str]
    only_eval: bool
    load_model_path: Path | None
    stage: int


def is_legacy(values: Mapping[str, Any]) -> bool:
    """Whether the values of a YAML file are those of the released code: flat, with at least three of its keys."""
    return not _SECTIONS & values.keys() and len(KEYS & values.keys()) >= 3


def translate(values: Mapping[str, Any], world_size: int = 1, where: str = "the file") -> Translation:
    """Say in a recipe's words what a released file says.

    Args:
        values: Its keys.
        world_size: Processes of this run: the released batch size is that of one.
        where: Its name, for messages.

    Raises:
        RecipeError: Flags contradict each other, keys are unknown or missing; all of them are named.
    """
    given = {key: None if value == "None" else value for key, value in values.items()}
    translator = MultimodalTranslator(given) if is_multimodal(given) else Translator(given)
    translator.check_keys()
    mode = translator.mode()
    if translator.problems or mode is None:
        raise RecipeError(where, translator.problems)
    translator.method(mode)
    translator.model()
    translator.task()
    translator.run()
    translator.train(world_size)
    translator.without_effect()
    if translator.problems:
        raise RecipeError(where, translator.problems)
    path = given.get("load_model_path")
    return Translation(
        recipe=translator.recipe,
        run=translator.directory,
        said=tuple(translator.said[key] for key in values),
        origins=translator.origins,
        only_eval=bool(given.get("only_eval")),
        load_model_path=Path(path) if path is not None else None,
        stage=_integer(given.get("resume")) // max(_integer(given.get("epochs_per_stage")), 1),
    )


def _integer(value: Any) -> int:
    return value if isinstance(value, int) else 0
