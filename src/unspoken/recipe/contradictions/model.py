"""The language model alone: its shape, its name, and whether it learns."""

from collections.abc import Iterator, Mapping
from typing import Any

from unspoken.config import ModelSettings, TrainSettings
from unspoken.errors import RecipeError
from unspoken.methods import Method, Reinforcement
from unspoken.recipe.contradictions.thoughts import DEFAULT_THOUGHTS
from unspoken.recipe.problems import Problem

WIDE = 2**14
"""No narrower than any checkpoint."""
OF_CHANCE = frozenset({"halting", "critic", "log_scale", "log_deviation"})
"""Parameters of policies that only rewards reach: when to stop, what to expect, how far to draw."""


def model_problems(model: ModelSettings) -> Iterator[Problem]:
    """What is wrong with the shape of a model from scratch, or with the name of another one."""
    if model.path is not None:
        if not model.path.strip() or model.path != model.path.strip() or "\n" in model.path:
            yield Problem("model.path", f"{model.path!r} begins or ends with white space, or is empty; remove it")
        return
    if model.revision is not None:
        yield Problem(
            "model.revision", "it names a version of model.path, which is not set; remove it or set model.path"
        )
    if model.width % model.heads:
        yield Problem(
            "model.width",
            f"{model.width} is not a multiple of model.heads={model.heads}; "
            f"set it to {-(-model.width // model.heads) * model.heads}",
        )
    elif model.arch != "gpt2" and model.width // model.heads % 2:
        yield Problem(
            "model.heads",
            f"rotary positions turn pairs of numbers, but a head has {model.width // model.heads}; "
            "choose width and heads so that width / heads is even",
        )


def frozen_decoder_problems(
    model: ModelSettings, method: Method | None, train: TrainSettings | None, thoughts: Mapping[str, Any] | None
) -> Iterator[Problem]:
    """What does not fit with a language model that does not learn; a section that is None is not judged."""
    if isinstance(method, Reinforcement):
        return  # there it is another setting that says so
    if model.lora:
        yield Problem("model.lora", "adapters of a language model that does not learn; set train_decoder: true")
    if model.path is None:
        yield Problem("model.train_decoder", "a language model from scratch has to learn; set it to true, or set path")
    if model.vision or model.embedding_heads or thoughts is None:
        return
    if not _learns(thoughts):
        why = f"nothing is left to learn: thoughts of {thoughts.get('name')} have no parameters that this loss reaches"
        yield Problem("model.train_decoder", f"{why}; set it to true, or choose thoughts: {{name: projection}}")
    elif method and train:
        yield from _stages_without_thoughts(method, train)


def _stages_without_thoughts(method: Method, train: TrainSettings) -> Iterator[Problem]:
    """Stages in which nothing would learn, as only the thought source does."""
    trained = sorted({method.stage(epoch) for epoch in range(train.first_epoch, train.epochs)})
    empty = [str(stage) for stage in trained if method.most_thoughts(stage) == 0]
    if empty:
        named = f"stage{'s' * (len(empty) > 1)} {', '.join(empty)}"
        text = f"only the thought source would learn, and rows of {named} have no thoughts"
        advice = "set method.epochs_per_stage=0, which begins with the final stage" if len(empty) < len(trained) else ""
        yield Problem("model.train_decoder", f"{text}; {advice or 'choose thoughts for them'}, or set it to true")


def _learns(thoughts: Mapping[str, Any]) -> bool:
    """Whether a thought source has parameters that the supervised loss reaches; one that cannot be built is not judged.

    Torch is needed to see it for any source but the default.
    """
    if thoughts == DEFAULT_THOUGHTS:
        return False
    import torch

    from unspoken.thoughts import build_source

    try:
        with torch.device("meta"):
            source = build_source(thoughts, WIDE)
    except RecipeError:
        return True
    return any(name.partition(".")[0] not in OF_CHANCE for name, _ in source.named_parameters())
