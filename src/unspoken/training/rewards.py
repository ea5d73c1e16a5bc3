"""What a trajectory is rewarded for: a right answer, a readable one, a likelier gold answer, few thoughts.

An answer is judged by the task's own scorer, and beside it by math-verify where a judge is given. Texts are written by
a model that is rewarded for them, so they are as hostile as they can be: they are compared and never run.

Shapes: T trajectories, N of them to each of B questions, those of a question next to each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from unspoken.errors import NonFiniteError, RecipeError
from unspoken.methods.reinforcement import RewardWeights
from unspoken.records import Example, Score
from unspoken.tasks import Task
from unspoken.tasks.number import canonical, first_line
from unspoken.training.verifier import Verdict, Verifier

MAX_CHARACTERS = 100_000
"""A longer text holds no answer and is not read; the longest that a recipe asks for has some 2,000."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """How the answers of T trajectories were judged.

    Attributes:
        scores: By the task; this is what evaluation counts.
        verified: By math-verify; None where nobody asked.
    """

    scores: tuple[Score, ...]
    verified: tuple[Verdict, ...] | None = None

    @property
    def is_right(self) -> Tensor:
        """Which earn the reward of a right answer, (T,): by the task, or by math-verify where it was asked."""
        official_T = torch.tensor([score.verdict == "right" for score in self.scores], dtype=torch.bool)
        return official_T if self.verified is None else official_T | self.is_equal

    @property
    def is_equal(self) -> Tensor:
        """Which are right by math-verify, (T,)."""
        assert self.verified is not None, "asked of answers that math-verify judged"
        return torch.tensor([verdict == "equal" for verdict in self.verified], dtype=torch.bool)

    @property
    def is_answer(self) -> Tensor:
        """From which the task could read an answer, (T,)."""
        return torch.tensor([score.verdict != "no answer" for score in self.scores], dtype=torch.bool)


@dataclass(frozen=True, slots=True, eq=False)
class Rewards:
    """What T trajectories earned.

    Attributes:
        components: What for: `exact`, `gold_gain`, `format`, `thought_cost` and `token_cost`, each (T,), weighted; the
            costs are <= 0.
        total: Their sum, (T,).
    """

    components: Mapping[str, Tensor]
    total: Tensor

    def means(self) -> dict[str, float]:
        """What a trajectory earned for each component on average."""
        return {name: float(values_T.mean()) for name, values_T in self.components.items()}

    def shares(self) -> dict[str, float]:
        """Which share of what sets trajectories apart lies in each component.

        Standard deviations over their sum, for what all of a batch earn alike teaches nothing; all 0 where nothing sets
        them apart.
        """
        spreads = {name: float(values_T.double().std(correction=0)) for name, values_T in self.components.items()}
        whole = sum(spreads.values())
        return {name: spread / whole if whole else 0.0 for name, spread in spreads.items()}


def score_answers(
    task: Task, examples: Sequence[Example], texts: Sequence[str], siblings: int, verifier: Verifier | None = None
) -> Verdicts:
    """Judge what trajectories wrote.

    Args:
        task: Its own scorer is asked.
        examples: B of them.
        texts: What was written (new tokens only), T = B * N texts.
        siblings: N.
        verifier: math-verify, to be asked too. It is more lenient: `0.5` is `1/2`, and `72%`, `70+2` and `72 apples`
            are 72.

    Raises:
        ValueError: There are not N texts for each example.
        RecipeError: math-verify is to judge a task whose answers are not numbers.
    """
    if len(texts) != len(examples) * siblings:
        raise ValueError(
            f"{len(texts)} texts for {len(examples)} questions with {siblings} trajectories each; give "
            f"{len(examples) * siblings}"
        )
    asked = [example for example in examples for _ in range(siblings)]
    read = [text if len(text) <= MAX_CHARACTERS else "" for text in texts]
    scores = tuple(task.score(example, text) for example, text in zip(asked, read, strict=True))
    if verifier is None:
        return Verdicts(scores)
    golds = {example.id: _number(task, example) for example in examples}
    pairs = zip(asked, read, strict=True)
    return Verdicts(scores, tuple(verifier.judge(golds[example.id], text) for example, text in pairs))


def _number(task: Task, example: Example) -> str:
    number = canonical(first_line(example.answer))
    if number is None:
        raise RecipeError(
            "rewards",
            [
                f"math-verify compares numbers, and the answer of {example.id} in task {task.name} is "
                f"{example.answer[:40]!r}; leave math-verify out, the task's own scorer judges all answers"
            ],
        )
    return number


def rewards_of(
    verdicts: Verdicts,
    num_thoughts_T: Tensor,
    num_tokens_T: Tensor,
    gold_gain_T: Tensor | None,
    weights: RewardWeights,
) -> Rewards:
    """What trajectories earn.

    Args:
        verdicts: How their answers were judged.
        num_thoughts_T: How many thoughts each had.
        num_tokens_T: How many tokens each wrote.
        gold_gain_T: By how many nats its thoughts make the gold answer likelier than no thoughts do; None where that
            weighs nothing.
        weights: What each part is worth.

    Raises:
        ValueError: The gain has a weight and is not given.
        NonFiniteError: A reward is no number.
    """
    if gold_gain_T is None and weights.gold_gain:
        raise ValueError(f"gold_gain has the weight {weights.gold_gain} and was not measured; give it, or the weight 0")
    device = num_thoughts_T.device
    nothing_T = torch.zeros(len(num_thoughts_T), device=device)
    components = {
        "exact": weights.exact * verdicts.is_right.to(device, torch.float32),
        "gold_gain": nothing_T if gold_gain_T is None else weights.gold_gain * gold_gain_T.detach().float(),
        "format": weights.format * verdicts.is_answer.to(device, torch.float32),
        "thought_cost": -weights.thought_cost * num_thoughts_T.float(),
        "token_cost": -weights.token_cost * num_tokens_T.float(),
    }
    for name, values_T in components.items():
        if not bool(values_T.isfinite().all()):
            place = int((~values_T.isfinite()).nonzero()[0])
            raise NonFiniteError(
                f"the reward {name} of trajectory {place} is {float(values_T[place])}; nothing learned"
            )
    return Rewards(components, torch.stack(list(components.values())).sum(dim=0))


def shuffled(rewards: Rewards, generator: Generator) -> Rewards:
    """The control: the same rewards, each for a trajectory of the batch drawn by lot.

    What is learned from them has nothing to do with what was done.
    """
    order = torch.randperm(len(rewards.total), generator=generator, device=generator.device).to(rewards.total.device)
    return Rewards({name: values_T[order] for name, values_T in rewards.components.items()}, rewards.total[order])
