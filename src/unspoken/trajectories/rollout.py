"""Question -> thoughts -> answer, drawn: N trajectories of each question at once, on one cache from start to end.

The question runs once for all its trajectories. A trajectory that has stopped stays in the batch behind masked columns;
where the decoder counts columns (a sliding window) they are moved in front of its own before it goes on. So its state,
its positions, its room and its answer are those it would have alone. What is drawn here is scored by `replay`.

A source that leaves nothing to chance thinks once for all trajectories of a question; only their words are drawn.

Shapes: see `unspoken.trajectories.records`; P columns of the questions, V vocabulary.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Generator, Tensor
from transformers import Cache

from unspoken.data.collate import collate, inputs_of
from unspoken.errors import RecipeError
from unspoken.model import LatentForCausalLM
from unspoken.model.cache import growing_cache, rearrange_columns
from unspoken.records import IGNORED, StagedExample, Tokens
from unspoken.thoughts import Policy
from unspoken.thoughts.policy import Episode
from unspoken.trajectories.records import Scores, Trajectories


@dataclass(frozen=True, slots=True)
class Chance:
    """How much is left to chance.

    Attributes:
        temperature: Of thoughts and of stopping; 0 takes the likeliest.
        spread: How much warmer the last sibling is than the first, as a share: with 0.5 they go from 0.75 to 1.25
            times `temperature`.
        token_temperature: Of the tokens of the answer; 0 takes the likeliest.
    """

    temperature: float = 1.0
    spread: float = 0.0
    token_temperature: float = 0.0

    def temperatures(self, questions: int, siblings: int) -> Tensor:
        """That of each trajectory, (T,)."""
        factors = torch.linspace(1 - self.spread / 2, 1 + self.spread / 2, siblings) if siblings > 1 else torch.ones(1)
        return (self.temperature * factors).repeat(questions)


LIKELIEST = Chance(temperature=0.0)
"""Nothing is left to chance."""
_NOTHING: Tokens = np.array([], dtype=np.int32)


@torch.no_grad()
def rollout(
    model: LatentForCausalLM,
    prompts: Sequence[StagedExample],
    *,
    siblings: int,
    chance: Chance,
    generator: Generator,
    max_new_tokens: int,
) -> Trajectories:
    """Draw trajectories.

    Args:
        model: In evaluation mode.
        prompts: What it reads, each with slots for the most thoughts it may have.
        siblings: Trajectories of each question.
        chance: How much is left to it.
        generator: Chance itself, on the model's device.
        max_new_tokens: Longest answer.
    """
    source = model.model.thought_source
    policy = source if isinstance(source, Policy) else None
    temperatures_T = chance.temperatures(len(prompts), siblings).to(model.device)
    most_T = torch.tensor([prompt.num_thoughts for prompt in prompts], device=model.device).repeat_interleave(siblings)
    if policy is None:
        walk = _Walk(model, prompts, siblings)
        tails: Sequence[Tokens] = [_NOTHING] * len(prompts)
        temperatures_T = torch.zeros_like(temperatures_T)
        thinking = _without_chance(walk, most_T)
    else:
        heads, tails = zip(*(cut(prompt) for prompt in prompts), strict=True)
        walk = _Walk(model, heads, siblings)
        thinking = _think(walk, policy, temperatures_T, most_T, generator)
    writing = _write(walk, policy, tails, chance.token_temperature, generator, max_new_tokens)
    beside = [torch.cat(pair, dim=1) for pair in zip(thinking.scores, writing.scores, strict=True)]
    return Trajectories(
        prompts=prompts,
        siblings=siblings,
        temperatures=temperatures_T,
        token_temperature=chance.token_temperature,
        actions=thinking.actions,
        thoughts=thinking.thoughts,
        states=thinking.states,
        num_thoughts=thinking.num_thoughts,
        tokens=writing.tokens,
        num_tokens=writing.num_tokens,
        log_likelihoods=writing.log_likelihoods,
        scores=Scores(beside[0], beside[1], beside[2], beside[3], thinking.centres),
    )


def policy_of(model: LatentForCausalLM) -> Policy:
    """The thought source of a model that draws its thoughts.

    Raises:
        RecipeError: It is none that draws.
    """
    source = model.model.thought_source
    if not isinstance(source, Policy):
        name = model.config.thought_source.get("name")
        raise RecipeError("thoughts", [f"{name} leaves nothing to chance; train with a policy, e.g. gaussian"])
    return source


def cut(prompt: StagedExample) -> tuple[StagedExample, Tokens]:
    """A prompt up to its first slot, and what follows its last: the end marker, and a beginning of the answer.

    A prompt without slots is all head.
    """
    if prompt.first_thought is None:
        return prompt, _NOTHING
    stop = prompt.first_thought
    ids = prompt.input_ids[:stop]
    head = StagedExample(
        prompt.id, ids, np.full(stop, IGNORED, dtype=np.int32), num_thoughts=0, first_thought=None, images=prompt.images
    )
    return head, prompt.input_ids[stop + prompt.num_thoughts :]


class _Walk:
    """The decoder on its way: one column after the other for all trajectories."""

    def __init__(self, model: LatentForCausalLM, heads: Sequence[StagedExample], siblings: int) -> None:
        self.model, self.siblings = model, siblings
        batch = collate(heads, pad_id=model.config.pad_token_id or 0, align=False)
        inputs = inputs_of(batch, model.device)
        self.cache: Cache = growing_cache(2 * batch["input_ids"].size(1))
        self.read = model.model(**inputs, past_key_values=self.cache)
        self.cache.batch_repeat_interleave(siblings)
        self.mask_TL = inputs["attention_mask"].repeat_interleave(siblings, dim=0)
        self.state_TD: Tensor = self.read.last_hidden_state[:, -1].repeat_interleave(siblings, dim=0)
        self.window = _window(model)

    def step(self, embeds_TCD: Tensor, is_real_TC: Tensor) -> None:
        """Run new columns; rows in which the last of them is not real keep their state."""
        if self.mask_TL.size(1) + is_real_TC.size(1) > self.window:
            self._close_gaps(is_real_TC.any(dim=1))
        self.mask_TL = torch.cat([self.mask_TL, is_real_TC.to(self.mask_TL)], dim=1)
        # what is drawn is scored in fp32, whatever the model is held in
        embeds_TCD = embeds_TCD.to(self.model.dtype)
        states_TCD = self.model.model(
            inputs_embeds=embeds_TCD, attention_mask=self.mask_TL, past_key_values=self.cache
        ).last_hidden_state
        self.state_TD = torch.where(is_real_TC[:, -1:].bool(), states_TCD[:, -1], self.state_TD)

    def step_tokens(self, ids_TC: Tensor, is_real_TC: Tensor) -> None:
        """As `step`, for words."""
        self.step(self.model.get_input_embeddings()(ids_TC), is_real_TC)

    def logits(self) -> Tensor:
        """Of the next word, (T, V)."""
        return self.model.logits(self.state_TD)

    def _close_gaps(self, goes_on_T: Tensor) -> None:
        """Move masked columns in front of the real ones where one of the rows that go on has some between or behind."""
        has_gap_T = (self.mask_TL.diff(dim=1) < 0).any(dim=1)
        if (has_gap_T & goes_on_T).any():
            order_TL = self.mask_TL.argsort(dim=1, stable=True)
            self.mask_TL = self.mask_TL.gather(1, order_TL)
            rearrange_columns(self.cache, order_TL)


def _window(model: LatentForCausalLM) -> int:
    """How many columns back the decoder looks where it counts them, masked ones included; else a very large number."""
    config = model.model.language_model.config
    if config.model_type == "mpt":  # it weighs attention by the distance, which it counts in columns
        return 0
    names = ("sliding_window", "attention_chunk_size", "window_size")
    return min(getattr(config, name, None) or sys.maxsize for name in names)


@dataclass(frozen=True, slots=True, eq=False)
class _Thinking:
    actions: Tensor
    thoughts: Tensor
    states: Tensor
    centres: Tensor
    num_thoughts: Tensor
    scores: tuple[Tensor, Tensor, Tensor, Tensor]


def _think(walk: _Walk, policy: Policy, temperatures_T: Tensor, most_T: Tensor, generator: Generator) -> _Thinking:
    episode = Episode(walk.siblings)
    is_thinking_T = torch.ones_like(most_T, dtype=torch.bool)
    greedy_T = temperatures_T == 0
    # a temperature of 0 divides nothing here: what it would score is not by chance
    warmth_T = torch.where(greedy_T, torch.ones_like(temperatures_T), temperatures_T)
    actions: list[Tensor] = []
    thoughts: list[Tensor] = []
    centres: list[Tensor] = []
    scores: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for rank in range(int(most_T.max()) if len(most_T) else 0):
        state_TD, was_thinking_T = walk.state_TD, is_thinking_T
        is_thinking_T = is_thinking_T & (rank < most_T)
        log_prob_T, entropy_T = torch.zeros_like(temperatures_T), torch.zeros_like(temperatures_T)
        decides_T = is_thinking_T & ~greedy_T
        if policy.may_stop(rank):
            logit_T = policy.stop_logit(state_TD) / warmth_T
            drawn_T = torch.rand(logit_T.shape, generator=generator, device=logit_T.device) < logit_T.sigmoid()
            stops_T = is_thinking_T & torch.where(greedy_T, logit_T > 0, drawn_T)
            log_prob_T, entropy_T = stopping(logit_T, stops_T)
            is_thinking_T = is_thinking_T & ~stops_T
        if not is_thinking_T.any() and not was_thinking_T.any():
            break
        prepared_TD = policy.prepare(state_TD, episode)
        action_TA = policy.draw(prepared_TD, warmth_T, generator, actions[-1] if actions else None)
        decision = policy.decide(prepared_TD, action_TA, warmth_T)
        centre_TD = policy.likeliest(prepared_TD)
        thought_TD = torch.where(greedy_T[:, None], centre_TD, decision.thought)
        episode.remember(state_TD, is_thinking_T)
        acts_T = is_thinking_T & ~greedy_T
        scores.append(
            (
                decides_T,
                log_prob_T + torch.where(acts_T, decision.log_prob, 0.0),
                entropy_T + torch.where(acts_T, decision.entropy, 0.0),
                policy.value(state_TD) if policy.critic is not None else torch.zeros_like(log_prob_T),
            )
        )
        actions.append(action_TA * is_thinking_T[:, None])
        thoughts.append(thought_TD * is_thinking_T[:, None])
        centres.append(centre_TD * is_thinking_T[:, None])
        if is_thinking_T.any():
            walk.step(thought_TD[:, None], is_thinking_T[:, None])
    count_T = torch.stack(episode.is_thinking).sum(dim=0) if episode.is_thinking else torch.zeros_like(most_T)
    nothing = walk.state_TD.new_zeros(len(most_T), 0, walk.state_TD.size(-1))
    return _Thinking(
        actions=torch.stack(actions, dim=1) if actions else nothing,
        thoughts=torch.stack(thoughts, dim=1) if thoughts else nothing,
        states=torch.stack(episode.states, dim=1) if thoughts else nothing,
        centres=torch.stack(centres, dim=1) if centres else nothing,
        num_thoughts=count_T,
        scores=_columns(scores, len(most_T), walk.state_TD.device),
    )


def _without_chance(walk: _Walk, most_T: Tensor) -> _Thinking:
    """What the slots were filled with when the questions were read: the same for all trajectories of each."""
    rows, width = len(walk.read.last_hidden_state), walk.state_TD.size(-1)
    thoughts_BKD = walk.state_TD.new_zeros(rows, int(most_T.max()), width)
    if walk.read.thoughts is not None:
        own_BS = walk.read.thought_mask
        row, slot = own_BS.nonzero(as_tuple=True)
        thoughts_BKD[row, (own_BS.cumsum(dim=1) - 1)[row, slot]] = walk.read.thoughts[row, slot]
    thoughts_TKD = thoughts_BKD.repeat_interleave(walk.siblings, dim=0)
    nothing_TK = thoughts_TKD.new_zeros(thoughts_TKD.shape[:2])
    return _Thinking(
        actions=thoughts_TKD[..., :0],
        thoughts=thoughts_TKD,
        states=thoughts_TKD.new_zeros(*thoughts_TKD.shape[:2], 0),
        centres=thoughts_TKD,
        num_thoughts=most_T,
        scores=(nothing_TK.bool(), nothing_TK, nothing_TK, nothing_TK),
    )


def stopping(logit_T: Tensor, stops_T: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of stopping or going on, and the entropy of that decision, (T,) each."""
    go_T, stop_T = torch.nn.functional.logsigmoid(-logit_T), torch.nn.functional.logsigmoid(logit_T)
    return torch.where(stops_T, stop_T, go_T), -(stop_T.exp() * stop_T + go_T.exp() * go_T)


