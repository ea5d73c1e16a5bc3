"""Thoughts that are mixtures of words: points of the simplex over the vocabulary, drawn around what the head says.

Without chance such a thought is the mean of the embeddings of all words, each weighted by its probability; the classes
differ in how the weights are drawn. Weights are kept and scored as logarithms, which lose nothing however small a
weight is: a density is that of the logarithms of ratios of weights. It differs from the density of the weights by a
factor without parameters (their product), so ratios and gradients are the same.

The entropy of a decision is that of the words' probabilities. That of the weights would be no measure of variety: it
depends on the coordinates, in logarithms that of Gumbel-softmax is a constant, and that of Dirichlet is largest where
one word has all the probability.

Shapes: T trajectories, D width, V vocabulary, W words that take part: V, or the `top` ones.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Generator, Tensor

from unspoken.errors import RecipeError
from unspoken.thoughts.policy import Decision, Policy
from unspoken.thoughts.vocabulary import Vocabulary

LEAST = -60.0
"""Logarithm of the smallest share that a word has in the parameters of a Dirichlet distribution."""


class Mixture(Policy):
    """A thought made of words.

    Args:
        width: D.
        top: Only the likeliest so many words take part. Which those are is recorded with the action and stays when it
            is scored again: the log-probability is that within them. Default: all words, where an action has as many
            numbers as the vocabulary.
        **heads: See `Policy`.

    Raises:
        ValueError: `top` is below 2.
    """

    def __init__(self, width: int, top: int | None = None, **heads: Any) -> None:
        super().__init__(width, **heads)
        if top is not None and top < 2:
            raise ValueError(f"top is {top}; give 2 words or more, or leave it out")
        self.top = top
        self.vocabulary: Vocabulary | None = None

    def attach(self, vocabulary: Vocabulary) -> None:
        """See `ThoughtSource.attach`."""
        self.vocabulary = vocabulary

    @abstractmethod
    def usual(self, logits_TW: Tensor) -> Tensor:
        """The weights without chance, (T, W)."""

    @abstractmethod
    def sample(self, logits_TW: Tensor, temperature_T: Tensor, chance: Generator) -> Tensor:
        """What is drawn, (T, ...)."""

    @abstractmethod
    def score(self, logits_TW: Tensor, drawn: Tensor, temperature_T: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of what was drawn, and the entropy (see above), (T,) each."""

    def thought(self, drawn: Tensor, ids_TW: Tensor | None) -> Tensor:
        """What was drawn as an embedding, (T, D).

        Args:
            drawn: Logarithms of weights, (T, W).
            ids_TW: Whose; None: of all words.
        """
        return self._mean(drawn.exp(), ids_TW)

    def likeliest(self, state_TD: Tensor) -> Tensor:
        """See `Policy.likeliest`: the mean thought, which many drawn words would come to."""
        logits_TV = self._words().logits(state_TD)
        ids_TW = self._top(logits_TV)
        return self._mean(self.usual(_of(logits_TV, ids_TW)), ids_TW)

    def draw(self, state_TD: Tensor, temperature_T: Tensor, chance: Generator, last: Tensor | None) -> Tensor:
        """See `Policy.draw`."""
        logits_TV = self._words().logits(state_TD)
        ids_TW = self._top(logits_TV)
        drawn = self.sample(_of(logits_TV, ids_TW), temperature_T, chance)
        return drawn if ids_TW is None else torch.cat([ids_TW.to(drawn.dtype), drawn], dim=1)

    def decide(self, state_TD: Tensor, action_TA: Tensor, temperature_T: Tensor) -> Decision:
        """See `Policy.decide`."""
        logits_TV = self._words().logits(state_TD)
        ids_TW, drawn = None, action_TA
        if self.top is not None:
            ids_TW, drawn = action_TA[:, : self.top].long(), action_TA[:, self.top :]
        log_prob_T, entropy_T = self.score(_of(logits_TV, ids_TW), drawn, temperature_T)
        return Decision(self.thought(drawn, ids_TW), log_prob_T, entropy_T)

    def _words(self) -> Vocabulary:
        if self.vocabulary is None:
            why = "mixes words, and this model has no head to weigh them; open it as LatentForCausalLM"
            raise RecipeError("thoughts", [f"{type(self).__name__.lower()} {why}"])
        return self.vocabulary

    def _top(self, logits_TV: Tensor) -> Tensor | None:
        if self.top is None:
            return None
        if self.top > logits_TV.size(-1):
            raise RecipeError(
                "thoughts", [f"top: {self.top} of {logits_TV.size(-1)} words; give fewer, or leave it out"]
            )
        return logits_TV.topk(self.top, dim=-1).indices

    def _mean(self, weights_TW: Tensor, ids_TW: Tensor | None) -> Tensor:
        words = self._words()
        if ids_TW is None:
            embeddings_VD = words.embeddings(torch.arange(weights_TW.size(-1), device=weights_TW.device))
            return weights_TW.to(embeddings_VD.dtype) @ embeddings_VD
        embeddings_TWD = words.embeddings(ids_TW)
        return torch.einsum("tw,twd->td", weights_TW.to(embeddings_TWD.dtype), embeddings_TWD)


