"""Stepwise internalisation: the words of the reasoning are removed from the left, a few tokens an epoch, and nothing
takes their place (iCoT, arXiv:2405.14838).
"""

import math
from random import Random
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from unspoken.config import Count, Positive
from unspoken.data.stage import NOTHING, question_tokens, stage
from unspoken.methods.base import Method
from unspoken.records import StagedExample, ThoughtTokens, TokenizedExample


class ICoT(Method):
    """A stage is a number of removed tokens; each row removes a few more by chance, so that no boundary is sharp.

    The extra number o is drawn with probability proportional to exp(-smoothing * o). The paper's optimizer restarts
    whenever the number grows: `train.reset_optimizer: stage`.
    """

    name: Literal["icot"] = "icot"
    remove_per_epoch: Positive = 8.0
    """Tokens removed per epoch, on average over epochs."""
    full_epochs: Count = 0
    """Epochs with the whole chain of thought before the removal begins."""
    smoothing: Positive = 4.0
    """Rate of the extra removal (the paper's lambda); large values remove nothing extra."""
    max_tokens: Annotated[int, Field(ge=1)] = 256
    """Once the schedule has removed this many tokens, all of them are removed."""

    @property
    def final_stage(self) -> int:
        """The stage that removes everything."""
        return self.max_tokens

    def stage(self, epoch: int) -> int:
        """See `Method.stage`."""
        return min(math.floor(self.remove_per_epoch * max(epoch - self.full_epochs, 0)), self.max_tokens)

    def layout(self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, rng: Random) -> StagedExample:
        """See `Method.layout`."""
        steps = np.concatenate([NOTHING, *example.steps])
        removed = stage_ + int(rng.expovariate(self.smoothing))
        kept = NOTHING if stage_ >= self.max_tokens else steps[removed:]
        return stage(example, self.question(example, rng), 0, [kept, example.answer], tokens, markers=False)

    def prompt(
        self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, num_thoughts: int | None = None
    ) -> StagedExample:
        """See `Method.prompt`."""
        self.refuse_thoughts(num_thoughts)
        return stage(example, question_tokens(example), 0, [], tokens, markers=False)
