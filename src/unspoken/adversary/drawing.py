"""Captions that the model draws, and how likely it finds them.

Shapes: see `unspoken.trajectories.records`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Generator, Tensor, nn

from unspoken.data.collate import collate, inputs_of
from unspoken.model import LatentForCausalLM
from unspoken.records import IGNORED, StagedExample
from unspoken.trajectories import Chance, Trajectories, rollout
from unspoken.trajectories.rollout import token_scores


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode for a while; afterwards every part of it is as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def draw(
    model: LatentForCausalLM,
    prompts: Sequence[StagedExample],
    *,
    samples: int,
    temperature: float,
    generator: Generator,
    max_new_tokens: int,
) -> Trajectories:
    """Draw what follows prompts, without dropout."""
    chance = Chance(temperature=0.0, token_temperature=temperature)
    with without_dropout(model):
        return rollout(
            model, prompts, siblings=samples, chance=chance, generator=generator, max_new_tokens=max_new_tokens
        )


def written(drawn: Trajectories) -> list[list[int]]:
    """The tokens of each trajectory."""
    return [drawn.answer(index) for index in range(len(drawn))]


def log_probs(model: LatentForCausalLM, drawn: Trajectories) -> tuple[Tensor, Tensor]:
    """Log-probability of each token that was drawn, (T, M), and where there is one; one run with gradients.

    What was drawn without dropout is scored without it: for the parameters that drew them these are the numbers they
    were drawn with.
    """
    rows, starts = [], []
    for index, tokens in enumerate(written(drawn)):
        prompt = drawn.prompts[index // drawn.siblings]
        ids = np.concatenate([prompt.input_ids, np.array(tokens[:-1], dtype=np.int32)])
        ignored = np.full(len(ids), IGNORED, dtype=np.int32)
        rows.append(
            StagedExample(prompt.id, ids, ignored, prompt.num_thoughts, prompt.first_thought, images=prompt.images)
        )
        starts.append(len(prompt.input_ids) - 1)
    batch = collate(rows, pad_id=model.config.pad_token_id or 0)
    with without_dropout(model):
        states_TLD = model.model(**inputs_of(batch, model.device)).last_hidden_state
    lefts_T = batch["attention_mask"].argmax(dim=1).to(model.device)
    ends_T = lefts_T + torch.tensor(starts, device=model.device)
    columns_TM = ends_T[:, None] + torch.arange(drawn.tokens.size(1), device=model.device)
    columns_TM = columns_TM.clamp(max=states_TLD.size(1) - 1)
    states_TMD = states_TLD.gather(1, columns_TM[..., None].expand(-1, -1, states_TLD.size(-1)))
    logits_TMV = without_slots(model, model.logits(states_TMD)) / drawn.token_temperature
    is_written_TM = torch.arange(drawn.tokens.size(1), device=model.device) < drawn.num_tokens[:, None]
    tokens_TM = torch.where(is_written_TM, drawn.tokens, drawn.tokens[:, :1])
    return token_scores(logits_TMV, tokens_TM)[0], is_written_TM


def without_slots(model: LatentForCausalLM, logits: Tensor) -> Tensor:
    """Logits of words alone: tokens that stand for thoughts and images are never written."""
    is_slot_V = torch.zeros(logits.size(-1), dtype=torch.bool, device=logits.device)
    is_slot_V[model.generation_config.suppress_tokens] = True
    return logits.masked_fill(is_slot_V, -torch.inf)
