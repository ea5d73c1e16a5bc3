"""Recipe -> model, tokenizer and tokenised rows: everything a run needs before its first step."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from unspoken.config import ModelSettings
from unspoken.data.tokenizer import (
    IMAGE,
    image_token,
    load_tokenizer,
    set_chat_template,
    thought_tokens,
    word_tokenizer,
    words_of,
)
from unspoken.errors import CheckpointError, DataError, RecipeError
from unspoken.legacy import import_checkpoint
from unspoken.model import LatentConfig, LatentForCausalLM
from unspoken.model.scratch import new_decoder
from unspoken.recipe import Recipe
from unspoken.records import Example, Ledger, Split, TokenizedExample
from unspoken.seeing import embedding_heads_of, encoder_of, image_slots_of, tokenize_with_images
from unspoken.tasks.base import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """One split, as text and as tokens, row by row.

    Attributes:
        examples: The rows as text.
        tokenized: The same rows as tokens.
        ledger: Where they came from, and what was left out.
        fingerprint: sha256 of the text of all rows in order.
    """

    examples: Sequence[Example]
    tokenized: Sequence[TokenizedExample]
    ledger: Ledger
    fingerprint: str


def read_examples(task: Task, split: Split) -> tuple[Sequence[Example], Ledger]:
    """The rows of a split.

    Raises:
        DataError: There are none.
    """
    examples, ledger = task.examples(split)
    if not examples:
        raise DataError(f"the {split} split of {task.name} has 0 rows; give it data")
    return examples, ledger


def tokenize_rows(
    recipe: Recipe,
    examples: Sequence[Example],
    ledger: Ledger,
    tokenizer: PreTrainedTokenizerBase,
    model: LatentForCausalLM,
) -> Rows:
    """Tokenise a split once, and check that every row fits the model at every stage.

    Raises:
        DataError: Rows that do not fit, each with its length.
    """
    tokenized, images_sha256 = tokenize_with_images(recipe, examples, tokenizer, model, recipe.task.image_root)
    max_positions = model.num_positions
    # no stage is longer than all words and the most thoughts together
    thoughts = recipe.method.most_thoughts(recipe.method.final_stage) + 2
    too_long = [
        f"row {row.id}: {length} positions with {thoughts} for thoughts and markers"
        for row in tokenized
        if (length := longest(row) + thoughts) > max_positions
    ]
    if too_long:
        listed = "\n  ".join([*too_long[:20], *([f"and {len(too_long) - 20} more"] if len(too_long) > 20 else [])])
        raise DataError(
            f"{len(too_long)} of {len(tokenized)} rows are longer than the model's {max_positions} positions:\n"
            f"  {listed}\n"
            "raise model.max_positions, or take these rows out"
        )
    _check_answers(recipe.task, examples, tokenized, tokenizer)
    return Rows(examples, tokenized, ledger, fingerprint(examples, images_sha256))


def _check_answers(
    task: Task, examples: Sequence[Example], tokenized: Sequence[TokenizedExample], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse gold answers that this tokenizer cannot write so that the task would score them as right."""
    unwritable = [
        f"row {example.id}: {example.answer!r} comes back as {text.strip()!r}"
        for example, row in zip(examples, tokenized, strict=True)
        if task.score(example, text := tokenizer.decode(row.answer.tolist(), skip_special_tokens=True)).verdict
        != "right"
    ]
    if unwritable:
        listed = "\n  ".join(unwritable[:20])
        raise DataError(
            f"{len(unwritable)} of {len(examples)} gold answers cannot be written with this tokenizer, so that even a "
            f"perfect model would be wrong:\n  {listed}\nset model.tokenizer to a subword tokenizer"
        )


def longest(row: TokenizedExample) -> int:
    """Length of a row with all its words, an upper bound of every layout without its thoughts."""
    question = max(len(question) for question in row.questions)
    before = sum(len(piece) for piece in (row.start, *row.premises))
    steps = max(sum(len(step) for step in steps) for steps in (row.steps, *row.other_steps))
    # a choice is never read behind steps
    return question + before + max(steps + len(row.answer), *map(len, row.choices), 0)


