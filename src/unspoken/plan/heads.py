"""What guesses vectors beside the words, before anything is loaded: its space and its parameters."""

from typing import Any

from unspoken.config import EmbeddingHeadsSettings


def space_size(settings: EmbeddingHeadsSettings) -> int | None:
    """Width of the space; None where the configuration of its CLIP is not on this machine."""
    from transformers import CLIPConfig

    try:
        config: Any = CLIPConfig.from_pretrained(settings.space, revision=settings.revision, local_files_only=True)
    except (OSError, ValueError):
        return None
    return int(config.projection_dim)


def head_parameters(settings: EmbeddingHeadsSettings | None, width: int) -> int | None:
    """Parameters of the heads of a model of this width: 0 without any; None where their space is not known."""
    if settings is None:
        return 0
    size = space_size(settings)
    if size is None:
        return None
    import torch

    from unspoken.model.embedding_heads import EmbeddingHeads

    with torch.device("meta"):
        heads = EmbeddingHeads({**settings.model_dump(), "size": size}, width)
    return sum(parameter.numel() for parameter in heads.parameters())


def head_lines(settings: EmbeddingHeadsSettings | None) -> list[str]:
    """What a plan says of embedding heads; nothing where there are none."""
    if settings is None:
        return []
    lines = [f"guess the next image and the meaning of the answer in the space of {settings.space}"]
    if space_size(settings) is None:
        lines.append("there is no configuration of it here: they are counted in no figure of this plan")
    return lines
