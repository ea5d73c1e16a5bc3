"""Trajectories as what they bring to an answer, and what to ask before any is drawn."""

from collections.abc import Sequence
from math import isfinite

from transformers import PreTrainedTokenizerBase

from unspoken.model import LatentForCausalLM
from unspoken.tasks.base import Task
from unspoken.thoughts import Policy
from unspoken.trajectories.fusion import Candidate
from unspoken.trajectories.records import Trajectories
from unspoken.trajectories.rollout import Chance

MOST = 64
"""Trajectories of a question."""


def candidates(
    model: LatentForCausalLM, tokenizer: PreTrainedTokenizerBase, task: Task, drawn: Trajectories
) -> list[list[Candidate]]:
    """For each question what its trajectories bring, in their order.

    Args:
        model: What drew them.
        tokenizer: Its own.
        task: Reads the answers.
        drawn: The trajectories.
    """
    values = _values(model, drawn)
    stopped = (drawn.num_thoughts < drawn.most_thoughts).tolist()
    found: list[list[Candidate]] = [[] for _ in drawn.prompts]
    for index in range(len(drawn)):
        prompt, tokens = drawn.prompts[index // drawn.siblings], drawn.answer(index)
        forced = prompt.input_ids[len(prompt.input_ids) - prompt.num_forced :].tolist()
        text = tokenizer.decode([*forced, *tokens], skip_special_tokens=True)
        found[index // drawn.siblings].append(
            Candidate(
                text=text,
                answer=task.read_answer(text),
                log_likelihood=float(drawn.log_likelihoods[index]),
                num_tokens=len(tokens),
                value=values[index],
                num_thoughts=int(drawn.num_thoughts[index]),
                stopped=stopped[index],
            )
        )
    return found


def _values(model: LatentForCausalLM, drawn: Trajectories) -> Sequence[float | None]:
    """What the critic expected of each trajectory at the last decision that it took by chance."""
    source, scores = model.model.thought_source, drawn.scores
    if not isinstance(source, Policy) or source.critic is None:
        return [None] * len(drawn)
    found: list[float | None] = []
    for values, decided in zip(scores.values.tolist(), scores.is_decision.tolist(), strict=True):
        by_chance = [value for value, is_decision in zip(values, decided, strict=True) if is_decision]
        found.append(by_chance[-1] if by_chance else None)
    return found


def mistakes(model: LatentForCausalLM, siblings: int, chance: Chance, *, thinks: bool) -> list[str]:
    """What is wrong with drawing so many trajectories so.

    Args:
        model: What is to draw them.
        siblings: Trajectories of each question.
        chance: How much is left to it.
        thinks: Whether there will be slots to think in.
    """
    found = []
    if not 1 <= siblings <= MOST:
        found.append(f"trajectories: {siblings} are not possible; give a number from 1 to {MOST}")
    for name in ("temperature", "token_temperature"):
        degree = getattr(chance, name)
        if not (isfinite(degree) and degree >= 0):
            found.append(f"{name}: {degree} is no temperature; give 0 for the likeliest, or a number above")
    if not 0 <= chance.spread < 2:
        found.append(f"spread: {chance.spread} is out of range; give 0 or more, and less than 2")
    return found or _all_alike(model, siblings, chance, thinks)


def _all_alike(model: LatentForCausalLM, siblings: int, chance: Chance, thinks: bool) -> list[str]:
    """Why all trajectories would be one, if they would."""
    source = model.model.thought_source
    draws = isinstance(source, Policy) and thinks
    if siblings == 1 or chance.token_temperature > 0:
        return []
    if not draws:
        name = model.config.thought_source.get("name")
        why = f"the thoughts of {name} leave nothing to chance" if thinks else "there are no thoughts to draw"
        return [
            f"token_temperature: {why}, so all {siblings} trajectories would be the same; set it above 0 to draw the "
            "words, or train a policy (thoughts.name: gaussian)"
        ]
    if chance.temperature == 0 and source.identity is None:
        return [
            f"temperature: with 0, and token_temperature 0, all {siblings} trajectories would be the same; raise one"
        ]
    return []
