"""The pass loop: in which order the decoder runs over the columns, and when the slots are filled.

A pass runs the decoder over new columns only and reads the earlier ones from the cache, so no position is computed
twice. With K slot columns, `sequential` takes K + 1 passes (Coconut), `jacobi` with T iterations T + 2, `single` one.

Shapes: B rows, L columns, S slot columns (those where any row has a slot), D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import Cache

from unspoken.errors import RecipeError
from unspoken.model.cache import ExtensionLayer, scratch_copy
from unspoken.model.last_block import feeding_forward_from
from unspoken.thoughts import History, Policy, ThoughtSource
from unspoken.thoughts.settings import setting_problems, takes

CHECKPOINT_COLUMNS = 64
"""With checkpointing, long passes are cut into pieces of this many columns: what is recomputed at once stays small."""


@dataclass(frozen=True, slots=True)
class Sequential:
    """Each slot is filled from the exact states before it, one pass a slot."""

    def extra_passes(self, num_thoughts: int) -> int:
        """Passes that the thoughts of a row cost beyond the one that everything costs."""
        return num_thoughts


@dataclass(frozen=True, slots=True)
class Jacobi:
    """All slots are refined together `iterations` times, starting from the placeholder (PCCoT, arXiv:2506.18582).

    With at least as many iterations as slots this equals `Sequential`; with none, pause tokens.
    """

    iterations: int

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise ValueError(f"jacobi needs iterations >= 0, found {self.iterations}")

    def extra_passes(self, num_thoughts: int) -> int:
        """Passes that the thoughts of a row cost beyond the one that everything costs."""
        if num_thoughts < 2:  # a single slot has no others to be refined with
            return num_thoughts
        return self.iterations + 1


@dataclass(frozen=True, slots=True)
class Single:
    """All slots are filled before the only pass; for sources that read no state."""

    def extra_passes(self, num_thoughts: int) -> int:
        """Passes that the thoughts of a row cost beyond the one that everything costs."""
        return 0


Schedule: TypeAlias = Sequential | Jacobi | Single
SCHEDULES: dict[str, type[Sequential] | type[Jacobi] | type[Single]] = {
    "sequential": Sequential,
    "jacobi": Jacobi,
    "single": Single,
}


def build_schedule(settings: Mapping[str, Any], source: ThoughtSource) -> Schedule:
    """The schedule that `{"name": ..., **settings}` describes.

    Raises:
        RecipeError: The name or a setting is unknown or missing, its value is of another type or out of range, or the
            schedule does not fit the source.
    """
    name = settings.get("name")
    if name not in SCHEDULES:
        raise RecipeError("schedule", [f"name: unknown schedule {name!r}; known: {', '.join(SCHEDULES)}"])
    chosen = {key: value for key, value in settings.items() if key != "name"}
    problems = setting_problems(name, chosen, takes(SCHEDULES[name]))
    if problems:
        raise RecipeError("schedule", problems)
    try:
        schedule = SCHEDULES[name](**chosen)
    except ValueError as error:
        raise RecipeError("schedule", [f"{name}: {error}"]) from error
    if isinstance(schedule, Single) and source.reads_states:
        kind = type(source).__name__
        raise RecipeError("schedule", [f"single needs a source that reads no state; {kind} does: use sequential"])
    if isinstance(schedule, Jacobi) and getattr(source, "faithful", False):
        raise RecipeError(
            "schedule", ["jacobi has no released contextual behaviour: use sequential, or faithful=false"]
        )
    if isinstance(schedule, Jacobi) and isinstance(source, Policy):
        kind = type(source).__name__
        raise RecipeError(
            "schedule", [f"jacobi refines all thoughts together, {kind} draws one at a time; use sequential"]
        )
    return schedule


@dataclass(slots=True, eq=False)
class Sequence:
    """A batch of sequences on its way through the decoder.

    Attributes:
        decoder: Hugging Face model that takes `inputs_embeds` and a cache.
        embeds: (B, L, D) looked-up embeddings, placeholders at the slots.
        attention_mask: (B, P + L) with P columns already in the cache.
        position_ids: (B, L).
        is_thought: (B, L) true at slots.
        is_marker: (B, L) true at `<|start-latent|>`.
        cache: Keys and values so far; grows.
        checkpointed: Whether to recompute passes in the backward pass.
        first_read: Column from which on states are read; before it, only where a pass ends.
        chunks: States of each pass so far.
        filled: The thought of each slot column filled so far, (B, D).
        num_passes: Passes so far.
    """

    decoder: nn.Module
    embeds: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    is_thought: Tensor
    is_marker: Tensor
    cache: Cache
    checkpointed: bool = False
    first_read: int = 0
    chunks: list[Tensor] = field(default_factory=list)
    filled: dict[int, Tensor] = field(default_factory=dict)
    num_passes: int = 0
    done: int = 0

    def think(self, columns: list[int], source: ThoughtSource, schedule: Schedule) -> None:
        """Fill the slots in these columns and run everything else.

        Args:
            columns: Every column where any row has a slot, ascending; none of them the first.
            source: What fills them.
            schedule: In which order.
        """
        if not columns:
            pass
        elif isinstance(schedule, Single):
            self._fill(columns, source, self.chunks)
        elif isinstance(schedule, Jacobi):
            self._advance(columns[0])
            self._refine(columns, source, schedule.iterations)
        else:
            for column in columns:
                self._advance(column)
                self._fill([column], source, self.chunks)
        self._advance(self.embeds.size(1))

    def _refine(self, columns: list[int], source: ThoughtSource, iterations: int) -> None:
        """Jacobi: every slot at once from the states of the previous iteration."""
        first, last = columns[0], columns[-1]
        self.filled.update(zip(columns, self.embeds[:, columns].unbind(dim=1), strict=True))
        for _ in range(iterations):
            guess = [self._run(first, last, scratch_copy(self.cache), first)] if last > first else []
            self._fill(columns, source, [*self.chunks, *guess])

    def _fill(self, columns: list[int], source: ThoughtSource, chunks: list[Tensor]) -> None:
        history = History(
            chunks=chunks,
            columns=columns,
            placeholders=self.embeds[:, columns[0] : columns[0] + 1] if len(columns) == 1 else self.embeds[:, columns],
            is_real=self.attention_mask[:, -self.embeds.size(1) :].bool(),
            is_thought=self.is_thought,
            is_marker=self.is_marker,
        )
        thoughts_BSD = source(history).to(self.embeds.dtype)
        self.filled.update(zip(columns, thoughts_BSD.unbind(dim=1), strict=True))

    def _advance(self, stop: int) -> None:
        """Run the columns up to `stop` for good."""
        if self.checkpointed:
            while stop - self.done > CHECKPOINT_COLUMNS:
                self._advance(self.done + CHECKPOINT_COLUMNS)
        # a pass ends where the rows do or in front of a slot, whose thought may be made of the state there
        read = max(self.done, min(self.first_read, stop - 1))
        self.chunks.append(self._run(self.done, stop, self.cache, read))
        self.done = stop

    def _run(self, start: int, stop: int, cache: Cache, read: int) -> Tensor:
        """One pass over the columns start..stop-1, which it adds to `cache`; their states, (B, stop - start, D).

        Those of columns before `read` mean nothing.
        """
        self.num_passes += 1
        length = self.embeds.size(1)
        embeds = self._embed(start, stop)
        mask = self.attention_mask[:, : self.attention_mask.size(1) - length + stop]
        positions = self.position_ids[:, start:stop]
        if self.checkpointed:
            return self._decode_checkpointed(embeds, read - start, mask, positions, cache)
        return self._decode(embeds, read - start, mask, positions, cache)

    def _decode(self, embeds: Tensor, read: int, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        with feeding_forward_from(self.decoder, read):
            output = self.decoder(
                inputs_embeds=embeds, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        states: Tensor = output.last_hidden_state
        return states

    def _decode_checkpointed(self, embeds: Tensor, read: int, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """As `_decode`, keeping only what enters and leaves the pass; Hugging Face's own would drop the cache."""
        past = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]

        def run(embeds: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
            layers = [ExtensionLayer(keys, values) for keys, values in zip(past[::2], past[1::2], strict=True)]
            extended = Cache(layers=layers) if layers else Cache(layer_class_to_replicate=ExtensionLayer)
            states = self._decode(embeds, read, mask, positions, extended)
            return states, *(tensor for layer in extended.layers for tensor in layer.added)

        states, *added = checkpoint(run, embeds, *past, use_reentrant=False)
        for index, (keys, values) in enumerate(zip(added[::2], added[1::2], strict=True)):
            cache.update(keys, values, index)
        return states

    def _embed(self, start: int, stop: int) -> Tensor:
        """Embeddings of the columns start..stop-1 with the thoughts that are known so far, (B, stop - start, D)."""
        embeds_BTD = self.embeds[:, start:stop]
        columns = [column for column in range(start, stop) if column in self.filled]
        if not columns:
            return embeds_BTD
        thoughts_BSD = torch.stack([self.filled[column] for column in columns], dim=1)
        if len(columns) < stop - start:
            offsets = torch.tensor([column - start for column in columns], device=embeds_BTD.device)
            thoughts_BSD = embeds_BTD.index_copy(1, offsets, thoughts_BSD)
        return torch.where(self.is_thought[:, start:stop, None], thoughts_BSD, embeds_BTD)
