"""Arithmetic of a training step, and what share of a device's peak it is.

Counted are the products of matrices that the passes make, forward, and twice that backward: the linear layers of the
decoder for each position that is not padding, thoughts like words, those of the last block's feed-forward layer where
it runs (`model.last_block`); the attention of each new position to every one in the cache, those of its own pass
included, as kernels without a causal short cut compute it; and the head where something is learned. A position is
computed in one pass only, so passes cost no arithmetic of their own. What is recomputed in the backward pass is not
counted: the share says how much of the device went into learning.
"""

import re
from itertools import pairwise

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from unspoken.model import LatentForCausalLM
from unspoken.model.last_block import last_feed_forward
from unspoken.model.loss import first_trained_column
from unspoken.model.passes import Jacobi, Single
from unspoken.records import IGNORED, Batch

BACKWARD = 2
"""Products of the backward pass for one of the forward pass: one for what enters it, one for the weight."""
PEAKS = {
    "H200": 989.5e12,
    "H200 NVL": 835.5e12,
    "GH200": 989.5e12,
    "H100 80GB HBM3": 989.5e12,
    "H100 PCIe": 756.5e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}
"""Operations a second with numbers of 16 bits, dense, as the maker states them, by words of the device's name."""


def training_flops(model: LatentForCausalLM, batch: Batch) -> int:
    """Operations of a forward and a backward pass over a batch.

    Raises:
        ValueError: The schedule is `jacobi`, which computes slots more than once.
    """
    if isinstance(model.model.schedule, Jacobi):
        raise ValueError("jacobi computes slots more than once; its operations are not counted here")
    decoder = model.model.language_model
    real_BL = batch["attention_mask"].bool()
    passes = _passes(model, batch["input_ids"])
    new_BP = torch.stack([real_BL[:, columns].sum(dim=1) for columns in passes], dim=1)
    seen_BP = new_BP.cumsum(dim=1)
    config = decoder.config.get_text_config()
    width = config.num_attention_heads * (getattr(config, "head_dim", None) or _head_width(config))
    attention = 4 * config.num_hidden_layers * width * int((new_BP * seen_BP).sum())
    linear = 2 * linear_weights(decoder) * int(new_BP.sum())
    if (layer := last_feed_forward(decoder)) is not None and not model.model.thought_source.reads_window:
        first_read = first_trained_column(batch["labels"])
        unread = [slice(columns.start, min(first_read, columns.stop - 1)) for columns in passes]
        linear -= 2 * linear_weights(layer) * sum(int(real_BL[:, columns].sum()) for columns in unread)
    learned = int((batch["labels"][:, 1:] != IGNORED).sum())
    head = 2 * learned * model.get_output_embeddings().get_parameter("weight").numel()
    total: int = (1 + BACKWARD) * (linear + attention + head)
    return total


def linear_weights(part: nn.Module) -> int:
    """Weights of the linear layers in a decoder or a part of it, embeddings and head not counted."""
    return sum(each.weight.numel() for each in part.modules() if isinstance(each, nn.Linear | Conv1D))


def peak_of(device_name: str | None) -> float | None:
    """Operations a second in 16 bits at the peak of a device; None where it is not known."""
    # whole words, for an L40 is no L4; of several the longest
    names = [name for name in PEAKS if re.search(rf"\b{name}\b", device_name or "")]
    return PEAKS[max(names, key=len)] if names else None


def share_of_peak(flops: float, seconds: float, peak: float | None) -> float | None:
    """Operations a second over those of the peak; None where that is not known."""
    return None if peak is None else flops / seconds / peak


def _passes(model: LatentForCausalLM, ids_BL: Tensor) -> list[slice]:
    """The columns that each pass computes."""
    slots = (ids_BL == model.config.latent_token_id).any(dim=0).nonzero().flatten().tolist()
    bounds = [0, *([] if isinstance(model.model.schedule, Single) else slots), ids_BL.size(1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def _head_width(config: object) -> int:
    sizes: dict[str, int] = {name: getattr(config, name) for name in ("hidden_size", "num_attention_heads")}
    return sizes["hidden_size"] // sizes["num_attention_heads"]
