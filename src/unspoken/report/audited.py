"""What a report reads of `audit.json`: strict records, in which a damaged or foreign file does not fit."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PositiveInt, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Difference = Annotated[float, Field(ge=-1, le=1)]
Count = Annotated[int, Field(ge=0)]


class Measured(BaseModel, frozen=True):
    """A share with its interval."""

    accuracy: Share
    interval: tuple[Share, Share]
    n: PositiveInt


class Cost(Measured, frozen=True):
    """What a change did to the same rows; see `unspoken.audit.outcome`."""

    cost: Difference
    cost_interval: tuple[Difference, Difference]
    changed: Share
    num_left_out: Count
    p_holm: Share
    verdict: Literal["costs", "costs little", "undecided"]

    @model_validator(mode="after")
    def _lies_inside(self) -> "Cost":
        low, high = self.cost_interval
        if not low <= self.cost <= high:
            raise ValueError(f"a cost of {self.cost} does not lie in [{low}, {high}]")
        return self


class Change(Cost, frozen=True):
    """An intervention."""

    name: str
    kind: str
    what: str


class Budget(Cost, frozen=True):
    """All rows with the same number of thoughts."""

    num_thoughts: Count
    trained: bool


class Comparison(Cost, frozen=True):
    """Another run on the same rows."""

    run: str
    method: str


class Necessity(BaseModel, frozen=True):
    """The answer to the first question."""

    verdict: Literal["needed", "not needed", "undecided"]
    sentence: str
    cost: Difference
    interval: tuple[Difference, Difference]


class Counterfactuals(Measured, frozen=True):
    """How often answers follow a changed fact."""

    num_left_out: Count
    following: Share | None
    following_interval: tuple[Share, Share] | None
    thoughts_followed: Share | None
    thoughts_followed_interval: tuple[Share, Share] | None
    sentence: str


class Shift(Measured, frozen=True):
    """Rows unlike those of training."""

    name: str
    num_thoughts: Count
    accuracy_without_content: Share | None
    cost: Difference | None
    cost_interval: tuple[Difference, Difference] | None


class Omission(BaseModel, frozen=True):
    """What was left out, and why."""

    section: str
    reason: str


class Audit(BaseModel, frozen=True):
    """The whole file."""

    data: str
    n: PositiveInt
    num_rows: PositiveInt
    margin: Share
    audit_seed: Count
    as_trained: Measured
    necessity: Necessity
    questions: tuple[str, ...]
    interventions: tuple[Change, ...]
    budget: tuple[Budget, ...]
    comparisons: tuple[Comparison, ...]
    counterfactuals: Counterfactuals | None
    shifts: tuple[Shift, ...]
    omitted: tuple[Omission, ...]
    model_sha256: str
    environment: dict[str, Any]
