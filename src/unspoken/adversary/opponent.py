"""A discriminator that learns: what it is shown, and what it makes of that.

Shapes: N pairs of image and caption, E width of the joint space.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from unspoken.adversary.discriminators import Judgement
from unspoken.adversary.guesses import Seen
from unspoken.adversary.hinge import discriminator_loss
from unspoken.config import AdversarySettings

Kind: TypeAlias = Literal["generated", "guessed", "hard"]
"""Of false captions: drawn ones, what the model makes with a gradient, true ones of other moments."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Images, each beside its true caption and beside a false one.

    Attributes:
        images: (N, E).
        real: The true captions.
        fake: The false ones.
    """

    images: Tensor
    real: Seen
    fake: Seen


def shares(kinds: Mapping[Kind, Any]) -> dict[Kind, float]:
    """How much each kind of false captions counts: hard ones for one half, what the model makes for the rest."""
    made = [kind for kind in kinds if kind != "hard"]
    half = 0.5 if "hard" in kinds and made else 1.0
    return {kind: half if kind == "hard" else half / len(made) for kind in kinds}


class Opponent:
    """A discriminator with its optimizer.

    Args:
        discriminator: It, on the device of what it will be shown.
        settings: How it learns.
    """

    def __init__(self, discriminator: nn.Module, settings: AdversarySettings) -> None:
        self.discriminator = discriminator.eval()
        self.optimizer = torch.optim.AdamW(discriminator.parameters(), lr=settings.learning_rate)

    def learn(self, shown: Mapping[Kind, Shown]) -> dict[str, Tensor]:
        """One update; its loss and the mean scores, as figures for the log."""
        self.discriminator.train()
        self.optimizer.zero_grad(set_to_none=True)
        scores = {kind: self.scores(each) for kind, each in shown.items()}
        share = shares(shown)
        loss = sum((share[kind] * discriminator_loss(*each) for kind, each in scores.items()), torch.tensor(0.0))
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.discriminator.eval()
        return {
            "adversary_discriminator_loss": loss.detach(),
            "adversary_real": torch.cat([real for real, _ in scores.values()]).detach().mean(),
            "adversary_fake": torch.cat([fake for _, fake in scores.values()]).detach().mean(),
        }

    def scores(self, shown: Shown) -> tuple[Tensor, Tensor]:
        """Those of the true captions and of the false ones, (N,) both."""
        real: Judgement = self.discriminator(shown.images, shown.real)
        fake: Judgement = self.discriminator(shown.images, shown.fake)
        return real.scores, fake.scores

    @contextmanager
    def fixed(self) -> Iterator[nn.Module]:
        """The discriminator as a judge: without dropout, and with no gradient for itself."""
        self.discriminator.requires_grad_(False)
        try:
            yield self.discriminator
        finally:
            self.discriminator.requires_grad_(True)

    def state(self) -> dict[str, Any]:
        """Everything that learning changes."""
        return {"discriminator": self.discriminator.state_dict(), "optimizer": self.optimizer.state_dict()}

    def put_back(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])
