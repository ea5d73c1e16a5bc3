"""What a report reads of the log, the figures and the settings of a run: strict records, as of the other files."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, PositiveInt, model_validator

from unspoken.records import Evaluation
from unspoken.report.audited import Count, Share
from unspoken.report.captioned import Captioned, Foreseen
from unspoken.report.inspected import Finite

GRADIENT = "thought_gradient_"
PARTS = ("loss_", "adversary_", "eval_adversary_")
"""How the names of the parts of a loss begin, and of what is told of an adversary."""
COUNTS = "_n"
"""How the names of counts end, which are no part of anything."""


class Line(BaseModel, frozen=True):
    """One line of `metrics.jsonl`: of training when it has a loss, of a validation when it has an accuracy.

    A line of training with rewards has what its trajectories earned, too.
    """

    step: Count
    epoch: Finite
    stage: int
    loss: Finite | None = None
    eval_accuracy: Share | None = None
    eval_accuracy_low: Share | None = None
    eval_accuracy_high: Share | None = None
    eval_thoughts_per_answer: Finite | None = None
    reward: Finite | None = None
    reward_exact: Finite | None = None
    thoughts: Finite | None = None
    warning: str | None = None
    thought_norm_ratio: Finite | None = None
    thought_cosine: Finite | None = None
    thought_rank: Finite | None = None
    gradients: dict[int, Finite] = Field(default_factory=dict)
    parts: dict[str, Finite] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        """`thought_gradient_2` becomes the item 2 of `gradients`, `loss_image` an item of `parts`."""
        if not isinstance(values, Mapping):
            return values
        found = {name.removeprefix(GRADIENT): value for name, value in values.items() if name.startswith(GRADIENT)}
        numbers = {name: value for name, value in values.items() if type(value) in (int, float)}
        parts = {name: value for name, value in numbers.items() if name.startswith(PARTS) and not name.endswith(COUNTS)}
        return {**values, "gradients": found, "parts": parts}


class Results(BaseModel, frozen=True):
    """What `results.json` says besides its figures, and the figures of every condition.

    Attributes:
        figures: The model as trained.
        controls: What is left when its thoughts are taken away, by the name of the control.
        chance: Accuracy of a guess among choices; None where there are none.
        majority: Accuracy of the same answer always.
        captions: What its answers are worth as captions; None where they are none.
        foreseen: What its heads guess of the image that comes next; None without heads.
    """

    figures: Evaluation
    controls: dict[str, Evaluation]
    chance: Share | None = None
    majority: Share | None = None
    captions: Captioned | None = None
    foreseen: Foreseen | None = None
    data: str
    data_sha256: str
    num_parameters: PositiveInt
    environment: dict[str, Any]


class Summary(BaseModel, frozen=True):
    """What `run.json` says: the model that training left behind."""

    stage: int
    last_step: Count
    num_parameters: PositiveInt
    sha256: dict[str, str]


class Named(BaseModel, frozen=True):
    """A section of a recipe that has a name."""

    name: str


class Asked(Named, frozen=True, extra="allow"):
    """The settings of the task, all of them."""


class Thinking(Named, frozen=True):
    """The settings of the thoughts that a report names; a policy that learns when to stop has `halt_after`."""

    halt_after: Count | None = None


class Training(BaseModel, frozen=True):
    """The training settings that a report names."""

    seed: int


class Evaluating(BaseModel, frozen=True):
    """The evaluation settings that a report names."""

    controls: tuple[str, ...]


class Settings(BaseModel, frozen=True):
    """The settings that a report names."""

    task: Asked
    method: Named
    thoughts: Thinking
    train: Training
    evaluate: Evaluating


class RowCount(BaseModel, frozen=True):
    """How many rows of a split were there, and how many were used."""

    rows_in: Count
    rows_kept: Count


class Resolved(BaseModel, frozen=True):
    """What `resolved.json` says: what the run is made of."""

    recipe: Settings
    data: dict[str, str]
    tokenizer: str
    rows: dict[str, RowCount]
    environment: dict[str, Any]
