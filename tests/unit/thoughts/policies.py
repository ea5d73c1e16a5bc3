"""What the tests of policies share."""

import torch

from unspoken.thoughts import Vocabulary, build_source
from unspoken.thoughts.policy import Episode

WIDTH = 8


class Words:
    """A model that is nothing but an embedding table and a head."""

    def __init__(self, *, words=5, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.nn.Embedding(words, WIDTH)
        self.head = torch.nn.Linear(WIDTH, words, bias=False)
        with torch.no_grad():
            self.table.weight.copy_(torch.randn(self.table.weight.shape, generator=generator))
            self.head.weight.copy_(0.3 * torch.randn(self.head.weight.shape, generator=generator))

    def get_input_embeddings(self):
        return self.table

    def logits(self, states):
        return self.head(states).float()


def policy(name, *, words=None, seed=0, **settings):
    """A policy with the first parameters of a seed, and with words if it wants them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        source = build_source({"name": name, **settings}, WIDTH)
    if words is not None:
        source.attach(Vocabulary(words))
    return source


def states(rows=4, *, seed=0):
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed))


def draws(source, state, *, temperature=1.0, last=None, seed=0):
    """Actions, one a row, and the temperatures they are drawn at."""
    warmth = torch.full((len(state),), float(temperature))
    return source.draw(state, warmth, torch.Generator().manual_seed(seed), last).detach(), warmth


def without_gradient(source, *, rows=4, steps=2):
    """Names of parameters that a few decisions in a row leave without a gradient."""
    episode, total = Episode(siblings=2), 0.0
    generator = torch.Generator().manual_seed(7)
    for step in range(steps):
        state = states(rows, seed=step)
        prepared = source.prepare(state, episode)
        warmth = torch.ones(rows)
        decision = source.decide(prepared, source.draw(prepared, warmth, generator, None).detach(), warmth)
        total = total + (decision.thought * torch.randn(rows, WIDTH, generator=generator)).sum()
        total = total + (decision.log_prob * torch.randn(rows, generator=generator)).sum() + decision.entropy.sum()
        if source.halting is not None:
            total = total + (source.stop_logit(state) * torch.randn(rows, generator=generator)).sum()
        if source.critic is not None:
            total = total + (source.value(state) - 1).square().sum()
        episode.remember(state, torch.ones(rows, dtype=torch.bool))
    source.zero_grad()
    if total.requires_grad:
        total.backward()
    return [name for name, each in source.named_parameters() if each.grad is None or not each.grad.abs().sum() > 0]
