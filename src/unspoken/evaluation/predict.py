"""Examples -> predictions: batched, cached, every row exactly once on any number of processes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Cache, PreTrainedTokenizerBase

from unspoken.data.collate import collate, inputs_of
from unspoken.device import gather_rows, in_group, rank, shares_parameters, world_size
from unspoken.evaluation.controls import controlled
from unspoken.evaluation.likelihood import Reading, first_logits, log_likelihoods
from unspoken.model import LatentForCausalLM
from unspoken.model.cache import growing_cache
from unspoken.records import Example, Prediction, StagedExample, Tokens
from unspoken.tasks.base import Task
from unspoken.trajectories.halting import halted


def predict(
    model: LatentForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    examples: Sequence[Example],
    prompts: Sequence[StagedExample],
    *,
    batch_size: int = 64,
    max_new_tokens: int | None = None,
    control: str = "none",
    choices: Sequence[Sequence[Tokens]] = (),
    progress: Callable[[int], None] = lambda rows: None,
) -> list[Prediction]:
    """Answer every example greedily and score the answers; weigh the choices of each, where they are given.

    Args:
        model: Put into evaluation mode for the time being.
        tokenizer: Its own.
        task: Scores the answers.
        examples: The rows.
        prompts: What the model reads for each of them; a policy that halts does without some of their slots.
        batch_size: Rows generated together.
        max_new_tokens: Longest answer in tokens; default: the task's.
        control: What the thoughts are replaced by, see `controls.controlled`.
        choices: Those of each example as tokens, to be compared by their likelihood; empty: they are not compared.
        progress: Called with the number of rows done.

    Returns:
        One prediction an example, in their order, the same on every process.
    """
    was_training = model.training
    found: dict[int, Prediction] = {}
    weighed: dict[int, list[float]] = {}

    def weigh(rows: Sequence[int], reading: Reading) -> None:
        positions = [mine[row] for row in rows]
        # forced tokens are those that every choice begins with, and they are read already
        offered = [[choice[used[i].num_forced :] for choice in choices[i]] for i in positions]
        weighed.update(zip(positions, log_likelihoods(model, reading, offered), strict=True))

    try:
        model.eval()
        prompts = halted(model, prompts, batch_size)
        thinking, used = controlled(model, prompts, control, batch_size=batch_size)
        # processes that cannot exchange rows, or that must run the same passes, each answer all of them
        shared = in_group() and not shares_parameters()
        mine = range(rank(), len(used), world_size()) if shared else range(len(used))
        for index, tokens in answers(
            model,
            [used[i] for i in mine],
            batch_size,
            max_new_tokens or task.max_new_tokens,
            thinking=lambda chosen: thinking([mine[index] for index in chosen]),
            behind=weigh if choices else None,
        ):
            position = mine[index]
            found[position] = judge(model, tokenizer, task, examples[position], used[position], tokens)
            if choices:
                values = weighed[position]
                likeliest = examples[position].choices[values.index(max(values))]
                found[position] = replace(found[position], log_likelihoods=tuple(values), likeliest=likeliest)
            progress(1)
    finally:
        model.train(was_training)
    if shared:
        rows = [{"position": position, **asdict(prediction)} for position, prediction in found.items()]
        found = {int(row.pop("position")): _prediction(row) for row in gather_rows(rows, model.device)}
    return [found[position] for position in sorted(found)]


def _prediction(row: dict[str, Any]) -> Prediction:
    """A prediction that travelled as JSON, which knows no tuples."""
    lists = ("log_likelihoods", "images")
    return Prediction(**{**row, **{name: None if row[name] is None else tuple(row[name]) for name in lists}})


def judge(
    model: LatentForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    example: Example,
    prompt: StagedExample,
    tokens: Sequence[int],
) -> Prediction:
    """Score what was generated for a prompt.

    Args:
        model: The model that wrote it.
        tokenizer: Its own.
        task: Scores the answer.
        example: The row.
        prompt: What was read.
        tokens: What was written, the end of sequence included.
    """
    forced = prompt.input_ids[len(prompt.input_ids) - prompt.num_forced :].tolist()
    text = tokenizer.decode([*forced, *tokens], skip_special_tokens=True)
    score = task.score(example, text)

    def file(image: str) -> str:
        return str(Path(task.image_root or "", image))

    return Prediction(
        id=example.id,
        question=task.text.premise_separator.join([*example.premises, example.question]),
        expected=example.answer,
        text=text,
        predicted=score.predicted,
        verdict=score.verdict,
        num_thoughts=prompt.num_thoughts,
        num_tokens=len(tokens),
        num_passes=model.model.schedule.extra_passes(prompt.num_thoughts) + len(tokens),
        credit=task.credit(example, score.predicted),
        images=tuple(map(file, example.images)) or None,
        ended=list(tokens[-1:]) == [model.config.eos_token_id] if task.is_caption else None,
        next_image=None if example.next_image is None else file(example.next_image),
    )


@torch.no_grad()
def answers(
    model: LatentForCausalLM,
    prompts: Sequence[StagedExample],
    batch_size: int,
    max_new_tokens: int,
    *,
    thinking: Callable[[Sequence[int]], AbstractContextManager[Cache | None]] = lambda rows: nullcontext(),
    behind: Callable[[Sequence[int], Reading], None] | None = None,
) -> Iterator[tuple[int, list[int]]]:
    """Greedy answers, each with the index of its prompt; order as computed: rows of like length together.

    Args:
        model: In evaluation mode.
        prompts: What it reads.
        batch_size: Rows generated together.
        max_new_tokens: Longest answer.
        thinking: For the indices of a batch, what holds while it is answered, and a cache to write to if not its own.
        behind: Called with the indices of a batch, before its answers come, and with what the model has read of it.
    """
    pad, end = model.config.pad_token_id or 0, model.config.eos_token_id
    # a model that fills all its positions without an end has no more to say
    positions = model.num_positions
    for chosen in batches(prompts, batch_size, positions - max_new_tokens):
        batch = collate([prompts[index] for index in chosen], pad_id=pad, align=False)
        inputs = inputs_of(batch, model.device)
        inputs.pop("position_ids")  # counted from the mask, also behind the prompt
        columns = batch["input_ids"].size(1)
        with thinking(chosen) as cache, first_logits(model) as first:
            if behind is not None and cache is None:
                cache = growing_cache(columns)
            output = model.generate(
                **inputs,
                max_new_tokens=min(max_new_tokens, positions - columns),
                do_sample=False,
                eos_token_id=end,
                pad_token_id=pad,
                **({} if cache is None else {"past_key_values": cache}),
            )
            if behind is not None and cache is not None:
                # without what was written behind them; 0 would not remove nothing in every version
                if written_columns := cache.get_seq_length() - columns:
                    cache.crop(-written_columns)
                behind(chosen, Reading(inputs["attention_mask"], first[0], cache))
        written = output[:, columns:].tolist()
        for index, tokens in zip(chosen, written, strict=True):
            yield index, tokens[: tokens.index(end) + 1] if end in tokens else tokens


def batches(prompts: Sequence[StagedExample], batch_size: int, roomy: int) -> Iterator[list[int]]:
    """Indices of prompts that are answered together.

    Prompts longer than `roomy` meet the end of the positions before that of their answer: they share a batch only with
    prompts of their own length, so that none is cut short by a longer one.
    """
    lengths = [len(prompt.input_ids) for prompt in prompts]

    def crowded(index: int) -> int:
        return lengths[index] if lengths[index] > roomy else 0

    order = sorted(range(len(prompts)), key=lambda i: (crowded(i), prompts[i].num_thoughts, lengths[i]))
    for _, group in groupby(order, key=crowded):
        alike = list(group)
        for chosen in np.array_split(alike, -(-len(alike) // batch_size)):
            yield chosen.tolist()
