"""Conditions of an evaluation: the thoughts as trained, and each way of taking them away.

Shapes: B rows of a batch, K thoughts of a row, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unspoken.errors import DataError
from unspoken.evaluation.recorded import means_of_others, thoughts_of
from unspoken.model import LatentForCausalLM
from unspoken.records import StagedExample
from unspoken.thoughts import ThoughtSource
from unspoken.thoughts.controls import Given, Noise, Zero, noise_of_rows
from unspoken.trajectories.halting import with_slots

Thinking: TypeAlias = Callable[[Sequence[int]], AbstractContextManager[None]]
"""For the numbers of the rows of a batch, what holds while it is answered."""
Source: TypeAlias = Callable[[Sequence[int]], ThoughtSource]
"""For the numbers of the rows of a batch, what fills its slots."""


def controlled(
    model: LatentForCausalLM, prompts: Sequence[StagedExample], control: str, *, batch_size: int = 64, seed: int = 0
) -> tuple[Thinking, list[StagedExample]]:
    """How to generate under a control: what holds for a batch of rows, and the prompts to use.

    Args:
        model: The trained model, in evaluation mode.
        prompts: The prompts as trained.
        control: `none`, `zero`, `mean`, `noise`, `another_row`, or `removed`: the slots are taken out of the prompt
            and the markers stay.
        batch_size: Rows run together where thoughts of other rows are needed.
        seed: Seed of the noise.

    Raises:
        ValueError: There is no such control.
        DataError: Thoughts of other rows are needed, and only one row has any.
    """
    if control == "none":
        return lambda rows: nullcontext(), list(prompts)
    if control == "removed":
        return lambda rows: nullcontext(), [without_slots(prompt, model.config.latent_token_id) for prompt in prompts]
    if control not in REPLACEMENTS:
        raise ValueError(f"unknown control {control!r}; known: none, removed, {', '.join(REPLACEMENTS)}")
    source = REPLACEMENTS[control](model, prompts, batch_size, seed)
    return lambda rows: model.model.thinking_with(source(rows)), list(prompts)


def without_slots(prompt: StagedExample, latent_id: int) -> StagedExample:
    """The prompt with its slots taken out."""
    kept = prompt.input_ids != latent_id
    return replace(
        prompt, input_ids=prompt.input_ids[kept], labels=prompt.labels[kept], num_thoughts=0, first_thought=None
    )


def _zero(model: LatentForCausalLM, prompts: Sequence[StagedExample], batch_size: int, seed: int) -> Source:
    """Every thought is the zero vector."""
    return lambda rows: Zero()


def _mean(model: LatentForCausalLM, prompts: Sequence[StagedExample], batch_size: int, seed: int) -> Source:
    """Every thought is its mean over all other rows."""
    means = means_of_others(thoughts_of(model, prompts, batch_size))
    if alone := [prompt.id for row, prompt in enumerate(prompts) if prompt.num_thoughts and row not in means]:
        raise DataError(f"mean takes the mean thought of other rows, and only {alone[0]} has any; leave it out")
    return _given(means, model.config.hidden_size)


def _noise(model: LatentForCausalLM, prompts: Sequence[StagedExample], batch_size: int, seed: int) -> Source:
    """Every thought is a random direction, as long as the thought is."""

    def source(rows: Sequence[int]) -> ThoughtSource:
        most = max(prompts[row].num_thoughts for row in rows)
        return Noise(model.model.thought_source, noise_of_rows(rows, most, model.config.hidden_size, seed))

    return source


def _another_row(model: LatentForCausalLM, prompts: Sequence[StagedExample], batch_size: int, seed: int) -> Source:
    """Every row has the thoughts that the model thinks about another one."""
    thoughts = thoughts_of(model, donors(prompts), batch_size)
    return _given(dict(enumerate(thoughts)), model.config.hidden_size)


REPLACEMENTS: Mapping[str, Callable[[LatentForCausalLM, Sequence[StagedExample], int, int], Source]] = {
    "zero": _zero,
    "mean": _mean,
    "noise": _noise,
    "another_row": _another_row,
}


def _given(thoughts: Mapping[int, Tensor], width: int) -> Source:
    """Rows that think what is given for them, (K, D); nothing where nothing is."""
    nothing = torch.zeros(0, width)
    return lambda rows: Given(pad_sequence([thoughts.get(row, nothing) for row in rows], batch_first=True))


def donors(prompts: Sequence[StagedExample]) -> list[StagedExample]:
    """For each prompt the one whose thoughts it gets: the one before it, in a circle, among those that think as often.

    One that nobody else thinks as often as gets those of the most similar other, which thinks as often for once; one
    without thoughts stands for itself.

    Raises:
        DataError: Only one prompt has thoughts.
    """
    alike: dict[int, list[int]] = {}
    for row, prompt in enumerate(prompts):
        alike.setdefault(prompt.num_thoughts, []).append(row)
    found = list(prompts)
    for count, rows in alike.items():
        if count and len(rows) == 1:
            found[rows[0]] = with_slots(_most_similar(prompts, rows[0]), count)
        elif count:
            for place, row in enumerate(rows):
                found[row] = prompts[rows[place - 1]]
    return found


def _most_similar(prompts: Sequence[StagedExample], row: int) -> StagedExample:
    """The other prompt with thoughts that is nearest in their number, then in its length."""
    own = prompts[row]
    others = [each for other, each in enumerate(prompts) if other != row and each.num_thoughts]
    if not others:
        raise DataError(f"another_row exchanges thoughts between rows, and only {own.id} has any; leave it out")

    def distance(other: StagedExample) -> tuple[int, int]:
        slots = own.num_thoughts - other.num_thoughts
        return abs(slots), abs(len(other.input_ids) + slots - len(own.input_ids))

    return min(others, key=distance)
