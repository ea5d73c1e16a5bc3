"""How likely each choice is as the answer, right behind what a prompt ends in: its thoughts, where it has some.

    log p(choice | prompt) = sum over its tokens of log p(token | prompt, the tokens before it)

The tokens are those that training would write: answer start, answer, end of sequence. The sum is not divided by their
number. Question and thoughts are computed once, for what is generated and for all choices: each goes on from there.
`tests/laws/test_likelihood.py` holds this equal to one whole run for each choice.

Shapes: B rows, P columns of the prompts, C columns of a choice, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Cache

from unspoken.model import LatentForCausalLM
from unspoken.model.cache import scratch_copy
from unspoken.model.modeling import LatentCausalLMOutput
from unspoken.records import Tokens


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a model has made of a batch of prompts, thoughts included.

    Attributes:
        mask: (B, P) 1 where a column is real.
        logits: (B, V) of what it would write next.
        cache: Keys and values of the columns.
    """

    mask: Tensor
    logits: Tensor
    cache: Cache


@contextmanager
def first_logits(model: LatentForCausalLM) -> Iterator[list[Tensor]]:
    """A list that comes to hold the logits (B, V) of the last column of the first forward pass in the context."""
    found: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...], output: LatentCausalLMOutput) -> None:
        if not found and output.logits is not None:
            found.append(output.logits[:, -1])

    handle = model.register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


@torch.no_grad()
def log_likelihoods(
    model: LatentForCausalLM, reading: Reading, choices: Sequence[Sequence[Tokens]]
) -> list[list[float]]:
    """The log-likelihood in nats of every choice of the first rows of a batch; `reading` stays as it is.

    Args:
        model: In evaluation mode.
        reading: The prompts.
        choices: Those of each row; of equal number or not.
    """
    # a row with fewer choices, or none, takes part with one token that nobody reads
    nothing = np.zeros(1, dtype=np.int32)
    found: list[list[float]] = [[] for _ in choices]
    for place in range(max(map(len, choices))):
        tokens = [nothing] * len(reading.mask)
        taking_part = [row for row, offered in enumerate(choices) if place < len(offered)]
        for row in taking_part:
            tokens[row] = choices[row][place]
        sums = _continuations(model, reading, tokens)
        for row in taking_part:
            found[row].append(sums[row])
    return found


def _continuations(model: LatentForCausalLM, reading: Reading, tokens: Sequence[Tokens]) -> list[float]:
    """The log-likelihood of one continuation a row; its last token predicts nothing and is not run."""
    shape = (len(tokens), max(map(len, tokens)))
    ids, real = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, each in enumerate(tokens):
        ids[row, : len(each)], real[row, : len(each)] = each, 1
    ids_BC, real_BC = (torch.from_numpy(array).to(reading.mask.device) for array in (ids, real))
    logits_BCV = reading.logits.unsqueeze(1)
    if shape[1] > 1:
        mask = torch.cat([reading.mask, real_BC[:, :-1]], dim=1)
        further = model(input_ids=ids_BC[:, :-1], attention_mask=mask, past_key_values=scratch_copy(reading.cache))
        logits_BCV = torch.cat([logits_BCV, further.logits], dim=1)
    of_all_BC1 = logits_BCV.float().log_softmax(dim=-1).gather(-1, ids_BC.unsqueeze(-1))
    sums: list[float] = (of_all_BC1.squeeze(-1).double() * real_BC).sum(dim=1).tolist()
    return sums
