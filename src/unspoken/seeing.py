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

from unspoken.config import EmbeddingHeadsSettings, VisionSettings
from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import image_token
from unspoken.device import best_device
from unspoken.errors import CheckpointError, DataError
from unspoken.model import LatentForCausalLM
from unspoken.model.vision import encode
from unspoken.recipe import Recipe
from unspoken.records import Example, ImageInput, TokenizedExample
from unspoken.vision.encoder import Encoder, build_encoder
from unspoken.vision.features import features_of
from unspoken.vision.images import ImageFacts
from unspoken.vision.joint import SAID, JointSpace, Said, open_space
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
    """The rows as tokens, with what fills their image slots and what their heads are to tell; and the sha256 of each
    image that is seen, row by row.

    A model that sees no images reads the words alone.

    Args:
        recipe: How the model was made.
        examples: The rows.
        tokenizer: Its own.
        model: The model.
        image_root: The folder outside of which no image is read; None allows every file.

    Raises:
        DataError: Images that cannot be used, or rows with too many, each with its rows.
        CheckpointError: An encoder is not that of training.
    """
    slots = model.model.image_slots
    if slots is None:
        rows, images_sha256 = tokenize(examples, recipe.task.text, tokenizer), []
    else:
        _fit_places(model, examples)
        slot = np.full(slots.slots, image_token(tokenizer), dtype=np.int32)
        facts = preflight(((row.id, image) for row in examples for image in row.images), image_root)
        seen = _inputs(recipe, examples, facts, (model.config.vision or {}).get("fingerprint"))
        rows = [
            replace(row, images=images)
            for row, images in zip(tokenize(examples, recipe.task.text, tokenizer, slot), seen, strict=True)
        ]
        images_sha256 = [facts[image].sha256 for row in examples for image in row.images]
    if model.config.embedding_heads is not None:
        rows = _with_foreseen(recipe, examples, rows, model.config.embedding_heads["fingerprint"], image_root)
    return rows, images_sha256


def _fit_places(model: LatentForCausalLM, examples: Sequence[Example]) -> None:
    """See that a fusion has a place for each image.

    Raises:
        DataError: Rows have more images, each with how many.
    """
    slots = model.model.image_slots
    if slots is None or slots.fusion is None:
        return
    most = slots.fusion.most_images
    rows = [f"row {row.id}: {len(row.images)} images" for row in examples if len(row.images) > most]
    if rows:
        listed = "\n  ".join([*rows[:20], *([f"and {len(rows) - 20} more"] if len(rows) > 20 else [])])
        raise DataError(
            f"{len(rows)} of {len(examples)} rows have more images than the fusion has places ({most}):\n  {listed}\n"
            "raise model.vision.fusion.most_images, or take these rows out"
        )


def _inputs(
    recipe: Recipe, examples: Sequence[Example], facts: Mapping[str, ImageFacts], fingerprint: str | None
) -> list[tuple[ImageInput, ...]]:
    """What fills the slots of each row."""
    vision = recipe.model.vision
    assert vision is not None, "a model has image slots by these settings"
    found: Mapping[str, ImageInput]
    if vision.train_encoder:
        found = pixels_of(encoder_of(recipe), list(facts.values()))
    elif vision.features == "joint":
        space = space_of(vision)
        _same_as_in_training(f"the vision encoder {vision.path!r}", space.fingerprint, fingerprint)
        vectors = space.images(list(facts.values()))
        said = space.texts(caption for example in examples for caption in example.captions)
        return [
            tuple(
                Said(vectors[facts[image].sha256], said[caption])
                for image, caption in zip(example.images, example.captions, strict=True)
            )
            for example in examples
        ]
    else:
        encoder = encoder_of(recipe)
        _same_as_in_training(f"the vision encoder {vision.path!r}", encoder.fingerprint, fingerprint)
        found = features_of(encoder, list(facts.values()), vision.cache, best_device())
    return [tuple(found[facts[image].sha256] for image in example.images) for example in examples]


