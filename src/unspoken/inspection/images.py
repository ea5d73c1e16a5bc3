"""What a model looks at: its images as the encoder gets them, and the attention that each slot of them receives.

Who looks are the thoughts and, after them, the answer: the position from which its first word is written, with the
answer start in front of it. Attention is the mean over heads and layers.

Shapes: L positions, K thoughts, D width, I images, S slots of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unspoken.evaluation.recorded import Recorded
from unspoken.evaluation.subject import Subject
from unspoken.inspection.attention import attention_weights, plain_attention
from unspoken.model.vision import ImageSlots, PerPatch
from unspoken.records import StagedExample
from unspoken.seeing import encoder_of
from unspoken.vision.encoder import Encoder
from unspoken.vision.images import open_image
from unspoken.vision.preflight import preflight
from unspoken.vision.thumbnail import thumbnail

DIGITS = 6
"""Digits of an attention behind the point: an image may have hundreds of slots."""


@dataclass(frozen=True, slots=True)
class SeenImage:
    """An image of a question, and who looks where.

    Attributes:
        path: Its file, as the row names it.
        thumbnail: A small copy of what the encoder gets of it, as a data URI.
        grid: Rows and columns of its patches where each has a slot of its own, row by row; None where slots are made
            of the whole image.
        attention: For each thought, and last for the answer, the attention to each slot; None where the decoder does
            not show it.
    """

    path: str
    thumbnail: str
    grid: tuple[int, int] | None
    attention: tuple[tuple[float, ...], ...] | None


def seen_images(subject: Subject, recorded: Recorded, row: int) -> tuple[SeenImage, ...]:
    """The images of one question, in order; none for a model without eyes.

    Args:
        subject: The run and the questions.
        recorded: What it thinks about them.
        row: Which question.

    Raises:
        DataError: A file is not there any more, or is another one than before.
    """
    recipe, slots = subject.run.recipe, subject.run.model.model.image_slots
    prompt, names = recorded.prompts[row], subject.examples[row].images
    if slots is None or not prompt.images:
        return ()
    encoder = encoder_of(recipe)
    facts = preflight(((prompt.id, name) for name in names), recipe.task.image_root)
    looks = looks_at(subject, recorded, row)
    found = []
    for index, name in enumerate(names):
        picture = as_seen(encoder, open_image(facts[name].path, facts[name]))
        attention = None
        if looks is not None:
            attention = tuple(tuple(round(share, DIGITS) for share in each) for each in looks[:, index].tolist())
        found.append(SeenImage(name, thumbnail(picture), patch_grid(encoder, slots, picture), attention))
    return tuple(found)


def looks_at(subject: Subject, recorded: Recorded, row: int) -> Tensor | None:
    """The attention of one question's thoughts and of its answer to its images, (K + 1, I, S).

    None where the decoder does not show its attention.

    Args:
        subject: The run and the questions.
        recorded: What it thinks about them.
        row: Which question, one with images.
    """
    model, prompt, tokens = subject.run.model, recorded.prompts[row], subject.tokenized[row]
    slots = model.model.image_slots
    assert slots is not None, "only models that see look at images"
    # what a method gives as the beginning of the answer already stands in its prompt
    start = tokens.answer[prompt.num_forced : tokens.answer_start]
    try:
        with plain_attention(model):
            weights = attention_weights(model, prompt, recorded.thoughts[row], start)
    except (ValueError, TypeError):
        return None
    return to_slots(weights, prompt, model.config.image_token_id, slots.slots)


def to_slots(weights: Sequence[Tensor], prompt: StagedExample, image_id: int | None, slots: int) -> Tensor:
    """The part of the attention that thoughts and the last position pay to images, (K + 1, I, S).

    Args:
        weights: For each layer the attention of all positions, (L, L).
        prompt: What they belong to.
        image_id: Id of `<|image|>`.
        slots: S.
    """
    mean_LL = torch.stack(list(weights)).mean(dim=0)
    first = prompt.first_thought or 0
    lookers = [*range(first, first + prompt.num_thoughts), len(mean_LL) - 1]
    columns = np.flatnonzero(prompt.input_ids == image_id).tolist()
    return mean_LL[lookers][:, columns].view(len(lookers), len(prompt.images), slots)


def as_seen(encoder: Encoder, image: Image.Image) -> Image.Image:
    """What an encoder gets of an image: resized and cropped as it does it, in the colours of the image.

    Args:
        encoder: The encoder.
        image: In RGB.
    """
    # each value is prepared by itself and all of a channel alike, so black and white tell the way back
    black, white = (
        encoder.pixels(Image.new("RGB", (256, 256), shade)).mean(axis=(1, 2), keepdims=True)
        for shade in ("black", "white")
    )
    shares = (encoder.pixels(image) - black) / (white - black)
    if not encoder.pooled:
        config: Any = encoder.model.config
        height, width = (side - side % int(config.patch_size) for side in shares.shape[1:])
        shares = shares[:, :height, :width]  # what does not fill a patch is not read
    return Image.fromarray((255 * shares.clip(0, 1)).round().astype(np.uint8).transpose(1, 2, 0))


def patch_grid(encoder: Encoder, slots: ImageSlots, picture: Image.Image) -> tuple[int, int] | None:
    """Rows and columns of the patches of a picture; None where a slot is not the place of one patch.

    Args:
        encoder: The encoder.
        slots: What makes slots of its features.
        picture: As `as_seen` gives it.
    """
    is_of_patches = isinstance(slots.projector, PerPatch) and slots.slots == slots.num_patches and not encoder.pooled
    config: Any = encoder.model.config
    side = int(config.patch_size)
    return (picture.height // side, picture.width // side) if is_of_patches else None
