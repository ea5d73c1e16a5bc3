"""What a report reads about captions: strict records of their figures, and the stories that it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from unspoken.records import Prediction
from unspoken.report.audited import Share
from unspoken.report.inspected import Finite

MOST_STORIES = 12
"""Rows that are shown, the first ones."""

TRAINED = "none"
"""What results call the model as trained."""
COPIED, CEILING, FLOOR = "previous_caption", "reference", "another_reference"
"""What results call captions that no model wrote."""


class Measure(BaseModel, frozen=True):
    """A figure and its 95% interval, which resampling may put beside it."""

    value: Finite
    interval: tuple[Finite, Finite]

    @model_validator(mode="after")
    def _has_its_ends_in_order(self) -> "Measure":
        if self.interval[0] > self.interval[1]:
            raise ValueError(f"the interval {self.interval} ends before it begins")
        return self


Measures = dict[str, Measure]


class Captioned(BaseModel, frozen=True):
    """The `captions` of `results.json`: figures by condition, those of the model as trained first."""

    conditions: Annotated[dict[str, Measures], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_the_model_as_trained(self) -> "Captioned":
        if TRAINED not in self.conditions:
            raise ValueError(f"there are no captions of the model as trained ({TRAINED})")
        return self


class Sought(BaseModel, frozen=True):
    """How often a guess finds what is right among what is right for other rows."""

    cosine: Measure
    recall_1: Share
    interval_1: tuple[Share, Share]
    chance_1: Share
    recall_5: Share
    interval_5: tuple[Share, Share]
    chance_5: Share
    candidates: Annotated[int, Field(ge=1)]


class Foreseen(BaseModel, frozen=True):
    """The `foreseen` of `results.json`: what heads guess, and how well captions fit the image that they are about."""

    heads: Annotated[dict[str, Sought], Field(min_length=1)]
    clip_score: dict[str, Measures]


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a story that is shown.

    Attributes:
        image: The path of its image; None where the row has none.
        caption: What is said of it; empty where nothing is.
    """

    image: str | None
    caption: str


@dataclass(frozen=True, slots=True)
class Version:
    """A caption that was written for a story.

    Attributes:
        condition: Under which.
        prediction: The answer.
        text: The caption in it; empty without one.
        facts: What that says, by the name of each fact, as far as the task can tell.
    """

    condition: str
    prediction: Prediction
    text: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Story:
    """A row whose answer is a caption.

    Attributes:
        frames: What was shown, in order; empty where the question is no story.
        next_image: The path of the image that the answer describes, which was not shown; None where the row has none.
        expected: The reference.
        facts: What the reference says; empty where the task cannot tell.
        versions: What was written, as trained first.
    """

    frames: Sequence[Frame]
    next_image: str | None
    expected: str
    facts: Mapping[str, str]
    versions: Sequence[Version]

    @property
    def trained(self) -> Prediction:
        """What the model wrote as it was trained."""
        return self.versions[0].prediction
