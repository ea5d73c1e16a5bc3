"""Learning from rewards: thoughts and answers are drawn, and what led to a right answer becomes likelier.

All begin from a trained model (`model.path`) and use a policy as thought source. They differ in what a reward is
compared with: `ppo` with what a critic expected (arXiv:1707.06347), `grpo` with the other trajectories of the question,
in units of their spread (arXiv:2402.03300), `rloo` with the mean of the others (arXiv:2402.14740).
"""

from abc import ABC
from random import Random
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from unspoken.config import NonNegative, Positive, Probability, Settings
from unspoken.data.stage import question_tokens, stage
from unspoken.methods.base import Method
from unspoken.records import StagedExample, ThoughtTokens, TokenizedExample


class RewardWeights(Settings):
    """What a trajectory is paid for."""

    exact: float = 1.0
    """For the right answer, as the task scores it."""
    math_verify: bool = False
    """Take answers for right, too, that math-verify finds equal to the gold number (`0.5` for `1/2`)."""
    gold_gain: float = 0.0
    """For each nat by which its thoughts raise the log-likelihood of the gold answer over that without thoughts."""
    format: float = 0.0
    """For an answer that can be read, right or wrong."""
    thought_cost: NonNegative = 0.0
    """Price of a thought. Alone it makes models write down what they would have thought: see `token_cost`."""
    token_cost: NonNegative = 0.0
    """Price of a written token."""


class Reinforcement(Method, ABC):
    """What all have in common."""

    num_thoughts: Annotated[int, Field(ge=1, le=64)] = 6
    """Thoughts of a trajectory; with `thoughts.halt_after` the most it may have."""
    markers: bool = True
    """Put `<|start-latent|>` and `<|end-latent|>` around the slots, as the model at `model.path` was trained."""
    trajectories: Annotated[int, Field(ge=1, le=64)] = 8
    """Trajectories of each question."""
    language_model: Literal["train", "freeze"] = "train"
    """Train the language model too (all of it, or adapters with `model.lora`), or the policy alone."""
    policy_learning_rate: Positive | None = None
    """Learning rate of the policy's own parameters; default: `train.learning_rate`."""
    passes: PositiveInt = 1
    """How often each batch of trajectories is learned from."""
    minibatches: PositiveInt = 1
    """Optimizer steps in each of these."""
    clip: Positive = 0.2
    """A decision counts until its probability has changed by this share."""
    entropy: NonNegative = 0.0
    """Weight of the entropy of decisions, which keeps them open."""
    max_kl: Positive | None = None
    """End the passes over a batch when the policy has moved this far from the one that drew it, in nats a decision."""
    temperature: Positive = 1.0
    """Of thoughts and stopping, at the first update."""
    final_temperature: Positive | None = None
    """The same at the last update, reached in equal steps; default: as at the first."""
    spread: Annotated[float, Field(ge=0, lt=2)] = 0.0
    """How much warmer the last trajectory of a question is than the first, as a share."""
    token_temperature: NonNegative = 1.0
    """Of the answers; 0 writes the likeliest words, which are then no decisions and learn nothing."""
    repulsion: NonNegative = 0.0
    """Weight of the similarity of the thoughts of a question's trajectories, which drives them apart."""
    rewards: RewardWeights = RewardWeights()
    """What a trajectory is paid for."""
    shuffle_rewards: bool = False
    """The control: pay each trajectory what another one earned."""

    @property
    def final_stage(self) -> int:
        """There is one stage: all words but the answer are gone."""
        return 0

    def stage(self, epoch: int) -> int:
        """See `Method.stage`."""
        return 0

    def layout(self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, rng: Random) -> StagedExample:
        """See `Method.layout`: what a trajectory would be that has all thoughts and writes the gold answer."""
        question = self.question(example, rng)
        return stage(example, question, self.num_thoughts, [example.answer], tokens, markers=self.markers)

    def prompt(
        self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, num_thoughts: int | None = None
    ) -> StagedExample:
        """See `Method.prompt`."""
        count = self.num_thoughts if num_thoughts is None else num_thoughts
        return stage(example, question_tokens(example), count, [], tokens, markers=self.markers)

    def most_thoughts(self, stage_: int) -> int:
        """See `Method.most_thoughts`."""
        return self.num_thoughts


class PPO(Reinforcement):
    """Proximal policy optimisation with a critic, which `thoughts.critic: true` adds."""

    name: Literal["ppo"] = "ppo"
    passes: PositiveInt = 2
    """How often each batch of trajectories is learned from."""
    discount: Probability = 1.0
    """What a reward is worth one decision earlier (gamma)."""
    trace: Probability = 0.95
    """How far advantages look ahead instead of trusting the critic (lambda of arXiv:1506.02438)."""
    value_weight: Positive = 0.5
    """Weight of the critic's loss."""


class GRPO(Reinforcement):
    """Rewards in units of the spread among the trajectories of a question; no critic."""

    name: Literal["grpo"] = "grpo"
    trajectories: Annotated[int, Field(ge=2, le=64)] = 8
    """Trajectories of each question."""


class RLOO(Reinforcement):
    """Rewards less the mean of the question's other trajectories; no critic."""

    name: Literal["rloo"] = "rloo"
    trajectories: Annotated[int, Field(ge=2, le=64)] = 8
    """Trajectories of each question."""