def _with_foreseen(
    recipe: Recipe,
    examples: Sequence[Example],
    rows: Sequence[TokenizedExample],
    fingerprint: str,
    image_root: Path | None,
) -> list[TokenizedExample]:
    """The rows with what is right for the heads; those without a next image go without."""
    facts = preflight(((row.id, row.next_image) for row in examples if row.next_image is not None), image_root)
    if not facts:
        return list(rows)
    heads = recipe.model.embedding_heads
    assert heads is not None, "a model has heads by these settings"
    space = space_of(heads)
    _same_as_in_training(f"the CLIP {heads.space!r}", space.fingerprint, fingerprint)
    images = space.images(list(facts.values()))
    texts = space.texts(example.answer for example in examples)
    return [
        row
        if example.next_image is None
        else replace(row, foreseen=Said(images[facts[example.next_image].sha256], texts[example.answer]).array())
        for row, example in zip(rows, examples, strict=True)
    ]


def _same_as_in_training(what: str, found: str, expected: str | None) -> None:
    """Refuse an encoder that is another one.

    Raises:
        CheckpointError: It is.
    """
    if found != expected:
        raise CheckpointError(
            f"{what} is not the one that the model was trained with (fingerprint {found[:16]}, expected "
            f"{str(expected)[:16]}); bring that one back"
        )


def image_slots_of(recipe: Recipe) -> dict[str, Any]:
    """How image slots are filled, see `ImageSlots`; and the fingerprint of an encoder that stays outside."""
    settings = recipe.model.vision
    assert settings is not None, "only models that see have image slots"
    configuration = None
    if settings.features == "joint":
        space = space_of(settings)
        num_patches, feature_size, fingerprint = len(SAID), space.size, space.fingerprint
    else:
        encoder = encoder_of(recipe)
        num_patches, feature_size, fingerprint = encoder.num_patches, encoder.feature_size, encoder.fingerprint
        if settings.train_encoder:
            configuration = {"model_type": encoder.model.config.model_type, **encoder.model.config.to_diff_dict()}
    return {
        "slots": settings.slots or num_patches,
        "num_patches": num_patches,
        "feature_size": feature_size,
        "projector": dict(settings.projector),
        "fusion": settings.fusion.model_dump() if settings.fusion else None,
        "encoder": configuration,
        "fingerprint": None if settings.train_encoder else fingerprint,
    }


def embedding_heads_of(recipe: Recipe) -> dict[str, Any] | None:
    """What is guessed beside the words, see `EmbeddingHeads`; and the fingerprint of the space."""
    if recipe.model.embedding_heads is None:
        return None
    space = space_of(recipe.model.embedding_heads)
    return {**recipe.model.embedding_heads.model_dump(), "size": space.size, "fingerprint": space.fingerprint}


def space_of(settings: VisionSettings | EmbeddingHeadsSettings) -> JointSpace:
    """The space of images and texts that the settings name, opened once."""
    if isinstance(settings, EmbeddingHeadsSettings):
        return _space(settings.space, settings.revision, VisionSettings().cache)
    return _space(str(settings.path), settings.revision, settings.cache)


def encoder_of(recipe: Recipe) -> Encoder:
    """The vision encoder of a recipe, loaded once."""
    assert recipe.model.vision is not None, "only models that see have an encoder"
    return _encoder(recipe.model.vision.model_dump_json(), recipe.train.seed)


def blank_image(recipe: Recipe) -> npt.NDArray[np.float32]:
    """What a model gets for an image that is grey all over."""
    vision, grey = recipe.model.vision, Image.new("RGB", (256, 256), GREY)
    assert vision is not None, "only models that see have a blank image"
    if vision.features == "joint":
        clip = space_of(vision).clip
        vector = clip.images([clip.pixels(grey)]).numpy()
        return np.concatenate([vector, np.zeros_like(vector)])  # nothing is said of it
    encoder = encoder_of(recipe)
    pixels = encoder.pixels(grey)
    if vision.train_encoder:
        return pixels
    with torch.no_grad():
        parameters = next(encoder.model.parameters())
        features = encode(encoder.model, torch.from_numpy(pixels)[None].to(parameters), pooled=encoder.pooled)
    found: npt.NDArray[np.float32] = features[0].float().cpu().numpy()
    return found


@lru_cache(maxsize=2)
def _space(path: str, revision: str | None, cache: Path) -> JointSpace:
    return open_space(path, revision, cache)


@lru_cache(maxsize=2)
def _encoder(settings: str, seed: int) -> Encoder:
    return build_encoder(VisionSettings.model_validate_json(settings), seed)
