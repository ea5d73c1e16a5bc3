"""Chain of thought in words, and the answer alone."""

from random import Random
from typing import Literal

from unspoken.data.stage import question_tokens, stage
from unspoken.methods.base import Method
from unspoken.records import StagedExample, ThoughtTokens, TokenizedExample


class CoT(Method):
    """Question, then every step in words, then the answer: the upper baseline, and the start of most curricula."""

    name: Literal["cot"] = "cot"

    @property
    def final_stage(self) -> int:
        """There is one stage."""
        return 0

    def stage(self, epoch: int) -> int:
        """Always 0."""
        return 0

    def layout(self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, rng: Random) -> StagedExample:
        """See `Method.layout`."""
        words = [*example.steps, example.answer]
        return stage(example, self.question(example, rng), 0, words, tokens, markers=False)

    def prompt(
        self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, num_thoughts: int | None = None
    ) -> StagedExample:
        """See `Method.prompt`."""
        self.refuse_thoughts(num_thoughts)
        return stage(example, question_tokens(example), 0, [], tokens, markers=False)


class NoCoT(Method):
    """Question, then the answer at once: the lower baseline."""

    name: Literal["no_cot"] = "no_cot"

    @property
    def final_stage(self) -> int:
        """There is one stage."""
        return 0

    def stage(self, epoch: int) -> int:
        """Always 0."""
        return 0

    def layout(self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, rng: Random) -> StagedExample:
        """See `Method.layout`."""
        return stage(example, self.question(example, rng), 0, [example.answer], tokens, markers=False)

    def prompt(
        self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, num_thoughts: int | None = None
    ) -> StagedExample:
        """See `Method.prompt`."""
        self.refuse_thoughts(num_thoughts)
        return stage(example, question_tokens(example), 0, [], tokens, markers=False)
