"""Images and the texts that describe them: each is to be recognised by the other among all of a step (CLIP).

    logits_ij = cos(image_i, text_j) / temperature,    loss = (cross entropy along each row + along each column) / 2

Nothing is written: what is trained is an encoder of images and one of texts, into one space (arXiv:2103.00020). Another
recipe then names the run in `model.vision.path`.
"""

from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Literal

import numpy as np
from pydantic import PositiveInt

from unspoken.config import Positive
from unspoken.errors import DataError, RecipeError
from unspoken.methods.base import Method
from unspoken.records import IGNORED, Example, StagedExample, ThoughtTokens, TokenizedExample

_MAX_LINES = 20


class Contrastive(Method):
    """Images and the texts that describe them, told apart from those of other rows (CLIP); it answers no questions."""

    name: Literal["contrastive"] = "contrastive"
    caption: Literal["answer", "question", "steps", "captions"] = "answer"
    """The text of a row that describes its image; with `steps` each step describes the image of the same number. Of a
    story `answer` describes the next image, and `captions` are those of all images, the next one included."""
    embedding: PositiveInt = 64
    """Width of the space of images and texts; their similarity is the cosine there."""
    temperature: Positive = 0.07
    """What similarities are divided by at first; it is learned, down to 0.01."""
    candidates: PositiveInt = 200
    """Pairs among which a validation and `unspoken eval` seek the right one; more rows are more such groups."""

    @property
    def final_stage(self) -> int:
        """There is one stage."""
        return 0

    def stage(self, epoch: int) -> int:
        """Always 0."""
        return 0

    def layout(self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, rng: Random) -> StagedExample:
        """The caption of a pair, see `pairs`; no word of it is predicted."""
        caption = example.answer[example.answer_start :]
        return StagedExample(
            example.id,
            caption,
            np.full_like(caption, IGNORED),
            num_thoughts=0,
            first_thought=None,
            images=example.images,
        )

    def prompt(
        self, example: TokenizedExample, stage_: int, tokens: ThoughtTokens, num_thoughts: int | None = None
    ) -> StagedExample:
        """There is none.

        Raises:
            RecipeError: Always.
        """
        raise RecipeError(
            "method", ["contrastive training makes no model that answers; use the run as model.vision.path of a recipe"]
        )

    def pairs(self, examples: Sequence[Example]) -> list[Example]:
        """The pairs of the rows: examples with one image, whose answer is its caption and which ask nothing.

        Raises:
            DataError: Rows that name no image, or not as many as they have captions.
        """
        found, problems = list[Example](), list[str]()
        for example in examples:
            captions, images = self._captions(example), self._images(example)
            if captions and len(captions) == len(images):
                found += _paired(example, images, captions)
            else:
                problems.append(f"row {example.id}: {len(images)} images and {len(captions)} captions")
        if problems:
            more = len(problems) - _MAX_LINES
            listed = "\n  ".join([*problems[:_MAX_LINES], *([f"and {more:,} more"] if more > 0 else [])])
            hint = "give each image its step" if self.caption == "steps" else "one image a row has a caption"
            raise DataError(
                f"{len(problems):,} of {len(examples):,} rows are no pairs of image and text (method.caption: "
                f"{self.caption}):\n  {listed}\n{hint}, or set another method.caption"
            )
        return found

    def _captions(self, example: Example) -> Sequence[str]:
        texts = {
            "answer": (example.answer,),
            "question": (example.question,),
            "steps": example.steps,
            "captions": (*example.captions, example.answer),
        }[self.caption]
        return [text for text in texts if text.strip()]

    def _images(self, example: Example) -> Sequence[str]:
        following = () if example.next_image is None else (example.next_image,)
        if self.caption == "captions":
            return (*example.images, *following)
        return following or example.images if self.caption == "answer" else example.images


def _paired(example: Example, images: Sequence[str], captions: Iterable[str]) -> Iterator[Example]:
    several = len(images) > 1
    for number, (image, caption) in enumerate(zip(images, captions, strict=True), 1):
        id = f"{example.id}/{number}" if several else example.id
        yield Example(id=id, question="", steps=(), answer=caption, images=(image,))
