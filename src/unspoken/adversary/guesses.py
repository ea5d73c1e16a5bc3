"""What a model makes of captions with a gradient, so that a discriminator can say how to make it better.

Both are read from the states of the supervised step itself: no further run of the model.

Shapes: B rows, L columns, D width, E width of the joint space, M words of the longest caption, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from unspoken.adversary.discriminators import Words
from unspoken.adversary.drawing import without_slots
from unspoken.adversary.lengths import side_by_side, without_end
from unspoken.adversary.reach import Parts, before_words
from unspoken.model import LatentForCausalLM
from unspoken.model.embedding_heads import KINDS, states_before_words
from unspoken.records import IGNORED, TokenizedExample

Seen = Tensor | Words
"""Captions as a discriminator sees them."""


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """What a model makes of the captions of some rows, beside the true ones.

    Attributes:
        made: With a gradient.
        real: The true captions, as long as what is made.
    """

    made: Seen
    real: Seen

    def detached(self) -> "Guess":
        """The same without its gradient."""
        if isinstance(self.made, Words):
            return Guess(Words(self.made.tokens.detach(), self.made.is_word), self.real)
        return Guess(self.made.detach(), self.real)


class Guesser(ABC):
    """Base of what makes captions with a gradient."""

    @abstractmethod
    def __call__(
        self,
        model: LatentForCausalLM,
        states_BLD: Tensor,
        labels_BL: Tensor,
        rows: Sequence[TokenizedExample],
        generator: Generator,
    ) -> Guess:
        """What the model makes of some rows.

        Args:
            model: The model.
            states_BLD: Its states, where it reads the rows with their answers.
            labels_BL: The words that it learns to write there, an answer at the end of each row.
            rows: The rows.
            generator: Chance.
        """

    @abstractmethod
    def learners(self, model: LatentForCausalLM) -> Parts:
        """The parts of a model that a judgement of what is made here reaches, by name."""


class GuessedVectors(Guesser):
    """The guess that the embedding heads make about the answer, before its first word."""

    def __call__(
        self,
        model: LatentForCausalLM,
        states_BLD: Tensor,
        labels_BL: Tensor,
        rows: Sequence[TokenizedExample],
        generator: Generator,
    ) -> Guess:
        """See `Guesser.__call__`."""
        assert model.embedding_heads is not None, "recipes without heads are refused"
        place = KINDS.index("text")
        guessed_BE = model.embedding_heads(states_before_words(states_BLD, labels_BL))[:, place]
        right = [row.foreseen[place] for row in rows if row.foreseen is not None]
        return Guess(guessed_BE, torch.from_numpy(np.stack(right)).to(guessed_BE))

    def learners(self, model: LatentForCausalLM) -> Parts:
        """See `Guesser.learners`."""
        assert model.embedding_heads is not None, "recipes without heads are refused"
        return {**before_words(model), "embedding heads": list(model.embedding_heads.parameters())}


class StraightThroughWords(Guesser):
    """Words drawn along the right caption, each after the right words before it (straight-through Gumbel).

    Forward they are one-hot; backward they are the probabilities that they were drawn from (arXiv:1611.01144).

    Args:
        temperature: Of the probabilities.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(
        self,
        model: LatentForCausalLM,
        states_BLD: Tensor,
        labels_BL: Tensor,
        rows: Sequence[TokenizedExample],
        generator: Generator,
    ) -> Guess:
        """See `Guesser.__call__`."""
        captions = [row.answer[row.answer_start : -1] for row in rows]
        shown = [caption[: without_end(len(caption))] for caption in captions]
        tokens_BM, is_word_BM = (torch.from_numpy(each).to(states_BLD.device) for each in side_by_side(shown))
        columns_BM = torch.zeros(tokens_BM.shape, dtype=torch.long, device=states_BLD.device)
        for index, (caption, kept) in enumerate(zip(captions, shown, strict=True)):
            trained = (labels_BL[index] != IGNORED).nonzero()[:, 0]
            first = len(trained) - len(caption) - 1  # behind the caption comes the end of sequence
            # the state at a column is what the word at the next one is drawn from
            columns_BM[index, : len(kept)] = trained[first : first + len(kept)] - 1
        states_BMD = states_BLD.gather(1, columns_BM[..., None].expand(-1, -1, states_BLD.size(-1)))
        logits_BMV = without_slots(model, model.logits(states_BMD))
        made_BMV = straight_through(logits_BMV, self.temperature, generator)
        return Guess(Words(made_BMV, is_word_BM), Words(tokens_BM.long(), is_word_BM))

    def learners(self, model: LatentForCausalLM) -> Parts:
        """See `Guesser.learners`."""
        return before_words(model)


def straight_through(logits: Tensor, temperature: float, generator: Generator) -> Tensor:
    """One token drawn from each distribution, (..., V): one-hot, with the gradient of softened probabilities.

    The logits are divided by the temperature before chance comes in: after it, the same words would be drawn at any.
    """
    noise = -torch.empty_like(logits).exponential_(generator=generator).log()
    soft = (logits / temperature + noise).softmax(dim=-1)
    hard = functional.one_hot(soft.argmax(dim=-1), soft.size(-1)).to(soft)
    return hard - soft.detach() + soft
