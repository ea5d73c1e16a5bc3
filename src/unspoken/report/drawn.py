"""What a report reads of `trajectories.json`: strict records, in which a damaged or foreign file does not fit."""

from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, Field, PositiveInt, model_validator

from unspoken.report.audited import Count, Share
from unspoken.report.inspected import Finite

Amount = Annotated[float, Field(ge=0, le=1e9)]
"""Of something a question takes: never so much that it could not be drawn."""

ROUNDING = 1e-9
"""By which the mean of shares may leave an interval that is as wide as nothing."""


class Worth(BaseModel, frozen=True):
    """Share of the questions that are answered right in one way, with its 95% interval."""

    accuracy: Share
    interval: tuple[Share, Share]

    @model_validator(mode="after")
    def _lies_inside(self) -> "Worth":
        low, high = self.interval
        if not low - ROUNDING <= self.accuracy <= high + ROUNDING:
            raise ValueError(f"an accuracy of {self.accuracy} does not lie in [{low}, {high}]")
        return self


class Figures(BaseModel, frozen=True):
    """What so many trajectories are worth; see `unspoken.evaluation.scaling`."""

    num_trajectories: PositiveInt
    n: PositiveInt
    single: Worth
    vote: Worth
    likelihood: Worth
    weighted: Worth
    value: Worth | None = None
    oracle: Worth
    thoughts_per_question: Amount
    tokens_per_question: Amount
    passes_per_question: Annotated[Amount, Field(gt=0)]
    distinct_answers: Share
    agreement: Share | None


class Spread(BaseModel, frozen=True):
    """How far apart siblings are at a thought; None where no two of them have it."""

    thought: PositiveInt
    pairs: Count
    distance: Finite | None
    cosine: Finite | None

    @model_validator(mode="after")
    def _pairs_have_their_means(self) -> "Spread":
        if self.pairs and (self.distance is None or self.cosine is None):
            raise ValueError(f"thought {self.thought}: {self.pairs} pairs have no mean distance or cosine")
        return self


class Sibling(BaseModel, frozen=True):
    """What one of the trajectories of every question gets right."""

    sibling: PositiveInt
    accuracy: Share
    alone: Share


class Draw(BaseModel, frozen=True):
    """The settings of the drawing that a report names."""

    temperature: Amount
    spread: Amount
    token_temperature: Amount
    seed: Count


class Drawn(BaseModel, frozen=True):
    """The whole file."""

    figures: Annotated[tuple[Figures, ...], Field(min_length=1)]
    thoughts: tuple[Spread, ...]
    siblings: tuple[Sibling, ...]
    stopped: Share
    unread: Share
    drawn_together: bool
    data: str
    data_sha256: str
    model_sha256: str
    settings: Draw

    @model_validator(mode="after")
    def _counts_up(self) -> "Drawn":
        sizes = [each.num_trajectories for each in self.figures]
        if any(one >= other for one, other in pairwise(sizes)):
            raise ValueError(f"figures of {sizes} trajectories do not count up")
        if len({each.n for each in self.figures}) > 1:
            raise ValueError(f"figures of one draw are of {sorted({each.n for each in self.figures})} questions")
        if len(self.siblings) != sizes[-1]:
            raise ValueError(f"{len(self.siblings)} siblings are not the {sizes[-1]} that were drawn")
        return self

    @property
    def most(self) -> Figures:
        """The figures of the largest number of trajectories."""
        return self.figures[-1]