@dataclass(frozen=True, slots=True, eq=False)
class _Writing:
    tokens: Tensor
    num_tokens: Tensor
    log_likelihoods: Tensor
    scores: tuple[Tensor, Tensor, Tensor, Tensor]


def _write(
    walk: _Walk,
    policy: Policy | None,
    tails: Sequence[Tokens],
    temperature: float,
    generator: Generator,
    max_new_tokens: int,
) -> _Writing:
    model, rows = walk.model, len(walk.state_TD)
    critic = policy if policy is not None and policy.critic is not None else None
    for ids_TC, is_real_TC in _tails(tails, walk.siblings, model.device):
        walk.step_tokens(ids_TC, is_real_TC)
    end, pad = model.config.eos_token_id, model.config.pad_token_id or 0
    forbidden = model.generation_config.suppress_tokens
    room_T = (model.num_positions - walk.mask_TL.sum(dim=1)).clamp(max=max_new_tokens)
    is_writing_T = room_T > 0
    tokens: list[Tensor] = []
    written: list[Tensor] = []
    log_likelihood_T = torch.zeros(rows, device=model.device)
    scores: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    while is_writing_T.any():
        logits_TV = walk.logits()
        logits_TV[:, forbidden] = -torch.inf
        warm_TV = logits_TV / (temperature or 1.0)
        if temperature:
            token_T = torch.multinomial(warm_TV.softmax(dim=-1), 1, generator=generator)[:, 0]
        else:
            token_T = warm_TV.argmax(dim=-1)
        log_prob_T, entropy_T = token_scores(warm_TV, token_T)
        plain_T = logits_TV.log_softmax(dim=-1).gather(-1, token_T[:, None])[:, 0]
        log_likelihood_T = log_likelihood_T + torch.where(is_writing_T, plain_T, 0.0)
        value_T = critic.value(walk.state_TD) if critic is not None else torch.zeros_like(log_prob_T)
        scores.append((is_writing_T if temperature else torch.zeros_like(is_writing_T), log_prob_T, entropy_T, value_T))
        tokens.append(torch.where(is_writing_T, token_T, pad))
        written.append(is_writing_T)
        is_writing_T = is_writing_T & (token_T != end) & (len(tokens) < room_T)
        if is_writing_T.any():
            walk.step_tokens(tokens[-1][:, None], is_writing_T[:, None])
    nothing = torch.zeros(rows, 0, dtype=torch.long, device=model.device)
    return _Writing(
        tokens=torch.stack(tokens, dim=1) if tokens else nothing,
        num_tokens=torch.stack([*written, torch.zeros_like(is_writing_T)], dim=1).sum(dim=1),
        log_likelihoods=log_likelihood_T,
        scores=_columns(scores, rows, model.device),
    )


