"""The beginning of a run, whatever the loop: what is written down, what is resumed, which parameters are trained."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from unspoken import files
from unspoken.config import LoraSettings
from unspoken.device import environment, rank
from unspoken.errors import CheckpointError, DataError
from unspoken.model import LatentForCausalLM
from unspoken.prepare import Rows
from unspoken.recipe import Recipe, dump
from unspoken.run_directory import RECIPE, RESOLVED, nothing_done
from unspoken.tasks.shared import remark_on_shared, shared
from unspoken.training.checkpoint import newest_valid, refuse_differences

logger = logging.getLogger(__name__)

SCHEDULERS = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
"""What transformers calls our learning rate schedules."""


def begin(
    recipe: Recipe,
    out: Path,
    resume: bool,
    rows: Rows,
    validation: Rows,
    tokenizer: PreTrainedTokenizerBase,
) -> Path | None:
    """Write down what is about to run, or compare it with what was; the checkpoint to continue from.

    A start that failed before its first step is no run: there is nothing to lose, and nothing to compare with.

    Raises:
        CheckpointError: The directory holds another run, none to resume, or one that cannot be.
    """
    if rank() > 0:
        return newest_valid(out) if resume else None
    identity = {
        "recipe": dump(recipe),
        "data": {"train": rows.fingerprint, "validation": validation.fingerprint},
        "tokenizer": files.sha256_of(tokenizer.get_vocab()),
    }
    started = (out / RESOLVED).is_file()
    begun = started and not nothing_done(out)
    if begun and resume:
        refuse_differences(_recorded(out, identity), identity, out)
        checkpoint = newest_valid(out)
        logger.warning("resuming from %s", checkpoint.name if checkpoint else "the beginning: no checkpoint yet")
        return checkpoint
    if resume and not started:
        raise CheckpointError(f"{out} holds no run to resume; start it without --resume")
    if begun:
        raise CheckpointError(f"{out} already holds a run; continue it with --resume, or choose another --out")
    ledgers = {"train": asdict(rows.ledger), "validation": asdict(validation.ledger)}
    repeated = len(shared(rows.examples, validation.examples))
    if repeated:
        logger.warning(remark_on_shared("validation", repeated))
    counted = {"validation": repeated}
    files.write_json(out / RESOLVED, {**identity, "rows": ledgers, "shared": counted, "environment": environment()})
    files.write_text(out / RECIPE, recipe.source)
    return None


def _recorded(out: Path, keys: Iterable[str]) -> dict[str, Any]:
    """What a run was started with.

    Raises:
        CheckpointError: It cannot be read.
    """
    try:
        recorded = files.read_json(out / RESOLVED)
        return {key: recorded[key] for key in keys}
    except (DataError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{out / RESOLVED} cannot be read ({error}); put back a copy of it, or choose another --out"
        ) from error


def refuse_rows_without_next_image(rows: Rows, split: str) -> None:
    """Embedding heads learn from every row, or a batch would go without them and nobody would know.

    Raises:
        DataError: Rows have none.
    """
    lacking = [row.id for row in rows.tokenized if row.foreseen is None]
    if lacking:
        named = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
        raise DataError(
            f"{len(lacking)} {split} rows have no next image, which the embedding heads guess: {named}; take them out, "
            "or model.embedding_heads"
        )


def freeze_decoder(model: LatentForCausalLM) -> None:
    """Let the language model stay as it is, without dropout: it is to be learned around as it will be used."""
    model.model.language_model.requires_grad_(False)
    model.lm_head.requires_grad_(False)
    for module in model.model.language_model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


WHOLE = ("thought_source", "image_slots", "embedding_heads")
"""Parts that are small, or new: they get no adapters and are trained as they are."""


def with_adapters(model: LatentForCausalLM, settings: LoraSettings, whole: Sequence[str] = ()) -> Any:
    """The model with adapters, the embeddings of the thought tokens and some parts as all that is trained.

    Args:
        model: Gets adapters in all its linear layers outside of `WHOLE`.
        settings: Of the adapters.
        whole: Parts that are trained as they are and saved with the adapters.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        trainable_token_indices=model.config.thought_token_ids,
        modules_to_save=list(whole) or None,
        exclude_modules=rf".*\.({'|'.join(WHOLE)})(\..*)?",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)
