"""What a discriminator sees of captions: their vectors in the joint space, or their words; always of one length.

Shapes: N captions, E width of the joint space.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from unspoken.adversary.discriminators import Words
from unspoken.adversary.lengths import matched, side_by_side
from unspoken.adversary.writing import Writing
from unspoken.records import Tokens
from unspoken.vision.clip import Clip


class VectorView:
    """Captions as vectors.

    Args:
        clip: Makes them.
        writing: How captions are written.
        device: Where they go.
    """

    def __init__(self, clip: Clip, writing: Writing, device: torch.device) -> None:
        self.clip, self.writing, self.device = clip, writing, device
        self.kept: dict[str, Tensor] = {}

    def __call__(self, real: Sequence[str], fake: Sequence[str]) -> tuple[Tensor, Tensor]:
        """True captions, and false ones that are as long, each beside its own; (N, E) both."""
        one, other = self._matched(real, fake)
        return self.whole(one), self.whole(other)

    def keep(self, real: Sequence[str], fake: Sequence[str]) -> None:
        """Make the vectors of such pairs once, in the place of those that were kept before."""
        self.kept = {}
        one, other = self._matched(real, fake)
        texts = list(dict.fromkeys([*one, *other]))
        self.kept = dict(zip(texts, self.whole(texts), strict=True))

    def whole(self, captions: Sequence[str]) -> Tensor:
        """Captions as they are, (N, E); of one that is too long for the CLIP, as much as it reads."""
        missing = [text for text in dict.fromkeys(captions) if text not in self.kept]
        made = dict(self.kept)
        if missing:
            made |= zip(missing, self.clip.texts([self.clip.fit(text)[0] for text in missing]), strict=True)
        return torch.stack([made[text].to(self.device) for text in captions])

    def _matched(self, real: Sequence[str], fake: Sequence[str]) -> tuple[list[str], list[str]]:
        pairs = zip(self.writing.tokens(real), self.writing.tokens(fake), strict=True)
        texts = [[self.writing.read(each) for each in matched(*pair)] for pair in pairs]
        return [one for one, _ in texts], [other for _, other in texts]


class WordView:
    """Captions as tokens.

    Args:
        writing: How captions are written.
        device: Where they go.
    """

    def __init__(self, writing: Writing, device: torch.device) -> None:
        self.writing, self.device = writing, device

    def __call__(self, real: Sequence[str], fake: Sequence[str]) -> tuple[Words, Words]:
        """True captions, and false ones that are as long, each beside its own."""
        pairs = [matched(*pair) for pair in zip(self.writing.tokens(real), self.writing.tokens(fake), strict=True)]
        one, other = (self._words([pair[place] for pair in pairs]) for place in (0, 1))
        return one, other

    def keep(self, real: Sequence[str], fake: Sequence[str]) -> None:
        """Tokens are made in no time; nothing is kept."""

    def _words(self, captions: Sequence[Tokens]) -> Words:
        tokens, is_word = side_by_side(captions)
        return Words(torch.from_numpy(tokens).long().to(self.device), torch.from_numpy(is_word).to(self.device))