def token_scores(logits_TV: Tensor, token_T: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of tokens, and the entropy of what they are drawn from; any leading shape."""
    log_probs_TV = logits_TV.log_softmax(dim=-1)
    # a forbidden token has probability 0, and 0 * log 0 counts as 0
    entropy_T = -(log_probs_TV.exp() * log_probs_TV.clamp(min=torch.finfo(log_probs_TV.dtype).min)).sum(dim=-1)
    return log_probs_TV.gather(-1, token_T[..., None]).squeeze(-1), entropy_T


def _tails(tails: Sequence[Tokens], siblings: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """What follows the slots, padded on the left, (T, C), and what of it is real; a new block where a tail begins."""
    longest = max(map(len, tails))
    ids, real = np.zeros((len(tails), longest), dtype=np.int64), np.zeros((len(tails), longest), dtype=np.int64)
    for row, tail in enumerate(tails):
        if len(tail):
            ids[row, -len(tail) :], real[row, -len(tail) :] = tail, 1
    ids_TC, real_TC = (torch.from_numpy(each).to(device).repeat_interleave(siblings, dim=0) for each in (ids, real))
    starts = sorted({longest - len(tail) for tail in tails if len(tail)})
    for start, stop in pairwise([*starts, longest]):
        yield ids_TC[:, start:stop], real_TC[:, start:stop]


def _columns(
    scores: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]], rows: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores of one decision after the other, side by side: is_decision, log_probs, entropies, values."""
    if not scores:
        empty = torch.zeros(rows, 0, device=device)
        return empty.bool(), empty, empty, empty
    is_decision, log_probs, entropies, values = (torch.stack(each, dim=1) for each in zip(*scores, strict=True))
    return is_decision, log_probs, entropies, values
