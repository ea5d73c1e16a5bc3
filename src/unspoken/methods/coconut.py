"""Coconut: a curriculum from words to thoughts (arXiv:2412.06769, section 3)."""

from random import Random
from typing import Annotated, Literal

from pydantic import Field

from unspoken.config import Count, Probability
from unspoken.data.stage import question_tokens, stage
from unspoken.methods.base import Method
from unspoken.methods.curriculum import EpochsPerStage, stage_at
from unspoken.records import StagedExample, ThoughtTokens, TokenizedExample


class Coconut(Method):
    """At stage s the first s steps are gone and `s * thoughts_per_step` thoughts stand in their place.

    After `max_stage` comes one more stage, in which all remaining words are dropped. Which vector a thought is decides
    the recipe's `thoughts` section; this class only places the slots. The ablations of the paper are settings:
    `epochs_per_stage: 0` is *without curriculum*, `thoughts_per_step: 0, markers: false` is *without thoughts*,
    and `thoughts: {name: pause}` is *pause as thought*.
    """

    name: Literal["coconut"] = "coconut"
    thoughts_per_step: Annotated[int, Field(ge=0, le=64)] = 1
    """Thoughts for each replaced step (the paper's c)."""
    max_stage: Count = 6
    """Steps that are replaced one after the other."""
    epochs_per_stage: EpochsPerStage = 5
    """Epochs a stage lasts; a list gives each stage its own; 0 begins with the final stage."""
    pad_thoughts: bool = True
    """Give rows with fewer steps as many thoughts as the stage has; false tells the model how many steps there are."""
    mix: Probability = 0.0
    """Probability of laying a row out at a stage drawn uniformly from 0 to its number of steps."""
    markers: bool = True
    """Put `<|start-latent|>` and `<|end-latent|>` around the slots, at stage 0 too."""
    released_counts: bool = False
    """With `pad_thoughts: false`, train as the released code does: `s` thoughts even for rows with fewer steps, though
    its evaluation gives them fewer."""

    @property
    def final_stage(self) -> int:
        """The stage that drops all words."""
        return self.max_stage + 1

    def stage(self, epoch: int) -> int:
        """See `Method.stage`."""
        return stage_at(epoch, self.epochs_per_stage, self.final_stage)

    def layout(self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, rng: Random) -> StagedExample:
        """See `Method.layout`."""
        if self.mix and rng.random() < self.mix:
            stage_ = rng.randint(0, len(example.steps))
        kept = () if stage_ > self.max_stage else example.steps[stage_:]
        count = self._num_thoughts(len(example.steps), stage_)
        if self.released_counts and stage_ <= self.max_stage:
            count = stage_ * self.thoughts_per_step
        words = [*kept, example.answer]
        return stage(example, self.question(example, rng), count, words, tokens, markers=self.markers)

    def prompt(
        self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, num_thoughts: int | None = None
    ) -> StagedExample:
        """See `Method.prompt`."""
        count = self._num_thoughts(len(example.steps), stage_) if num_thoughts is None else num_thoughts
        return stage(example, question_tokens(example), count, [], tokens, markers=self.markers)

    def most_thoughts(self, stage_: int) -> int:
        """See `Method.most_thoughts`."""
        return (self.max_stage if self.mix else min(stage_, self.max_stage)) * self.thoughts_per_step

    def _num_thoughts(self, num_steps: int, stage_: int) -> int:
        steps = min(stage_, self.max_stage)
        return (steps if self.pad_thoughts else min(steps, num_steps)) * self.thoughts_per_step
