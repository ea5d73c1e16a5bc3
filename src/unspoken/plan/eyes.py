"""What makes a model see, before anything is loaded: its slots, its parameters, and what images cost.

A learning encoder is a part of the model and runs over an image each time its row is trained. A frozen one stays
outside and runs over each image once. Modules are counted without storage, from the encoder's configuration; where
that of a hub is not on this machine, they are not known, and a plan says so.

P patches, S slots of an image, F width of the features, D width of the decoder.
"""

from dataclasses import dataclass
from typing import Any

from unspoken.config import VisionSettings
from unspoken.plan.estimate import STATES_PER_LAYER, ImageCosts

JOINT_VECTORS = 2
"""Vectors of an image of which something is said, in the space of a CLIP."""
_PIXEL_BYTES, _FEATURE_BYTES = 2, 4


@dataclass(frozen=True, slots=True)
class Encoder:
    """A vision encoder, by its configuration alone.

    Attributes:
        num_parameters: All that it is loaded with.
        layers: Blocks.
        heads: Attention heads.
        width: F.
        patches: P, or 1 where they are pooled.
        positions: Patches that its blocks see, and the class token.
        pixels: Numbers that an image is.
    """

    num_parameters: int
    layers: int
    heads: int
    width: int
    patches: int
    positions: int
    pixels: int


@dataclass(frozen=True, slots=True)
class Eyes:
    """An encoder and its projector.

    Attributes:
        settings: Their settings.
        slots: S; None where only the encoder's configuration would say it.
        encoder: None where there is no configuration of it here.
        projector: Parameters of the projector, and of the fusion where there is one; None where F or D is not known.
    """

    settings: VisionSettings
    slots: int | None
    encoder: Encoder | None
    projector: int | None

    @property
    def num_parameters(self) -> int | None:
        """Parameters of the model that they are; None where they are not known."""
        if self.encoder is None or self.projector is None:
            return None
        return self.projector + (self.encoder.num_parameters if self.settings.train_encoder else 0)

    @property
    def bytes_per_image(self) -> int:
        """What is kept of an image in memory: pixels for an encoder that learns, features of one that does not."""
        if self.encoder is None:
            return 0
        if self.settings.train_encoder:
            return _PIXEL_BYTES * self.encoder.pixels
        return _FEATURE_BYTES * self.encoder.patches * self.encoder.width

    def costs(self, num_images: int, per_row: float, width: int) -> ImageCosts:
        """What images cost in training; nothing where the eyes are not known.

        Args:
            num_images: Different ones.
            per_row: Those of a row, on average.
            width: D.
        """
        encoder, learns = self.encoder, self.settings.train_encoder
        if encoder is None or self.projector is None or self.num_parameters is None or self.slots is None:
            return ImageCosts()
        attention = 2 * encoder.layers * encoder.width * encoder.positions
        encoding = 2 * encoder.positions * (encoder.num_parameters + attention)
        # queries are projected as often as there are slots, everything else as often as there are patches
        projected = (
            max(encoder.patches, self.slots) if self.settings.projector["name"] == "queries" else encoder.patches
        )
        inner = max(width, self.settings.projector.get("hidden", 0))
        states = max(encoder.patches, self.slots) * (2 * encoder.width + 8 * inner)
        if learns:
            states += encoder.layers * encoder.positions * encoder.width * STATES_PER_LAYER
            states += 2 * encoder.layers * encoder.heads * encoder.positions**2 + encoder.pixels
        return ImageCosts(
            # one that learns is loaded first and then copied into the model
            beside=encoder.num_parameters,
            layers=encoder.layers if learns else 0,
            operations=per_row * (6 * projected * self.projector + (3 * encoding if learns else 0)),
            once=0 if learns else num_images * encoding,
            states=per_row * states,
            kept=num_images * self.bytes_per_image,
        )


def read_eyes(settings: VisionSettings | None, width: int | None) -> Eyes | None:
    """The eyes that the settings describe; None for a model that sees nothing.

    Args:
        settings: Those of the recipe.
        width: D; None where it is not known.

    Raises:
        RecipeError: The projector cannot make so many slots.
    """
    if settings is None:
        return None
    encoder = _encoder(settings)
    pooled = {"pooled": 1, "joint": JOINT_VECTORS}.get(settings.features)
    slots = settings.slots or pooled or (encoder.patches if encoder else None)
    projector = None
    if encoder is not None and slots is not None and width is not None:
        projector = _projector_parameters(settings, encoder, slots, width)
    return Eyes(settings, slots, encoder, projector)


def _encoder(settings: VisionSettings) -> Encoder | None:
    import torch
    from transformers import AutoModel

    from unspoken.vision.encoder import NEEDED, encoder_config

    try:
        config: Any = encoder_config(settings, download=False)
    except (OSError, ValueError):
        return None
    if any(not hasattr(config, name) for name in (*NEEDED, "num_hidden_layers", "num_attention_heads")):
        return None
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    patches = (int(config.image_size) // int(config.patch_size)) ** 2
    return Encoder(
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=int(config.num_hidden_layers),
        heads=int(config.num_attention_heads),
        width=int(config.projection_dim if settings.features == "joint" else config.hidden_size),
        patches={"pooled": 1, "joint": JOINT_VECTORS}.get(settings.features, patches),
        positions=patches + 1,
        pixels=3 * int(config.image_size) ** 2,
    )


def _projector_parameters(settings: VisionSettings, encoder: Encoder, slots: int, width: int) -> int:
    import torch

    from unspoken.model.fusion import Fusion
    from unspoken.model.vision import build_projector

    with torch.device("meta"):
        parts: list[torch.nn.Module] = [
            build_projector(settings.projector, encoder.patches, encoder.width, slots, width, std=0.02)
        ]
        if settings.fusion is not None:
            parts.append(Fusion(settings.fusion.model_dump(), slots, width, std=0.02))
    return sum(parameter.numel() for part in parts for parameter in part.parameters())
