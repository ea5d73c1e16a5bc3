"""Sources that take the thoughts away: what an evaluation puts in their place to see whether they matter.

They hold no parameters and are never trained; `LatentModel.thinking_with` swaps one in for a while.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from unspoken.thoughts.base import History, ThoughtSource


class Zero(ThoughtSource):
    """Every thought is the zero vector."""

    reads_states = False

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`."""
        return torch.zeros_like(history.placeholders)


class Mean(ThoughtSource):
    """Every thought is its mean over some questions: it keeps what all share and loses what this one holds.

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
        noise_BKD: For each row of the batch and each of its slots what points in the direction of the noise, (B, K, D).
        strength: Norm of the noise over the norm of the thought.
    """

    def __init__(self, source: ThoughtSource, noise_BKD: Tensor, strength: float = float("inf")) -> None:
        super().__init__()
        self.source, self.strength, self.noise = source, strength, Given(noise_BKD)

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`."""
        thought_BSD: Tensor = self.source(history)
        norm_BS1: Tensor = thought_BSD.norm(dim=-1, keepdim=True)
        noise_BSD: Tensor = self.noise(history).to(thought_BSD)
        direction_BSD = noise_BSD / noise_BSD.norm(dim=-1, keepdim=True)
        if self.strength == float("inf"):
            return direction_BSD * norm_BS1
        noisy_BSD: Tensor = thought_BSD + self.strength * norm_BS1 * direction_BSD
        return noisy_BSD * (norm_BS1 / noisy_BSD.norm(dim=-1, keepdim=True))


def noise_of_rows(rows: Sequence[int], num_thoughts: int, width: int, seed: int) -> Tensor:
    """Gaussian noise for the slots of some rows, (B, K, D): that of a row is the same in whatever batch it stands.

    Args:
        rows: Their numbers in the data.
        num_thoughts: K.
        width: D.
        seed: With the number of a row it decides everything.
    """
    shape = (num_thoughts, width)
    drawn = [np.random.default_rng((seed, row)).standard_normal(shape, dtype=np.float32) for row in rows]
    return torch.from_numpy(np.stack(drawn))
