"""What does not fit beside an adversary: settings of its own section, and of all others."""

from collections.abc import Iterator, Mapping
from typing import Any

from unspoken.config import AdversarySettings, ModelSettings, TrainSettings
from unspoken.methods import Contrastive, Method, Reinforcement
from unspoken.recipe.contradictions.thoughts import DEFAULT_THOUGHTS, is_policy
from unspoken.recipe.problems import Problem
from unspoken.tasks import Task


def adversary_problems(
    adversary: AdversarySettings,
    task: Task | None,
    model: ModelSettings | None,
    method: Method | None,
    train: TrainSettings | None,
    thoughts: Mapping[str, Any] | None,
) -> Iterator[Problem]:
    """Everything that does not fit; a section that could not be read is None and is not judged."""
    yield from _own(adversary)
    yield from _without_effect(adversary)
    if task and not task.is_caption:
        text = f"it judges captions of a next image, and the answers of {task.model_dump()['name']} are none"
        yield Problem("adversary", f"{text}; take it out, or choose toy_stories or stories")
    if isinstance(method, Contrastive | Reinforcement):
        text = f"it stands beside the supervised loss, which {method.model_dump()['name']} does not have"
        yield Problem("adversary", f"{text}; take it out, or choose another method")
    if model and model.path is None:
        text = "a discriminator tells a model that cannot write yet from anything"
        yield Problem("model.path", f"{text}; train without an adversary first, and give that run's directory")
    if model and model.embedding_heads is None:
        text = "an adversary needs the space of images and texts that they name"
        yield Problem("model.embedding_heads", f"{text}; set them as in the run at model.path")
    if train:
        yield from _train(train)
    if thoughts is not None:
        yield from _policy(thoughts)


def _own(adversary: AdversarySettings) -> Iterator[Problem]:
    """Choices that make no sense together."""
    by_reward = adversary.signal == "policy_gradient"
    if by_reward and adversary.fakes == "cached":
        text = "policy_gradient draws captions at every step, and so has nothing to keep"
        yield Problem("adversary.fakes", f"{text}; set it to fresh, or choose another signal")
    if by_reward and adversary.feature_matching:
        text = "captions that were drawn have a probability and no gradient of their own, so features cannot be matched"
        yield Problem("adversary.feature_matching", f"{text}; set it to 0, or choose another signal")
    if adversary.judge == "clip_margin" and not by_reward:
        text = f"the margin is a reward, and {adversary.signal} needs a judge with a gradient"
        yield Problem("adversary.judge", f"{text}; set discriminator, or adversary.signal: policy_gradient")


def _without_effect(adversary: AdversarySettings) -> Iterator[Problem]:
    """Settings of something that is not there."""
    absent: dict[str, str] = {}
    if adversary.signal != "policy_gradient":
        absent["samples"] = "only policy_gradient draws several captions of a row"
    if adversary.fakes == "fresh":
        absent["cached_rows"] = "fakes are fresh, none are kept"
    if adversary.judge == "clip_margin" and adversary.signal == "policy_gradient":
        of_discriminator = ("negatives", "every", "learning_rate", "width", "dropout")
        absent |= dict.fromkeys(of_discriminator, "clip_margin judges without a discriminator")
    changed = adversary.model_dump(exclude_defaults=True)
    yield from (Problem(f"adversary.{key}", f"{why}; take it out") for key, why in absent.items() if key in changed)


def _train(train: TrainSettings) -> Iterator[Problem]:
    if train.micro_batch_size not in (None, train.batch_size):
        text = "a discriminator sees all rows of a step at once, which cannot be cut into parts"
        yield Problem("train.micro_batch_size", f"{text}; remove it and lower train.batch_size")
    if train.precision == "fp16":
        yield Problem("train.precision", "fp16 would need scaled losses, also of the discriminator; set bf16 or fp32")


def _policy(thoughts: Mapping[str, Any]) -> Iterator[Problem]:
    name = thoughts.get("name")
    if name not in (DEFAULT_THOUGHTS["name"], None) and is_policy(str(name)):
        text = f"{name} draws thoughts, and an adversary judges words alone"
        yield Problem("thoughts.name", f"{text}; choose a source without chance, or learn from rewards (method grpo)")
