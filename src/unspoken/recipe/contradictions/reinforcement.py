"""What does not fit with learning from rewards."""

from collections.abc import Iterator, Mapping
from typing import Any

from unspoken.config import ModelSettings, TrainSettings
from unspoken.methods import Reinforcement
from unspoken.methods.reinforcement import PPO
from unspoken.recipe.contradictions.thoughts import is_policy
from unspoken.recipe.problems import Problem


def reinforcement_problems(
    method: Reinforcement, model: ModelSettings | None, thoughts: Mapping[str, Any] | None
) -> Iterator[Problem]:
    """What does not fit; a section that could not be read is None and is not judged."""
    if thoughts is not None:
        yield from _policy(method, thoughts)
    if model and model.path is None:
        yield Problem("model.path", "rewards say little to a model that answers nothing right yet; give a trained run")
    if model and not model.train_decoder:
        text = "it is method.language_model that says whether the language model learns from rewards"
        yield Problem("model.train_decoder", f"{text}; set that to freeze, and take this out")
    if method.redraw:
        text = "the question of a row is worded once here, so that nothing would be drawn anew"
        yield Problem("method.redraw", f"{text}; take it out")
    if model and model.lora and method.language_model == "freeze":
        yield Problem("model.lora", "adapters of a language model that is frozen learn nothing; take it out")


def _policy(method: Reinforcement, thoughts: Mapping[str, Any]) -> Iterator[Problem]:
    name = thoughts.get("name")
    if not is_policy(str(name)):
        yield Problem(
            "thoughts.name",
            f"{name} leaves nothing to chance, so nothing can be learned from rewards; "
            "choose a policy, e.g. thoughts: {name: gaussian}",
        )
    critic = bool(thoughts.get("critic"))
    if isinstance(method, PPO) and not critic:
        yield Problem(
            "thoughts.critic",
            "ppo compares rewards with what a critic expects; set it to true, or choose method.name: grpo",
        )
    if not isinstance(method, PPO) and critic:
        yield Problem(
            "thoughts.critic",
            f"nothing in {method.model_dump()['name']} trains a critic; take it out, or choose method.name: ppo",
        )


def without_effect_on_rewards(train: TrainSettings) -> Iterator[Problem]:
    """Settings of the supervised loop that the loop of rewards has no use for."""
    defaults = TrainSettings()
    for name in ("first_epoch", "reset_optimizer", "workers", "report_to", "trainer"):
        if getattr(train, name) != getattr(defaults, name):
            yield Problem(f"train.{name}", "it has no effect on learning from rewards; take it out")
