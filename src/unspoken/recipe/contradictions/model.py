"""The language model alone: its shape, its name, and whether it learns."""

from collections.abc import Iterator, Mapping
from typing import Any

from unspoken.config import ModelSettings
from unspoken.recipe.contradictions.thoughts import DEFAULT_THOUGHTS
from unspoken.recipe.problems import Problem


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


def frozen_decoder_problems(model: ModelSettings, thoughts: Mapping[str, Any] | None) -> Iterator[Problem]:
    """What does not fit with a language model that does not learn."""
    if model.lora:
        yield Problem("model.lora", "adapters of a language model that does not learn; set train_decoder: true")
    if model.path is None:
        yield Problem("model.train_decoder", "a language model from scratch has to learn; set it to true, or set path")
    if not (model.vision or model.embedding_heads) and thoughts == DEFAULT_THOUGHTS:
        yield Problem("model.train_decoder", "nothing is left to learn; set it to true")