def fingerprint(examples: Sequence[Example], images_sha256: Sequence[str] = ()) -> str:
    """sha256 of the text of the rows, in order, and of their images."""
    digest = hashlib.sha256("".join(images_sha256).encode())
    for example in examples:
        # choices stand in the question, and what annotators answered changes no row
        values: list[object] = [example.id, example.premises, example.question, example.steps, example.answer]
        values += [example.other_steps] if example.other_steps else []
        digest.update(json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def build_tokenizer(recipe: Recipe, examples: Sequence[Example]) -> PreTrainedTokenizerBase:
    """The tokenizer of the recipe; from scratch, one token a word of the task."""
    model = recipe.model
    path = model.tokenizer or model.path
    further = [IMAGE] if model.vision else []
    if path is not None:
        tokenizer = load_tokenizer(path, model.revision if model.tokenizer is None else None, further)
    else:
        tokenizer = word_tokenizer(recipe.task.words() or words_of(examples, recipe.task.text), further)
    write_chat_template(tokenizer, recipe, recipe.method.final_stage)
    return tokenizer


def write_chat_template(tokenizer: PreTrainedTokenizerBase, recipe: Recipe, stage: int) -> None:
    """Make the tokenizer's chat template write what a model of this stage reads of a question.

    Nobody knows how many steps a question takes: it gets the thoughts of a row with as many as the stage replaces.
    """
    tokens, text = thought_tokens(tokenizer), recipe.task.text
    prompt, short = (recipe.method.prompt(_unknown(steps), stage, tokens) for steps in (stage, 0))
    note = ""
    if short.num_thoughts != prompt.num_thoughts:
        note = "A question of fewer steps had fewer thoughts in training and in evaluation: n_latent says how many."
    elif recipe.thoughts.get("halt_after") is not None:
        note = "In evaluation the model itself stops thinking, at the latest here: n_latent says how often it thinks."
    set_chat_template(
        tokenizer,
        prompt.num_thoughts,
        question_end=text.question_end,
        markers=tokens.start in prompt.input_ids,
        answer_start=text.answer_start.strip() if prompt.num_forced else "",
        note=note,
    )


def _unknown(num_steps: int) -> TokenizedExample:
    """A row of which nothing is known but its number of steps."""
    word = np.full(1, -1, dtype=np.int32)
    return TokenizedExample("", word, (), (word,), (word,) * num_steps, answer=word, answer_start=len(word))


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> LatentForCausalLM:
    """The model of the recipe: new, or from a checkpoint, with embeddings for every token of the tokenizer.

    Raises:
        RecipeError: The checkpoint cannot be loaded.
    """
    settings = recipe.model
    tokens = thought_tokens(tokenizer)
    earlier = None
    if settings.path is None:
        decoder = new_decoder(
            settings.arch,
            layers=settings.layers,
            heads=settings.heads,
            width=settings.width,
            vocab_size=len(tokenizer),
            max_positions=settings.max_positions,
            dropout=settings.dropout,
            init_std=settings.init_std,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            seed=recipe.train.seed,
        )
    else:
        earlier = _load_pretrained(settings)
        decoder = _decoder_of(earlier) if isinstance(earlier, LatentForCausalLM) else earlier
        new = _new_ids(settings, tokenizer)
        if settings.weights is not None:
            new -= _load_released(decoder, settings.weights, tokenizer)
        _grow_vocabulary(decoder, tokenizer, new, settings.marker_init)
    config = LatentConfig(
        text_config=decoder.config,
        latent_token_id=tokens.latent,
        start_latent_token_id=tokens.start,
        end_latent_token_id=tokens.end,
        thought_source=dict(recipe.thoughts),
        schedule=dict(recipe.schedule),
        checkpoint_passes=settings.checkpoint_passes,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        image_token_id=image_token(tokenizer) if settings.vision else None,
        vision=image_slots_of(recipe) if settings.vision else None,
        embedding_heads=embedding_heads_of(recipe),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed)  # parameters of the source, of image slots and heads
        model = LatentForCausalLM.from_decoder(decoder, config)
    if model.model.image_slots is not None and model.model.image_slots.encoder is not None:
        model.model.image_slots.encoder.load_state_dict(encoder_of(recipe).model.state_dict())
    if isinstance(earlier, LatentForCausalLM):
        _keep("thought source", earlier.model.thought_source, model.model.thought_source)
        _keep("image slots", earlier.model.image_slots, model.model.image_slots)
        _keep("embedding heads", earlier.embedding_heads, model.embedding_heads)
    return model


def load_model(path: Path) -> LatentForCausalLM:
    """The model in a run directory or a checkpoint of ours.

    Raises:
        CheckpointError: There is no latent model, or it cannot be read.
    """
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path} holds no model (no config.json); give a run directory, or train it first")
    try:
        model = AutoModelForCausalLM.from_pretrained(path, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be loaded: {str(error).splitlines()[0]}; use another checkpoint"
        ) from error
    if not isinstance(model, LatentForCausalLM):
        raise CheckpointError(
            f"{path} holds a {type(model).__name__}, not a latent model; train one with model.path={path}"
        )
    return model


