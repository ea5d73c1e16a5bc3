"""A plan as text for a terminal."""

import math
from collections.abc import Sequence

from unspoken.methods import Contrastive
from unspoken.plan.adversary import adversary_lines
from unspoken.plan.build import Plan
from unspoken.plan.estimate import megabytes, minutes
from unspoken.plan.eyes import Eyes
from unspoken.plan.heads import head_lines
from unspoken.plan.stage_table import Stage
from unspoken.plan.updates import Updates
from unspoken.recipe import sparse
from unspoken.recipe.strict_yaml import to_yaml

MUCH_MEMORY = 8e9
"""Bytes above which a plan says what a smaller micro-batch would take."""


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
    if plan.updates is None:
        parts.append(
            f"Batch       {batching.processes} process{'es' * (batching.processes > 1)} x {batching.micro} rows x "
            f"{batching.accumulation} accumulated = {total} rows a step"
        )
    if plan.steps_per_epoch is not None:
        epochs = recipe.train.epochs - recipe.train.first_epoch
        parts.append(
            f"{'Updates' if plan.updates else 'Steps':<12}{plan.steps_per_epoch:,} an epoch ({plan.rows:,} rows) x "
            f"{epochs} epochs = {plan.total_steps:,}"
        )
    if plan.updates is not None:
        parts += _drawing(plan.updates, plan.total_steps)
    if plan.num_parameters is None:
        parts.append("Parameters  known when the model is loaded: its shape is in no file here")
    else:
        parts.append(f"Parameters  {plan.num_parameters:,} with {plan.vocabulary:,} token embeddings")
    if plan.eyes is not None:
        parts += _vision(plan.eyes, plan.num_images)
    parts += _labelled("Heads", head_lines(plan.recipe.model.embedding_heads))
    parts += _labelled("Adversary", adversary_lines(plan))
    if plan.estimate is not None:
        parts.append(f"Memory      about {megabytes(plan.estimate.memory)} a process, to be safe (estimate)")
        if plan.estimate.memory > MUCH_MEMORY and plan.estimate.smaller:
            options = ", ".join(f"{rows}: {megabytes(memory)}" for rows, memory in plan.estimate.smaller)
            parts.append(f"            with train.micro_batch_size {options}; the step and its result stay the same")
        if plan.estimate.seconds is None:
            parts.append("Time        not counted: it depends on how much will be thought and written")
        else:
            parts.append(
                f"Time        about {minutes(plan.estimate.seconds)} of training (estimate: {plan.estimate.basis})"
            )
        parts.append(f"Disk        {megabytes(plan.estimate.checkpoint)} a checkpoint")
    elif isinstance(recipe.method, Contrastive):
        parts.append("Time        not estimated for contrastive training, nor memory")
    elif plan.updates is not None:
        parts.append("Memory      not counted: rows or the shape of the model are not known here; nor is time")
    if plan.warnings:
        parts += ["", *(f"! {warning}" for warning in plan.warnings)]
    return "\n".join(parts)


def _drawing(updates: Updates, num_updates: int | None) -> list[str]:
    """What is drawn in an update, what of it is left to chance, and how it is learned from."""
    total = "" if num_updates is None else f", at most {updates.drawn * num_updates:,} in all"
    first, last = updates.temperatures
    drawn = (
        f"{_count(updates.questions, 'question')} x {updates.trajectories} = "
        f"{_count(updates.drawn, 'trajectory', 'trajectories')} an update{total}; "
        f"temperature {first:g}{f' to {last:g}' * (first != last)}"
    )
    thoughts = f"{updates.fewest} to {updates.most}" if updates.stops else str(updates.most)
    by_chance = "" if updates.words_by_chance else " (no decisions)"
    decisions = (
        f"of a trajectory at most {updates.decisions}: {thoughts} thoughts ({updates.source})"
        f"{', its own stop' * bool(updates.stops)}, up to {_count(updates.words, 'token')}{by_chance}"
    )
    learned = (
        f"{_count(updates.steps, 'optimizer step')} an update, at most "
        f"{_count(updates.at_once, 'trajectory', 'trajectories')} in a backward pass"
    )
    return [f"Drawn       {drawn}", f"Decisions   {decisions}", f"Learned     {learned}"]


def _vision(eyes: Eyes, num_images: int | None) -> list[str]:
    """What makes the model see, what of it is counted, and what is not."""
    settings, encoder, learns = eyes.settings, eyes.encoder, eyes.settings.train_encoder
    name = f"the encoder {settings.path}" if settings.path else f"a new encoder of {_count(settings.layers, 'layer')}"
    slots = "" if eyes.slots is None else f"; {_count(eyes.slots, 'slot')} an image"
    lines = [f"{name}, {'which learns' if learns else 'frozen'}{slots}"]
    if encoder is None:
        slots = "its slots, " if eyes.slots is None else ""
        lines.append(
            f"no configuration of a vision encoder is here: {slots}its parameters, its projector and what they take"
        )
        lines.append("are not counted in any figure of this plan")
        return _labelled("Vision", lines)
    own = _count(encoder.num_parameters, "parameter")
    if eyes.projector is None:
        lines.append(f"it has {own}; those of its projector depend on the model")
    elif learns:
        lines.append(f"its {own} and {eyes.projector:,} of its projector are counted above")
    else:
        lines.append(f"its {own} stay outside of the model; {eyes.projector:,} of its projector are counted above")
    if num_images is not None:
        kept, size = "pixels" if learns else "features", megabytes(num_images * eyes.bytes_per_image)
        once = "" if learns else ", each encoded once"
        lines.append(f"{_count(num_images, 'image')}{once}; their {kept} take {size} of memory")
    return _labelled("Vision", lines)


def _count(number: int, thing: str, things: str | None = None) -> str:
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def _labelled(label: str, lines: Sequence[str]) -> list[str]:
    """Lines behind a label that stands in front of the first."""
    return [f"{label if not place else '':<12}{line}" for place, line in enumerate(lines)]


def _table(plan: Plan) -> list[str]:
    header: tuple[str, ...] = ("epochs", "stage", "thoughts", "still written", "words", "learning rate", "optimizer")
    lines = [_cells(stage) for stage in plan.stages]
    if plan.eyes is not None:
        header, known = (*header, "positions"), plan.eyes.slots is not None
        lengths = ["?" if math.isnan(stage.length) or not known else f"{stage.length:.1f}" for stage in plan.stages]
        lines = [(*line, length) for line, length in zip(lines, lengths, strict=True)]
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
