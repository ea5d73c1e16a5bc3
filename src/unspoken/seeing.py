"""Recipe -> what a model sees: its vision encoder, and what fills the image slots of its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers import PreTrainedTokenizerBase

from unspoken.config import VisionSettings
from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import image_token
from unspoken.device import best_device
from unspoken.errors import CheckpointError
from unspoken.model import LatentForCausalLM
from unspoken.model.vision import encode
from unspoken.recipe import Recipe
from unspoken.records import Example, ImageInput, TokenizedExample
from unspoken.vision.encoder import Encoder, build_encoder
from unspoken.vision.features import features_of
from unspoken.vision.pixel_inputs import pixels_of
from unspoken.vision.preflight import preflight

GREY = (128, 128, 128)


def tokenize_with_images(
    recipe: Recipe,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    model: LatentForCausalLM,
    image_root: Path | None = None,
) -> tuple[list[TokenizedExample], list[str]]:
    """The rows as tokens, with what fills their image slots; and the sha256 of each image, row by row.

    A model that sees no images reads the words alone.

    Args:
        recipe: How the model was made.
        examples: The rows.
        tokenizer: Its own.
        model: The model.
        image_root: The folder outside of which no image is read; None allows every file.

    Raises:
        DataError: Images that cannot be used, each with its rows.
        CheckpointError: The encoder is not that of training.
    """
    vision, slots = recipe.model.vision, model.model.image_slots
    if vision is None or slots is None:
        return tokenize(examples, recipe.task.text, tokenizer), []
    facts = preflight(((row.id, image) for row in examples for image in row.images), image_root)
    encoder = encoder_of(recipe)
    found: Mapping[str, ImageInput]
    if vision.train_encoder:
        found = pixels_of(encoder, list(facts.values()))
    else:
        expected = (model.config.vision or {}).get("fingerprint")
        if encoder.fingerprint != expected:
            raise CheckpointError(
                f"the vision encoder {vision.path!r} is not the one that the model was trained with (fingerprint "
                f"{encoder.fingerprint[:16]}, expected {str(expected)[:16]}); bring that one back"
            )
        found = features_of(encoder, list(facts.values()), vision.cache, best_device())
    slot = np.full(slots.slots, image_token(tokenizer), dtype=np.int32)
    tokenized = [
        replace(row, images=tuple(found[facts[image].sha256] for image in example.images))
        for row, example in zip(tokenize(examples, recipe.task.text, tokenizer, slot), examples, strict=True)
    ]
    return tokenized, [facts[image].sha256 for row in examples for image in row.images]


def image_slots_of(recipe: Recipe) -> dict[str, Any]:
    """How image slots are filled, see `ImageSlots`; and the fingerprint of an encoder that stays outside."""
    settings, encoder = recipe.model.vision, encoder_of(recipe)
    assert settings is not None, "only models that see have image slots"
    learns, kind = settings.train_encoder, encoder.model.config
    configuration = {"model_type": kind.model_type, **kind.to_diff_dict()}
    return {
        "slots": settings.slots or encoder.num_patches,
        "num_patches": encoder.num_patches,
        "feature_size": encoder.feature_size,
        "projector": dict(settings.projector),
        "encoder": configuration if learns else None,
        "fingerprint": None if learns else encoder.fingerprint,
    }


def encoder_of(recipe: Recipe) -> Encoder:
    """The vision encoder of a recipe, loaded once."""
    assert recipe.model.vision is not None, "only models that see have an encoder"
    return _encoder(recipe.model.vision.model_dump_json(), recipe.train.seed)


def blank_image(recipe: Recipe) -> npt.NDArray[np.float32]:
    """What a model gets for an image that is grey all over."""
    encoder, vision = encoder_of(recipe), recipe.model.vision
    assert vision is not None, "only models that see have a blank image"
    pixels = encoder.pixels(Image.new("RGB", (256, 256), GREY))
    if vision.train_encoder:
        return pixels
    with torch.no_grad():
        parameters = next(encoder.model.parameters())
        features = encode(encoder.model, torch.from_numpy(pixels)[None].to(parameters), pooled=encoder.pooled)
    found: npt.NDArray[np.float32] = features[0].float().cpu().numpy()
    return found


@lru_cache(maxsize=2)
def _encoder(settings: str, seed: int) -> Encoder:
    return build_encoder(VisionSettings.model_validate_json(settings), seed)
