"""Vision encoders of Hugging Face (CLIP, SigLIP, DINOv2), pretrained or new, and how pixels are prepared for them."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    PreTrainedModel,
)
from transformers.utils import logging as library_logging

from unspoken.config import VisionSettings
from unspoken.errors import RecipeError

HALF = (0.5, 0.5, 0.5)
NEEDED = ("image_size", "patch_size", "hidden_size")
"""What the configuration of an encoder must say."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """A vision encoder.

    Attributes:
        model: Takes `pixel_values`, in evaluation mode.
        processor: Resizes, crops and normalises an image for it.
        num_patches: Vectors it makes of an image: 1 when they are pooled.
        feature_size: Width of each.
        pooled: Whether its one vector for the whole image is used.
        fingerprint: sha256 of its weights and of the preprocessing: equal for equal features.
    """

    model: PreTrainedModel
    processor: Any
    num_patches: int
    feature_size: int
    pooled: bool
    fingerprint: str

    def pixels(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """(3, height, width), as the encoder takes it."""
        values: npt.NDArray[np.float32] = self.processor(images=image, return_tensors="np")["pixel_values"][0]
        return values.astype(np.float32)


def build_encoder(settings: VisionSettings, seed: int) -> Encoder:
    """The encoder that the settings describe.

    Args:
        settings: `path` of a pretrained one, or the shape of a new one.
        seed: Of the weights of a new one.

    Raises:
        RecipeError: There is no vision encoder at `path`.
    """
    model, processor = _pretrained(settings) if settings.path else _new(settings, seed)
    config: Any = model.config
    pooled = settings.features == "pooled"
    num_patches = 1 if pooled else (int(config.image_size) // int(config.patch_size)) ** 2
    return Encoder(
        model.eval(), processor, num_patches, int(config.hidden_size), pooled, fingerprint_of(model, processor)
    )


def encoder_config(settings: VisionSettings, *, download: bool = True) -> Any:
    """The configuration of the encoder that the settings describe.

    Args:
        settings: `path` of a pretrained one, or the shape of a new one.
        download: Whether that of a pretrained one may come from the hub, or must be here.

    Raises:
        OSError: There is none at `path`.
        ValueError: What is there cannot be read.
    """
    if settings.path is None:
        return CLIPVisionConfig(
            hidden_size=settings.width,
            intermediate_size=4 * settings.width,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            image_size=settings.image_size,
            patch_size=settings.patch_size,
        )
    config = AutoConfig.from_pretrained(
        settings.path, revision=settings.revision, trust_remote_code=False, local_files_only=not download
    )
    return getattr(config, "vision_config", config)


def _new(settings: VisionSettings, seed: int) -> tuple[PreTrainedModel, Any]:
    config = encoder_config(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModel.from_config(config)
    size = {"height": settings.image_size, "width": settings.image_size}
    return model, CLIPImageProcessorPil(size=size, do_center_crop=False, image_mean=HALF, image_std=HALF)


def _pretrained(settings: VisionSettings) -> tuple[PreTrainedModel, Any]:
    path = str(settings.path)
    verbosity = library_logging.get_verbosity()
    library_logging.set_verbosity_error()  # it reports the text tower as left over, which is as it should be
    try:
        model: PreTrainedModel = AutoModel.from_pretrained(
            path,
            config=encoder_config(settings),
            revision=settings.revision,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
        )
        processor = AutoImageProcessor.from_pretrained(path, revision=settings.revision, trust_remote_code=False)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError("model.vision", [f"no vision encoder can be loaded from {path!r}: {reason}"]) from error
    finally:
        library_logging.set_verbosity(verbosity)
    missing = [name for name in NEEDED if not hasattr(model.config, name)]
    if missing:
        kind = type(model).__name__
        raise RecipeError(
            "model.vision", [f"{path!r} holds a {kind} without {', '.join(missing)}; use CLIP, SigLIP or DINOv2"]
        )
    return model, processor


def fingerprint_of(model: PreTrainedModel, processor: Any) -> str:
    """sha256 of weights and preprocessing."""
    digest = hashlib.sha256(processor.to_json_string().encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
