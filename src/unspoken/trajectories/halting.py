"""How many thoughts a policy wants for each question: decided once, without chance, before the question is answered.

Whatever answers then gets prompts with that many slots, so evaluation, audit and inspection need not know of halting.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from unspoken.model import LatentForCausalLM
from unspoken.records import IGNORED, StagedExample
from unspoken.thoughts import Policy
from unspoken.trajectories.rollout import LIKELIEST, rollout


def halted(model: LatentForCausalLM, prompts: Sequence[StagedExample], batch_size: int) -> list[StagedExample]:
    """The prompts, each with as many slots as the policy wants; as they are where it does not halt.

    Args:
        model: In evaluation mode.
        prompts: With slots for the most thoughts.
        batch_size: Rows at once.
    """
    policy = model.model.thought_source
    if not isinstance(policy, Policy) or policy.halting is None:
        return list(prompts)
    generator = torch.Generator(model.device)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index].input_ids))
    found: dict[int, StagedExample] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        drawn = rollout(
            model,
            [prompts[row] for row in rows],
            siblings=1,
            chance=LIKELIEST,
            generator=generator,
            max_new_tokens=1,
        )
        for row, count in zip(rows, drawn.num_thoughts.tolist(), strict=True):
            found[row] = with_slots(prompts[row], count)
    return [found[row] for row in range(len(prompts))]


def with_slots(prompt: StagedExample, count: int) -> StagedExample:
    """The prompt with `count` slots, its first ones or more behind them; as it is where it has none."""
    first = prompt.first_thought
    if first is None or count == prompt.num_thoughts:
        return prompt
    behind = first + min(count, prompt.num_thoughts)
    dropped, added = slice(behind, first + prompt.num_thoughts), [behind] * (count - prompt.num_thoughts)
    return replace(
        prompt,
        input_ids=np.insert(np.delete(prompt.input_ids, dropped), added, prompt.input_ids[first]),
        labels=np.insert(np.delete(prompt.labels, dropped), added, IGNORED),
        num_thoughts=count,
        first_thought=first if count else None,
    )
