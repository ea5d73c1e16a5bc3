"""The images of a row meet before the words: a small transformer over all their slots.

Places tell the images apart, so their order matters. With a pool one vector stands for all that was seen, and is mapped
to a prefix as long as the slots.

Shapes: B rows, I images of the row that has most, N images of all rows, S slots of an image, D width.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unspoken.errors import RecipeError


class Fusion(nn.Module):
    """Slots that know of each other.

    Args:
        settings: The keys of `FusionSettings`.
        slots: S.
        width: D.
        std: Standard deviation of the embeddings of words: what is added begins no larger.

    Raises:
        RecipeError: D is not a multiple of the heads.
    """

    def __init__(self, settings: Mapping[str, Any], slots: int, width: int, std: float) -> None:
        super().__init__()
        heads, self.most_images, self.pool = int(settings["heads"]), int(settings["most_images"]), settings["pool"]
        if width % heads:
            raise RecipeError("vision", [f"fusion.heads: the model's width {width} is not a multiple of {heads}"])
        self.norm = nn.LayerNorm(width)
        self.places = nn.Parameter(0.02 * torch.randn(self.most_images, slots, width))
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, float(settings["dropout"]), "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, int(settings["layers"]), nn.LayerNorm(width), False)
        if self.pool == "none":
            self.scale = nn.Parameter(torch.full((width,), std))
            return
        if self.pool == "attention":
            self.query = nn.Parameter(torch.randn(width))
        self.prefix = nn.Linear(width, self.most_images * slots * width)
        nn.init.normal_(self.prefix.weight, std=std / width**0.5)
        nn.init.normal_(self.prefix.bias, std=std)

    def forward(self, slots_NSD: Tensor, is_there_BI: Tensor) -> Tensor:
        """The slots of all images after they have met those of their rows, (N, S, D).

        Args:
            slots_NSD: Of all images, row by row.
            is_there_BI: Which images each row has, the first ones; at least one is there.

        Raises:
            ValueError: A row has more images than there are places.
        """
        is_there_BI = is_there_BI[is_there_BI.any(dim=1)]
        rows, images = is_there_BI.shape
        if images > self.most_images:
            raise ValueError(f"a row has {images} images, fusion has {self.most_images} places; raise most_images")
        _, slots, width = slots_NSD.shape
        normed_NSD = self.norm(slots_NSD)  # autocast on CUDA makes it fp32, whatever came in
        met = normed_NSD.new_zeros(rows, images, slots, width)
        met[is_there_BI] = normed_NSD
        met = met + self.places[:images]
        is_there_BC = is_there_BI.repeat_interleave(slots, dim=1)
        fused_BCD = self.blocks(met.flatten(1, 2), src_key_padding_mask=~is_there_BC)
        if self.pool == "none":
            return slots_NSD + self.scale * fused_BCD.view(rows, images, slots, width)[is_there_BI]
        prefix = self.prefix(self._pooled(fused_BCD, is_there_BC)).view(rows, self.most_images, slots, width)
        pooled: Tensor = prefix[:, :images][is_there_BI]
        return pooled

    def _pooled(self, fused_BCD: Tensor, is_there_BC: Tensor) -> Tensor:
        """One vector a row, (B, D)."""
        if self.pool == "mean":
            weights_BC = is_there_BC / is_there_BC.sum(dim=1, keepdim=True)
        else:
            scores_BC = fused_BCD @ self.query / fused_BCD.size(-1) ** 0.5
            weights_BC = scores_BC.masked_fill(~is_there_BC, -torch.inf).softmax(dim=1)
        return (weights_BC.to(fused_BCD).unsqueeze(1) @ fused_BCD)[:, 0]
