"""Keys and values at the thought slots: read from one batch, read by another.

Shapes: B rows, H key-value heads, L columns, K slots, E width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache

from unspoken.data.collate import collate, inputs_of
from unspoken.model import LatentForCausalLM
from unspoken.model.cache import GrowingLayer, growing_cache
from unspoken.records import StagedExample


@dataclass(frozen=True, slots=True, eq=False)
class SlotCache:
    """What other positions read at the slots of a batch of prompts.

    Attributes:
        layers: For each layer the keys and values, (B, H, K, E) each.
        num_after: Positions behind the slots: the end marker, if there is one, and what else a prompt ends in.
    """

    layers: Sequence[tuple[Tensor, Tensor]]
    num_after: int

    def columns(self, length: int) -> slice:
        """The slots of prompts that end in column `length - 1`."""
        num_slots = self.layers[0][0].size(2)
        return slice(length - self.num_after - num_slots, length - self.num_after)


@torch.no_grad()
def read_slots(model: LatentForCausalLM, prompts: Sequence[StagedExample]) -> SlotCache:
    """Keys and values at the slots of prompts with equally many of them, at the end of equally long ends.

    Raises:
        ValueError: They differ in either.
    """
    shapes = {(prompt.num_thoughts, positions_behind(prompt)) for prompt in prompts}
    if len(shapes) != 1:
        raise ValueError(f"the slots of these prompts are not in the same columns: {sorted(shapes)}")
    ((num_thoughts, num_after),) = shapes
    batch = collate(prompts, pad_id=model.config.pad_token_id or 0, align=False)
    inputs = inputs_of(batch, model.device)
    cache = growing_cache(batch["input_ids"].size(1))
    model.model(**inputs, past_key_values=cache)
    columns = slice(-num_after - num_thoughts, -num_after or None)
    return SlotCache([(layer.keys[:, :, columns], layer.values[:, :, columns]) for layer in cache.layers], num_after)


def cache_reading(slots: SlotCache) -> Cache:
    """An empty cache for prompts with the same slots, of which everything will read these keys and values."""
    return Cache(layers=[_OverwrittenLayer(slots, layer) for layer in range(len(slots.layers))])


class _OverwrittenLayer(GrowingLayer):
    """A layer whose slots are overwritten as soon as the prompt, run in one pass, is there."""

    def __init__(self, slots: SlotCache, layer: int) -> None:
        super().__init__(num_columns=0)
        self._slots, self._layer = slots, layer

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """See `GrowingLayer.update`."""
        is_prompt = self.keys is None
        found = super().update(key_states, value_states)
        if is_prompt:
            columns = self._slots.columns(key_states.size(2))
            for states, new in zip(found, self._slots.layers[self._layer], strict=True):
                states[:, :, columns] = new
        return found


def positions_behind(prompt: StagedExample) -> int:
    """Positions of a prompt behind its slots."""
    return len(prompt.input_ids) - (prompt.first_thought or 0) - prompt.num_thoughts