def _load_pretrained(settings: ModelSettings) -> PreTrainedModel:
    """The causal language model at `settings.path`, which may be one of ours."""
    path = str(settings.path)
    try:
        config = AutoConfig.from_pretrained(path, revision=settings.revision, trust_remote_code=False)
        if config.model_type == LatentConfig.model_type:
            return load_model(Path(path))
        if getattr(config, "activation_function", None) == "gelu_new":
            config.activation_function = "gelu_pytorch_tanh"  # the same function in one kernel instead of eight
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            revision=settings.revision,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError("model.path", [f"no model can be loaded from {path!r}: {reason}"]) from error
    return model


def _decoder_of(latent: LatentForCausalLM) -> PreTrainedModel:
    """A plain causal language model that shares the weights of a latent one."""
    decoder: PreTrainedModel = AutoModelForCausalLM.from_config(latent.config.text_config)
    setattr(decoder, decoder.base_model_prefix, latent.model.language_model)
    decoder.set_output_embeddings(latent.lm_head)
    return decoder


def _keep(what: str, old: nn.Module | None, new: nn.Module | None) -> None:
    """Go on with the parameters of a part if it is of the same kind and size; one that begins anew is said to."""
    if old is None or new is None or not old.state_dict():
        return
    shapes = [{name: value.shape for name, value in part.state_dict().items()} for part in (old, new)]
    if type(old) is type(new) and shapes[0] == shapes[1]:
        new.load_state_dict(old.state_dict())
    else:
        logger.warning("the %s of model.path is of another kind or size than the recipe's, which begins anew", what)


def _new_ids(settings: ModelSettings, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of the tokens that were added to the tokenizer of the checkpoint."""
    path = settings.tokenizer or settings.path
    revision = settings.revision if settings.tokenizer is None else None
    known = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False).get_vocab()
    return {index for token, index in tokenizer.get_vocab().items() if token not in known}


def _grow_vocabulary(
    decoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, new: set[int], marker_init: str
) -> None:
    """Give every token an embedding; new ones start as a copy of a named token's, or as the mean of all before them.

    Args:
        decoder: Its table may hold more rows than there were tokens, as that of Qwen does; nobody has trained these.
        tokenizer: With the new tokens.
        new: Ids that nobody has trained; those that the table has no row for are new as well.
        marker_init: See `ModelSettings`.
    """
    old = decoder.get_input_embeddings().weight.shape[0]
    places = sorted(new | set(range(old, len(tokenizer))))
    if not places:
        return
    if len(tokenizer) > old:
        decoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    first = places[0]
    source = tokenizer.get_vocab().get(marker_init) if marker_init != "mean" else None
    if source is None or source >= first:
        if marker_init != "mean":
            logger.warning("%r is no token of this tokenizer: new embeddings start as the mean of all", marker_init)
        source = None
    with torch.no_grad():
        for table in (decoder.get_input_embeddings(), decoder.get_output_embeddings()):
            table.weight[places] = table.weight[:first].mean(dim=0) if source is None else table.weight[source].clone()


def _load_released(decoder: PreTrainedModel, path: Path, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Put the weights of a released `checkpoint_N` file into the decoder; every key must fit.

    A chain-of-thought checkpoint has no thought tokens yet, a Coconut checkpoint has: the vocabulary grows to its size.

    Returns:
        Ids of the thought tokens that the file has trained embeddings of.

    Raises:
        CheckpointError: Names the keys that do not fit.
    """
    inner = f"{decoder.base_model_prefix}."
    state = {key.replace("model.language_model.", inner): value for key, value in import_checkpoint(path).items()}
    table = state.get("lm_head.weight")
    tokens = thought_tokens(tokenizer)
    # the thought tokens come first: what else is special here, a released table does not know
    thinks = table is not None and len(table) == max(tokens.latent, tokens.start, tokens.end) + 1
    if table is not None and thinks:
        decoder.resize_token_embeddings(len(table), mean_resizing=False)
    try:
        missing, unexpected = decoder.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not fit {type(decoder).__name__}: {str(error).splitlines()[-1].strip()}; "
            "set model.path to the model it was trained from"
        ) from error
    absent = [name for name in missing if name != "lm_head.weight" or not decoder.config.tie_word_embeddings]
    if unexpected or absent:
        raise CheckpointError(
            f"{path} does not fit {type(decoder).__name__}: unexpected {sorted(unexpected)}, missing {sorted(absent)}; "
            "set model.path to the model it was trained from"
        )
    return {tokens.latent, tokens.start, tokens.end} if thinks else set()
