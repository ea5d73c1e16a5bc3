"""Examples -> predictions: batched, cached, every row exactly once on any number of processes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from itertools import groupby

import numpy as np
import torch
from transformers import Cache, PreTrainedTokenizerBase

from unspoken.data.collate import collate, inputs_of
from unspoken.device import gather_rows, in_group, rank, shares_parameters, world_size
from unspoken.evaluation.controls import controlled
from unspoken.model import LatentForCausalLM
from unspoken.records import Example, Prediction, StagedExample
from unspoken.tasks.base import Task


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
    progress: Callable[[int], None] = lambda rows: None,
) -> list[Prediction]:
    """Answer every example greedily and score the answers.

    Args:
        model: Put into evaluation mode for the time being.
        tokenizer: Its own.
        task: Scores the answers.
        examples: The rows.
        prompts: What the model reads for each of them.
        batch_size: Rows generated together.
        max_new_tokens: Longest answer in tokens; default: the task's.
        control: What the thoughts are replaced by, see `controls.controlled`.
        progress: Called with the number of rows done.

    Returns:
        One prediction an example, in their order, the same on every process.
    """
    was_training = model.training
    rows = []
    try:
        model.eval()
        context, used = controlled(model, prompts, control)
        # processes that cannot exchange rows, or that must run the same passes, each answer all of them
        shared = in_group() and not shares_parameters()
        mine = range(rank(), len(used), world_size()) if shared else range(len(used))
        with context:
            for index, tokens in answers(
                model,
                [used[i] for i in mine],
                batch_size,
                max_new_tokens or task.max_new_tokens,
                exchange=control == "another_row",
            ):
                position = mine[index]
                prediction = judge(model, tokenizer, task, examples[position], used[position], tokens)
                rows.append({"position": position, **asdict(prediction)})
                progress(1)
    finally:
        model.train(was_training)
    gathered = sorted(gather_rows(rows, model.device) if shared else rows, key=lambda row: int(row["position"]))
    return [Prediction(**{key: value for key, value in row.items() if key != "position"}) for row in gathered]


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
    )


@torch.no_grad()
def answers(
    model: LatentForCausalLM,
    prompts: Sequence[StagedExample],
    batch_size: int,
    max_new_tokens: int,
    *,
    exchange: bool = False,
    thinking: Callable[[Sequence[int]], AbstractContextManager[Cache | None]] = lambda rows: nullcontext(),
) -> Iterator[tuple[int, list[int]]]:
    """Greedy answers, each with the index of its prompt; order as computed: rows of like length together.

    Args:
        model: In evaluation mode.
        prompts: What it reads.
        batch_size: Rows generated together.
        max_new_tokens: Longest answer.
        exchange: Rows take thoughts from each other: a batch of one gets a second row, whose answer is left out.
        thinking: For the indices of a batch, what holds while it is answered, and a cache to write to if not its own.
    """
    pad, end = model.config.pad_token_id or 0, model.config.eos_token_id
    # a model that fills all its positions without an end has no more to say
    positions = model.num_positions
    for chosen in _batches(prompts, batch_size, positions - max_new_tokens):
        company = _company(prompts, chosen[0]) if exchange and len(chosen) == 1 else []
        batch = collate([prompts[index] for index in [*chosen, *company]], pad_id=pad, align=False)
        inputs = inputs_of(batch, model.device)
        inputs.pop("position_ids")  # counted from the mask, also behind the prompt
        with thinking(chosen) as cache:
            output = model.generate(
                **inputs,
                max_new_tokens=min(max_new_tokens, positions - batch["input_ids"].size(1)),
                do_sample=False,
                eos_token_id=end,
                pad_token_id=pad,
                **({} if cache is None else {"past_key_values": cache}),
            )
        written = output[: len(chosen), batch["input_ids"].size(1) :].tolist()
        for index, tokens in zip(chosen, written, strict=True):
            yield index, tokens[: tokens.index(end) + 1] if end in tokens else tokens


def _batches(prompts: Sequence[StagedExample], batch_size: int, roomy: int) -> Iterator[list[int]]:
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


def _company(prompts: Sequence[StagedExample], index: int) -> list[int]:
    """The most similar other prompt: a longer one would leave less room for the answer."""

    def distance(other: int) -> tuple[int, int]:
        one, two = prompts[index], prompts[other]
        return abs(one.num_thoughts - two.num_thoughts), abs(len(one.input_ids) - len(two.input_ids))

    others = [other for other in range(len(prompts)) if other != index]
    return [min(others, key=distance)] if others else []