class Gumbel(Mixture):
    """Words weighted by a softmax of their logits with Gumbel noise (Gumbel-softmax, arXiv:1611.00712).

    The temperature is the size of the noise. At 1 the word of the largest weight is a draw from the head; at 0 the
    weights are the head's probabilities, raised to 1 / `relaxation`.

    Args:
        width: D.
        relaxation: What the softmax divides by: near 0 one word has nearly all the weight.
        top: Only the likeliest so many words take part, which large vocabularies need; default: all.
        **heads: See `Policy`.

    Raises:
        ValueError: A setting is out of range.
    """

    def __init__(self, width: int, relaxation: float = 1.0, top: int | None = None, **heads: Any) -> None:
        super().__init__(width, top, **heads)
        if not relaxation > 0:
            raise ValueError(f"relaxation is {relaxation}; give a number above 0")
        self.relaxation = relaxation

    def usual(self, logits_TW: Tensor) -> Tensor:
        """See `Mixture.usual`."""
        return (logits_TW / self.relaxation).softmax(dim=-1)

    def sample(self, logits_TW: Tensor, temperature_T: Tensor, chance: Generator) -> Tensor:
        """See `Mixture.sample`: logarithms of weights."""
        noise_TW = -_exponential(logits_TW, chance).log()
        return ((logits_TW + temperature_T[:, None] * noise_TW) / self.relaxation).log_softmax(dim=-1)

    def score(self, logits_TW: Tensor, drawn: Tensor, temperature_T: Tensor) -> tuple[Tensor, Tensor]:
        """See `Mixture.score`: the density of Maddison et al. (appendix C.3) at logits and relaxation over t."""
        warm_TW = logits_TW / temperature_T[:, None]
        relaxation_T = self.relaxation / temperature_T
        share_TW = (warm_TW - relaxation_T[:, None] * drawn).log_softmax(dim=-1)
        others = logits_TW.new_tensor(float(logits_TW.size(-1) - 1))
        log_prob_T = torch.lgamma(others + 1) + others * relaxation_T.log() + share_TW.sum(dim=-1)
        return log_prob_T, _entropy(warm_TW)


