"""What was drawn, scored under the parameters of now: one run of the model over all of it, with gradients.

`rollout` draws column by column; here question, thoughts and answer are one sequence, whose slots are filled with the
recorded actions. For the parameters that drew them both give the same log-probabilities (`tests/laws/test_replay.py`).

Shapes: see `unspoken.trajectories.records`; L columns of the sequences, h the column of the last one before the slots.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unspoken.data.collate import collate, inputs_of
from unspoken.model import LatentForCausalLM
from unspoken.records import IGNORED, StagedExample
from unspoken.thoughts import History, Policy, ThoughtSource
from unspoken.thoughts.policy import Decision, Episode
from unspoken.trajectories.records import Scores, Trajectories
from unspoken.trajectories.rollout import cut, policy_of, stopping, token_scores


def replay(model: LatentForCausalLM, drawn: Trajectories) -> Scores:
    """The scores of trajectories under the model's parameters.

    Args:
        model: In evaluation mode: what was drawn without dropout is scored without it.
        drawn: All trajectories of its questions.
    """
    run = _run(model, drawn)
    policy = run.policy
    warmth_T = torch.where(drawn.temperatures == 0, torch.ones_like(drawn.temperatures), drawn.temperatures)
    num_columns = drawn.scores.log_probs.size(1) - drawn.tokens.size(1)
    nothing_TD = run.states.new_zeros(len(drawn), run.states.size(-1))
    log_probs, entropies, states, centres = [], [], [], []
    for rank in range(num_columns):
        state_TD = run.states[:, min(run.head + rank, run.states.size(1) - 1)]
        log_prob_T = entropy_T = torch.zeros_like(warmth_T)
        acts_T = rank < drawn.num_thoughts
        if rank < len(run.decisions):
            log_prob_T = torch.where(acts_T, run.decisions[rank].log_prob, 0.0)
            entropy_T = torch.where(acts_T, run.decisions[rank].entropy, 0.0)
        if policy.may_stop(rank):
            stop_T, halting_entropy_T = stopping(policy.stop_logit(state_TD) / warmth_T, drawn.num_thoughts == rank)
            log_prob_T, entropy_T = log_prob_T + stop_T, entropy_T + halting_entropy_T
        log_probs.append(log_prob_T)
        entropies.append(entropy_T)
        states.append(state_TD)
        centres.append(run.centres[rank] * acts_T[:, None] if rank < len(run.centres) else nothing_TD)
    token_states_TMD = run.token_states(drawn.tokens.size(1))
    token_log_probs_TM, token_entropies_TM = _written(model, token_states_TMD, drawn)
    states_TCD = _beside(states, token_states_TMD)
    return Scores(
        is_decision=drawn.scores.is_decision,
        log_probs=_beside(log_probs, token_log_probs_TM),
        entropies=_beside(entropies, token_entropies_TM),
        # the critic learns from the states and does not bend them
        values=policy.value(states_TCD.detach()) if policy.critic is not None else torch.zeros_like(states_TCD[..., 0]),
        centres=torch.stack(centres, dim=1) if centres else nothing_TD[:, None][:, :0],
    )


def _beside(thoughts: Sequence[Tensor], tokens: Tensor) -> Tensor:
    """What belongs to decisions on thoughts, a column each, in front of what belongs to those on tokens."""
    return torch.cat([torch.stack(list(thoughts), dim=1), tokens], dim=1) if thoughts else tokens


def log_likelihood(model: LatentForCausalLM, drawn: Trajectories) -> Tensor:
    """Log-probability in nats of what each trajectory wrote after what it thought, (T,), without a temperature."""
    states_TMD = _run(model, drawn).token_states(drawn.tokens.size(1))
    log_probs_TM, _ = _written(model, states_TMD, replace(drawn, token_temperature=1.0))
    is_written_TM = torch.arange(drawn.tokens.size(1), device=drawn.tokens.device) < drawn.num_tokens[:, None]
    return (log_probs_TM * is_written_TM).sum(dim=1)


def _written(model: LatentForCausalLM, states_TMD: Tensor, drawn: Trajectories) -> tuple[Tensor, Tensor]:
    """Log-probability of each token that was written, and the entropy of what it was drawn from, (T, M) each."""
    logits_TMV = model.logits(states_TMD)
    logits_TMV[..., model.generation_config.suppress_tokens] = -torch.inf
    is_written_TM = torch.arange(drawn.tokens.size(1), device=drawn.tokens.device) < drawn.num_tokens[:, None]
    # what stands behind the end has no probability to speak of: any token that may be written takes its place
    tokens_TM = torch.where(is_written_TM, drawn.tokens, drawn.tokens[:, :1])
    return token_scores(logits_TMV / (drawn.token_temperature or 1.0), tokens_TM)


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One run of the model over trajectories.

    Attributes:
        states: Of all columns, (T, L, D).
        head: h; slot k stands in column h + 1 + k.
        ends: The column before the first token that was written, (T,).
        policy: What decided.
        decisions: For each thought.
        centres: The likeliest thought for each.
    """

    states: Tensor
    head: int
    ends: Tensor
    policy: Policy
    decisions: list[Decision]
    centres: list[Tensor]

    def token_states(self, num_tokens: int) -> Tensor:
        """The states that predict the tokens, (T, M, D)."""
        columns_TM = self.ends[:, None] + torch.arange(num_tokens, device=self.ends.device)
        columns_TM = columns_TM.clamp(max=self.states.size(1) - 1)
        return self.states.gather(1, columns_TM[..., None].expand(-1, -1, self.states.size(-1)))


