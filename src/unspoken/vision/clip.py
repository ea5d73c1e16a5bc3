"""A CLIP: images and texts as unit vectors of one space. New from a recipe, or opened from a folder.

The vector of a caption is read at the end-of-sequence token behind it, so captions are padded on the right. The saved
tokenizer adds that token itself: stock tools read captions as training did.

Shapes: N images or texts, E width of the space, L columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import SafetensorError
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    PreTrainedTokenizerBase,
)

from unspoken.config import ModelSettings
from unspoken.errors import CheckpointError, DataError, RecipeError
from unspoken.methods.contrastive import Contrastive
from unspoken.vision.encoder import build_encoder, encoder_config

MAX_SCALE = 100.0
"""What cosines are multiplied by at most: CLIP's bound, a temperature of 0.01."""
_ONCE_THE_ID_OF_THE_END = 2
"""With this id of the end, the library looks for the largest id of a caption instead, as the first CLIP files need."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """An encoder of images and one of texts.

    Attributes:
        model: Both, with their projections.
        processor: Resizes and normalises an image for it.
        tokenizer: Of captions, see `caption_tokenizer`.
    """

    model: CLIPModel
    processor: Any
    tokenizer: PreTrainedTokenizerBase

    def pixels(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """(3, height, width), as the encoder takes it."""
        values: npt.NDArray[np.float32] = self.processor(images=image, return_tensors="np")["pixel_values"][0]
        return values.astype(np.float32)

    @torch.no_grad()
    def images(self, pixels: Sequence[npt.NDArray[np.float32]], batch_size: int = 64) -> Tensor:
        """Unit vectors of images, (N, E), of what `pixels` made of each."""
        parts = [
            self.model.get_image_features(
                pixel_values=torch.from_numpy(np.stack(pixels[start : start + batch_size])).to(self.model.device)
            ).pooler_output
            for start in range(0, len(pixels), batch_size)
        ]
        return torch.nn.functional.normalize(torch.cat(parts).float(), dim=-1).cpu()

    @torch.no_grad()
    def texts(self, captions: Sequence[str], batch_size: int = 64) -> Tensor:
        """Unit vectors of captions, (N, E).

        Raises:
            DataError: A caption is longer than the encoder reads.
        """
        parts = [
            self.model.get_text_features(**self._tokens(captions[start : start + batch_size])).pooler_output
            for start in range(0, len(captions), batch_size)
        ]
        return torch.nn.functional.normalize(torch.cat(parts).float(), dim=-1).cpu()

    def fit(self, text: str) -> tuple[str, bool]:
        """As much of the beginning of a text as the CLIP reads, and whether that is not all.

        What no file can hold, halves of characters, is replaced.
        """
        text = text.encode("utf-8", "replace").decode("utf-8")
        most = self.model.config.text_config.max_position_embeddings
        if self._length(text) <= most:
            return text, False
        encoded = self.tokenizer(text, split_special_tokens=True, add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in encoded["offset_mapping"][: most - self._length("")]]
        # alone, what is left of a word may fall into more tokens than within it
        while ends and self._length(text[: ends[-1]]) > most:
            ends.pop()
        return text[: ends[-1]] if ends else "", True

    def _length(self, text: str) -> int:
        return len(self.tokenizer(text, split_special_tokens=True)["input_ids"])

    def _tokens(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask`, (N, L), on the model's device."""
        found = self.tokenizer(list(captions), padding=True, split_special_tokens=True, return_tensors="pt")
        most = self.model.config.text_config.max_position_embeddings
        if found["input_ids"].size(1) > most:
            lengths = found["attention_mask"].sum(dim=1).tolist()
            longest = captions[lengths.index(max(lengths))]
            raise DataError(f"{longest!r} has {max(lengths)} tokens, this CLIP reads {most}; shorten the caption")
        return {key: found[key].to(self.model.device) for key in ("input_ids", "attention_mask")}


def caption_tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer with the end of sequence behind every text, and padding behind that.

    Raises:
        RecipeError: CLIP cannot find the end of a caption by this tokenizer's id of it.
    """
    if tokenizer.eos_token_id == _ONCE_THE_ID_OF_THE_END:
        raise RecipeError(
            "model.tokenizer",
            [f"its end of sequence has the id {_ONCE_THE_ID_OF_THE_END}, for which CLIP does not look; use another"],
        )
    end = str(tokenizer.eos_token)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=["$A", end], special_tokens=[(end, tokenizer.eos_token_id)]
    )
    tokenizer.padding_side = "right"
    tokenizer.chat_template = None
    return tokenizer


def new_clip(settings: ModelSettings, method: Contrastive, tokenizer: PreTrainedTokenizerBase, seed: int) -> Clip:
    """A CLIP from scratch: `settings` describe its text side, `settings.vision` its eyes.

    Args:
        settings: The `model` section of a recipe.
        method: Its `method` section.
        tokenizer: From `caption_tokenizer`.
        seed: Of the weights.
    """
    assert settings.vision is not None, "a recipe without eyes is refused before"
    config = clip_config(
        settings, method, len(tokenizer), end=int(tokenizer.eos_token_id), padding=int(tokenizer.pad_token_id)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(config)
    return Clip(model.eval(), build_encoder(settings.vision, seed).processor, tokenizer)


def clip_config(
    settings: ModelSettings, method: Contrastive, vocabulary: int, *, end: int = 0, padding: int = 0
) -> CLIPConfig:
    """The configuration of a CLIP from scratch.

    Args:
        settings: The `model` section of a recipe.
        method: Its `method` section.
        vocabulary: Tokens there are.
        end: Id of the end of sequence.
        padding: Id of padding.
    """
    assert settings.vision is not None, "a recipe without eyes is refused before"
    text = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=settings.width,
        intermediate_size=4 * settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.max_positions,
        projection_dim=method.embedding,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=padding,
    )
    vision = encoder_config(settings.vision)
    vision.projection_dim = method.embedding
    return CLIPConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=method.embedding,
        logit_scale_init_value=min(log(1 / method.temperature), log(MAX_SCALE)),
    )


def open_clip(path: Path | str, revision: str | None = None) -> Clip:
    """The CLIP of a run of method `contrastive`, of a folder with its tokenizer and preprocessing, or of a hub.

    Args:
        path: A folder, or a Hugging Face id.
        revision: Commit or tag of an id.

    Raises:
        CheckpointError: There is none, or it cannot be read.
    """
    try:
        model = CLIPModel.from_pretrained(path, revision=revision, use_safetensors=True, dtype=torch.float32)
        processor = AutoImageProcessor.from_pretrained(path, revision=revision, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path} holds no CLIP that can be opened ({reason}); train shapes/clip") from error
    return Clip(model.eval(), processor, tokenizer)
