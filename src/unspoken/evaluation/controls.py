"""Conditions of an evaluation: the thoughts as trained, and each way of taking them away."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from unspoken.data.collate import collate, inputs_of
from unspoken.model import LatentForCausalLM
from unspoken.records import StagedExample
from unspoken.thoughts import ThoughtSource
from unspoken.thoughts.controls import AnotherRow, Mean, Noise, Zero

MEAN_ROWS = 256
"""Prompts over which the mean thought is taken."""


def controlled(
    model: LatentForCausalLM, prompts: Sequence[StagedExample], control: str, *, seed: int = 0
) -> tuple[AbstractContextManager[None], list[StagedExample]]:
    """How to generate under a control: a context for the model, and the prompts to use.

    Args:
        model: The trained model.
        prompts: The prompts as trained.
        control: `none`, `zero`, `mean`, `noise`, `another_row` (see `thoughts.controls`), or `removed`: the slots are
            taken out of the prompt and the markers stay.
        seed: Seed of the noise.

    Raises:
        ValueError: There is no such control.
    """
    if control == "none":
        return nullcontext(), list(prompts)
    if control == "removed":
        return nullcontext(), [without_slots(prompt, model.config.latent_token_id) for prompt in prompts]
    if control not in REPLACEMENTS:
        raise ValueError(f"unknown control {control!r}; known: none, removed, {', '.join(REPLACEMENTS)}")
    return model.model.thinking_with(REPLACEMENTS[control](model, prompts, seed)), list(prompts)


def without_slots(prompt: StagedExample, latent_id: int) -> StagedExample:
    """The prompt with its slots taken out."""
    kept = prompt.input_ids != latent_id
    return replace(
        prompt, input_ids=prompt.input_ids[kept], labels=prompt.labels[kept], num_thoughts=0, first_thought=None
    )


@torch.no_grad()
def mean_thoughts(model: LatentForCausalLM, prompts: Sequence[StagedExample]) -> Tensor:
    """Mean thought of each slot over the first `MEAN_ROWS` prompts, (K, D)."""
    with_slots = [prompt for prompt in prompts if prompt.num_thoughts][:MEAN_ROWS]
    if not with_slots:
        return torch.zeros(1, model.config.hidden_size, device=model.device)
    most = max(prompt.num_thoughts for prompt in with_slots)
    sums = torch.zeros(most, model.config.hidden_size, device=model.device)
    counts = torch.zeros(most, 1, device=model.device)
    for start in range(0, len(with_slots), 64):
        batch = collate(with_slots[start : start + 64], pad_id=0)
        output = model.model(**inputs_of(batch, model.device))
        # aligned rows: slot k of every row stands in the k-th slot column
        mask_BS1 = output.thought_mask.unsqueeze(-1)
        slots = mask_BS1.size(1)
        sums[:slots] += (output.thoughts * mask_BS1).sum(dim=0).float()
        counts[:slots] += mask_BS1.sum(dim=0)
    return sums / counts.clamp(min=1)


REPLACEMENTS: dict[str, Callable[[LatentForCausalLM, Sequence[StagedExample], int], ThoughtSource]] = {
    "zero": lambda model, prompts, seed: Zero(),
    "mean": lambda model, prompts, seed: Mean(mean_thoughts(model, prompts)),
    "noise": lambda model, prompts, seed: Noise(model.model.thought_source, seed),
    "another_row": lambda model, prompts, seed: AnotherRow(model.model.thought_source),
}
