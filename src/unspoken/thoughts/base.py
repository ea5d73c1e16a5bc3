"""What a thought may be made from, and the contract of everything that makes one.

Shapes: B rows, L columns of the whole sequence, S slots filled at once, D width of the model.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unspoken.thoughts.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """All that happened before the slots that are to be filled.

    Attributes:
        chunks: Last-layer states after the final norm, one (B, columns, D) tensor a pass, in order, without gaps.
        columns: The slots to fill, ascending; slot c may use the states of columns before c, and no others.
        placeholders: (B, S, D) embedding of the `<|latent|>` token at each slot.
        is_real: (B, L) false where a column is padding.
        is_thought: (B, L) true at thought slots.
        is_marker: (B, L) true at `<|start-latent|>`.
    """

    chunks: Sequence[Tensor]
    columns: Sequence[int]
    placeholders: Tensor
    is_real: Tensor
    is_thought: Tensor
    is_marker: Tensor

    def states(self, start: int, stop: int) -> Tensor:
        """States of columns start..stop-1 from whichever passes computed them, (B, stop - start, D)."""
        pieces, first = [], 0
        for chunk in self.chunks:
            last = first + chunk.size(1)
            if first < stop and start < last:
                pieces.append(chunk[:, max(start - first, 0) : stop - first])
            first = last
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    def ranks(self) -> Tensor:
        """Which of its row's own slots each slot is, counted from 0, (B, S): rows differ where their numbers do."""
        rank_BL = self.is_thought.cumsum(dim=1) - 1
        return rank_BL[:, list(self.columns)].clamp(min=0)

    def states_before(self) -> Tensor:
        """The state right before each slot, (B, S, D): the thought of Coconut."""
        first, last = self.columns[0], self.columns[-1]
        states_BTD = self.states(first - 1, last)
        if last - first + 1 == len(self.columns):
            return states_BTD
        offsets = torch.tensor([column - first for column in self.columns], device=states_BTD.device)
        return states_BTD.index_select(1, offsets)


class ThoughtSource(nn.Module, ABC):
    """Makes the embeddings of thought slots.

    A source is built as `Source(width, **settings)`; the settings are stored in `LatentConfig.thought_source`, its
    parameters in the checkpoint.
    """

    reads_states: bool = True
    """Whether the thoughts depend on states. False allows the schedule `single`, one pass for everything."""
    reads_window: bool = True
    """Whether they depend on states other than those right before slots. False lets training compute no others."""

    def attach(self, vocabulary: Vocabulary) -> None:
        """Where the source belongs to a model with a head: that model's words. Most have no use for them."""

    @abstractmethod
    def forward(self, history: History) -> Tensor:
        """The embeddings of `history.columns`, (B, S, D)."""
