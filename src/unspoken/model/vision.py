"""Image slots: what an encoder saw becomes the embeddings of the positions that hold `<|image|>`.

An image takes S slots, one after the other, with positions and a mask like words have. What comes in are features, made
before by a frozen encoder, or the pixels themselves where the encoder is part of the model and learns.

Shapes: B rows, I images of the row that has most, P patches, F width of the features, S slots of an image, D width.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from unspoken.errors import RecipeError
from unspoken.model.fusion import Fusion


class Projector(nn.Module, ABC):
    """Maps the features of images to slots.

    Args:
        num_patches: P; 1 for one pooled vector an image.
        feature_size: F.
        slots: S.
        width: D.
        std: Standard deviation that its outputs begin with: that of the embeddings of words.
    """

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """(N, P, F) -> (N, S, D)."""


class PerPatch(Projector):
    """The same map for every patch, one patch a slot; or S maps of a single vector.

    Args:
        num_patches: P.
        feature_size: F.
        slots: S; as many as patches, or any number where P is 1.
        width: D.
        std: See `Projector`.
        hidden: Width of a hidden layer; 0 for a linear map.

    Raises:
        ValueError: Several patches do not make as many slots.
    """

    def __init__(
        self, num_patches: int, feature_size: int, slots: int, width: int, std: float, hidden: int = 0
    ) -> None:
        super().__init__()
        if num_patches not in (1, slots):
            raise ValueError(f"{num_patches} patches make as many slots, not {slots}; or use the projector queries")
        self.slots, self.width = slots, width
        self.norm = nn.LayerNorm(feature_size)
        outputs = width * (slots if num_patches == 1 else 1)
        last = nn.Linear(hidden or feature_size, outputs)
        nn.init.normal_(last.weight, std=std / (hidden or feature_size) ** 0.5)
        nn.init.zeros_(last.bias)
        first = [nn.Linear(feature_size, hidden), nn.GELU()] if hidden else []
        self.layers = nn.Sequential(*first, last)

    def forward(self, features: Tensor) -> Tensor:
        """See `Projector.forward`."""
        mapped: Tensor = self.layers(self.norm(features))
        return mapped.view(len(features), self.slots, self.width)


class Queries(Projector):
    """S learned queries attend to the patches: any number of slots from any number of patches.

    Args:
        num_patches: P.
        feature_size: F.
        slots: S.
        width: D.
        std: See `Projector`.
        heads: Attention heads.

    Raises:
        ValueError: D is not a multiple of the heads.
    """

    def __init__(self, num_patches: int, feature_size: int, slots: int, width: int, std: float, heads: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"the model's width {width} is not a multiple of {heads} heads; set other heads")
        self.norm = nn.LayerNorm(feature_size)
        self.keys = nn.Linear(feature_size, width)
        self.queries = nn.Parameter(torch.randn(slots, width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.last = nn.Linear(width, width)
        nn.init.normal_(self.last.weight, std=std)

    def forward(self, features: Tensor) -> Tensor:
        """See `Projector.forward`."""
        keys = self.keys(self.norm(features))
        queries = self.queries.expand(len(features), -1, -1)
        mixed: Tensor = self.last(queries + self.attention(queries, keys, keys, need_weights=False)[0])
        return mixed


PROJECTORS: dict[str, type[Projector]] = {"linear": PerPatch, "mlp": PerPatch, "queries": Queries}


def build_projector(
    settings: Mapping[str, Any], num_patches: int, feature_size: int, slots: int, width: int, std: float
) -> Projector:
    """The projector that `{"name": ..., **settings}` describes.

    Raises:
        RecipeError: The name or a setting is unknown, or it cannot make so many slots.
    """
    name = settings.get("name")
    if name not in PROJECTORS:
        raise RecipeError("vision", [f"projector: unknown name {name!r}; known: {', '.join(PROJECTORS)}"])
    chosen = {key: value for key, value in settings.items() if key != "name"}
    if name == "mlp":
        chosen.setdefault("hidden", width)
    try:
        return PROJECTORS[name](num_patches, feature_size, slots, width, std, **chosen)
    except (TypeError, ValueError) as error:
        raise RecipeError("vision", [f"projector {name}: {error}"]) from error


class ImageSlots(nn.Module):
    """Fills the image slots of a batch.

    Args:
        settings: `slots`, `num_patches`, `feature_size`, `projector`; `encoder`, the configuration of an encoder that
            is part of the model, or None where features come in; and `fusion`, see `Fusion`, or None.
        width: D.
        std: See `Projector`.
    """

    def __init__(self, settings: Mapping[str, Any], width: int, std: float) -> None:
        super().__init__()
        self.slots = int(settings["slots"])
        self.num_patches, self.feature_size = int(settings["num_patches"]), int(settings["feature_size"])
        self.projector = build_projector(
            settings["projector"], self.num_patches, self.feature_size, self.slots, width, std
        )
        fusion = settings.get("fusion")
        self.fusion = Fusion(fusion, self.slots, width, std) if fusion else None
        encoder = settings.get("encoder")
        self.encoder: PreTrainedModel | None = None
        if encoder is not None:
            self.encoder = AutoModel.from_config(AutoConfig.for_model(**encoder))

    def forward(self, embeds: Tensor, is_image: Tensor, images: Tensor) -> Tensor:
        """Put images into their slots.

        Args:
            embeds: (B, L, D).
            is_image: (B, L) true at image slots; row b has n * S of them for its n images.
            images: (B, I, P, F) features, or (B, I, 3, height, width) pixels; rows with fewer images are filled up.

        Raises:
            ValueError: The slots do not fit the images.
        """
        slots_B = is_image.sum(dim=1)
        counts_B = slots_B // self.slots
        if bool((slots_B % self.slots).any()) or images.size(0) != len(embeds) or int(counts_B.max()) > images.size(1):
            raise ValueError(
                f"rows with {slots_B.tolist()} image slots, {self.slots} for each image, got {images.size(1)} images a "
                f"row for {images.size(0)} rows"
            )
        is_there_BI = torch.arange(images.size(1), device=embeds.device) < counts_B.unsqueeze(1)
        slots_NSD = self.projector(self._features(images[is_there_BI]))
        if self.fusion is not None:
            slots_NSD = self.fusion(slots_NSD, is_there_BI)
        return embeds.masked_scatter(is_image.unsqueeze(-1), slots_NSD.to(embeds.dtype))

    def _features(self, images: Tensor) -> Tensor:
        """(N, P, F) of features or pixels."""
        if self.encoder is None:
            if images.shape[1:] != (self.num_patches, self.feature_size):
                raise ValueError(
                    f"features of shape {tuple(images.shape[1:])}, expected ({self.num_patches}, {self.feature_size})"
                )
            return images.to(next(self.projector.parameters()).dtype)
        return encode(self.encoder, images, pooled=self.num_patches == 1)


def encode(encoder: nn.Module, pixels: Tensor, *, pooled: bool) -> Tensor:
    """Features of images, (N, P, F).

    Args:
        encoder: A vision model of Hugging Face: CLIP's, SigLIP's, DINOv2.
        pixels: (N, 3, height, width) as its image processor makes them.
        pooled: One vector an image instead of one for each patch.
    """
    output = encoder(pixel_values=pixels)
    if pooled:
        vector: Tensor = output.pooler_output
        return vector.unsqueeze(1)
    states: Tensor = output.last_hidden_state
    config: Any = encoder.config
    patches = (pixels.size(-2) // config.patch_size) * (pixels.size(-1) // config.patch_size)
    return states[:, -patches:]  # class and register tokens stand in front
