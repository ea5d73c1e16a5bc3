"""What is measured: two shapes of model, one batch each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from unspoken.model import LatentConfig, LatentForCausalLM
from unspoken.model.scratch import new_decoder
from unspoken.records import IGNORED, Batch, StagedExample

END = -1
"""An end of sequence that no model writes: generation runs to its full length."""


@dataclass(frozen=True, slots=True)
class Case:
    """A shape of decoder and a batch of rows of equal length: question, marker, thoughts, marker, answer.

    Attributes:
        name: Of the case.
        layers: Blocks.
        heads: Attention heads.
        width: Of the residual stream.
        vocabulary: Tokens; the last three are the thought tokens.
        rows: In a training step.
        generated_rows: Generated together.
        question: Tokens.
        thoughts: Slots.
        answer: Tokens that are trained.
        arch: Architecture.
    """

    name: str
    layers: int
    heads: int
    width: int
    vocabulary: int
    rows: int
    generated_rows: int
    question: int = 200
    thoughts: int = 6
    answer: int = 20
    arch: str = "gpt2"


BESIDE_EACH_OTHER = Case(
    "2 layers, width 128",
    layers=2,
    heads=4,
    width=128,
    vocabulary=64,
    rows=8,
    generated_rows=8,
    question=22,
    thoughts=4,
    answer=2,
)
"""Prompts as those of hops, for trajectories beside each other."""
CASES = (
    Case("2 layers, width 256", layers=2, heads=4, width=256, vocabulary=512, rows=32, generated_rows=32),
    Case("GPT-2 small", layers=12, heads=12, width=768, vocabulary=50260, rows=4, generated_rows=32),
)


@dataclass(frozen=True, slots=True)
class Eyes:
    """Features of one image a row, kept from an encoder that does not run.

    Attributes:
        patches: Features of an image.
        feature_size: Width of a feature.
        slots: Positions that an image takes.
    """

    patches: int
    feature_size: int
    slots: int


EYES = Eyes(patches=49, feature_size=768, slots=8)
"""CLIP ViT-B/32, read by eight learned queries, as in the recipes of A-OKVQA."""


def build(
    case: Case, *, checkpointed: bool = False, thoughts: dict[str, Any] | None = None, eyes: Eyes | None = None
) -> tuple[PreTrainedModel, LatentForCausalLM]:
    """The plain decoder and a latent model over the same weights, dropout off."""
    decoder = new_decoder(
        case.arch,
        layers=case.layers,
        heads=case.heads,
        width=case.width,
        vocab_size=case.vocabulary,
        eos_token_id=0,
        pad_token_id=0,
    )
    config = LatentConfig(
        text_config=decoder.config,
        latent_token_id=case.vocabulary - 1,
        start_latent_token_id=case.vocabulary - 2,
        end_latent_token_id=case.vocabulary - 3,
        checkpoint_passes=checkpointed,
        thought_source=thoughts,
        image_token_id=case.vocabulary - 4 if eyes else None,
        vision={
            "slots": eyes.slots,
            "num_patches": eyes.patches,
            "feature_size": eyes.feature_size,
            "projector": {"name": "queries"},
        }
        if eyes
        else None,
    )
    return decoder.train(), LatentForCausalLM.from_decoder(decoder, config).train()


def batch(case: Case) -> Batch:
    """Random tokens in the layout of Coconut."""
    length = case.question + case.thoughts + 2 + case.answer
    ids = torch.randint(1, case.vocabulary - 3, (case.rows, length), generator=torch.Generator().manual_seed(0))
    ids[:, case.question] = case.vocabulary - 2
    ids[:, case.question + 1 : case.question + 1 + case.thoughts] = case.vocabulary - 1
    ids[:, case.question + 1 + case.thoughts] = case.vocabulary - 3
    labels = ids.clone()
    labels[:, : length - case.answer] = IGNORED
    positions = torch.arange(length).expand(case.rows, -1).contiguous()
    return Batch(input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=positions, labels=labels)


def seeing(case: Case, eyes: Eyes) -> Batch:
    """The same rows with an image in front of each."""
    words, image = batch(case), case.vocabulary - 4
    slots = torch.full((case.rows, eyes.slots), image)
    ids = torch.cat([slots, words["input_ids"].masked_fill(words["input_ids"] == image, 1)], dim=1)
    return Batch(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        position_ids=torch.arange(ids.size(1)).expand(case.rows, -1).contiguous(),
        labels=torch.cat([torch.full_like(slots, IGNORED), words["labels"]], dim=1),
        images=torch.randn(case.rows, 1, eyes.patches, eyes.feature_size, generator=torch.Generator().manual_seed(0)),
    )


def prompts(case: Case, rows: int) -> torch.Tensor:
    """Question, markers and thoughts of the first rows, repeated as needed, (rows, columns)."""
    ids = batch(case)["input_ids"][:, : case.question + 2 + case.thoughts]
    return ids.repeat(-(-rows // len(ids)), 1)[:rows]


def staged_prompts(case: Case) -> list[StagedExample]:
    """The same as a rollout takes them."""
    return [
        StagedExample(str(row), ids, np.full(len(ids), IGNORED, dtype=np.int32), case.thoughts, case.question + 1)
        for row, ids in enumerate(prompts(case, case.generated_rows).numpy().astype(np.int32))
    ]
