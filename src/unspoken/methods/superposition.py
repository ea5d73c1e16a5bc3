"""Reasoning by superposition: the label is a single node, one that the search may hold next (arXiv:2505.12514).

    stage k < L   question, k thoughts               ->  any node at depth k + 1 on a shortest path
    stage k >= L  question, L thoughts, answer start ->  the answer, and the end of the text

L is the number of steps of the row. The paper reads one token and does not train the end; it is trained here so that
an answer ends, and is read and scored like that of every other method.

A label stands for a whole frontier: over many draws the thought that predicts it must hold all of its nodes at once.
"""

from random import Random
from typing import Literal

import numpy as np

from unspoken.config import Count, Probability
from unspoken.data.stage import question_tokens, stage
from unspoken.errors import DataError
from unspoken.methods.base import Method
from unspoken.methods.curriculum import EpochsPerStage, stage_at
from unspoken.records import StagedExample, ThoughtTokens, TokenizedExample, Tokens


class Superposition(Method):
    """The training objective of the paper; rows need frontiers whose words are single tokens."""

    name: Literal["superposition"] = "superposition"
    redraw: bool = True
    """Shuffle the edges and swap the candidates each time a row is drawn, as the paper does."""
    max_stage: Count = 4
    """Largest number of thoughts."""
    epochs_per_stage: EpochsPerStage = 25
    """Epochs a stage lasts; a list gives each stage its own; 0 begins with the final stage."""
    mix: Probability = 0.1
    """Probability of laying a row out at a stage drawn uniformly from the earlier ones and this one."""

    @property
    def final_stage(self) -> int:
        """The stage at which every row with up to `max_stage` steps predicts its answer."""
        return self.max_stage

    def stage(self, epoch: int) -> int:
        """See `Method.stage`."""
        return stage_at(epoch, self.epochs_per_stage, self.final_stage)

    def layout(self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, rng: Random) -> StagedExample:
        """See `Method.layout`.

        Raises:
            DataError: The row has no frontiers, or its answer is not one token.
        """
        if len(example.frontiers) != len(example.steps):
            raise DataError(
                f"row {example.id} has no frontiers of single tokens; superposition needs them at each step"
            )
        if self.mix and rng.random() < self.mix:
            stage_ = rng.randint(0, stage_)
        question = self.question(example, rng)
        if stage_ < len(example.steps):
            node = np.array([rng.choice(example.frontiers[stage_])], dtype=np.int32)
            return stage(example, question, stage_, [node], tokens, markers=False)
        start, answer = self._answer(example)
        return stage(example, question, len(example.steps), [answer], tokens, markers=False, given=start)

    def prompt(
        self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, num_thoughts: int | None = None
    ) -> StagedExample:
        """See `Method.prompt`; before its last stage a row is asked for the answer all the same."""
        start = example.answer[: example.answer_start]
        count = min(stage_, len(example.steps)) if num_thoughts is None else num_thoughts
        return stage(example, question_tokens(example), count, [], tokens, markers=False, given=start)

    def most_thoughts(self, stage_: int) -> int:
        """See `Method.most_thoughts`."""
        return stage_

    @staticmethod
    def _answer(example: TokenizedExample) -> tuple[Tokens, Tokens]:
        """The answer's start; its one token with the end of sequence."""
        start, answer = example.answer[: example.answer_start], example.answer[example.answer_start :]
        if len(answer) != 2:
            raise DataError(
                f"row {example.id} has an answer of {len(answer) - 1} tokens; superposition needs exactly 1"
            )
        return start, answer
