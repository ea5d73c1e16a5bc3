"""Who tells true captions of an image from made ones: by vectors of a joint space, or word by word.

Shapes: N pairs of image and caption, E width of the joint space, M words of the longest caption, V vocabulary, I width
of the embeddings of words, F features.
"""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor, nn

SLOPE = 0.2
"""Of LeakyReLU below 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """Captions, word by word.

    Attributes:
        tokens: Ids, (N, M); or how much of each token of the vocabulary stands there, (N, M, V).
        is_word: False behind the end of a caption, (N, M).
    """

    tokens: Tensor
    is_word: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What a discriminator makes of pairs.

    Attributes:
        scores: Above 0 where it takes the caption for a true one, (N,).
        features: Its last layer, (N, F).
    """

    scores: Tensor
    features: Tensor


class PairDiscriminator(nn.Module):
    """Judges a caption by its vector beside that of the image.

    Args:
        size: E.
        width: F.
        dropout: Behind each layer.
    """

    def __init__(self, size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = _layers(2 * size, width, dropout)
        self.score = nn.Linear(width, 1)

    def forward(self, images_NE: Tensor, captions_NE: Tensor) -> Judgement:
        """Judge vectors of images beside vectors of captions."""
        features_NF: Tensor = self.layers(torch.cat([images_NE, captions_NE], dim=-1))
        return Judgement(self.score(features_NF)[:, 0].float(), features_NF.float())


class CaptionDiscriminator(nn.Module):
    """Judges a caption by its words, in their order, beside the vector of the image.

    The words meet in one block of a transformer, which looks both ways; their mean stands beside the image.

    Args:
        vocabulary: V.
        size: E.
        width: F; words are a quarter as wide.
        dropout: In each layer.
    """

    def __init__(self, vocabulary: int, size: int, width: int, dropout: float) -> None:
        super().__init__()
        inner = 2 * max(width // 8, 4)
        self.table = nn.Embedding(vocabulary, inner)
        self.block = nn.TransformerEncoderLayer(
            inner, 1, 2 * inner, dropout, nn.LeakyReLU(SLOPE), batch_first=True, norm_first=True
        )
        self.layers = _layers(inner + size, width, dropout)
        self.score = nn.Linear(width, 1)

    def forward(self, images_NE: Tensor, captions: Words) -> Judgement:
        """Judge vectors of images beside words."""
        tokens, is_word_NM = captions.tokens, captions.is_word
        embedded_NMI = tokens @ self.table.weight if tokens.is_floating_point() else self.table(tokens)
        is_seen_NM = is_word_NM.clone()
        is_seen_NM[:, 0] = True  # attention over nothing would be no number
        met_NMI = self.block(embedded_NMI + _places(embedded_NMI), src_key_padding_mask=~is_seen_NM)
        weights_NM1 = is_word_NM[..., None].to(met_NMI)
        mean_NI = (met_NMI * weights_NM1).sum(dim=1) / weights_NM1.sum(dim=1).clamp(min=1)
        features_NF: Tensor = self.layers(torch.cat([mean_NI, images_NE], dim=-1))
        return Judgement(self.score(features_NF)[:, 0].float(), features_NF.float())


def _layers(inputs: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.LeakyReLU(SLOPE), nn.Dropout(dropout),
        nn.Linear(width, width), nn.LeakyReLU(SLOPE), nn.Dropout(dropout),
    )  # fmt: skip


def _places(embedded_NMI: Tensor) -> Tensor:
    """Which word is which: sines and cosines of its place, (M, I)."""
    length, inner = embedded_NMI.shape[1:]
    rates = torch.exp(torch.arange(0, inner, 2, device=embedded_NMI.device) * (-log(10_000.0) / inner))
    angles = torch.arange(length, device=embedded_NMI.device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(embedded_NMI)
