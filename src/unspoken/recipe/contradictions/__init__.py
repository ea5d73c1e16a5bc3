"""Settings that are each fine and do not fit together: what is wrong, why, and what to set instead.

A file here judges what it is named after. It imports nothing heavy before it has to: `unspoken plan` is quick.
"""

from collections.abc import Mapping
from typing import Any

from unspoken.config import AdversarySettings, EvaluateSettings, ModelSettings, TrainSettings
from unspoken.methods import Contrastive, Method, Reinforcement
from unspoken.methods.superposition import Superposition
from unspoken.recipe.contradictions.adversary import adversary_problems
from unspoken.recipe.contradictions.contrastive import contrastive_problems
from unspoken.recipe.contradictions.evaluate import evaluate_problems
from unspoken.recipe.contradictions.images import embedding_head_problems, image_problems
from unspoken.recipe.contradictions.method import method_problems, position_problems
from unspoken.recipe.contradictions.model import frozen_decoder_problems, model_problems
from unspoken.recipe.contradictions.reinforcement import reinforcement_problems, without_effect_on_rewards
from unspoken.recipe.contradictions.superposition import superposition_problems
from unspoken.recipe.contradictions.train import train_problems
from unspoken.recipe.contradictions.trainer_fields import trainer_problems
from unspoken.recipe.problems import Problem
from unspoken.tasks import Task


def contradictions(
    *,
    task: Task | None,
    model: ModelSettings | None,
    method: Method | None,
    train: TrainSettings | None,
    evaluate: EvaluateSettings | None,
    thoughts: Mapping[str, Any] | None,
    schedule: Mapping[str, Any] | None = None,
    adversary: AdversarySettings | None = None,
) -> list[Problem]:
    """Everything that does not fit together; a section that could not be read is None and is not judged."""
    problems: list[Problem] = []
    if model:
        problems += model_problems(model)
        problems += frozen_decoder_problems(model, method, train, thoughts) if not model.train_decoder else []
    if train:
        problems += train_problems(train, method)
        problems += trainer_problems(train.trainer)
    if evaluate:
        problems += evaluate_problems(evaluate)
    if method:
        problems += method_problems(method, thoughts, schedule)
    if method and model:
        problems += position_problems(method, model)
    if isinstance(method, Reinforcement):
        problems += reinforcement_problems(method, model, thoughts)
        problems += without_effect_on_rewards(train) if train else []
    if isinstance(method, Superposition) and task:
        problems += superposition_problems(method, task)
    if model:
        problems += image_problems(task, model, evaluate)
    if model and model.embedding_heads:
        problems += embedding_head_problems(task, model, train)
    if isinstance(method, Contrastive):
        problems += contrastive_problems(method, task, model, train, evaluate)
    if adversary:
        problems += adversary_problems(adversary, task, model, method, train, thoughts)
    return problems


__all__ = ["contradictions"]
