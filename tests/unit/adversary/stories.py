"""Rows, a model and captions that the tests of this folder share; a caption is the numbers of its tokens."""

import numpy as np
import torch
from tests.conftest import TOKENS, tiny_model

from unspoken.adversary.adversary import Step, Writer
from unspoken.adversary.discriminators import Judgement
from unspoken.adversary.material import Material
from unspoken.config import AdversarySettings
from unspoken.data.collate import collate, inputs_of
from unspoken.data.stage import stage
from unspoken.records import TokenizedExample

SIZE, VOCABULARY, SEED = 6, 40, 3
HEADS = {
    "size": SIZE, "hidden": 8, "shared": False, "temperature": 0.1,
    "image_loss": "mse", "text_loss": "cosine", "image_weight": 0.5, "text_weight": 0.5,
}  # fmt: skip
NO_TOKENS = np.array([], dtype=np.int32)
START = 1
"""The token in front of a caption."""


class Numbers:
    """Writes tokens as their numbers, in the place of `Writing`."""

    def captions(self, written):
        return [" ".join(str(token) for token in ids if token not in (0, START)) for ids in written]

    def tokens(self, captions):
        return [np.array([int(word) for word in caption.split()], dtype=np.int32) for caption in captions]

    def read(self, tokens):
        return " ".join(map(str, tokens.tolist()))


class Likes(torch.nn.Module):
    """A judge of captions that counts one word."""

    def __init__(self, word):
        super().__init__()
        self.word = word

    def forward(self, images_NE, captions):
        is_word_NM = (captions.tokens == self.word) & captions.is_word
        return Judgement(is_word_NM.sum(dim=1).float(), images_NE)


class Clip:
    """Vectors of captions by their words, in the place of a CLIP; a caption alone has the bits it has beside others."""

    def __init__(self, most=20):
        self.asked, self.most = [], most

    def fit(self, text):
        words = text.split()
        return " ".join(words[: self.most]), len(words) > self.most

    def texts(self, captions):
        self.asked += captions
        vectors = [sum((unit(int(word)) for word in text.split()), torch.zeros(SIZE)) for text in captions]
        return torch.stack([torch.nn.functional.normalize(vector, dim=-1) for vector in vectors])


def unit(number):
    return torch.from_numpy(np.random.default_rng(number).normal(size=SIZE).astype(np.float32))


def tokenized(count=4, thoughts=(0, 1, 2), seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        question = rng.integers(2, 35, size=rng.integers(3, 7)).astype(np.int32)
        caption = rng.integers(2, 35, size=rng.integers(3, 6))
        foreseen = rng.normal(size=(2, SIZE)).astype(np.float32)
        foreseen /= np.linalg.norm(foreseen, axis=1, keepdims=True)
        answer = np.array([START, *caption, 0], dtype=np.int32)
        rows.append(TokenizedExample(str(number), NO_TOKENS, (), (question,), (), answer, 1, foreseen=foreseen))
    return rows


def material(rows, hard=()):
    captions = Numbers().captions([row.answer for row in rows])
    return Material(captions, rows, torch.from_numpy(np.stack([row.foreseen[0] for row in rows])), hard)


def model_with_heads(**changes):
    return tiny_model(embedding_heads=HEADS, **changes)


def step_of(model, rows, *, number=0, epoch=0, hard=(), thoughts=(0, 1, 2)):
    """A step of all rows; row k has as many thoughts as `thoughts` says."""
    counts = [thoughts[index % len(thoughts)] for index in range(len(rows))]
    staged = [
        stage(row, row.questions[0], count, [row.answer], TOKENS, markers=False)
        for row, count in zip(rows, counts, strict=True)
    ]
    prompts = [
        stage(row, row.questions[0], count, [], TOKENS, markers=False) for row, count in zip(rows, counts, strict=True)
    ]
    batch = collate(staged, pad_id=0, latent_id=TOKENS.latent)
    states = model.model(**inputs_of(batch, "cpu")).last_hidden_state
    return Step(number, epoch, material(rows, hard), list(range(len(rows))), prompts, states, batch["labels"])


def writer(model, **settings):
    return Writer(model, Numbers(), AdversarySettings(**settings), SEED, max_new_tokens=5, batch_size=3)
