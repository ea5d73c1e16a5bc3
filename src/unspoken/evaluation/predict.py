"""Examples -> predictions: batched, cached, every row exactly once on any number of processes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from unspoken.data.collate import collate
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
                model, [used[i] for i in mine], batch_size, max_new_tokens or task.max_new_tokens
            ):
                position, prompt = mine[index], used[mine[index]]
                forced = prompt.input_ids[len(prompt.input_ids) - prompt.num_forced :].tolist()
                text = tokenizer.decode([*forced, *tokens], skip_special_tokens=True)
                rows.append(
                    {"position": position, **asdict(_judge(model, task, examples[position], text, prompt, len(tokens)))}
                )
                progress(1)
    finally:
        model.train(was_training)
    gathered = sorted(gather_rows(rows, model.device) if shared else rows, key=lambda row: int(row["position"]))
    return [Prediction(**{key: value for key, value in row.items() if key != "position"}) for row in gathered]


def _judge(
    model: LatentForCausalLM, task: Task, example: Example, text: str, prompt: StagedExample, num_tokens: int
) -> Prediction:
    score = task.score(example, text)
    return Prediction(
        id=example.id,
        question=task.text.premise_separator.join([*example.premises, example.question]),
        expected=example.answer,
        text=text,
        predicted=score.predicted,
        verdict=score.verdict,
        num_thoughts=prompt.num_thoughts,
        num_tokens=num_tokens,
        num_passes=model.model.schedule.extra_passes(prompt.num_thoughts) + num_tokens,
    )


@torch.no_grad()
def answers(
    model: LatentForCausalLM, prompts: Sequence[StagedExample], batch_size: int, max_new_tokens: int
) -> Iterator[tuple[int, list[int]]]:
    """Greedy answers, each with the index of its prompt; order as computed: rows of like length together."""
    pad, end = model.config.pad_token_id or 0, model.config.eos_token_id
    # a model that fills all its positions without an end has no more to say
    positions = model.num_positions
    for chosen in _batches(prompts, batch_size, positions - max_new_tokens):
        company = _company(prompts, chosen[0]) if len(chosen) == 1 and batch_size > 1 else []
        batch = collate([prompts[index] for index in [*chosen, *company]], pad_id=pad, align=False)
        output = model.generate(
            input_ids=batch["input_ids"].to(model.device),
            attention_mask=batch["attention_mask"].to(model.device),
            max_new_tokens=min(max_new_tokens, positions - batch["input_ids"].size(1)),
            do_sample=False,
            eos_token_id=end,
            pad_token_id=pad,
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
        # batches of equal size, and three rows rather than one: a single row has none to exchange thoughts with
        most = max(len(alike) // 2, 1) if batch_size > 1 else len(alike)
        for chosen in np.array_split(alike, min(-(-len(alike) // batch_size), most)):
            yield chosen.tolist()


def _company(prompts: Sequence[StagedExample], index: int) -> list[int]:
    """Another prompt for a batch of one, to exchange thoughts with; it is no longer, so that it cuts nothing short."""
    others = [
        i for i in range(len(prompts)) if i != index and len(prompts[i].input_ids) <= len(prompts[index].input_ids)
    ]
    return [max(others, key=lambda i: (prompts[i].num_thoughts, -len(prompts[i].input_ids)))] if others else []
