"""Sources that take the thoughts away: what an evaluation puts in their place to see whether they matter.

They hold no parameters and are never trained; `LatentModel.thinking_with` swaps one in for a while.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from unspoken.errors import DataError
from unspoken.thoughts.base import History, ThoughtSource


class Zero(ThoughtSource):
    """Every thought is the zero vector."""

    reads_states = False

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`."""
        return torch.zeros_like(history.placeholders)


class Mean(ThoughtSource):
    """Every thought is its mean over other questions: it keeps what all share and loses what this one holds.

    Args:
        mean_KD: Mean thought of each slot, (K, D); a slot beyond K takes the last.
    """

    reads_states = False

    def __init__(self, mean_KD: Tensor) -> None:
        super().__init__()
        self.mean_KD = mean_KD

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`."""
        return self.mean_KD.to(history.placeholders)[history.ranks().clamp(max=len(self.mean_KD) - 1)]


class Placeholder(ThoughtSource):
    """Every thought is the embedding of `<|latent|>`: a pause token that was never trained as one."""

    reads_states = False

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`."""
        return history.placeholders


class Given(ThoughtSource):
    """Every row thinks thoughts that were made elsewhere.

    Args:
        thoughts_BKD: For each row of the batch the thoughts of its slots, (B, K, D).
    """

    reads_states = False

    def __init__(self, thoughts_BKD: Tensor) -> None:
        super().__init__()
        self.thoughts_BKD = thoughts_BKD

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`."""
        rank_BS = history.ranks().clamp(max=self.thoughts_BKD.size(1) - 1)
        rows_B1 = torch.arange(len(rank_BS), device=rank_BS.device).unsqueeze(1)
        return self.thoughts_BKD.to(history.placeholders)[rows_B1, rank_BS]


class Edited(ThoughtSource):
    """The trained source's thoughts, each changed as soon as it is made: later ones are made from what follows.

    Args:
        source: The source whose thoughts are changed.
        edit: (thoughts (B, S, D), which of the row's slots each is (B, S)) -> thoughts (B, S, D).
    """

    def __init__(self, source: ThoughtSource, edit: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.source, self.edit = source, edit
        self.reads_states = source.reads_states  # an edited constant still reads no state

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`."""
        return self.edit(self.source(history), history.ranks())


class Noise(ThoughtSource):
    """The trained source's thought plus isotropic Gaussian noise `strength` times as long, at the thought's own norm.

    With `strength=inf` only the noise remains: a random direction of the same length.

    Args:
        source: The source it perturbs.
        seed: Seed of the noise.
        strength: Expected norm of the noise over the norm of the thought.
    """

    def __init__(self, source: ThoughtSource, seed: int = 0, strength: float = float("inf")) -> None:
        super().__init__()
        self.source, self.strength = source, strength
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`."""
        thought_BSD: Tensor = self.source(history)
        norm_BS1: Tensor = thought_BSD.norm(dim=-1, keepdim=True)
        direction_BSD: Tensor = torch.randn(thought_BSD.shape, generator=self.generator).to(thought_BSD)
        direction_BSD = direction_BSD / direction_BSD.norm(dim=-1, keepdim=True)
        if self.strength == float("inf"):
            return direction_BSD * norm_BS1
        noisy_BSD: Tensor = thought_BSD + self.strength * norm_BS1 * direction_BSD
        return noisy_BSD * (norm_BS1 / noisy_BSD.norm(dim=-1, keepdim=True))


class AnotherRow(ThoughtSource):
    """Every row thinks the thoughts of the row before it, in a circle, among those whose slots are where its own are.

    Slot k takes the k-th thought of that row, as it is made; rows without slots have nothing to exchange.

    Args:
        source: The source whose thoughts are exchanged.
    """

    def __init__(self, source: ThoughtSource) -> None:
        super().__init__()
        self.source = source

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`.

        Raises:
            DataError: The slots of a row are where those of no other row of the batch are.
        """
        donors_B = torch.tensor(_rows_before(history.is_thought), device=history.is_thought.device)
        thoughts_BSD: Tensor = self.source(history)
        return thoughts_BSD[donors_B]


def _rows_before(is_thought_BL: Tensor) -> list[int]:
    """For each row the one that it takes thoughts from."""
    alike: dict[tuple[bool, ...], list[int]] = {}
    for row, slots in enumerate(is_thought_BL.tolist()):
        alike.setdefault(tuple(slots), []).append(row)
    if any(len(rows) == 1 and any(slots) for slots, rows in alike.items()):
        raise DataError(
            "another_row exchanges thoughts between rows of a batch with their slots in the same columns, and there is "
            "only one; leave it out, or batch rows with equally many thoughts"
        )
    before = {row: rows[place - 1] for rows in alike.values() for place, row in enumerate(rows)}
    return [before[row] for row in range(len(before))]
