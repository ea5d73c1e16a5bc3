"""What was drawn for some questions, and what it is worth under the parameters of now.

A trajectory takes decisions in this order: before each thought whether to stop, and if not, which thought; then each
token of the answer. `decisions` puts them in columns: K for thoughts (where a trajectory stops of its own will, that
decision stands in the column of the thought it did without), then M for tokens.

Shapes: B questions, N trajectories each, T = B * N with those of a question next to each other; K columns of thoughts,
M of answer tokens, A numbers of an action, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from unspoken.records import StagedExample


@dataclass(frozen=True, slots=True, eq=False)
class Trajectories:
    """What was drawn.

    Attributes:
        prompts: What the model read, B of them, with slots for the most thoughts.
        siblings: N.
        temperatures: Of the thoughts of each trajectory, (T,); 0 where the likeliest was taken.
        token_temperature: Of the answers; 0 where the likeliest tokens were taken.
        actions: Of each thought, (T, K, A); zeros behind a trajectory's last.
        thoughts: The same as embeddings, (T, K, D).
        states: What the decoder held before each of them, (T, K, D); not kept where no policy decides.
        num_thoughts: How many each has, (T,).
        tokens: What was written, end of sequence included, (T, M); the padding id behind it.
        num_tokens: How many each has, (T,).
        log_likelihoods: Log-probability in nats of what each wrote after what it thought, (T,), without a temperature.
        scores: Under the parameters that drew them.
    """

    prompts: Sequence[StagedExample]
    siblings: int
    temperatures: Tensor
    token_temperature: float
    actions: Tensor
    thoughts: Tensor
    states: Tensor
    num_thoughts: Tensor
    tokens: Tensor
    num_tokens: Tensor
    log_likelihoods: Tensor
    scores: "Scores"

    def __len__(self) -> int:
        """T."""
        return len(self.num_thoughts)

    @property
    def most_thoughts(self) -> Tensor:
        """How many each may have had, (T,)."""
        most = torch.tensor([prompt.num_thoughts for prompt in self.prompts], device=self.num_thoughts.device)
        return most.repeat_interleave(self.siblings)

    @property
    def is_thought(self) -> Tensor:
        """Where a trajectory has a thought, (T, K)."""
        return torch.arange(self.thoughts.size(1), device=self.num_thoughts.device) < self.num_thoughts[:, None]

    def answer(self, index: int) -> list[int]:
        """The tokens that one trajectory wrote."""
        tokens: list[int] = self.tokens[index, : int(self.num_tokens[index])].tolist()
        return tokens

    def of_questions(self, chosen: Sequence[int]) -> "Trajectories":
        """All trajectories of some of the questions."""
        rows = torch.tensor(
            [question * self.siblings + sibling for question in chosen for sibling in range(self.siblings)],
            device=self.num_thoughts.device,
        )
        return Trajectories(
            prompts=[self.prompts[question] for question in chosen],
            siblings=self.siblings,
            temperatures=self.temperatures[rows],
            token_temperature=self.token_temperature,
            actions=self.actions[rows],
            thoughts=self.thoughts[rows],
            states=self.states[rows],
            num_thoughts=self.num_thoughts[rows],
            tokens=self.tokens[rows],
            num_tokens=self.num_tokens[rows],
            log_likelihoods=self.log_likelihoods[rows],
            scores=self.scores.of_rows(rows),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Decisions under some parameters, (T, K + M) each but the last.

    Attributes:
        is_decision: Where one was taken by chance; nothing else below counts.
        log_probs: Log-probability of what was decided.
        entropies: Of what it was drawn from.
        values: The return that the critic expects; zeros without a critic.
        centres: The likeliest thought where each was drawn, (T, K, D).
    """

    is_decision: Tensor
    log_probs: Tensor
    entropies: Tensor
    values: Tensor
    centres: Tensor

    def of_rows(self, rows: Tensor) -> "Scores":
        """Those of some trajectories."""
        return Scores(*(getattr(self, field.name)[rows] for field in fields(self)))