def _run(model: LatentForCausalLM, drawn: Trajectories) -> _Run:
    policy = policy_of(model)
    rows, tails = [], []
    latent = model.config.latent_token_id
    for index, count in enumerate(drawn.num_thoughts.tolist()):
        head, tail = cut(drawn.prompts[index // drawn.siblings])
        slots = np.full(count, latent, dtype=np.int32)
        ids = np.concatenate([head.input_ids, slots, tail, np.array(drawn.answer(index)[:-1], dtype=np.int32)])
        # rows without thoughts, too, say where theirs would begin: all heads end in one column
        rows.append(
            StagedExample(
                head.id, ids, np.full(len(ids), IGNORED, dtype=np.int32), count, len(head.input_ids), images=head.images
            )
        )
        tails.append(len(tail))
    source = _Recorded(policy, drawn)
    batch = collate(rows, pad_id=model.config.pad_token_id or 0)
    with model.model.thinking_with(source):
        states_TLD = model.model(**inputs_of(batch, model.device)).last_hidden_state
    head_column = max(row.first_thought or 0 for row in rows) - 1
    ends_T = head_column + drawn.num_thoughts + torch.tensor(tails, device=model.device)
    return _Run(states_TLD, head_column, ends_T, policy, source.decisions, source.centres)


class _Recorded(ThoughtSource):
    """Fills slots with the thoughts of recorded actions."""

    def __init__(self, policy: Policy, drawn: Trajectories) -> None:
        super().__init__()
        self.drawn, self.episode = drawn, Episode(drawn.siblings)
        self.decisions: list[Decision] = []
        self.centres: list[Tensor] = []
        self.policy = [policy]  # in a list, so that its parameters do not count as those of a second module

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`."""
        (policy,), (column,), drawn = self.policy, history.columns, self.drawn
        state_TD = history.states(column - 1, column)[:, 0]
        prepared_TD = policy.prepare(state_TD, self.episode)
        greedy_T = drawn.temperatures == 0
        warmth_T = torch.where(greedy_T, torch.ones_like(drawn.temperatures), drawn.temperatures)
        decision = policy.decide(prepared_TD, drawn.actions[:, len(self.decisions)], warmth_T)
        centre_TD = policy.likeliest(prepared_TD)
        thought_TD = torch.where(greedy_T[:, None], centre_TD, decision.thought)
        self.decisions.append(decision)
        self.centres.append(centre_TD)
        self.episode.remember(state_TD, history.is_thought[:, column])
        return thought_TD[:, None]