class Dirichlet(Mixture):
    """Words weighted by a draw from a Dirichlet distribution around the head's probabilities (CoT2, arXiv:2505.23648).

    The weights are the head's probabilities on average at any temperature, and scatter less the lower it is.

    Args:
        width: D.
        concentration: Sum of the distribution's parameters at temperature 1: weights scatter about as much as the
            shares of so many drawn words do.
        top: Only the likeliest so many words take part, which large vocabularies need; default: all.
        **heads: See `Policy`.

    Raises:
        ValueError: A setting is out of range.
    """

    def __init__(self, width: int, concentration: float = 1.0, top: int | None = None, **heads: Any) -> None:
        super().__init__(width, top, **heads)
        if not concentration > 0:
            raise ValueError(f"concentration is {concentration}; give a number above 0")
        self.concentration = concentration

    def usual(self, logits_TW: Tensor) -> Tensor:
        """See `Mixture.usual`."""
        return logits_TW.softmax(dim=-1)

    def sample(self, logits_TW: Tensor, temperature_T: Tensor, chance: Generator) -> Tensor:
        """See `Mixture.sample`: logarithms of weights."""
        alpha_TW = self._alpha(logits_TW, temperature_T)
        # a Gamma(a) draw is a Gamma(a + 1) draw times a power of a uniform one: its logarithm never is that of 0
        log_gamma_TW = torch._standard_gamma(alpha_TW + 1, generator=chance).log()
        return (log_gamma_TW - _exponential(alpha_TW, chance) / alpha_TW).log_softmax(dim=-1)

    def score(self, logits_TW: Tensor, drawn: Tensor, temperature_T: Tensor) -> tuple[Tensor, Tensor]:
        """See `Mixture.score`."""
        alpha_TW = self._alpha(logits_TW, temperature_T)
        normaliser_T = torch.lgamma(alpha_TW.sum(dim=-1)) - torch.lgamma(alpha_TW).sum(dim=-1)
        return normaliser_T + (alpha_TW * drawn).sum(dim=-1), _entropy(logits_TW)

    def _alpha(self, logits_TW: Tensor, temperature_T: Tensor) -> Tensor:
        total_T1 = self.concentration / temperature_T[:, None]
        return total_T1 * logits_TW.log_softmax(dim=-1).clamp(min=LEAST).exp()


class Tokens(Mixture):
    """The mean of a few words drawn from the head (multi-token sampling of CoT2, arXiv:2505.23648).

    The log-probability is the sum of those of the words, the entropy theirs together. One word is a chain of thought
    in words that are never written.

    Args:
        width: D.
        count: How many words are drawn; one may be drawn again.
        top: Only the likeliest so many words take part, which large vocabularies need; default: all.
        **heads: See `Policy`.

    Raises:
        ValueError: A setting is out of range.
    """

    def __init__(self, width: int, count: int = 3, top: int | None = None, **heads: Any) -> None:
        super().__init__(width, top, **heads)
        if count < 1:
            raise ValueError(f"count is {count}; give 1 word or more")
        self.count = count

    def usual(self, logits_TW: Tensor) -> Tensor:
        """See `Mixture.usual`."""
        return logits_TW.softmax(dim=-1)

    def sample(self, logits_TW: Tensor, temperature_T: Tensor, chance: Generator) -> Tensor:
        """See `Mixture.sample`: which of the words, (T, count)."""
        probabilities_TW = (logits_TW / temperature_T[:, None]).softmax(dim=-1)
        places = torch.multinomial(probabilities_TW, self.count, replacement=True, generator=chance)
        return places.to(logits_TW.dtype)

    def score(self, logits_TW: Tensor, drawn: Tensor, temperature_T: Tensor) -> tuple[Tensor, Tensor]:
        """See `Mixture.score`."""
        warm_TW = logits_TW / temperature_T[:, None]
        log_prob_T = warm_TW.log_softmax(dim=-1).gather(-1, drawn.long()).sum(dim=-1)
        return log_prob_T, self.count * _entropy(warm_TW)

    def thought(self, drawn: Tensor, ids_TW: Tensor | None) -> Tensor:
        """See `Mixture.thought`."""
        places = drawn.long()
        return self._words().embeddings(places if ids_TW is None else ids_TW.gather(-1, places)).mean(dim=1)


def _of(logits_TV: Tensor, ids_TW: Tensor | None) -> Tensor:
    return logits_TV if ids_TW is None else logits_TV.gather(-1, ids_TW)


def _exponential(like: Tensor, chance: Generator) -> Tensor:
    """Independent draws of the exponential distribution, none of them 0."""
    return torch.empty_like(like).exponential_(generator=chance).clamp(min=torch.finfo(like.dtype).tiny)


def _entropy(logits_TW: Tensor) -> Tensor:
    log_probs_TW = logits_TW.log_softmax(dim=-1)
    return -(log_probs_TW.exp() * log_probs_TW).sum(dim=-1)
