"""Recipe -> CLIP, its tokenizer and pairs of image and caption: what `unspoken.prepare` is for models that answer."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import load_tokenizer, word_tokenizer, words_of
from unspoken.errors import DataError
from unspoken.methods.contrastive import Contrastive
from unspoken.prepare import Rows, fingerprint
from unspoken.recipe import Recipe
from unspoken.records import Example, Ledger, TextFormat
from unspoken.vision.clip import Clip, caption_tokenizer, new_clip
from unspoken.vision.pixel_inputs import pixels_of
from unspoken.vision.preflight import preflight

CAPTION = TextFormat(answer_start="", question_end="")
"""A caption is the whole text of a pair."""


def method_of(recipe: Recipe) -> Contrastive:
    """The method of a recipe for a CLIP."""
    assert isinstance(recipe.method, Contrastive), "other methods make no pairs"
    return recipe.method


def build_caption_tokenizer(recipe: Recipe, pairs: Sequence[Example]) -> PreTrainedTokenizerBase:
    """The tokenizer of the captions; from scratch, one token a word of the task.

    Args:
        recipe: The recipe.
        pairs: The training pairs.
    """
    if recipe.model.tokenizer is not None:
        return caption_tokenizer(load_tokenizer(recipe.model.tokenizer))
    return caption_tokenizer(word_tokenizer(recipe.task.words() or words_of(pairs, CAPTION)))


def build_clip(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Clip:
    """The CLIP of the recipe, new."""
    return new_clip(recipe.model, method_of(recipe), tokenizer, recipe.train.seed)


def read_pairs(examples: Sequence[Example], ledger: Ledger, clip: Clip, image_root: Path | None) -> Rows:
    """Pairs as tokens and pixels.

    Args:
        examples: The pairs, see `Contrastive.pairs`.
        ledger: Of the rows they came from.
        clip: Its tokenizer and preprocessing are used.
        image_root: The folder outside of which no image is read; None allows every file.

    Raises:
        DataError: Captions that the tokenizer or the model cannot read, or images that cannot be used, with their rows.
    """
    tokenized = tokenize(examples, CAPTION, clip.tokenizer)
    most = clip.model.config.text_config.max_position_embeddings
    long = [f"row {row.id}: {len(row.answer)} tokens" for row in tokenized if len(row.answer) > most]
    if long:
        listed = "\n  ".join([*long[:20], *([f"and {len(long) - 20} more"] if len(long) > 20 else [])])
        raise DataError(
            f"{len(long)} of {len(tokenized)} captions are longer than {most} positions:\n  {listed}\n"
            "raise model.max_positions, or take these rows out"
        )
    facts = preflight(((pair.id, pair.images[0]) for pair in examples), image_root)
    pixels = pixels_of(clip, list(facts.values()))
    sha256 = [facts[pair.images[0]].sha256 for pair in examples]
    rows = [replace(row, images=(pixels[each],)) for row, each in zip(tokenized, sha256, strict=True)]
    return Rows(examples, rows, ledger, fingerprint(examples, sha256))
