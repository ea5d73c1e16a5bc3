"""`unspoken plan`: everything a recipe decides, before anything is loaded.

    recipe -> rows of a sample, words for tokens -> every stage laid out -> table, batch, size, estimates, warnings

No weights are read and no model is built. The layouts are the method's own, so the table says what will be trained.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from unspoken.config import VisionSettings
from unspoken.plan.estimate import Estimate, estimate, megabytes, minutes
from unspoken.plan.sample import SAMPLE_ROWS, SUBWORDS, num_special_words, vocabulary_of
from unspoken.plan.shape import Shape, checkpoint_shape, new_shape, num_parameters
from unspoken.plan.stage_table import Stage, is_final, layouts, stage_table
from unspoken.recipe import Recipe, sparse
from unspoken.recipe.batching import Batching, split_batch
from unspoken.recipe.strict_yaml import to_yaml
from unspoken.records import Example

MUCH_MEMORY = 8e9
"""Bytes above which a plan says what a smaller micro-batch would take."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe will do.

    Attributes:
        recipe: The recipe.
        batching: How a step is cut.
        rows: Training rows; None where the data is not given yet.
        steps_per_epoch: Optimizer steps of an epoch; None likewise.
        stages: The stage table, in order.
        num_parameters: Exact from scratch; None where the shape of a checkpoint is not known.
        vocabulary: Token embeddings; None likewise.
        estimate: Memory and time; None where rows or shape are not known.
        warnings: What may not be what was meant.
    """

    recipe: Recipe
    batching: Batching
    rows: int | None
    steps_per_epoch: int | None
    stages: tuple[Stage, ...]
    num_parameters: int | None
    vocabulary: int | None
    estimate: Estimate | None
    warnings: tuple[str, ...]

    @property
    def total_steps(self) -> int | None:
        """Optimizer steps of the whole run; None where the data is not given yet."""
        train = self.recipe.train
        return None if self.steps_per_epoch is None else self.steps_per_epoch * (train.epochs - train.first_epoch)


def plan(recipe: Recipe, processes: int | None = None) -> Plan:
    """What a recipe will do.

    Args:
        recipe: The recipe.
        processes: Processes of the run; default: those that `torchrun` announces, else 1.

    Raises:
        DataError: A data file that is given cannot be used.
        RecipeError: The batch cannot be cut into equal parts.
    """
    batching = split_batch(recipe.train, processes or int(os.environ.get("WORLD_SIZE", "1")))
    sample, rows, words = _data(recipe)
    steps = None if rows is None else -(-rows // recipe.train.batch_size)
    stages = tuple(stage_table(recipe, sample, steps))
    shape = _shape(recipe, words)
    return Plan(
        recipe=recipe,
        batching=batching,
        rows=rows,
        steps_per_epoch=steps,
        stages=stages,
        num_parameters=None if shape is None else num_parameters(shape) + _source_parameters(recipe, shape.width),
        vocabulary=None if shape is None else shape.vocabulary,
        estimate=_estimate(recipe, batching, shape, rows, stages),
        warnings=tuple(_warnings(recipe, sample, shape, rows, stages)),
    )


def _data(recipe: Recipe) -> tuple[Sequence[Example], int | None, int | None]:
    """Some rows to measure, the number of training rows, and of different words; None where they are not known yet."""
    task = recipe.task
    settings, fixed = task.describe(), task.words()
    words = None if fixed is None else len(set(fixed))
    if settings.get("train") is None and "train_rows" in settings:
        # rows of another split measure as well, and need not be drawn by the thousand
        return task.examples("validation")[0][:SAMPLE_ROWS], settings["train_rows"], words
    if settings.get("train") is None:
        return (), None, words
    examples, _ = task.examples("train")
    return examples[:SAMPLE_ROWS], len(examples), words or len(vocabulary_of(examples, task.text))


def _shape(recipe: Recipe, words: int | None) -> Shape | None:
    model = recipe.model
    if model.path is not None:
        return checkpoint_shape(model.path)
    if model.tokenizer is not None or words is None:
        return None
    return new_shape(model, num_special_words() + words)


def _source_parameters(recipe: Recipe, width: int) -> int:
    """Parameters of the thought source; only other sources than the default have any, and need torch to say so."""
    if recipe.thoughts == {"name": "last_hidden"}:
        return 0
    import torch

    from unspoken.thoughts import build_source

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_source(recipe.thoughts, width).parameters())


def _eyes(vision: VisionSettings) -> str:
    """The encoder of images in a few words."""
    learns = "which learns" if vision.train_encoder else "frozen, its features are kept"
    if vision.path is not None:
        return f"the encoder {vision.path}, {learns}"
    patches = 1 if vision.features == "pooled" else (vision.image_size // vision.patch_size) ** 2
    return f"a new encoder of {vision.layers} layers, {vision.slots or patches} slots an image, {learns}"


def _estimate(
    recipe: Recipe, batching: Batching, shape: Shape | None, rows: int | None, stages: Sequence[Stage]
) -> Estimate | None:
    if shape is None or rows is None or math.isnan(stages[0].length):
        return None
    return estimate(
        shape,
        rows=rows,
        micro=batching.micro,
        processes=batching.processes,
        steps_per_epoch=-(-rows // recipe.train.batch_size) * batching.accumulation,
        stages=[
            (
                stage.last_epoch - stage.first_epoch + 1,
                stage.length * _tokens_per_word(recipe),
                stage.num_written * _tokens_per_word(recipe),
                stage.thoughts[1],
            )
            for stage in stages
        ],
        sequential=recipe.schedule["name"] == "sequential",
        half=recipe.train.precision != "fp32",
        recomputed=recipe.model.checkpoint_passes,
        adapters=recipe.model.lora is not None,
    )


def _tokens_per_word(recipe: Recipe) -> float:
    return 1.0 if recipe.model.path is None and recipe.model.tokenizer is None else SUBWORDS


def _warnings(
    recipe: Recipe, sample: Sequence[Example], shape: Shape | None, rows: int | None, stages: Sequence[Stage]
) -> list[str]:
    train, model, method = recipe.train, recipe.model, recipe.method
    settings = method.model_dump()
    found = []
    if rows is None:
        found.append(
            f"task {recipe.task.describe()['name']} has no data yet: set task.train and task.validation to files"
        )
    elif rows < train.batch_size:
        found.append(f"{rows} rows are fewer than train.batch_size={train.batch_size}: an epoch is one short step")
    if settings.get("pad_thoughts") is False:
        found.append("pad_thoughts: false lets the number of thoughts tell the model how many steps the solution has")
    if sample and not is_final(recipe, sample, stages[-1].stage):
        found.append(
            f"training ends at stage {stages[-1].stage} of {method.final_stage}: raise train.epochs "
            "or lower method.epochs_per_stage"
        )
    most_steps = max((len(example.steps) for example in sample), default=None)
    if most_steps is not None and settings.get("max_stage", 0) > most_steps:
        found.append(f"max_stage is {settings['max_stage']}, but no row of the sample has more than {most_steps} steps")
    if settings.get("mix"):
        found.append(f"mix: {settings['mix']:.0%} of the rows are laid out at another stage than the table says")
    if model.path is not None:
        changed = sparse(recipe).get("model", {})
        shape_keys = ("arch", "layers", "heads", "width", "dropout", "max_positions", "init_std")
        ignored = [key for key in shape_keys if key in changed]
        found += [f"model.{key} has no effect, as the shape comes from model.path" for key in ignored]
    if shape is not None and sample:
        longest = max(max(len(row.input_ids) for row in layouts(recipe, sample, stage.stage)) for stage in stages)
        positions = round(longest * _tokens_per_word(recipe))
        if positions > shape.positions:
            found.append(f"a row of the sample takes about {positions} positions, the model has {shape.positions}")
    return found


def render(plan: Plan) -> str:
    """The plan as text for a terminal."""
    recipe, batching = plan.recipe, plan.batching
    parts = [
        "Settings that are not defaults",
        _indented(to_yaml(sparse(recipe)).rstrip()),
        "",
        "Stages",
        *_table(plan),
        "",
    ]
    total = batching.processes * batching.micro * batching.accumulation
    parts.append(
        f"Batch       {batching.processes} process{'es' * (batching.processes > 1)} x {batching.micro} rows x "
        f"{batching.accumulation} accumulated = {total} rows a step"
    )
    if plan.steps_per_epoch is not None:
        epochs = recipe.train.epochs - recipe.train.first_epoch
        parts.append(
            f"Steps       {plan.steps_per_epoch:,} an epoch ({plan.rows:,} rows) x {epochs} epochs = "
            f"{plan.total_steps:,}"
        )
    if plan.num_parameters is None:
        parts.append("Parameters  known when the model is loaded: its shape is in no file here")
    else:
        parts.append(f"Parameters  {plan.num_parameters:,} with {plan.vocabulary:,} token embeddings")
    if recipe.model.vision is not None:
        parts.append(f"Vision      {_eyes(recipe.model.vision)}; not part of the figures above and below")
    if plan.estimate is not None:
        parts.append(f"Memory      about {megabytes(plan.estimate.memory)} a process, to be safe (estimate)")
        if plan.estimate.memory > MUCH_MEMORY and plan.estimate.smaller:
            options = ", ".join(f"{rows}: {megabytes(memory)}" for rows, memory in plan.estimate.smaller)
            parts.append(f"            with train.micro_batch_size {options}; the step and its result stay the same")
        parts.append(
            f"Time        about {minutes(plan.estimate.seconds)} of training (estimate: {plan.estimate.basis})"
        )
        parts.append(f"Disk        {megabytes(plan.estimate.checkpoint)} a checkpoint")
    if plan.warnings:
        parts += ["", *(f"! {warning}" for warning in plan.warnings)]
    return "\n".join(parts)


def _table(plan: Plan) -> list[str]:
    header = ("epochs", "stage", "thoughts", "still written", "words", "learning rate", "optimizer")
    lines = [_cells(stage) for stage in plan.stages]
    if len(lines) > 24:
        lines = [*lines[:11], ("...",) * len(header), *lines[-12:]]
    widths = [max(len(line[column]) for line in (header, *lines)) for column in range(len(header))]
    return ["  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in (header, *lines)]  # fmt: skip


def _cells(stage: Stage) -> tuple[str, ...]:
    def span(first: object, last: object) -> str:
        return f"{first}" if first == last else f"{first}-{last}"

    rates = stage.learning_rates
    rate = "" if rates is None else f"{rates[0]:.3g}" if rates[0] == rates[1] else f"{rates[0]:.3g} to {rates[1]:.3g}"
    return (
        span(stage.first_epoch, stage.last_epoch),
        str(stage.stage),
        span(*stage.thoughts),
        stage.written,
        "?" if math.isnan(stage.num_written) else f"{stage.num_written:.1f}",
        rate,
        stage.optimizer,
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
